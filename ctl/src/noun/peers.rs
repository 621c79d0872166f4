//! `peers`: the other nodes, and the connections to them.

use std::collections::BTreeMap;

use kith_common::client::Client;
use kith_common::node::{PeerInfo, PeerStatus};
use kith_common::target::Target;
use serde_json::json;

use super::contacts;
use crate::cli::{PeersArguments, PeersVerb};
use crate::output::{Output, ReaderGone, cells, name, or_dash, table};
use crate::stop::Stop;

pub async fn run(client: &Client, arguments: PeersArguments, output: &Output) -> Result<(), Stop> {
    match arguments.verb {
        None if arguments.watch => watch(client, output).await,
        None => {
            let _gone = show_list(&client.peers().await?, output);
            Ok(())
        }
        Some(PeersVerb::Connect(peer)) => {
            let peer = client.connect_peer(&peer.peer).await?;
            let _gone = output.row(&json!(peer));
            let way = peer.path.map(name).unwrap_or_default();
            let _gone = output.text(&format!("Connected to {} ({way}).", title(&peer)));
            Ok(())
        }
        Some(PeersVerb::Disconnect(peer)) => {
            let (before, who) = (client.peers().await?, contacts::named(client, &peer.peer).await?);
            client.disconnect_peer(&who).await?;
            let mut row = find(&before, &who)?;
            row.connected = false;
            row.status = PeerStatus::Known;
            let _gone = output.row(&json!(row));
            let _gone = output.text(&format!("Disconnected from {}.", title(&row)));
            Ok(())
        }
        Some(PeersVerb::Block(peer)) => {
            let who = contacts::named(client, &peer.peer).await?;
            let id = named(&client.peers().await?, &who)?;
            client.block_peer(&id).await?;
            let row = find(&client.peers().await?, &id)?;
            let _gone = output.row(&json!(row));
            let _gone = output.text(&format!("Blocked {}.", title(&row)));
            Ok(())
        }
        Some(PeersVerb::Unblock(peer)) => {
            let (before, who) = (client.peers().await?, contacts::named(client, &peer.peer).await?);
            let id = named(&before, &who)?;
            client.unblock_peer(&id).await?;
            // Of whom nothing else is known, the list has no row any more.
            let after = find(&client.peers().await?, &id);
            let row = after.or_else(|_| find(&before, &id).map(|row| PeerInfo { status: PeerStatus::Known, ..row }))?;
            let _gone = output.row(&json!(row));
            let _gone = output.text(&format!("{} is no longer blocked.", title(&row)));
            Ok(())
        }
        Some(PeersVerb::Show(peer)) => {
            let who = contacts::named(client, &peer.peer).await?;
            let row = find(&client.peers().await?, &who)?;
            let _gone = output.row(&json!(row));
            let _gone = output.text(&details(&row));
            Ok(())
        }
    }
}

/// The name that a person knows the peer by.
fn title(peer: &PeerInfo) -> String {
    if peer.name.is_empty() { peer.peer_id.short() } else { format!("{} ({})", peer.name, peer.peer_id.short()) }
}

/// The peer id that `text` names, also of a peer that no list has.
fn named(peers: &[PeerInfo], text: &str) -> Result<String, Stop> {
    let unlisted = |stop| match text.trim().parse() {
        Ok(Target::Peer(id)) => Ok(id.to_string()),
        Ok(Target::Ticket(ticket)) => Ok(ticket.peer.to_string()),
        _ => Err(stop),
    };
    find(peers, text).map(|row| row.peer_id.to_string()).or_else(unlisted)
}

/// The row that `text` names: by peer id, ticket, address, IP, the name, or the end of the peer id as lists show it.
pub fn find(peers: &[PeerInfo], text: &str) -> Result<PeerInfo, Stop> {
    let text = text.trim();
    let at_address = |wanted: &str| {
        peers.iter().filter(|peer| peer.addresses.iter().any(|address| address.contains(wanted))).collect::<Vec<_>>()
    };
    let found: Vec<&PeerInfo> = match text.parse() {
        Ok(Target::Peer(id)) => peers.iter().filter(|peer| peer.peer_id == id).collect(),
        Ok(Target::Ticket(ticket)) => peers.iter().filter(|peer| peer.peer_id == ticket.peer).collect(),
        Ok(Target::Address(address)) => {
            let address = address.to_string();
            match address.rsplit_once("/p2p/") {
                Some((_, id)) => peers.iter().filter(|peer| peer.peer_id.to_string() == id).collect(),
                None => at_address(&address),
            }
        }
        Ok(Target::Ip { ip, .. }) => at_address(&format!("/{ip}/")),
        Err(_) => {
            let named =
                |peer: &&PeerInfo| peer.name == text || (text.len() >= 6 && peer.peer_id.short().ends_with(text));
            peers.iter().filter(named).collect()
        }
    };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Stop::failed(format!("no peer that this node knows is called {text:.80}"))
            .advise("`kithctl peers` lists them; `kithctl peers connect` finds new ones.")),
        several => Err(Stop::failed(format!("{} peers go by {text:.80}", several.len()))
            .advise("Use the peer id from `kithctl peers`.")),
    }
}

fn show_list(peers: &[PeerInfo], output: &Output) -> Result<(), ReaderGone> {
    if output.is_json() {
        return peers.iter().try_for_each(|peer| output.row(&json!(peer)));
    }
    output.text(&list(peers))
}

fn list(peers: &[PeerInfo]) -> String {
    if peers.is_empty() {
        return "This node knows no other yet. `kithctl peers connect PEER` takes a ticket or an address.".to_owned();
    }
    let mut rows = vec![cells(["NAME", "PEER ID", "STATUS", "PATH", "RTT", "JITTER", "LOSS"])];
    for peer in peers {
        let loss = peer.loss.map_or_else(|| "–".to_owned(), |loss| format!("{:.1} %", loss * 100.0));
        let name_or_dash = if peer.name.is_empty() { "–" } else { &peer.name };
        rows.push(cells([
            name_or_dash,
            &format!("…{}", peer.peer_id.short()),
            &name(peer.status),
            &peer.path.map_or_else(|| "–".to_owned(), name),
            &or_dash(peer.rtt_ms, " ms"),
            &or_dash(peer.jitter_ms, " ms"),
            &loss,
        ]));
    }
    table(&rows)
}

fn details(peer: &PeerInfo) -> String {
    let mut rows = vec![
        cells(["name", &peer.name]),
        cells(["peer id", &peer.peer_id.to_string()]),
        cells(["status", &name(peer.status)]),
        cells(["path", &peer.path.map_or_else(|| "–".to_owned(), name)]),
        cells(["round trip", &or_dash(peer.rtt_ms, " ms")]),
        cells(["jitter", &or_dash(peer.jitter_ms, " ms")]),
        cells(["program", &peer.agent]),
        cells(["services", &peer.services.join(" ")]),
    ];
    rows.extend(peer.addresses.iter().map(|address| cells(["address", address])));
    table(&rows)
}

async fn watch(client: &Client, output: &Output) -> Result<(), Stop> {
    let mut feed = client.watch_peers().await?;
    let mut interrupt = crate::session::interrupt::Interrupt::new()?;
    let mut known: BTreeMap<_, PeerInfo> = BTreeMap::new();
    loop {
        let peers = tokio::select! {
            report = feed.next() => match report {
                Some(peers) => peers?,
                None => return Ok(()),
            },
            () = interrupt.asked() => return Ok(()),
        };
        let shown = if output.is_json() {
            let rows = changes(&mut known, &peers);
            rows.iter().try_for_each(|peer| output.row(&json!(peer)))
        } else if output.is_live() {
            output.redraw("\x1b[H\x1b[2J");
            output.text(&list(&peers))
        } else {
            output.text(&format!("{}\n", list(&peers)))
        };
        if shown == Err(ReaderGone) {
            return Ok(());
        }
    }
}

/// Rows that are new, different or gone since the last list; the gone are shown as not connected.
fn changes(known: &mut BTreeMap<kith_common::ids::PeerId, PeerInfo>, peers: &[PeerInfo]) -> Vec<PeerInfo> {
    let mut rows: Vec<PeerInfo> = peers.iter().filter(|peer| known.get(&peer.peer_id) != Some(peer)).cloned().collect();
    let now: BTreeMap<_, _> = peers.iter().map(|peer| (peer.peer_id, peer.clone())).collect();
    for (id, peer) in known.iter().filter(|(id, peer)| peer.connected && !now.contains_key(id)) {
        tracing::debug!(%id, "left the list");
        rows.push(PeerInfo { connected: false, status: PeerStatus::Known, path: None, ..peer.clone() });
    }
    *known = now;
    rows
}

#[cfg(test)]
mod tests {
    use kith_common::ids::PeerId;
    use kith_common::node::Path;

    use super::*;

    fn peer(number: u8, name: &str) -> PeerInfo {
        PeerInfo {
            name: name.into(),
            path: Some(Path::Lan),
            addresses: vec![format!("/ip4/192.0.2.{number}/udp/9999/quic-v1")],
            rtt_ms: Some(1.5),
            ..PeerInfo::new(PeerId::from_public_key([number; 32]), PeerStatus::Connected)
        }
    }

    #[test]
    fn a_peer_row_has_the_promised_fields() {
        let row = json!(peer(1, "ada"));
        let fields = "peer_id name connected path addresses rtt_ms jitter_ms loss status";
        for field in fields.split(' ') {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!(row["path"], "lan");
    }

    #[test]
    fn a_peer_is_found_by_every_name_it_has() {
        let peers = [peer(1, "ada"), peer(2, "ben"), peer(3, "ben")];
        let id = peers[0].peer_id;
        let names = ["ada".to_owned(), id.to_string(), id.short(), "192.0.2.1".into(), "192.0.2.1:4000".into()];
        for name in names.into_iter().chain([format!("/ip4/192.0.2.9/tcp/1/p2p/{id}")]) {
            assert_eq!(find(&peers, &name).map(|peer| peer.peer_id), Ok(id), "{name}");
        }
        assert!(find(&peers, "ben").is_err_and(|stop| stop.message.contains("2 peers")));
        assert!(find(&peers, "cem").is_err());
    }

    #[test]
    fn a_watch_reports_only_what_changed() {
        let mut known = BTreeMap::new();
        assert_eq!(changes(&mut known, &[peer(1, "ada"), peer(2, "ben")]).len(), 2);
        assert_eq!(changes(&mut known, &[peer(1, "ada"), peer(2, "ben")]).len(), 0);
        let gone = changes(&mut known, &[peer(1, "ada")]);
        assert_eq!(gone.len(), 1);
        assert!(!gone[0].connected && gone[0].name == "ben");
    }
}
