//! Why calls end, in sentences, with what to try.

use kith_common::call::{CallKind, EndReason, Ending, Stage, Transport};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::Path;

use super::MAX_TEXT_CHARS;

fn ending(reason: EndReason, stage: Option<Stage>, detail: impl Into<String>, advice: impl Into<String>) -> Ending {
    Ending { reason, failed_stage: stage, detail: detail.into(), advice: advice.into() }
}

/// What a peer wrote, fit to be shown: one line of bounded length.
fn tame(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

pub(super) fn path_detail(path: Path, transport: Transport) -> String {
    let path = match path {
        Path::Lan => "on the local network",
        Path::Direct => "direct",
        Path::Relayed => "through a relay",
        Path::Tor => "through Tor",
    };
    match transport {
        Transport::Udp => path.to_owned(),
        Transport::Tcp => format!("{path}, over TCP"),
    }
}

/// An action of this node failed; `unreachable` for what means that the peer cannot be got at.
pub(super) fn because(reason: EndReason, stage: Stage, failure: &Failure) -> Ending {
    let advice = if failure.advice.is_empty() { "Try again in a moment." } else { &failure.advice };
    ending(reason, Some(stage), failure.message.clone(), advice)
}

pub(super) fn dial_reason(kind: FailureKind) -> EndReason {
    match kind {
        FailureKind::Unreachable | FailureKind::TimedOut | FailureKind::NotFound => EndReason::Unreachable,
        FailureKind::Blocked => EndReason::Blocked,
        _ => EndReason::Failed,
    }
}

pub(super) fn declined() -> Ending {
    ending(EndReason::Declined, None, "The call was declined.", "Try again later, or send a message first.")
}

pub(super) fn noted() -> Ending {
    ending(
        EndReason::Declined,
        None,
        "It did not ring: you are not among the contacts of the other side, and your call was noted there as a request to be one.",
        "Ask the person in another way to accept the request, then call again.",
    )
}

pub(super) fn peer_busy() -> Ending {
    ending(EndReason::Busy, None, "The other side is busy with another call.", "Try again in a few minutes.")
}

pub(super) fn busy_here() -> Ending {
    ending(EndReason::Busy, None, "This node is in a call already.", "Hang that call up first.")
}

pub(super) fn stopped_here(kind: CallKind) -> Ending {
    let service = match kind {
        CallKind::Voice => "audio",
        CallKind::Video => "video",
    };
    ending(
        EndReason::Local,
        None,
        format!("The service {service} of this node was stopped."),
        format!("Start it again: kithctl services start {service}."),
    )
}

pub(super) fn own_id() -> Ending {
    ending(
        EndReason::Failed,
        Some(Stage::Resolve),
        "That is this node itself.",
        "Give the ticket of the person you want to call; yours is for them.",
    )
}

pub(super) fn answered_by_calling() -> Ending {
    ending(EndReason::Local, None, "", "")
}

pub(super) fn blocked() -> Ending {
    ending(
        EndReason::Blocked,
        None,
        "The other side does not take calls from this node.",
        "Ask the person in another way.",
    )
}

pub(super) fn nobody_answered() -> Ending {
    ending(EndReason::Timeout, Some(Stage::Accept), "It rang, and nobody answered.", "Try again later.")
}

pub(super) fn missed() -> Ending {
    ending(EndReason::Timeout, Some(Stage::Accept), "It rang here, and nobody answered.", "Call back.")
}

pub(super) fn dial_timed_out(stage: Stage) -> Ending {
    ending(
        EndReason::Unreachable,
        Some(stage),
        "The other machine could not be reached in time.",
        "Check that it is running and online, and ask for a fresh ticket.",
    )
}

pub(super) fn signal_timed_out(media_missing: bool) -> Ending {
    if media_missing {
        return ending(
            EndReason::Failed,
            Some(Stage::Path),
            "The media session of this node did not open in time.",
            "See whether the services video and audio are listening: kithctl services.",
        );
    }
    ending(
        EndReason::Unreachable,
        Some(Stage::Signal),
        "The other machine is connected but did not open the call's signalling.",
        "It may be overloaded or run another version of Kith; try again in a moment.",
    )
}

pub(super) fn offer_unanswered() -> Ending {
    ending(
        EndReason::Unreachable,
        Some(Stage::Ring),
        "The other machine got the call but did not ring.",
        "It may be overloaded or have lost its connection; try again in a moment.",
    )
}

pub(super) fn vanished(stage: Stage) -> Ending {
    ending(
        EndReason::Timeout,
        Some(stage),
        "The other side vanished: nothing has come from it for a while.",
        "Its machine or its network went away; call again when it is back.",
    )
}

pub(super) fn forgotten(stage: Stage) -> Ending {
    ending(EndReason::Timeout, Some(stage), "The other side has lost the call: its Kith was restarted.", "Call again.")
}

pub(super) fn peer_failed(stage: Stage, text: &str) -> Ending {
    let text = tame(text);
    let detail =
        if text.is_empty() { "The other side could not go on.".to_owned() } else { format!("The other side: {text}") };
    // Before it has rung, the other side's machine has spoken, not a person.
    let advice = if stage <= Stage::Ring { "Try again later, or ask the person." } else { "Try again in a moment." };
    ending(EndReason::Failed, Some(stage), detail, advice)
}

pub(super) fn media_failed(stage: Stage, failure: &Failure) -> Ending {
    because(EndReason::Failed, stage, failure)
}

pub(super) fn no_path() -> Ending {
    ending(
        EndReason::Failed,
        Some(Stage::Path),
        "The call was accepted, but no path for sound and pictures was found.",
        "A firewall may block UDP between the two machines: allow the media ports (9996 and 9998) on one of them.",
    )
}

pub(super) fn media_lost() -> Ending {
    ending(
        EndReason::Failed,
        Some(Stage::Active),
        "Sound and pictures stopped arriving, though the other machine still answers.",
        "A network between you may block UDP; call again, or change the network.",
    )
}
