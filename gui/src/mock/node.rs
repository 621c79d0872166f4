//! What the scripted daemon tells about its node: peers that come a little nearer and go a little further, a port that
//! another program holds until somebody moves or a minute has passed, and links that are measured every second.

use std::time::Duration;

use kith_common::call::Transport;
use kith_common::clock::unix_ms;
use kith_common::diagnostics::{
    BandwidthProgress, BandwidthResult, Hop, LinkSample, LocalAddress, Nat, NetworkState, ObservedAddress, PingReply,
    PortMapping, Reachability, RelayAddress,
};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::{Path, PeerInfo, PeerStatus, ServiceInfo, ServiceState};
use tokio::sync::mpsc;

use super::peer_id;
use crate::link::{Errand, Event, Job, News};

/// Seconds of the past that a daemon still knows.
const PAST_S: i64 = 420;
/// For so long the port of video calls is held by another program.
const HELD_S: i64 = 60;
const RETRY_S: u32 = 10;

/// Something between -1 and 1 that wanders, different for each `seed`, the same for the same second.
fn wander(second: i64, seed: u8) -> f64 {
    let (at, seed) = (second as f64, f64::from(seed));
    ((at / 17.0 + seed * 1.7).sin() + (at / 5.3 + seed * 2.9).sin() * 0.5 + (at / 2.1 + seed * 0.7).sin() * 0.25) / 1.75
}

/// What the way to the peers with these numbers is like.
const WAYS: [(u8, Path, f64, f64); 3] =
    [(1, Path::Lan, 0.6, 0.0), (2, Path::Direct, 23.0, 0.002), (3, Path::Relayed, 118.0, 0.012)];

fn rtt_ms(number: u8, base: f64, second: i64) -> f64 {
    // Now and then something else is on the way too.
    let burst = if number > 1 && (second + i64::from(number) * 31) % 97 < 6 { 1.9 } else { 1.0 };
    base * (1.0 + 0.18 * wander(second, number)) * burst
}

fn share(number: u8, base: f64, second: i64) -> f64 {
    let burst = if number == 3 && second % 113 < 9 { 0.03 } else { 0.0 };
    (base * (1.0 + wander(second, number + 40)) + burst).max(0.0)
}

/// Peers as they are in a second.
pub fn peers_at(second: i64, blocked: &[PeerId]) -> Vec<PeerInfo> {
    let now = unix_ms();
    let peer = |number: u8, name: &str, status: PeerStatus| PeerInfo {
        name: name.into(),
        addresses: vec![format!("/ip4/198.51.100.{number}/udp/9999/quic-v1")],
        last_seen_unix_ms: now - i64::from(number) * i64::from(number) * 61_000,
        ..PeerInfo::new(peer_id(number), status)
    };
    let mut list = Vec::new();
    let names = ["Ada Lovelace", "Alan Turing", "Katherine Johnson"];
    for ((number, path, rtt, loss), name) in WAYS.into_iter().zip(names) {
        let offers = ["video", "audio", "chat", "files"].iter().take(if number == 3 { 2 } else { 4 });
        let (kind, host) = if path == Path::Lan { ("192.168.1", 34) } else { ("203.0.113", 80 + number) };
        list.push(PeerInfo {
            path: Some(path),
            addresses: vec![
                format!("/ip4/{kind}.{host}/udp/9999/quic-v1"),
                format!("/ip4/{kind}.{host}/tcp/9999"),
                format!("/ip6/2001:db8:{number}::{host}/udp/9999/quic-v1"),
            ],
            rtt_ms: Some(rtt_ms(number, rtt, second)),
            jitter_ms: Some(rtt * 0.07 + 0.2),
            loss: (number != 2 || second > 0).then(|| share(number, loss, second)),
            agent: "kith/0.1.0".into(),
            connected_since_unix_ms: now - i64::from(number) * 1_260_000,
            services: offers.map(|name| (*name).to_owned()).collect(),
            last_seen_unix_ms: now,
            ..peer(number, name, PeerStatus::Connected)
        });
    }
    list.push(peer(4, "Dennis Ritchie", PeerStatus::Known));
    list.extend((5..41).map(|number| {
        let agent = if number % 3 == 0 { "kith/0.1.0".to_owned() } else { String::new() };
        PeerInfo { agent, ..peer(number, "", PeerStatus::Known) }
    }));
    list.push(peer(41, "", PeerStatus::Blocked));
    for info in &mut list {
        if blocked.contains(&info.peer_id) {
            *info = PeerInfo { peer_id: info.peer_id, ..peer(1, &info.name, PeerStatus::Blocked) };
        }
    }
    list
}

pub fn network() -> NetworkState {
    let observed = |address: &str, service: &str, transport, peers| ObservedAddress {
        address: address.into(),
        service: service.into(),
        transport,
        peers,
    };
    let local = |interface: &str, ip: &str, scope: &str| LocalAddress {
        interface: interface.into(),
        ip: ip.into(),
        scope: scope.into(),
    };
    NetworkState {
        local: vec![
            local("wlan0", "192.168.1.20", "private"),
            local("wlan0", "2001:db8:7::20", "global"),
            local("eth0", "10.20.0.4", "private"),
        ],
        observed: vec![
            observed("203.0.113.7:9999", "node", Transport::Udp, 3),
            observed("203.0.113.7:9999", "node", Transport::Tcp, 1),
            observed("203.0.113.7:9998", "audio", Transport::Udp, 2),
        ],
        relay: vec![RelayAddress {
            relay: peer_id(3).to_string(),
            address: format!("/ip4/203.0.113.83/udp/9999/quic-v1/p2p/{}/p2p-circuit", peer_id(3)),
        }],
        mappings: vec![PortMapping {
            external: "203.0.113.7:9999".into(),
            internal: "192.168.1.20:9999".into(),
            protocol: "upnp".into(),
        }],
        reachability: Reachability::Public,
        nat: Nat::Cone,
        meaning: "Anyone who has your ticket can call you directly: your router has opened port 9999 for Kith.".into(),
        dht_server: true,
    }
}

/// The listeners when the daemon has just started: one port is taken.
pub fn services() -> Vec<ServiceInfo> {
    let service = |name: &str, port, state| ServiceInfo {
        name: name.into(),
        state,
        port,
        wanted_port: port,
        since_unix_ms: unix_ms() - 3_900_000,
        error: String::new(),
        next_try_s: 0,
        suggestion: String::new(),
    };
    let video = ServiceInfo {
        port: 0,
        since_unix_ms: unix_ms() - 42_000,
        error: "port 9996 is in use by obs (process 4121)".into(),
        next_try_s: RETRY_S,
        suggestion: "port 9997 is free: use it, or stop the program that uses 9996".into(),
        ..service("video", 9996, ServiceState::Failed)
    };
    vec![
        service("node", 9999, ServiceState::Listening),
        video,
        service("audio", 9998, ServiceState::Listening),
        service("chat", 0, ServiceState::Listening),
        service("files", 0, ServiceState::Listening),
        service("broadcast", 0, ServiceState::Absent),
    ]
}

/// What one second was like: a row for each connected peer, and one for all together.
pub fn second(at_unix_ms: i64) -> Vec<LinkSample> {
    let second = at_unix_ms / 1000;
    let mut rows: Vec<LinkSample> = WAYS
        .iter()
        .map(|&(number, _, rtt, loss)| {
            // One call with the second peer, that began three minutes before the first look and pauses at times.
            let talking = number == 2 && second % 240 > 35;
            let rate = |base: f64, seed| (base * (1.0 + 0.25 * wander(second, seed))).max(0.0) as u64;
            LinkSample {
                at_unix_ms,
                peer: Some(peer_id(number)),
                sent_bps: rate(if talking { 912_000.0 } else { 3_200.0 }, number),
                received_bps: rate(if talking { 1_380_000.0 } else { 2_900.0 }, number + 9),
                rtt_ms: Some(rtt_ms(number, rtt, second)),
                loss: (number != 1 || second % 150 > 30).then(|| share(number, loss, second)),
            }
        })
        .collect();
    let sum = |of: fn(&LinkSample) -> u64| rows.iter().map(of).sum();
    let (sent_bps, received_bps) = (sum(|row| row.sent_bps), sum(|row| row.received_bps));
    rows.push(LinkSample { at_unix_ms, peer: None, sent_bps, received_bps, rtt_ms: None, loss: None });
    rows
}

/// The last minutes, with a while in which the machine slept.
pub fn history(now_unix_ms: i64) -> Vec<LinkSample> {
    let now = now_unix_ms / 1000;
    (now - PAST_S..=now).filter(|at| !(now - 205..now - 180).contains(at)).flat_map(|at| second(at * 1000)).collect()
}

pub const REPORT: &str = "\
kith report
version      0.1.0
uptime       1 h 5 min
reachable    public (nat: cone, upnp: yes)
services     node listening 9999 · video failed (port in use) · audio listening 9998
observed     203.0.x.x:9999 udp (3 agree), 203.0.x.x:9998 udp (2 agree)
peer 1       lan, 0.6 ms, loss 0 %, kith/0.1.0
peer 2       direct, 23 ms, loss 0.2 %, kith/0.1.0
peer 3       relayed, 118 ms, loss 1.2 %, kith/0.1.0
table        37 known, 1 blocked
";

/// The node behind the script.
pub struct Scripted {
    pub services: Vec<ServiceInfo>,
    pub blocked: Vec<PeerId>,
    /// Who has been disconnected by hand.
    away: Vec<PeerId>,
    began_s: i64,
}

impl Default for Scripted {
    fn default() -> Self {
        Self { services: services(), blocked: Vec::new(), away: Vec::new(), began_s: unix_ms() / 1000 }
    }
}

impl Scripted {
    pub fn peers(&self) -> Vec<PeerInfo> {
        let mut peers = peers_at(unix_ms() / 1000, &self.blocked);
        for peer in peers.iter_mut().filter(|peer| peer.connected && self.away.contains(&peer.peer_id)) {
            peer.connected = false;
            peer.status = PeerStatus::Known;
            (peer.path, peer.rtt_ms, peer.jitter_ms, peer.loss) = (None, None, None, None);
        }
        peers
    }

    /// A second has passed. Whether a service has changed.
    pub fn tick(&mut self) -> bool {
        let passed = unix_ms() / 1000 - self.began_s;
        let Some(video) = self.services.iter_mut().find(|row| row.state == ServiceState::Failed) else { return false };
        if passed > HELD_S {
            let wanted = video.wanted_port;
            listen(video, wanted);
            return true;
        }
        let left = RETRY_S - u32::try_from(passed).unwrap_or(0) % RETRY_S;
        video.next_try_s = left;
        left == RETRY_S
    }

    /// Changes a service as asked.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut ServiceInfo)) -> News {
        match self.services.iter_mut().find(|row| row.name == name && row.state != ServiceState::Absent) {
            Some(row) => {
                change(row);
                News::Service(row.clone())
            }
            None => News::Failed(
                Failure::new(FailureKind::NotFound, format!("there is no service {name}"))
                    .advise("Update Kith to have it."),
            ),
        }
    }

    /// What is done at once; `None` for what takes its time.
    pub fn obey(&mut self, errand: &Errand) -> Option<News> {
        Some(match errand {
            Errand::StartService(name) => self.change(name, |row| {
                let wanted = row.wanted_port;
                listen(row, wanted);
            }),
            Errand::MoveService(name, port) => self.change(name, |row| {
                row.wanted_port = *port;
                listen(row, *port);
            }),
            Errand::StopService(name) => self.change(name, |row| {
                listen(row, 0);
                row.state = ServiceState::Stopped;
            }),
            Errand::Block(peer) => {
                self.blocked.push(*peer);
                News::Done
            }
            Errand::Unblock(peer) => {
                self.blocked.retain(|blocked| blocked != peer);
                News::Done
            }
            Errand::Disconnect(peer) => {
                self.away.push(*peer);
                News::Done
            }
            Errand::Connect(target) => {
                self.away.retain(|peer| peer.to_string() != *target);
                return None;
            }
            // People, files and calls that are over have scripts of their own.
            Errand::Talk(_) | Errand::Files(_) | Errand::Log(_) => return None,
            Errand::Ping { .. } | Errand::Trace(_) | Errand::Bandwidth { .. } | Errand::Report => return None,
        })
    }
}

fn listen(row: &mut ServiceInfo, port: u16) {
    row.state = ServiceState::Listening;
    row.port = port;
    row.since_unix_ms = unix_ms();
    row.error.clear();
    row.suggestion.clear();
    row.next_try_s = 0;
}

/// What takes its time, told as it goes.
pub async fn work(job: Job, errand: Errand, events: mpsc::Sender<Event>) {
    let tell = async |news| drop(events.send(Event::News(job, news)).await);
    let pause = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
    match errand {
        Errand::Connect(target) => {
            pause(2_500).await;
            let known = peers_at(unix_ms() / 1000, &[]).into_iter().find(|peer| peer.peer_id.to_string() == target);
            tell(match known.filter(|peer| peer.connected) {
                Some(peer) => News::Peer(peer),
                None => News::Failed(
                    Failure::new(FailureKind::Unreachable, "nobody answered at any of the 3 addresses that are known")
                        .advise("Check that their node is running and ask for a fresh ticket: addresses change."),
                ),
            })
            .await;
        }
        Errand::Ping { peer, count } => {
            let number = WAYS.iter().position(|(number, ..)| peer_id(*number) == peer).unwrap_or(0);
            let (number, path, rtt, _) = WAYS[number];
            for sequence in 0..count {
                pause(400).await;
                let base = rtt_ms(number, rtt, i64::from(sequence) * 3);
                let quic = format!("/ip4/203.0.113.8{number}/udp/9999/quic-v1");
                let reply = |way: &str, transport, rtt_ms| PingReply {
                    sequence,
                    way: way.into(),
                    path: Some(path),
                    transport,
                    rtt_ms,
                };
                tell(News::Ping(reply(&quic, Transport::Udp, Some(base)))).await;
                let answered = (sequence != 4).then_some(base * 0.97);
                tell(News::Ping(reply(&format!("udp 203.0.113.8{number}:9996"), Transport::Udp, answered))).await;
            }
            tell(News::Done).await;
        }
        Errand::Trace(_) => {
            let hops = [Some("192.168.1.1"), Some("100.64.0.1"), None, Some("198.51.100.17"), Some("203.0.113.82")];
            for (ttl, address) in (1..).zip(hops) {
                pause(500).await;
                let rtt_ms = address.map(|_| f64::from(ttl) * 4.6);
                tell(News::Hop(Hop { ttl, address: address.map(str::to_owned), rtt_ms })).await;
            }
            tell(News::Done).await;
        }
        Errand::Bandwidth { seconds, .. } => {
            let steps = u64::from(seconds) * 2 * 5;
            for step in 1..=steps {
                pause(200).await;
                let bps = if step * 2 <= steps { 47_600_000 } else { 92_300_000 };
                tell(News::Bandwidth(BandwidthProgress { done: step, total: steps, bps })).await;
            }
            tell(News::Measured(BandwidthResult {
                sent_bps: 47_600_000,
                received_bps: 92_300_000,
                seconds: f64::from(seconds) * 2.0,
                path: Some(Path::Direct),
                transport: Transport::Udp,
            }))
            .await;
        }
        Errand::Report => {
            pause(600).await;
            tell(News::Report(REPORT.into())).await;
        }
        Errand::Disconnect(_)
        | Errand::Block(_)
        | Errand::Unblock(_)
        | Errand::StartService(_)
        | Errand::StopService(_)
        | Errand::MoveService(..)
        | Errand::Talk(_)
        | Errand::Files(_)
        | Errand::Log(_) => {}
    }
}
