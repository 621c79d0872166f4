//! The output of a running program, line by line, with deadlines.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// More unread lines than any test produces; a program that prints more waits.
const LINES: usize = 100_000;

/// A child process whose standard output is read as lines. Killed when dropped.
pub struct Lines {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: Arc<Mutex<String>>,
    /// Disconnected once standard error has ended.
    errors_over: Receiver<()>,
}

/// How long after its end a program's last words may take to be read. A child of its own may hold the pipe open longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> Receiver<()> {
    let (done, over) = sync_channel(0);
    std::thread::spawn(move || {
        let _done = done;
        let mut buffer = [0; 4096];
        while let Ok(n) = from.read(&mut buffer)
            && n > 0
        {
            let text = String::from_utf8_lossy(&buffer[..n]);
            into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    });
    over
}

impl Lines {
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let (tx, lines) = sync_channel(LINES);
        let output = child.stdout.take().context("stdout is piped")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = Arc::new(Mutex::new(String::new()));
        let errors_over = collect(child.stderr.take().context("stderr is piped")?, Arc::clone(&errors));
        Ok(Self { name, child, lines, seen: Vec::new(), errors, errors_over })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// All that went to standard error so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines that were read so far.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    fn trouble(&self, what: &str) -> String {
        let tail = |text: &str| {
            text.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!(
            "{what}\n  program: {}\n  printed:\n{}\n  errors:\n{}",
            self.name,
            tail(&self.seen.join("\n")),
            tail(&self.errors())
        )
    }

    /// The next line for which `accept` says something.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut accept: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + deadline;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = accept(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(self.trouble(&format!("no {what} within {deadline:?}"))),
                Err(RecvTimeoutError::Disconnected) => bail!(self.trouble(&format!("ended without {what}"))),
            }
        }
    }

    /// The next JSON line whose field `key` is the text `value`.
    pub fn wait_json(&mut self, key: &str, value: &str, deadline: Duration) -> Result<Value> {
        self.wait_for(&format!("line with {key} = {value}"), deadline, |line| {
            serde_json::from_str::<Value>(line).ok().filter(|json| json[key] == value)
        })
    }

    /// Waits until the program ends by itself; reads what it printed.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!(self.trouble(&format!("still running after {deadline:?}"))),
            }
        }
        let status = self.child.wait()?;
        let _ = self.errors_over.recv_timeout(LAST_WORDS);
        Ok(status)
    }

    /// Whether it has ended; reads what it has printed so far, so that it is not held up.
    pub fn has_ended(&mut self) -> bool {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.seen.push(line),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// As `wait_end`, and the lines as JSON.
    pub fn finish(&mut self, deadline: Duration) -> Result<(i32, Vec<Value>)> {
        let status = self.wait_end(deadline)?;
        let code = status.code().with_context(|| self.trouble("ended by a signal"))?;
        Ok((code, self.seen.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }

    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.pid(), signal)?)
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.kill();
    }
}
