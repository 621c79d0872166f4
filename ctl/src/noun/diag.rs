//! `diag`: measurements that somebody asks for. Ctrl-C ends each; the daemon then stops measuring.

use std::future::Future;

use kith_common::client::Client;
use kith_common::diagnostics::{BandwidthProgress, Hop, LinkSample, PingReply};
use kith_common::failure::Failure;
use kith_common::target::Target;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::contacts;
use super::peers::find;
use crate::cli::{BandwidthArguments, DiagVerb, PingArguments};
use crate::output::{Output, ReaderGone, cells, name, table};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

/// Reports that wait to be printed.
const REPORTS: usize = 16;

pub async fn run(client: &Client, verb: DiagVerb, output: &Output) -> Result<(), Stop> {
    match verb {
        DiagVerb::Report => {
            let text = client.diagnostics_report().await?;
            let _gone = output.row(&json!({ "report": text }));
            let _gone = output.text(text.trim_end());
            Ok(())
        }
        DiagVerb::Ping(arguments) => ping(client, arguments, output).await,
        DiagVerb::Trace(peer) => {
            let target = target(client, &peer.peer).await?;
            let (sender, hops) = mpsc::channel(REPORTS);
            let shown = follow(client.trace(&target, sender), hops, |hop: Hop| {
                output.row(&json!(hop))?;
                let address = hop.address.as_deref().unwrap_or("no answer");
                output.text(&format!("{:3}  {address}  {}", hop.ttl, milliseconds(hop.rtt_ms)))
            });
            shown.await.map(drop)
        }
        DiagVerb::Bandwidth(arguments) => bandwidth(client, arguments, output).await,
        DiagVerb::History => {
            let samples = client.link_history().await?;
            let _gone = show(&samples, output);
            Ok(())
        }
        DiagVerb::Links => links(client, output).await,
    }
}

/// What to tell the daemon: names of peers are known here only.
async fn target(client: &Client, text: &str) -> Result<String, Stop> {
    if text.parse::<Target>().is_ok() {
        return Ok(text.to_owned());
    }
    let who = contacts::named(client, text).await?;
    Ok(find(&client.peers().await?, &who)?.peer_id.to_string())
}

/// Shows reports until the measurement is over; `None` when somebody ended it, or nobody reads any more.
async fn follow<T, R>(
    measuring: impl Future<Output = Result<T, Failure>>,
    mut reports: mpsc::Receiver<R>,
    mut show: impl FnMut(R) -> Result<(), ReaderGone>,
) -> Result<Option<T>, Stop> {
    let mut interrupt = Interrupt::new()?;
    tokio::pin!(measuring);
    loop {
        tokio::select! {
            biased;
            () = interrupt.asked() => return Ok(None),
            Some(report) = reports.recv() => {
                if show(report).is_err() {
                    return Ok(None);
                }
            }
            over = &mut measuring => {
                while let Ok(report) = reports.try_recv() {
                    if show(report).is_err() {
                        return Ok(None);
                    }
                }
                return Ok(Some(over?));
            }
        }
    }
}

fn milliseconds(rtt: Option<f64>) -> String {
    rtt.map_or_else(|| "–".to_owned(), |rtt| format!("{rtt:.2} ms"))
}

async fn ping(client: &Client, arguments: PingArguments, output: &Output) -> Result<(), Stop> {
    let target = target(client, &arguments.peer.peer).await?;
    let (sender, replies) = mpsc::channel(REPORTS);
    let mut all: Vec<PingReply> = Vec::new();
    let shown = follow(client.ping(&target, arguments.count, sender), replies, |reply| {
        output.row(&json!(reply))?;
        let path = reply.path.map(name).unwrap_or_default();
        let rtt = reply.rtt_ms.map_or_else(|| "no answer".to_owned(), |rtt| format!("{rtt:.2} ms"));
        output.text(&format!(
            "{:3}  {rtt:>10}  {path} {}  {}",
            reply.sequence + 1,
            name(reply.transport),
            reply.way
        ))?;
        all.push(reply);
        Ok(())
    });
    let outcome = shown.await;
    if !output.is_json() && all.len() > 1 {
        let _gone = output.text(&format!("\n{}", summary(&all)));
    }
    outcome.map(drop)
}

/// A line for each way: how many answers, and how fast.
fn summary(replies: &[PingReply]) -> String {
    let mut ways: Vec<&str> = Vec::new();
    for reply in replies {
        if !ways.contains(&reply.way.as_str()) {
            ways.push(&reply.way);
        }
    }
    let mut rows = vec![cells(["WAY", "ANSWERED", "LEAST", "MEAN", "MOST"])];
    for way in ways {
        let sent = replies.iter().filter(|reply| reply.way == way).count();
        let times: Vec<f64> =
            replies.iter().filter(|reply| reply.way == way).filter_map(|reply| reply.rtt_ms).collect();
        let mean = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
        let least = times.iter().copied().reduce(f64::min);
        let most = times.iter().copied().reduce(f64::max);
        let answered = format!("{} of {sent}", times.len());
        rows.push(cells([way, &answered, &milliseconds(least), &milliseconds(mean), &milliseconds(most)]));
    }
    table(&rows)
}

async fn bandwidth(client: &Client, arguments: BandwidthArguments, output: &Output) -> Result<(), Stop> {
    let target = target(client, &arguments.peer.peer).await?;
    let (sender, progress) = mpsc::channel(REPORTS);
    let shown = follow(client.bandwidth(&target, arguments.seconds, sender), progress, |now: BandwidthProgress| {
        output.redraw(&format!("\r{}\x1b[K", bar(now)));
        output.row(&progress_row(now))
    });
    let outcome = shown.await;
    output.redraw("\r\x1b[K");
    let Some(result) = outcome? else { return Ok(()) };
    let _gone = output.row(&json!(result));
    let path = result.path.map(name).unwrap_or_default();
    let (there, back) = (rate(result.sent_bps), rate(result.received_bps));
    let _gone = output.text(&format!("There {there}, back {back}; {path}, over {}.", name(result.transport)));
    Ok(())
}

fn bar(progress: BandwidthProgress) -> String {
    const CELLS: u64 = 30;
    let full = (progress.done.saturating_mul(CELLS) / progress.total.max(1)).min(CELLS) as usize;
    format!(
        "[{}{}] {:.1} MB, {}",
        "#".repeat(full),
        "-".repeat(CELLS as usize - full),
        progress.done as f64 / 1e6,
        rate(progress.bps)
    )
}

/// Bytes, and bytes a second.
fn progress_row(progress: BandwidthProgress) -> Value {
    json!({ "event": "progress", "done": progress.done, "total": progress.total, "rate": progress.bps / 8 })
}

fn rate(bps: u64) -> String {
    let mbps = bps as f64 / 1e6;
    if mbps >= 1.0 { format!("{mbps:.1} Mb/s") } else { format!("{:.0} kb/s", mbps * 1e3) }
}

fn sample_line(sample: &LinkSample) -> String {
    let who = sample.peer.map_or_else(|| "all".to_owned(), |peer| format!("…{}", peer.short()));
    let loss = sample.loss.map_or_else(|| "–".to_owned(), |loss| format!("{:.1} %", loss * 100.0));
    let (sent, received, rtt) = (rate(sample.sent_bps), rate(sample.received_bps), milliseconds(sample.rtt_ms));
    format!("{who:12} out {sent:>11}  in {received:>11}  rtt {rtt:>10}  loss {loss}")
}

fn show(samples: &[LinkSample], output: &Output) -> Result<(), ReaderGone> {
    samples.iter().try_for_each(|sample| {
        output.row(&json!(sample))?;
        output.text(&sample_line(sample))
    })
}

async fn links(client: &Client, output: &Output) -> Result<(), Stop> {
    let mut feed = client.watch_links().await?;
    let mut interrupt = Interrupt::new()?;
    loop {
        let Some(samples) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        output.redraw("\x1b[H\x1b[2J");
        if show(&samples, output) == Err(ReaderGone) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::call::Transport;

    use super::*;

    #[test]
    fn pings_are_summed_up_by_way() {
        let reply = |sequence, way: &str, rtt_ms| PingReply {
            sequence,
            way: way.to_owned(),
            path: None,
            transport: Transport::Udp,
            rtt_ms,
        };
        let replies =
            [reply(0, "a", Some(1.0)), reply(0, "b", None), reply(1, "a", Some(3.0)), reply(1, "b", Some(5.0))];
        let text = summary(&replies);
        assert!(text.contains("a    2 of 2    1.00 ms  2.00 ms  3.00 ms"), "{text}");
        assert!(text.contains("b    1 of 2    5.00 ms"), "{text}");
    }

    #[test]
    fn progress_is_in_bytes() {
        let row = progress_row(BandwidthProgress { done: 10, total: 100, bps: 80 });
        assert_eq!(row, json!({ "event": "progress", "done": 10, "total": 100, "rate": 10 }));
        assert!(bar(BandwidthProgress { done: 50, total: 0, bps: 0 }).starts_with("[##"));
    }
}
