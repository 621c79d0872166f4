//! The life of calls: who rings, who hears busy, what becomes of two people who call each other at once, when a silent
//! peer is given up, and which reason each end has.
//!
//! [`CallBook`] holds all calls of a node. It is told what happens (`handle_*`: a person pressed a button, a stream
//! opened, a message or a media event came, time passed) and says what to do ([`CallBook::poll_action`]) and when it
//! wants to be called again ([`CallBook::poll_timeout`]). Used by the daemon's `calls` area, which does the I/O. It never
//! sees transport parameters, pictures or streams: those are named by ids. Nothing that a peer sends makes it panic or
//! grow beyond the constants below.

mod book;
mod endings;
mod limiter;
mod machine;

use std::time::Duration;

use kith_common::call::{CallKind, EncoderChoice, Medium, StageReport, Switch, Transport};
use kith_common::failure::Failure;
use kith_common::ids::{CallId, PeerId};
use kith_common::media::VideoFormat;
use kith_common::node::Path;

pub use book::{BookConfig, CallBook, Standing};
pub use machine::{Call, Phase};

/// How long a call rings before nobody has answered.
pub const RING_TIMEOUT: Duration = Duration::from_secs(45);
/// How long the caller waits for the peer to say that nobody answered, before saying so itself.
pub const CALLER_RING_TIMEOUT: Duration = Duration::from_secs(50);
/// Finding and connecting to a peer; the network gives up after 30 s by itself.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(35);
/// Opening the signalling stream and the media session.
pub const SIGNAL_TIMEOUT: Duration = Duration::from_secs(10);
/// From the offer until the peer's machine says that it rings.
pub const OFFER_TIMEOUT: Duration = Duration::from_secs(15);
/// From accepting until a media path exists.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A path without the expected picture counts as active after this.
pub const ACTIVE_GRACE: Duration = Duration::from_secs(2);
/// A peer speaks every second in a call; after this it is not there.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The same while media is still being set up, when nothing else tells whether the peer lives.
pub const SILENT_WHILE_CONNECTING: Duration = Duration::from_secs(12);
/// How long a call that has no media yet waits for its lost signalling stream to be opened again.
pub const LINK_GRACE: Duration = Duration::from_secs(8);
/// Signalling works but no media: how long after it was lost the call goes on trying. (The media session calls it lost
/// after 10 s.)
pub const MEDIA_LOST_LIMIT: Duration = Duration::from_secs(10);
/// First pause before a lost signalling stream is opened again; doubled up to the limit.
pub const REOPEN_AFTER: Duration = Duration::from_millis(500);
pub const REOPEN_LIMIT: Duration = Duration::from_secs(8);
/// An opened media session whose call rang longer than this is made anew on answering: NATs forget addresses.
pub const MEDIA_FRESH: Duration = Duration::from_secs(15);
/// Ids of ended calls that are remembered, so that late and repeated messages are known as such.
pub const REMEMBERED_IDS: usize = 64;
/// What a peer may say as its reason; the rest is cut off.
pub const MAX_TEXT_CHARS: usize = 200;
/// The reason in a hang-up that answers a message for a call that this node does not know (any more).
pub const UNKNOWN_CALL: &str = "unknown call";

/// The reason in a hang-up that answers an offer which did not ring, because its author is a stranger here: the call was
/// noted as a request to be a contact.
pub const NOTED_AS_REQUEST: &str = "noted as a request to be a contact";

/// Names a signalling stream; given out by whoever opens or takes it, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What one side sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaState {
    pub microphone: Switch,
    pub camera: Switch,
    /// Of the picture source; `None` while there is none.
    pub format: Option<VideoFormat>,
}

/// Why calls of a kind cannot be had: the service that carries them is stopped, or has no port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// For the person here.
    pub here: Failure,
    /// For a caller, after "The other side:". Says nothing about what else runs on this machine.
    pub told: String,
}

/// Who makes the offer on the wire: decides the roles of the media path. After a collision this can differ from who
/// pressed the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireRole {
    Caller,
    Callee,
}

/// The messages that decide something. Transport parameters, candidates and clock pings pass beside this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    Offer {
        kind: CallKind,
        media: MediaState,
    },
    Ringing,
    Accept {
        media: MediaState,
    },
    Decline,
    Busy,
    Blocked,
    /// By the caller before an answer.
    Cancel,
    HangUp {
        reason: String,
    },
    Media(MediaState),
    /// By the callee: nobody answered.
    TimedOut,
    Failed(String),
}

/// What the media session of a call reports.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    Path {
        path: Path,
        transport: Transport,
    },
    FirstPacket,
    FirstFrame,
    /// Nothing has arrived for a second.
    Stalled,
    Resumed,
    /// Nothing has arrived for ten seconds.
    Lost,
    Failed(Failure),
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// Find and connect to the target; then `handle_connected` or `handle_connect_failed`.
    Connect {
        call: CallId,
    },
    /// Open a signalling stream; then `handle_link_open` or `handle_link_failed`.
    OpenLink {
        call: CallId,
        peer: PeerId,
    },
    /// Open a media session; then `handle_media_open` or `handle_media_failed`. One that exists is closed first, and
    /// what is reported about it is not to be told any more.
    OpenMedia {
        call: CallId,
        wire: CallId,
        kind: CallKind,
        role: WireRole,
        encoder: EncoderChoice,
    },
    /// Say this; with no link, on a stream opened for the purpose. Offer and Accept go with the transport parameters.
    Send {
        link: Option<LinkId>,
        peer: PeerId,
        wire: CallId,
        signal: Signal,
    },
    /// Close the stream when all that was to be sent has been.
    CloseLink {
        link: LinkId,
    },
    /// Start media with the transport parameters that came with the peer's offer or accept.
    ConnectMedia {
        call: CallId,
    },
    /// The local switch has changed; the session is to obey.
    Switch {
        call: CallId,
        medium: Medium,
        state: Switch,
    },
    /// An incoming call rings.
    New {
        call: CallId,
    },
    Stage {
        call: CallId,
        report: StageReport,
    },
    /// Somebody called while this node had as many calls as it takes, and heard busy.
    TurnedAway {
        peer: PeerId,
        wire: CallId,
        kind: CallKind,
    },
    /// A stranger called and was not let ring: the person here is to find a request instead.
    Noted {
        peer: PeerId,
        kind: CallKind,
    },
    /// What clients see of the call has changed.
    Changed {
        call: CallId,
    },
    /// The call is over and no longer in the book; its media session is to be closed.
    Ended {
        call: Box<Call>,
    },
}
