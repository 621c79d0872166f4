//! Between any two kinds of homes a call connects and holds.

use anyhow::{Result, ensure};
use kith_tests::namespaces::matrix::{Plan, run, table};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{note, skip};

/// Those that differ in how they get through; `scripts/bench nat` has all.
const TELLING: [(Nat, Nat); 6] = [
    (Nat::Cone, Nat::Cone),
    (Nat::Public, Nat::Cone),
    (Nat::Public, Nat::UdpBlocked),
    (Nat::Cone, Nat::Symmetric),
    (Nat::Symmetric, Nat::Symmetric),
    (Nat::Symmetric, Nat::UdpBlocked),
];

#[test]
fn homes_of_every_kind_reach_each_other_and_their_calls_hold() -> Result<()> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(());
    }
    let plan = Plan::from_env()?;
    let pairs = run(&TELLING, plan);
    let table = table(&pairs, plan);
    note(&table);
    for pair in &pairs {
        for one in &pair.tries {
            let held = one.outcome.as_ref().map_err(|error| anyhow::anyhow!("{}: {error:#}\n{table}", pair.name()))?;
            if pair.kinds == (Nat::Cone, Nat::Cone) {
                ensure!(held.media == "direct/udp" && held.nodes == "direct", "{held:?}\n{table}");
            }
        }
    }
    Ok(())
}
