//! The addresses of this machine that a peer may reach a media socket at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kith_common::node::Path;

use super::socket::Port;

/// A machine with more addresses than this has virtual ones that help nobody.
const MAX_HOSTS: usize = 10;

/// Addresses of the machine that peers may use, most likely one first; loopback ones only when nothing else makes sense.
pub fn hosts(port: &Port, peer: Option<IpAddr>) -> Vec<SocketAddr> {
    let bound = port.local();
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = found.iter().map(if_addrs::Interface::ip).filter(|ip| port.carries(*ip)).collect();
    ips.retain(|ip| !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(*ip));
    // IPv4 first: in a home network it is what works.
    ips.sort_by_key(|ip| ip.is_ipv6());
    ips.dedup();
    ips.truncate(MAX_HOSTS);
    if ips.is_empty() || peer.is_some_and(|ip| ip.is_loopback()) {
        let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        ips.splice(0..0, loopbacks.into_iter().filter(|ip| port.carries(*ip)));
    }
    ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect()
}

/// Link-local addresses need a zone that the peer cannot know.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether a peer at this address is in the same building rather than across the Internet.
pub fn path_to(ip: IpAddr) -> Path {
    let near = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if near { Path::Lan } else { Path::Direct }
}
