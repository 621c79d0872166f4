//! Calls between every two kinds of homes: do they connect, by which way, how fast, and do they hold?
//!
//! Every try has a network and identities of its own, so that nothing is known from the one before. The sides take turns
//! at calling.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Nat, Net};
use crate::{Daemon, Lines, Options, note};

/// Networks at once: three voice calls leave two cores room.
const AT_ONCE: usize = 3;
/// A relay has been found, a call has been answered, a hole has been punched.
const SOON: Duration = Duration::from_secs(30);
/// Packets of the test sound in a second: 50, down to 33 where it pauses. With this many there is no other pause.
const FLOWING: u64 = 25;
/// Of the time that a call is held, the share that may be concealed; and what a change of the path may cost besides.
const CONCEALED: f64 = 0.02;
const CONCEALED_ONCE_MS: f64 = 250.0;

/// How much is asked of each pair.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub tries: usize,
    /// How long a call must go on.
    pub hold: Duration,
}

impl Plan {
    /// `KITH_NAT_TRIES`, by default 1, and `KITH_NAT_HOLD` in seconds, by default 3.
    pub fn from_env() -> Result<Self> {
        let number = |name: &str, usual: u32| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name} is not a number: {text}")),
            Err(_) => Ok(usual),
        };
        Ok(Self {
            tries: number("KITH_NAT_TRIES", 1)? as usize,
            hold: Duration::from_secs(number("KITH_NAT_HOLD", 3)?.into()),
        })
    }
}

/// Every two kinds, the order of the two apart.
pub fn all_pairs() -> Vec<(Nat, Nat)> {
    let from = |(index, first)| Nat::ALL.into_iter().skip(index).map(move |second| (first, second));
    Nat::ALL.into_iter().enumerate().flat_map(from).collect()
}

/// A call that connected and held.
#[derive(Debug, Clone)]
pub struct Held {
    /// Path and transport of the media at the end.
    pub media: String,
    /// The path between the two nodes at the end.
    pub nodes: String,
    pub active_ms: f64,
    pub concealed_ms: f64,
}

/// One try.
pub struct Try {
    /// The second of the pair called the first.
    pub second_calls: bool,
    pub outcome: Result<Held>,
}

/// A pair and its tries.
pub struct Pair {
    pub kinds: (Nat, Nat),
    pub tries: Vec<Try>,
}

impl Pair {
    pub fn name(&self) -> String {
        format!("{} – {}", self.kinds.0.name(), self.kinds.1.name())
    }

    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.tries.iter().filter_map(|one| one.outcome.as_ref().ok())
    }

    fn median_ms(&self, second_calls: bool) -> Option<f64> {
        let by_side = self.tries.iter().filter(|one| one.second_calls == second_calls);
        let mut times: Vec<f64> = by_side.filter_map(|one| Some(one.outcome.as_ref().ok()?.active_ms)).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}

/// Calls between each of the pairs, several at once.
pub fn run(pairs: &[(Nat, Nat)], plan: Plan) -> Vec<Pair> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(pairs.iter().map(|&kinds| Pair { kinds, tries: Vec::new() }).collect::<Vec<_>>());
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= pairs.len() * plan.tries {
                return;
            }
            // All pairs once, then all again: whoever looks on sees early which pair has trouble.
            let (index, second_calls) = (job % pairs.len(), job / pairs.len() % 2 == 1);
            let outcome = call(pairs[index], second_calls, plan.hold);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            let pair = &mut done[index];
            match &outcome {
                Ok(held) => note(&format!(
                    "{}, try {}: {}, active after {:.0} ms",
                    pair.name(),
                    pair.tries.len() + 1,
                    held.media,
                    held.active_ms
                )),
                Err(error) => note(&format!("{}, try {}: {error:#}", pair.name(), pair.tries.len() + 1)),
            }
            pair.tries.push(Try { second_calls, outcome });
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| _ = scope.spawn(work)));
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The table, in Markdown.
pub fn table(pairs: &[Pair], plan: Plan) -> String {
    let mut table = format!(
        "| pair | connected and held {} s | media | between the nodes | active when the first calls | … the second | \
         concealed at worst |\n|---|---|---|---|---|---|---|\n",
        plan.hold.as_secs()
    );
    for pair in pairs {
        let counts = |of: fn(&Held) -> &String| {
            let mut counts = BTreeMap::<&String, usize>::new();
            pair.held().for_each(|held| *counts.entry(of(held)).or_default() += 1);
            counts.iter().map(|(way, count)| format!("{way} {count}")).collect::<Vec<_>>().join(", ")
        };
        let time = |second| pair.median_ms(second).map_or("–".to_owned(), |ms| format!("{:.2} s", ms / 1000.0));
        let concealed = pair.held().map(|held| held.concealed_ms).fold(0.0, f64::max);
        let _ = writeln!(
            table,
            "| {} | {} of {} | {} | {} | {} | {} | {concealed:.0} ms |",
            pair.name(),
            pair.held().count(),
            pair.tries.len(),
            counts(|held| &held.media),
            counts(|held| &held.nodes),
            time(false),
            time(true)
        );
    }
    table
}

/// Two homes and the public node that both know.
struct Homes {
    caller: Daemon,
    callee: Daemon,
    _relay: Daemon,
    /// Last: the programs inside end first.
    _net: Net,
}

impl Homes {
    fn new(kinds: (Nat, Nat), second_calls: bool) -> Result<Self> {
        let net = Net::new(kinds.0, kinds.1)?;
        let start = |name: &str, host: &str, flags: &[String]| {
            let flags = [&["--no-upnp".to_owned()], flags].concat();
            Daemon::with(name, Options { namespace: Some(net.name(host)), flags, ..Options::default() })
        };
        let relay = start("relay", "relay", &["--relay".into()])?;
        let via = ["--bootstrap".to_owned(), format!("/ip4/203.0.113.10/tcp/9999/p2p/{}", relay.peer)];
        let (first, second) = (start("ada", "hostA", &via)?, start("ben", "hostB", &via)?);
        let (caller, callee) = if second_calls { (second, first) } else { (first, second) };
        let callee_kind = if second_calls { kinds.0 } else { kinds.1 };
        // A ticket of somebody behind a router is of use once a relay has a place for him, which it then names.
        let reachable = if callee_kind == Nat::Public { "203.0.113." } else { "p2p-circuit" };
        let end = Instant::now() + SOON;
        while !callee.ask(&["id"])?["addresses"].to_string().contains(reachable)
            || [&caller, &callee].iter().any(|node| !connected(node, &relay.peer).unwrap_or(false))
        {
            ensure!(Instant::now() < end, "not reachable: {}\n{}", callee.ask(&["id"])?, tail(&callee));
        }
        Ok(Self { caller, callee, _relay: relay, _net: net })
    }
}

fn row(node: &Daemon, peer: &str) -> Result<Option<Value>> {
    Ok(node.ctl(&["peers"])?.1.into_iter().find(|row| row["peer_id"] == peer))
}

fn connected(node: &Daemon, peer: &str) -> Result<bool> {
    Ok(row(node, peer)?.is_some_and(|row| row["connected"] == true))
}

/// The end of a log.
fn tail(node: &Daemon) -> String {
    let log = node.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn call(kinds: (Nat, Nat), second_calls: bool, hold: Duration) -> Result<Held> {
    let homes = Homes::new(kinds, second_calls)?;
    let Homes { caller, callee, .. } = &homes;
    let mut answer = callee.spawn(&["answer", "--wait", "30", "--audio", "test"])?;
    let mut call = caller.spawn(&["call", &callee.ticket()?, "--voice", "--audio", "test"])?;
    held(&homes, kinds, &mut call, &mut answer, hold)
        .with_context(|| format!("caller's log:\n{}\ncallee's log:\n{}", tail(caller), tail(callee)))
}

fn held(homes: &Homes, kinds: (Nat, Nat), call: &mut Lines, answer: &mut Lines, hold: Duration) -> Result<Held> {
    let Homes { caller, callee, .. } = homes;
    let active_ms = call.wait_json("stage", "active", SOON)?["at_ms"].as_f64().context("a stage has a time")?;
    let last = flowing(call, hold)?;
    // A hole that can be punched has been by now, or will be soon.
    let may_be_direct = kinds.0 == Nat::Public || kinds.1 == Nat::Public || kinds == (Nat::Cone, Nat::Cone);
    let end = Instant::now() + SOON;
    let mut nodes = String::new();
    while nodes != "direct" {
        let row = row(caller, &callee.peer)?.context("a peer that one talks with has a row")?;
        row["path"].as_str().unwrap_or("none").clone_into(&mut nodes);
        if !may_be_direct || Instant::now() > end {
            break;
        }
    }
    ensure!(caller.ctl(&["hangup"])?.0 == 0, "the call had ended before");
    let (ours, theirs) = (call.wait_json("event", "ended", SOON)?, answer.wait_json("event", "ended", SOON)?);
    ensure!(ours["reason"] == "local" && theirs["reason"] == "remote", "{ours}\n{theirs}");
    let mut concealed_ms = 0.0;
    for stats in [&ours["stats"], &theirs["stats"]] {
        let number = |name: &str| stats[name].as_f64().with_context(|| format!("no {name} in {stats}"));
        let (seconds, concealed) = (number("duration_s")?, number("audio_concealed_ms")?);
        ensure!(number("audio_received")? > seconds * FLOWING as f64, "little sound came: {stats}");
        ensure!(
            concealed <= seconds * 1000.0 * CONCEALED + CONCEALED_ONCE_MS,
            "{concealed} ms of {seconds} s were concealed: {stats}"
        );
        concealed_ms = f64::max(concealed_ms, concealed);
    }
    let word = |name: &str| last[name].as_str().unwrap_or("none");
    Ok(Held { media: format!("{}/{}", word("path"), word("transport")), nodes, active_ms, concealed_ms })
}

/// Reads the figures of each second for that long: sound comes in all of them. The last of them.
fn flowing(call: &mut Lines, hold: Duration) -> Result<Value> {
    let end = Instant::now() + hold;
    let mut before: Option<(f64, u64)> = None;
    loop {
        let stats = call.wait_json("event", "stats", Duration::from_secs(5))?;
        let at = stats["duration_s"].as_f64().context("stats have a time")?;
        let received = stats["audio_received"].as_u64().context("stats count sound")?;
        if let Some((then, had)) = before {
            // Two reports may come close together when the machine is busy.
            let due = (at - then) * FLOWING as f64;
            ensure!((received - had) as f64 >= due, "sound stopped: {} packets in {:.1} s", received - had, at - then);
            if Instant::now() >= end {
                return Ok(stats);
            }
        }
        before = Some((at, received));
    }
}
