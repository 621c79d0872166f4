//! Files of the scripted daemon: transfers in every state, of which some go on by the second, offers, uploads, sealed
//! copies, and more shares than anybody scrolls through.

use std::path::PathBuf;
use std::sync::Arc;

use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, AddProgress, ContentKind, CopyKey, CopyState, FileHash, FileKind, FileSettings, FileTarget, FileTicket,
    FilesState, Kept, Offer, SealedCopy, Share, ShareScope, ShareState, Source, SourceState, Transfer, TransferState,
    Upload,
};
use kith_common::ids::PeerId;
use kith_common::node::Path;

use super::peer_id;
use crate::link::{Event, Filing, Job, News, SHARES};

/// Shares that are made as they are looked at.
pub const SHARED: usize = 2_400;
/// What one reads of a dropped file in a second.
const READ: u64 = 900_000_000;
/// What every file has that is dropped on the scripted window.
const DROPPED: u64 = 2_200_000_000;
const HOME: &str = "/home/grace";

pub fn hash(number: u16) -> FileHash {
    let mut bytes = [0x3c; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes[2] = (number % 251) as u8;
    FileHash::from_bytes(bytes)
}

/// The ticket of the file with this number.
pub fn ticket_of(number: u16) -> FileTicket {
    let (name, size_bytes) = match number {
        1 => ("apollo-11-listings.tar".to_owned(), 5_038_848_000),
        2 => ("cards.pdf".to_owned(), 2_412_880),
        3 => ("note-g.pdf".to_owned(), 18_600_000),
        number => (format!("photo-{number:04}.jpg"), 3_000_000 + u64::from(number) * 1_717),
    };
    FileTicket {
        hash: hash(number),
        kind: FileKind::File,
        size_bytes,
        key: CopyKey([4; 32]),
        peer: peer_id(1),
        name,
        addresses: vec!["/ip4/203.0.113.10/udp/9999/quic-v1".parse().expect("a valid address")],
    }
}

pub fn ticket(number: u16) -> String {
    ticket_of(number).to_string()
}

fn source(number: u8, name: &str, path: Path, received_bytes: u64, bytes_per_second: u64) -> Source {
    Source {
        peer: peer_id(number),
        name: name.into(),
        state: if bytes_per_second > 0 { SourceState::Active } else { SourceState::Stalled },
        path: Some(path),
        received_bytes,
        bytes_per_second,
        reason: String::new(),
        sealed: false,
    }
}

fn liar() -> Source {
    Source {
        state: SourceState::Lied,
        reason: "sent something else than the file; nothing of that was kept".into(),
        ..source(44, "Mallory", Path::Direct, 0, 0)
    }
}

fn transfer(id: u32, number: u16, state: TransferState) -> Transfer {
    let FileTicket { hash, kind, size_bytes, name, .. } = ticket_of(number);
    Transfer {
        id,
        hash,
        name,
        kind,
        size_bytes,
        done_bytes: 0,
        state,
        bytes_per_second: 0,
        remaining_seconds: 0,
        sources: Vec::new(),
        folder: format!("{HOME}/Downloads"),
        saved_path: String::new(),
        error: String::new(),
        advice: String::new(),
        started_unix_ms: unix_ms() - 60_000,
        finished_unix_ms: 0,
        seconds: 0.0,
        fetched_twice_bytes: 0,
        next_try_seconds: 0,
        files: 1,
        files_done: 0,
        error_kind: None,
    }
}

/// A large file, on its way from three at very different rates, after a fourth has lied.
pub fn fetching() -> Transfer {
    Transfer {
        done_bytes: 1_209_000_000,
        bytes_per_second: 57_600_000,
        remaining_seconds: 66,
        sources: vec![
            source(1, "Ada Lovelace", Path::Lan, 902_000_000, 47_300_000),
            source(2, "Alan Turing", Path::Direct, 281_000_000, 9_200_000),
            source(3, "Katherine Johnson", Path::Relayed, 26_000_000, 1_100_000),
            liar(),
        ],
        ..transfer(1, 1, TransferState::Fetching)
    }
}

/// The same, whole.
pub fn finished() -> Transfer {
    let size = ticket_of(1).size_bytes;
    Transfer {
        id: 1,
        done_bytes: size,
        state: TransferState::Done,
        bytes_per_second: 0,
        remaining_seconds: 0,
        saved_path: format!("{HOME}/Downloads/apollo-11-listings (1).tar"),
        finished_unix_ms: unix_ms(),
        seconds: 87.5,
        files_done: 1,
        ..fetching()
    }
}

fn transfers() -> Vec<Transfer> {
    let mut full = Transfer {
        done_bytes: 310_000_000,
        size_bytes: 4_700_000_000,
        name: "moon-landing-restored.mkv".into(),
        error: format!("the disk of {HOME}/Downloads is full: 4.4 GB more are needed"),
        advice: "Make room and press Resume".into(),
        error_kind: Some(FailureKind::Internal),
        ..transfer(2, 20, TransferState::Paused)
    };
    full.sources = vec![source(2, "Alan Turing", Path::Direct, 310_000_000, 0)];
    let waiting = Transfer {
        name: "manual".into(),
        kind: FileKind::Folder,
        size_bytes: 84_000_000,
        done_bytes: 31_000_000,
        files: 212,
        files_done: 96,
        next_try_seconds: 80,
        ..transfer(3, 21, TransferState::Waiting)
    };
    let queued = Transfer { name: "sources.tar.zst".into(), ..transfer(4, 22, TransferState::Queued) };
    let failed = Transfer {
        name: "minutes.txt".into(),
        error: "Dennis Ritchie does not share it with you".into(),
        advice: "Ask them to share it with you, then try again".into(),
        error_kind: Some(FailureKind::NotPermitted),
        ..transfer(5, 23, TransferState::Failed)
    };
    let note = Transfer {
        size_bytes: 18_600_000,
        done_bytes: 18_600_000,
        saved_path: format!("{HOME}/Downloads/note-g.pdf"),
        finished_unix_ms: unix_ms() - 3_600_000,
        seconds: 2.1,
        sources: vec![source(1, "Ada Lovelace", Path::Lan, 18_600_000, 0)],
        files_done: 1,
        ..transfer(6, 3, TransferState::Done)
    };
    vec![fetching(), full, waiting, queued, failed, note]
}

fn offers() -> Vec<Offer> {
    let offer = |id, number: u8, name: &str, file_name: &str, size_bytes, ago_ms| Offer {
        id,
        peer: peer_id(number),
        name: name.into(),
        hash: hash(900 + u16::from(number)),
        file_name: file_name.into(),
        kind: FileKind::File,
        size_bytes,
        files: 1,
        received_unix_ms: unix_ms() - ago_ms,
    };
    let drawings = offer(1, 1, "Ada Lovelace", "engine-drawings", 1_240_000_000, 300_000);
    vec![
        Offer { kind: FileKind::Folder, files: 48, ..drawings },
        offer(2, 2, "Alan Turing", "on-computable-numbers.pdf", 1_900_000, 7_500_000),
    ]
}

/// What the feed tells when the daemon has just started.
pub fn state() -> FilesState {
    FilesState {
        transfers: transfers(),
        offers: offers(),
        uploads: vec![Upload {
            peer: peer_id(4),
            name: "Dennis Ritchie".into(),
            hash: hash(2),
            file_name: "cobol-manual.pdf".into(),
            sent_bytes: 41_000_000,
            bytes_per_second: 5_200_000,
            path: Some(Path::Direct),
            sealed: false,
        }],
        shares_revision: 1,
        shares: u32::try_from(SHARED).unwrap_or(u32::MAX),
        kept_bytes: 3_100_000_000,
    }
}

/// The share at a position; the newest have everything that one can have.
fn share(position: u64) -> Share {
    let number = u16::try_from(position).unwrap_or(u16::MAX);
    let newest = SHARED as u64 - position;
    let FileTicket { kind, size_bytes, .. } = ticket_of(number);
    let share = Share {
        hash: hash(number),
        ticket: FileTicket { peer: peer_id(0), ..ticket_of(number) }.to_string(),
        name: format!("photo-{number:04}.jpg"),
        kind,
        size_bytes,
        files: 1,
        scope: ShareScope::Anyone,
        peers: Vec::new(),
        state: ShareState::Available,
        path: format!("{HOME}/Pictures/photo-{number:04}.jpg"),
        added_unix_ms: unix_ms() - i64::try_from(newest).unwrap_or(0) * 3_600_000,
        sent_bytes: 0,
        copies: Vec::new(),
        position,
    };
    let copy = |number, name: &str, held_bytes, state| SealedCopy {
        peer: peer_id(number),
        name: name.into(),
        held_bytes,
        state,
        reason: String::new(),
    };
    match newest {
        0 => Share {
            name: "cobol-manual.pdf".into(),
            size_bytes: 212_000_000,
            path: format!("{HOME}/Documents/cobol-manual.pdf"),
            sent_bytes: 1_860_000_000,
            copies: vec![
                copy(1, "Ada Lovelace", 212_000_000, CopyState::Kept),
                copy(2, "Alan Turing", 88_000_000, CopyState::Sending),
            ],
            ..share
        },
        1 => Share {
            name: "lecture-nanoseconds".into(),
            kind: FileKind::Folder,
            files: 31,
            size_bytes: 6_400_000_000,
            scope: ShareScope::Contacts,
            path: format!("{HOME}/Videos/lecture-nanoseconds"),
            ..share
        },
        2 => Share {
            name: "draft.odt".into(),
            scope: ShareScope::Peers,
            peers: vec![peer_id(1), peer_id(2)],
            state: ShareState::Changed,
            path: format!("{HOME}/Documents/draft.odt"),
            ..share
        },
        3 => Share { name: "old-tape.img".into(), state: ShareState::Missing, ..share },
        _ => share,
    }
}

/// The newest before that position.
pub fn page(before: u64) -> Vec<Share> {
    Shelf::default().page("", before)
}

pub fn settings() -> FileSettings {
    FileSettings {
        folder: PathBuf::from(format!("{HOME}/Downloads")),
        download_bytes_per_second: 0,
        upload_bytes_per_second: 2_500_000,
        unasked_bytes: 20 * 1024 * 1024,
        unasked_kinds: vec![ContentKind::Image, ContentKind::Document],
        copy_bytes_per_contact: 1024 * 1024 * 1024,
        store_bytes: 10 * 1024 * 1024 * 1024,
        at_once: 3,
    }
}

fn kept() -> Vec<Kept> {
    let kept = |number: u8, name: &str, size_bytes: u64, held_bytes| Kept {
        peer: peer_id(number),
        name: name.into(),
        hash: hash(800 + u16::from(number)),
        size_bytes,
        held_bytes,
        since_unix_ms: unix_ms() - i64::from(number) * 86_400_000,
    };
    vec![
        kept(1, "Ada Lovelace", 2_400_000_000, 2_400_000_000),
        kept(3, "Katherine Johnson", 1_900_000_000, 700_000_000),
    ]
}

struct Reading {
    job: Job,
    path: PathBuf,
    options: AddOptions,
    done_bytes: u64,
}

/// What the scripted daemon has.
pub struct Shelf {
    pub state: FilesState,
    /// The newest first; those that are made as they are looked at come after them.
    added: Vec<Share>,
    gone: Vec<FileHash>,
    changed: Vec<Share>,
    pub kept: Vec<Kept>,
    settings: FileSettings,
    reading: Vec<Reading>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            state: state(),
            added: Vec::new(),
            gone: Vec::new(),
            changed: Vec::new(),
            kept: kept(),
            settings: settings(),
            reading: Vec::new(),
        }
    }
}

fn missing(what: &str) -> News {
    News::Failed(Failure::new(FailureKind::NotFound, format!("there is no such {what}")))
}

impl Shelf {
    pub fn told(&self) -> Event {
        Event::Files(Ok(Arc::new(self.state.clone())))
    }

    /// Those before a position, the newest first.
    fn before(&self, before: u64) -> impl Iterator<Item = Share> + '_ {
        let before = if before == 0 { u64::MAX } else { before };
        let made = (1..=(SHARED as u64).min(before - 1)).rev().map(share);
        let there = self
            .added
            .iter()
            .filter(move |share| share.position < before)
            .cloned()
            .chain(made)
            .filter(move |share| !self.gone.contains(&share.hash));
        there.map(move |share| self.changed.iter().find(|changed| changed.hash == share.hash).cloned().unwrap_or(share))
    }

    fn page(&self, search: &str, before: u64) -> Vec<Share> {
        let sought = search.to_lowercase();
        let fits = |share: &Share| {
            let fields = [share.name.to_lowercase(), share.path.to_lowercase(), share.hash.to_string()];
            fields.iter().any(|field| field.contains(&sought))
        };
        self.before(before).filter(fits).take(SHARES as usize).collect()
    }

    /// The list of shares is another now.
    fn revise(&mut self) {
        self.state.shares_revision += 1;
        self.state.shares = u32::try_from(SHARED + self.added.len() - self.gone.len()).unwrap_or(u32::MAX);
    }

    fn next_id(&self) -> u32 {
        self.state.transfers.iter().map(|transfer| transfer.id).max().unwrap_or(0) + 1
    }

    fn change(&mut self, id: u32, change: impl FnOnce(&mut Transfer)) -> News {
        match self.state.transfers.iter_mut().find(|transfer| transfer.id == id) {
            Some(transfer) => {
                change(transfer);
                News::Transfer(Box::new(transfer.clone()))
            }
            None => missing("transfer"),
        }
    }

    fn fetch(&mut self, hash: FileHash, name: String, size_bytes: u64, kind: FileKind) -> News {
        if let Some(known) = self.state.transfers.iter().find(|known| known.hash == hash && known.state.is_live()) {
            return News::Transfer(Box::new(known.clone()));
        }
        let mut new = Transfer {
            hash,
            name,
            size_bytes,
            kind,
            sources: vec![source(1, "Ada Lovelace", Path::Lan, 0, 0)],
            ..transfer(self.next_id(), 1, TransferState::Searching)
        };
        new.sources[0].state = SourceState::Connecting;
        self.state.transfers.insert(0, new.clone());
        News::Transfer(Box::new(new))
    }

    /// What comes of it, and what the feed tells. Files that are added are read as time passes.
    pub fn obey(&mut self, job: Job, filing: &Filing) -> Vec<Event> {
        let revision = self.state.shares_revision;
        let news = match filing {
            Filing::Add(path, options) => {
                self.reading.push(Reading { job, path: path.clone(), options: options.clone(), done_bytes: 0 });
                return vec![Event::News(job, News::Adding(AddProgress::default()))];
            }
            Filing::Shares { search, before } => News::Shares(self.page(search, *before)),
            Filing::Remove(hash) => {
                self.gone.push(*hash);
                self.revise();
                News::Done
            }
            Filing::Get(target, _) => match target.parse::<FileTarget>() {
                Ok(FileTarget::Ticket(ticket)) => self.fetch(ticket.hash, ticket.name, ticket.size_bytes, ticket.kind),
                Ok(FileTarget::Hash(hash)) => self.fetch(hash, "unnamed".into(), 0, FileKind::File),
                Err(error) => News::Failed(Failure::new(FailureKind::InvalidArgument, error.to_string())),
            },
            Filing::Pause(id) => self.change(*id, |transfer| {
                transfer.state = TransferState::Paused;
                transfer.bytes_per_second = 0;
            }),
            Filing::Resume(id) => self.change(*id, |transfer| {
                transfer.state = TransferState::Searching;
                transfer.error.clear();
                transfer.advice.clear();
            }),
            Filing::First(id) => {
                let news = self.change(*id, |transfer| transfer.state = TransferState::Searching);
                self.state.transfers.sort_by_key(|transfer| transfer.id != *id);
                news
            }
            Filing::Cancel(id) => {
                self.state.transfers.retain(|transfer| transfer.id != *id);
                News::Done
            }
            Filing::Accept(id, _) => match self.state.offers.iter().position(|offer| offer.id == *id) {
                Some(at) => {
                    let offer = self.state.offers.remove(at);
                    self.fetch(offer.hash, offer.file_name, offer.size_bytes, offer.kind)
                }
                None => missing("offer"),
            },
            Filing::Refuse(id) => {
                self.state.offers.retain(|offer| offer.id != *id);
                News::Done
            }
            Filing::Keep(hash, peers) => self.keep(*hash, peers),
            Filing::Kept => News::Kept(self.kept.clone()),
            Filing::DropKept(hash) => {
                self.kept.retain(|kept| kept.hash != *hash);
                News::Done
            }
            Filing::Settings => News::FileSettings(Box::new(self.settings.clone())),
            Filing::Set(settings) => {
                self.settings.clone_from(settings);
                if settings.folder.as_os_str().is_empty() {
                    self.settings.folder = format!("{HOME}/Downloads").into();
                }
                News::Done
            }
        };
        let asks = matches!(filing, Filing::Shares { .. } | Filing::Kept | Filing::Settings);
        let quiet = asks && revision == self.state.shares_revision;
        let told = if quiet { None } else { Some(self.told()) };
        std::iter::once(Event::News(job, news)).chain(told).collect()
    }

    fn keep(&mut self, hash: FileHash, peers: &[PeerId]) -> News {
        let Some(mut share) = self.before(0).find(|share| share.hash == hash) else { return missing("share") };
        share.copies.retain(|copy| peers.contains(&copy.peer));
        for peer in peers {
            if share.copies.iter().any(|copy| copy.peer == *peer) {
                continue;
            }
            let name = String::new();
            let reason = String::new();
            share.copies.push(SealedCopy { peer: *peer, name, held_bytes: 0, state: CopyState::Asked, reason });
        }
        self.changed.retain(|changed| changed.hash != hash);
        self.changed.push(share.clone());
        self.revise();
        News::Share(Box::new(share))
    }

    /// What was called off is not read any more.
    pub fn cancel(&mut self, job: Job) {
        self.reading.retain(|reading| reading.job != job);
    }

    /// A second has passed.
    pub fn tick(&mut self) -> Vec<Event> {
        let mut events = self.read();
        let before = self.state.clone();
        for transfer in &mut self.state.transfers {
            go_on(transfer);
        }
        for upload in &mut self.state.uploads {
            upload.sent_bytes += upload.bytes_per_second;
        }
        // What is done stands after what is not.
        self.state.transfers.sort_by_key(|transfer| transfer.state == TransferState::Done);
        if self.state != before || !events.is_empty() {
            events.push(self.told());
        }
        events
    }

    fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for mut reading in std::mem::take(&mut self.reading) {
            reading.done_bytes += READ;
            if reading.done_bytes < DROPPED {
                let progress = AddProgress { done_bytes: reading.done_bytes, total_bytes: DROPPED, files: 1 };
                events.push(Event::News(reading.job, News::Adding(progress)));
                self.reading.push(reading);
                continue;
            }
            let position = (SHARED + self.added.len()) as u64 + 1;
            let number = u16::try_from(position).unwrap_or(u16::MAX);
            let name = reading.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let peers = reading.options.peers.iter().filter_map(|peer| peer.parse().ok()).collect();
            let ticket = FileTicket { name: name.clone(), size_bytes: DROPPED, peer: peer_id(0), ..ticket_of(number) };
            let share = Share {
                ticket: ticket.to_string(),
                name,
                size_bytes: DROPPED,
                scope: reading.options.scope,
                peers,
                path: reading.path.to_string_lossy().into_owned(),
                position,
                ..self::share(1)
            };
            let share = Share { hash: hash(number), ..share };
            self.added.insert(0, share.clone());
            self.revise();
            events.push(Event::News(reading.job, News::Share(Box::new(share))));
        }
        events
    }
}

/// What one second does to a transfer.
fn go_on(transfer: &mut Transfer) {
    match transfer.state {
        TransferState::Searching => {
            transfer.state = TransferState::Fetching;
            if transfer.size_bytes == 0 {
                transfer.size_bytes = 640_000_000;
            }
            for source in transfer.sources.iter_mut().filter(|source| source.state != SourceState::Lied) {
                source.state = SourceState::Active;
                source.bytes_per_second = source.bytes_per_second.max(41_000_000);
            }
        }
        TransferState::Fetching => {
            let active = transfer.sources.iter_mut().filter(|source| source.state == SourceState::Active);
            let mut rate = 0;
            for source in active {
                source.received_bytes += source.bytes_per_second;
                rate += source.bytes_per_second;
            }
            transfer.bytes_per_second = rate;
            transfer.seconds += 1.0;
            transfer.done_bytes = (transfer.done_bytes + rate).min(transfer.size_bytes);
            let left = (transfer.size_bytes - transfer.done_bytes).div_ceil(rate.max(1));
            transfer.remaining_seconds = u32::try_from(left).unwrap_or(0);
            if transfer.done_bytes == transfer.size_bytes {
                transfer.state = TransferState::Finishing;
            }
        }
        TransferState::Finishing => {
            transfer.state = TransferState::Done;
            transfer.bytes_per_second = 0;
            transfer.finished_unix_ms = unix_ms();
            transfer.saved_path = format!("{}/{}", transfer.folder, transfer.name);
        }
        TransferState::Waiting => {
            transfer.next_try_seconds = transfer.next_try_seconds.checked_sub(1).unwrap_or(80);
        }
        _ => {}
    }
}
