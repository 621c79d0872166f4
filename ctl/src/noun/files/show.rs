//! How shares, transfers and offers look: as promised JSON rows, in tables, and in sentences.

use kith_common::clock::unix_ms;
use kith_common::file::{
    ContentKind, CopyState, FileKind, FileSettings, FilesState, Kept, Offer, Share, ShareScope, ShareState, Source,
    SourceState, Transfer, TransferState, Upload,
};
use kith_common::ids::PeerId;
use kith_common::node::Path;
pub use kith_common::size::{bytes, rate};
use serde_json::{Value, json};

use crate::harmless::line;
use crate::output::{cells, name, table};
use crate::when::{ago, rfc3339, span};

/// Cells of a bar.
const CELLS: u64 = 24;
/// Of a name in a table; the other columns fit a terminal beside it.
const NAME_CHARS: usize = 40;
/// Of those at its end, which says what kind of file it is.
const NAME_END_CHARS: usize = 10;

/// Whole per cent; all of it only when nothing is missing.
pub fn per_cent(done: u64, total: u64) -> u64 {
    if total == 0 { 0 } else { u64::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100) }
}

pub fn bar(done: u64, total: u64) -> String {
    let full = usize::try_from(per_cent(done, total) * CELLS / 100).unwrap_or(0);
    format!("[{}{}] {:3} %", "#".repeat(full), "-".repeat(CELLS as usize - full), per_cent(done, total))
}

/// A name, or the end of the peer id.
pub fn who(peer: &PeerId, name: &str) -> String {
    if name.is_empty() { format!("…{}", peer.short()) } else { line(name) }
}

/// A name in a table: of a long one the middle is left out.
fn short(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= NAME_CHARS {
        return name.to_owned();
    }
    let (begin, end) = (&chars[..NAME_CHARS - NAME_END_CHARS - 1], &chars[chars.len() - NAME_END_CHARS..]);
    begin.iter().chain(['…'].iter()).chain(end).collect()
}

fn moment(unix_ms: i64) -> Value {
    if unix_ms > 0 { rfc3339(unix_ms).into() } else { Value::Null }
}

pub fn share_row(share: &Share) -> Value {
    let mut row = json!(share);
    row["added"] = moment(share.added_unix_ms);
    row["providers"] = json!(share.copies);
    row["done"] = share.size_bytes.into();
    row
}

pub fn transfer_row(transfer: &Transfer) -> Value {
    let mut row = json!(transfer);
    row["started"] = moment(transfer.started_unix_ms);
    row["finished"] = moment(transfer.finished_unix_ms);
    row
}

/// `name` is the file's, as in the other rows; the peer's is `peer_name`.
pub fn offer_row(offer: &Offer) -> Value {
    let mut row = json!(offer);
    row["name"] = offer.file_name.as_str().into();
    row["peer_name"] = offer.name.as_str().into();
    row["received"] = moment(offer.received_unix_ms);
    row["providers"] = json!([{ "peer": offer.peer, "name": offer.name }]);
    row["state"] = "offered".into();
    row["done"] = 0.into();
    row
}

pub fn upload_row(upload: &Upload) -> Value {
    let mut row = json!(upload);
    row["name"] = upload.file_name.as_str().into();
    row["peer_name"] = upload.name.as_str().into();
    row
}

pub fn kept_row(kept: &Kept) -> Value {
    let mut row = json!(kept);
    row["since"] = moment(kept.since_unix_ms);
    row
}

fn size(kind: FileKind, size_bytes: u64, files: u32) -> String {
    match (kind, files) {
        (FileKind::File, _) => bytes(size_bytes),
        (FileKind::Folder, 1) => format!("{} in one file", bytes(size_bytes)),
        (FileKind::Folder, files) => format!("{} in {files} files", bytes(size_bytes)),
    }
}

fn audience(share: &Share) -> String {
    match share.scope {
        ShareScope::Anyone => "anyone who has the hash".to_owned(),
        ShareScope::Contacts => "your contacts".to_owned(),
        ShareScope::Peers if share.peers.len() == 1 => "one peer".to_owned(),
        ShareScope::Peers => format!("{} peers", share.peers.len()),
    }
}

/// What was just shared: the ticket is the last line, to be taken from there.
pub fn added(share: &Share) -> String {
    format!(
        "{} ({}) is shared with {}.\n{}\n{}",
        line(&share.name),
        size(share.kind, share.size_bytes, share.files),
        audience(share),
        share.hash,
        share.ticket
    )
}

/// A list that does not show everything; `all` where that is known.
pub fn cut(limit: u32, all: Option<u32>) -> String {
    match all {
        Some(all) => format!("The newest {limit} of {all}; --limit or --search shows others."),
        None => format!("The newest {limit} of those; --limit shows others."),
    }
}

/// An offer that was taken.
pub fn accepted(transfer: &Transfer) -> String {
    let into = if transfer.folder.is_empty() { String::new() } else { format!(" into {}", line(&transfer.folder)) };
    format!("{} (transfer {}) is being fetched{into}. Follow it: kithctl files watch", title(transfer), transfer.id)
}

fn share_state(state: ShareState) -> &'static str {
    match state {
        ShareState::Available => "shared",
        ShareState::Changed => "changed",
        ShareState::Missing => "missing",
    }
}

/// Who has how much.
fn copies(share: &Share) -> String {
    if share.copies.is_empty() {
        return "–".to_owned();
    }
    let copy = |copy: &kith_common::file::SealedCopy| {
        let who = who(&copy.peer, &copy.name);
        match copy.state {
            CopyState::Kept => who,
            CopyState::Sending => format!("{who} {} %", per_cent(copy.held_bytes, share.size_bytes)),
            CopyState::Asked => format!("{who} (asked)"),
            CopyState::Refused => format!("{who} (refused)"),
        }
    };
    share.copies.iter().map(copy).collect::<Vec<_>>().join(", ")
}

pub fn shares(shares: &[Share]) -> String {
    if shares.is_empty() {
        return "Nothing is shared. `kithctl files add PATH` shares a file or a folder.".to_owned();
    }
    let now = unix_ms();
    let mut rows = vec![cells(["NAME", "SIZE", "STATE", "ADDED", "SENT", "COPIES", "HASH"])];
    rows.extend(shares.iter().map(|share| {
        cells([
            &short(&line(&share.name)),
            &size(share.kind, share.size_bytes, share.files),
            share_state(share.state),
            &ago(share.added_unix_ms, now),
            &bytes(share.sent_bytes),
            &copies(share),
            &share.hash.to_string(),
        ])
    }));
    table(&rows)
}

/// One share in full.
pub fn share(share: &Share) -> String {
    let state = match share.state {
        ShareState::Available => "shared",
        ShareState::Changed => {
            "changed on the disk since: nothing of it is sent; add it again to share what is there now"
        }
        ShareState::Missing => "not on the disk any more: nothing of it is sent",
    };
    let mut rows = vec![
        cells(["name", &line(&share.name)]),
        cells(["size", &size(share.kind, share.size_bytes, share.files)]),
        cells(["state", state]),
        cells(["for", &audience(share)]),
        cells(["path", &line(&share.path)]),
        cells(["added", &rfc3339(share.added_unix_ms)]),
        cells(["sent", &bytes(share.sent_bytes)]),
    ];
    rows.extend(share.peers.iter().map(|peer| cells(["peer", &peer.to_string()])));
    rows.extend(share.copies.iter().map(|copy| {
        let held = bytes(copy.held_bytes);
        let reason = if copy.reason.is_empty() { String::new() } else { format!(": {}", line(&copy.reason)) };
        cells(["copy", &format!("{}, {} ({held}){reason}", who(&copy.peer, &copy.name), name(copy.state))])
    }));
    rows.push(cells(["hash", &share.hash.to_string()]));
    rows.push(cells(["ticket", &share.ticket]));
    table(&rows)
}

fn way(path: Option<Path>) -> String {
    path.map_or_else(String::new, |path| format!(" ({})", name(path)))
}

/// Who it came from, those with the most first.
pub fn providers(sources: &[Source]) -> String {
    let mut sources: Vec<&Source> = sources.iter().filter(|source| source.received_bytes > 0).collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.received_bytes));
    sources.iter().map(|source| who(&source.peer, &source.name) + &way(source.path)).collect::<Vec<_>>().join(", ")
}

/// What a transfer does now, or what has become of it.
pub fn remark(transfer: &Transfer) -> String {
    let error = line(&transfer.error);
    match transfer.state {
        TransferState::Queued => "others are before it".to_owned(),
        TransferState::Searching => "asking who has it".to_owned(),
        TransferState::Fetching => {
            let left = match transfer.remaining_seconds {
                0 => String::new(),
                seconds => format!(", {} left", span(seconds.into())),
            };
            let active = transfer.sources.iter().filter(|source| source.state == SourceState::Active);
            let from: Vec<String> = active.map(|source| who(&source.peer, &source.name) + &way(source.path)).collect();
            let from = if from.is_empty() { String::new() } else { format!(", from {}", from.join(", ")) };
            format!("{}{left}{from}", rate(transfer.bytes_per_second))
        }
        TransferState::Waiting => {
            let why = if error.is_empty() { "nobody who has it is there".to_owned() } else { error };
            match transfer.next_try_seconds {
                0 => why,
                seconds => format!("{why}; next try in {}", span(seconds.into())),
            }
        }
        TransferState::Finishing => "writing it down".to_owned(),
        TransferState::Done => line(&transfer.saved_path),
        TransferState::Paused | TransferState::Failed => error,
    }
}

pub fn transfers(transfers: &[Transfer]) -> String {
    if transfers.is_empty() {
        return "No transfers. `kithctl files get HASH|TICKET` begins one.".to_owned();
    }
    let mut rows = vec![cells(["ID", "NAME", "SIZE", "DONE", "STATE", ""])];
    rows.extend(transfers.iter().map(|transfer| {
        let (total, done) = match transfer.size_bytes {
            0 if transfer.state != TransferState::Done => ("–".to_owned(), "–".to_owned()),
            size => (bytes(size), format!("{} %", if size == 0 { 100 } else { per_cent(transfer.done_bytes, size) })),
        };
        let (id, title) = (transfer.id.to_string(), short(&title(transfer)));
        cells([&id, &title, &total, &done, &name(transfer.state), &remark(transfer)])
    }));
    table(&rows)
}

/// Its name, or the beginning of the hash until there is one.
pub fn title(transfer: &Transfer) -> String {
    if transfer.name.is_empty() { format!("{:.12}…", transfer.hash.to_string()) } else { line(&transfer.name) }
}

pub fn offers(offers: &[Offer]) -> String {
    if offers.is_empty() {
        return "Nothing is offered.".to_owned();
    }
    let now = unix_ms();
    let mut rows = vec![cells(["ID", "NAME", "SIZE", "FROM", "WHEN"])];
    rows.extend(offers.iter().map(|offer| {
        cells([
            &offer.id.to_string(),
            &line(&offer.file_name),
            &size(offer.kind, offer.size_bytes, offer.files),
            &who(&offer.peer, &offer.name),
            &ago(offer.received_unix_ms, now),
        ])
    }));
    table(&rows)
}

/// What somebody fetches from here.
pub fn sent(upload: &Upload) -> String {
    if upload.file_name.is_empty() { "a sealed copy".to_owned() } else { line(&upload.file_name) }
}

fn uploads(uploads: &[Upload]) -> String {
    let mut rows = vec![cells(["TO", "NAME", "SENT", "RATE", "PATH"])];
    rows.extend(uploads.iter().map(|upload| {
        cells([
            &who(&upload.peer, &upload.name),
            &sent(upload),
            &bytes(upload.sent_bytes),
            &rate(upload.bytes_per_second),
            &upload.path.map_or_else(|| "–".to_owned(), name),
        ])
    }));
    table(&rows)
}

/// All that happens, below each other.
pub fn everything(state: &FilesState) -> String {
    let mut parts = vec![transfers(&state.transfers)];
    if !state.offers.is_empty() {
        parts.push(offers(&state.offers));
    }
    if !state.uploads.is_empty() {
        parts.push(uploads(&state.uploads));
    }
    parts.join("\n\n")
}

pub fn kept(kept: &[Kept]) -> String {
    if kept.is_empty() {
        return "You keep no copies for others. `kithctl contacts trust PEER always --for relay` lets a contact ask."
            .to_owned();
    }
    let now = unix_ms();
    let mut rows = vec![cells(["FOR", "SIZE", "HERE", "SINCE", "HASH"])];
    rows.extend(kept.iter().map(|kept| {
        cells([
            &who(&kept.peer, &kept.name),
            &bytes(kept.size_bytes),
            &format!("{} %", per_cent(kept.held_bytes, kept.size_bytes)),
            &ago(kept.since_unix_ms, now),
            &kept.hash.to_string(),
        ])
    }));
    table(&rows)
}

pub fn settings(settings: &FileSettings) -> String {
    let limit = |rate: u64| if rate == 0 { "without limit".to_owned() } else { self::rate(rate) };
    let kinds: Vec<&str> = settings.unasked_kinds.iter().copied().map(ContentKind::name).collect();
    let unasked = if settings.unasked_bytes == 0 || kinds.is_empty() {
        "nothing".to_owned()
    } else {
        format!("up to {}: {}", bytes(settings.unasked_bytes), kinds.join(", "))
    };
    table(&[
        cells(["folder", &settings.folder.display().to_string()]),
        cells(["download", &limit(settings.download_bytes_per_second)]),
        cells(["upload", &limit(settings.upload_bytes_per_second)]),
        cells(["unasked", &unasked]),
        cells(["copies", &format!("{} for each contact that may", bytes(settings.copy_bytes_per_contact))]),
        cells(["store", &format!("{} at most", bytes(settings.store_bytes))]),
        cells(["at once", &settings.at_once.to_string()]),
    ])
}

#[cfg(test)]
pub mod tests {
    use kith_common::file::{FileHash, SealedCopy};

    use super::*;

    const ADA: PeerId = PeerId::from_public_key([1; 32]);

    pub fn source(state: SourceState, received_bytes: u64) -> Source {
        Source {
            peer: ADA,
            name: "ada".into(),
            state,
            path: Some(Path::Direct),
            received_bytes,
            bytes_per_second: 0,
            reason: String::new(),
            sealed: false,
        }
    }

    pub fn transfer(state: TransferState) -> Transfer {
        Transfer {
            id: 3,
            hash: FileHash::from_bytes([0xab; 32]),
            name: "a.bin".into(),
            kind: FileKind::File,
            size_bytes: 5_000_000_000,
            done_bytes: 2_260_000_000,
            state,
            bytes_per_second: 120_000_000,
            remaining_seconds: 22,
            sources: vec![source(SourceState::Active, 10)],
            folder: "/home/me/Downloads".into(),
            saved_path: String::new(),
            error: String::new(),
            advice: String::new(),
            started_unix_ms: 1000,
            finished_unix_ms: 0,
            seconds: 18.0,
            fetched_twice_bytes: 0,
            next_try_seconds: 0,
            files: 1,
            files_done: 0,
            error_kind: None,
        }
    }

    pub fn offer() -> Offer {
        Offer {
            id: 7,
            peer: ADA,
            name: "ada".into(),
            hash: FileHash::from_bytes([0xab; 32]),
            file_name: "b.bin".into(),
            kind: FileKind::Folder,
            size_bytes: 10,
            files: 2,
            received_unix_ms: 1000,
        }
    }

    fn a_share() -> Share {
        Share {
            hash: FileHash::from_bytes([0xab; 32]),
            ticket: "kithfile:x".into(),
            name: "a.bin".into(),
            kind: FileKind::File,
            size_bytes: 1000,
            files: 1,
            scope: ShareScope::Anyone,
            peers: Vec::new(),
            state: ShareState::Available,
            path: "/home/me/a.bin".into(),
            added_unix_ms: 1000,
            sent_bytes: 0,
            copies: vec![SealedCopy {
                peer: ADA,
                name: "ada".into(),
                held_bytes: 400,
                state: CopyState::Sending,
                reason: String::new(),
            }],
            position: 1,
        }
    }

    #[test]
    fn rows_have_the_promised_fields() {
        let shared = share_row(&a_share());
        for field in ["hash", "ticket", "name", "size", "providers", "state", "done"] {
            assert!(shared.get(field).is_some(), "{field}");
        }
        let moved = transfer_row(&transfer(TransferState::Done));
        for field in ["path", "hash", "name", "size", "seconds", "providers", "state", "done"] {
            assert!(moved.get(field).is_some(), "{field}");
        }
        assert_eq!((&moved["state"], &moved["done"]), (&"done".into(), &2_260_000_000_u64.into()));
        assert_eq!(moved["providers"][0]["name"], "ada");
        let offered = offer_row(&offer());
        for field in ["hash", "size", "providers", "state", "done", "id"] {
            assert!(offered.get(field).is_some(), "{field}");
        }
        assert_eq!((&offered["name"], &offered["peer_name"]), (&"b.bin".into(), &"ada".into()));
    }

    #[test]
    fn all_of_it_is_said_only_when_nothing_is_missing() {
        assert_eq!(
            [per_cent(0, 0), per_cent(999, 1000), per_cent(3, 2), per_cent(u64::MAX, u64::MAX)],
            [0, 99, 100, 100]
        );
        assert_eq!(bar(50, 100), "[############------------]  50 %");
    }

    #[test]
    fn a_transfer_says_what_it_does() {
        let text = transfers(&[transfer(TransferState::Fetching)]);
        assert!(text.ends_with("5.0 GB  45 %  fetching  120.0 MB/s, 22 s left, from ada (direct)"), "{text}");
        let waiting = Transfer { next_try_seconds: 10, ..transfer(TransferState::Waiting) };
        assert_eq!(remark(&waiting), "nobody who has it is there; next try in 10 s");
        let unknown = Transfer { name: String::new(), size_bytes: 0, ..transfer(TransferState::Searching) };
        assert!(transfers(&[unknown]).contains("abababababab…  –     –     searching"));
        let evil = Transfer { name: "a\nb\x1b[2J".into(), ..transfer(TransferState::Paused) };
        assert_eq!(title(&evil), "a ⏎ b[2J");
    }

    #[test]
    fn one_long_name_does_not_make_a_table_wide() {
        let long = "n".repeat(196) + ".bin";
        let shown = format!("{}…nnnnnn.bin  5.0 GB", "n".repeat(29));
        let fetched = Transfer { name: long.clone(), ..transfer(TransferState::Fetching) };
        assert!(transfers(std::slice::from_ref(&fetched)).contains(&shown), "{}", transfers(&[fetched]));
        let shared = Share { name: long.clone(), ..a_share() };
        let table = shares(std::slice::from_ref(&shared));
        assert!(table.lines().all(|line| line.chars().count() < 200), "{table}");
        assert!(share(&shared).contains(&long) && share_row(&shared)["name"] == long.as_str());
        assert_eq!(short(&"é".repeat(40)), "é".repeat(40));
    }

    #[test]
    fn what_is_left_out_and_where_an_offer_goes_is_said() {
        assert_eq!(cut(200, Some(512)), "The newest 200 of 512; --limit or --search shows others.");
        assert_eq!(
            accepted(&transfer(TransferState::Queued)),
            "a.bin (transfer 3) is being fetched into /home/me/Downloads. Follow it: kithctl files watch"
        );
    }

    #[test]
    fn a_share_says_who_has_how_much_and_ends_with_the_ticket() {
        assert!(shares(&[a_share()]).contains("ada 40 %"));
        assert_eq!(added(&a_share()).lines().last(), Some("kithfile:x"));
        let all = share(&Share { state: ShareState::Changed, ..a_share() });
        assert!(all.contains("add it again") && all.contains("ada, sending (400 bytes)"), "{all}");
    }

    #[test]
    fn providers_are_those_from_whom_something_came() {
        let more = Source { name: "ben".into(), path: None, ..source(SourceState::Dropped, 20) };
        let none = Source { name: "cem".into(), ..source(SourceState::Lied, 0) };
        assert_eq!(providers(&[source(SourceState::Active, 10), more, none]), "ben, ada (direct)");
    }
}
