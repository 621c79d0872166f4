//! The streams between two contacts: one that this node speaks on, one that it listens to.

use std::time::Duration;

use kith_common::contact::Presence;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::ports::Network;
use super::task::Event;
use super::wire::{self, MAX_BYTES, Message, Request};
use crate::net::Stream;
use crate::net::frames::{self, FrameError};

/// A message of one packet is written, the first one read, and one that has begun ended within this, or the peer is stuck.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The peer writes a request to its disk before it answers.
const HEARD_WITHIN: Duration = Duration::from_secs(20);
/// A peer that says more is read at this pace: presence changes a few times an hour.
const MESSAGE_PAUSE: Duration = Duration::from_millis(100);
/// How long the peer may take to close its side after a last word.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a stream is not used any further.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Open(#[from] Failure),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the request was not taken")]
    NotTaken,
    #[error("the peer has closed it")]
    Closed,
    #[error("the contacts have ended")]
    Over,
}

async fn say(stream: &mut Stream, message: &Message) -> Result<(), FrameError> {
    frames::write(stream, &wire::encode(message), MESSAGE_TIMEOUT).await
}

/// Says the request, reports the answer, and from then on says presence whenever there is one to say.
pub(super) async fn speak<N: Network>(
    net: N,
    peer: PeerId,
    link: u64,
    request: Request,
    presence: watch::Receiver<Option<Presence>>,
    events: mpsc::Sender<Event>,
) {
    let Err(error) = speaking(&net, peer, link, request, presence, &events).await;
    tracing::debug!(%peer, "no longer speaking: {error}");
    let _ = events.send(Event::Ended { peer, link }).await;
}

async fn speaking<N: Network>(
    net: &N,
    peer: PeerId,
    link: u64,
    request: Request,
    mut presence: watch::Receiver<Option<Presence>>,
    events: &mpsc::Sender<Event>,
) -> Result<std::convert::Infallible, LinkError> {
    let mut stream = net.open_contact(peer).await?;
    say(&mut stream, &Message::Request(request)).await?;
    let heard = frames::read_soon(&mut stream, MAX_BYTES, HEARD_WITHIN).await?;
    let Message::Heard(contact) = wire::decode(&heard)? else { return Err(LinkError::NotTaken) };
    events.send(Event::Heard { peer, link, contact }).await.map_err(|_| LinkError::Over)?;
    let mut said = None;
    let mut end = [0];
    loop {
        let now = *presence.borrow_and_update();
        if let Some(now) = now.filter(|_| said != now) {
            say(&mut stream, &Message::Presence(now)).await?;
        }
        said = now;
        tokio::select! {
            changed = presence.changed() => changed.map_err(|_| LinkError::Over)?,
            // Nothing more is said in this direction: what comes is the end.
            _ = stream.read(&mut end) => return Err(LinkError::Closed),
        }
    }
}

/// Tells a peer that it is a contact no longer. Returns when the peer has heard it, or could not.
pub(super) async fn take_leave<N: Network>(net: N, peer: PeerId, events: mpsc::Sender<Event>) {
    let leaving = async {
        let mut stream = net.open_contact(peer).await?;
        say(&mut stream, &Message::Removed).await?;
        // The peer closing its side shows that it has read it.
        let mut end = [0];
        let _ = timeout(FAREWELL, stream.read(&mut end)).await;
        Ok::<(), LinkError>(())
    };
    if let Err(error) = leaving.await {
        tracing::debug!(%peer, "could not take leave: {error}");
    }
    let _ = events.send(Event::Left { peer }).await;
}

/// Reads what a peer says until it has nothing more to say.
pub(super) async fn listen(peer: PeerId, stream: Stream, events: mpsc::Sender<Event>) {
    let Err(error) = listening(peer, stream, &events).await;
    tracing::debug!(%peer, "no longer listening: {error}");
}

async fn listening(
    peer: PeerId,
    mut stream: Stream,
    events: &mpsc::Sender<Event>,
) -> Result<std::convert::Infallible, LinkError> {
    let over = |_| LinkError::Over;
    // A stream on which nothing is said at first was opened for nothing.
    let mut bytes = frames::read_soon(&mut stream, MAX_BYTES, MESSAGE_TIMEOUT).await?;
    loop {
        match wire::decode(&bytes)? {
            Message::Request(request) => {
                let (answer, heard) = oneshot::channel();
                events.send(Event::Request { peer, request, answer }).await.map_err(|_| LinkError::Over)?;
                // Not answered: there is no room for it now. The peer asks again later.
                let contact = heard.await.map_err(|_| LinkError::NotTaken)?;
                say(&mut stream, &Message::Heard(contact)).await?;
            }
            Message::Presence(presence) => events.send(Event::Presence { peer, presence }).await.map_err(over)?,
            Message::Removed => {
                events.send(Event::Removed { peer }).await.map_err(over)?;
                return Err(LinkError::Closed);
            }
            Message::Heard(_) | Message::Unknown => {}
        }
        sleep(MESSAGE_PAUSE).await;
        bytes = frames::read(&mut stream, MAX_BYTES, MESSAGE_TIMEOUT).await?;
    }
}
