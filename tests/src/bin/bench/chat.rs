//! Messages: how many a second, how soon, how fast they are found, and what they cost calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kith_common::chat::{Before, Draft, Message, MessageState};
use kith_common::client::Client;
use kith_common::failure::Failure;
use kith_tests::people::two_friends;
use kith_tests::{Daemon, Options};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::figure::{Figure, percentile};
use crate::small::printed;

const SOON: Duration = Duration::from_secs(30);
/// Messages that a client has asked to store and not heard of yet.
const IN_FLIGHT: usize = 128;
/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(2);

fn draft(text: impl Into<String>) -> Draft {
    Draft { text: text.into(), ..Draft::default() }
}

async fn newest(client: &Client, with: &str) -> Result<Option<Message>, Failure> {
    Ok(client.history(with, Before::default(), 1).await?.pop())
}

/// How many messages there are.
async fn count(client: &Client, with: &str) -> Result<usize, Failure> {
    let (mut before, mut count) = (Before::default(), 0);
    loop {
        let page = client.history(with, before, 500).await?;
        let Some(oldest) = page.first() else { return Ok(count) };
        before.position = oldest.position;
        count += page.len();
    }
}

/// From the first that is handed to one daemon to the last that it knows to be stored at the other.
pub fn throughput() -> Result<Vec<Figure>> {
    const MESSAGES: usize = 10_000;
    let (ada, ben) = two_friends()?;
    let (seconds, stored, arrived) = Runtime::new()?.block_on(async {
        let (from, to) = (Client::connect(&ada.socket).await?, Client::connect(&ben.socket).await?);
        let begun = Instant::now();
        let sent = futures::stream::iter(0..MESSAGES).map(|n| {
            let from = from.clone();
            async move { from.send_message("Ben", draft(format!("message {n} of {MESSAGES}"))).await }
        });
        sent.buffered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
        let stored = begun.elapsed().as_secs_f64();
        while newest(&from, "Ben").await?.is_some_and(|message| message.state < MessageState::Delivered) {
            ensure!(begun.elapsed() < SOON * 4, "the messages do not arrive");
            tokio::time::sleep(LOOK).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok::<_, anyhow::Error>((seconds, stored, count(&to, "Ada").await?))
    })?;
    ensure!(arrived == MESSAGES, "{arrived} of {MESSAGES} messages arrived");
    Ok(vec![
        Figure::new("stored here", MESSAGES as f64 / stored, "a second"),
        Figure::new("stored and acknowledged on both sides", MESSAGES as f64 / seconds, "a second").at_least(2000.0),
    ])
}

/// From the request to send it to its report to a client of the other daemon.
pub fn latency() -> Result<Vec<Figure>> {
    const MESSAGES: usize = 300;
    let (ada, ben) = two_friends()?;
    let mut times = Runtime::new()?.block_on(async {
        let (from, to) = (Client::connect(&ada.socket).await?, Client::connect(&ben.socket).await?);
        let mut feed = to.watch_messages(0).await?;
        let mut times = Vec::with_capacity(MESSAGES);
        for n in 0..MESSAGES {
            let (text, begun) = (format!("message {n}"), Instant::now());
            from.send_message("Ben", draft(&text)).await?;
            loop {
                let (messages, _) = feed.next().await.context("the reports ended")??;
                if messages.iter().any(|message| message.text == text) {
                    break;
                }
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        Ok::<_, anyhow::Error>(times)
    })?;
    Ok(vec![
        Figure::new("sent to seen p50", percentile(&mut times, 0.5), "ms"),
        Figure::new("sent to seen p95", percentile(&mut times, 0.95), "ms").at_most(30.0),
    ])
}

/// A database with a million messages: how fast a daemon starts with it, and finds things in it.
pub fn search() -> Result<Vec<Figure>> {
    const MESSAGES: u64 = 1_000_000;
    const TIMES: usize = 10;
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    // It makes the identity that the messages are of.
    let ada = Daemon::with("ada", options.clone())?;
    let own = ada.peer.clone();
    ada.stop()?;
    let (data, number) = (dir.path().join("data"), MESSAGES.to_string());
    let data = data.to_str().context("temporary folders have names of text")?;
    let filled = printed("kith-store-fill", &[data, &own, &number])?;
    let queries: Vec<String> = serde_json::from_value(filled["queries"].clone())?;
    let begun = Instant::now();
    let ada = Daemon::with("ada", options)?;
    let started = begun.elapsed().as_secs_f64();
    let (mut times, mut slowest) = (Vec::new(), (0.0, String::new()));
    Runtime::new()?.block_on(async {
        let client = Client::connect(&ada.socket).await?;
        for query in queries.iter().cycle().take(queries.len() * TIMES) {
            let begun = Instant::now();
            client.search_messages(query, None, 0, 50).await?;
            let ms = begun.elapsed().as_secs_f64() * 1000.0;
            times.push(ms);
            if ms > slowest.0 {
                slowest = (ms, query.clone());
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(vec![
        Figure::new("start with a million messages", started, "s").at_most(1.0),
        Figure::new("newest 50 hits p50", percentile(&mut times, 0.5), "ms"),
        Figure::new("newest 50 hits p95", percentile(&mut times, 0.95), "ms").at_most(50.0),
        Figure::text("the slowest", format!("{:.1} ms, for {:?}", slowest.0, slowest.1)),
    ])
}

/// Longer than what is left out of the figures of a call that has settled.
const CALL_S: &str = "15";
/// Video calls without and with messages, by turns: what a call's delay settles at depends on how its sound happened to begin.
const PAIRS: usize = 5;
const EACH_WAY_A_SECOND: u32 = 10;

/// The final statistics of a call of Ada's with Ben.
fn call(ada: &Daemon, ben: &Daemon, caller: &[&str], callee: &[&str]) -> Result<Value> {
    let mut answer = ben.spawn(&[&["answer", "--wait", "20"][..], callee].concat())?;
    let mut call = ada.spawn(&[&["call", "Ben"][..], caller, &["--for", CALL_S]].concat())?;
    call.wait_json("stage", "active", SOON)?;
    let end = call.wait_json("event", "ended", SOON * 2)?;
    ensure!(end["reason"] == "local", "{end}");
    call.wait_end(SOON)?;
    answer.wait_end(SOON)?;
    Ok(end["stats"].clone())
}

/// Sends at that pace until it is told to stop; how many.
async fn chatter(client: &Client, with: &str, over: &AtomicBool) -> Result<usize, Failure> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / EACH_WAY_A_SECOND);
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        client.send_message(with, draft(format!("{sent} while calls go on"))).await?;
        sent += 1;
    }
    Ok(sent)
}

/// What `during` comes to while both write to each other, and how many messages that were.
fn while_they_write<T>(ada: &Daemon, ben: &Daemon, during: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
    let (over, sockets) = (AtomicBool::new(false), (&ada.socket, &ben.socket));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            Runtime::new()?.block_on(async {
                let (at_ada, at_ben) = (Client::connect(sockets.0).await?, Client::connect(sockets.1).await?);
                let sent = tokio::try_join!(chatter(&at_ada, "Ben", &over), chatter(&at_ben, "Ada", &over))?;
                Ok::<_, anyhow::Error>(sent.0 + sent.1)
            })
        });
        let done = during();
        over.store(true, Ordering::Relaxed);
        let Ok(sent) = writing.join() else { bail!("the senders panicked") };
        Ok((done?, sent?))
    })
}

/// Messages that are stored on both sides, once all that were sent are.
fn stored(ada: &Daemon, ben: &Daemon, sent: usize) -> Result<usize> {
    Runtime::new()?.block_on(async {
        let (at_ada, at_ben) = (Client::connect(&ada.socket).await?, Client::connect(&ben.socket).await?);
        let begun = Instant::now();
        loop {
            let both = count(&at_ada, "Ben").await?.min(count(&at_ben, "Ada").await?);
            if both >= sent {
                return Ok(both);
            }
            ensure!(begun.elapsed() < SOON, "{both} of {sent} messages have arrived");
            tokio::time::sleep(LOOK).await;
        }
    })
}

/// Voice calls and video calls (a node is in one call at a time), without and with ten messages a second each way.
pub fn beside_calls() -> Result<Vec<Figure>> {
    let (ada, ben) = two_friends()?;
    let (sound, both) = (&["--audio", "test"][..], &["--video", "test", "--audio", "test"][..]);
    let voice = &["--voice", "--audio", "test"][..];
    let mut sent = 0;
    let mut figures = Vec::new();
    for (kind, pairs, caller, callee, wanted) in [
        ("voice", 1, voice, sound, &[("audio_received", "packets")][..]),
        ("video", PAIRS, both, both, &[("steady.fps", "a second"), ("steady.delay_ms_p95", "ms")]),
    ] {
        let (mut quiet, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            quiet.push(call(&ada, &ben, caller, callee)?);
            let (stats, messages) = while_they_write(&ada, &ben, || call(&ada, &ben, caller, callee))?;
            busy.push(stats);
            sent += messages;
        }
        for (name, unit) in wanted {
            let (before, with) = (middle(&quiet, name)?, middle(&busy, name)?);
            figures.push(Figure::new(format!("{kind}: {name} without messages, median of {pairs}"), before, unit));
            let figure = Figure::new(format!("{kind}: {name} with messages, median of {pairs}"), with, unit);
            // Of what is received more is better, of times less.
            figures.push(match *unit {
                "ms" => figure.at_most(before * 1.1),
                _ => figure.at_least(before * 0.9),
            });
        }
    }
    figures.push(Figure::new("messages sent, both ways", sent as f64, ""));
    figures
        .push(Figure::new("of them stored on both sides", stored(&ada, &ben, sent)? as f64, "").at_least(sent as f64));
    Ok(figures)
}

/// The median of a figure, named by its path, of several calls.
fn middle(calls: &[Value], name: &str) -> Result<f64> {
    let of = |stats: &Value| {
        let value = name.split('.').fold(stats, |value, key| &value[key]);
        value.as_f64().with_context(|| format!("no {name} in {stats}"))
    };
    let mut values = calls.iter().map(of).collect::<Result<Vec<_>>>()?;
    Ok(percentile(&mut values, 0.5))
}
