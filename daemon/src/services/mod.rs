//! The listeners of a node as a person sees them: one row each, stopped, started and moved by name, and what was chosen
//! remembered over restarts.
//!
//! One task owns the rows. It follows the listeners of `net` and `media` by their watches, passes orders on to them, and
//! tells `net` what to offer to peers, and `chat` and `files` whether they run. Whether a port is tried, kept or given up is decided by [`kith_core::listener`];
//! that stopping ends a call is `calls`' business, which follows the same watches.

mod rows;
mod settings;
mod task;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use kith_common::call::CallKind;
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::ServiceInfo;
use kith_core::listener::{Begin, Order};
use tokio::sync::{mpsc, oneshot, watch};

use crate::media::Media;
use crate::net::Net;

pub use settings::{Settings, Wanted};

/// Orders that wait for the task; persons give them, so few.
const ORDERS: usize = 16;

/// What a node has, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Node,
    Video,
    Audio,
    Chat,
    Files,
    Broadcast,
}

impl Name {
    const ALL: [Self; 6] = [Self::Node, Self::Video, Self::Audio, Self::Chat, Self::Files, Self::Broadcast];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Chat => "chat",
            Self::Files => "files",
            Self::Broadcast => "broadcast",
        }
    }

    /// The calls that a media socket carries.
    const fn calls(self) -> Option<CallKind> {
        match self {
            Self::Video => Some(CallKind::Video),
            Self::Audio => Some(CallKind::Voice),
            Self::Node | Self::Chat | Self::Files | Self::Broadcast => None,
        }
    }

    /// A service with a port of its own.
    const fn has_port(self) -> bool {
        matches!(self, Self::Node | Self::Video | Self::Audio)
    }

    /// Not built yet.
    const fn is_absent(self) -> bool {
        matches!(self, Self::Broadcast)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|name| name.text() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::text).join(", ");
            Failure::new(FailureKind::InvalidArgument, format!("there is no service {text:.40?}"))
                .advise(format!("The services are: {all}."))
        })
    }
}

/// Where services that the node's port carries read whether they run.
pub struct Carried {
    pub chat: watch::Sender<Begin>,
    pub files: watch::Sender<Begin>,
}

struct Ordered {
    name: Name,
    order: Order,
    reply: oneshot::Sender<Result<ServiceInfo, Failure>>,
}

/// A cheap handle to the services.
#[derive(Clone)]
pub struct Services {
    orders: mpsc::Sender<Ordered>,
    rows: watch::Receiver<Arc<Vec<ServiceInfo>>>,
}

impl Services {
    /// Follows the listeners from now on. `offered` is where `net` reads what to tell peers.
    pub fn start(
        net: Net,
        media: Media,
        settings: Settings,
        offered: watch::Sender<Vec<String>>,
        carried: Carried,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (publish, rows) = watch::channel(Arc::default());
        let task = task::Task::new(net, media, settings, offered, carried, publish);
        tokio::spawn(task.run(inbox));
        Self { orders, rows }
    }

    /// One row a service, always in the same order. While a listener waits for its next try, the row is renewed every
    /// second.
    pub fn rows(&self) -> watch::Receiver<Arc<Vec<ServiceInfo>>> {
        self.rows.clone()
    }

    /// Starts a service that is stopped, or tries one that fails at once. The row as it is then: a taken port is a row in
    /// state `Failed`, no failure of this.
    pub async fn start_service(&self, name: &str) -> Result<ServiceInfo, Failure> {
        self.order(name, Order::Start).await
    }

    /// Stops a service, which ends its calls and refuses new ones.
    pub async fn stop_service(&self, name: &str) -> Result<ServiceInfo, Failure> {
        self.order(name, Order::Stop).await
    }

    /// Moves a service; 0: any free port. Calls that go on are not cut.
    pub async fn set_port(&self, name: &str, port: u16) -> Result<ServiceInfo, Failure> {
        self.order(name, Order::SetPort(port)).await
    }

    async fn order(&self, name: &str, order: Order) -> Result<ServiceInfo, Failure> {
        let name = Name::parse(name)?;
        if !name.has_port() && matches!(order, Order::SetPort(_)) {
            let message = format!("the service {} has no port of its own", name.text());
            return Err(Failure::new(FailureKind::InvalidArgument, message)
                .advise("It is carried by the node's port: kithctl services port node N."));
        }
        if name.is_absent() {
            let message = format!("this version of Kith has no service {} yet", name.text());
            return Err(Failure::new(FailureKind::Unsupported, message));
        }
        let stopped = || Failure::new(FailureKind::Internal, "the daemon is shutting down");
        let (reply, answer) = oneshot::channel();
        self.orders.send(Ordered { name, order, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
