//! The services of a node on loopback.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use kith_common::failure::FailureKind;
use kith_common::node::{ServiceInfo, ServiceState};
use kith_core::listener::Begin;
use tokio::sync::watch;

use super::{Carried, Services, Settings};
use crate::media::{Media, MediaConfig};
use crate::net::{Net, NetConfig, SecretKey};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    services: Services,
    chat: watch::Receiver<Begin>,
    files: watch::Receiver<Begin>,
    offered: watch::Receiver<Vec<String>>,
    net: Net,
}

async fn start(data: &Path, video_port: u16) -> Rig {
    let mut settings = Settings::load(data);
    let mut wanted = |name, port| settings.wanted(name, port, &BTreeSet::new());
    let (node, video, audio) = (wanted("node", 0), wanted("video", video_port), wanted("audio", 0));
    let media = Media::start(MediaConfig {
        bind: Some(LOOPBACK),
        video_port: video.port,
        audio_port: audio.port,
        video: video.begin,
        audio: audio.begin,
        ..MediaConfig::default()
    })
    .await;
    let (offers, offered) = watch::channel(Vec::new());
    let config = NetConfig {
        port: node.port,
        begin: node.begin,
        media_ports: media.ports(),
        offered: offered.clone(),
        ..NetConfig::local(SecretKey::generate())
    };
    let (net, _) = Net::start(config).await.expect("a network on loopback starts");
    let mut switch = |name| watch::channel(settings.wanted(name, 0, &BTreeSet::new()).begin);
    let ((chat_switch, chat), (files_switch, files)) = (switch("chat"), switch("files"));
    let carried = Carried { chat: chat_switch, files: files_switch };
    Rig { services: Services::start(net.clone(), media, settings, offers, carried), chat, files, offered, net }
}

impl Rig {
    fn row(&self, name: &str) -> ServiceInfo {
        self.services.rows().borrow().iter().find(|row| row.name == name).expect("it has a row").clone()
    }

    async fn until(&self, name: &str, wanted: impl Fn(&ServiceInfo) -> bool) -> ServiceInfo {
        let mut rows = self.services.rows();
        let found = rows.wait_for(|rows| rows.iter().any(|row| row.name == name && wanted(row)));
        tokio::time::timeout(DEADLINE, found).await.expect("it comes to that").expect("the services go on");
        self.row(name)
    }
}

#[tokio::test]
async fn each_service_has_a_row_and_is_stopped_started_and_moved_alone_and_for_good() {
    let data = tempfile::tempdir().expect("a folder");
    let rig = start(data.path(), 0).await;
    let names: Vec<String> = rig.services.rows().borrow().iter().map(|row| row.name.clone()).collect();
    assert_eq!(names, ["node", "video", "audio", "chat", "files", "broadcast"]);
    assert_eq!(*rig.offered.borrow(), ["video", "audio", "chat", "files"]);
    let before = (rig.row("node"), rig.row("video"));
    let stopped = rig.services.stop_service("audio").await.expect("it can be stopped");
    assert_eq!((stopped.state, stopped.port), (ServiceState::Stopped, 0));
    rig.until("audio", |row| row.state == ServiceState::Stopped).await;
    assert_eq!((rig.row("node"), rig.row("video")), before, "the others are left alone");
    assert_eq!(*rig.offered.borrow(), ["video", "chat", "files"]);
    let free = UdpSocket::bind((LOOPBACK, 0)).and_then(|socket| socket.local_addr()).expect("a free port").port();
    let moved = rig.services.set_port("video", free).await.expect("it can be moved");
    assert_eq!((moved.state, moved.port, moved.wanted_port), (ServiceState::Listening, free, free));
    rig.net.shutdown().await;
    drop(rig);
    let again = start(data.path(), 0).await;
    assert_eq!(again.row("audio").state, ServiceState::Stopped);
    let video = again.until("video", |row| row.state == ServiceState::Listening).await;
    assert_eq!(video.port, free);
    let started = again.services.start_service("audio").await.expect("it can be started");
    assert_eq!(started.state, ServiceState::Listening);
}

#[tokio::test]
async fn a_row_that_waits_counts_down_to_its_next_try() {
    let data = tempfile::tempdir().expect("a folder");
    let holder = UdpSocket::bind((LOOPBACK, 0)).expect("a free port");
    let port = holder.local_addr().expect("bound").port();
    let rig = start(data.path(), port).await;
    let failed = rig.row("video");
    assert_eq!((failed.state, failed.wanted_port), (ServiceState::Failed, port));
    assert!(failed.error.contains(&port.to_string()) && failed.suggestion.contains("kithctl services port video"));
    rig.until("video", |row| row.next_try_s == 2).await;
    rig.until("video", |row| row.next_try_s == 1).await;
    assert_eq!(rig.row("video").since_unix_ms, failed.since_unix_ms, "it has been failed since");
    drop(holder);
    let row = rig.until("video", |row| row.state == ServiceState::Listening).await;
    assert_eq!((row.port, row.next_try_s, row.error.as_str()), (port, 0, ""));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let data = tempfile::tempdir().expect("a folder");
    let services = start(data.path(), 0).await.services;
    let unknown = services.stop_service("telegraph").await.expect_err("no such service");
    assert_eq!(unknown.kind, FailureKind::InvalidArgument);
    assert!(unknown.advice.contains("node, video, audio"), "{unknown:?}");
    let absent = services.start_service("broadcast").await.expect_err("not built yet");
    assert_eq!(absent.kind, FailureKind::Unsupported);
    let no_port = services.set_port("broadcast", 1).await.expect_err("no port of its own");
    assert_eq!(no_port.kind, FailureKind::InvalidArgument);
}

#[tokio::test]
async fn chat_and_files_are_stopped_and_started_without_a_port_and_stay_so() {
    let data = tempfile::tempdir().expect("a folder");
    let rig = start(data.path(), 0).await;
    let row = rig.row("chat");
    assert_eq!((row.state, row.port, row.wanted_port), (ServiceState::Listening, 0, 0));
    let stopped = rig.services.stop_service("chat").await.expect("it can be stopped");
    assert_eq!((stopped.state, *rig.chat.borrow()), (ServiceState::Stopped, Begin::Stopped));
    rig.until("chat", |row| row.state == ServiceState::Stopped).await;
    assert_eq!(*rig.offered.borrow(), ["video", "audio", "files"]);
    assert_eq!((rig.row("files").state, *rig.files.borrow()), (ServiceState::Listening, Begin::Running));
    rig.services.stop_service("files").await.expect("it can be stopped");
    rig.until("files", |row| row.state == ServiceState::Stopped).await;
    assert_eq!((rig.offered.borrow().len(), *rig.files.borrow()), (2, Begin::Stopped));
    let no_port = rig.services.set_port("chat", 1).await.expect_err("no port of its own");
    assert_eq!(no_port.kind, FailureKind::InvalidArgument);
    rig.net.shutdown().await;
    drop(rig);
    let again = start(data.path(), 0).await;
    for (name, begin) in [("chat", &again.chat), ("files", &again.files)] {
        assert_eq!((again.row(name).state, *begin.borrow()), (ServiceState::Stopped, Begin::Stopped));
        let started = again.services.start_service(name).await.expect("it can be started");
        assert_eq!((started.state, *begin.borrow()), (ServiceState::Listening, Begin::Running));
    }
}
