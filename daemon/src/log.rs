//! The log, on standard error: with time and level for people, with syslog's priorities and nothing else for the
//! journal, which has its own clock and shows its own level.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

/// `<3>`, an error, as sd-daemon(3) numbers them.
const PRIORITY_ERROR: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log filter {filter:?} is not valid: {reason}")]
    Filter { filter: String, reason: String },
    #[error("could not start the log: {0}")]
    Start(String),
}

/// The running log, whose filter can be changed.
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
}

impl Log {
    /// Once a process.
    pub fn start(filter: &str) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines = if to_journal() {
            let plain = Format::default().without_time().with_level(false).with_ansi(false);
            lines.with_ansi(false).event_format(ForJournal(plain)).boxed()
        } else if std::env::var_os("JOURNAL_STREAM").is_some() {
            lines.with_ansi(false).without_time().boxed()
        } else {
            lines.with_ansi(io::stderr().is_terminal()).boxed()
        };
        let started = Registry::default().with(filter).with(lines).try_init();
        started.map_err(|error| LogError::Start(error.to_string()))?;
        Ok(Self { filter: handle })
    }

    /// From now on. A filter that is not valid changes nothing.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let new = parse(filter)?;
        self.filter.reload(new).map_err(|error| LogError::Start(error.to_string()))
    }
}

fn parse(filter: &str) -> Result<Targets, LogError> {
    filter
        .parse()
        .map_err(|error: ParseError| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

/// What a daemon that could not start or go on leaves behind, also before there is a log.
pub fn last_words(error: &anyhow::Error) {
    let priority = if to_journal() { format!("<{PRIORITY_ERROR}>") } else { String::new() };
    let _ = writeln!(io::stderr(), "{priority}kithd: {error:#}");
}

/// Whether standard error is the journal's stream itself: the variable is inherited by programs whose output somebody
/// has since redirected, so systemd.exec(5) has them compare.
fn to_journal() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => PRIORITY_ERROR,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Puts the priority before each line. An event of several lines becomes several entries of the same priority; nobody
/// whose words are logged can make up an entry of another.
struct ForJournal(Format<Full, ()>);

impl<S> FormatEvent<S, DefaultFields> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        write_lines(&mut writer, priority(*event.metadata().level()), &text)
    }
}

fn write_lines(to: &mut impl fmt::Write, priority: u8, text: &str) -> fmt::Result {
    text.lines().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(to, "<{priority}>{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_priority_of_its_event() {
        let mut out = String::new();
        write_lines(&mut out, priority(Level::WARN), " a peer says\n<0>emergency\n").expect("a text takes everything");
        assert_eq!(out, "<4> a peer says\n<4><0>emergency\n");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_named() {
        let error = parse("kithd=loudly").expect_err("no such level").to_string();
        assert!(error.contains("kithd=loudly"), "{error}");
        parse("warn,kithd=debug").expect("valid");
    }
}
