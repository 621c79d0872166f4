//! Streams of files: over a connection that carries much, and with the way that it takes, since a relay is to be spared.

use kith_common::failure::Failure;
use kith_common::ids::PeerId as KithId;
use kith_common::node::Path;

use super::{Net, Stream};

/// A stream of files, which either side has opened.
pub struct FilesStream {
    pub peer: KithId,
    pub stream: Stream,
    /// The way of the connection that this very stream is on, for as long as the stream lives.
    pub path: Path,
}

impl Net {
    /// A new stream of files to a connected peer: by a direct connection if there is one, over TCP if that is there or can
    /// be made within a second (it carries half as much again as QUIC), and only else through a relay. To be connected:
    /// [`Net::connect`], with `Target::Ticket` of a file's ticket, or `Target::Peer` of who was found to have it.
    pub async fn open_files(&self, peer: KithId) -> Result<FilesStream, Failure> {
        todo!()
    }
}
