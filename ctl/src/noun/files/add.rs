//! `files add`: shares files and folders where they are, or what standard input says. Ctrl-C gives up.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kith_common::client::Client;
use kith_common::file::{AddOptions, AddProgress, MAX_PIECE_BYTES, Share, ShareScope};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::show;
use crate::cli::{AddArguments, Scope};
use crate::output::{Output, ReaderGone};
use crate::session::interrupt::Interrupt;
use crate::stop::{Exit, Stop};

/// Reports that wait to be shown.
const REPORTS: usize = 1;
/// Pieces of standard input that wait for the daemon.
const PIECES: usize = 2;
const PROGRESS: Duration = Duration::from_millis(500);

pub async fn run(client: &Client, arguments: AddArguments, output: &Output) -> Result<(), Stop> {
    let mut options = options(&arguments)?;
    options.peers = super::peers(client, options.peers).await?;
    for path in &arguments.paths {
        let share = if is_standard_input(path) {
            receive(client, options.clone(), output).await?
        } else {
            add(client, path, options.clone(), output).await?
        };
        let told = output.row(&show::share_row(&share)).and_then(|()| output.text(&show::added(&share)));
        let told = told.and_then(|()| match narrower(options.scope, &share) {
            true => output.text(&format!(
                "It was shared with more than these before, and still is. To change that: kithctl files remove {}, then add it again.",
                share.hash
            )),
            false => Ok(()),
        });
        if told == Err(ReaderGone) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whoever was told of a share before keeps it, so that adding never takes anything from anybody.
fn narrower(asked: ShareScope, share: &Share) -> bool {
    match asked {
        ShareScope::Anyone => false,
        ShareScope::Contacts => share.scope == ShareScope::Anyone,
        ShareScope::Peers => share.scope != ShareScope::Peers,
    }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn options(arguments: &AddArguments) -> Result<AddOptions, Stop> {
    let name = arguments.name.clone().unwrap_or_default();
    if arguments.paths.len() > 1 && !name.is_empty() {
        return Err(Stop::new(Exit::Usage, "one name does not fit several files").advise("Add them one by one."));
    }
    if arguments.paths.iter().any(|path| is_standard_input(path)) && name.is_empty() {
        return Err(Stop::new(Exit::Usage, "what comes from standard input has no name").advise("Give it one: --name."));
    }
    let scope = audience(arguments.scope, &arguments.to);
    if scope == ShareScope::Peers && arguments.to.is_empty() {
        return Err(Stop::new(Exit::Usage, "nobody is named to share it with").advise("Name contacts with --to."));
    }
    Ok(AddOptions { scope, peers: arguments.to.clone(), name, copy: arguments.copy })
}

/// What is for somebody is for nobody else, unless that is said.
fn audience(scope: Option<Scope>, to: &[String]) -> ShareScope {
    match scope {
        Some(scope) => scope.shared(),
        None if to.is_empty() => ShareScope::Anyone,
        None => ShareScope::Peers,
    }
}

fn given_up(what: &str) -> Stop {
    Stop::failed(format!("given up: {what} is not shared"))
}

async fn add(client: &Client, path: &Path, options: AddOptions, output: &Output) -> Result<Share, Stop> {
    let mut interrupt = Interrupt::new()?;
    // The daemon has a working directory of its own.
    let path = std::path::absolute(path)
        .map_err(|error| Stop::failed(format!("cannot say where {} is: {error}", path.display())))?;
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let adding = client.add_file(&path, options, sender);
    tokio::pin!(adding);
    let mut progress = Progress::new(output);
    let outcome = loop {
        tokio::select! {
            biased;
            () = interrupt.asked() => break Err(given_up(&path.display().to_string())),
            outcome = &mut adding => break outcome.map_err(Stop::from),
            Some(report) = reports.recv() => progress.show(report),
        }
    };
    progress.clear();
    outcome
}

/// What standard input says, into the daemon's store.
async fn receive(client: &Client, options: AddOptions, output: &Output) -> Result<Share, Stop> {
    let mut interrupt = Interrupt::new()?;
    let name = options.name.clone();
    let writer = client.send_content(&name, options).await?;
    let mut pieces = standard_input()?;
    let mut progress = Progress::new(output);
    let sending = async {
        let mut done_bytes = 0;
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|error| Stop::failed(format!("cannot read standard input: {error}")))?;
            done_bytes += piece.len() as u64;
            writer.write(piece).await?;
            progress.show(AddProgress { done_bytes, total_bytes: 0, files: 1 });
        }
        Ok::<Share, Stop>(writer.done().await?)
    };
    let outcome = tokio::select! {
        biased;
        () = interrupt.asked() => Err(given_up(&name)),
        outcome = sending => outcome,
    };
    progress.clear();
    outcome
}

/// Read on a thread of its own, which ends with the process when nothing comes any more.
fn standard_input() -> Result<mpsc::Receiver<std::io::Result<Vec<u8>>>, Stop> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let read = move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut piece = Vec::with_capacity(MAX_PIECE_BYTES);
            let read = input.by_ref().take(MAX_PIECE_BYTES as u64).read_to_end(&mut piece);
            let last = !matches!(read, Ok(1..));
            let nothing_more = matches!(read, Ok(0));
            if nothing_more || sender.blocking_send(read.map(|_| piece)).is_err() || last {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("standard input".into()).spawn(read);
    thread.map_err(|error| Stop::failed(format!("cannot start a thread: {error}")))?;
    Ok(pieces)
}

/// How much has been hashed, and how fast.
struct Progress<'a> {
    output: &'a Output,
    begun: Instant,
    shown: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, begun: Instant::now(), shown: None }
    }

    fn show(&mut self, now: AddProgress) {
        if self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS) {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = (now.done_bytes as f64 / self.begun.elapsed().as_secs_f64().max(1e-3)) as u64;
        self.output.redraw(&format!("\r{}\x1b[K", progress_line(now, rate)));
        let _gone = self.output.row(&progress_row(now, rate));
    }

    fn clear(&self) {
        self.output.redraw("\r\x1b[K");
    }
}

/// How much there is is not known of what is still being read.
fn progress_row(now: AddProgress, rate: u64) -> Value {
    let total = if now.total_bytes == 0 { Value::Null } else { now.total_bytes.into() };
    json!({ "event": "progress", "done": now.done_bytes, "total": total, "rate": rate, "files": now.files })
}

fn progress_line(now: AddProgress, rate: u64) -> String {
    let rate = show::rate(rate);
    match now.total_bytes {
        0 => format!("{}  {rate}", show::bytes(now.done_bytes)),
        total => format!(
            "{}  {} of {}  {rate}",
            show::bar(now.done_bytes, total),
            show::bytes(now.done_bytes),
            show::bytes(total)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(paths: &[&str], to: &[&str], scope: Option<Scope>) -> AddArguments {
        AddArguments {
            paths: paths.iter().map(Into::into).collect(),
            to: to.iter().map(ToString::to_string).collect(),
            scope,
            name: None,
            copy: false,
        }
    }

    #[test]
    fn a_file_for_somebody_is_for_nobody_else_unless_that_is_said() {
        let scope = |to: &[&str], scope| options(&arguments(&["a"], to, scope)).map(|options| options.scope);
        assert_eq!(scope(&[], None), Ok(ShareScope::Anyone));
        assert_eq!(scope(&["ada"], None), Ok(ShareScope::Peers));
        assert_eq!(scope(&["ada"], Some(Scope::Anyone)), Ok(ShareScope::Anyone));
        assert_eq!(scope(&[], Some(Scope::Contacts)), Ok(ShareScope::Contacts));
        assert_eq!(scope(&[], Some(Scope::Peers)).map_err(|stop| stop.exit), Err(Exit::Usage));
    }

    #[test]
    fn what_has_no_name_or_too_many_is_refused() {
        let exit = |arguments: &AddArguments| options(arguments).map(drop).map_err(|stop| stop.exit);
        assert_eq!(exit(&arguments(&["-"], &[], None)), Err(Exit::Usage));
        let named = |paths: &[&str]| AddArguments { name: Some("n".into()), ..arguments(paths, &[], None) };
        assert_eq!(exit(&named(&["-"])), Ok(()));
        assert_eq!(exit(&named(&["a", "b"])), Err(Exit::Usage));
    }

    #[test]
    fn progress_is_in_bytes() {
        let row = progress_row(AddProgress { done_bytes: 10, total_bytes: 0, files: 2 }, 5);
        assert_eq!(row, json!({ "event": "progress", "done": 10, "total": null, "rate": 5, "files": 2 }));
        let line = progress_line(AddProgress { done_bytes: 1000, total_bytes: 4000, files: 1 }, 500);
        assert!(line.ends_with(" 25 %  1 kB of 4 kB  500 bytes/s"), "{line}");
    }
}
