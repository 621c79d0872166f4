//! `call` and `answer`: take part in a call, print its timeline.

use kith_common::call::{CallInfo, CallKind, CallOptions, CallState, Direction};
use kith_common::client::{Client, ClientCall};
use kith_common::ids::PeerId;
use kith_common::target::Target;

use super::calls::peer_title;
use super::contacts;
use crate::cli::{AnswerArguments, CallArguments, Media};
use crate::output::Output;
use crate::session::interrupt::Interrupt;
use crate::session::{Plan, run, timed_out};
use crate::stop::Stop;

fn plan(media: &Media) -> Result<Plan, Stop> {
    Plan::new(media.video.as_ref(), media.audio.as_ref(), media.record.as_deref(), media.limit)
}

pub async fn call(client: &Client, arguments: CallArguments, output: &Output) -> Result<(), Stop> {
    let mut plan = plan(&arguments.media)?;
    let kind = if arguments.voice { CallKind::Voice } else { CallKind::Video };
    if arguments.voice {
        plan.video = crate::session::Video::None;
    }
    let options = CallOptions { kind: Some(kind), ..plan.switches() };
    let call = client.dial(&arguments.peer.peer, options).await?;
    run(call, plan, None, output).await
}

pub async fn answer(client: &Client, arguments: AnswerArguments, output: &Output) -> Result<(), Stop> {
    let mut plan = plan(&arguments.media)?;
    let from = match &arguments.from {
        Some(text) => Some(Caller::find(client, text).await?),
        None => None,
    };
    let waiting = next_call(client, from.as_ref());
    let mut interrupt = Interrupt::new()?;
    let limit = async {
        match arguments.wait {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let (info, call) = tokio::select! {
        found = waiting => found?,
        () = limit => return Err(timed_out("nobody called in time")),
        () = interrupt.asked() => return Ok(()),
    };
    drop(interrupt);
    output.note(&format!("Answering the {} call from {}.", crate::output::name(info.kind), peer_title(&info)));
    if info.kind == CallKind::Voice && arguments.media.video.is_none() {
        plan.video = crate::session::Video::None;
    }
    let options = plan.switches();
    run(call, plan, Some(options), output).await
}

/// Whose call is waited for.
enum Caller {
    Peer(PeerId),
    Named(String),
}

impl Caller {
    async fn find(client: &Client, text: &str) -> Result<Self, Stop> {
        let text = contacts::named(client, text).await?;
        Ok(match text.parse() {
            Ok(Target::Peer(peer)) => Self::Peer(peer),
            Ok(Target::Ticket(ticket)) => Self::Peer(ticket.peer),
            // An address stands for the peer that is known there now.
            Ok(Target::Address(_) | Target::Ip { .. }) => {
                Self::Peer(super::peers::find(&client.peers().await?, &text)?.peer_id)
            }
            Err(_) => Self::Named(text.trim().to_owned()),
        })
    }

    fn is(&self, call: &CallInfo) -> bool {
        match self {
            Self::Peer(peer) => call.peer == Some(*peer),
            Self::Named(name) => {
                call.peer_name == *name || call.peer.is_some_and(|peer| name.len() >= 6 && peer.short().ends_with(name))
            }
        }
    }
}

/// The first call that rings here, of those that ring now and those that come.
async fn next_call(client: &Client, from: Option<&Caller>) -> Result<(CallInfo, ClientCall), Stop> {
    let mut feed = client.watch_calls().await?;
    while let Some(report) = feed.next().await {
        let (info, call) = report?;
        let rings = info.direction == Direction::Incoming && info.state == CallState::Ringing;
        if rings && from.is_none_or(|caller| caller.is(&info)) {
            return Ok((info, call));
        }
    }
    Err(kith_common::failure::Failure::new(
        kith_common::failure::FailureKind::NoDaemon,
        "the daemon went away while waiting for a call",
    )
    .into())
}
