//! Nodes on machines of their own: network namespaces with a relay between two others, which reach nobody else and are
//! reached by nobody.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Far less than the minutes that TCP takes to give up. The side that stays waits two seconds for a sign of life.
const NOTICED: Duration = Duration::from_secs(5);
/// Until there is another way.
const REACHED: Duration = Duration::from_secs(10);

/// Says so, and is counted by `scripts/test`.
fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
    let Some(file) = std::env::var_os("KITH_SKIPPED") else { return };
    if let Ok(mut file) = File::options().append(true).create(true).open(file) {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = file.write_all(format!("{test}: {reason}\n").as_bytes());
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

struct Machines {
    tag: String,
    relay: Net,
    ada: Net,
    ben: Net,
    incoming: Incoming,
    _threads: Vec<oneshot::Sender<()>>,
    _others: [Incoming; 2],
}

struct Spaces(String);

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in ["r", "a", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{name}", self.0)]).status();
        }
    }
}

impl Spaces {
    /// None where they cannot be made.
    fn new() -> Option<Self> {
        let spaces = Self(format!("kn{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
        let tag = &spaces.0;
        let space = format!("{tag}r");
        let works =
            |arguments: &[&str]| Command::new("ip").args(arguments).output().is_ok_and(|it| it.status.success());
        // Some containers can make one, and do nothing in it.
        let used = ["netns", "exec", &space, "nft", "add", "table", "ip", "probe"];
        if !works(&["netns", "add", &space]) || !works(&used) {
            skip("this machine or user cannot make network namespaces");
            return None;
        }
        ip(&format!("-n {tag}r link set lo up"));
        for (name, n) in [("a", 1), ("b", 2)] {
            ip(&format!("netns add {tag}{name}"));
            ip(&format!("-n {tag}{name} link set lo up"));
            ip(&format!("link add to{name} netns {tag}r type veth peer name eth0 netns {tag}{name}"));
            ip(&format!("-n {tag}r addr add 10.{n}.0.1/24 dev to{name}"));
            ip(&format!("-n {tag}r link set to{name} up"));
            ip(&format!("-n {tag}{name} addr add 10.{n}.0.2/24 dev eth0"));
            ip(&format!("-n {tag}{name} link set eth0 up"));
            spaces.drops(name, "iifname eth0 ct state new");
        }
        Some(spaces)
    }

    /// From now on that machine drops packets that come and match.
    fn drops(&self, name: &str, matching: &str) {
        let rules = [
            "add table ip gate".to_owned(),
            "add chain ip gate input { type filter hook input priority 0; }".to_owned(),
            format!("add rule ip gate input {matching} drop"),
        ];
        for rule in rules {
            ip(&format!("netns exec {}{name} nft {rule}", self.0));
        }
    }

    /// The machine's only interface loses its address and gets another.
    fn moves(&self, name: &str) {
        let (n, tag) = (if name == "a" { 1 } else { 2 }, &self.0);
        ip(&format!("-n {tag}{name} addr del 10.{n}.0.2/24 dev eth0"));
        ip(&format!("-n {tag}{name} addr add 10.{n}.0.3/24 dev eth0"));
    }
}

/// A node in a namespace. It ends when the sender is dropped.
async fn start_in(space: String, config: NetConfig) -> (Net, Incoming, oneshot::Sender<()>) {
    let (started, start) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let space = File::open(format!("/run/netns/{space}")).expect("made before");
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), Some(kind)).expect("as root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let _ = started.send(Net::start(config).await);
            let _ = stopped.await;
        });
    });
    let (net, incoming) = soon("the start", start).await.expect("the thread runs").expect("starts");
    (net, incoming, stop)
}

impl Machines {
    async fn new(spaces: &Spaces) -> Self {
        let tag = spaces.0.clone();
        let config = |name: &str| {
            let (mut config, _media) = config(name, 9999);
            config.bind = None;
            config
        };
        let mut serving = config("relay");
        serving.relay = Toggle::On;
        let (relay, in_relay, relay_thread) = start_in(format!("{tag}r"), serving).await;
        let via = |n: u8| format!("/ip4/10.{n}.0.1/udp/9999/quic-v1/p2p/{}", relay.peer_id()).parse();
        let (mut a, mut b) = (config("ada"), config("ben"));
        a.bootstrap = vec![via(1).expect("well formed")];
        b.bootstrap = vec![via(2).expect("well formed")];
        let (ada, in_ada, ada_thread) = start_in(format!("{tag}a"), a).await;
        let (ben, in_ben, ben_thread) = start_in(format!("{tag}b"), b).await;
        let mut identity = ben.identity();
        let placed = identity.wait_for(|own| own.addresses.iter().any(|address| address.contains("p2p-circuit")));
        soon("a place at the relay", placed).await.expect("running");
        soon("connecting", ada.connect(&Target::Ticket(ticket(&ben)))).await.expect("the relay leads there");
        let threads = vec![relay_thread, ada_thread, ben_thread];
        Self { tag, relay, ada, ben, incoming: in_ben, _threads: threads, _others: [in_relay, in_ada] }
    }

    /// A tunnel that carries bytes: both its ends. As calls do it: tried again until it opens.
    async fn tunnel(&mut self) -> (Stream, Stream) {
        let mut news = self.ada.peers();
        let opened = async {
            loop {
                let Ok(mut ours) = self.ada.open_tunnel(self.ben.peer_id()).await else {
                    news.changed().await.expect("running");
                    continue;
                };
                let carried = async {
                    ours.write_all(&[1]).await.ok()?;
                    ours.flush().await.ok()?;
                    let (_, mut theirs) = self.incoming.tunnels.recv().await?;
                    theirs.read_exact(&mut [0]).await.ok()?;
                    Some(theirs)
                };
                if let Ok(Some(theirs)) = tokio::time::timeout(Duration::from_secs(2), carried).await {
                    return (ours, theirs);
                }
            }
        };
        tokio::time::timeout(REACHED, opened).await.unwrap_or_else(|_| panic!("{}: no tunnel", self.tag))
    }
}

#[tokio::test]
async fn circuits_through_a_relay_that_was_known_by_quic_outlive_udp() {
    let Some(spaces) = Spaces::new() else { return };
    let mut machines = Machines::new(&spaces).await;
    let (mut ours, mut theirs) = machines.tunnel().await;
    for name in ["r", "a", "b"] {
        spaces.drops(name, "meta l4proto udp");
    }
    for byte in 0..50 {
        ours.write_all(&[byte]).await.expect("open");
        ours.flush().await.expect("open");
        let mut came = [0];
        soon("a byte", theirs.read_exact(&mut came)).await.expect("the circuit runs over TCP");
        assert_eq!(came, [byte]);
    }
    let ways = machines.ada.ways(machines.relay.peer_id()).await.expect("connected");
    assert!(ways.iter().any(|way| way.address.contains("/tcp/")), "{ways:?}");
}

#[tokio::test]
async fn without_tcp_a_relay_is_held_by_quic() {
    let Some(spaces) = Spaces::new() else { return };
    spaces.drops("r", "meta l4proto tcp");
    let mut machines = Machines::new(&spaces).await;
    machines.tunnel().await;
}

#[tokio::test]
async fn what_was_connected_from_an_address_that_is_gone_ends_at_once_and_comes_back() {
    let Some(spaces) = Spaces::new() else { return };
    let mut machines = Machines::new(&spaces).await;
    for name in ["a", "b"] {
        let (mut ours, _theirs) = machines.tunnel().await;
        spaces.moves(name);
        let moved = std::time::Instant::now();
        let mut byte = [0];
        // Nothing is written: only somebody who looks notices.
        let ended = tokio::time::timeout(NOTICED, ours.read(&mut byte)).await;
        let noticed = moved.elapsed();
        assert!(ended.is_ok(), "{name} moved, and the old tunnel lingers");
        machines.tunnel().await;
        eprintln!("{name} moved: noticed after {noticed:?}, another tunnel after {:?}", moved.elapsed());
    }
}

#[tokio::test]
async fn a_stream_of_files_through_a_relay_says_so_at_both_ends() {
    let Some(spaces) = Spaces::new() else { return };
    let mut machines = Machines::new(&spaces).await;
    let mut ours = soon("opening", machines.ada.open_files(machines.ben.peer_id())).await.expect("connected");
    ours.stream.write_all(&[1]).await.expect("open");
    ours.stream.flush().await.expect("open");
    let files = machines.incoming.files.as_mut().expect("nobody has taken it");
    let theirs = soon("the stream", files.recv()).await.expect("running");
    assert_eq!((ours.path, theirs.path), (Path::Relayed, Path::Relayed));
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_soon_after_somebody_doubts_it() {
    let Some(spaces) = Spaces::new() else { return };
    let mut machines = Machines::new(&spaces).await;
    let (mut ours, _theirs) = machines.tunnel().await;
    spaces.drops("b", "iifname eth0");
    let doubted = std::time::Instant::now();
    machines.ada.doubt(machines.ben.peer_id());
    let ended = tokio::time::timeout(NOTICED, ours.read(&mut [0])).await;
    assert!(ended.is_ok(), "the tunnel to nobody lingers");
    eprintln!("given up after {:?}", doubted.elapsed());
    // The relay that carried it answers, and stays.
    assert!(machines.ada.ways(machines.relay.peer_id()).await.is_ok());
}
