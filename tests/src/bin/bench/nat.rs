//! Which homes reach each other, how, and how fast.

use anyhow::{Result, bail};
use kith_tests::namespaces::matrix::{Held, Plan, all_pairs, run, table};
use kith_tests::namespaces::{Nat, Net};

use crate::figure::Figure;

pub fn matrix() -> Result<Vec<Figure>> {
    if let Some(reason) = Net::impossible() {
        bail!(reason);
    }
    let plan = Plan::from_env()?;
    let pairs = run(&all_pairs(), plan);
    let mut figures = Vec::new();
    for pair in &pairs {
        let tries = pair.tries.len() as f64;
        let calls = |name: &str, count: usize| {
            Figure::new(format!("{}: {name}", pair.name()), count as f64, "calls").at_least(tries)
        };
        figures.push(calls("connected and held", pair.held().count()));
        if pair.kinds == (Nat::Cone, Nat::Cone) {
            let direct = |held: &&Held| held.media == "direct/udp" && held.nodes == "direct";
            figures.push(calls("direct, media and nodes", pair.held().filter(direct).count()));
        }
    }
    figures.push(Figure::table(table(&pairs, plan)));
    Ok(figures)
}
