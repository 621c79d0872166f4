//! The nouns: what each command asks of the daemon and how it shows the answer.

pub mod call;
pub mod calls;
pub mod chat;
pub mod contacts;
pub mod diag;
pub mod files;
pub mod id;
pub mod ip;
pub mod peers;
pub mod service;
pub mod services;
pub mod status;
pub mod test_call;

use std::path::Path;

use kith_common::client::Client;

use crate::stop::{Exit, Stop};

/// The daemon on that socket, or exit code 3 with how to start one.
pub async fn connect(socket: &Path) -> Result<Client, Stop> {
    Client::connect(socket).await.map_err(|failure| {
        let stop = Stop::from(failure);
        if stop.exit != Exit::NoDaemon {
            return stop;
        }
        stop.advise("Start one with `kithd`, or name its socket with --socket.")
    })
}
