//! Cap'n Proto RPC over a Unix socket with every buffer bounded; daemon and client use the same.
//!
//! Stock capnp-rpc allocates what an 8-byte header announces and queues without limit what a peer does not read. Here
//! receive buffers grow only as bytes arrive, a peer that does not read gets no more requests served and is in the end
//! disconnected, and what a peer can leave unfinished is counted. Nothing in here knows what is said over it.

mod network;
mod outgoing;
mod pump;
mod receive;

use std::rc::Rc;

use capnp_rpc::RpcSystem;
pub use capnp_rpc::rpc_twoparty_capnp::Side;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

pub use network::Network;
pub use pump::pump;
pub use receive::Pool;

/// The largest message, in bytes. A 1080p picture takes 3.1 MB of it.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Messages from capnp have one to a few segments; more only makes us work.
pub const MAX_SEGMENTS: usize = 64;

/// What one connection may make this process hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub message_bytes: usize,
    /// With more than this waiting to be written, nothing more is read.
    pub high_water_bytes: usize,
    /// With more than this, the connection ends.
    pub hard_cap_bytes: usize,
    /// Received messages that are still being worked on; beyond these, nothing more is read.
    pub unfinished_messages: usize,
    pub unfinished_bytes: usize,
    /// Answers that the peer has not confirmed; with more, the connection ends.
    pub unconfirmed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MAX_MESSAGE_BYTES,
            // Two of the largest messages: enough to keep a socket busy.
            high_water_bytes: 2 * MAX_MESSAGE_BYTES,
            // Observers and sinks hold a few calls each; only a peer that reads nothing gets here.
            hard_cap_bytes: 8 * MAX_MESSAGE_BYTES,
            // A client has a handful of calls open; a flood waits in its own socket buffer.
            unfinished_messages: 512,
            unfinished_bytes: 4 * MAX_MESSAGE_BYTES,
            unconfirmed: 8192,
        }
    }
}

/// The RPC system of one connection, to be spawned on a `LocalSet`. It ends when the peer goes away or breaks a limit.
/// The token is cancelled as soon as the connection is lost, before the objects that the peer held are dropped.
pub fn system(
    stream: UnixStream,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    limits: Limits,
    pool: &Rc<Pool>,
) -> (RpcSystem<Side>, CancellationToken) {
    let (input, output) = stream.into_split();
    let input = tokio::io::BufReader::with_capacity(receive::READ_AHEAD_BYTES, input);
    let network = Network::new(input, output, side, limits, Rc::clone(pool));
    let lost = network.lost();
    (RpcSystem::new(Box::new(network), bootstrap), lost)
}
