//! The log of the programs that people start by hand. The daemon has its own, which speaks to the journal.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Overrides what a program logs, e.g. `warn,kith=debug`.
const VARIABLE: &str = "KITH_LOG";

/// Logs to standard error what `KITH_LOG` asks for, or `usual` without it. Once a process.
pub fn to_stderr(usual: &str) {
    let asked = std::env::var(VARIABLE).ok();
    let filter: Targets = asked
        .as_deref()
        .and_then(|filter| filter.parse().ok())
        .unwrap_or_else(|| usual.parse().expect("the program's own filter is valid"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    if let Some(asked) = asked.filter(|filter| filter.parse::<Targets>().is_err()) {
        tracing::warn!("{VARIABLE}={asked:?} is not a log filter such as \"warn,kith=debug\": it is ignored");
    }
}
