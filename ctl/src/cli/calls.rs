//! What can be typed after `calls`.

use clap::{Args, Subcommand};
use kith_common::chat::Before;

use super::chat::before;

#[derive(Debug, Args)]
pub struct CallsArguments {
    #[command(subcommand)]
    pub verb: Option<CallsVerb>,
}

#[derive(Debug, Subcommand)]
pub enum CallsVerb {
    /// Calls that are over, also those of earlier days, the newest first
    Log(LogArguments),
}

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Only those with this peer: a name, peer id, ticket or address
    #[arg(long, value_name = "PEER")]
    pub peer: Option<String>,
    /// Only those in whose peer's name, id or address all these words are
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// Only those that came in and that nobody took
    #[arg(long)]
    pub missed: bool,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Only those before: a time like 2026-03-01T12:00:00Z, or a `position` as JSON shows it
    #[arg(long, value_name = "T", value_parser = before)]
    pub before: Option<Before>,
    /// Take all of them out of the log, or with --peer those with one; asks first
    #[arg(long, conflicts_with_all = ["search", "missed", "before"])]
    pub clear: bool,
    /// With --clear: do not ask
    #[arg(long, requires = "clear")]
    pub yes: bool,
    /// Take this one out of the log: its id, or the first digits of it
    #[arg(long, value_name = "CALL", conflicts_with_all = ["clear", "peer", "search", "missed", "before"])]
    pub forget: Option<String>,
}
