//! Measures this build on this machine and prints the table of figures.
//!
//! Each row is a real run of the real programs (or of the code that they run), one after another, so that nothing else
//! of this bench runs beside it. A limit is what the project has promised itself; a figure beyond it is marked.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

mod calls;
mod chat;
mod core_cost;
mod dht;
mod figure;
mod files;
mod nat;
mod peers;
mod small;

use std::io::Write as _;

use anyhow::{Result, bail};
use figure::Figure;

type Row = (&'static str, &'static str, fn() -> Result<Vec<Figure>>);

const ROWS: &[Row] = &[
    ("call-360p", "test call 640x360, 30 s, no impairment", calls::call_360p),
    ("call-720p", "test call 1280x720, 30 s, no impairment", calls::call_720p),
    ("call-rav1e", "the largest size that holds 30 pictures a second with rav1e", calls::call_rav1e),
    ("call-loss", "25 ms each way and 5 % loss, 30 s", calls::call_loss),
    ("call-1mbit", "1 Mb/s each way, 30 s", calls::call_1mbit),
    ("call-drop", "2 Mb/s falling to 500 kb/s", calls::call_drop),
    ("start", "accept to first picture and first sound, 20 calls", calls::start),
    ("rpc", "720p pictures over the Unix socket, 30 a second each way", small::rpc),
    (
        "dht",
        "a newcomer finds a peer id: 20 nodes on loopback, 20 to 200 in memory; KITH_DHT_NODES=1000 for more",
        dht::resolve,
    ),
    ("idle", "a daemon with nothing to do, 20 s", small::idle),
    ("idle-50", "a daemon with 50 connected peers and nothing to do, 20 s", peers::idle_50),
    ("reconnect", "killed, restarted, connected again, 10 times", peers::reconnect),
    ("lan", "two nodes on one local network see each other, 5 times", peers::lan),
    ("ten-calls", "memory before and after ten calls", small::ten_calls),
    ("chat", "10,000 messages between two nodes, stored and acknowledged", chat::throughput),
    ("chat-latency", "one message at a time, from one client to the other", chat::latency),
    ("chat-search", "a million messages: starting with them, and finding the newest 50", chat::search),
    (
        "chat-beside-calls",
        "voice calls, then video calls, without and with ten messages a second each way",
        chat::beside_calls,
    ),
    ("files-add", "2 GiB are hashed and shared", files::adding),
    (
        "files-fetch",
        "1 GiB from one to another, beside a plain copy and the programs that are installed",
        files::fetching,
    ),
    ("files-first-byte", "small files, 30 times", files::first_byte),
    ("files-round-trip", "1 GiB over a line of 50 ms", files::round_trip),
    ("files-narrow", "200 MiB over a line of 100 Mb/s", files::narrow),
    ("files-three", "2 GiB from three at once, one ten times slower", files::three),
    ("files-trouble", "5 GB from one that lies, one ten times slower, and one that is killed half way", files::trouble),
    ("files-memory", "memory while 12 GiB come, and while 100,000 files are shared", files::memory),
    ("files-killed", "the receiver of 2 GiB is killed 20 times", files::killed),
    ("files-beside-call", "a transfer and a video call between the same two", files::beside_call),
    ("core", "the cost of a decision", small::core),
    ("nat", "every two kinds of homes; KITH_NAT_TRIES=10 KITH_NAT_HOLD=60 for the full run of 45 min", nat::matrix),
];

fn main() -> Result<()> {
    let mut json = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--list" => {
                for (name, what, _) in ROWS {
                    println!("{name:18} {what}");
                }
                return Ok(());
            }
            name if ROWS.iter().any(|(row, ..)| *row == name) => wanted.push(name.to_owned()),
            other => bail!("there is no row {other:?}: see scripts/bench --list"),
        }
    }
    if !json {
        println!("{}\n", figure::machine());
        println!("| row | figure | measured | limit | |\n|---|---|---|---|---|");
    }
    let mut failed = false;
    for (name, what, run) in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|row| row == name) {
            continue;
        }
        match run() {
            Ok(figures) => {
                for figure in figures {
                    println!("{}", if json { figure.json(name).to_string() } else { figure.row(name) });
                }
            }
            Err(error) => {
                failed = true;
                let _ = writeln!(std::io::stderr(), "bench: {name} ({what}): {error:#}");
                if !json {
                    println!("| {name} | {what} | could not be measured | | ✗ |");
                }
            }
        }
    }
    if failed {
        bail!("some rows could not be measured");
    }
    Ok(())
}
