//! Whole networks on loopback.

mod apart;
mod discovery;
mod files;
mod relays;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use kith_common::target::Ticket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Far beyond what anything here takes; a test that hangs ends with this.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing happened"))
}

fn config(name: &str, port: u16) -> (NetConfig, watch::Sender<MediaPorts>) {
    let (media, media_ports) = watch::channel(MediaPorts { video: 1, audio: 2 });
    let config = NetConfig {
        port,
        name: name.to_owned(),
        media_ports,
        offered: watch::channel(vec!["video".to_owned()]).1,
        ..NetConfig::local(SecretKey::generate())
    };
    (config, media)
}

async fn node(name: &str) -> (Net, Incoming) {
    Net::start(config(name, 0).0).await.expect("a network on loopback starts")
}

fn ticket(net: &Net) -> Ticket {
    net.identity().borrow().ticket.parse().expect("an own ticket is well formed")
}

async fn connected(net: &Net, peer: PeerId) -> PeerInfo {
    let mut peers = net.peers();
    let rows = soon("a row", peers.wait_for(|rows| rows.iter().any(|row| row.peer_id == peer && row.connected))).await;
    let rows = rows.expect("the network is running");
    rows.iter().find(|row| row.peer_id == peer).expect("just seen").clone()
}

#[tokio::test]
async fn two_nodes_connect_by_ticket_and_know_each_other() {
    let ((a, _in_a), (b, _in_b)) = (node("Ada").await, node("Bob").await);
    let found = soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await;
    assert_eq!(found, Ok(b.peer_id()));
    let row = connected(&a, b.peer_id()).await;
    assert_eq!((row.name.as_str(), row.path), ("Bob", Some(Path::Lan)));
    let link = a.peer(b.peer_id()).expect("connected");
    assert_eq!(link.media_ports, MediaPorts { video: 1, audio: 2 });
    assert_eq!(link.remote.map(|remote| remote.ip()), Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(a.reflectors().len(), 1);
    assert!(a.is_reflected_peer(Ipv4Addr::LOCALHOST.into()) && !a.is_reflected_peer(Ipv4Addr::BROADCAST.into()));
    let mut peers = b.peers();
    let named = peers.wait_for(|rows| rows.iter().any(|row| row.name == "Ada" && row.rtt_ms.is_some()));
    soon("the name and round trip on the other side", named).await.expect("the network is running");
}

#[tokio::test]
async fn a_node_is_found_by_multiaddr_and_by_ip_and_port() {
    let ((a, _in_a), (b, _in_b), (c, _in_c)) = (node("a").await, node("b").await, node("c").await);
    let address = c.identity().borrow().addresses[0].parse().expect("an own address is well formed");
    assert_eq!(soon("by multiaddr", a.connect(&Target::Address(address))).await, Ok(c.peer_id()));
    let port = c.listener().borrow().port;
    let by_ip = Target::Ip { ip: Ipv4Addr::LOCALHOST.into(), port };
    assert_eq!(soon("by IP", b.connect(&by_ip)).await, Ok(c.peer_id()));
    // The third knows the first only through the second: the DHT finds it.
    let by_id = Target::Peer(a.peer_id());
    assert_eq!(soon("by id", b.connect(&by_id)).await, Ok(a.peer_id()));
    assert_eq!(soon("again", b.connect(&by_ip)).await, Ok(c.peer_id()));
    soon("disconnecting", b.disconnect(&by_ip)).await.expect("was connected");
    let mut peers = b.peers();
    let gone = peers.wait_for(|rows| !rows.iter().any(|row| row.peer_id == c.peer_id() && row.connected));
    soon("the row", gone).await.expect("the network is running");
    assert!(b.disconnect(&by_ip).await.is_err());
}

#[tokio::test]
async fn signals_and_tunnels_carry_bytes_both_ways() {
    let ((a, _in_a), (b, mut in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    for tunnel in [false, true] {
        let open = async { if tunnel { a.open_tunnel(b.peer_id()).await } else { a.open_signal(b.peer_id()).await } };
        let mut ours = soon("opening", open).await.expect("connected");
        ours.write_all(b"hello").await.expect("open");
        ours.flush().await.expect("open");
        let queue = if tunnel { &mut in_b.tunnels } else { &mut in_b.signals };
        let (from, mut theirs) = soon("the stream", queue.recv()).await.expect("running");
        assert_eq!(from, a.peer_id());
        let mut bytes = [0; 5];
        soon("bytes", theirs.read_exact(&mut bytes)).await.expect("open");
        theirs.write_all(&bytes).await.expect("open");
        theirs.shutdown().await.expect("open");
        let mut back = Vec::new();
        soon("the answer", ours.read_to_end(&mut back)).await.expect("ends");
        assert_eq!(back, b"hello");
    }
    assert!(a.open_signal(SecretKey::generate().peer_id()).await.is_err());
}

#[tokio::test]
async fn every_connection_is_a_way_to_ping_and_its_bytes_are_counted() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    let ways = soon("the ways", a.ways(b.peer_id())).await.expect("connected");
    assert!(!ways.is_empty());
    for way in &ways {
        let mut stream = soon("opening", a.open_ping(way)).await.expect("connected");
        stream.write_all(&[7; PING_BYTES]).await.expect("open");
        stream.flush().await.expect("open");
        let mut back = [0; PING_BYTES];
        soon("the echo", stream.read_exact(&mut back)).await.expect("open");
        assert_eq!(back, [7; PING_BYTES]);
    }
    let (one, all) = (a.traffic().by_peer()[&b.peer_id()], a.traffic().all());
    assert!(one.sent >= PING_BYTES as u64 && one.received >= PING_BYTES as u64, "{one:?}");
    assert_eq!(one, all);
    let mut standing = a.standing();
    let seen = standing.wait_for(|standing| standing.seen.iter().any(|seen| seen.address.is_some()));
    soon("what b sees", seen).await.expect("running");
    let mut wanted = std::collections::BTreeMap::new();
    wanted.insert(b.peer_id(), DatagramFigures { loss: Some(0.25), ..DatagramFigures::default() });
    a.set_datagram_figures(wanted);
    let mut peers = a.peers();
    let told = peers.wait_for(|rows| rows.iter().any(|row| row.loss == Some(0.25)));
    soon("the figures", told).await.expect("running");
    assert!(a.ways(SecretKey::generate().peer_id()).await.is_err());
}

#[tokio::test]
async fn a_peer_that_opens_streams_without_end_holds_a_few() {
    let ((a, _in_a), (b, mut in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    let mut ours = Vec::new();
    for _ in 0..20 {
        let mut stream = soon("opening", a.open_signal(b.peer_id())).await.expect("connected");
        stream.flush().await.expect("open");
        ours.push(stream);
    }
    let (mut refused, mut held) = (0, Vec::new());
    for mut stream in ours {
        // A refused stream ends; one that is held answers nothing until it is answered.
        let mut byte = [0];
        tokio::select! {
            biased;
            taken = in_b.signals.recv() => held.push((taken, stream)),
            _ = stream.read(&mut byte) => refused += 1,
        }
    }
    assert!(held.len() <= 4 && refused >= 16, "{} held, {refused} refused", held.len());
}

#[tokio::test]
async fn a_taken_port_fails_with_a_suggestion_and_is_had_once_free() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = other.local_addr().expect("bound").port();
    let (net, _incoming) = Net::start(config("a", port).0).await.expect("a taken port is not fatal");
    let row = net.listener().borrow().clone();
    assert_eq!((row.state, row.port, row.wanted_port), (ServiceState::Failed, 0, port));
    assert!(row.error.contains(&port.to_string()), "{}", row.error);
    assert!(row.suggestion.contains("services port node") && row.next_try.is_some(), "{row:?}");
    drop(other);
    let mut listener = net.listener();
    let row = soon("the retry", listener.wait_for(|row| row.state == ServiceState::Listening)).await;
    assert_eq!(row.expect("running").port, port);
}

#[tokio::test]
async fn a_stopped_node_keeps_what_runs_over_tcp_calls_others_and_comes_back_on_its_port() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    let port = a.listener().borrow().port;
    let by_tcp = Target::Address(format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("well formed"));
    soon("connecting", b.connect(&by_tcp)).await.expect("a listens");
    let row = soon("stopping", a.order_listener(Order::Stop)).await.expect("running");
    assert_eq!((row.state, row.port), (ServiceState::Stopped, 0));
    assert!(row.suggestion.contains("QUIC"), "says what it costs: {row:?}");
    let mut identity = a.identity();
    let empty = identity.wait_for(|identity| identity.addresses.is_empty());
    soon("the addresses go", empty).await.expect("running");
    assert!(connected(&b, a.peer_id()).await.connected);
    soon("a stream", b.open_signal(a.peer_id())).await.expect("the connection over TCP goes on");
    let (c, _in_c) = node("c").await;
    assert_eq!(soon("calling", a.connect(&Target::Ticket(ticket(&c)))).await, Ok(c.peer_id()));
    soon("starting", a.order_listener(Order::Start)).await.expect("running");
    let mut listener = a.listener();
    let back = listener.wait_for(|row| row.state == ServiceState::Listening || row.state == ServiceState::Failed);
    let row = soon("the port", back).await.expect("running").clone();
    assert_eq!((row.state, row.wanted_port), (ServiceState::Listening, 0));
}

#[tokio::test]
async fn whoever_waits_on_a_connection_over_tcp_hears_that_it_was_closed_on_either_side() {
    let ((a, mut in_a), (b, _in_b)) = (node("a").await, node("b").await);
    let by_tcp = format!("/ip4/127.0.0.1/tcp/{}", a.listener().borrow().port);
    let by_tcp = Target::Address(by_tcp.parse().expect("well formed"));
    soon("connecting", b.connect(&by_tcp)).await.expect("a listens");
    let mut ours = soon("opening", b.open_signal(a.peer_id())).await.expect("connected");
    ours.write_all(&[1]).await.expect("open");
    ours.flush().await.expect("open");
    let (_, mut theirs) = soon("the stream", in_a.signals.recv()).await.expect("running");
    soon("its byte", theirs.read_exact(&mut [0])).await.expect("open");
    let reading = tokio::spawn(async move { ours.read(&mut [0]).await });
    tokio::task::yield_now().await;
    soon("disconnecting", b.disconnect(&Target::Peer(a.peer_id()))).await.expect("was connected");
    let _ = soon("the end here", reading).await.expect("no panic");
    let _ = soon("the end there", theirs.read(&mut [0])).await;
}

#[tokio::test]
async fn a_node_that_is_moved_is_reached_at_its_new_port_only() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    let old = a.listener().borrow().port;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|port| port.local_addr()).expect("a free port");
    let row = soon("moving", a.order_listener(Order::SetPort(free.port()))).await.expect("running");
    assert_eq!((row.state, row.port), (ServiceState::Listening, free.port()));
    let at = |port| Target::Ip { ip: Ipv4Addr::LOCALHOST.into(), port };
    assert!(soon("the old port", b.connect(&at(old))).await.is_err());
    assert_eq!(soon("the new port", b.connect(&at(free.port()))).await, Ok(a.peer_id()));
    // Back to where it was, at once: the port is waited for while it closes.
    soon("moving", a.order_listener(Order::SetPort(old))).await.expect("running");
    soon("moving", a.order_listener(Order::SetPort(free.port()))).await.expect("running");
    let mut listener = a.listener();
    let states = listener.wait_for(|row| row.state != ServiceState::Starting);
    let row = soon("the port", states).await.expect("running").clone();
    assert_eq!((row.state, row.port), (ServiceState::Listening, free.port()), "{row:?}");
}

#[tokio::test]
async fn what_a_node_offers_is_told_to_its_peers_and_told_again() {
    let (mut config, _media) = config("a", 0);
    let offered = watch::Sender::new(vec!["video".to_owned(), "audio".to_owned()]);
    config.offered = offered.subscribe();
    let (a, _in_a) = Net::start(config).await.expect("starts");
    let (b, _in_b) = node("b").await;
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    let mut peers = b.peers();
    for services in [vec!["video".to_owned(), "audio".to_owned()], vec!["video".to_owned()]] {
        offered.send_replace(services.clone());
        let told = peers.wait_for(|rows| rows.iter().any(|row| row.peer_id == a.peer_id() && row.services == services));
        soon("the news", told).await.expect("running");
    }
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    let own = a.connect(&Target::Ticket(ticket(&a))).await.expect_err("oneself");
    assert_eq!(own.kind, FailureKind::InvalidArgument);
    let port = a.listener().borrow().port;
    let own = a.connect(&Target::Ip { ip: Ipv4Addr::LOCALHOST.into(), port }).await.expect_err("oneself");
    assert_eq!(own.kind, FailureKind::InvalidArgument);
    let stranger = SecretKey::generate().peer_id();
    let unknown = soon("the lookup", a.connect(&Target::Peer(stranger))).await.expect_err("nobody knows it");
    assert_eq!(unknown.kind, FailureKind::NotFound);
    assert!(!unknown.advice.is_empty());
    let wrong = Ticket { peer: stranger, addresses: ticket(&b).addresses };
    let wrong = soon("dialing", a.connect(&Target::Ticket(wrong))).await.expect_err("b is not the stranger");
    assert!(wrong.message.contains("another node"), "{wrong}");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("bound");
    let SocketAddr::V4(closed) = closed else { panic!("bound to IPv4") };
    let refused = Target::Ip { ip: (*closed.ip()).into(), port: closed.port() };
    let refused = soon("dialing", a.connect(&refused)).await.expect_err("nothing listens");
    assert_eq!(refused.kind, FailureKind::Unreachable);
    assert!(refused.message.contains("nothing listens"), "{refused}");
}

#[tokio::test]
async fn new_media_ports_reach_connected_peers() {
    let (config, media) = config("a", 0);
    let (a, _in_a) = Net::start(config).await.expect("starts");
    let (b, _in_b) = node("b").await;
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    media.send_replace(MediaPorts { video: 7, audio: 8 });
    let mut peers = b.links.clone();
    let told = peers.wait_for(|links| {
        links.by_peer.get(&a.peer_id()).is_some_and(|link| link.media_ports == MediaPorts { video: 7, audio: 8 })
    });
    soon("the news", told).await.expect("running");
}

#[tokio::test]
async fn a_node_behind_a_relay_is_called_through_it() {
    let (mut serving, _media) = config("relay", 0);
    serving.relay = Toggle::On;
    let (relay, _in_relay) = Net::start(serving).await.expect("starts");
    let via: Multiaddr = relay.identity().borrow().addresses[0].parse().expect("well formed");
    let start = async |name: &str| {
        let (mut config, _media) = config(name, 0);
        config.bootstrap = vec![via.clone()];
        Net::start(config).await.expect("starts")
    };
    let ((a, _in_a), (b, _in_b)) = (start("a").await, start("b").await);
    for node in [&a, &b] {
        connected(node, relay.peer_id()).await;
    }
    assert_eq!(soon("by id", a.connect(&Target::Peer(b.peer_id()))).await, Ok(b.peer_id()));
}

#[tokio::test]
async fn shutting_down_closes_connections_at_once() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    connected(&b, a.peer_id()).await;
    soon("shutdown", a.shutdown()).await;
    let mut peers = b.peers();
    let gone = peers.wait_for(|rows| rows.iter().all(|row| !row.connected));
    soon("the other side sees it", gone).await.expect("running");
    assert!(a.connect(&Target::Ticket(ticket(&b))).await.is_err());
}

#[test]
fn the_key_survives_and_is_refused_when_others_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(folder.path());
    let made = SecretKey::load_or_create(&path).expect("makes one");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("own file");
    assert_eq!(std::fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
    assert_eq!(SecretKey::load_or_create(&path).expect("reads it").peer_id(), made.peer_id());
    for open in [0o640, 0o604, 0o700] {
        mode(open);
        let error = SecretKey::load_or_create(&path).expect_err("too open");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    mode(0o600);
    for damage in [&b""[..], b"nonsense", &[8, 1, 18, 64]] {
        std::fs::write(&path, damage).expect("own file");
        assert!(matches!(SecretKey::load_or_create(&path), Err(IdentityError::Damaged { .. })));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
