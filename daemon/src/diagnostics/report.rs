//! One text to paste into a question: what runs, how it is reached, how the ways to peers do, how the last calls ended. The
//! same address, name or id has the same mask wherever it stands, so that the text can still be followed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use kith_common::call::CallInfo;
use kith_common::diagnostics::NetworkState;
use kith_common::ids::PeerId;
use kith_common::node::{Identity, NodeStatus, PeerInfo};
use kith_core::reach;

use crate::net::Limits;

/// Peers that are shown one by one, connected ones first.
const MAX_PEERS: usize = 30;
const MAX_CALLS: usize = 10;

pub struct Facts<'a> {
    pub status: &'a NodeStatus,
    pub identity: &'a Identity,
    pub network: &'a NetworkState,
    pub peers: &'a [PeerInfo],
    pub calls: &'a [CallInfo],
    pub limits: &'a Limits,
    /// For how long the probes have been running.
    pub watched: Duration,
}

/// Gives everything personal another name, always the same one.
#[derive(Default)]
struct Mask {
    ids: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    addresses: BTreeMap<IpAddr, usize>,
}

impl Mask {
    fn number<K: Ord>(map: &mut BTreeMap<K, usize>, key: K) -> usize {
        let next = map.len() + 1;
        *map.entry(key).or_insert(next)
    }

    fn id(&mut self, peer: PeerId) -> String {
        format!("<peer {}>", Self::number(&mut self.ids, peer.to_string()))
    }

    fn name(&mut self, name: &str) -> String {
        if name.is_empty() {
            "–".to_owned()
        } else {
            format!("<name {}>", Self::number(&mut self.names, name.to_owned()))
        }
    }

    fn address(&mut self, ip: IpAddr) -> String {
        let ip = ip.to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            return ip.to_string();
        }
        format!("<{} address {}>", reach::scope(ip), Self::number(&mut self.addresses, ip))
    }

    /// A text of whatever origin, without what is known to be personal or looks like an address or an id.
    fn scrub(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut names: Vec<(String, usize)> = self.names.iter().map(|(name, number)| (name.clone(), *number)).collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, number) in names {
            text = replace_words(&text, &name, &format!("<name {number}>"));
        }
        let ids: Vec<(String, usize)> = self.ids.iter().map(|(id, number)| (id.clone(), *number)).collect();
        for (id, number) in ids {
            let short = id.parse().map(|id: PeerId| id.short()).unwrap_or_default();
            text = text.replace(&id, &format!("<peer {number}>"));
            if !short.is_empty() {
                text = text.replace(&format!("…{short}"), &format!("<peer {number}>"));
            }
        }
        self.scrub_tokens(&scrub_hosts(&text))
    }

    fn scrub_tokens(&mut self, text: &str) -> String {
        let part = |c: char| c.is_ascii_alphanumeric() || ".:".contains(c);
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(part) {
            out.push_str(&rest[..start]);
            let end = rest[start..].find(|c| !part(c)).map_or(rest.len(), |length| start + length);
            out.push_str(&self.token(&rest[start..end]));
            rest = &rest[end..];
        }
        out + rest
    }

    fn token(&mut self, token: &str) -> String {
        // A sentence may end in an address.
        let trimmed = token.trim_end_matches(['.', ':']);
        let tail = &token[trimmed.len()..];
        if let Ok(peer) = trimmed.parse::<PeerId>() {
            return self.id(peer) + tail;
        }
        if let Ok(ip) = trimmed.parse::<IpAddr>() {
            return self.address(ip) + tail;
        }
        if let Some((ip, port)) = trimmed.rsplit_once(':')
            && let (Ok(ip), true) = (ip.parse::<IpAddr>(), port.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return format!("{}:{port}{tail}", self.address(ip));
        }
        token.to_owned()
    }
}

/// The names of machines in multiaddrs.
fn scrub_hosts(text: &str) -> String {
    let mut host = false;
    let part = |part: &str| {
        let shown = if host { "<host>" } else { part };
        host = part.starts_with("dns");
        shown.to_owned()
    };
    text.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Where `word` stands alone.
fn replace_words(text: &str, word: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let alone = !inside(before.chars().next_back()) && !inside(after.chars().next());
        out.push_str(before);
        out.push_str(if alone { with } else { word });
        rest = after;
    }
    out + rest
}

fn name(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "–".to_owned(),
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// The text; see the module.
pub fn text(facts: &Facts<'_>) -> String {
    let mut mask = Mask::default();
    // Known first, so that they are masked wherever they are mentioned.
    let own = mask.id(facts.identity.peer_id);
    mask.name(&facts.identity.name);
    for peer in facts.peers.iter().filter(|peer| !peer.name.is_empty()) {
        mask.name(&peer.name);
    }
    for call in facts.calls.iter().filter(|call| !call.peer_name.is_empty()) {
        mask.name(&call.peer_name);
    }
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = node(&mut out, facts, &own);
    let _ = services(&mut out, facts, &mut mask);
    let _ = network(&mut out, facts.network, &mut mask);
    let _ = peers(&mut out, facts.peers, &mut mask);
    let _ = calls(&mut out, facts.calls, &mut mask);
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn node(out: &mut String, facts: &Facts<'_>, own: &str) -> std::fmt::Result {
    let status = facts.status;
    writeln!(out, "Kith report (addresses, names and ids are masked)")?;
    writeln!(
        out,
        "kithd {} · {} {} · this node is {own}",
        status.version,
        std::env::consts::OS,
        std::env::consts::ARCH
    )?;
    writeln!(out, "up {} s · probing for {} s", status.uptime_s, facts.watched.as_secs())?;
    let limits = facts.limits;
    writeln!(
        out,
        "limits: {} connections, {} that others made, {} of one peer",
        limits.connections, limits.incoming_connections, limits.connections_per_peer
    )
}

fn services(out: &mut String, facts: &Facts<'_>, mask: &mut Mask) -> std::fmt::Result {
    writeln!(out, "\nServices")?;
    for service in &facts.status.services {
        let why = mask.scrub(format!("{} {}", service.error, service.suggestion).trim());
        let (state, port) = (name(service.state), service.port);
        writeln!(out, "  {:10} {state:10} port {port:5} wanted {:5} {why}", service.name, service.wanted_port)?;
    }
    Ok(())
}

fn network(out: &mut String, network: &NetworkState, mask: &mut Mask) -> std::fmt::Result {
    writeln!(
        out,
        "\nNetwork: {} · NAT {} · DHT server {}",
        name(network.reachability),
        name(network.nat),
        network.dht_server
    )?;
    writeln!(out, "  {}", mask.scrub(&network.meaning))?;
    for row in &network.local {
        writeln!(out, "  local     {:12} {}", row.interface, mask.scrub(&row.ip))?;
    }
    for row in &network.observed {
        let address = mask.scrub(&row.address);
        writeln!(out, "  observed  {:12} {address} {} by {}", row.service, name(row.transport), row.peers)?;
    }
    for row in &network.relay {
        writeln!(out, "  relay     {}", mask.scrub(&row.address))?;
    }
    for row in &network.mappings {
        writeln!(out, "  mapping   {} -> {} ({})", mask.scrub(&row.external), mask.scrub(&row.internal), row.protocol)?;
    }
    Ok(())
}

fn peers(out: &mut String, peers: &[PeerInfo], mask: &mut Mask) -> std::fmt::Result {
    let connected = peers.iter().filter(|peer| peer.connected).count();
    writeln!(out, "\nPeers: {connected} connected, {} known", peers.len())?;
    for peer in peers.iter().filter(|peer| peer.connected).take(MAX_PEERS) {
        let loss = peer.loss.map_or_else(|| "–".to_owned(), |loss| format!("{:.1} %", loss * 100.0));
        let (path, rtt, jitter) = (name(peer.path), milliseconds(peer.rtt_ms), milliseconds(peer.jitter_ms));
        let (id, title, agent) = (mask.id(peer.peer_id), mask.name(&peer.name), mask.scrub(&peer.agent));
        writeln!(out, "  {id} {title} {path} rtt {rtt} jitter {jitter} loss {loss} {agent}")?;
        for address in &peer.addresses {
            writeln!(out, "    {}", mask.scrub(address))?;
        }
    }
    Ok(())
}

fn calls(out: &mut String, calls: &[CallInfo], mask: &mut Mask) -> std::fmt::Result {
    writeln!(out, "\nCalls")?;
    for call in calls.iter().take(MAX_CALLS) {
        let peer = call.peer.map_or_else(|| "–".to_owned(), |peer| mask.id(peer));
        write!(out, "  {} {} {} {peer} {}", name(call.direction), name(call.kind), name(call.state), name(call.path))?;
        if let Some(ending) = &call.ending {
            let stage = ending.failed_stage.map(|stage| format!(" at {}", name(stage))).unwrap_or_default();
            write!(out, ": {}{stage} {}", name(ending.reason), mask.scrub(&ending.detail))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_has_the_same_mask_everywhere() {
        let mut mask = Mask::default();
        let peer = PeerId::from_public_key([7; 32]);
        let (id, _) = (mask.id(peer), mask.name("Ada"));
        let text =
            format!("Ada at 203.0.113.7:9999 ({peer}, …{}), not Adam: /ip4/203.0.113.7/tcp/1, 10.0.0.1.", peer.short());
        let masked = mask.scrub(&text);
        let expected = format!(
            "<name 1> at <global address 1>:9999 ({id}, {id}), not Adam: /ip4/<global address 1>/tcp/1, <private address 2>."
        );
        assert_eq!(masked, expected);
    }

    #[test]
    fn the_sixth_version_is_masked_and_times_and_versions_are_left_alone() {
        let mut mask = Mask::default();
        let text = "[2001:db8::1]:9996 fd00::1 at 12:30:15, version 0.1.0, 127.0.0.1:9 and ::";
        let masked = mask.scrub(text);
        assert_eq!(
            masked,
            "[<global address 1>]:9996 <private address 2> at 12:30:15, version 0.1.0, 127.0.0.1:9 and ::"
        );
    }

    #[test]
    fn an_unknown_peer_in_a_sentence_is_masked() {
        let mut mask = Mask::default();
        let stranger = PeerId::from_public_key([9; 32]);
        assert_eq!(mask.scrub(&format!("/p2p/{stranger}/p2p-circuit")), "/p2p/<peer 1>/p2p-circuit");
        assert_eq!(mask.scrub("/dns4/home.example/tcp/9999"), "/dns4/<host>/tcp/9999");
    }
}
