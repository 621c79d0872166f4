use super::*;
use crate::call::*;
use crate::chat::*;
use crate::clock::MonoTime;
use crate::contact::*;
use crate::ids::{CallId, PeerId};
use crate::media::{Picture, Size, Sound, VideoFormat};
use crate::node::{Path, PeerInfo, PeerStatus};
use crate::{call_capnp, chat_capnp, contact_capnp, media_capnp, peer_capnp};

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
