//! The Kith daemon. Floors, each using only those below: `rpc` / `diagnostics` / `calls`, `chat`, `files` and `services` / `contacts`
//! and `media` / `net`, `kith-store`, `kith-content` and `kith-core`.

pub mod backup;
pub mod calls;
pub mod chat;
pub mod config;
pub mod contacts;
pub mod data_dir;
pub mod diagnostics;
pub mod files;
pub mod log;
pub mod media;
pub mod net;
pub mod node;
pub mod rpc;
pub mod services;
pub mod socket;
pub mod supervisor;
