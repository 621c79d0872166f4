//! What is asked of the daemon outside of calls: an errand has a number of its own, tells how it goes, and can be called
//! off at any time. Beside them the feeds that the screens about the node follow.

use std::sync::atomic::{AtomicU64, Ordering};

use kith_common::call::CallRecord;
use kith_common::chat::{Conversation, Message};
use kith_common::client::Client;
use kith_common::contact::{Contact, SafetyNumber};
use kith_common::diagnostics::{BandwidthProgress, BandwidthResult, Hop, LinkSample, PingReply};
use kith_common::failure::Failure;
use kith_common::file::{AddProgress, FileSettings, Kept, Share, Transfer};
use kith_common::ids::PeerId;
use kith_common::node::{PeerInfo, ServiceInfo};
use tokio::sync::mpsc;

use super::{Event, Filing, Log, Talk};

/// Reports of an errand that wait for the link; the daemon waits behind them.
pub(super) const REPORTS: usize = 16;

/// One errand, for as long as the window runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job(u64);

impl Job {
    /// One that has never been before.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Errand {
    /// As a person types it: ticket, peer id or address.
    Connect(String),
    Disconnect(PeerId),
    Block(PeerId),
    Unblock(PeerId),
    StartService(String),
    StopService(String),
    MoveService(String, u16),
    Ping {
        peer: PeerId,
        count: u32,
    },
    Trace(PeerId),
    /// Each direction takes this long.
    Bandwidth {
        peer: PeerId,
        seconds: u32,
    },
    Report,
    /// About people and messages.
    Talk(Talk),
    /// About shares and transfers.
    Files(Filing),
    /// About calls that are over.
    Log(Log),
}

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whom it is about has no place in a log.
        match self {
            Self::Connect(target) => write!(f, "Connect({} characters)", target.len()),
            Self::Disconnect(_) => f.write_str("Disconnect"),
            Self::Block(_) => f.write_str("Block"),
            Self::Unblock(_) => f.write_str("Unblock"),
            Self::StartService(name) => write!(f, "StartService({name})"),
            Self::StopService(name) => write!(f, "StopService({name})"),
            Self::MoveService(name, port) => write!(f, "MoveService({name}, {port})"),
            Self::Ping { count, .. } => write!(f, "Ping({count})"),
            Self::Trace(_) => f.write_str("Trace"),
            Self::Bandwidth { seconds, .. } => write!(f, "Bandwidth({seconds} s)"),
            Self::Report => f.write_str("Report"),
            Self::Talk(talk) => talk.fmt(f),
            Self::Files(filing) => filing.fmt(f),
            Self::Log(log) => write!(f, "{log:?}"),
        }
    }
}

/// How an errand goes. The last of its news is one of those that end it.
#[derive(Debug, Clone)]
pub enum News {
    Ping(PingReply),
    Hop(Hop),
    Bandwidth(BandwidthProgress),
    Adding(AddProgress),
    // These end it.
    Peer(PeerInfo),
    Service(ServiceInfo),
    Measured(BandwidthResult),
    Report(String),
    Contact(Box<Contact>),
    Safety(SafetyNumber),
    Message(Box<Message>),
    /// A page of the log, the newest first.
    Calls(Vec<CallRecord>),
    /// Messages, oldest first; of a search newest first.
    Page(Vec<Message>),
    Conversation(Box<Conversation>),
    Share(Box<Share>),
    /// A page, the newest first.
    Shares(Vec<Share>),
    Transfer(Box<Transfer>),
    Kept(Vec<Kept>),
    FileSettings(Box<FileSettings>),
    Done,
    Failed(Failure),
}

/// Does it and tells the window. Dropping the future calls it off at the daemon too.
pub(super) async fn run(client: Client, job: Job, errand: Errand, events: mpsc::Sender<Event>) {
    let last = obey(&client, job, errand, &events).await.unwrap_or_else(News::Failed);
    let _ = events.send(Event::News(job, last)).await;
}

async fn obey(client: &Client, job: Job, errand: Errand, events: &mpsc::Sender<Event>) -> Result<News, Failure> {
    Ok(match errand {
        Errand::Connect(target) => News::Peer(client.connect_peer(&target).await?),
        Errand::Disconnect(peer) => client.disconnect_peer(&peer.to_string()).await.map(|()| News::Done)?,
        Errand::Block(peer) => client.block_peer(&peer.to_string()).await.map(|()| News::Done)?,
        Errand::Unblock(peer) => client.unblock_peer(&peer.to_string()).await.map(|()| News::Done)?,
        Errand::StartService(name) => News::Service(client.start_service(&name).await?),
        Errand::StopService(name) => News::Service(client.stop_service(&name).await?),
        Errand::MoveService(name, port) => News::Service(client.set_service_port(&name, port).await?),
        Errand::Ping { peer, count } => {
            let (replies, received) = mpsc::channel(REPORTS);
            let target = peer.to_string();
            let work = client.ping(&target, count, replies);
            forwarded(work, received, News::Ping, job, events).await.map(|()| News::Done)?
        }
        Errand::Trace(peer) => {
            let (hops, received) = mpsc::channel(REPORTS);
            let target = peer.to_string();
            forwarded(client.trace(&target, hops), received, News::Hop, job, events).await.map(|()| News::Done)?
        }
        Errand::Bandwidth { peer, seconds } => {
            let (progress, received) = mpsc::channel(REPORTS);
            let target = peer.to_string();
            let work = client.bandwidth(&target, seconds, progress);
            News::Measured(forwarded(work, received, News::Bandwidth, job, events).await?)
        }
        Errand::Report => News::Report(client.diagnostics_report().await?),
        Errand::Talk(talk) => super::talk::obey(client, talk).await?,
        Errand::Files(filing) => super::files::obey(client, job, filing, events).await?,
        Errand::Log(log) => super::log::obey(client, log).await?,
    })
}

/// Waits for `work` and passes on what it reports, up to the last report.
pub(super) async fn forwarded<T, R>(
    work: impl Future<Output = Result<R, Failure>>,
    mut reports: mpsc::Receiver<T>,
    news: fn(T) -> News,
    job: Job,
    events: &mpsc::Sender<Event>,
) -> Result<R, Failure> {
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            Some(report) = reports.recv() => { let _ = events.send(Event::News(job, news(report))).await; }
            result = &mut work => break result,
        }
    };
    while let Ok(report) = reports.try_recv() {
        let _ = events.send(Event::News(job, news(report))).await;
    }
    result
}

/// Follows the listeners; a refusal is told once.
pub(super) async fn services(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_services().await?;
        while let Some(services) = feed.next().await {
            let _ = events.send(Event::Services(Ok(services?))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::Services(Err(failure))).await;
    }
}

/// Follows addresses and reachability; a refusal is told once.
pub(super) async fn network(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_network().await?;
        while let Some(state) = feed.next().await {
            let _ = events.send(Event::Network(Ok(state?))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::Network(Err(failure))).await;
    }
}

/// The last minutes of the links, then each second as it is measured; a refusal is told once.
pub(super) async fn links(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        // The feed first: a second that is told twice is drawn once, one that is missed would be a gap.
        let mut feed = client.watch_links().await?;
        let _ = events.send(Event::Links(Ok(client.link_history().await?))).await;
        while let Some(rows) = feed.next().await {
            let rows: Vec<LinkSample> = rows?;
            let _ = events.send(Event::Links(Ok(rows))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::Links(Err(failure))).await;
    }
}
