//! Finds out whether a port is free before libp2p binds it, who has it when it is not, and which other is free. The media
//! sockets ask here for the latter two.
//!
//! libp2p's TCP listeners share a port silently (SO_REUSEPORT) and its errors hide the reason, so a plain bind asks
//! first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use kith_common::target::NODE_PORT;
use kith_core::listener::{Refusal, Why};

use super::holder::{Holder, Transport, holder};

/// How many ports above a taken one are looked at for a suggestion.
const SUGGESTION_RANGE: u16 = 100;
/// The usual ports of Kith's services: when one is taken, another's is no way out.
const USUAL_PORTS: [u16; 3] = [9996, 9998, NODE_PORT];
/// How often "any port" is tried until one is free for TCP and UDP alike.
const ANY_PORT_TRIES: usize = 32;

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("{transport} port {port} is in use by {holder}")]
    Taken { transport: Transport, port: u16, holder: Holder },
    #[error("port {0} needs more rights than this program has")]
    Forbidden(u16),
    #[error("this machine has no address {0}")]
    NoSuchAddress(IpAddr),
    #[error("could not open port {port}: {source}")]
    Other { port: u16, source: io::Error },
}

impl PortError {
    /// From what the system said when that address could not be bound.
    pub fn explain(address: SocketAddr, transport: Transport, source: io::Error) -> Self {
        let port = address.port();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { transport, port, holder: holder(transport, port) },
            io::ErrorKind::PermissionDenied => Self::Forbidden(port),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(address.ip()),
            _ => Self::Other { port, source },
        }
    }

    /// The same for the listener of a service, with what a person may do. `uses` is what the service needs of a port.
    pub fn refusal(&self, service: &str, binds: &[IpAddr], uses: &[Transport]) -> Refusal {
        let (why, suggestion) = match self {
            Self::Taken { port, holder, .. } => {
                let next_free = next_free(binds, *port, uses);
                let stop = match holder {
                    Holder::Process { .. } => format!(", or stop {holder}"),
                    Holder::Ourselves | Holder::User(_) | Holder::Unknown => String::new(),
                };
                let free = |free| format!("port {free} is free: kithctl services port {service} {free}{stop}");
                (Why::Taken { next_free }, next_free.map_or_else(String::new, free))
            }
            Self::Forbidden(_) => {
                (Why::Other, format!("choose a port of 1024 or above: kithctl services port {service} N"))
            }
            Self::NoSuchAddress(_) => {
                (Why::Other, "choose one of this machine's addresses with --bind, or leave it out".to_owned())
            }
            Self::Other { .. } => (Why::Other, String::new()),
        };
        Refusal { why, error: self.to_string(), suggestion }
    }
}

/// The addresses to listen on: the one asked for, or all of IPv4 and, where the machine has it, IPv6.
pub fn binds(bind: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(ip) = bind {
        return vec![ip];
    }
    let mut all = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    all
}

/// What the node needs of its port.
pub(super) const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// The wanted port when it is free for TCP and UDP on all of `binds`; for 0, one that is.
pub(super) fn probe(binds: &[IpAddr], wanted: u16) -> Result<u16, PortError> {
    if wanted != 0 {
        return binds.iter().try_for_each(|ip| probe_one(*ip, wanted)).map(|()| wanted);
    }
    let first = binds.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    for _ in 0..ANY_PORT_TRIES {
        let port = TcpListener::bind((first, 0)).and_then(|listener| listener.local_addr());
        let explain = |error| PortError::explain((first, 0).into(), Transport::Tcp, error);
        let port = port.map_err(explain)?.port();
        if is_free(binds, port, &BOTH) {
            return Ok(port);
        }
    }
    let source = io::Error::new(io::ErrorKind::AddrInUse, "none was free for both TCP and UDP");
    Err(PortError::Other { port: 0, source })
}

/// The next free port above a taken one.
fn next_free(binds: &[IpAddr], taken: u16, uses: &[Transport]) -> Option<u16> {
    let above = (1..=SUGGESTION_RANGE).filter_map(|step| taken.checked_add(step));
    above.filter(|port| !USUAL_PORTS.contains(port)).find(|port| is_free(binds, *port, uses))
}

fn is_free(binds: &[IpAddr], port: u16, uses: &[Transport]) -> bool {
    binds.iter().all(|ip| uses.iter().all(|transport| bind(*transport, (*ip, port).into()).is_ok()))
}

fn probe_one(ip: IpAddr, port: u16) -> Result<(), PortError> {
    let address = SocketAddr::new(ip, port);
    BOTH.iter().try_for_each(|transport| {
        bind(*transport, address).map_err(|error| PortError::explain(address, *transport, error))
    })
}

fn bind(transport: Transport, address: SocketAddr) -> io::Result<()> {
    match transport {
        Transport::Tcp => TcpListener::bind(address).map(drop),
        Transport::Udp => UdpSocket::bind(address).map(drop),
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
            let error = probe(&HERE, port).expect_err("taken");
            assert!(matches!(error, PortError::Taken { port: taken, .. } if taken == port), "{error}");
            let refusal = error.refusal("node", &HERE, &BOTH);
            assert!(refusal.error.contains(&format!("port {port} is in use by this kithd itself")), "{refusal:?}");
            let Why::Taken { next_free: Some(free) } = refusal.why else { panic!("{refusal:?}") };
            assert_ne!(free, port);
            assert!(refusal.suggestion.contains(&format!("kithctl services port node {free}")), "{refusal:?}");
        }
    }

    #[test]
    fn the_usual_port_of_another_service_is_never_suggested() {
        for taken in [9995, 9996, 9997, 9998] {
            assert!(next_free(&HERE, taken, &BOTH).is_none_or(|free| !USUAL_PORTS.contains(&free)), "{taken}");
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
        assert!(error.refusal("node", &HERE, &BOTH).suggestion.contains("--bind"));
    }
}
