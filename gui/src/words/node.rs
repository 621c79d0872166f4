//! What the screens about the node say in words: listeners, reachability, peers, and what was measured.

use std::time::Duration;

use kith_common::call::Transport;
use kith_common::diagnostics::{BandwidthResult, Hop, Nat, PingReply, Reachability};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::{Path, PeerInfo, PeerStatus, ServiceInfo, ServiceState};

use crate::chart;

/// A failure in two sentences: what and why, and what to try.
pub fn failure(failure: &Failure) -> (String, String) {
    (super::sentence_of(&failure.message), super::sentence_of(&failure.advice))
}

/// What the node does not tell, when it is older than the window.
pub fn refusal(refused: &Failure, what: &str) -> (String, String) {
    match refused.kind {
        FailureKind::Unsupported => (
            format!("Your node is older than this window and does not tell {what}."),
            "Restart it: the version that is installed then starts, and this fills by itself.".to_owned(),
        ),
        _ => failure(refused),
    }
}

pub fn reachability(state: Reachability) -> &'static str {
    match state {
        Reachability::Unknown => "Not known yet",
        Reachability::Offline => "No network",
        Reachability::Local => "This network only",
        Reachability::Public => "Reachable from anywhere",
        Reachability::Relayed => "Reachable through a relay",
        Reachability::Outgoing => "Can call, cannot be called",
    }
}

pub fn nat(nat: Nat) -> &'static str {
    match nat {
        Nat::Unknown => "Not known yet",
        Nat::None => "None: connected without a router in between",
        Nat::Cone => "Cone: direct connections can be made",
        Nat::Symmetric => "Symmetric: direct only to peers without such a router",
        Nat::UdpBlocked => "Blocks UDP: connections go over TCP",
    }
}

/// What is said while the node has not said it better.
pub fn meaning(state: Reachability) -> &'static str {
    match state {
        Reachability::Unknown => "Nobody has connected yet, so nobody has said how your node looks from outside.",
        Reachability::Offline => "This machine has no network: only programs on it can reach your node.",
        Reachability::Local => "People in your network can call you. Whether others can is not known.",
        Reachability::Public => "Anyone who has your ticket can call you directly.",
        Reachability::Relayed => "People can call you through a relay, and then directly where the routers allow it.",
        Reachability::Outgoing => "You can call others. They cannot call you from outside, because no relay is known.",
    }
}

pub fn scope(scope: &str) -> &str {
    match scope {
        "global" => "public",
        "private" => "private network",
        "link" => "this link only",
        "loopback" => "this machine only",
        other => other,
    }
}

pub fn agreement(peers: u32) -> String {
    match peers {
        0 => "seen before".to_owned(),
        1 => "seen by 1 peer".to_owned(),
        peers => format!("{peers} peers agree"),
    }
}

/// How a way to a peer is called in a row.
pub fn path(path: Path) -> &'static str {
    match path {
        Path::Lan => "LAN",
        Path::Direct => "Direct",
        Path::Relayed => "Relayed",
        Path::Tor => "Tor",
    }
}

pub fn status(status: PeerStatus) -> &'static str {
    match status {
        PeerStatus::Connected => "Connected",
        PeerStatus::Known => "Known, not connected",
        PeerStatus::Dialing => "Connecting",
        PeerStatus::Blocked => "Blocked",
    }
}

/// `0.6 ms`, `23 ms`; a dash where nothing was measured.
pub fn latency(ms: Option<f64>) -> String {
    ms.filter(|ms| *ms >= 0.0).map_or_else(|| "–".to_owned(), |ms| chart::Unit::Milliseconds.say(ms))
}

pub fn loss(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), chart::percent)
}

/// How long ago, in one unit: `now`, `12 s ago`, `3 min ago`, `2 days ago`.
pub fn ago(then_unix_ms: i64, now_unix_ms: i64) -> String {
    if then_unix_ms <= 0 {
        return "never".to_owned();
    }
    match (now_unix_ms - then_unix_ms).max(0) / 1000 {
        0..5 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

/// For how long: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn since(then_unix_ms: i64, now_unix_ms: i64) -> String {
    span((now_unix_ms - then_unix_ms).max(0) / 1000)
}

fn span(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A service's name for people, and what it is for.
pub fn service(name: &str) -> (&str, &'static str) {
    match name {
        "node" => ("Node", "Signalling, chat, files and the routing table"),
        "video" => ("Video calls", "Picture and sound of video calls"),
        "audio" => ("Voice calls", "Sound of voice calls"),
        "chat" => ("Chat", "Messages, over the node's connections"),
        "files" => ("Files", "Shared files, over the node's connections"),
        "broadcast" => ("Broadcast", "Live broadcasts, over the node's connections"),
        other => (other, ""),
    }
}

pub fn service_state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Starting => "Starting",
        ServiceState::Listening => "Listening",
        ServiceState::Failed => "Failed",
        ServiceState::Stopped => "Stopped",
        ServiceState::Absent => "Not in this version",
    }
}

/// How all of them do together.
pub fn services(rows: &[ServiceInfo]) -> String {
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let there = rows.len() - count(ServiceState::Absent);
    let mut words = format!("{} of {there} listening", count(ServiceState::Listening));
    for (state, word) in [(ServiceState::Failed, "failed"), (ServiceState::Stopped, "stopped")] {
        match count(state) {
            0 => {}
            count => words += &format!(", {count} {word}"),
        }
    }
    words
}

/// What connecting has led to.
pub fn connected(peer: &PeerInfo) -> String {
    let name = super::name(&peer.name, Some(peer.peer_id));
    match (peer.path, peer.rtt_ms) {
        (Some(way), Some(rtt)) => format!("Connected to {name}: {}, {}.", path(way), latency(Some(rtt))),
        (Some(way), None) => format!("Connected to {name}: {}.", path(way)),
        (None, _) => format!("Connected to {name}."),
    }
}

/// What one way of a ping was like.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    pub name: String,
    pub path: Option<Path>,
    pub transport: Transport,
    pub sent: usize,
    pub rtts_ms: Vec<f64>,
}

impl Way {
    pub fn lost(&self) -> usize {
        self.sent - self.rtts_ms.len()
    }

    /// Least, mean and most.
    pub fn times(&self) -> Option<(f64, f64, f64)> {
        let least = self.rtts_ms.iter().copied().reduce(f64::min)?;
        let most = self.rtts_ms.iter().copied().reduce(f64::max)?;
        Some((least, self.rtts_ms.iter().sum::<f64>() / self.rtts_ms.len() as f64, most))
    }
}

/// The replies by way, in the order in which the ways first answered or failed to.
pub fn ways(replies: &[PingReply]) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for reply in replies {
        let known = ways.iter().position(|way| way.name == reply.way).unwrap_or_else(|| {
            let (path, transport) = (reply.path, reply.transport);
            ways.push(Way { name: reply.way.clone(), path, transport, sent: 0, rtts_ms: Vec::new() });
            ways.len() - 1
        });
        ways[known].sent += 1;
        ways[known].rtts_ms.extend(reply.rtt_ms);
    }
    ways
}

pub fn way(path: Option<Path>, transport: Transport) -> String {
    let transport = match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    path.map_or_else(|| transport.to_owned(), |path| format!("{}, {transport}", self::path(path)))
}

/// What a ping has found, in a sentence.
pub fn pinged(who: &str, replies: &[PingReply]) -> String {
    let ways = ways(replies);
    let (sent, lost) = (replies.len(), ways.iter().map(Way::lost).sum::<usize>());
    let best = ways.iter().filter_map(Way::times).min_by(|a, b| a.1.total_cmp(&b.1));
    let over = if ways.len() == 1 { String::new() } else { format!(" over {} ways", ways.len()) };
    match (best, lost) {
        (None, _) if sent == 0 => format!("There was no way to ping {who} over."),
        (None, _) => format!("{who} answered none of {sent} pings. The connection may have just ended: connect again."),
        (Some((_, mean, _)), 0) => {
            format!(
                "{who} answered all {sent} pings{over}; the fastest way takes {} there and back.",
                latency(Some(mean))
            )
        }
        (Some((_, mean, _)), lost) => format!(
            "{who} answered {} of {sent} pings{over}; the fastest way takes {} there and back.",
            sent - lost,
            latency(Some(mean))
        ),
    }
}

/// What a trace has found, in a sentence.
pub fn traced(who: &str, hops: &[Hop]) -> String {
    let last = hops.iter().rev().find(|hop| hop.address.is_some());
    let silent = hops.iter().filter(|hop| hop.address.is_none()).count();
    match (hops.len(), last) {
        (0, _) | (_, None) => format!("No router on the way to {who} answered. Some networks do not let them."),
        (count, Some(last)) => {
            let steps = if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
            let silent = match silent {
                0 => String::new(),
                1 => ", 1 of them silent".to_owned(),
                count => format!(", {count} of them silent"),
            };
            format!("{steps} to {who}{silent}; the last that answered took {}.", latency(last.rtt_ms))
        }
    }
}

/// What a bandwidth measurement has found, in a sentence.
pub fn measured(who: &str, result: &BandwidthResult) -> String {
    format!(
        "To {who} {}, from there {} ({}), measured for {:.0} s.",
        chart::bits(result.sent_bps as f64),
        chart::bits(result.received_bps as f64),
        way(result.path, result.transport),
        result.seconds
    )
}

/// `0:07`, for what is being waited for.
pub fn waited(time: Duration) -> String {
    super::duration(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(way: &str, rtt_ms: Option<f64>) -> PingReply {
        PingReply { sequence: 0, way: way.into(), path: Some(Path::Direct), transport: Transport::Udp, rtt_ms }
    }

    #[test]
    fn a_ping_is_summed_up_by_its_best_way_and_what_was_lost() {
        let replies =
            [reply("quic", Some(20.0)), reply("tcp", Some(31.0)), reply("quic", None), reply("tcp", Some(33.0))];
        assert_eq!(
            pinged("Ada", &replies),
            "Ada answered 3 of 4 pings over 2 ways; the fastest way takes 20 ms there and back."
        );
        assert_eq!(ways(&replies)[1].times(), Some((31.0, 32.0, 33.0)));
        assert!(pinged("Ada", &[reply("quic", None)]).starts_with("Ada answered none of 1"));
    }

    #[test]
    fn a_trace_counts_the_silent() {
        let hop = |ttl, address: Option<&str>| Hop { ttl, address: address.map(str::to_owned), rtt_ms: Some(8.0) };
        let hops = [hop(1, Some("192.168.1.1")), hop(2, None), hop(3, Some("203.0.113.1"))];
        assert_eq!(traced("Ada", &hops), "3 steps to Ada, 1 of them silent; the last that answered took 8.0 ms.");
        assert!(traced("Ada", &[]).contains("No router"));
    }

    #[test]
    fn times_are_said_in_one_unit() {
        let now = 10_000_000_000;
        let said: Vec<_> = [2, 40, 90, 7_200, 90_000, 400_000].map(|seconds| ago(now - seconds * 1000, now)).into();
        assert_eq!(said, ["now", "40 s ago", "1 min ago", "2 h ago", "1 day ago", "4 days ago"]);
        assert_eq!(ago(0, now), "never");
    }

    #[test]
    fn an_older_daemon_is_a_sentence_with_a_way_out() {
        let refused = Failure::new(FailureKind::Unsupported, "the running daemon does not know this action");
        let (sentence, advice) = refusal(&refused, "how it is reached");
        assert!(sentence.contains("older than this window") && advice.starts_with("Restart it"), "{sentence} {advice}");
    }
}
