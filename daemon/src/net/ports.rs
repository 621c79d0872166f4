//! Finds out whether a port is free before libp2p binds it.
//!
//! libp2p's TCP listeners share a port silently (SO_REUSEPORT) and its errors hide the reason, so a plain bind asks
//! first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// How many ports above a taken one are looked at for a suggestion.
const SUGGESTION_RANGE: u16 = 100;
/// How often "any port" is tried until one is free for TCP and UDP alike.
const ANY_PORT_TRIES: usize = 32;

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error("port {0} is in use by another program")]
    Taken(u16),
    #[error("port {0} needs more rights than this program has")]
    Forbidden(u16),
    #[error("this machine has no address {0}")]
    NoSuchAddress(IpAddr),
    #[error("could not bind port {port}: {source}")]
    Other { port: u16, source: io::Error },
}

/// The addresses to listen on: the one asked for, or all of IPv4 and, where the machine has it, IPv6.
pub(super) fn binds(bind: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(ip) = bind {
        return vec![ip];
    }
    let mut all = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    all
}

/// The wanted port when it is free for TCP and UDP on all of `binds`; for 0, one that is.
pub(super) fn probe(binds: &[IpAddr], wanted: u16) -> Result<u16, PortError> {
    if wanted != 0 {
        return binds.iter().try_for_each(|ip| probe_one(*ip, wanted)).map(|()| wanted);
    }
    let first = binds.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut last = PortError::Taken(0);
    for _ in 0..ANY_PORT_TRIES {
        let port = TcpListener::bind((first, 0)).and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| explain(first, 0, error))?.port();
        match binds.iter().try_for_each(|ip| probe_one(*ip, port)) {
            Ok(()) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The next free port above a taken one.
pub(super) fn next_free(binds: &[IpAddr], taken: u16) -> Option<u16> {
    (1..=SUGGESTION_RANGE)
        .filter_map(|step| taken.checked_add(step))
        .find(|port| binds.iter().all(|ip| probe_one(*ip, *port).is_ok()))
}

fn probe_one(ip: IpAddr, port: u16) -> Result<(), PortError> {
    let address = SocketAddr::new(ip, port);
    TcpListener::bind(address).map_err(|error| explain(ip, port, error))?;
    UdpSocket::bind(address).map_err(|error| explain(ip, port, error))?;
    Ok(())
}

fn explain(ip: IpAddr, port: u16, source: io::Error) -> PortError {
    match source.kind() {
        io::ErrorKind::AddrInUse => PortError::Taken(port),
        io::ErrorKind::PermissionDenied => PortError::Forbidden(port),
        io::ErrorKind::AddrNotAvailable => PortError::NoSuchAddress(ip),
        _ => PortError::Other { port, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

    #[test]
    fn a_port_taken_by_either_transport_is_found_and_another_suggested() {
        let tcp = TcpListener::bind((HERE[0], 0)).expect("a free port");
        let udp = UdpSocket::bind((HERE[0], 0)).expect("a free port");
        for port in [tcp.local_addr().expect("bound").port(), udp.local_addr().expect("bound").port()] {
            assert!(matches!(probe(&HERE, port), Err(PortError::Taken(taken)) if taken == port));
            assert_ne!(next_free(&HERE, port), Some(port));
        }
    }

    #[test]
    fn port_zero_finds_one_that_is_free_for_both() {
        let port = probe(&HERE, 0).expect("some port is free");
        assert!(probe(&HERE, port).is_ok());
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = probe(&["203.0.113.1".parse().expect("an address")], 9999).expect_err("not ours");
        assert_eq!(error.to_string(), "this machine has no address 203.0.113.1");
    }
}
