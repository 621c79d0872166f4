//! How long the network takes to say where a peer id is reached.

use anyhow::{Context as _, Result};

use crate::figure::Figure;
use crate::small::printed;

/// A person's circle, and what a few of them make together.
const SIZES: [usize; 3] = [20, 50, 100];

pub fn resolve() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for nodes in SIZES {
        let measured = printed("kith-dht-bench", &[&nodes.to_string()])?;
        let field = |name: &str| measured[name].as_f64().with_context(|| format!("no {name} in {measured}"));
        let p95 = Figure::new(format!("{nodes} nodes: resolved p95"), field("resolve_ms_p95")?, "ms");
        figures.push(if nodes == SIZES[0] { p95.at_most(500.0) } else { p95 });
        figures.push(Figure::new(format!("{nodes} nodes: not found"), field("failed")?, "of 100").at_most(0.0));
        if let Some(requests) = measured["requests_per_lookup"].as_f64() {
            figures.push(Figure::new(format!("{nodes} nodes: requests"), requests, "a lookup"));
        }
    }
    Ok(figures)
}
