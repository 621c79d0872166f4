//! Several hosts on one machine: network namespaces with routers between them.
//!
//! ```text
//!   relay 203.0.113.10 --+
//!   natA  203.0.113.11 --+-- bridge        hostA 10.1.0.2 -> natA (10.1.0.1)
//!   natB  203.0.113.12 --+                 hostB 10.2.0.2 -> natB (10.2.0.1)
//! ```
//! A public host is on the bridge itself, at 203.0.113.21 or 203.0.113.22. The addresses exist in these namespaces only
//! (RFC 5737 and RFC 1918), so that several such networks can be there at once; nothing leaves the machine.

pub mod matrix;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

/// How a host is connected to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Without a router, at a public address.
    Public,
    /// One outside port for an inside port whatever the destination; answers only from there come in.
    Cone,
    /// Another outside port for every destination.
    Symmetric,
    /// As a cone, by a router that forwards no UDP.
    UdpBlocked,
}

impl Nat {
    pub const ALL: [Self; 4] = [Self::Public, Self::Cone, Self::Symmetric, Self::UdpBlocked];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Cone => "cone",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "UDP blocked",
        }
    }
}

/// The topology above. Removed when dropped.
pub struct Net {
    tag: String,
}

/// Networks that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

const HOSTS: [&str; 6] = ["net", "relay", "natA", "natB", "hostA", "hostB"];

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("starting {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

impl Net {
    /// Why namespaces cannot be made here, if they cannot.
    pub fn impossible() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need root".into());
        }
        if !crate::have("ip") || !crate::have("nft") {
            return Some("the programs ip and nft are not installed".into());
        }
        let probe = format!("kithprobe{}", std::process::id());
        let made = ip(&format!("netns add {probe}")).and_then(|()| {
            let rules = run("ip", &["netns", "exec", &probe, "nft", "add", "table", "ip", "probe"]);
            ip(&format!("netns del {probe}"))?;
            rules
        });
        made.err().map(|error| format!("this machine cannot make network namespaces: {error:#}"))
    }

    /// `natA` and `natB` are there for hosts that are not public.
    pub fn new(nat_a: Nat, nat_b: Nat) -> Result<Self> {
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self { tag: format!("k{}n{made}", std::process::id()) };
        for host in HOSTS {
            let name = net.name(host);
            let _ = ip(&format!("netns del {name}"));
            ip(&format!("netns add {name}"))?;
            net.exec(
                host,
                &["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
            )?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        let bridge = net.name("net");
        ip(&format!("-n {bridge} link add br0 type bridge"))?;
        ip(&format!("-n {bridge} link set br0 up"))?;
        net.plug("relay", "wan", 10)?;
        for (side, n, nat) in [("A", 1, nat_a), ("B", 2, nat_b)] {
            let host = format!("host{side}");
            if nat == Nat::Public {
                net.plug(&host, "eth0", 20 + n)?;
            } else {
                net.plug(&format!("nat{side}"), "wan", 10 + n)?;
                net.make_home(side, n, nat)?;
            }
        }
        Ok(net)
    }

    /// Connects a host to the bridge.
    fn plug(&self, host: &str, interface: &str, last: u8) -> Result<()> {
        let (bridge, name) = (self.name("net"), self.name(host));
        ip(&format!("link add v{last} netns {bridge} type veth peer name {interface} netns {name}"))?;
        ip(&format!("-n {bridge} link set v{last} master br0 up"))?;
        ip(&format!("-n {name} addr add 203.0.113.{last}/24 dev {interface}"))?;
        ip(&format!("-n {name} link set {interface} up"))
    }

    /// Connects a host to its router, and tells the router what to do.
    fn make_home(&self, side: &str, n: u8, nat: Nat) -> Result<()> {
        let (router, host) = (self.name(&format!("nat{side}")), self.name(&format!("host{side}")));
        ip(&format!("link add lan netns {router} type veth peer name eth0 netns {host}"))?;
        ip(&format!("-n {router} addr add 10.{n}.0.1/24 dev lan"))?;
        ip(&format!("-n {router} link set lan up"))?;
        ip(&format!("-n {host} addr add 10.{n}.0.2/24 dev eth0"))?;
        ip(&format!("-n {host} link set eth0 up"))?;
        ip(&format!("-n {host} route add default via 10.{n}.0.1"))?;
        let router = format!("nat{side}");
        self.exec(&router, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let masquerade = if nat == Nat::Symmetric { "masquerade random,fully-random" } else { "masquerade" };
        // Unsolicited packets from outside are dropped, as real routers do: answering them would spoil hole punching.
        self.nft(
            &router,
            &format!(
                "table ip n {{\n chain post {{\n type nat hook postrouting priority 100;\n oifname \"wan\" {masquerade}\n }}\n \
                 chain forward {{\n type filter hook forward priority 0; policy drop;\n ct state established,related accept\n iifname \"lan\" accept\n }}\n \
                 chain input {{\n type filter hook input priority 0; policy accept;\n iifname \"wan\" ct state new drop\n }}\n}}\n"
            ),
        )?;
        if nat == Nat::UdpBlocked { self.cut_udp(&router) } else { Ok(()) }
    }

    /// The name of a host's namespace.
    pub fn name(&self, host: &str) -> String {
        format!("{}{host}", self.tag)
    }

    pub fn exec(&self, host: &str, command: &[&str]) -> Result<()> {
        let name = self.name(host);
        run("ip", &[&["netns", "exec", name.as_str()], command].concat())
    }

    /// Loads rules into a host.
    pub fn nft(&self, host: &str, rules: &str) -> Result<()> {
        let name = self.name(host);
        let mut child = Command::new("ip")
            .args(["netns", "exec", &name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin is piped")?.write_all(rules.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "nft in {host}: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// From now on the two routers let no TCP pass between the homes, so that no hole can be punched for it.
    pub fn part_tcp(&self) -> Result<()> {
        for (router, other) in [("natA", 12), ("natB", 11)] {
            let of = |which: &str| format!(" ip {which} 203.0.113.{other} meta l4proto tcp drop\n");
            self.nft(
                router,
                &format!(
                    "table ip part {{\n chain forward {{\n type filter hook forward priority -10;\n{}{} }}\n}}\n",
                    of("saddr"),
                    of("daddr")
                ),
            )?;
        }
        Ok(())
    }

    /// From now on the router drops UDP that it forwards, both ways.
    pub fn cut_udp(&self, router: &str) -> Result<()> {
        self.nft(
            router,
            "table ip cut {\n chain forward {\n type filter hook forward priority -10;\n meta l4proto udp drop\n }\n}\n",
        )
    }

    /// From now on the router drops TCP that it forwards, both ways.
    pub fn cut_tcp(&self, router: &str) -> Result<()> {
        self.nft(
            router,
            "table ip cuttcp {\n chain forward {\n type filter hook forward priority -10;\n meta l4proto tcp drop\n }\n}\n",
        )
    }

    /// A home's only interface loses its address and gets another, as when a lease ends.
    pub fn move_home(&self, side: &str) -> Result<()> {
        let (n, name) = (if side == "A" { 1 } else { 2 }, self.name(&format!("host{side}")));
        ip(&format!("-n {name} addr del 10.{n}.0.2/24 dev eth0"))?;
        ip(&format!("-n {name} addr add 10.{n}.0.3/24 dev eth0"))?;
        ip(&format!("-n {name} route replace default via 10.{n}.0.1"))
    }

    pub fn restore_udp(&self, router: &str) -> Result<()> {
        self.exec(router, &["nft", "delete", "table", "ip", "cut"])
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in HOSTS {
            let _ = ip(&format!("netns del {}", self.name(host)));
        }
    }
}
