use super::*;
use crate::call::*;
use crate::chat::*;
use crate::clock::MonoTime;
use crate::contact::*;
use crate::file::*;
use crate::ids::{CallId, PeerId};
use crate::media::{Picture, Size, Sound, VideoFormat};
use crate::node::{Path, PeerInfo, PeerStatus};
use crate::{call_capnp, chat_capnp, contact_capnp, file_capnp, media_capnp, peer_capnp};

fn info() -> CallInfo {
    CallInfo {
        id: CallId::from_bytes([5; 16]),
        peer: Some(PeerId::from_public_key([9; 32])),
        peer_name: "Ada".into(),
        direction: Direction::Incoming,
        kind: CallKind::Video,
        state: CallState::Ended,
        since_unix_ms: 1_764_000_000_000,
        path: Some(Path::Relayed),
        transport: Transport::Tcp,
        microphone: Switch::Off,
        camera: Switch::On,
        peer_microphone: Switch::On,
        peer_camera: Switch::Off,
        peer_format: Some(VideoFormat { size: Size::new(1280, 720).expect("usual"), fps_milli: 29_970 }),
        ending: Some(Ending {
            reason: EndReason::Timeout,
            failed_stage: Some(Stage::FirstPacket),
            detail: "The peer vanished.".into(),
            advice: "Call again.".into(),
        }),
    }
}

#[test]
fn a_call_survives_the_wire() {
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<call_capnp::call_info::Builder<'_>>();
    write_call_info(&info(), root.reborrow());
    assert_eq!(read_call_info(root.into_reader()).expect("it was just written"), info());
}

#[test]
fn a_peer_survives_the_wire() {
    let peer = PeerInfo {
        peer_id: PeerId::from_public_key([1; 32]),
        name: String::new(),
        connected: true,
        status: PeerStatus::Connected,
        path: Some(Path::Lan),
        addresses: vec!["/ip4/192.0.2.1/tcp/9999".into()],
        rtt_ms: Some(1.5),
        jitter_ms: None,
        loss: Some(0.25),
        agent: "kith/0.1".into(),
        connected_since_unix_ms: 7,
        services: Vec::new(),
        last_seen_unix_ms: 7,
    };
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<peer_capnp::peer_info::Builder<'_>>();
    write_peer(&peer, root.reborrow());
    assert_eq!(read_peer(root.into_reader()).expect("it was just written"), peer);
}

#[test]
fn unknown_figures_stay_unknown() {
    let stats = CallStats { delay_ms_p50: Some(0.0), skew_ms_p95: None, encoder: "aom".into(), ..CallStats::default() };
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<call_capnp::call_stats::Builder<'_>>();
    write_stats(&stats, root.reborrow());
    assert_eq!(read_stats(root.into_reader()).expect("it was just written"), stats);
}

#[test]
fn the_log_of_calls_survives_the_wire() {
    let stats = CallStats {
        delay_ms_p95: Some(64.0),
        path: Some(Path::Direct),
        sizes: vec![SizeSeconds { width: 640, height: 360, seconds: 3.5 }],
        ..CallStats::default()
    };
    let full = CallRecord {
        position: 7,
        id: CallId::from_bytes([5; 16]),
        peer: Some(PeerId::from_public_key([9; 32])),
        peer_name: "Ada".into(),
        target: String::new(),
        direction: Direction::Outgoing,
        kind: CallKind::Video,
        started_unix_ms: 1_764_000_000_000,
        ended_unix_ms: 1_764_000_009_000,
        answered: true,
        duration_s: 8.5,
        reason: EndReason::Remote,
        failed_stage: None,
        detail: String::new(),
        stats: Some(stats),
    };
    let nobody = CallRecord {
        peer: None,
        peer_name: String::new(),
        target: "192.0.2.7:9999".into(),
        answered: false,
        duration_s: 0.0,
        reason: EndReason::Unreachable,
        failed_stage: Some(Stage::Dial),
        detail: "Nobody answered there.".into(),
        stats: None,
        ..full.clone()
    };
    assert_eq!(nobody.again().as_deref(), Some("192.0.2.7:9999"));
    let missed = CallRecord { direction: Direction::Incoming, reason: EndReason::Timeout, ..nobody.clone() };
    assert!(missed.is_missed() && !nobody.is_missed() && !full.is_missed());
    assert!(!CallRecord { reason: EndReason::Local, ..missed.clone() }.is_missed(), "it was declined");
    let all = [full, nobody, missed];
    let mut wire = capnp::message::Builder::new_default();
    let mut list = wire.initn_root::<capnp::struct_list::Builder<'_, call_capnp::call_record::Owned>>(3);
    write_records(&all, list.reborrow());
    assert_eq!(read_records(list.into_reader()).expect("it was just written"), all);
    let mut wire = capnp::message::Builder::new_default();
    assert!(read_record(wire.init_root::<call_capnp::call_record::Builder<'_>>().into_reader()).is_err());
}

#[test]
fn a_picture_that_does_not_fit_its_description_is_refused() {
    let size = Size::new(64, 32).expect("even and small");
    let picture = Picture::new(size, MonoTime(3), 4, vec![7; size.i420_bytes()].into()).expect("fits");
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<media_capnp::picture::Builder<'_>>();
    write_picture(&picture, root.reborrow());
    assert_eq!(read_picture(root.reborrow_as_reader()).expect("it was just written"), picture);
    for (width, height) in [(0, 0), (63, 32), (64, 34), (65_534, 65_534)] {
        root.set_width(width);
        root.set_height(height);
        assert!(read_picture(root.reborrow_as_reader()).is_err(), "{width}x{height}");
    }
}

#[test]
fn sound_survives_the_wire_and_odd_lengths_are_refused() {
    let sound = Sound { capture: MonoTime(1), sequence: 2, samples: (0..960).collect() };
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<media_capnp::sound::Builder<'_>>();
    write_sound(&sound, root.reborrow());
    assert_eq!(read_sound(root.reborrow_as_reader()).expect("it was just written"), sound);
    for bytes in [0, 1, 959, 1921, 5761, 100_000] {
        root.reborrow().init_pcm(bytes);
        assert!(read_sound(root.reborrow_as_reader()).is_err(), "{bytes}");
    }
}

#[test]
fn a_call_without_its_fields_is_refused() {
    let mut message = capnp::message::Builder::new_default();
    let root = message.init_root::<call_capnp::call_info::Builder<'_>>();
    assert!(read_call_info(root.into_reader()).is_err());
}

fn contact() -> Contact {
    Contact {
        peer_id: PeerId::from_public_key([4; 32]),
        name: "Grandma".into(),
        own_name: "ada".into(),
        note: "Met in Zürich.".into(),
        colour: 0x00c0_ffee,
        presence: Presence::InCall,
        last_seen_unix_ms: 5,
        calls: Trust::Always,
        files: Trust::Ask,
        relay: Trust::Never,
        verified: true,
        blocked: true,
        added_unix_ms: 6,
        mutual: true,
    }
}

#[test]
fn people_survive_the_wire() {
    let request = ContactRequest {
        peer_id: PeerId::from_public_key([5; 32]),
        name: "Ben".into(),
        text: "From the choir.".into(),
        received_unix_ms: 7,
    };
    let people = People { contacts: vec![contact()], requests: vec![request], own: Presence::Away };
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<contact_capnp::people::Builder<'_>>();
    write_people(&people, root.reborrow());
    assert_eq!(read_people(root.into_reader()).expect("it was just written"), people);
}

#[test]
fn a_change_of_a_contact_says_what_stays_and_what_is_emptied() {
    let changes = [
        ContactChange::default(),
        ContactChange { note: Some(String::new()), verified: Some(false), ..ContactChange::default() },
        ContactChange { name: Some("Ada".into()), colour: Some(0), ..ContactChange::default() },
    ];
    for change in changes {
        let mut message = capnp::message::Builder::new_default();
        let mut root = message.init_root::<contact_capnp::contact_change::Builder<'_>>();
        write_contact_change(&change, root.reborrow());
        assert_eq!(read_contact_change(root.into_reader()).expect("it was just written"), change);
    }
}

fn message(id: u8) -> Message {
    Message {
        cursor: 11,
        id: MessageId::from_bytes([id; 16]),
        conversation: ConversationId::Group(GroupId::from_bytes([2; 16])),
        author: PeerId::from_public_key([3; 32]),
        direction: Direction::Incoming,
        text: "Grüße 👋".into(),
        sent_unix_ms: 12,
        stored_unix_ms: 13,
        state: MessageState::Delivered,
        error: "none".into(),
        edited: true,
        deleted: true,
        reply_to: Some(MessageId::from_bytes([9; 16])),
        reply_text: "Hello".into(),
        reactions: vec![Reaction { emoji: "👍🏽".into(), peers: vec![PeerId::from_public_key([4; 32])] }],
        attachments: vec![Attachment { ticket: "kith-file:x".into(), name: "a.txt".into(), size_bytes: 1 << 40 }],
        position: 14,
    }
}

#[test]
fn conversations_and_their_messages_survive_the_wire() {
    let group = Conversation {
        id: ConversationId::Group(GroupId::from_bytes([2; 16])),
        title: "Choir".into(),
        members: vec![PeerId::from_public_key([3; 32]), PeerId::from_public_key([4; 32])],
        unread: 3,
        last: Some(Message { reply_to: None, ..message(1) }),
        retention_days: 30,
        left: true,
        cursor: 15,
    };
    let peer = PeerId::from_public_key([3; 32]);
    let direct = Conversation { id: ConversationId::Peer(peer), last: None, ..group.clone() };
    let all = [group, direct];
    let mut wire = capnp::message::Builder::new_default();
    let mut list = wire.initn_root::<capnp::struct_list::Builder<'_, chat_capnp::conversation::Owned>>(2);
    write_conversations(&all, list.reborrow());
    let flags: Vec<_> = list.reborrow().into_reader().iter().map(|conversation| conversation.get_group()).collect();
    assert_eq!(flags, [true, false]);
    assert_eq!(read_conversations(list.into_reader()).expect("it was just written"), all);
    let mut wire = capnp::message::Builder::new_default();
    let mut list = wire.initn_root::<capnp::struct_list::Builder<'_, chat_capnp::message::Owned>>(2);
    write_messages(&[message(1), message(2)], list.reborrow());
    assert_eq!(read_messages(list.into_reader()).expect("it was just written"), [message(1), message(2)]);
}

#[test]
fn what_a_client_asks_of_a_conversation_survives_the_wire() {
    let draft = Draft {
        text: "Hello".into(),
        reply_to: Some(MessageId::from_bytes([1; 16])),
        attachments: message(1).attachments,
    };
    for draft in [draft, Draft::default()] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<chat_capnp::draft::Builder<'_>>();
        write_draft(&draft, root.reborrow());
        assert_eq!(read_draft(root.into_reader()).expect("it was just written"), draft);
    }
    let people = vec!["Ada".to_owned(), "Ben".to_owned()];
    let changes = [
        GroupChange::Title("Choir".into()),
        GroupChange::Add(people.clone()),
        GroupChange::Remove(people),
        GroupChange::Leave,
    ];
    for change in changes {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<chat_capnp::group_change::Builder<'_>>();
        write_group_change(&change, root.reborrow());
        assert_eq!(read_group_change(root.into_reader()).expect("it was just written"), change);
    }
}

#[test]
fn a_message_without_its_fields_and_a_change_that_says_nothing_are_refused() {
    let mut wire = capnp::message::Builder::new_default();
    assert!(read_message(wire.init_root::<chat_capnp::message::Builder<'_>>().into_reader()).is_err());
    assert!(read_conversation(wire.init_root::<chat_capnp::conversation::Builder<'_>>().into_reader()).is_err());
    assert!(read_group_change(wire.init_root::<chat_capnp::group_change::Builder<'_>>().into_reader()).is_err());
    assert!(read_contact(wire.init_root::<contact_capnp::contact::Builder<'_>>().into_reader()).is_err());
}

fn share() -> Share {
    Share {
        hash: FileHash::from_bytes([0xab; 32]),
        ticket: "kithfile:x".into(),
        name: "Größe 🙂.tar".into(),
        kind: FileKind::Folder,
        size_bytes: 1 << 43,
        files: 100_000,
        scope: ShareScope::Peers,
        peers: vec![PeerId::from_public_key([1; 32]), PeerId::from_public_key([2; 32])],
        state: ShareState::Changed,
        path: "/home/ada/Größe".into(),
        added_unix_ms: 3,
        sent_bytes: 4,
        copies: vec![SealedCopy {
            peer: PeerId::from_public_key([5; 32]),
            name: "Ben".into(),
            held_bytes: 6,
            state: CopyState::Refused,
            reason: "There is no room.".into(),
        }],
        position: 7,
    }
}

fn transfer() -> Transfer {
    let source = Source {
        peer: PeerId::from_public_key([1; 32]),
        name: "Ada".into(),
        state: SourceState::Lied,
        path: Some(Path::Direct),
        received_bytes: 2,
        bytes_per_second: 3,
        reason: "It sent what is not the content.".into(),
        sealed: true,
    };
    Transfer {
        id: 4,
        hash: FileHash::from_bytes([5; 32]),
        name: "a.bin".into(),
        kind: FileKind::Folder,
        size_bytes: 6,
        done_bytes: 7,
        state: TransferState::Waiting,
        bytes_per_second: 8,
        remaining_seconds: 9,
        sources: vec![source.clone(), Source { state: SourceState::Stalled, path: None, sealed: false, ..source }],
        folder: "/home/ada/Downloads".into(),
        saved_path: "/home/ada/Downloads/a (1).bin".into(),
        error: "Nobody is there.".into(),
        advice: "Wait.".into(),
        started_unix_ms: 10,
        finished_unix_ms: 11,
        seconds: 1.5,
        fetched_twice_bytes: 12,
        next_try_seconds: 13,
        files: 14,
        files_done: 15,
        error_kind: Some(FailureKind::Unreachable),
    }
}

#[test]
fn shares_survive_the_wire() {
    let file = Share {
        kind: FileKind::File,
        scope: ShareScope::Anyone,
        peers: Vec::new(),
        state: ShareState::Available,
        copies: Vec::new(),
        ..share()
    };
    let all = [share(), file];
    let mut wire = capnp::message::Builder::new_default();
    let mut list = wire.initn_root::<capnp::struct_list::Builder<'_, file_capnp::share::Owned>>(2);
    write_shares(&all, list.reborrow());
    assert_eq!(read_shares(list.into_reader()).expect("it was just written"), all);
}

#[test]
fn the_state_of_files_survives_the_wire() {
    let upload = Upload {
        peer: PeerId::from_public_key([1; 32]),
        name: "Ada".into(),
        hash: FileHash::from_bytes([2; 32]),
        file_name: "b.bin".into(),
        sent_bytes: 3,
        bytes_per_second: 4,
        path: Some(Path::Relayed),
        sealed: true,
    };
    let offer = Offer {
        id: 5,
        peer: PeerId::from_public_key([6; 32]),
        name: "Ben".into(),
        hash: FileHash::from_bytes([7; 32]),
        file_name: "c.bin".into(),
        kind: FileKind::Folder,
        size_bytes: 8,
        files: 9,
        received_unix_ms: 10,
    };
    let full = FilesState {
        transfers: vec![
            transfer(),
            Transfer { id: 5, state: TransferState::Done, sources: Vec::new(), error_kind: None, ..transfer() },
        ],
        offers: vec![offer],
        uploads: vec![upload],
        shares_revision: 11,
        shares: 12,
        kept_bytes: 13,
    };
    for state in [full, FilesState::default()] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<file_capnp::files_state::Builder<'_>>();
        write_files_state(&state, root.reborrow());
        assert_eq!(read_files_state(root.into_reader()).expect("it was just written"), state);
    }
}

#[test]
fn what_became_of_a_file_is_what_was_said_or_why_not() {
    let lied = Failure::new(FailureKind::VerificationFailed, "It is another file.").advise("Ask somebody else.");
    for outcome in [Ok(share()), Err(lied.clone())] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<file_capnp::share_outcome::Builder<'_>>();
        write_share_outcome(&outcome, root.reborrow());
        assert_eq!(read_share_outcome(root.into_reader()).expect("it was just written"), outcome);
    }
    for outcome in [Ok(transfer()), Err(lied)] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<file_capnp::transfer_outcome::Builder<'_>>();
        write_transfer_outcome(&outcome, root.reborrow());
        assert_eq!(read_transfer_outcome(root.into_reader()).expect("it was just written"), outcome);
    }
}

#[test]
fn what_a_client_asks_of_files_survives_the_wire() {
    let add = AddOptions { scope: ShareScope::Contacts, peers: vec!["Ada".into()], name: "a".into(), copy: true };
    for options in [add, AddOptions::default()] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<file_capnp::add_options::Builder<'_>>();
        write_add_options(&options, root.reborrow());
        assert_eq!(read_add_options(root.into_reader()).expect("it was just written"), options);
    }
    let get = GetOptions {
        folder: Some("/tmp/Größe".into()),
        from: vec!["Ada".into(), "Ben".into()],
        only_from: true,
        name: "b".into(),
    };
    for options in [get, GetOptions::default()] {
        let mut wire = capnp::message::Builder::new_default();
        let mut root = wire.init_root::<file_capnp::get_options::Builder<'_>>();
        write_get_options(&options, root.reborrow());
        assert_eq!(read_get_options(root.into_reader()).expect("it was just written"), options);
    }
    let mut wire = capnp::message::Builder::new_default();
    let mut root = wire.init_root::<file_capnp::add_options::Builder<'_>>();
    root.set_scope(file_capnp::ShareScope::Unspecified);
    assert_eq!(read_add_options(root.into_reader()).expect("all have defaults").scope, ShareScope::Anyone);
}

#[test]
fn settings_of_files_and_what_is_kept_survive_the_wire() {
    let settings = FileSettings {
        folder: "/home/ada/Downloads".into(),
        download_bytes_per_second: 1,
        upload_bytes_per_second: 2,
        unasked_bytes: 3,
        unasked_kinds: ContentKind::ALL.to_vec(),
        copy_bytes_per_contact: 4,
        store_bytes: 5,
        at_once: 6,
    };
    let mut wire = capnp::message::Builder::new_default();
    let mut root = wire.init_root::<file_capnp::file_settings::Builder<'_>>();
    write_file_settings(&settings, root.reborrow());
    assert_eq!(read_file_settings(root.reborrow_as_reader()).expect("it was just written"), settings);
    root.reborrow().init_unasked_kinds(1).set(0, "program");
    assert!(read_file_settings(root.into_reader()).is_err_and(|error| error.extra.contains("program")));
    let kept = [Kept {
        peer: PeerId::from_public_key([1; 32]),
        name: "Ada".into(),
        hash: FileHash::from_bytes([2; 32]),
        size_bytes: 3,
        held_bytes: 4,
        since_unix_ms: 5,
    }];
    let mut wire = capnp::message::Builder::new_default();
    let mut list = wire.initn_root::<capnp::struct_list::Builder<'_, file_capnp::kept::Owned>>(1);
    write_kept(&kept, list.reborrow());
    assert_eq!(read_kept(list.into_reader()).expect("it was just written"), kept);
    let progress = AddProgress { done_bytes: 1, total_bytes: 2, files: 3 };
    let mut wire = capnp::message::Builder::new_default();
    let mut root = wire.init_root::<file_capnp::add_observer::progress_params::Builder<'_>>();
    write_add_progress(progress, root.reborrow());
    assert_eq!(read_add_progress(root.into_reader()), progress);
}

#[test]
fn files_without_their_fields_and_pieces_that_are_too_large_are_refused() {
    let mut wire = capnp::message::Builder::new_default();
    assert!(read_share(wire.init_root::<file_capnp::share::Builder<'_>>().into_reader()).is_err());
    assert!(read_transfer(wire.init_root::<file_capnp::transfer::Builder<'_>>().into_reader()).is_err());
    assert!(read_share_outcome(wire.init_root::<file_capnp::share_outcome::Builder<'_>>().into_reader()).is_err());
    let mut root = wire.init_root::<file_capnp::transfer::Builder<'_>>();
    write_transfer(&transfer(), root.reborrow());
    root.set_state(file_capnp::TransferState::Unspecified);
    assert!(read_transfer(root.into_reader()).is_err_and(|error| error.extra.contains("the state of a transfer")));
    let bytes = vec![7; MAX_PIECE_BYTES + 1];
    assert!(read_piece(&bytes).is_err());
    assert_eq!(read_piece(&bytes[1..]).expect("it is as large as may be"), bytes[1..]);
}
