//! The task behind the link: one connection after another, and a small task for each thing that goes on over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::call::{CallState, Switch};
use kith_common::client::{CallEvent, Client, ClientCall};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::CallId;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::echo::EchoNode;
use super::{Command, Doing, Event, Job, LinkConfig, News, Test, daemon, errand, files, log, talk};

/// Between two attempts to reach the daemon.
const RETRY: Duration = Duration::from_millis(500);
/// A daemon that is being restarted by somebody else gets this long before the window starts one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to start a daemon that fails to start.
const RESTART: Duration = Duration::from_secs(15);
/// Who this node is (addresses learnt from others) and how its listeners do.
const NODE_INTERVAL: Duration = Duration::from_secs(2);

pub async fn run(config: LinkConfig, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    let mut since = None;
    let mut started: Option<Instant> = None;
    let seen = talk::Seen::default();
    loop {
        match connect(&config).await {
            Ok((client, connected)) => {
                if events.send(connected).await.is_err() {
                    return;
                }
                let lost = serve(&client, &mut commands, &events, &seen).await;
                let Some(failure) = lost else { return };
                since = Some(Instant::now());
                if events.send(Event::Lost(failure)).await.is_err() {
                    return;
                }
            }
            Err(failure) => {
                let first_time = started.is_none() && since.is_none();
                let waited = since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE;
                let may = started.is_none_or(|at| at.elapsed() >= RESTART);
                if failure.kind == FailureKind::NoDaemon && may && (first_time || waited) {
                    started = Some(Instant::now());
                    let _ = events.send(Event::Trying("No daemon was running: starting yours.".into())).await;
                    let socket = config.given.then_some(config.socket.as_path());
                    match daemon::start(socket).await {
                        Ok(()) => continue,
                        Err(failure) => {
                            let _ = events.send(Event::Lost(failure)).await;
                        }
                    }
                } else if failure.kind != FailureKind::NoDaemon {
                    let _ = events.send(Event::Lost(failure)).await;
                }
                if events.is_closed() {
                    return;
                }
                tokio::time::sleep(RETRY).await;
                // What a person asked of a daemon that is not there is void.
                while let Ok(command) = commands.try_recv() {
                    let failure = Failure::new(FailureKind::NoDaemon, "There is no connection to the daemon yet.")
                        .advise("Wait until the node is ready and try again.");
                    let event = match command {
                        Command::Start(job, _) => Event::News(job, News::Failed(failure)),
                        // Asked for again by itself, or of no use any more.
                        Command::FollowLinks(_) | Command::Cancel(_) => continue,
                        command => Event::Failed { doing: doing(&command), failure },
                    };
                    let _ = events.send(event).await;
                }
            }
        }
    }
}

async fn connect(config: &LinkConfig) -> Result<(Client, Event), Failure> {
    let client = Client::connect(&config.socket).await?;
    let (identity, status) = tokio::try_join!(client.identity(), client.status())?;
    Ok((client, Event::Connected { identity, status }))
}

/// Serves the window over one connection. `None` when the window has closed.
async fn serve(
    client: &Client,
    commands: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<Event>,
    seen: &talk::Seen,
) -> Option<Failure> {
    // Everything that goes on over this connection; aborted with it.
    let mut tasks = JoinSet::new();
    let echo = Arc::new(Mutex::new(None));
    let mut jobs: BTreeMap<Job, AbortHandle> = BTreeMap::new();
    let mut links: Option<AbortHandle> = None;
    tasks.spawn(errand::services(client.clone(), events.clone()));
    tasks.spawn(errand::network(client.clone(), events.clone()));
    tasks.spawn(node(client.clone(), events.clone()));
    tasks.spawn(peers(client.clone(), events.clone()));
    tasks.spawn(talk::people(client.clone(), events.clone()));
    tasks.spawn(files::files(client.clone(), events.clone()));
    tasks.spawn(talk::conversations(client.clone(), events.clone()));
    tasks.spawn(talk::messages(client.clone(), events.clone(), talk::Seen::clone(seen)));
    tasks.spawn(calls(client.clone(), events.clone(), Arc::clone(&echo)));
    tasks.spawn(log::follow(client.clone(), events.clone()));
    loop {
        tokio::select! {
            () = client.closed() => {
                return Some(
                    Failure::new(FailureKind::NoDaemon, "The connection to the daemon was lost.")
                        .advise("Kith connects again by itself as soon as the daemon is back."),
                );
            }
            command = commands.recv() => {
                match command? {
                    Command::Start(job, errand) => {
                        jobs.retain(|_, handle| !handle.is_finished());
                        jobs.insert(job, tasks.spawn(errand::run(client.clone(), job, errand, events.clone())));
                    }
                    Command::Cancel(job) => {
                        if let Some(handle) = jobs.remove(&job) {
                            handle.abort();
                        }
                    }
                    Command::FollowLinks(state) => {
                        if let Some(handle) = links.take() {
                            handle.abort();
                        }
                        if state == Switch::On {
                            links = Some(tasks.spawn(errand::links(client.clone(), events.clone())));
                        }
                    }
                    command => {
                        tasks.spawn(carry_out(client.clone(), command, events.clone(), Arc::clone(&echo)));
                    }
                }
            }
            Some(done) = tasks.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "a task of the link panicked");
                }
            }
        }
    }
}

fn doing(command: &Command) -> Doing {
    match command {
        Command::Dial { .. } => Doing::Dialing,
        Command::TestCall { .. } => Doing::Testing,
        Command::Answer { call, .. } => Doing::Answering(*call),
        _ => Doing::Other,
    }
}

/// The echo node of the running test call, and which call that is.
type Echo = Arc<Mutex<Option<(EchoNode, CallId)>>>;

async fn carry_out(client: Client, command: Command, events: mpsc::Sender<Event>, echo: Echo) {
    let doing = doing(&command);
    match obey(&client, command, &events, &echo).await {
        Ok(Some(event)) => {
            let _ = events.send(event).await;
        }
        Ok(None) => {}
        Err(failure) => {
            let _ = events.send(Event::Failed { doing, failure }).await;
        }
    }
}

async fn obey(
    client: &Client,
    command: Command,
    events: &mpsc::Sender<Event>,
    echo: &Echo,
) -> Result<Option<Event>, Failure> {
    Ok(match command {
        Command::Dial { target, options } => {
            let call = client.dial(&target, options).await?;
            Some(Event::Placed { call: call.id(), test: Test::No })
        }
        Command::TestCall { options } => {
            let _ = events.send(Event::TestCall("Starting an echo node on this machine.".into())).await;
            let node = EchoNode::start().await?;
            // Held until the call is noted: it may end before that.
            let mut noted = echo.lock().await;
            match client.dial(&node.ticket, options).await {
                Ok(call) => {
                    *noted = Some((node, call.id()));
                    Some(Event::Placed { call: call.id(), test: Test::Yes })
                }
                Err(failure) => {
                    node.stop().await;
                    return Err(failure);
                }
            }
        }
        Command::Answer { call, options } => client.call(call).await?.answer(options).await.map(|()| None)?,
        Command::Decline(call) => client.call(call).await?.decline().await.map(|()| None)?,
        Command::HangUp(call) => client.call(call).await?.hang_up().await.map(|()| None)?,
        Command::SetMicrophone(call, state) => client.call(call).await?.set_microphone(state).await.map(|()| None)?,
        Command::SetCamera(call, state) => client.call(call).await?.set_camera(state).await.map(|()| None)?,
        Command::SendVideo(call, format) => {
            Some(Event::VideoOut(call, client.call(call).await?.send_video(format).await?))
        }
        Command::SendAudio(call) => Some(Event::AudioOut(call, client.call(call).await?.send_audio().await?)),
        Command::Receive(id) => {
            let call = client.call(id).await?;
            let pictures = call.receive_video().await?;
            let _ = events.send(Event::VideoIn(id, pictures)).await;
            Some(Event::AudioIn(id, call.receive_audio().await?))
        }
        // They have tasks of their own.
        Command::Start(..) | Command::Cancel(_) | Command::FollowLinks(_) => None,
    })
}

async fn node(client: Client, events: mpsc::Sender<Event>) {
    let mut last = None;
    loop {
        tokio::time::sleep(NODE_INTERVAL).await;
        let Ok((identity, status)) = tokio::try_join!(client.identity(), client.status()) else { return };
        let now = (identity, status.services.clone(), status.peers_connected);
        if last.as_ref() != Some(&now) {
            if events.send(Event::Node { identity: now.0.clone(), status }).await.is_err() {
                return;
            }
            last = Some(now);
        }
    }
}

async fn peers(client: Client, events: mpsc::Sender<Event>) {
    let mut feed = match client.watch_peers().await {
        Ok(feed) => feed,
        Err(error) => return tracing::warn!(%error, "cannot watch peers"),
    };
    while let Some(Ok(peers)) = feed.next().await {
        if events.send(Event::Peers(peers)).await.is_err() {
            return;
        }
    }
}

/// Watches every call, whoever placed it.
async fn calls(client: Client, events: mpsc::Sender<Event>, echo: Echo) {
    let mut feed = match client.watch_calls().await {
        Ok(feed) => feed,
        Err(error) => return tracing::warn!(%error, "cannot watch calls"),
    };
    let mut watched = std::collections::BTreeSet::new();
    let mut watchers = JoinSet::new();
    while let Some(Ok((info, call))) = feed.next().await {
        let (id, ended) = (info.id, info.state == CallState::Ended);
        if !ended && watched.insert(id) {
            watchers.spawn(watch(call, events.clone()));
        }
        if ended {
            watched.remove(&id);
            stop_echo(&echo, id).await;
        }
        if events.send(Event::Call(info)).await.is_err() {
            return;
        }
        while watchers.try_join_next().is_some() {}
    }
}

async fn watch(call: ClientCall, events: mpsc::Sender<Event>) {
    let id = call.id();
    let mut feed = match call.watch().await {
        Ok(feed) => feed,
        Err(error) => return tracing::debug!(%error, "the call cannot be watched"),
    };
    while let Some(Ok(event)) = feed.next().await {
        let event = match event {
            // The feed of calls tells it too; two tellers would get out of order.
            CallEvent::Changed(info) if info.state == CallState::Ended => return,
            CallEvent::Changed(_) => continue,
            CallEvent::Stage(report) => Event::Stage(id, report),
            CallEvent::Stats(stats) => Event::Stats(id, stats),
            CallEvent::SourceTaken(medium) => Event::SourceTaken(id, medium),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn stop_echo(echo: &Echo, ended: CallId) {
    let mut slot = echo.lock().await;
    if slot.as_ref().is_some_and(|(_, call)| *call == ended)
        && let Some((node, _)) = slot.take()
    {
        tokio::spawn(node.stop());
    }
}
