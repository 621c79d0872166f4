//! Files by content: shares what a user names, fetches what others share, and keeps sealed copies for contacts.
//!
//! What is right is decided by `kith_content` (every byte is verified before it is kept), what to ask of whom by
//! [`kith_core::transfer`], who gets what by [`library`]. One task here owns the transfers and what there is to say to
//! others; each transfer has a task of its own (`fetch`) with a stream to each peer that has the content, and each stream
//! that a peer opens is served by itself (`serve`). Whoever wants something opens a stream and asks; the other side
//! answers. Used by `rpc` and `node`. It never decides who is a contact (that is `contacts`), and never touches libp2p
//! (that is `net`) or the layout of bytes on the disk.

mod adding;
mod buffers;
mod check;
mod clients;
mod errands;
mod fetch;
mod handle;
mod keeper;
mod library;
mod pipe;
mod ports;
pub mod rehearsal;
mod serve;
mod settings;
mod source;
mod talk;
mod task;
mod tidy;
mod transfers;
mod uploads;
mod wanted;
mod wire;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use kith_common::contact::People;
use kith_core::listener::Begin;
use kith_store::Database;
use tokio::sync::{mpsc, watch};

use crate::net::FilesStream;

pub use handle::{Files, Reading, Receiving};

/// Files in a folder of which a sealed copy is kept, its list among them: each is asked for by itself.
const MAX_COPY_PARTS: u32 = 10_000;

/// What files are started with, beside the network.
pub struct FilesParts {
    pub db: Database,
    /// Who is a contact, and by which name.
    pub people: watch::Receiver<Arc<People>>,
    /// Streams that peers open; `None`: no peer does.
    pub incoming: Option<mpsc::Receiver<FilesStream>>,
    /// Whether the service runs. While it does not, nobody is served and nothing is offered; own transfers go on.
    pub service: watch::Receiver<Begin>,
    /// Whether this node is in a call: transfers then keep out of its way.
    pub in_call: watch::Receiver<bool>,
    pub data_dir: PathBuf,
    /// Where files are saved until a user chooses another folder; `None`: the user's Downloads.
    pub downloads: Option<PathBuf>,
    /// It was named for this start, and stands before what a user chose earlier.
    pub downloads_fixed: bool,
}
