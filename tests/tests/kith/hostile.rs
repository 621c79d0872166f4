//! Bad input from outside: silence or a typed error, a running call goes on, memory stays bounded.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kith_tests::{Daemon, proc};

use crate::calls::{SOON, call, ended, stage, stat};

const TEST: [&str; 4] = ["--video", "test", "--audio", "test"];

fn noise(seed: &mut u64) -> u8 {
    // xorshift64 (Marsaglia 2003): repeatable junk.
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    seed.to_le_bytes()[3]
}

#[test]
fn five_thousand_junk_datagrams_a_second_do_not_disturb_a_call() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let status = ben.ask(&["status"])?;
    let port = status["services"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["name"] == "video")?["port"].as_u64())
        .context("the video service has a port")?;
    let (mut caller, _callee) = call(&ada, &ben, &[&TEST[..], &["--for", "6"]].concat(), &TEST)?;
    stage(&mut caller, "active")?;
    let before = proc::resident_mb(ben.id())?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", u16::try_from(port)?))?;
    let mut seed = 42;
    let started = Instant::now();
    let mut sent = 0_u32;
    while started.elapsed() < Duration::from_secs(4) {
        if f64::from(sent) < started.elapsed().as_secs_f64() * 5000.0 {
            let length = usize::from(noise(&mut seed)) * 4 + 1;
            let mut junk: Vec<u8> = (0..length).map(|_| noise(&mut seed)).collect();
            // Every kind that a media socket tells apart by its first byte: STUN, DTLS, RTP, nothing.
            junk[0] = [0, 22, 128, 255][sent as usize % 4];
            let _ = socket.send(&junk);
            sent += 1;
        } else {
            std::thread::yield_now();
        }
    }
    let end = ended(&mut caller)?;
    assert_eq!(end["reason"], "local", "{end}");
    assert!(stat(&end, "video_received")? > 90.0, "{end}");
    let after = proc::resident_mb(ben.id())?;
    assert!(after - before < 40.0, "{before:.0} MB before {sent} datagrams, {after:.0} MB after");
    Ok(())
}

#[test]
fn garbage_and_huge_announcements_on_the_rpc_socket_cost_no_memory_and_stop_nobody() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    ada.ask(&["status"])?;
    let before = proc::resident_mb(ada.id())?;
    let mut kept = Vec::new();
    for _ in 0..100 {
        // One segment of 64 MiB less a word, and nothing more.
        if let Ok(mut stream) = UnixStream::connect(&ada.socket) {
            let _ = stream.write_all(&[0, 0, 0, 0, 0xff, 0xff, 0x7f, 0]);
            kept.push(stream);
        }
    }
    let mut seed = 7;
    for length in [1, 7, 8, 9, 100, 5000, 100_000] {
        if let Ok(mut stream) = UnixStream::connect(&ada.socket) {
            let junk: Vec<u8> = (0..length).map(|_| noise(&mut seed)).collect();
            let _ = stream.write_all(&junk);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 64]);
        }
    }
    let after = proc::resident_mb(ada.id())?;
    assert!(after - before < 40.0, "{before:.0} MB before, {after:.0} MB after");
    drop(kept);
    assert_eq!(ada.ask(&["id"])?["peer_id"], ada.peer.as_str());
    Ok(())
}

#[test]
fn a_client_that_stops_reading_harms_nobody() -> Result<()> {
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let mut stuck = ada.spawn(&["call", &echo.ticket()?, "--video", "test", "--audio", "test"])?;
    stage(&mut stuck, "active")?;
    stuck.signal(rustix::process::Signal::STOP)?;
    let before = proc::resident_mb(ada.id())?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        assert_eq!(ada.ask(&["calls"])?["state"], "active");
    }
    let after = proc::resident_mb(ada.id())?;
    assert!(after - before < 30.0, "{before:.0} MB before, {after:.0} MB after");
    assert_eq!(ada.ctl(&["hangup"])?.0, 0);
    stuck.signal(rustix::process::Signal::CONT)?;
    ended(&mut stuck)?;
    Ok(())
}

#[test]
fn a_peer_that_calls_again_and_again_is_answered_and_does_not_grow_the_node() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let ticket = ben.ticket()?;
    let before = proc::resident_mb(ben.id())?;
    for _ in 0..15 {
        let mut caller = ada.spawn(&["call", &ticket, "--video", "none", "--audio", "none"])?;
        // After a while the node says busy by itself.
        let over = caller.wait_for("any sign", SOON, |line| {
            let ended = line.contains("\"ended\"");
            (ended || line.contains("\"ring\"")).then_some(ended)
        })?;
        if over {
            continue;
        }
        caller.signal(rustix::process::Signal::INT)?;
        ended(&mut caller)?;
    }
    let after = proc::resident_mb(ben.id())?;
    assert!(after - before < 20.0, "{before:.0} MB before, {after:.0} MB after");
    assert_eq!(ben.ask(&["id"])?["peer_id"], ben.peer.as_str());
    Ok(())
}
