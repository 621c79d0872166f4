//! `files get`: follows a transfer until it is saved. Ctrl-C pauses it; when nobody who has the content is there it goes
//! on without this program.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kith_common::client::Client;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{GetOptions, SourceState, Transfer, TransferState};
use kith_common::ids::PeerId;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::show;
use crate::cli::{GetArguments, Saving};
use crate::harmless::line;
use crate::output::{Output, ReaderGone};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

pub async fn run(client: &Client, arguments: GetArguments, output: &Output) -> Result<(), Stop> {
    let mut interrupt = Interrupt::new()?;
    let saving = options(arguments.saving)?;
    let name = saving.name.clone();
    let begin = async {
        let from = super::peers(client, arguments.from).await?;
        let options = GetOptions { from, only_from: arguments.only_from, ..saving };
        Ok::<Transfer, Stop>(client.get_file(&arguments.target, options).await?)
    };
    // What is there of a large file is hashed first.
    let transfer = tokio::select! {
        biased;
        () = interrupt.asked() => return Err(Stop::failed("given up")),
        transfer = begin => transfer?,
    };
    let is_here = transfer.state == TransferState::Done;
    let mut shown = Shown { output, liars: BTreeSet::new() };
    let outcome = follow(client, transfer, arguments.wait, &mut interrupt, &mut shown).await;
    output.redraw("\r\x1b[K");
    let Some(transfer) = outcome? else { return Ok(()) };
    let _gone = output.row(&show::transfer_row(&transfer));
    let _gone = output.text(&if is_here { here_already(&transfer, &name) } else { saved(&transfer) });
    Ok(())
}

/// Where to save it: the daemon has a working directory of its own.
pub fn options(saving: Saving) -> Result<GetOptions, Stop> {
    let absolute = |folder: std::path::PathBuf| {
        std::path::absolute(&folder)
            .map_err(|error| Stop::failed(format!("cannot say where {} is: {error}", folder.display())))
    };
    let folder = saving.to.map(absolute).transpose()?;
    Ok(GetOptions { folder, name: saving.name.unwrap_or_default(), ..GetOptions::default() })
}

/// The transfer when it is done; `None` when nobody reads any more, and the transfer goes on.
async fn follow(
    client: &Client,
    begun: Transfer,
    wait: Duration,
    interrupt: &mut Interrupt,
    shown: &mut Shown<'_>,
) -> Result<Option<Transfer>, Stop> {
    let mut feed = client.watch_files().await?;
    let (mut now, mut seen) = (begun, false);
    let mut late = Instant::now() + wait;
    loop {
        let report = tokio::select! {
            biased;
            () = interrupt.asked() => {
                // Asked again, it is not waited for.
                return Err(tokio::select! {
                    biased;
                    () = interrupt.asked() => Stop::failed("given up"),
                    paused = pause(client, &now) => paused?,
                });
            }
            report = feed.next() => report,
            () = tokio::time::sleep_until(late) => {
                if is_hopeful(&now) {
                    late = Instant::now() + wait;
                    continue;
                }
                return Err(stop(&now));
            }
        };
        let lost = |failure| {
            let advice =
                "The transfer goes on by itself as soon as the daemon is back; the same command then follows it.";
            Stop::from(failure).advise(advice)
        };
        // The feed ends with the daemon, and says so.
        let Some(state) = report.transpose().map_err(lost)? else { return Ok(None) };
        let Some(next) = state.transfers.into_iter().find(|transfer| transfer.id == now.id) else {
            if seen {
                return Err(Stop::failed(format!("fetching {} was cancelled", show::title(&now))));
            }
            continue;
        };
        if is_hopeful(&next) || next.done_bytes > now.done_bytes {
            late = Instant::now() + wait;
        }
        (now, seen) = (next, true);
        if shown.show(&now) == Err(ReaderGone) {
            return Ok(None);
        }
        match now.state {
            TransferState::Done => return Ok(Some(now)),
            TransferState::Failed | TransferState::Paused => return Err(stop(&now)),
            // To wait is of no use where everybody has answered.
            TransferState::Waiting
                if matches!(kind(&now), FailureKind::VerificationFailed | FailureKind::NotPermitted) =>
            {
                return Err(stop(&now));
            }
            _ => {}
        }
    }
}

/// It comes, or it will without anybody appearing.
fn is_hopeful(transfer: &Transfer) -> bool {
    match transfer.state {
        TransferState::Queued | TransferState::Finishing => true,
        _ => transfer.sources.iter().any(|source| source.state == SourceState::Active),
    }
}

async fn pause(client: &Client, transfer: &Transfer) -> Result<Stop, Stop> {
    client.pause_transfer(transfer.id).await?;
    let done = show::per_cent(transfer.done_bytes, transfer.size_bytes);
    Ok(Stop::failed(format!("fetching {} is paused at {done} %", show::title(transfer))).advise(go_on(transfer)))
}

fn go_on(transfer: &Transfer) -> String {
    format!("Go on with: kithctl files resume {}", transfer.id)
}

/// Why a transfer does not go on.
fn kind(transfer: &Transfer) -> FailureKind {
    if let Some(kind) = transfer.error_kind {
        return kind;
    }
    let all_lied = transfer.sources.iter().all(|source| source.state == SourceState::Lied);
    match transfer.state {
        _ if all_lied && !transfer.sources.is_empty() => FailureKind::VerificationFailed,
        TransferState::Failed | TransferState::Paused => FailureKind::Internal,
        _ => FailureKind::Unreachable,
    }
}

fn stop(transfer: &Transfer) -> Stop {
    let title = show::title(transfer);
    let why = match (line(&transfer.error), transfer.state) {
        (error, _) if !error.is_empty() => format!("{title}: {error}"),
        (_, TransferState::Paused) => format!("fetching {title} was paused"),
        (_, TransferState::Failed) => format!("fetching {title} failed"),
        _ if kind(transfer) == FailureKind::VerificationFailed => {
            format!("who offered {title} sent what is not the content, and nothing of it was kept")
        }
        _ => format!("nobody who has {title} is there"),
    };
    let advice = match transfer.state {
        _ if !transfer.advice.is_empty() => line(&transfer.advice),
        TransferState::Paused => go_on(transfer),
        TransferState::Failed => "Try it again.".to_owned(),
        _ => format!(
            "The transfer stays, and goes on by itself when somebody who has it appears; \
             give it up with: kithctl files cancel {}",
            transfer.id
        ),
    };
    Stop::from(Failure::new(kind(transfer), why).advise(advice))
}

/// The full path is the last line.
fn saved(transfer: &Transfer) -> String {
    let from = show::providers(&transfer.sources);
    let from = if from.is_empty() { String::new() } else { format!(" from {from}") };
    let rate = transfer.size_bytes as f64 / transfer.seconds.max(1e-3);
    format!(
        "{}: {} in {:.1} s ({}){from}, verified\n{}",
        show::title(transfer),
        show::bytes(transfer.size_bytes),
        transfer.seconds,
        show::rate(rate as u64),
        line(&transfer.saved_path)
    )
}

/// The same of what was fetched before, and has now been looked at only. It is not renamed to the name that is wanted.
fn here_already(transfer: &Transfer, name: &str) -> String {
    let name = name.trim();
    let has_it = name.is_empty() || Path::new(&transfer.saved_path).file_name().is_some_and(|known| known == name);
    format!(
        "{} ({}) is here already, verified{}\n{}",
        show::title(transfer),
        show::bytes(transfer.size_bytes),
        if has_it { "" } else { "; it keeps the name that it has" },
        line(&transfer.saved_path)
    )
}

struct Shown<'a> {
    output: &'a Output,
    /// Those who have been named.
    liars: BTreeSet<PeerId>,
}

impl Shown<'_> {
    fn show(&mut self, transfer: &Transfer) -> Result<(), ReaderGone> {
        for source in transfer.sources.iter().filter(|source| source.state == SourceState::Lied) {
            if self.liars.insert(source.peer) {
                self.output.redraw("\r\x1b[K");
                let who = show::who(&source.peer, &source.name);
                self.output.note(&format!("{who} sent what is not the content: dropped, and nothing of that was kept"));
            }
        }
        self.output.redraw(&format!("\r{}\x1b[K", progress_line(transfer)));
        self.output.row(&progress_row(transfer))
    }
}

fn progress_row(transfer: &Transfer) -> Value {
    // 0 until somebody has said how much there is.
    let total = if transfer.size_bytes == 0 { Value::Null } else { transfer.size_bytes.into() };
    json!({
        "event": "progress",
        "done": transfer.done_bytes,
        "total": total,
        "rate": transfer.bytes_per_second,
        "id": transfer.id,
        "state": transfer.state,
        "remaining_s": transfer.remaining_seconds,
        "providers": transfer.sources.iter().filter(|source| source.state == SourceState::Active).count(),
    })
}

fn progress_line(transfer: &Transfer) -> String {
    let (done, total) = (transfer.done_bytes, transfer.size_bytes);
    let remark = show::remark(transfer);
    if total == 0 {
        return remark;
    }
    format!("{}  {} of {}  {remark}", show::bar(done, total), show::bytes(done), show::bytes(total))
}

#[cfg(test)]
mod tests {
    use super::show::tests::{source, transfer};
    use super::*;
    use crate::stop::Exit;

    #[test]
    fn the_path_is_the_last_line() {
        let done = Transfer {
            saved_path: "/home/me/Downloads/a (1).bin".into(),
            size_bytes: 5_000_000_000,
            seconds: 12.5,
            ..transfer(TransferState::Done)
        };
        let text = saved(&done);
        assert_eq!(text.lines().last(), Some("/home/me/Downloads/a (1).bin"));
        assert!(text.starts_with("a.bin: 5.0 GB in 12.5 s (400.0 MB/s) from ada (direct), verified"), "{text}");
    }

    #[test]
    fn what_is_here_already_is_not_said_to_have_been_fetched_now_and_keeps_its_name() {
        let done = Transfer { saved_path: "/home/me/a.bin".into(), ..transfer(TransferState::Done) };
        for name in ["", "a.bin"] {
            assert_eq!(here_already(&done, name), "a.bin (5.0 GB) is here already, verified\n/home/me/a.bin");
        }
        let other = here_already(&done, "b.bin");
        assert_eq!(other, "a.bin (5.0 GB) is here already, verified; it keeps the name that it has\n/home/me/a.bin");
    }

    #[test]
    fn what_does_not_go_on_ends_with_the_promised_exit_codes() {
        let of = |state, error_kind| stop(&Transfer { error_kind, sources: Vec::new(), ..transfer(state) });
        assert_eq!(of(TransferState::Waiting, None).exit, Exit::Unreachable);
        assert_eq!(of(TransferState::Searching, None).exit, Exit::Unreachable);
        assert_eq!(of(TransferState::Waiting, Some(FailureKind::NotPermitted)).exit, Exit::NotPermitted);
        assert_eq!(of(TransferState::Failed, Some(FailureKind::VerificationFailed)).exit, Exit::NotVerified);
        assert_eq!(of(TransferState::Failed, None).exit, Exit::Failed);
        let lied = Transfer { sources: vec![source(SourceState::Lied, 0)], ..transfer(TransferState::Waiting) };
        assert_eq!(stop(&lied).exit, Exit::NotVerified);
        let paused = of(TransferState::Paused, None);
        assert_eq!((paused.exit, paused.advice.as_str()), (Exit::Failed, "Go on with: kithctl files resume 3"));
        let full = Transfer { error: "the disk is full".into(), ..transfer(TransferState::Paused) };
        assert_eq!(stop(&full).message, "a.bin: the disk is full");
    }

    #[test]
    fn who_has_somebody_that_sends_waits_on() {
        assert!(is_hopeful(&transfer(TransferState::Fetching)));
        let alone = Transfer { sources: Vec::new(), ..transfer(TransferState::Fetching) };
        assert!(!is_hopeful(&alone));
        assert!(is_hopeful(&Transfer { state: TransferState::Queued, ..alone }));
    }

    #[test]
    fn progress_is_in_bytes() {
        let row = progress_row(&transfer(TransferState::Fetching));
        assert_eq!((&row["event"], &row["rate"]), (&"progress".into(), &120_000_000.into()));
        assert_eq!((&row["done"], &row["total"]), (&2_260_000_000_u64.into(), &5_000_000_000_u64.into()));
        let unknown = Transfer { size_bytes: 0, ..transfer(TransferState::Searching) };
        assert_eq!(progress_row(&unknown)["total"], Value::Null);
        assert_eq!(progress_line(&unknown), "asking who has it");
        assert!(progress_line(&transfer(TransferState::Fetching)).contains("45 %  2.3 GB of 5.0 GB  120.0 MB/s"));
    }
}
