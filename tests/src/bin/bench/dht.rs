//! How long the network takes to say where a peer id is reached, and what it has to be asked.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::figure::Figure;
use crate::small::printed;

/// A person's circle, over the sockets that daemons have.
const CIRCLE: usize = 20;
/// Networks without sockets, for what a lookup takes as they grow. `KITH_DHT_NODES=1000` adds another; whole nodes in such
/// a number keep two cores busy by themselves, so that its times say little.
const SIZES: [usize; 4] = [20, 50, 100, 200];
/// What a node more takes in a larger network, and what the machine keeps for others.
const ROOM_A_NODE: f64 = 1.5;
const ROOM_KEPT: f64 = 0.25;

pub fn resolve() -> Result<Vec<Figure>> {
    let circle = printed("kith-dht-bench", &[&CIRCLE.to_string()])?;
    let of_circle = |name: &str| field(&circle, name);
    let mut figures = vec![
        Figure::new("20 nodes: record found p50", of_circle("record_ms_p50")?, "ms"),
        Figure::new("20 nodes: record found p95", of_circle("record_ms_p95")?, "ms").at_most(500.0),
        Figure::new("20 nodes: connected by id p95", of_circle("connected_ms_p95")?, "ms"),
        Figure::new("20 nodes: not found", of_circle("no_record")?, "of 100").at_most(0.0),
        Figure::new("20 nodes: found without asking", of_circle("asked_nobody")?, "of 100").at_most(0.0),
        Figure::new("20 nodes: known to who asks", of_circle("knew_before_most")?, "at most").at_most(1.0),
        Figure::new("20 nodes: requests until the record", of_circle("requests_until_record")?, "a lookup"),
    ];
    let larger = std::env::var("KITH_DHT_NODES").ok();
    let larger: Option<usize> = larger.map(|text| text.parse().context("KITH_DHT_NODES is a number")).transpose()?;
    let mut rows: Vec<(usize, Value)> = Vec::new();
    for nodes in SIZES.into_iter().chain(larger) {
        if let Some((_, last)) = rows.last().filter(|(largest, _)| nodes > *largest) {
            let (needs, free) = (field(last, "kib_a_node")? * ROOM_A_NODE * nodes as f64, available_kib()?);
            if needs > free * (1.0 - ROOM_KEPT) {
                let _ =
                    writeln!(std::io::stderr(), "bench: {nodes} nodes need some {needs:.0} KiB, {free:.0} are free");
                continue;
            }
        }
        let measured = printed("kith-dht-bench", &["--memory", &nodes.to_string()])?;
        let failed = field(&measured, "not_connected")?;
        figures.push(Figure::new(format!("{nodes} nodes in memory: not connected"), failed, "of 100").at_most(0.0));
        rows.push((nodes, measured));
    }
    figures.push(Figure::table(table(&rows)?));
    Ok(figures)
}

fn field(measured: &Value, name: &str) -> Result<f64> {
    measured[name].as_f64().with_context(|| format!("no {name} in {measured}"))
}

fn available_kib() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let row = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    Ok(row.split_whitespace().next().context("an empty row")?.parse()?)
}

/// By the number of nodes, in one process's memory: of 100 lookups.
fn table(rows: &[(usize, Value)]) -> Result<String> {
    let mut text = String::from(
        "| nodes | log2 n | requests until the record, mean | p95 | requests in all, mean | record found p50 | p95 \
         | connected p50 | p95 | no record | memory a node | at rest, all nodes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (nodes, measured) in rows {
        let of = |name: &str| field(measured, name);
        writeln!(
            text,
            "| {nodes} | {:.1} | {:.1} | {:.0} | {:.1} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.0} of 100 \
             | {:.1} MiB | {:.0} % of a core |",
            (*nodes as f64).log2(),
            of("requests_until_record")?,
            of("requests_until_record_p95")?,
            of("requests")?,
            of("record_ms_p50")?,
            of("record_ms_p95")?,
            of("connected_ms_p50")?,
            of("connected_ms_p95")?,
            of("no_record")?,
            of("kib_a_node")? / 1024.0,
            of("cpu_at_rest_percent")?,
        )?;
    }
    Ok(text)
}
