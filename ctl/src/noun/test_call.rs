//! `test-call`: calls a throw-away echo node through an emulated network, and shows what the call is worth.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kith_common::call::{CallKind, CallOptions, CallState, EncoderChoice};
use kith_common::client::Client;

use crate::cli::TestCallArguments;
use crate::output::{Output, name};
use crate::session::interrupt::Interrupt;
use crate::session::source::{AudioSource, Pictures, VideoSource};
use crate::session::{LinkChange, Plan, SendTimes, Video, run};
use crate::stop::Stop;
use crate::throwaway::{self, ThrowAway};

pub async fn run_test(socket: &Path, arguments: TestCallArguments, output: &Output) -> Result<(), Stop> {
    let mut interrupt = Interrupt::new()?;
    let (echo, own, client) = tokio::select! {
        ready = prepare(socket, &arguments, output) => ready?,
        () = interrupt.asked() => return Ok(()),
    };
    drop(interrupt);
    let result = call(&echo, own.as_ref(), client, &arguments, output).await;
    // The caller first: its daemon says goodbye to the echo node.
    if let Some(own) = own {
        own.stop().await;
    }
    echo.stop().await;
    result
}

type Ready = (ThrowAway, Option<ThrowAway>, Client);

/// The echo node, and the daemon to call it from: the user's if it runs and is free, else another throw-away one.
async fn prepare(socket: &Path, arguments: &TestCallArguments, output: &Output) -> Result<Ready, Stop> {
    let encoder = ["--encoder".to_owned(), name(arguments.encoder)];
    let mut flags = vec!["--echo".to_owned(), "--auto-answer".into(), "always".into()];
    flags.extend(impair(arguments));
    if arguments.encoder != EncoderChoice::Auto {
        flags.extend(encoder.clone());
    }
    let echo = ThrowAway::start("echo", &flags).await?;
    if let Some(client) = free_daemon(socket).await {
        return Ok((echo, None, client));
    }
    output.note("No daemon of yours is free: another throw-away one calls.");
    let flags = if arguments.encoder == EncoderChoice::Auto { Vec::new() } else { encoder.to_vec() };
    let own = ThrowAway::start("caller", &flags).await?;
    let client = super::connect(&own.socket).await?;
    Ok((echo, Some(own), client))
}

/// The user's daemon, if there is one and it is in no call.
async fn free_daemon(socket: &Path) -> Option<Client> {
    let client = Client::connect(socket).await.ok()?;
    let calls = client.calls().await.ok()?;
    calls.iter().all(|call| call.state == CallState::Ended).then_some(client)
}

/// Flags that make the network of the echo node's media sockets worse; none for a perfect network.
fn impair(arguments: &TestCallArguments) -> Vec<String> {
    let spec = |rate: Option<u32>| {
        let mut parts = Vec::new();
        if arguments.loss > 0.0 {
            parts.push(format!("loss={}", arguments.loss));
        }
        if arguments.delay > 0 {
            parts.push(format!("delay={}", arguments.delay));
        }
        parts.extend(rate.map(|rate| format!("rate={rate}")));
        parts.join(",")
    };
    let (first, next) = (spec(arguments.rate), arguments.rate_after.map(|next| spec(Some(next.kbps))));
    let mut flags = Vec::new();
    if !first.is_empty() {
        flags.extend(["--impair".to_owned(), first]);
    }
    if let Some(next) = next {
        flags.extend(["--impair-next".to_owned(), next]);
    }
    flags
}

async fn call(
    echo: &ThrowAway,
    own: Option<&ThrowAway>,
    client: Client,
    arguments: &TestCallArguments,
    output: &Output,
) -> Result<(), Stop> {
    let ticket = {
        let echo = super::connect(&echo.socket).await?;
        echo.identity().await?.ticket
    };
    let caller = match own {
        Some(own) => own.id(),
        None => Some(client.status().await?.process_id),
    };
    let (video, audio) = (VideoSource::None, AudioSource::Test);
    let limit: Duration = arguments.limit;
    let mut plan = Plan::new(Some(&video), Some(&audio), arguments.record.as_deref(), Some(limit))?;
    let kind = if arguments.voice { CallKind::Voice } else { CallKind::Video };
    if !arguments.voice {
        plan.video = Video::Made(Pictures::test(arguments.size, arguments.fps));
        plan.sent = Some(Arc::new(SendTimes::default()));
    }
    if let (Some(next), Some(echo)) = (arguments.rate_after, echo.id()) {
        let change = move || throwaway::next_impairment(echo);
        plan.link_change = Some(LinkChange { after: next.after, change: Box::new(change) });
    }
    plan.processes = [caller, echo.id()].into_iter().flatten().collect();
    let options = CallOptions { kind: Some(kind), encoder: arguments.encoder, ..plan.switches() };
    let call = client.dial(&ticket, options).await?;
    run(call, plan, None, output).await
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(line: &str) -> TestCallArguments {
        let words = ["kithctl", "test-call"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).expect("right usage").command {
            Command::TestCall(arguments) => arguments,
            _ => unreachable!("the noun is test-call"),
        }
    }

    #[test]
    fn a_perfect_network_is_not_impaired() {
        assert_eq!(impair(&arguments("")), Vec::<String>::new());
        assert_eq!(impair(&arguments("--loss 5 --delay 25 --rate 1000")), ["--impair", "loss=5,delay=25,rate=1000"]);
        assert_eq!(
            impair(&arguments("--rate 2000 --rate-after 15:500 --delay 25")),
            ["--impair", "delay=25,rate=2000", "--impair-next", "delay=25,rate=500"]
        );
    }
}
