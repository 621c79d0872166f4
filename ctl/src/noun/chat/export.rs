//! `chat export`: a conversation as JSON lines, to standard output or into a file that is complete or not there.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use kith_common::chat::Message;
use kith_common::client::Client;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::show::row;
use crate::output::{Output, ReaderGone};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

/// Batches that wait to be written; the daemon waits for the disk.
const BATCHES: usize = 2;
const PROGRESS: Duration = Duration::from_millis(500);

pub async fn run(client: &Client, place: Option<&str>, to: Option<&Path>, output: &Output) -> Result<(), Stop> {
    let Some(path) = to else {
        let shown = each_batch(client, place, |messages| {
            messages.iter().try_for_each(|message| output.object(&row(message))).map_err(|ReaderGone| None)
        });
        return shown.await.map(drop);
    };
    let failed =
        |what: &str, error: &std::io::Error| Stop::failed(format!("cannot {what} {}: {error}", path.display()));
    if path.exists() {
        return Err(Stop::failed(format!("{} exists already", path.display())).advise("Name a new file."));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Readable by its owner only, as everything is that holds messages.
    let file = NamedTempFile::new_in(folder).map_err(|error| failed("write", &error))?;
    let mut writer = BufWriter::new(file);
    let mut progress = Progress::new(output);
    let written = each_batch(client, place, |messages| {
        for message in messages {
            writeln!(writer, "{}", row(message)).map_err(|error| Some(failed("write", &error)))?;
        }
        progress.add(messages.len());
        Ok(())
    });
    let finished = written.await;
    progress.clear();
    if !finished? {
        return Ok(());
    }
    let file = writer.into_inner().map_err(|error| failed("write", error.error()))?;
    file.as_file().sync_all().map_err(|error| failed("write", &error))?;
    file.persist_noclobber(path).map_err(|error| failed("write", &error.error))?;
    let _gone = output.row(&json!({ "path": path, "messages": progress.done }));
    let _gone = output.text(&format!("{} messages are in {}.", progress.done, path.display()));
    Ok(())
}

/// Hands on what the daemon reads. False when somebody ended it before, or nobody reads any more.
async fn each_batch(
    client: &Client,
    place: Option<&str>,
    mut take: impl FnMut(&[Message]) -> Result<(), Option<Stop>>,
) -> Result<bool, Stop> {
    let mut interrupt = Interrupt::new()?;
    let (sender, mut batches) = mpsc::channel(BATCHES);
    let reading = client.export_messages(place, sender);
    tokio::pin!(reading);
    let (mut over, mut open) = (None, true);
    while open || over.is_none() {
        // Batches first: some may wait when the daemon has read the last.
        let batch = tokio::select! {
            biased;
            () = interrupt.asked() => return Ok(false),
            batch = batches.recv(), if open => batch,
            result = &mut reading, if over.is_none() => {
                over = Some(result);
                continue;
            }
        };
        let Some(batch) = batch else {
            open = false;
            continue;
        };
        match take(&batch) {
            Ok(()) => {}
            Err(None) => return Ok(false),
            Err(Some(stop)) => return Err(stop),
        }
    }
    over.transpose()?;
    Ok(true)
}

/// How far it has come. How much there is nobody has counted.
struct Progress<'a> {
    output: &'a Output,
    begun: Instant,
    shown: Instant,
    done: usize,
}

impl<'a> Progress<'a> {
    fn new(output: &'a Output) -> Self {
        let now = Instant::now();
        Self { output, begun: now, shown: now, done: 0 }
    }

    fn add(&mut self, messages: usize) {
        self.done += messages;
        if self.shown.elapsed() < PROGRESS {
            return;
        }
        self.shown = Instant::now();
        let rate = self.done as f64 / self.begun.elapsed().as_secs_f64();
        self.output.redraw(&format!("\r{} messages, {rate:.0} a second\x1b[K", self.done));
        let _gone = self
            .output
            .row(&json!({ "event": "progress", "done": self.done, "total": Value::Null, "rate": rate.round() }));
    }

    fn clear(&self) {
        self.output.redraw("\r\x1b[K");
    }
}
