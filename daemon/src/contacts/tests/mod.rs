//! Contacts of nodes whose network is in memory, and two on loopback.

mod fakes;
mod loopback;
mod whole;

pub use fakes::{contact, row};
