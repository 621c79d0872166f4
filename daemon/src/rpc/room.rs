//! How much of what there is goes into one message to a client.

use std::borrow::Cow;

use kith_common::call::CallRecord;
use kith_common::chat::{Conversation, Message};
use kith_common::contact::{Contact, People};
use kith_common::file::{FilesState, Kept, MAX_TRANSFERS, Offer, Share, Transfer, Upload};
use kith_common::rpc::MAX_MESSAGE_BYTES;

/// For the items of a list: half of what a message may have, so that what is counted roughly fits.
const ROOM_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// What a row takes besides its texts: ids as text, numbers, pointers, and the rounding of each to eight bytes.
const ROW_BYTES: usize = 512;
/// Seconds spent at a picture size.
const SIZE_BYTES: usize = 16;
/// A peer id as text, with its pointer.
const PEER_BYTES: usize = 64;
/// Conversations of a list: the schema promises so many.
const MAX_CONVERSATIONS: usize = 2000;
/// Sealed copies of others in a list, likewise.
const MAX_KEPT: usize = 2000;
/// Of the room, for offers and for uploads each; transfers have all of it.
const PART: usize = 8;
/// Of a conversation's last message, to show in a list.
const PREVIEW_CHARS: usize = 256;

/// How many of the first items fit.
fn fitting<'a, T: 'a>(items: impl Iterator<Item = &'a T>, bytes: impl Fn(&T) -> usize) -> usize {
    fitting_in(ROOM_BYTES, items, bytes)
}

fn fitting_in<'a, T: 'a>(mut room: usize, items: impl Iterator<Item = &'a T>, bytes: impl Fn(&T) -> usize) -> usize {
    let fits = |item: &&T| {
        let left = room.checked_sub(bytes(item));
        room = left.unwrap_or_default();
        left.is_some()
    };
    items.take_while(fits).count()
}

fn message_bytes(message: &Message) -> usize {
    let reactions =
        message.reactions.iter().map(|reaction| ROW_BYTES + reaction.emoji.len() + reaction.peers.len() * PEER_BYTES);
    let attachments =
        message.attachments.iter().map(|attachment| ROW_BYTES + attachment.ticket.len() + attachment.name.len());
    let texts = message.text.len() + message.error.len() + message.reply_text.len();
    ROW_BYTES + texts + reactions.sum::<usize>() + attachments.sum::<usize>()
}

/// The first of these that fit. One always does: what a message has is limited where it is stored.
pub fn first(messages: &[Message]) -> &[Message] {
    let fitting = fitting(messages.iter(), message_bytes).max(1);
    &messages[..fitting.min(messages.len())]
}

/// The last of these that fit.
pub fn last(messages: &[Message]) -> &[Message] {
    let fitting = fitting(messages.iter().rev(), message_bytes).max(1);
    &messages[messages.len().saturating_sub(fitting)..]
}

/// The first calls of the log that fit.
pub fn calls(records: &[CallRecord]) -> &[CallRecord] {
    let bytes = |record: &CallRecord| {
        let texts = record.peer_name.len() + record.target.len() + record.detail.len();
        let figures = record.stats.as_ref().map_or(0, |stats| stats.encoder.len() + stats.sizes.len() * SIZE_BYTES);
        2 * ROW_BYTES + texts + figures
    };
    let fitting = fitting(records.iter(), bytes).max(1);
    &records[..fitting.min(records.len())]
}

/// The list that a client shows: without what is long in the last messages, and without the oldest when there are too
/// many.
pub fn conversations(mut conversations: Vec<Conversation>) -> Vec<Conversation> {
    for message in conversations.iter_mut().filter_map(|conversation| conversation.last.as_mut()) {
        shorten(&mut message.text);
        shorten(&mut message.reply_text);
        message.attachments.clear();
        message.reactions.clear();
    }
    let bytes = |conversation: &Conversation| {
        let last = conversation.last.as_ref().map_or(0, message_bytes);
        ROW_BYTES + conversation.title.len() + conversation.members.len() * PEER_BYTES + last
    };
    let fitting = fitting(conversations.iter(), bytes);
    conversations.truncate(fitting.min(MAX_CONVERSATIONS));
    conversations
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(PREVIEW_CHARS) {
        text.truncate(end);
    }
}

/// With notes left out where there are too many of them, and then with the first contacts and the newest requests.
pub fn people(people: &People) -> Cow<'_, People> {
    let bytes = |contact: &Contact| ROW_BYTES + contact.name.len() + contact.own_name.len() + contact.note.len();
    let requests: usize =
        people.requests.iter().map(|request| ROW_BYTES + request.name.len() + request.text.len()).sum();
    let all: usize = requests + people.contacts.iter().map(bytes).sum::<usize>();
    if all <= ROOM_BYTES {
        return Cow::Borrowed(people);
    }
    let mut people = people.clone();
    people.contacts.iter_mut().for_each(|contact| contact.note.clear());
    let fitting = fitting(people.contacts.iter(), bytes);
    people.contacts.truncate(fitting);
    Cow::Owned(people)
}

fn share_bytes(share: &Share) -> usize {
    let copies = share.copies.iter().map(|copy| ROW_BYTES + copy.name.len() + copy.reason.len());
    let texts = share.ticket.len() + share.name.len() + share.path.len();
    ROW_BYTES + texts + share.peers.len() * PEER_BYTES + copies.sum::<usize>()
}

/// The first of these that fit, one at least: the next page begins after the last of them.
pub fn shares(shares: &[Share]) -> &[Share] {
    let fitting = fitting(shares.iter(), share_bytes).max(1);
    &shares[..fitting.min(shares.len())]
}

fn transfer_bytes(transfer: &Transfer) -> usize {
    let sources = transfer.sources.iter().map(|source| ROW_BYTES + source.name.len() + source.reason.len());
    let paths = transfer.folder.len() + transfer.saved_path.len();
    let texts = transfer.name.len() + transfer.error.len() + transfer.advice.len();
    ROW_BYTES + paths + texts + sources.sum::<usize>()
}

/// Where there is too much: without the sources of what does not go on, and then the first transfers, the first offers
/// and the first uploads.
pub fn files(state: &FilesState) -> Cow<'_, FilesState> {
    let offer = |offer: &Offer| ROW_BYTES + offer.name.len() + offer.file_name.len();
    let upload = |upload: &Upload| ROW_BYTES + upload.name.len() + upload.file_name.len();
    let transfers: usize = state.transfers.iter().map(transfer_bytes).sum();
    let others = state.offers.iter().map(offer).chain(state.uploads.iter().map(upload)).sum::<usize>();
    if transfers + others <= ROOM_BYTES && state.transfers.len() <= MAX_TRANSFERS {
        return Cow::Borrowed(state);
    }
    let mut state = state.clone();
    state.transfers.truncate(MAX_TRANSFERS);
    let over = state.transfers.iter_mut().filter(|transfer| !transfer.state.is_live());
    over.for_each(|transfer| transfer.sources.clear());
    let transfers = fitting(state.transfers.iter(), transfer_bytes);
    state.transfers.truncate(transfers);
    let offers = fitting_in(ROOM_BYTES / PART, state.offers.iter(), offer);
    state.offers.truncate(offers);
    let uploads = fitting_in(ROOM_BYTES / PART, state.uploads.iter(), upload);
    state.uploads.truncate(uploads);
    Cow::Owned(state)
}

/// The first of these that fit.
pub fn kept(kept: &[Kept]) -> &[Kept] {
    &kept[..fitting(kept.iter(), |kept| ROW_BYTES + kept.name.len()).min(MAX_KEPT)]
}

#[cfg(test)]
mod tests {
    use kith_common::call::Direction;
    use kith_common::chat::{ConversationId, MAX_PAGE, MAX_TEXT_BYTES, MessageId, MessageState};
    use kith_common::contact::MAX_NOTE_CHARS;
    use kith_common::convert::{
        write_conversations, write_files_state, write_kept, write_messages, write_people, write_shares,
    };
    use kith_common::file::{
        CopyState, FileHash, FileKind, MAX_FILE_NAME_BYTES, MAX_FILE_PEERS, MAX_SHARES_PAGE, SealedCopy, ShareScope,
        ShareState, Source, SourceState, TransferState,
    };
    use kith_common::ids::PeerId;
    use kith_common::{chat_capnp, contact_capnp, file_capnp};

    use super::*;

    fn message(position: u64, text: String) -> Message {
        let author = PeerId::from_public_key([1; 32]);
        Message {
            cursor: position,
            id: MessageId::from_bytes([2; 16]),
            conversation: ConversationId::Peer(author),
            author,
            direction: Direction::Incoming,
            text,
            sent_unix_ms: 0,
            stored_unix_ms: 0,
            state: MessageState::Delivered,
            error: String::new(),
            edited: false,
            deleted: false,
            reply_to: None,
            reply_text: String::new(),
            reactions: Vec::new(),
            attachments: Vec::new(),
            position,
        }
    }

    fn positions(messages: &[Message]) -> (u64, u64) {
        let all: Vec<_> = messages.iter().map(|message| message.position).collect();
        (all[0], all[all.len() - 1])
    }

    fn written<A: capnp::message::Allocator>(wire: &capnp::message::Builder<A>) -> usize {
        wire.get_segments_for_output().iter().map(|segment| segment.len()).sum()
    }

    #[test]
    fn pages_of_the_longest_messages_are_cut_at_the_end_that_is_further_away() {
        let all: Vec<_> = (0..MAX_PAGE).map(|n| message(n.into(), "x".repeat(MAX_TEXT_BYTES))).collect();
        let (head, tail) = (first(&all), last(&all));
        assert_eq!((positions(head).0, positions(tail).1), (0, u64::from(MAX_PAGE) - 1));
        for page in [head, tail] {
            assert!(page.len() > 100, "{}", page.len());
            let mut wire = capnp::message::Builder::new_default();
            let list =
                wire.initn_root::<capnp::struct_list::Builder<'_, chat_capnp::message::Owned>>(page.len() as u32);
            write_messages(page, list);
            assert!(written(&wire) < MAX_MESSAGE_BYTES, "{}", written(&wire));
        }
        assert!(first(&[]).is_empty() && last(&[]).is_empty());
        let huge = [message(0, "x".repeat(MAX_MESSAGE_BYTES)), message(1, String::new())];
        assert_eq!((positions(first(&huge)), positions(last(&huge))), ((0, 0), (1, 1)));
        let short: Vec<_> = (0..MAX_PAGE).map(|n| message(n.into(), "Hello".into())).collect();
        assert_eq!((first(&short), last(&short)), (&short[..], &short[..]));
    }

    #[test]
    fn a_list_of_conversations_shows_beginnings_and_fits() {
        let peer = PeerId::from_public_key([1; 32]);
        let conversation = Conversation {
            id: ConversationId::Peer(peer),
            title: "Ada".into(),
            members: vec![peer; 32],
            unread: 0,
            last: Some(message(1, "ü".repeat(MAX_TEXT_BYTES / 2))),
            retention_days: 0,
            left: false,
            cursor: 1,
        };
        let list = conversations(vec![conversation; 5000]);
        assert!(list.len() > 500, "{}", list.len());
        assert_eq!(list[0].last.as_ref().map(|last| last.text.chars().count()), Some(PREVIEW_CHARS));
        let mut wire = capnp::message::Builder::new_default();
        let to = wire.initn_root::<capnp::struct_list::Builder<'_, chat_capnp::conversation::Owned>>(list.len() as u32);
        write_conversations(&list, to);
        assert!(written(&wire) < MAX_MESSAGE_BYTES, "{}", written(&wire));
    }

    #[test]
    fn notes_give_way_to_contacts() {
        let note = "x".repeat(MAX_NOTE_CHARS);
        let contact = Contact { note, ..Contact::new(PeerId::from_public_key([1; 32]), "Ada") };
        let few = People { contacts: vec![contact.clone(); 100], ..People::default() };
        assert_eq!(*people(&few), few);
        let many = People { contacts: vec![contact; 2000], ..People::default() };
        let cut = people(&many);
        assert!(cut.contacts.len() == 2000 && cut.contacts[0].note.is_empty());
        let mut wire = capnp::message::Builder::new_default();
        write_people(&cut, wire.init_root::<contact_capnp::people::Builder<'_>>());
        assert!(written(&wire) < MAX_MESSAGE_BYTES, "{}", written(&wire));
    }

    const PEER: PeerId = PeerId::from_public_key([1; 32]);

    /// As long as names and paths may be.
    fn name() -> String {
        "x".repeat(MAX_FILE_NAME_BYTES)
    }

    fn path() -> String {
        "/x".repeat(2048)
    }

    fn transfer(id: u32, state: TransferState) -> Transfer {
        let source = Source {
            peer: PEER,
            name: name(),
            state: SourceState::Dropped,
            path: None,
            received_bytes: 0,
            bytes_per_second: 0,
            reason: "It does not have it any more.".into(),
            sealed: false,
        };
        Transfer {
            id,
            hash: FileHash::from_bytes([2; 32]),
            name: name(),
            kind: FileKind::File,
            size_bytes: 0,
            done_bytes: 0,
            state,
            bytes_per_second: 0,
            remaining_seconds: 0,
            sources: vec![source; 8],
            folder: String::new(),
            saved_path: String::new(),
            error: String::new(),
            advice: String::new(),
            started_unix_ms: 0,
            finished_unix_ms: 0,
            seconds: 0.0,
            fetched_twice_bytes: 0,
            next_try_seconds: 0,
            files: 1,
            files_done: 0,
            error_kind: None,
        }
    }

    fn written_state(state: &FilesState) -> usize {
        let mut wire = capnp::message::Builder::new_default();
        write_files_state(state, wire.init_root::<file_capnp::files_state::Builder<'_>>());
        written(&wire)
    }

    #[test]
    fn sources_of_what_is_over_give_way_to_transfers_and_those_to_the_message() {
        let few = FilesState { transfers: vec![transfer(1, TransferState::Fetching)], ..FilesState::default() };
        assert_eq!(*files(&few), few);
        let mut transfers = vec![transfer(1, TransferState::Fetching)];
        transfers.extend((0..499).map(|_| transfer(2, TransferState::Done)));
        let many = FilesState { transfers, ..FilesState::default() };
        let cut = files(&many);
        assert_eq!(cut.transfers.len(), 500);
        assert_eq!(cut.transfers.iter().map(|transfer| transfer.sources.len()).sum::<usize>(), 8);
        let long = Transfer { folder: path(), saved_path: path(), ..transfer(3, TransferState::Waiting) };
        let offer = Offer {
            id: 1,
            peer: PEER,
            name: name(),
            hash: FileHash::from_bytes([2; 32]),
            file_name: name(),
            kind: FileKind::File,
            size_bytes: 0,
            files: 1,
            received_unix_ms: 0,
        };
        let upload = Upload {
            peer: PEER,
            name: name(),
            hash: FileHash::from_bytes([2; 32]),
            file_name: name(),
            sent_bytes: 0,
            bytes_per_second: 0,
            path: None,
            sealed: false,
        };
        let most = FilesState {
            transfers: vec![long; 1000],
            offers: vec![offer; 5000],
            uploads: vec![upload; 5000],
            ..FilesState::default()
        };
        let cut = files(&most);
        let counts = (cut.transfers.len(), cut.offers.len(), cut.uploads.len());
        assert!(counts.0 > 100 && counts.1 > 200 && counts.2 > 200, "{counts:?}");
        assert!(written_state(&cut) < MAX_MESSAGE_BYTES, "{}", written_state(&cut));
    }

    #[test]
    fn pages_of_shares_and_lists_of_copies_fit() {
        let copy = SealedCopy { peer: PEER, name: name(), held_bytes: 0, state: CopyState::Refused, reason: name() };
        let share = Share {
            hash: FileHash::from_bytes([2; 32]),
            ticket: "x".repeat(4096),
            name: name(),
            kind: FileKind::File,
            size_bytes: 0,
            files: 1,
            scope: ShareScope::Peers,
            peers: vec![PEER; MAX_FILE_PEERS],
            state: ShareState::Available,
            path: path(),
            added_unix_ms: 0,
            sent_bytes: 0,
            copies: vec![copy; MAX_FILE_PEERS],
            position: 1,
        };
        let usual =
            vec![Share { copies: Vec::new(), ticket: "x".repeat(400), ..share.clone() }; MAX_SHARES_PAGE as usize];
        assert_eq!(shares(&usual).len(), usual.len());
        let long = vec![share; MAX_SHARES_PAGE as usize];
        let page = shares(&long);
        assert!(page.len() > 40, "{}", page.len());
        let mut wire = capnp::message::Builder::new_default();
        let to = wire.initn_root::<capnp::struct_list::Builder<'_, file_capnp::share::Owned>>(page.len() as u32);
        write_shares(page, to);
        assert!(written(&wire) < MAX_MESSAGE_BYTES, "{}", written(&wire));
        assert!(shares(&[]).is_empty() && kept(&[]).is_empty());
        let copy = Kept {
            peer: PEER,
            name: name(),
            hash: FileHash::from_bytes([2; 32]),
            size_bytes: 0,
            held_bytes: 0,
            since_unix_ms: 0,
        };
        let all = vec![copy; 3000];
        assert_eq!(kept(&all).len(), MAX_KEPT);
        let mut wire = capnp::message::Builder::new_default();
        let to = wire.initn_root::<capnp::struct_list::Builder<'_, file_capnp::kept::Owned>>(MAX_KEPT as u32);
        write_kept(kept(&all), to);
        assert!(written(&wire) < MAX_MESSAGE_BYTES, "{}", written(&wire));
    }
}
