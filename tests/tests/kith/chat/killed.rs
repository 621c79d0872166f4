//! A thousand messages while either daemon is killed again and again.

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_common::chat::{Before, Draft, Message, MessageState};
use kith_common::client::Client;
use kith_common::failure::{Failure, FailureKind};
use kith_tests::people::befriend;
use kith_tests::{Daemon, Options, note};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

const MESSAGES: usize = 1000;
/// In each, one of the two is killed, somewhere within it.
const ROUNDS: usize = 20;
const LATEST_KILL_MS: u64 = 300;
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// xorshift64 (Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One node that dies and comes back at the same address.
struct Node {
    name: &'static str,
    options: Options,
    daemon: Daemon,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new(name: &'static str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Whoever comes back is looked for where it was.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let options = Options {
            data_dir: Some(dir.path().join("data")),
            socket: Some(dir.path().join("sock")),
            flags: vec!["--node-port".to_owned(), port.to_string()],
            ..Options::default()
        };
        Ok(Self { name, daemon: Daemon::with(name, options.clone())?, options, _dir: dir })
    }

    fn socket(&self) -> &Path {
        &self.daemon.socket
    }

    /// Kills it after that time, if it lives so long; from a thread of its own.
    fn kill_after(&self, delay: Duration) -> Result<std::thread::JoinHandle<()>> {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id())?).context("a process has an id")?;
        Ok(std::thread::spawn(move || {
            std::thread::sleep(delay);
            let _ = kill_process(pid, Signal::KILL);
        }))
    }

    fn restart(&mut self) -> Result<()> {
        self.daemon.kill();
        self.daemon = Daemon::with(self.name, self.options.clone())?;
        Ok(())
    }
}

/// Everything that the node has of the conversation, the oldest first.
async fn everything(client: &Client, with: &str) -> Result<Vec<Message>, Failure> {
    let (mut before, mut pages) = (Before::default(), Vec::new());
    loop {
        let page = client.history(with, before, 500).await?;
        let Some(oldest) = page.first() else { break };
        before.position = oldest.position;
        pages.push(page);
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// The text that was stored last, if any.
async fn newest(client: &Client, with: &str) -> Result<Option<String>, Failure> {
    let known = client.conversations().await?;
    if known.is_empty() {
        return Ok(None);
    }
    Ok(client.history(with, Before::default(), 1).await?.pop().map(|message| message.text))
}

/// Whether the message is stored. When the daemon dies under it nobody knows, until it is asked.
async fn stored(client: &Client, text: &str) -> Result<bool, Failure> {
    match client.send_message("Ben", Draft { text: text.to_owned(), ..Draft::default() }).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.kind == FailureKind::NoDaemon => Ok(false),
        Err(failure) => Err(failure),
    }
}

#[test]
fn a_thousand_messages_arrive_once_and_in_order_although_both_daemons_are_killed_again_and_again() -> Result<()> {
    let seed = std::env::var("KITH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::try_from(kith_common::clock::unix_ms()).unwrap_or_default() | 1);
    note(&format!("seed {seed}: KITH_SEED={seed} does the same again"));
    let mut dice = Dice(seed);
    let (mut ada, mut ben) = (Node::new("ada")?, Node::new("ben")?);
    befriend(&ada.daemon, "Ben", &ben.daemon, "Ada")?;
    let runtime = Runtime::new()?;
    let mut client = runtime.block_on(Client::connect(ada.socket()))?;
    let (begun, mut kills, mut unsure, mut resent) = (Instant::now(), [0, 0], 0, 0);
    let wanted: Vec<String> = (1..=MESSAGES).map(|n| format!("message {n} of {MESSAGES}")).collect();
    for (round, texts) in wanted.chunks(MESSAGES / ROUNDS).enumerate() {
        let at_ada = dice.below(2) == 0;
        let delay = Duration::from_millis(dice.below(LATEST_KILL_MS));
        let killer = if at_ada { ada.kill_after(delay)? } else { ben.kill_after(delay)? };
        for text in texts {
            while !runtime.block_on(stored(&client, text)).with_context(|| text.clone())? {
                unsure += 1;
                ada.restart()?;
                client = runtime.block_on(Client::connect(ada.socket()))?;
                if runtime.block_on(newest(&client, "Ben"))?.as_ref() == Some(text) {
                    break;
                }
                resent += 1;
            }
        }
        killer.join().map_err(|_| anyhow::anyhow!("the killer panicked"))?;
        kills[usize::from(at_ada)] += 1;
        if at_ada {
            // It may have been restarted already, and then lives.
            if client.is_closed() || runtime.block_on(client.status()).is_err() {
                ada.restart()?;
                client = runtime.block_on(Client::connect(ada.socket()))?;
            }
        } else {
            ben.restart()?;
        }
        // Half of the kills hit while the other side catches up, the others in the quiet.
        if dice.below(2) == 0 {
            caught_up(&runtime, &client, round)?;
        }
    }
    caught_up(&runtime, &client, ROUNDS)?;
    let here = runtime.block_on(everything(&client, "Ben"))?;
    let there = runtime.block_on(async { everything(&Client::connect(ben.socket()).await?, "Ada").await })?;
    note(&format!(
        "{MESSAGES} messages in {:.1} s: ada killed {} times, ben {} times; {unsure} sends cut off, {resent} of them repeated; \
         {} stored at ada, {} at ben",
        begun.elapsed().as_secs_f64(),
        kills[1],
        kills[0],
        here.len(),
        there.len()
    ));
    for (side, messages) in [("ada", &here), ("ben", &there)] {
        let texts: Vec<&String> = messages.iter().map(|message| &message.text).collect();
        let wrong = texts.iter().zip(&wanted).find(|(text, wanted)| **text != *wanted);
        ensure!(texts.len() == MESSAGES && wrong.is_none(), "seed {seed}, {side}: {} messages, {wrong:?}", texts.len());
    }
    let ids = |messages: &[Message]| messages.iter().map(|message| message.id).collect::<Vec<_>>();
    ensure!(ids(&here) == ids(&there), "seed {seed}: the same messages on both sides");
    Ok(())
}

/// Waits until the newest message of ada is stored at ben.
fn caught_up(runtime: &Runtime, client: &Client, round: usize) -> Result<()> {
    let delivered = async {
        let mut feed = client.watch_conversations().await?;
        while let Some(conversations) = feed.next().await {
            let last = conversations?.into_iter().find_map(|conversation| conversation.last);
            if last.is_none_or(|message| message.state >= MessageState::Delivered) {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    let waited = runtime.block_on(async { tokio::time::timeout(CAUGHT_UP, delivered).await });
    Ok(waited.with_context(|| format!("not delivered within {CAUGHT_UP:?} after round {round}"))??)
}
