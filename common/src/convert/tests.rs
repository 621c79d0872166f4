use super::*;
use crate::call::*;
use crate::clock::MonoTime;
use crate::ids::{CallId, PeerId};
use crate::media::{Picture, Size, Sound, VideoFormat};
use crate::node::{Path, PeerInfo, PeerStatus};
use crate::{call_capnp, media_capnp, peer_capnp};

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
