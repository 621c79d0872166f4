//! `kithd`: reads its settings, takes its data directory and its socket, and runs a node until it is told to end.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use kithd::backup::{self, Errand};
use kithd::config::Config;
use kithd::data_dir::DataDir;
use kithd::log::{self, Log};
use kithd::socket::Socket;
use kithd::{node, supervisor};

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
            supervisor::failed(&error);
            log::last_words(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config = Config::load()?;
    let log = Log::start(&config.log)?;
    if let Some(errand) = &config.errand {
        return run_errand(&config, errand);
    }
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
    let outcome = runtime.block_on(node::run(config, &log, &data_dir, &socket, |net| {
        // The one line on standard output: what scripts wait for.
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready peer={} socket={path}", net.peer_id())?;
        Ok(out.flush()?)
    }));
    // Nothing that still runs is worth waiting for.
    runtime.shutdown_background();
    outcome
}

/// Backup and move; one line on standard output says what was done.
fn run_errand(config: &Config, errand: &Errand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the runtime")?;
    let passphrase = backup::Passphrase::read()?;
    let done = match errand {
        Errand::Export(file) => {
            runtime.block_on(backup::export(&config.data_dir, &config.config_file, file, &passphrase))?
        }
        Errand::Import(file) => {
            let data_dir = DataDir::take(&config.data_dir)?;
            runtime.block_on(backup::import(&data_dir, &config.config_file, file, &passphrase))?
        }
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{done}")?;
    Ok(out.flush()?)
}
