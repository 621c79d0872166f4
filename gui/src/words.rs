//! What the window says in words: names, figures, and why calls end.

pub mod calls;
pub mod chat;
pub mod files;
pub mod node;

use std::time::Duration;

use kith_common::call::{CallInfo, CallStats, EndReason, Ending, Stage, Transport};
use kith_common::ids::PeerId;
use kith_common::node::Path;

/// What to call somebody.
pub fn name(given: &str, id: Option<PeerId>) -> String {
    let given = given.trim();
    match id {
        _ if !given.is_empty() => given.to_owned(),
        Some(id) => format!("Node {}", id.short()),
        None => "The other side".to_owned(),
    }
}

pub fn peer(info: &CallInfo) -> String {
    name(&info.peer_name, info.peer)
}

pub fn initials(name: &str) -> String {
    let letters: String =
        name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric())).take(2).collect();
    if letters.is_empty() { "?".into() } else { letters.to_uppercase() }
}

/// `12D3KooW…Qm3x9A1b`
pub fn short_id(id: &PeerId) -> String {
    let text = id.to_string();
    format!("{}…{}", &text[..8], id.short())
}

pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

pub fn bitrate(kbps: f64) -> String {
    if kbps >= 1000.0 { format!("{:.1} Mbit/s", kbps / 1000.0) } else { format!("{kbps:.0} kbit/s") }
}

pub fn milliseconds(value: Option<f64>) -> String {
    value.filter(|ms| *ms >= 0.0).map_or_else(|| "not known yet".into(), |ms| format!("{ms:.0} ms"))
}

pub fn path(path: Option<Path>, transport: Transport) -> &'static str {
    match (path, transport) {
        (Some(Path::Lan), Transport::Udp) => "Same network",
        (Some(Path::Lan), Transport::Tcp) => "Same network, TCP",
        (Some(Path::Direct), Transport::Udp) => "Direct",
        (Some(Path::Direct), Transport::Tcp) => "Direct, TCP",
        (Some(Path::Relayed), _) => "Relayed",
        (Some(Path::Tor), _) => "Over Tor",
        (None, _) => "Finding a path",
    }
}

/// The line under the name in a call.
pub fn quality(stats: &CallStats) -> String {
    let mut parts = Vec::new();
    if stats.width > 0 {
        parts.push(format!("{}×{}", stats.width, stats.height));
        parts.push(format!("{:.0} fps", stats.video_fps));
    }
    parts.push(bitrate(stats.video_kbps_in + stats.audio_kbps_in));
    if let Some(delay) = stats.delay_ms_p50.or(stats.audio_delay_ms_p50).filter(|delay| *delay >= 0.0) {
        parts.push(format!("{delay:.0} ms"));
    }
    parts.join(" · ")
}

/// What is going on in a stage, while it goes on.
pub fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Resolve => "Looking up the address",
        Stage::Dial => "Connecting to the machine",
        Stage::Signal => "Asking for a call",
        Stage::Ring => "Ringing",
        Stage::Accept => "Answered",
        Stage::Path => "Media path found",
        Stage::FirstPacket => "First packet",
        Stage::FirstFrame => "First picture",
        Stage::Active => "In the call",
    }
}

/// How a call ended: a heading, a sentence, and what to try (empty when there is nothing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub heading: String,
    pub sentence: String,
    pub advice: String,
}

/// Whether the two ever talked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talked {
    Yes,
    No,
}

pub fn ending(ending: &Ending, who: &str, talked: Talked) -> Told {
    let (heading, sentence, advice) = match (ending.reason, talked) {
        (EndReason::Local, Talked::Yes) => ("Call ended", "You hung up.".to_owned(), ""),
        (EndReason::Local, Talked::No) => ("Call cancelled", "You ended the call before it began.".to_owned(), ""),
        (EndReason::Remote, Talked::Yes) => ("Call ended", format!("{who} hung up."), ""),
        (EndReason::Remote, Talked::No) => ("Missed call", format!("{who} hung up before the call began."), ""),
        (EndReason::Declined, _) => ("Declined", format!("{who} declined the call."), "Try again later."),
        (EndReason::Busy, _) => ("Busy", format!("{who} is in another call."), "Try again in a few minutes."),
        (EndReason::Blocked, _) => (
            "Not accepted",
            format!("{who} does not accept calls from this node."),
            "Ask them to allow your node, and give them your ticket.",
        ),
        (EndReason::Unreachable, _) => (
            "Not reachable",
            format!("{who} could not be reached."),
            "Check that their node is running and ask for a fresh ticket: addresses change.",
        ),
        (EndReason::Timeout, Talked::Yes) => (
            "Connection lost",
            format!("The connection to {who} was lost."),
            "Check the network on both sides, then call again.",
        ),
        (EndReason::Timeout, Talked::No) => ("No answer", format!("{who} did not answer."), "Try again later."),
        (EndReason::Failed, _) => {
            ("Call failed", format!("The call with {who} failed."), "Try again; the timeline shows how far it came.")
        }
    };
    let told = |own: &str, general: String| if own.trim().is_empty() { general } else { sentence_of(own) };
    Told {
        heading: heading.to_owned(),
        sentence: told(&ending.detail, sentence),
        advice: told(&ending.advice, advice.to_owned()),
    }
}

/// With a capital at the front and a stop at the end.
pub fn sentence_of(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_told_in_sentences() {
        for reason in EndReason::ALL {
            for talked in [Talked::Yes, Talked::No] {
                let told = ending(&Ending::by(reason), "Ada", talked);
                assert!(told.sentence.ends_with('.') && told.sentence.contains(' '), "{told:?}");
                assert!(told.advice.is_empty() || told.advice.ends_with('.'), "{told:?}");
                assert!(!told.heading.is_empty());
            }
        }
    }

    #[test]
    fn what_the_daemon_says_goes_before_what_is_generally_true() {
        let mut end = Ending::by(EndReason::Unreachable);
        end.detail = "the peer was not found".into();
        assert_eq!(ending(&end, "Ada", Talked::No).sentence, "The peer was not found.");
    }

    #[test]
    fn names_and_times_read_well() {
        assert_eq!(initials("Ada Lovelace"), "AL");
        assert_eq!(initials("  "), "?");
        assert_eq!(duration(Duration::from_secs(3_725)), "1:02:05");
        assert_eq!(bitrate(1_449.0), "1.4 Mbit/s");
    }
}
