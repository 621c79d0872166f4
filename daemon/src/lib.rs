//! The Kith daemon. Floors, each using only those below: `rpc` / `diagnostics` / `calls` and `services` / `media` / `net`
//! and `kith-core`.

pub mod calls;
pub mod config;
pub mod data_dir;
pub mod diagnostics;
pub mod log;
pub mod media;
pub mod net;
pub mod node;
pub mod rpc;
pub mod services;
pub mod socket;
pub mod supervisor;
