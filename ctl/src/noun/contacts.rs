//! `contacts`: the people of this node, the requests of strangers, and what each may do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kith_capture::qr;
use kith_common::client::Client;
use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, ContactChange, ContactRequest, People, Presence, Trust};
use kith_common::ids::PeerId;
use kith_common::target::Target;
use serde_json::{Value, json};

use crate::cli::{ContactsArguments, ContactsVerb};
use crate::harmless::line;
use crate::output::{Output, ReaderGone, cells, name, table};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;
use crate::when::{ago, rfc3339};

pub async fn run(client: &Client, arguments: ContactsArguments, output: &Output) -> Result<(), Stop> {
    if arguments.watch {
        return watch(client, output).await;
    }
    let (contact, said) = match arguments.verb.unwrap_or(ContactsVerb::List) {
        ContactsVerb::List => {
            let people = client.people().await?;
            let _gone = people.contacts.iter().try_for_each(|contact| output.row(&row(contact)));
            let _gone = output.text(&text(&people));
            return Ok(());
        }
        ContactsVerb::Add { peer, qr, name, message } => {
            let (name, message) = (name.unwrap_or_default(), message.unwrap_or_default());
            let contact = client.add_contact(&newcomer(peer, qr)?, &name, &message).await?;
            let said = added(&contact);
            (contact, said)
        }
        ContactsVerb::Remove(peer) => return remove(client, &peer.peer, output).await,
        ContactsVerb::Rename { peer, name } => {
            let change = ContactChange { name: Some(name), ..ContactChange::default() };
            let contact = client.change_contact(&peer.peer, change).await?;
            let said = format!("…{} is {} now.", contact.peer_id.short(), line(&contact.name));
            (contact, said)
        }
        ContactsVerb::Note { peer, text } => {
            let change = ContactChange { note: Some(text), ..ContactChange::default() };
            let contact = client.change_contact(&peer.peer, change).await?;
            let what = if contact.note.is_empty() { "No note" } else { "Noted" };
            let said = format!("{what} on {}.", line(&contact.name));
            (contact, said)
        }
        ContactsVerb::Trust { peer, trust, right } => {
            let contact = client.set_trust(&peer.peer, right.right(), trust.trust()).await?;
            let said = format!("{}: {}.", line(&contact.name), trusts(&contact));
            (contact, said)
        }
        ContactsVerb::Requests => {
            let requests = client.people().await?.requests;
            let _gone = requests.iter().try_for_each(|request| output.row(&request_row(request)));
            let _gone = output.text(&requests_text(&requests));
            return Ok(());
        }
        ContactsVerb::Accept { peer, name } => {
            let contact = client.accept_contact(&peer.peer, &name.unwrap_or_default()).await?;
            let said = format!("{} is a contact now.", line(&contact.name));
            (contact, said)
        }
        ContactsVerb::Refuse(peer) => return refuse(client, &peer.peer, output).await,
        ContactsVerb::Verify { peer, yes } => return verify(client, &peer.peer, yes, output).await,
        ContactsVerb::Away => return be(client, Presence::Away, output).await,
        ContactsVerb::Online => return be(client, Presence::Online, output).await,
    };
    let _gone = output.row(&row(&contact));
    let _gone = output.text(&said);
    Ok(())
}

/// Who is to be added: as it is typed, or as it stands in a picture.
fn newcomer(peer: Option<String>, picture: Option<PathBuf>) -> Result<String, Stop> {
    let peer = peer.unwrap_or_default();
    match picture.or_else(|| qr::named(&peer)) {
        Some(picture) => Ok(qr::read(&picture)?),
        None => Ok(peer),
    }
}

/// A contact with the promised fields.
pub fn row(contact: &Contact) -> Value {
    let mut row = json!(contact);
    row["last_seen"] = moment(contact.last_seen_unix_ms);
    row["added"] = moment(contact.added_unix_ms);
    row
}

fn moment(unix_ms: i64) -> Value {
    if unix_ms > 0 { rfc3339(unix_ms).into() } else { Value::Null }
}

/// A request, with the fields of a contact as far as a stranger has them.
fn request_row(request: &ContactRequest) -> Value {
    let mut row = json!(request);
    row["received"] = moment(request.received_unix_ms);
    row["request"] = true.into();
    row["presence"] = Value::Null;
    row["trust"] = Value::Null;
    row
}

fn added(contact: &Contact) -> String {
    let name = line(&contact.name);
    if contact.mutual {
        format!("{name} is a contact, and has you among its own.")
    } else {
        format!("{name} is a contact. It is asked to add you as soon as it is reachable.")
    }
}

fn trusts(contact: &Contact) -> String {
    format!("calls {}, files {}, relay {}", name(contact.calls), name(contact.files), name(contact.relay))
}

fn text(people: &People) -> String {
    let mut parts = Vec::new();
    if people.contacts.is_empty() {
        parts.push("No contacts yet. `kithctl contacts add PEER` takes a ticket, a peer id or an address.".to_owned());
    } else {
        let mut rows = vec![cells(["NAME", "PEER ID", "PRESENCE", "SEEN", "CALLS", ""])];
        let now = unix_ms();
        for contact in &people.contacts {
            let seen = match (contact.presence, contact.last_seen_unix_ms) {
                (Presence::Offline, at) if at > 0 => ago(at, now),
                (Presence::Offline, _) => "never".to_owned(),
                _ => "now".to_owned(),
            };
            rows.push(cells([
                &line(&contact.name),
                &format!("…{}", contact.peer_id.short()),
                &name(contact.presence),
                &seen,
                &name(contact.calls),
                &remarks(contact),
            ]));
        }
        parts.push(table(&rows));
    }
    match people.requests.len() {
        0 => {}
        1 => parts.push("One stranger wants to be a contact: kithctl contacts requests".to_owned()),
        more => parts.push(format!("{more} strangers want to be contacts: kithctl contacts requests")),
    }
    if people.own == Presence::Away {
        parts.push("You are away: `kithctl contacts online` says that you are back.".to_owned());
    }
    parts.join("\n\n")
}

fn remarks(contact: &Contact) -> String {
    let mut remarks = Vec::new();
    if contact.blocked {
        remarks.push("blocked".to_owned());
    }
    if contact.verified {
        remarks.push("verified".to_owned());
    }
    if !contact.mutual {
        remarks.push("has not added you".to_owned());
    }
    if contact.files == Trust::Always {
        remarks.push("gives files unasked".to_owned());
    }
    if contact.relay == Trust::Always {
        remarks.push("is relayed".to_owned());
    }
    if !contact.note.is_empty() {
        remarks.push(line(&contact.note).chars().take(40).collect());
    }
    remarks.join(", ")
}

fn requests_text(requests: &[ContactRequest]) -> String {
    if requests.is_empty() {
        return "Nobody waits to be a contact.".to_owned();
    }
    let now = unix_ms();
    let mut rows = vec![cells(["CALLS ITSELF", "PEER ID", "SINCE", "SAYS"])];
    for request in requests {
        let said = if request.text.is_empty() { "–".to_owned() } else { line(&request.text) };
        let own = if request.name.is_empty() { "–".to_owned() } else { line(&request.name) };
        rows.push(cells([&own, &request.peer_id.to_string(), &ago(request.received_unix_ms, now), &said]));
    }
    format!("{}\n\nAccept with `kithctl contacts accept PEER`, or drop with `refuse`.", table(&rows))
}

/// The contact that `text` names.
fn known<'a>(people: &'a People, text: &str) -> Option<&'a Contact> {
    let wanted = text.trim();
    match wanted.parse() {
        Ok(Target::Peer(peer)) => people.contacts.iter().find(|contact| contact.peer_id == peer),
        Ok(Target::Ticket(ticket)) => people.contacts.iter().find(|contact| contact.peer_id == ticket.peer),
        Ok(Target::Address(_) | Target::Ip { .. }) => None,
        Err(_) => {
            let wanted = wanted.to_lowercase();
            people.contacts.iter().find(|contact| contact.name.to_lowercase() == wanted)
        }
    }
}

/// What a user types, with the peer id in place of a contact's name: for what looks among the peers.
pub async fn named(client: &Client, text: &str) -> Result<String, Stop> {
    if text.trim().parse::<Target>().is_ok() {
        return Ok(text.to_owned());
    }
    let people = client.people().await?;
    Ok(known(&people, text).map_or_else(|| text.to_owned(), |contact| contact.peer_id.to_string()))
}

async fn remove(client: &Client, target: &str, output: &Output) -> Result<(), Stop> {
    let before = client.people().await?.contacts;
    client.remove_contact(target).await?;
    let after = client.people().await?.contacts;
    let gone = before.iter().find(|contact| after.iter().all(|left| left.peer_id != contact.peer_id));
    let _gone = output.row(&removed(gone.map(row)));
    let name = gone.map_or_else(|| target.to_owned(), |contact| line(&contact.name));
    let _gone =
        output.text(&format!("{name} is no contact any more. `kithctl chat forget PEER` deletes the messages."));
    Ok(())
}

async fn refuse(client: &Client, target: &str, output: &Output) -> Result<(), Stop> {
    let before = client.people().await?.requests;
    client.refuse_contact(target).await?;
    let after = client.people().await?.requests;
    let gone = before.iter().find(|request| after.iter().all(|left| left.peer_id != request.peer_id));
    let _gone = output.row(&removed(gone.map(request_row)));
    let _gone = output.text("The request is gone. Another one from there is dropped for a week.");
    Ok(())
}

/// The row of what is not on the list any more.
fn removed(row: Option<Value>) -> Value {
    let mut row = row.unwrap_or_else(|| json!({}));
    row["removed"] = true.into();
    row
}

async fn verify(client: &Client, target: &str, yes: bool, output: &Output) -> Result<(), Stop> {
    let safety = client.safety(target).await?;
    let mut row = json!(safety);
    let mut said = format!("{}\n\n{}\n", digits(&safety.digits), safety.emoji.join("  "));
    if yes {
        let change = ContactChange { verified: Some(true), ..ContactChange::default() };
        let contact = client.change_contact(target, change).await?;
        row["contact"] = self::row(&contact);
        said += &format!("\n{} is verified.", line(&contact.name));
    } else {
        said +=
            "\nIf the other side sees the same, nobody stands between you. Then: kithctl contacts verify PEER --yes";
    }
    let _gone = output.row(&row);
    let _gone = output.text(&said);
    Ok(())
}

/// The twelve groups in three lines.
fn digits(digits: &str) -> String {
    let groups: Vec<&str> = digits.split_whitespace().collect();
    groups.chunks(4).map(|groups| groups.join(" ")).collect::<Vec<_>>().join("\n")
}

async fn be(client: &Client, presence: Presence, output: &Output) -> Result<(), Stop> {
    client.set_presence(presence).await?;
    let _gone = output.row(&json!({ "presence": presence }));
    let _gone = output.text(match presence {
        Presence::Away => "Your contacts see that you are away.",
        _ => "Your contacts see that you are there.",
    });
    Ok(())
}

async fn watch(client: &Client, output: &Output) -> Result<(), Stop> {
    let mut feed = client.watch_people().await?;
    let mut interrupt = Interrupt::new()?;
    let mut known = BTreeMap::new();
    loop {
        let Some(people) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        let changes = changes(&mut known, &people);
        let shown = if output.is_live() {
            output.redraw("\x1b[H\x1b[2J");
            output.text(&text(&people))
        } else if output.is_json() {
            changes.iter().try_for_each(|row| output.row(row))
        } else if changes.is_empty() {
            Ok(())
        } else {
            output.text(&format!("{}\n", text(&people)))
        };
        if shown == Err(ReaderGone) {
            return Ok(());
        }
    }
}

/// Contacts and requests that are new, different or gone since the last report; the gone say `removed`.
fn changes(known: &mut BTreeMap<(PeerId, bool), Value>, people: &People) -> Vec<Value> {
    let contacts = people.contacts.iter().map(|contact| ((contact.peer_id, false), row(contact)));
    let requests = people.requests.iter().map(|request| ((request.peer_id, true), request_row(request)));
    let now: BTreeMap<(PeerId, bool), Value> = contacts.chain(requests).collect();
    let mut changes: Vec<Value> =
        now.iter().filter(|(key, row)| known.get(key) != Some(row)).map(|(_, row)| row.clone()).collect();
    for (key, row) in known.iter().filter(|(key, _)| !now.contains_key(key)) {
        tracing::debug!(peer = %key.0, "left the list");
        changes.push(removed(Some(row.clone())));
    }
    *known = now;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u8, name: &str) -> Contact {
        Contact {
            presence: Presence::Online,
            last_seen_unix_ms: 1000,
            relay: Trust::Never,
            added_unix_ms: 1000,
            mutual: true,
            ..Contact::new(PeerId::from_public_key([number; 32]), name)
        }
    }

    fn request(number: u8, name: &str) -> ContactRequest {
        let peer_id = PeerId::from_public_key([number; 32]);
        ContactRequest { peer_id, name: name.into(), text: "hello\nthere".into(), received_unix_ms: 1000 }
    }

    #[test]
    fn a_contact_has_the_promised_fields() {
        for row in [row(&contact(1, "ada")), request_row(&request(2, "ben"))] {
            for field in ["peer_id", "name", "presence", "trust"] {
                assert!(row.get(field).is_some(), "{field}");
            }
        }
        let row = row(&contact(1, "ada"));
        assert_eq!((&row["presence"], &row["trust"]), (&"online".into(), &"ask".into()));
        assert_eq!(row["last_seen"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn a_contact_is_known_by_name_whatever_the_case_and_by_peer_id() {
        let people = People { contacts: vec![contact(1, "Ada"), contact(2, "ben")], ..People::default() };
        let id = people.contacts[0].peer_id;
        for text in ["ada", " Ada ", &id.to_string()] {
            assert_eq!(known(&people, text).map(|contact| contact.peer_id), Some(id), "{text}");
        }
        assert_eq!(known(&people, "cem"), None);
    }

    #[test]
    fn a_watch_reports_what_changed_and_who_left() {
        let mut known = BTreeMap::new();
        let people =
            People { contacts: vec![contact(1, "ada")], requests: vec![request(2, "ben")], ..People::default() };
        assert_eq!(changes(&mut known, &people).len(), 2);
        assert!(changes(&mut known, &people).is_empty());
        let fewer = People { requests: Vec::new(), ..people };
        let gone = changes(&mut known, &fewer);
        assert!(gone.len() == 1 && gone[0]["removed"] == true && gone[0]["name"] == "ben", "{gone:?}");
    }

    #[test]
    fn a_request_cannot_forge_another_line() {
        let text = requests_text(&[request(1, "ada\nben")]);
        assert!(text.contains("ada ⏎ ben") && text.contains("hello ⏎ there"), "{text}");
    }

    #[test]
    fn a_safety_number_is_three_lines() {
        let number = ["12345"; 12].join(" ");
        assert_eq!(digits(&number), ["12345 12345 12345 12345"; 3].join("\n"));
    }
}
