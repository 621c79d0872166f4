//! `kithd`: reads its settings, takes its data directory and its socket, and runs a node until it is told to end.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use kithd::config::Config;
use kithd::data_dir::DataDir;
use kithd::node;
use kithd::socket::Socket;
use tracing_subscriber::EnvFilter;

// Pictures are megabytes that come and go thirty times a second: 1.5 to 3 times faster than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The network needs little; codecs and RPC have threads of their own.
const WORKERS: usize = 2;
/// For host names and files; the runtime's own limit is 512.
const MAX_BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kithd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config = Config::load()?;
    start_log(&config.log)?;
    let data_dir = DataDir::take(&config.data_dir)?;
    let socket = Socket::open(&config.socket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_name("kithd-net")
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let path = socket.path().display().to_string();
    let outcome = runtime.block_on(node::run(config, &data_dir, &socket, |net| {
        // The one line on standard output: what scripts wait for.
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready peer={} socket={path}", net.peer_id())?;
        Ok(out.flush()?)
    }));
    // Nothing that still runs is worth waiting for.
    runtime.shutdown_background();
    outcome
}

fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("the log filter {filter:?} is not valid"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // The journal has its own clock.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
    Ok(())
}
