//! Pieces of screens that know nothing of calls or daemons.

pub mod avatar;
pub mod chart;
pub mod parts;
pub mod rows;
pub mod timeline;
pub mod video;
