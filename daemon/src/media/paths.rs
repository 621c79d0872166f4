//! Which way the packets of one session go: UDP while it is heard, the tunnel while it is not.
//!
//! ICE takes 15 to 24 s to leave a dead path (facts/media.md 4). So media moves below it, on each side by itself: to the
//! tunnel when nothing came by UDP for [`SILENCE`], or when the peer says that it hears nothing; back as soon as both
//! hear. ICE keeps checking the real path meanwhile and follows in its own time.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use kith_common::call::Transport;
use kith_common::node::Path;

use super::addresses::path_to;
use super::params::Role;

/// Three heartbeats and some: then UDP counts as dead.
const SILENCE: Duration = Duration::from_millis(900);
/// What the peer said of our UDP packets counts this long.
const WORD_LIFE: Duration = Duration::from_millis(1500);
/// How often a dead UDP path is tried with a copy of a packet.
const PROBE: Duration = Duration::from_millis(200);

/// The tunnel's address in ICE: of the discard prefix (RFC 6666), so no packet for it can leave by mistake.
pub fn relay_address(role: Role) -> SocketAddr {
    let host = match role {
        Role::Caller => 1,
        Role::Callee => 2,
    };
    SocketAddr::new(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, host).into(), 1)
}

pub fn is_relay(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().segments()[..4] == [0x100, 0, 0, 0])
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tunnel,
    /// By the tunnel, and a copy to see whether UDP lives again.
    Both,
}

#[derive(Debug)]
pub struct Paths {
    tunnel: bool,
    tunnel_path: Path,
    heard_udp: Option<Instant>,
    heard_any: Option<Instant>,
    /// Whether the peer hears our UDP packets, and when it said so.
    word: Option<(bool, Instant)>,
    probed: Option<Instant>,
    /// Where ICE sends media.
    nominated: Option<SocketAddr>,
    using_tunnel: bool,
}

impl Paths {
    /// `tunnel_path`: what to call the path of the tunnel.
    pub fn new(tunnel_path: Path) -> Self {
        Self {
            tunnel: false,
            tunnel_path,
            heard_udp: None,
            heard_any: None,
            word: None,
            probed: None,
            nominated: None,
            using_tunnel: false,
        }
    }

    pub fn set_tunnel(&mut self, there: bool) {
        self.tunnel = there;
    }

    pub fn set_tunnel_path(&mut self, path: Path) {
        self.tunnel_path = path;
    }

    pub fn handle_udp(&mut self, now: Instant) {
        self.heard_udp = Some(now);
        self.heard_any = Some(now);
    }

    pub fn handle_tunnel(&mut self, now: Instant) {
        self.heard_any = Some(now);
    }

    /// The peer says whether it hears our UDP packets.
    pub fn handle_word(&mut self, hears: bool, now: Instant) {
        self.word = Some((hears, now));
    }

    pub fn hears_udp(&self, now: Instant) -> bool {
        within(self.heard_udp, SILENCE, now)
    }

    /// When anything came last.
    pub fn heard_any(&self) -> Option<Instant> {
        self.heard_any
    }

    /// UDP has been quiet for this long; `None`: it never spoke.
    pub fn udp_silence(&self, now: Instant) -> Option<Duration> {
        self.heard_udp.map(|at| now.saturating_duration_since(at))
    }

    pub fn nominated_is_relay(&self) -> bool {
        self.nominated.is_some_and(is_relay)
    }

    pub fn using_tunnel(&self) -> bool {
        self.using_tunnel
    }

    /// Where a packet of media goes that ICE wants at `destination`.
    pub fn way(&mut self, destination: SocketAddr, now: Instant) -> Way {
        self.nominated = Some(destination);
        if is_relay(destination) {
            self.using_tunnel = true;
            return Way::Tunnel;
        }
        let deaf = !self.hears_udp(now);
        let unheard = self.word.is_some_and(|(hears, at)| !hears && now.saturating_duration_since(at) < WORD_LIFE);
        self.using_tunnel = self.tunnel && (deaf || unheard);
        if !self.using_tunnel {
            return Way::Udp;
        }
        if within(self.probed, PROBE, now) {
            return Way::Tunnel;
        }
        self.probed = Some(now);
        Way::Both
    }

    /// What is in use; `None` before the first packet of media.
    pub fn current(&self) -> Option<(Path, Transport)> {
        let nominated = self.nominated?;
        if self.using_tunnel {
            Some((self.tunnel_path, Transport::Tcp))
        } else {
            Some((path_to(nominated.ip()), Transport::Udp))
        }
    }
}

fn within(at: Option<Instant>, life: Duration, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < life)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 9996))
    }

    #[test]
    fn media_moves_to_the_tunnel_when_udp_falls_silent_and_back_when_it_speaks() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut paths = Paths::new(Path::Relayed);
        paths.set_tunnel(true);
        paths.handle_udp(at(0));
        assert_eq!(paths.way(peer(), at(500)), Way::Udp);
        assert_eq!(paths.current(), Some((Path::Direct, Transport::Udp)));
        assert_eq!(paths.way(peer(), at(1000)), Way::Both);
        assert_eq!(paths.way(peer(), at(1010)), Way::Tunnel);
        assert_eq!(paths.current(), Some((Path::Relayed, Transport::Tcp)));
        paths.handle_udp(at(1020));
        assert_eq!(paths.way(peer(), at(1030)), Way::Udp);
    }

    #[test]
    fn a_peer_that_hears_nothing_is_sent_to_by_the_tunnel() {
        let start = Instant::now();
        let mut paths = Paths::new(Path::Relayed);
        paths.set_tunnel(true);
        paths.handle_udp(start);
        paths.handle_word(false, start);
        assert_eq!(paths.way(peer(), start), Way::Both);
        paths.handle_word(true, start);
        assert_eq!(paths.way(peer(), start), Way::Udp);
    }

    #[test]
    fn without_a_tunnel_everything_goes_by_udp() {
        let mut paths = Paths::new(Path::Relayed);
        assert_eq!(paths.way(peer(), Instant::now()), Way::Udp);
    }
}
