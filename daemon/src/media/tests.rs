//! Sessions between two engines over real sockets on the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kith_common::call::{CallKind, EncoderChoice, Medium, Switch, Transport};
use kith_common::failure::FailureKind;
use kith_common::ids::CallId;
use kith_common::node::{Path, ServiceState};
use kith_core::listener::{Begin, Order, TakenPort};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fake::{self, Arrival, Ends};
use super::hub::Hub;
use super::stun;
use super::*;

/// What should take milliseconds takes seconds on a machine that compiles beside.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn config() -> MediaConfig {
    MediaConfig { bind: Some(LOOPBACK), video_port: 0, audio_port: 0, ..MediaConfig::default() }
}

fn spec(role: Role, kind: CallKind) -> SessionSpec {
    SessionSpec {
        call: CallId::from_bytes([7; 16]),
        kind,
        role,
        hub: Hub::new(),
        encoder: EncoderChoice::Auto,
        lan_peer: Some(LOOPBACK),
    }
}

struct Side {
    session: Session,
    events: mpsc::Receiver<SessionEvent>,
    ends: Arc<Ends>,
}

impl Side {
    fn open(media: &Media, role: Role, kind: CallKind) -> Self {
        let (codecs, ends) = fake::codecs();
        let mut session = media.open_with(spec(role, kind), codecs).expect("the port is open");
        let events = session.events();
        Self { session, events, ends }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&SessionEvent) -> bool) -> SessionEvent {
        let found = timeout(DEADLINE, async {
            loop {
                let event = self.events.recv().await.expect("the session lives");
                if wanted(&event) {
                    return event;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    /// Waits for this many more pictures and sounds.
    async fn more(&self, pictures: usize, sounds: usize) {
        let mut counts = self.ends.counts.subscribe();
        let (p, s) = *counts.borrow_and_update();
        let enough = counts.wait_for(|now| now.0 >= p + pictures && now.1 >= s + sounds);
        timeout(DEADLINE, enough).await.expect("media flows").expect("the codecs live");
    }
}

fn is_path(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Path { .. })
}

async fn engines() -> (Media, Media) {
    (Media::start(config()).await, Media::start(config()).await)
}

fn sides(a: &Media, b: &Media, kind: CallKind) -> (Side, Side) {
    (Side::open(a, Role::Caller, kind), Side::open(b, Role::Callee, kind))
}

fn connect(a: &Side, b: &Side) {
    a.session.connect(b.session.local());
    b.session.connect(a.session.local());
}

fn attach_tunnel(a: &Side, b: &Side) {
    let (left, right) = tokio::io::duplex(64 * 1024);
    a.session.attach_tunnel(left);
    b.session.attach_tunnel(right);
}

#[tokio::test]
async fn pictures_and_sound_flow_both_ways_in_both_kinds_of_call() {
    for kind in [CallKind::Video, CallKind::Voice] {
        let (media_a, media_b) = engines().await;
        let (mut a, mut b) = sides(&media_a, &media_b, kind);
        connect(&a, &b);
        let expected = SessionEvent::Path { path: Path::Lan, transport: Transport::Udp };
        for side in [&mut a, &mut b] {
            assert_eq!(side.until("path", is_path).await, expected);
            side.until("first packet", |event| *event == SessionEvent::FirstPacket).await;
            side.until("first frame", |event| *event == SessionEvent::FirstFrame).await;
            side.more(30, 50).await;
        }
        let first = *a.ends.pictures.lock().expect("no panic holds it").first().expect("pictures came");
        assert!(first.decodable, "the first picture is a key frame");
        a.session.set_switch(Medium::Video, Switch::Off);
        let stats = a.session.close().await;
        assert!(stats.video_received >= 30 && stats.audio_received >= 50, "{stats:?}");
        assert_eq!((stats.path, stats.transport), (Some(Path::Lan), Transport::Udp));
        // Closing twice, or a side that has been left alone, harms nobody.
        a.session.close().await;
        b.session.close().await;
    }
}

#[tokio::test]
async fn a_certificate_that_was_not_announced_is_refused() {
    let (media_a, media_b) = engines().await;
    let (mut a, b) = sides(&media_a, &media_b, CallKind::Video);
    let mut wrong = b.session.local();
    wrong.fingerprint[0] ^= 1;
    a.session.connect(wrong);
    b.session.connect(a.session.local());
    let failed = a.until("failure", |event| matches!(event, SessionEvent::Failed(_))).await;
    let SessionEvent::Failed(failure) = failed else { unreachable!("asked for a failure") };
    assert_eq!(failure.kind, FailureKind::NotPermitted);
    assert!(a.ends.pictures.lock().expect("no panic holds it").is_empty());
}

#[tokio::test]
async fn nonsense_parameters_fail_the_session_in_words() {
    let media = Media::start(config()).await;
    let spoil: [fn(&mut TransportParams); 4] = [
        |params| params.ice_ufrag = String::new(),
        |params| params.ice_pwd = "ä".repeat(30),
        |params| params.fingerprint = vec![0; 31],
        |params| params.fingerprint_algorithm = "md5".to_owned(),
    ];
    for spoil in spoil {
        let (mut a, b) = sides(&media, &media, CallKind::Voice);
        let mut params = b.session.local();
        spoil(&mut params);
        a.session.connect(params);
        let failed = a.until("failure", |event| matches!(event, SessionEvent::Failed(_))).await;
        assert!(matches!(failed, SessionEvent::Failed(failure) if failure.kind == FailureKind::InvalidArgument));
    }
}

#[tokio::test]
async fn a_flood_of_junk_does_not_disturb_a_call() {
    let (media_a, media_b) = engines().await;
    let (mut a, b) = sides(&media_a, &media_b, CallKind::Video);
    connect(&a, &b);
    a.until("path", is_path).await;
    let port = media_a.ports().borrow().video;
    let fragment = a.session.local().ice_ufrag;
    let junk = UdpSocket::bind((LOOPBACK, 0)).await.expect("a free port");
    let target = SocketAddr::new(LOOPBACK, port);
    // A check of this session with a wrong signature, whole and mutilated; RTP, DTLS and nothing that is known.
    let username = format!("{fragment}:zzzz");
    let mut check = stun::binding_request(&[9; 12]);
    check.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    check.extend_from_slice(username.as_bytes());
    check.resize(check.len().next_multiple_of(4), 0);
    check.extend_from_slice(&[0, 0x24, 0, 4, 1, 2, 3, 4, 0, 8, 0, 20]);
    check.extend_from_slice(&[0; 20]);
    let length = (check.len() - 20) as u16;
    check[2..4].copy_from_slice(&length.to_be_bytes());
    for round in 0..5000_usize {
        let data = match round % 5 {
            0 => check.clone(),
            1 => check[..round % check.len()].to_vec(),
            2 => vec![0x80; round % 1200],
            3 => vec![22; 64],
            _ => (0..round % 200).map(|at| (at * round) as u8).collect(),
        };
        let _ = junk.send_to(&data, target).await;
        if round % 250 == 0 {
            tokio::task::yield_now().await;
        }
    }
    a.more(30, 50).await;
    b.more(30, 50).await;
    assert!(media_a.junk() > 1000, "{}", media_a.junk());
}

#[tokio::test]
async fn a_tunnel_alone_carries_a_call() {
    let (media_a, media_b) = engines().await;
    let (mut a, mut b) = sides(&media_a, &media_b, CallKind::Video);
    let (mut to_a, mut to_b) = (b.session.local(), a.session.local());
    to_a.candidates.clear();
    to_b.candidates.clear();
    a.session.connect(to_a);
    b.session.connect(to_b);
    attach_tunnel(&a, &b);
    let expected = SessionEvent::Path { path: Path::Lan, transport: Transport::Tcp };
    assert_eq!(a.until("path", is_path).await, expected);
    assert_eq!(b.until("path", is_path).await, expected);
    a.more(30, 50).await;
    b.more(30, 50).await;
}

#[tokio::test]
async fn media_moves_to_the_tunnel_when_udp_dies_and_back_when_it_lives() {
    let (media_a, media_b) = engines().await;
    let (mut a, mut b) = sides(&media_a, &media_b, CallKind::Video);
    connect(&a, &b);
    attach_tunnel(&a, &b);
    a.until("path", is_path).await;
    a.more(20, 20).await;
    let by = |wanted: Transport| move |event: &SessionEvent| matches!(event, SessionEvent::Path { transport, .. } if *transport == wanted);
    let cut = Instant::now();
    media_a.set_impairment(Some(Impairment { loss: 1.0, ..Impairment::default() }));
    a.until("tunnel", by(Transport::Tcp)).await;
    b.until("tunnel", by(Transport::Tcp)).await;
    a.more(30, 30).await;
    b.more(30, 30).await;
    let gap = widest_gap(&a.ends, cut);
    println!("no picture for {} ms", gap.as_millis());
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    media_a.set_impairment(None);
    a.until("udp", by(Transport::Udp)).await;
    b.until("udp", by(Transport::Udp)).await;
    a.more(30, 30).await;
    b.more(30, 30).await;
}

fn widest_gap(ends: &Ends, since: Instant) -> Duration {
    let pictures = ends.pictures.lock().expect("no panic holds it");
    let pairs = pictures.windows(2).filter(|pair| pair[1].at > since);
    pairs.map(|pair| pair[1].at - pair[0].at).max().unwrap_or(Duration::MAX)
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed() {
    let (media_a, media_b) = engines().await;
    let (mut a, b) = sides(&media_a, &media_b, CallKind::Video);
    connect(&a, &b);
    a.until("path", is_path).await;
    a.more(10, 10).await;
    media_b.set_impairment(Some(Impairment { loss: 1.0, ..Impairment::default() }));
    a.until("stall", |event| *event == SessionEvent::Stalled).await;
    a.until("loss", |event| *event == SessionEvent::Lost).await;
}

#[tokio::test]
async fn outside_addresses_are_told_to_connected_peers_only() {
    let media = Media::start(config()).await;
    let target = SocketAddr::new(LOOPBACK, media.ports().borrow().video);
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.expect("a free port");
    let own = socket.local_addr().expect("it is bound");
    socket.send_to(&stun::binding_request(&[1; 12]), target).await.expect("loopback carries it");
    let mut junk = media.junk();
    let refused = timeout(DEADLINE, async {
        while junk == 0 {
            tokio::task::yield_now().await;
            junk = media.junk();
        }
    });
    refused.await.expect("a stranger's question is dropped");
    media.set_reflectors(ReflectorSource { answer: Arc::new(|_| true), ..ReflectorSource::default() });
    socket.send_to(&stun::binding_request(&[2; 12]), target).await.expect("loopback carries it");
    let mut buffer = [0; 100];
    let received = timeout(DEADLINE, socket.recv_from(&mut buffer));
    let (length, _) = received.await.expect("an answer comes").expect("the socket lives");
    let answer = stun::parse(&buffer[..length]);
    assert_eq!(answer, Some(stun::Message::Success { id: [2; 12], mapped: Some(own) }));
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_free_one_and_opened_when_it_is_free() {
    let squatter = std::net::UdpSocket::bind((LOOPBACK, 0)).expect("a free port");
    let port = squatter.local_addr().expect("it is bound").port();
    let media = Media::start(MediaConfig { video_port: port, ..config() }).await;
    let mut listeners = media.listeners();
    let rows = listeners.borrow_and_update().clone();
    assert_eq!((rows.video.state, rows.audio.state), (ServiceState::Failed, ServiceState::Listening));
    assert!(rows.video.error.contains(&port.to_string()) && rows.video.next_try.is_some(), "{rows:?}");
    assert!(rows.video.suggestion.contains("is free: kithctl services port video"), "{rows:?}");
    assert_eq!(media.ports().borrow().video, 0);
    drop(squatter);
    let opened = listeners.wait_for(|rows| rows.video.state == ServiceState::Listening && rows.video.port == port);
    timeout(DEADLINE, opened).await.expect("it is retried").expect("the engine lives");
}

#[tokio::test]
async fn a_port_that_moves_under_a_call_does_not_cut_it_and_closes_with_it() {
    let (media_a, media_b) = engines().await;
    let (mut a, b) = sides(&media_a, &media_b, CallKind::Video);
    connect(&a, &b);
    a.until("path", is_path).await;
    a.more(10, 10).await;
    let old = media_b.ports().borrow().video;
    let moved = media_b.order(CallKind::Video, Order::SetPort(0)).await.expect("the engine lives");
    assert_eq!(moved.state, ServiceState::Listening);
    assert_ne!(moved.port, old);
    assert_eq!(media_b.ports().borrow().video, moved.port);
    for side in [&a, &b] {
        side.more(30, 50).await;
    }
    // A new session is opened on the new port.
    let next = Side::open(&media_b, Role::Callee, CallKind::Video);
    assert!(next.session.local().candidates.iter().all(|candidate| candidate.address.port() == moved.port));
    // Back to a port that a call still uses: the same socket is taken back.
    let back = media_b.order(CallKind::Video, Order::SetPort(old)).await.expect("the engine lives");
    assert_eq!((back.state, back.port), (ServiceState::Listening, old), "{back:?}");
    let stopped = media_b.order(CallKind::Video, Order::Stop).await.expect("the engine lives");
    assert_eq!((stopped.state, stopped.port), (ServiceState::Stopped, 0));
    let refused = media_b.open_with(spec(Role::Callee, CallKind::Video), fake::codecs().0).err().expect("stopped");
    assert!(refused.message.contains("not listening"), "{refused}");
    a.more(30, 50).await;
    b.session.close().await;
    let free = async {
        while std::net::UdpSocket::bind((LOOPBACK, old)).is_err() {
            tokio::task::yield_now().await
        }
    };
    timeout(DEADLINE, free).await.expect("the socket closes with its last session");
}

#[tokio::test]
async fn a_service_that_begins_stopped_listens_when_it_is_started() {
    let media = Media::start(MediaConfig { audio: Begin::Stopped, ..config() }).await;
    let rows = media.listeners().borrow().clone();
    assert_eq!((rows.video.state, rows.audio.state), (ServiceState::Listening, ServiceState::Stopped));
    let started = media.order(CallKind::Voice, Order::Start).await.expect("the engine lives");
    assert_eq!((started.state, started.port), (ServiceState::Listening, media.ports().borrow().audio));
}

#[tokio::test]
async fn auto_takes_the_next_free_port() {
    let squatter = std::net::UdpSocket::bind((LOOPBACK, 0)).expect("a free port");
    let port = squatter.local_addr().expect("it is bound").port();
    let media = Media::start(MediaConfig { video_port: port, taken_port: TakenPort::Auto, ..config() }).await;
    let video = media.listeners().borrow().video.clone();
    assert_eq!((video.state, video.wanted_port), (ServiceState::Listening, port));
    assert!(video.port > port && video.suggestion.contains("next free port"), "{video:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_link_costs_few_pictures_and_little_time() {
    const SECONDS_OF_PICTURES: usize = 6 * 30;
    let (media_a, media_b) = engines().await;
    let (mut a, b) = sides(&media_a, &media_b, CallKind::Video);
    media_b.set_impairment(Some(Impairment { loss: 0.05, delay: Duration::from_millis(25), rate_bps: None }));
    let same_clock = ClockOffset { micros: 0, uncertainty_micros: 0 };
    a.session.set_clock_offset(same_clock);
    b.session.set_clock_offset(same_clock);
    connect(&a, &b);
    a.until("path", is_path).await;
    b.more(SECONDS_OF_PICTURES, 50).await;
    let made = a.ends.made.load(Ordering::Relaxed);
    let pictures = b.ends.pictures.lock().expect("no panic holds it").clone();
    let on_time = |picture: &&Arrival| picture.decodable && picture.delay < Duration::from_millis(400);
    let shown = pictures.iter().filter(on_time).count();
    // A twentieth of all packets is lost; what was lost is sent again in time, so that hardly a picture is.
    assert!(shown as f64 > 0.9 * made as f64, "{shown} of {made} pictures in time");
}
