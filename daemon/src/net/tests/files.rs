//! Streams of files, and who has what.

use std::collections::BTreeSet;

use super::super::rehearsal;
use super::*;

async fn taken(incoming: &mut Incoming) -> FilesStream {
    let files = incoming.files.as_mut().expect("nobody has taken it");
    soon("the stream", files.recv()).await.expect("running")
}

async fn echo(mut ours: FilesStream, mut theirs: FilesStream) {
    ours.stream.write_all(b"hello").await.expect("open");
    ours.stream.flush().await.expect("open");
    let mut bytes = [0; 5];
    soon("bytes", theirs.stream.read_exact(&mut bytes)).await.expect("open");
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_stream_of_files_waits_for_tcp_and_says_which_way_it_takes() {
    let ((a, _in_a), (b, mut in_b)) = (node("a").await, node("b").await);
    let addresses: Vec<Multiaddr> =
        b.identity().borrow().addresses.iter().map(|text| text.parse().expect("well formed")).collect();
    let quic = addresses.into_iter().find(address::is_udp).expect("it listens by QUIC");
    soon("connecting", a.connect(&Target::Address(quic))).await.expect("b listens");
    let ours = soon("opening", a.open_files(b.peer_id())).await.expect("connected");
    let theirs = taken(&mut in_b).await;
    assert_eq!((ours.peer, ours.path), (b.peer_id(), Path::Lan));
    assert_eq!((theirs.peer, theirs.path), (a.peer_id(), Path::Lan));
    let ways = soon("the ways", a.ways(b.peer_id())).await.expect("connected");
    assert!(ways.iter().any(|way| way.transport == kith_common::call::Transport::Tcp), "{ways:?}");
    echo(ours, theirs).await;
    assert!(a.open_files(SecretKey::generate().peer_id()).await.is_err());
}

#[tokio::test]
async fn several_transfers_of_a_peer_have_each_a_stream() {
    let ((a, _in_a), (b, mut in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Ticket(ticket(&b)))).await.expect("b listens");
    let mut pairs = Vec::new();
    for _ in 0..Limits::default().streams_per_peer * 4 {
        let mut ours = soon("opening", a.open_files(b.peer_id())).await.expect("connected");
        ours.stream.flush().await.expect("open");
        pairs.push((ours, taken(&mut in_b).await));
    }
    for (ours, theirs) in pairs {
        echo(ours, theirs).await;
    }
}

/// A network in memory in which each node but the first joins through the one with half its number.
async fn network(count: usize) -> Vec<(Net, Incoming)> {
    let mut nodes: Vec<(Net, Incoming)> = Vec::new();
    for index in 0..count {
        let bootstrap = index.checked_sub(1).map(|_| near(&nodes[index / 2].0)).into_iter().collect();
        let config = NetConfig { bootstrap, ..rehearsal::one_of_many(Carrier::Memory) };
        nodes.push(Net::start(config).await.expect("a node in memory starts"));
    }
    for (net, _) in &nodes[1..] {
        let mut peers = net.peers();
        let joined = peers.wait_for(|rows| rows.iter().any(|row| row.connected));
        soon("joining", joined).await.expect("running");
    }
    nodes
}

fn near(net: &Net) -> Multiaddr {
    net.identity().borrow().addresses[0].parse().expect("an own address is well formed")
}

async fn found(net: &Net, key: ProviderKey, wanted: &BTreeSet<PeerId>) {
    let search = async {
        // What is told takes a moment to spread.
        while BTreeSet::from_iter(net.find_providers(key).await) != *wanted {}
    };
    soon("who has it", search).await;
}

#[tokio::test]
async fn who_has_something_is_found_among_twenty_nodes_and_connected_to() {
    let mut nodes = network(20).await;
    let key = [7; 32];
    for index in [4, 17] {
        nodes[index].0.provide(key).await;
    }
    let wanted = BTreeSet::from([nodes[4].0.peer_id(), nodes[17].0.peer_id()]);
    let config = NetConfig {
        dht: DhtMode::Client,
        bootstrap: vec![near(&nodes[9].0)],
        ..rehearsal::one_of_many(Carrier::Memory)
    };
    let (newcomer, _incoming) = Net::start(config).await.expect("a node in memory starts");
    found(&newcomer, key, &wanted).await;
    found(&nodes[12].0, key, &wanted).await;
    // Who has it too finds the others.
    found(&nodes[17].0, key, &BTreeSet::from([nodes[4].0.peer_id()])).await;
    assert!(newcomer.find_providers([8; 32]).await.is_empty(), "nobody has that");
    let provider = nodes[17].0.peer_id();
    assert_eq!(soon("by id", newcomer.connect(&Target::Peer(provider))).await, Ok(provider));
    let ours = soon("opening", newcomer.open_files(provider)).await.expect("connected");
    let theirs = taken(&mut nodes[17].1).await;
    echo(ours, theirs).await;
}

#[tokio::test]
async fn a_node_that_had_something_before_it_met_anybody_is_found_afterwards() {
    let (first, _in_first) = Net::start(rehearsal::one_of_many(Carrier::Memory)).await.expect("starts");
    let (key, other) = ([1; 32], [2; 32]);
    for key in [key, other] {
        first.provide(key).await;
    }
    first.stop_providing(other).await;
    assert!(first.find_providers(key).await.is_empty(), "itself is nobody to ask");
    let joining = || NetConfig { bootstrap: vec![near(&first)], ..rehearsal::one_of_many(Carrier::Memory) };
    let (second, _in_second) = Net::start(joining()).await.expect("starts");
    let (third, _in_third) = Net::start(joining()).await.expect("starts");
    let wanted = BTreeSet::from([first.peer_id()]);
    for net in [&second, &third] {
        found(net, key, &wanted).await;
        assert!(net.find_providers(other).await.is_empty());
    }
    // Told to others, too: they know it without asking.
    soon("shutdown", first.shutdown()).await;
    found(&third, key, &wanted).await;
}
