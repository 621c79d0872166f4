//! Files: how fast they are shared and fetched, from one and from many, over long and narrow lines, and what they cost.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kith_tests::forwarder::{Forwarder, Stretch};
use kith_tests::people::two_friends;
use kith_tests::{Daemon, Lines, have, proc, program};
use serde_json::Value;
use tempfile::TempDir;

use crate::figure::{Figure, percentile};
use crate::small::printed;

const MB: f64 = 1e6;
const MIB: u64 = 1024 * 1024;
/// Any single transfer here.
const LONG: Duration = Duration::from_secs(300);

/// Bytes that no two files have in common, quickly; on the disk, so that its writing does not go on beside what is measured.
fn fill(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = vec![0; MIB as usize];
    for word in block.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        block[..8].copy_from_slice(&(left ^ seed).to_le_bytes());
        let count = left.min(MIB);
        file.write_all(&block[..count as usize])?;
        left -= count;
    }
    Ok(file.sync_all()?)
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("temporary folders have names of text")
}

fn add(daemon: &Daemon, path: &Path) -> Result<Value> {
    last(daemon, &["files", "add", path_text(path)?])
}

/// The last line of a command that may take long and must succeed.
fn last(daemon: &Daemon, arguments: &[&str]) -> Result<Value> {
    let (code, mut lines) = daemon.spawn(arguments)?.finish(LONG)?;
    ensure!(code == 0, "kithctl {arguments:?} ended with {code}");
    lines.pop().with_context(|| format!("kithctl {arguments:?} printed nothing"))
}

/// Fetches, and returns MB a second; what was saved is removed, or the disk would fill.
fn get(daemon: &Daemon, ticket: &str, to: &Path) -> Result<(f64, Value)> {
    let done = last(daemon, &["files", "get", ticket, "--to", path_text(to)?])?;
    let (bytes, seconds) = (done["size"].as_f64().context("a size")?, done["seconds"].as_f64().context("seconds")?);
    std::fs::remove_file(saved(&done)?)?;
    Ok((bytes / MB / seconds.max(1e-9), done))
}

/// Where a transfer that is done was saved.
fn saved(done: &Value) -> Result<PathBuf> {
    let saved = PathBuf::from(done["path"].as_str().context("a path")?);
    ensure!(saved.is_file(), "{} is not there", saved.display());
    Ok(saved)
}

fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 0.5)
}

fn ticket(share: &Value) -> Result<String> {
    Ok(share["ticket"].as_str().context("a share has a ticket")?.to_owned())
}

/// Two that are contacts, and a folder.
fn pair() -> Result<(Daemon, Daemon, TempDir)> {
    let (ada, ben) = two_friends()?;
    Ok((ada, ben, tempfile::Builder::new().prefix("kith-files-").tempdir_in(room()?)?))
}

/// Where gigabytes fit: `KITH_BENCH_DIR`, or the folder for temporary files.
fn room() -> Result<PathBuf> {
    let dir = std::env::var_os("KITH_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    ensure!(dir.is_dir(), "KITH_BENCH_DIR is no folder");
    Ok(dir)
}

pub fn adding() -> Result<Vec<Figure>> {
    const BYTES: u64 = 2 * 1024 * MIB;
    let (ada, _ben, dir) = pair()?;
    let path = dir.path().join("large.bin");
    fill(&path, BYTES, 1)?;
    // Into the page cache, and out of the account of the first run.
    std::io::copy(&mut File::open(&path)?, &mut std::io::sink())?;
    let mut rates = Vec::new();
    let mut cpu = Vec::new();
    for _ in 0..3 {
        let (before, begun) = (proc::cpu_seconds(ada.id())?, Instant::now());
        let share = add(&ada, &path)?;
        rates.push(BYTES as f64 / MB / begun.elapsed().as_secs_f64());
        cpu.push(BYTES as f64 / MB / (proc::cpu_seconds(ada.id())? - before).max(1e-3));
        last(&ada, &["files", "remove", share["hash"].as_str().context("a hash")?])?;
    }
    Ok(vec![
        Figure::new("2 GiB from the page cache, by the clock (with kithctl's start)", median(rates), "MB/s"),
        Figure::new("for each second of CPU", median(cpu), "MB/s").at_least(2500.0),
    ])
}

/// The same bytes by Kith, by a plain copy over the same stream, and by the programs that people use, one after the other.
pub fn fetching() -> Result<Vec<Figure>> {
    const BYTES: u64 = 1024 * MIB;
    const RUNS: u64 = 7;
    let (ada, ben, dir) = pair()?;
    let to = dir.path().join("to");
    std::fs::create_dir(&to)?;
    let (mut kith, mut plain) = (Vec::new(), Vec::new());
    let mut others = Others::start(dir.path())?;
    for run in 0..RUNS {
        let path = dir.path().join(format!("file-{run}.bin"));
        fill(&path, BYTES, 10 + run)?;
        let share = add(&ada, &path)?;
        // By turns first and second: memory and disk serve whoever comes second better, or worse.
        for turn in [run % 2, 1 - run % 2] {
            if turn == 0 {
                kith.push(get(&ben, &ticket(&share)?, &to)?.0);
            } else {
                let copied = printed("kith-files-bench", &[path_text(&path)?, path_text(&to.join("plain.bin"))?])?;
                plain.push(copied["mb_per_s"].as_f64().with_context(|| format!("no mb_per_s in {copied}"))?);
            }
        }
        others.fetch(&path, &to)?;
        last(&ada, &["files", "remove", share["hash"].as_str().context("a hash")?])?;
        std::fs::remove_file(path)?;
    }
    let (kith, plain) = (median(kith), median(plain));
    let mut figures = vec![
        Figure::new("1 GiB verified to disk, median of seven", kith, "MB/s"),
        Figure::new("plain copy to disk over the same kind of stream", plain, "MB/s"),
        Figure::new("verified / plain", kith / plain, "").at_least(0.85),
    ];
    figures.extend(others.figures(kith));
    Ok(figures)
}

/// Programs that do a part of the same, as far as they are installed.
struct Others {
    nginx: Option<(Child, u16)>,
    rsync: Option<(Child, u16)>,
    sendme: bool,
    rates: Vec<(&'static str, Vec<f64>)>,
}

impl Others {
    fn start(folder: &Path) -> Result<Self> {
        let nginx = if have("nginx") && have("curl") { Some(nginx(folder)?) } else { None };
        let rsync = if have("rsync") { Some(rsync(folder)?) } else { None };
        let rates = ["nginx + curl", "rsync --whole-file", "sendme"].map(|name| (name, Vec::new())).to_vec();
        Ok(Self { nginx, rsync, sendme: have("sendme"), rates })
    }

    fn fetch(&mut self, path: &Path, to: &Path) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        let (bytes, target) = (path.metadata()?.len() as f64, to.join("other.bin"));
        if let Some((_, port)) = &self.nginx {
            let url = format!("http://127.0.0.1:{port}/{name}");
            let took = timed(Command::new("curl").args(["-sSf", "-o", path_text(&target)?, &url]))?;
            self.rates[0].1.push(bytes / MB / took);
            std::fs::remove_file(&target)?;
        }
        if let Some((_, port)) = &self.rsync {
            let url = format!("rsync://127.0.0.1:{port}/all/{name}");
            let took = timed(Command::new("rsync").args(["--whole-file", &url, path_text(&target)?]))?;
            self.rates[1].1.push(bytes / MB / took);
            std::fs::remove_file(&target)?;
        }
        if self.sendme {
            self.rates[2].1.push(bytes / MB / sendme(path, to)?);
        }
        Ok(())
    }

    fn figures(self, kith: f64) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (name, rates) in &self.rates {
            if rates.is_empty() {
                figures.push(Figure::text(format!("the same by {name}"), "not installed"));
                continue;
            }
            let rate = median(rates.clone());
            figures.push(Figure::new(format!("the same by {name}"), rate, "MB/s"));
            if *name == "sendme" {
                figures.push(Figure::new("Kith / sendme", kith / rate, "").at_least(1.0));
            }
        }
        for (mut child, _) in [self.nginx, self.rsync].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        figures
    }
}

fn timed(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(begun.elapsed().as_secs_f64())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until something listens there.
fn listening(port: u16) -> Result<()> {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(10), "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn nginx(folder: &Path) -> Result<(Child, u16)> {
    let (port, own) = (free_port()?, folder.join("nginx"));
    std::fs::create_dir(&own)?;
    let (own, root) = (path_text(&own)?, path_text(folder)?);
    let config = format!(
        "daemon off; master_process off; pid {own}/pid; error_log stderr; {} events {{}} http {{ access_log off; sendfile on;
         client_body_temp_path {own}/b; proxy_temp_path {own}/p; fastcgi_temp_path {own}/f; uwsgi_temp_path {own}/u; scgi_temp_path {own}/s;
         server {{ listen 127.0.0.1:{port}; root {root}; }} }}",
        if rustix::process::geteuid().is_root() { "user root;" } else { "" },
    );
    let file = format!("{own}/nginx.conf");
    std::fs::write(&file, config)?;
    let child = Command::new("nginx").args(["-c", &file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    listening(port)?;
    Ok((child, port))
}

fn rsync(folder: &Path) -> Result<(Child, u16)> {
    let (port, root) = (free_port()?, path_text(folder)?);
    let ids = if rustix::process::geteuid().is_root() { "uid = root\ngid = root\n" } else { "" };
    let file = folder.join("rsyncd.conf");
    std::fs::write(
        &file,
        format!("{ids}use chroot = false\naddress = 127.0.0.1\n[all]\npath = {root}\nread only = true\n"),
    )?;
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--config", path_text(&file)?, &format!("--port={port}")]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    listening(port)?;
    Ok((child, port))
}

/// From its `receive` to its end; relays off, and what it keeps is removed.
fn sendme(path: &Path, to: &Path) -> Result<f64> {
    let mut sending = Command::new("sendme")
        .args(["send", "--relay", "disabled", path_text(path)?])
        .current_dir(path.parent().context("a folder")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut text = String::new();
    let mut stdout = sending.stdout.take().context("it was asked for")?;
    let mut byte = [0; 1];
    let ticket = loop {
        ensure!(stdout.read(&mut byte)? == 1, "sendme ended: {text}");
        text.push(char::from(byte[0]));
        if byte[0] == b'\n'
            && let Some(ticket) = text.split_whitespace().find(|word| word.starts_with("blob") && word.len() > 40)
        {
            break ticket.to_owned();
        }
    };
    let target = to.join("sendme");
    std::fs::create_dir(&target)?;
    let took = timed(Command::new("sendme").args(["receive", "--relay", "disabled", &ticket]).current_dir(&target));
    let _ = sending.kill();
    let _ = sending.wait();
    std::fs::remove_dir_all(&target)?;
    for left in std::fs::read_dir(path.parent().context("a folder")?)?.flatten() {
        if left.file_name().to_string_lossy().starts_with(".sendme-") {
            std::fs::remove_dir_all(left.path())?;
        }
    }
    took
}

/// How long the first byte takes, by files that have hardly more.
pub fn first_byte() -> Result<Vec<Figure>> {
    let (ada, ben, dir) = pair()?;
    let to = dir.path().join("to");
    std::fs::create_dir(&to)?;
    let mut times = Vec::new();
    for run in 0..30 {
        let path = dir.path().join(format!("small-{run}"));
        std::fs::write(&path, format!("content {run}"))?;
        let (_, done) = get(&ben, &ticket(&add(&ada, &path)?)?, &to)?;
        times.push(done["seconds"].as_f64().context("seconds")? * 1000.0);
    }
    Ok(vec![
        Figure::new("10 bytes, asked to saved p50", percentile(&mut times, 0.5), "ms"),
        Figure::new("10 bytes, asked to saved p95", percentile(&mut times, 0.95), "ms").at_most(15.0),
    ])
}

/// The node's TCP port.
fn tcp_port(daemon: &Daemon) -> Result<u16> {
    let rows = daemon.ctl(&["services"])?.1;
    let node = rows.iter().find(|row| row["name"] == "node").context("a node service")?;
    Ok(u16::try_from(node["port"].as_u64().context("a port")?)?)
}

/// Two that reach each other over that stretch only: each is a stranger to the other but for it.
fn over(stretch: Stretch, bytes: u64) -> Result<f64> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let dir = tempfile::Builder::new().prefix("kith-files-").tempdir_in(room()?)?;
    let line = Forwarder::start(([127, 0, 0, 1], tcp_port(&ada)?).into(), stretch)?;
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", line.address.port(), ada.peer);
    ben.ask(&["peers", "connect", &address])?;
    let path = dir.path().join("file.bin");
    fill(&path, bytes, 77)?;
    let hash = add(&ada, &path)?["hash"].as_str().context("a hash")?.to_owned();
    Ok(get(&ben, &hash, dir.path())?.0)
}

pub fn round_trip() -> Result<Vec<Figure>> {
    let rate = over(Stretch { delay: Duration::from_millis(25), bytes_per_second: 0 }, 1024 * MIB)?;
    Ok(vec![Figure::new("1 GiB over 50 ms there and back", rate, "MB/s").at_least(150.0)])
}

pub fn narrow() -> Result<Vec<Figure>> {
    const LINE: u64 = 12_500_000;
    let rate = over(Stretch { delay: Duration::from_millis(5), bytes_per_second: LINE }, 200 * MIB)?;
    Ok(vec![
        Figure::new("200 MiB over 100 Mb/s, 10 ms there and back", rate, "MB/s"),
        Figure::new("of the line", rate * MB / LINE as f64, "").at_least(0.9),
    ])
}

/// Three that send 100, 100 and 10 MB a second at most.
pub fn three() -> Result<Vec<Figure>> {
    let (ada, ben, dir) = pair()?;
    let (cem, dot) = (Daemon::start("cem", &[])?, Daemon::start("dot", &[])?);
    let path = dir.path().join("file.bin");
    fill(&path, 2048 * MIB, 5)?;
    let mut first = None;
    for (daemon, rate) in [(&ada, "100M"), (&cem, "100M"), (&dot, "10M")] {
        daemon.ask(&["files", "settings", "--upload", rate])?;
        let share = add(daemon, &path)?;
        first.get_or_insert(share["hash"].as_str().context("a hash")?.to_owned());
        ben.ask(&["peers", "connect", &daemon.ticket()?])?;
    }
    let hash = first.context("three")?;
    let (rate, done) = get(&ben, &hash, dir.path())?;
    let providers = done["providers"].as_array().map_or(0, Vec::len);
    Ok(vec![
        Figure::new("2 GiB from 100 + 100 + 10 MB/s", rate, "MB/s").at_least(189.0),
        Figure::new("providers", providers as f64, ""),
    ])
}

pub fn memory() -> Result<Vec<Figure>> {
    const BYTES: u64 = 12 << 30;
    const FILES: u32 = 100_000;
    let (ada, ben, dir) = pair()?;
    let path = dir.path().join("sparse.bin");
    let file = File::create(&path)?;
    file.set_len(BYTES)?;
    let share = add(&ada, &path)?;
    let to = dir.path().join("to");
    std::fs::create_dir(&to)?;
    let before = proc::resident_mb(ben.id())?;
    let mut peak = before;
    let mut fetch = ben.spawn(&["files", "get", &ticket(&share)?, "--to", path_text(&to)?])?;
    let begun = Instant::now();
    while !fetch.has_ended() {
        ensure!(begun.elapsed() < LONG * 2, "the file does not arrive");
        peak = peak.max(proc::resident_mb(ben.id())?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, _) = fetch.finish(LONG)?;
    ensure!(code == 0, "the file did not arrive");
    drop(ben);
    std::fs::remove_dir_all(&to)?;
    std::fs::remove_file(&path)?;
    let folder = dir.path().join("many");
    for n in 0..FILES {
        let place = folder.join(format!("{:03}", n / 500));
        if n % 500 == 0 {
            std::fs::create_dir_all(&place)?;
        }
        std::fs::write(place.join(format!("{n}.txt")), format!("file {n}"))?;
    }
    let cem = Daemon::start("cem", &[])?;
    let begun = Instant::now();
    add(&cem, &folder)?;
    Ok(vec![
        Figure::new("receiver of 12 GiB, before", before, "MB"),
        Figure::new("receiver of 12 GiB, most", peak, "MB").at_most(64.0),
        Figure::new("a folder of 100,000 files is shared after", begun.elapsed().as_secs_f64(), "s"),
        Figure::new("daemon that shares it", proc::resident_mb(cem.id())?, "MB").at_most(200.0),
    ])
}

/// Whether the two files have the same bytes.
fn same(one: &Path, other: &Path) -> Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    let mut rest = one.metadata()?.len();
    if rest != other.metadata()?.len() {
        return Ok(false);
    }
    while rest > 0 {
        let count = rest.min(MIB) as usize;
        one.read_exact(&mut left[..count])?;
        other.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        rest -= count as u64;
    }
    Ok(true)
}

/// 5 GB from three: one lies, one is ten times slower, and one is killed half way.
pub fn trouble() -> Result<Vec<Figure>> {
    const BYTES: u64 = 5_000_000_000;
    let (ben, slow) = (Daemon::start("ben", &[])?, Daemon::start("slow", &[])?);
    let mut fast = Daemon::start("fast", &[])?;
    let dir = tempfile::Builder::new().prefix("kith-files-").tempdir_in(room()?)?;
    let path = dir.path().join("file.bin");
    fill(&path, BYTES, 9)?;
    let mut hash = None;
    for (daemon, rate) in [(&fast, "200M"), (&slow, "20M")] {
        daemon.ask(&["files", "settings", "--upload", rate])?;
        hash = add(daemon, &path)?["hash"].as_str().map(str::to_owned);
        ben.ask(&["peers", "connect", &daemon.ticket()?])?;
    }
    let outboards = tempfile::tempdir_in(dir.path())?;
    let mut liar = Command::new(program("kith-files-bench"));
    let mut liar = Lines::start(liar.args(["--lie", path_text(&path)?, path_text(outboards.path())?]))?;
    let eve = liar.wait_for("a ticket", LONG, |line| serde_json::from_str::<Value>(line).ok())?;
    ben.ask(&["peers", "connect", eve["ticket"].as_str().context("a ticket")?])?;
    let (to, begun) = (dir.path().join("to"), Instant::now());
    std::fs::create_dir(&to)?;
    let before = proc::resident_mb(ben.id())?;
    let mut peak = before;
    let hash = hash.context("a hash")?;
    let mut watch = ben.spawn(&["files", "watch"])?;
    // The liar does not say in its greeting that it exchanges files, so it is named.
    let eve_id = eve["peer_id"].as_str().context("a peer id")?;
    let _fetch = ben.spawn(&["files", "get", &hash, "--from", eve_id, "--to", path_text(&to)?])?;
    let mut killed_at = None;
    let done = loop {
        let row = watch.wait_for("how far it is", LONG, |line| {
            serde_json::from_str::<Value>(line).ok().filter(|row| row["hash"] == hash.as_str() && row["done"].is_u64())
        })?;
        peak = peak.max(proc::resident_mb(ben.id())?);
        if row["state"] == "done" {
            break row;
        }
        ensure!(row["state"] != "failed", "{row}");
        ensure!(begun.elapsed() < LONG * 2, "the file does not arrive: {row}");
        if killed_at.is_none() && row["done"].as_u64() >= Some(BYTES / 2) {
            fast.kill();
            killed_at = row["done"].as_u64();
        }
    };
    let killed_at = killed_at.context("it was done before half of it was there")?;
    let lied = |source: &&Value| source["state"] == "lied";
    let named: Vec<&Value> = done["providers"].as_array().context("providers")?.iter().filter(lied).collect();
    let whom = named.iter().map(|source| format!("{}: {}", source["peer"], source["reason"])).collect::<Vec<_>>();
    ensure!(named.len() == 1 && named[0]["peer"] == eve["peer_id"], "named as liars: {whom:?}");
    Ok(vec![
        Figure::new("5 GB, fetched after", begun.elapsed().as_secs_f64(), "s"),
        Figure::text("the bytes", if same(&path, &saved(&done)?)? { "the same" } else { "others" }),
        Figure::new("there when the fast one was killed", killed_at as f64 / MB, "MB"),
        Figure::text("the liar", whom.join(", ")),
        Figure::new("fetched twice", done["fetched_twice_bytes"].as_f64().context("bytes")? / MB, "MB"),
        Figure::new("receiver's memory before", before, "MB"),
        Figure::new("receiver's memory, most", peak, "MB").at_most(64.0),
    ])
}

/// The receiver is killed at 20 moments of one transfer.
pub fn killed() -> Result<Vec<Figure>> {
    const BYTES: u64 = 2048 * MIB;
    const KILLS: u64 = 20;
    /// What a mebibyte's proof adds to it.
    const PROOFS: f64 = 0.0045;
    let dir = tempfile::Builder::new().prefix("kith-files-").tempdir_in(room()?)?;
    let ada = Daemon::start("ada", &[])?;
    ada.ask(&["files", "settings", "--upload", "100M"])?;
    let path = dir.path().join("file.bin");
    fill(&path, BYTES, 3)?;
    let share = add(&ada, &path)?;
    let (ticket, to) = (ticket(&share)?, dir.path().join("to"));
    let hash = share["hash"].clone();
    std::fs::create_dir(&to)?;
    let options = kith_tests::Options { data_dir: Some(dir.path().join("data")), ..kith_tests::Options::default() };
    let mut back = Vec::new();
    let mut moment = 7_u64;
    for kill in 0..=KILLS {
        let mut ben = Daemon::with("ben", options.clone())?;
        let begun = Instant::now();
        // The transfer stays when who asked for it goes.
        let asked = (kill == 0).then(|| ben.spawn(&["files", "get", &ticket, "--to", path_text(&to)?])).transpose()?;
        let mut watch = ben.spawn(&["files", "watch"])?;
        let mut from = None;
        // What was done before the daemon was killed is no news.
        let over = ben.ctl(&["files", "transfers"])?.1.into_iter().find(|row| row["state"] == "done");
        let grown = match over {
            Some(row) => row,
            None => watch.wait_for("bytes", LONG, |line| {
                let row: Value = serde_json::from_str(line).ok()?;
                if row["state"] == "done" {
                    return Some(row);
                }
                let done = row["done"].as_u64()?;
                (done > *from.get_or_insert(done)).then_some(row)
            })?,
        };
        if kill > 0 {
            back.push(begun.elapsed().as_secs_f64());
        }
        if kill == KILLS || grown["state"] == "done" {
            let row = watch.wait_for("the end", LONG, |line| {
                let row: Value = serde_json::from_str(line).ok()?;
                (row["state"] == "done").then_some(row)
            });
            let row = if grown["state"] == "done" { grown } else { row? };
            let shown = row["fetched_twice_bytes"].as_f64().context("how much came twice")?;
            // What was on its way at a kill is known to the provider alone.
            let shares = ada.ctl(&["files", "list"])?.1;
            let share = shares.iter().find(|row| row["hash"] == hash).context("the share")?;
            let sent = share["sent_bytes"].as_f64().context("sent bytes")?;
            let kills = kill.max(1) as f64;
            return Ok(vec![
                Figure::new("kills", kill as f64, ""),
                Figure::text("the bytes", if same(&path, &saved(&row)?)? { "the same" } else { "others" }),
                Figure::new("stored twice, for each kill", shown / kills / MIB as f64, "MiB"),
                Figure::new(
                    "sent by the provider beyond the file, for each kill",
                    (sent / (1.0 + PROOFS) - BYTES as f64) / kills / MIB as f64,
                    "MiB",
                )
                .at_most(4.0),
                Figure::new("started to new bytes p95", percentile(&mut back, 0.95), "s").at_most(1.0),
            ]);
        }
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(50 + (moment >> 33) % 300));
        drop(asked);
        ben.kill();
    }
    bail!("the transfer did not end")
}

/// A video call without and with a transfer at full speed between the same two.
pub fn beside_call() -> Result<Vec<Figure>> {
    const BYTES: u64 = 8192 * MIB;
    let (ada, ben, dir) = pair()?;
    let path = dir.path().join("file.bin");
    File::create(&path)?.set_len(BYTES)?;
    let share = add(&ada, &path)?;
    let call = || -> Result<Value> {
        let source = ["--video", "test", "--audio", "test"];
        let mut answer = ben.spawn(&[&["answer", "--wait", "20"][..], &source].concat())?;
        let mut call = ada.spawn(&[&["call", "Ben"][..], &source, &["--for", "15"]].concat())?;
        let end = call.wait_json("event", "ended", Duration::from_secs(60))?;
        call.wait_end(Duration::from_secs(20))?;
        answer.wait_end(Duration::from_secs(20))?;
        Ok(end["stats"].clone())
    };
    let quiet = call()?;
    let mut fetch = ben.spawn(&["files", "get", &ticket(&share)?, "--to", path_text(dir.path())?])?;
    let busy = call()?;
    let still = !fetch.has_ended();
    fetch.kill();
    let number = |stats: &Value, name: &str| {
        stats["steady"][name].as_f64().with_context(|| format!("no steady.{name} in {stats}"))
    };
    let (fps, with_fps) = (number(&quiet, "fps")?, number(&busy, "fps")?);
    let (delay, with_delay) = (number(&quiet, "delay_ms_p95")?, number(&busy, "delay_ms_p95")?);
    Ok(vec![
        Figure::new("pictures without", fps, "a second"),
        Figure::new("pictures with", with_fps, "a second").at_least(fps * 0.95),
        Figure::new("delay p95 without", delay, "ms"),
        Figure::new("delay p95 with", with_delay, "ms").at_most(delay + 50.0),
        Figure::text("the transfer", if still { "went on all the time" } else { "ended before the call did" }),
    ])
}
