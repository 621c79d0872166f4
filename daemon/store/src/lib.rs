//! What a node remembers: contacts, messages, calls, in SQLite.
#![allow(clippy::todo, unused_variables, dead_code)]

mod database;
mod error;
mod store;
mod types;

pub use database::Database;
pub use error::{Result, StoreError};
pub use store::Store;
pub use types::{
    Body, CallRecord, ContactRow, Entry, Heard, HoldLimits, Place, Refusal, Repair, Sealed, StoreGroupChange,
};
