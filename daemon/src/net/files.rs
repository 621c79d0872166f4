//! Streams of files: over a connection that carries much, and with the way that it takes, since a relay is to be spared.

use std::time::Duration;

use kith_common::failure::Failure;
use kith_common::ids::PeerId as KithId;
use kith_common::node::Path;

use super::streams::Protocol;
use super::task::Command;
use super::{Net, Stream};

/// How long a stream of files waits for a direct connection over TCP: it carries half as much again as QUIC, which pays
/// from the first hundred megabytes on.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Several transfers of a peer go on at once, and something is said about others: so many times the streams of other kinds.
pub(super) const STREAMS_FACTOR: usize = 4;

/// A stream of files, which either side has opened.
pub struct FilesStream {
    pub peer: KithId,
    pub stream: Stream,
    /// The way of the connection that this very stream is on, for as long as the stream lives.
    pub path: Path,
}

impl Net {
    /// A new stream of files to a connected peer: by a direct connection if there is one, over TCP if that is there or can
    /// be made within a second, and only else through a relay. To be connected: [`Net::connect`], with the target of a
    /// ticket, or the peer id of who was found to have it.
    pub async fn open_files(&self, peer: KithId) -> Result<FilesStream, Failure> {
        let opening = self.ask(|reply| Command::Open { peer, protocol: Protocol::Files, reply }).await?;
        let path = opening.path;
        let stream = super::opened(opening, peer, "exchange files with").await?;
        Ok(FilesStream { peer, stream, path })
    }
}
