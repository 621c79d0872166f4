//! A daemon that serves one rehearsed call and has no peers: for tests, and for measuring the hop to a client.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use tokio::sync::watch;

use super::{Daemon, RpcThread, spawn};
use crate::calls::rehearsal::Rehearsal;
use crate::diagnostics::{Diagnostics, DiagnosticsConfig};
use crate::media::{Media, MediaConfig};
use crate::net::{Net, NetConfig, SecretKey};
use crate::services::{Services, Settings};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Serves on `socket` until the thread is dropped.
pub async fn serve(socket: &Path) -> anyhow::Result<(RpcThread, Rehearsal)> {
    let media = MediaConfig { bind: Some(LOOPBACK), video_port: 0, audio_port: 0, ..MediaConfig::default() };
    let data = socket.parent().unwrap_or(socket);
    let (offers, offered) = watch::channel(Vec::new());
    let config = NetConfig { name: "rehearsal".to_owned(), offered, ..NetConfig::local(SecretKey::generate()) };
    let (net, _) = Net::start(config).await?;
    let (calls, rehearsal) = Rehearsal::start();
    let media = Media::start(media).await;
    let services = Services::start(net.clone(), media.clone(), Settings::load(data), offers);
    let config = DiagnosticsConfig { bind: Some(LOOPBACK), ..DiagnosticsConfig::default() };
    let diagnostics = Diagnostics::start(config, net.clone(), media, calls.clone(), None);
    let daemon = Daemon { net, calls, services, diagnostics, started: Instant::now() };
    Ok((spawn(UnixListener::bind(socket)?, daemon)?, rehearsal))
}
