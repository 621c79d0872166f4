//! What a node remembers: contacts, messages, calls, files (not their bytes), in SQLite. Only this crate names it.
//!
//! `Database` is for everybody: `write` and `read` take a piece of work to the thread that has the file open, as a `Store`. A `write` has
//! returned when its work is on the disk, all of it or none. `changes` tells how far the counter is: every change of a message or a
//! conversation raises it, so that a client which knows the last cursor it saw can ask for everything after that. `call_changes` tells
//! that calls have come into the log or gone from it.
//!
//! A message's place in its conversation is the counter's value when it came: `position` rises by arrival and is never used again. What the
//! two sides of a link have of one another is in marks: an author numbers its entries in each place from 1 without gaps, `hear` takes
//! the next one only, and what was stored is acknowledged by one number.

mod calls;
mod contacts;
mod conversation;
mod copies;
mod database;
mod erase;
mod error;
mod files;
#[doc(hidden)]
pub mod fill;
mod group;
mod hear;
mod held;
mod history;
mod marks;
mod meet;
mod moved;
mod repair;
mod say;
mod schema;
mod shares;
mod store;
mod transfers;
mod types;

pub use calls::{MAX_CALLS, MAX_CALLS_OF_ONE};
pub use copies::{KeptRow, PartRow};
pub use database::Database;
pub use error::{Result, StoreError};
pub use shares::{CopyRow, Holding, PieceRow, ShareRow, ShareWord, Told};
pub use store::Store;
pub use transfers::{OfferRow, Phase, TransferRow};
pub use types::{
    Body, CallsWanted, ContactRow, Entry, GroupPeer, GroupRow, Heard, HoldLimits, Place, Refusal, Repair, Sealed,
    Standing, StoreGroupChange,
};
