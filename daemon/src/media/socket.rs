//! One media socket: which datagram belongs to which session. Junk is dropped here, before it costs anything: from an
//! unknown source only STUN passes, and that only with a session's own user name fragment, at a limited rate.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::ask::{Probe, Questions, Witnesses};
use super::impair::{Datagram, Impairer};
use super::params::{Impairment, ReflectorSource};
use super::stun::{self, Message, TransactionId};

/// Packets that wait for one session: a quarter of a second of a full call in packets of 1200 bytes, and bursts of small ones.
pub const SESSION_QUEUE: usize = 512;
/// Addresses that one session may be reached from: candidates and what checks reveal.
const MAX_SOURCES: usize = 64;
/// STUN questions of one session that wait for an answer.
const MAX_QUERIES: usize = 64;
/// STUN packets a second from one address: a session sends some 50 when it starts.
const STUN_A_SECOND: u32 = 100;
/// Plain questions a second that one socket gets answered, and all sockets of one address: several nodes may be behind it.
const REFLECT_A_SECOND: u32 = 20;
const REFLECT_ADDRESS_A_SECOND: u32 = 500;
/// Addresses that are counted separately within a second; all others share one count.
const MAX_COUNTED: usize = 1024;
/// Above every packet that str0m makes; what is longer is junk.
const MAX_DATAGRAM: usize = 2048;
/// Datagrams handled before other tasks get a turn.
const BATCH: usize = 64;
/// A key frame and more; the kernel may grant less (net.core.rmem_max).
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
const SEND_BUFFER: usize = 1024 * 1024;

/// Opens a media socket: both families on one socket unless an address is named.
pub fn open(address: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    let ip = address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let result = bind_one(ip, port, address.is_none());
    // A machine without IPv6 still has the other family.
    match result {
        Err(error) if address.is_none() && error.kind() != io::ErrorKind::AddrInUse => {
            bind_one(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, false)
        }
        other => other,
    }
}

fn bind_one(ip: IpAddr, port: u16, both_families: bool) -> io::Result<UdpSocket> {
    let family = if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(family, SocketType::DGRAM, flags, None)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !both_families)?;
    }
    // The kernel caps both silently; smaller buffers only mean earlier loss.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
    bind(&socket, &SocketAddr::new(ip, port))?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where packets for a session go.
#[derive(Clone)]
struct Route {
    session: u64,
    inbox: mpsc::Sender<Datagram>,
}

#[derive(Default)]
struct Table {
    by_fragment: HashMap<Vec<u8>, Route>,
    /// Usually one; two calls between the same two nodes share their addresses.
    by_source: HashMap<SocketAddr, Vec<Route>>,
    queries: HashMap<TransactionId, Route>,
    stun_seen: Counter,
    reflected: Counter<SocketAddr>,
    reflected_addresses: Counter,
    witnesses: Witnesses,
}

/// Counts by address within the current second.
struct Counter<K = IpAddr> {
    second: Option<Instant>,
    counts: HashMap<K, u32>,
    others: u32,
}

impl<K> Default for Counter<K> {
    fn default() -> Self {
        Self { second: None, counts: HashMap::new(), others: 0 }
    }
}

impl<K: Hash + Eq> Counter<K> {
    fn allows(&mut self, source: K, limit: u32, now: Instant) -> bool {
        if self.second.is_none_or(|start| now.saturating_duration_since(start) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.counts.clear();
            self.others = 0;
        }
        let room = self.counts.len() < MAX_COUNTED;
        let count = match self.counts.get_mut(&source) {
            Some(count) => count,
            None if room => self.counts.entry(source).or_default(),
            None => &mut self.others,
        };
        *count = count.saturating_add(1);
        *count <= limit
    }
}

/// The part of a port that the receiving side needs.
struct Inner {
    socket: UdpSocket,
    /// The socket is IPv6: IPv4 addresses pass mapped.
    maps: bool,
    table: Mutex<Table>,
    reflectors: Arc<Mutex<ReflectorSource>>,
    questions: Arc<Questions>,
    next_session: AtomicU64,
    junk: AtomicU64,
}

/// One open media socket. It is received from as long as somebody has a [`Lease`] of it, and closes with the last
/// reference: a session outlives the listener that it was opened on.
pub struct Port {
    inner: Arc<Inner>,
    impairer: Impairer,
    local: SocketAddr,
    /// Leases that are held.
    users: watch::Sender<usize>,
}

/// Somebody uses the port: the engine for new sessions, and each session for itself.
pub struct Lease(Arc<Port>);

impl Lease {
    /// The first one.
    pub fn first(port: Port) -> Self {
        port.users.send_replace(1);
        Self(Arc::new(port))
    }

    /// Another one, unless the last has been given back: then the port is about to close.
    pub fn of(port: &Arc<Port>) -> Option<Self> {
        let used = port.users.send_if_modified(|users| {
            let used = *users > 0;
            *users += usize::from(used);
            used
        });
        used.then(|| Self(Arc::clone(port)))
    }

    pub fn port(&self) -> &Arc<Port> {
        &self.0
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.0.users.send_modify(|users| *users += 1);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| *users -= 1);
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves the maps whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, data: &[u8], to: SocketAddr) {
        let to = match to.ip() {
            IpAddr::V4(ip) if self.maps => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        // A full buffer or an unreachable address loses the packet, as the network would.
        if let Err(error) = self.socket.try_send_to(data, to) {
            tracing::trace!(%to, %error, "not sent");
        }
    }

    /// Hands a datagram to the session it belongs to, answers it, or drops it.
    fn deliver(&self, data: &[u8], source: SocketAddr, at: Instant) {
        let routed = match data.first() {
            None => false,
            Some(0..4) => self.deliver_stun(data, source, at),
            Some(_) => {
                let table = self.table();
                match table.by_source.get(&source) {
                    Some(routes) => {
                        for route in routes {
                            pass(route, data, source, at);
                        }
                        true
                    }
                    None => false,
                }
            }
        };
        if !routed {
            self.junk.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn deliver_stun(&self, data: &[u8], source: SocketAddr, at: Instant) -> bool {
        let Some(message) = stun::parse(data) else { return false };
        let mut table = self.table();
        match message {
            Message::Request { username: Some(username), .. } => {
                let Some(fragment) = stun::our_fragment(username) else { return false };
                let Some(route) = table.by_fragment.get(fragment).cloned() else { return false };
                if !table.stun_seen.allows(source.ip(), STUN_A_SECOND, at) {
                    return false;
                }
                pass(&route, data, source, at);
            }
            Message::Request { id, username: None } => {
                if !table.reflected.allows(source, REFLECT_A_SECOND, at)
                    || !table.reflected_addresses.allows(source.ip(), REFLECT_ADDRESS_A_SECOND, at)
                {
                    return false;
                }
                drop(table);
                let answer = Arc::clone(&self.reflectors.lock().unwrap_or_else(PoisonError::into_inner).answer);
                if !answer(source.ip()) {
                    return false;
                }
                let response = match stun::probe_number(data) {
                    Some((row, number)) => {
                        let report = self.table().witnesses.handle_probe(source, Probe { row, number }, at);
                        stun::probe_success(&id, source, row, report)
                    }
                    None => stun::binding_success(&id, source),
                };
                self.send(&response, source);
            }
            Message::Success { id, mapped } if self.questions.handle_answer(id, mapped, data, source, at) => {}
            Message::Success { id, .. } if table.queries.contains_key(&id) => {
                if let Some(route) = table.queries.remove(&id) {
                    pass(&route, data, source, at);
                }
            }
            Message::Success { .. } | Message::Other => {
                let Some(routes) = table.by_source.get(&source).cloned() else { return false };
                if !table.stun_seen.allows(source.ip(), STUN_A_SECOND, at) {
                    return false;
                }
                for route in &routes {
                    pass(route, data, source, at);
                }
            }
        }
        true
    }
}

fn pass(route: &Route, data: &[u8], source: SocketAddr, at: Instant) {
    // A session that is behind loses packets, and no other one waits for it.
    let _ = route.inbox.try_send(Datagram { data: data.to_vec(), address: source, at });
}

impl Port {
    pub fn new(
        socket: UdpSocket,
        impairment: Option<Impairment>,
        reflectors: Arc<Mutex<ReflectorSource>>,
        questions: Arc<Questions>,
    ) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let inner = Arc::new(Inner {
            socket,
            maps: local.is_ipv6(),
            table: Mutex::default(),
            reflectors,
            questions,
            next_session: AtomicU64::new(1),
            junk: AtomicU64::new(0),
        });
        let (out, back) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        let impairer = Impairer::spawn(
            impairment,
            move |packet| {
                if let Some(inner) = out.upgrade() {
                    inner.send(&packet.data, packet.address);
                }
            },
            move |packet| {
                if let Some(inner) = back.upgrade() {
                    inner.deliver(&packet.data, packet.address, packet.at);
                }
            },
        );
        Ok(Self { inner, impairer, local, users: watch::Sender::new(0) })
    }

    /// What the socket is bound to; the address may be the unspecified one.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Both families may pass.
    pub fn carries(&self, ip: IpAddr) -> bool {
        match self.local.ip() {
            IpAddr::V6(own) => ip.is_ipv6() || own.is_unspecified(),
            IpAddr::V4(_) => ip.is_ipv4(),
        }
    }

    /// Datagrams that belonged to nobody.
    pub fn junk(&self) -> u64 {
        self.inner.junk.load(Ordering::Relaxed)
    }

    pub fn set_impairment(&self, impairment: Option<Impairment>) {
        self.impairer.set(impairment);
    }

    /// Sends a datagram now, or loses it.
    pub fn send(&self, data: &[u8], to: SocketAddr) {
        if self.impairer.is_active() {
            let _ = self.impairer.outward(Datagram { data: data.to_vec(), address: to, at: Instant::now() });
        } else {
            self.inner.send(data, to);
        }
    }

    /// Receives until the socket fails, or until nobody uses it any more. For one task a port.
    pub async fn serve(&self) -> Option<io::Error> {
        let mut users = self.users.subscribe();
        tokio::select! {
            error = self.receive() => Some(error),
            // The sender is our own.
            _ = users.wait_for(|users| *users == 0) => None,
        }
    }

    async fn receive(&self) -> io::Error {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            if let Err(error) = self.inner.socket.readable().await {
                return error;
            }
            for _ in 0..BATCH {
                match self.inner.socket.try_recv_from(&mut buffer) {
                    Ok((length, source)) if length < MAX_DATAGRAM => {
                        self.received(&buffer[..length], unmapped(source));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_about_a_peer(&error) => {}
                    Err(error) => return error,
                }
            }
            // A flood must not starve the sessions that run on this thread.
            tokio::task::yield_now().await;
        }
    }

    fn received(&self, data: &[u8], source: SocketAddr) {
        let at = Instant::now();
        if self.impairer.is_active() {
            let _ = self.impairer.inward(Datagram { data: data.to_vec(), address: source, at });
        } else {
            self.inner.deliver(data, source, at);
        }
    }

    /// Makes a session known by its ICE user name fragment; forgotten when the registration is dropped.
    pub fn register(lease: Lease, fragment: &str, inbox: mpsc::Sender<Datagram>) -> Registration {
        let port = lease.port();
        let session = port.inner.next_session.fetch_add(1, Ordering::Relaxed);
        let route = Route { session, inbox };
        port.inner.table().by_fragment.insert(fragment.as_bytes().to_vec(), route.clone());
        Registration { lease, route, fragment: fragment.as_bytes().to_vec(), sources: HashSet::new(), queries: 0 }
    }
}

/// An ICMP error of an earlier packet, which says nothing about this socket.
fn is_about_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    )
}

/// A session's entries in the routing table.
pub struct Registration {
    lease: Lease,
    route: Route,
    fragment: Vec<u8>,
    sources: HashSet<SocketAddr>,
    queries: usize,
}

impl Registration {
    /// Whether a check from this address may be looked at: it is known, or there is room for another.
    pub fn admits(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source) || self.sources.len() < MAX_SOURCES
    }

    /// Packets from this address are for this session.
    pub fn add_source(&mut self, source: SocketAddr) {
        if self.admits(source) && self.sources.insert(source) {
            self.lease.0.inner.table().by_source.entry(source).or_default().push(self.route.clone());
        }
    }

    /// The answer to this question is for this session; `false` when it has asked too much.
    pub fn add_query(&mut self, id: TransactionId) -> bool {
        if self.queries == MAX_QUERIES {
            return false;
        }
        self.queries += 1;
        self.lease.0.inner.table().queries.insert(id, self.route.clone());
        true
    }

    /// The questions so far need no answer any more.
    pub fn forget_queries(&mut self) {
        let session = self.route.session;
        self.queries = 0;
        self.lease.0.inner.table().queries.retain(|_, route| route.session != session);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let session = self.route.session;
        let mut table = self.lease.0.inner.table();
        table.by_fragment.remove(&self.fragment);
        table.queries.retain(|_, route| route.session != session);
        table.by_source.retain(|_, routes| {
            routes.retain(|route| route.session != session);
            !routes.is_empty()
        });
    }
}
