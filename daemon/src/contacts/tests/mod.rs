//! Contacts of nodes whose network is in memory, and two on loopback.

mod fakes;
mod whole;

pub use fakes::{contact, row};
