//! What the daemon and its clients share: ids and units, domain types, tickets, media values, the compiled schema and
//! the typed RPC client. Knows nothing of libp2p, codecs or windows.

pub mod call;
pub mod chat;
pub mod client;
pub mod clip;
pub mod clock;
pub mod contact;
pub mod convert;
pub mod diagnostics;
pub mod failure;
pub mod file;
mod hex;
pub mod ids;
pub mod log;
pub mod media;
pub mod node;
pub mod paths;
pub mod rpc;
pub mod size;
pub mod slot;
pub mod target;
pub mod testsource;
pub mod text;
pub mod ticket;

/// Generated from `schema/*.capnp`; see `schema/README.md`.
#[allow(clippy::all, clippy::unwrap_used, clippy::unimplemented, unused_qualifications, missing_docs)]
mod generated {
    pub mod call_capnp {
        include!(concat!(env!("OUT_DIR"), "/call_capnp.rs"));
    }
    pub mod chat_capnp {
        include!(concat!(env!("OUT_DIR"), "/chat_capnp.rs"));
    }
    pub mod contact_capnp {
        include!(concat!(env!("OUT_DIR"), "/contact_capnp.rs"));
    }
    pub mod diagnostics_capnp {
        include!(concat!(env!("OUT_DIR"), "/diagnostics_capnp.rs"));
    }
    pub mod file_capnp {
        include!(concat!(env!("OUT_DIR"), "/file_capnp.rs"));
    }
    pub mod kith_capnp {
        include!(concat!(env!("OUT_DIR"), "/kith_capnp.rs"));
    }
    pub mod media_capnp {
        include!(concat!(env!("OUT_DIR"), "/media_capnp.rs"));
    }
    pub mod peer_capnp {
        include!(concat!(env!("OUT_DIR"), "/peer_capnp.rs"));
    }
    pub mod service_capnp {
        include!(concat!(env!("OUT_DIR"), "/service_capnp.rs"));
    }
    pub mod types_capnp {
        include!(concat!(env!("OUT_DIR"), "/types_capnp.rs"));
    }
    pub mod wire_capnp {
        include!(concat!(env!("OUT_DIR"), "/wire_capnp.rs"));
    }
}
// The generated code names its siblings by `crate::name_capnp`.
pub use generated::{
    call_capnp, chat_capnp, contact_capnp, diagnostics_capnp, file_capnp, kith_capnp, media_capnp, peer_capnp,
    service_capnp, types_capnp, wire_capnp,
};
