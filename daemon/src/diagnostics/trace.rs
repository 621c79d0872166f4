//! The routers on the way to a peer, without root, as tracepath does it: datagrams with a small time to live, and what
//! routers say about them from the socket's error queue (`IP_RECVERR`, ip(7)). The datagram is a STUN question to the peer's
//! media socket, whose answer says that the end is reached also where no ICMP comes back.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use kith_common::diagnostics::Hop;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::media;
use crate::net::{Net, PING_BYTES};

/// Longer ways than this are loops.
const MAX_HOPS: u8 = 30;
/// Questions to a hop that does not answer, and how long each waits.
const TRIES: usize = 2;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Hops in a row without an answer after which no more is expected.
const MAX_SILENT: u8 = 4;

/// Who said something about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// A router on the way: the time to live was over.
    Router(IpAddr),
    /// The end of the way: it answered, or nothing listens there.
    End(IpAddr),
    /// Somebody on the way says that there is no way on.
    NoWay(IpAddr),
}

/// Traces the way; returns when the end is reached or no more is heard.
pub async fn run(ip: IpAddr, port: u16, hops: mpsc::Sender<Hop>) -> Result<(), Failure> {
    let ip = ip.to_canonical();
    let unsupported = |error: io::Error| {
        Failure::new(FailureKind::Unsupported, format!("this system does not let programs trace a way: {error}"))
            .advise("`tracepath` or `mtr`, where they are installed, may do better.")
    };
    let socket = open(ip).await.map_err(unsupported)?;
    let to = SocketAddr::new(ip, port);
    let (mut silent, mut answered) = (0, false);
    for ttl in 1..=MAX_HOPS {
        set_ttl(&socket, ip, ttl).map_err(unsupported)?;
        let heard = ask(&socket, to).await.map_err(unsupported)?;
        let (address, rtt) = match heard {
            Some((Heard::Router(ip) | Heard::End(ip) | Heard::NoWay(ip), rtt)) => (Some(ip.to_string()), Some(rtt)),
            None => (None, None),
        };
        let hop = Hop { ttl, address, rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1e3) };
        let nobody = |_| Failure::new(FailureKind::Internal, "nobody listens to the hops any more");
        hops.send(hop).await.map_err(nobody)?;
        match heard {
            Some((Heard::End(_), _)) => return Ok(()),
            Some((Heard::NoWay(router), _)) => {
                let message = format!("{router} says that there is no way on to {ip}");
                return Err(Failure::new(FailureKind::Unreachable, message));
            }
            Some((Heard::Router(_), _)) => (silent, answered) = (0, true),
            None => silent += 1,
        }
        if silent == MAX_SILENT {
            break;
        }
    }
    if answered {
        // Many a router at the other end lets nothing in and says nothing: the hops say how far it went.
        return Ok(());
    }
    Err(Failure::new(FailureKind::TimedOut, format!("no router on the way to {ip} answered"))
        .advise("A firewall may drop what routers answer (ICMP), or UDP does not pass here."))
}

/// The way to a relayed peer: the relay is all that can be seen of it.
pub async fn relayed(net: &Net, peer: PeerId, hops: mpsc::Sender<Hop>) -> Result<(), Failure> {
    let ways = net.ways(peer).await?;
    let way = ways.first().ok_or_else(super::gone)?;
    let ping = async {
        let mut stream = net.open_ping(way).await?;
        let started = Instant::now();
        let mut bytes = [0; PING_BYTES];
        let exchange = async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            stream.read_exact(&mut bytes).await
        };
        exchange.await.map_err(|error| Failure::new(FailureKind::Unreachable, error.to_string()))?;
        Ok::<_, Failure>(started.elapsed())
    };
    let rtt = tokio::time::timeout(3 * ANSWER_WITHIN, ping).await.ok().and_then(Result::ok);
    let relay = way.address.split("/p2p-circuit").next().unwrap_or_default().to_owned();
    let nobody = |_| Failure::new(FailureKind::Internal, "nobody listens to the hops any more");
    let hop = Hop { ttl: 1, address: Some(format!("relay {relay}")), rtt_ms: None };
    hops.send(hop).await.map_err(nobody)?;
    let last = Hop { ttl: 2, address: Some(peer.to_string()), rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1e3) };
    hops.send(last).await.map_err(nobody)
}

async fn open(ip: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    match ip {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(socket)
}

fn set_ttl(socket: &UdpSocket, ip: IpAddr, ttl: u8) -> io::Result<()> {
    match ip {
        IpAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Ttl, &i32::from(ttl))?,
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6Ttl, &i32::from(ttl))?,
    }
    Ok(())
}

async fn ask(socket: &UdpSocket, to: SocketAddr) -> io::Result<Option<(Heard, Duration)>> {
    for _ in 0..TRIES {
        let started = Instant::now();
        let question = media::stun_question(&rand::random());
        // What was heard of an earlier datagram is reported by the next call, whatever that does.
        if socket.send_to(&question, to).await.is_err() {
            socket.send_to(&question, to).await?;
        }
        if let Ok(heard) = tokio::time::timeout(ANSWER_WITHIN, hear(socket, to)).await {
            return Ok(Some((heard?, started.elapsed())));
        }
    }
    Ok(None)
}

async fn hear(socket: &UdpSocket, to: SocketAddr) -> io::Result<Heard> {
    let mut buffer = [0; 512];
    loop {
        socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match socket.try_recv_from(&mut buffer) {
            Ok((_, from)) if from.ip().to_canonical() == to.ip() => return Ok(Heard::End(to.ip())),
            // Somebody else's datagram, none yet, or an error that the queue explains.
            Ok(_) | Err(_) => {}
        }
        match socket.try_io(Interest::ERROR, || queued(socket, to.ip())) {
            Ok(Some(heard)) => return Ok(heard),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The next message of the error queue, if it is one of ICMP.
fn queued(socket: &UdpSocket, end: IpAddr) -> io::Result<Option<Heard>> {
    let mut buffer = [0; 512];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        let (error, from) = match control {
            ControlMessageOwned::Ipv4RecvErr(error, Some(from)) => {
                (error, IpAddr::V4(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr))))
            }
            ControlMessageOwned::Ipv6RecvErr(error, Some(from)) => {
                (error, IpAddr::V6(Ipv6Addr::from(from.sin6_addr.s6_addr)))
            }
            _ => continue,
        };
        return Ok(meaning(error.ee_origin, error.ee_type, from, end));
    }
    Ok(None)
}

/// ICMP (RFC 792) and ICMPv6 (RFC 4443).
fn meaning(origin: u8, kind: u8, from: IpAddr, end: IpAddr) -> Option<Heard> {
    match (origin, kind) {
        (libc::SO_EE_ORIGIN_ICMP, 11) | (libc::SO_EE_ORIGIN_ICMP6, 3) => Some(Heard::Router(from)),
        (libc::SO_EE_ORIGIN_ICMP, 3) | (libc::SO_EE_ORIGIN_ICMP6, 1) if from == end => Some(Heard::End(from)),
        (libc::SO_EE_ORIGIN_ICMP, 3) | (libc::SO_EE_ORIGIN_ICMP6, 1) => Some(Heard::NoWay(from)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn on_this_machine_the_first_hop_is_the_end() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let (sender, mut hops) = mpsc::channel(4);
        let traced = run(closed.ip(), closed.port(), sender).await;
        // Where the kernel does not tell (some sandboxes), it says so.
        match traced {
            Ok(()) => {
                let hop = hops.recv().await.expect("one hop");
                assert_eq!((hop.ttl, hop.address.as_deref()), (1, Some("127.0.0.1")));
                assert!(hop.rtt_ms.is_some() && hops.recv().await.is_none());
            }
            Err(failure) => {
                assert!(matches!(failure.kind, FailureKind::Unsupported | FailureKind::TimedOut), "{failure}")
            }
        }
    }

    #[test]
    fn routers_and_the_end_are_told_apart() {
        let (router, end) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([203, 0, 113, 1]));
        assert_eq!(meaning(2, 11, router, end), Some(Heard::Router(router)));
        assert_eq!(meaning(2, 3, end, end), Some(Heard::End(end)));
        assert_eq!(meaning(2, 3, router, end), Some(Heard::NoWay(router)));
        assert_eq!(meaning(1, 0, router, end), None);
    }
}
