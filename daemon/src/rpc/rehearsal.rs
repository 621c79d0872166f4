//! A daemon that serves one rehearsed call and has no peers: for tests, and for measuring the hop to a client.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use kith_core::listener::Begin;
use kith_store::Database;
use tokio::sync::watch;

use super::{Daemon, RpcThread, spawn};
use crate::calls::CallLog;
use crate::calls::rehearsal::Rehearsal;
use crate::chat::{Chat, ChatParts};
use crate::contacts::Contacts;
use crate::diagnostics::{Diagnostics, DiagnosticsConfig};
use crate::files::{Files, FilesParts};
use crate::media::{Media, MediaConfig};
use crate::net::{Net, NetConfig, SecretKey};
use crate::services::{Carried, Services, Settings};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Serves on `socket` until the thread is dropped.
pub async fn serve(socket: &Path) -> anyhow::Result<(RpcThread, Rehearsal)> {
    let (thread, call, _) = serve_with_memory(socket).await?;
    Ok((thread, call))
}

/// The same, with what the daemon remembers: tests say there what peers have said.
pub async fn serve_with_memory(socket: &Path) -> anyhow::Result<(RpcThread, Rehearsal, Database)> {
    let media = MediaConfig { bind: Some(LOOPBACK), video_port: 0, audio_port: 0, ..MediaConfig::default() };
    let data = socket.parent().unwrap_or(socket);
    let (offers, offered) = watch::channel(Vec::new());
    let config = NetConfig { name: "rehearsal".to_owned(), offered, ..NetConfig::local(SecretKey::generate()) };
    let (net, _) = Net::start(config).await?;
    let database = Database::in_memory(net.peer_id()).await;
    let contacts = Contacts::start(net.clone(), None, database.clone(), watch::channel(false).1, None).await?;
    let (calls, rehearsal) = Rehearsal::start(CallLog::new(database.clone(), contacts.people()));
    let media = Media::start(media).await;
    let carried = Carried { chat: watch::channel(Begin::Running).0, files: watch::channel(Begin::Running).0 };
    let services = Services::start(net.clone(), media.clone(), Settings::load(data), offers, carried);
    let config = DiagnosticsConfig { bind: Some(LOOPBACK), ..DiagnosticsConfig::default() };
    let diagnostics = Diagnostics::start(config, net.clone(), media, calls.clone(), None);
    let chat = Chat::start(
        net.clone(),
        ChatParts {
            db: database.clone(),
            people: contacts.people(),
            incoming: None,
            service: watch::channel(Begin::Running).1,
            sealer: None,
        },
    );
    let files = Files::start(
        net.clone(),
        FilesParts {
            db: database.clone(),
            people: contacts.people(),
            incoming: None,
            service: watch::channel(Begin::Running).1,
            in_call: watch::channel(false).1,
            data_dir: data.join("data"),
            downloads: Some(data.join("downloads")),
            downloads_fixed: true,
        },
    )
    .await?;
    let daemon = Daemon { net, calls, contacts, chat, files, services, diagnostics, started: Instant::now() };
    Ok((spawn(UnixListener::bind(socket)?, daemon)?, rehearsal, database))
}
