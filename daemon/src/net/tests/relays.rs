//! Relays, and connections that may be dead.

use super::*;
use kith_common::call::Transport;

async fn ways_by(net: &Net, peer: PeerId, accept: impl Fn(&[Transport]) -> bool) -> Vec<Transport> {
    let mut peers = net.peers();
    let seen = async {
        loop {
            let ways = net.ways(peer).await.unwrap_or_default();
            let transports: Vec<Transport> = ways.iter().map(|way| way.transport).collect();
            if accept(&transports) {
                return transports;
            }
            peers.changed().await.expect("running");
        }
    };
    soon("the connections", seen).await
}

fn quic(net: &Net) -> Multiaddr {
    let addresses: Vec<Multiaddr> =
        net.identity().borrow().addresses.iter().map(|text| text.parse().expect("well formed")).collect();
    addresses.into_iter().find(address::is_udp).expect("it listens by QUIC")
}

#[tokio::test]
async fn a_relay_that_is_known_by_quic_only_is_held_by_tcp() {
    let (mut serving, _media) = config("relay", 0);
    serving.relay = Toggle::On;
    let (relay, _in_relay) = Net::start(serving).await.expect("starts");
    let (mut config, _media) = config("a", 0);
    config.bootstrap = vec![quic(&relay)];
    let (a, _in_a) = Net::start(config).await.expect("starts");
    let ways = ways_by(&a, relay.peer_id(), |ways| ways == [Transport::Tcp]).await;
    assert_eq!(ways, [Transport::Tcp]);
    soon("a stream", a.open_signal(relay.peer_id())).await.expect("still connected");
}

#[tokio::test]
async fn another_node_keeps_quic_beside_tcp() {
    let ((a, _in_a), (b, _in_b)) = (node("a").await, node("b").await);
    soon("connecting", a.connect(&Target::Address(quic(&b)))).await.expect("b listens");
    let both = |ways: &[Transport]| ways.contains(&Transport::Udp) && ways.contains(&Transport::Tcp);
    ways_by(&a, b.peer_id(), both).await;
}
