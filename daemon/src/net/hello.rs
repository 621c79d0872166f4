//! What two nodes tell each other first (`/kith/hello/1`, `Hello` in wire.capnp): name, program, services, media ports,
//! and the address that each sees the other at.

use std::net::SocketAddr;
use std::time::Duration;

use capnp::message::Builder;
use kith_common::node::MediaPorts;
use kith_common::text::clean_line;
use kith_common::wire_capnp::hello as schema;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::{self, FrameError};

const VERSION: u16 = 1;
/// A hello is a few hundred bytes; a longer one is none.
const MAX_BYTES: usize = 4096;
pub(super) const MAX_NAME_CHARS: usize = 64;
pub(super) const MAX_AGENT_CHARS: usize = 64;
/// Kith has six services; there is room for more.
const MAX_SERVICES: u32 = 16;
const MAX_SERVICE_CHARS: usize = 32;
/// Told in one message of one packet; whoever takes longer is not going to.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which of two hellos of one node is the later: they travel on streams of their own and may overtake each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Of the process that sent it.
    pub instance: u64,
    pub sequence: u64,
}

impl Order {
    pub fn is_older_than(self, other: Self) -> bool {
        self.instance == other.instance && self.sequence < other.sequence
    }
}

/// One hello.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hello {
    pub name: String,
    pub agent: String,
    pub media_ports: MediaPorts,
    /// By name, those that listen.
    pub services: Vec<String>,
    /// Where the sender sees the receiver.
    pub observed: Option<SocketAddr>,
    pub order: Order,
}

pub(super) async fn send(mut to: impl AsyncWrite + Unpin, hello: &Hello) -> Result<(), FrameError> {
    frames::finish(&mut to, &encode(hello), TIMEOUT).await
}

pub(super) async fn receive(mut from: impl AsyncRead + Unpin) -> Result<Hello, FrameError> {
    Ok(decode(&frames::read_soon(&mut from, MAX_BYTES, TIMEOUT).await?)?)
}

fn encode(hello: &Hello) -> Vec<u8> {
    let mut message = Builder::new_default();
    let mut root = message.init_root::<schema::Builder<'_>>();
    root.set_version(VERSION);
    root.set_name(clean_line(&hello.name, MAX_NAME_CHARS));
    root.set_agent(&hello.agent);
    root.set_video_port(hello.media_ports.video);
    root.set_audio_port(hello.media_ports.audio);
    let services = hello.services.get(..MAX_SERVICES as usize).unwrap_or(&hello.services);
    let mut list = root.reborrow().init_services(u32::try_from(services.len()).unwrap_or(MAX_SERVICES));
    for (index, service) in (0..).zip(services) {
        list.set(index, service.as_str());
    }
    root.set_instance(hello.order.instance);
    root.set_sequence(hello.order.sequence);
    if let Some(observed) = hello.observed {
        root.set_observed_address(observed.to_string());
    }
    frames::encode(&message)
}

fn decode(bytes: &[u8]) -> capnp::Result<Hello> {
    let message = frames::open(bytes, MAX_BYTES)?;
    let root = message.get_root::<schema::Reader<'_>>()?;
    let services = root.get_services()?;
    let named =
        services.iter().take(MAX_SERVICES as usize).map(|name| Ok(clean_line(name?.to_str()?, MAX_SERVICE_CHARS)));
    Ok(Hello {
        services: named.collect::<capnp::Result<_>>()?,
        name: clean_line(root.get_name()?.to_str()?, MAX_NAME_CHARS),
        agent: clean_line(root.get_agent()?.to_str()?, MAX_AGENT_CHARS),
        media_ports: MediaPorts { video: root.get_video_port(), audio: root.get_audio_port() },
        observed: root.get_observed_address()?.to_str()?.parse().ok(),
        order: Order { instance: root.get_instance(), sequence: root.get_sequence() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            name: "Ada".to_owned(),
            agent: "kith/0".to_owned(),
            media_ports: MediaPorts { video: 9996, audio: 9998 },
            services: vec!["video".to_owned(), "audio".to_owned()],
            observed: "203.0.113.5:9999".parse().ok(),
            order: Order { instance: 7, sequence: 3 },
        }
    }

    #[test]
    fn a_hello_that_was_overtaken_is_told_from_one_of_a_new_start() {
        let order = |instance, sequence| Order { instance, sequence };
        assert!(order(7, 2).is_older_than(order(7, 3)));
        assert!(!order(7, 3).is_older_than(order(7, 2)) && !order(8, 0).is_older_than(order(7, 3)));
        // Nodes from before there was an order send zeros.
        assert!(!order(0, 0).is_older_than(order(0, 0)));
    }

    #[tokio::test]
    async fn a_hello_arrives_as_it_was_sent() {
        let mut bytes = Vec::new();
        send(&mut bytes, &hello()).await.expect("a vector takes everything");
        assert_eq!(receive(bytes.as_slice()).await.expect("well formed"), hello());
    }

    #[test]
    fn a_damaged_hello_is_an_error_or_another_one_and_never_a_panic() {
        frames::harm::is_withstood([encode(&hello())], decode);
    }

    #[test]
    fn names_of_strangers_are_made_presentable() {
        let eve = Hello { name: "\u{1b}[31m Eve\n".to_owned(), agent: "x".repeat(1000), ..hello() };
        let heard = decode(frames::harm::message(&encode(&eve))).expect("well formed");
        assert_eq!((heard.name.as_str(), heard.agent.len()), ("[31m Eve", MAX_AGENT_CHARS));
    }
}
