//! The decisions of a Kith daemon, without I/O: no sockets, no async, no clock. Time is an argument (`handle_*(.., now)`),
//! what to do next is asked for (`poll_*`), and when to ask again is told (`poll_timeout`). So every rule can be tested
//! in virtual time over an emulated link.

pub mod call;
pub mod chat;
pub mod clock_offset;
pub mod hold;
pub mod jitter;
pub mod keyframe;
pub mod ladder;
pub mod link;
pub mod listener;
pub mod pace;
pub mod probe;
pub mod rate;
pub mod reach;
pub mod stats;
pub mod sync;
pub mod transfer;
