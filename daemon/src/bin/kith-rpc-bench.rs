//! Measures the hop between daemon and client: pictures over the Unix socket, both ways at once, two processes.
//!
//! `kith-rpc-bench [SECONDS [WxH]]` prints one JSON line. The other process (`serve SOCKET`) serves a rehearsed call
//! through the daemon's own RPC thread and sends every picture back.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_common::client::{Client, Gone};
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, VideoFormat};
use kithd::rpc::rehearsal;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FPS: u32 = 30;
/// Allocators and socket buffers have settled by then.
const WARM_UP: u64 = FPS as u64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [serve, socket] if serve == "serve" => answer(Path::new(socket)).await,
        _ => {
            let seconds = arguments.first().map_or(Ok(10), |seconds| seconds.parse()).context("SECONDS is a number")?;
            let size = arguments.get(1).map_or("1280x720", String::as_str).parse()?;
            measure(seconds, size).await
        }
    }
}

async fn answer(socket: &Path) -> Result<()> {
    let (thread, call) = rehearsal::serve(socket).await?;
    println!("ready");
    let ages = call.loop_pictures().await;
    let used = cpu_ms("self")?;
    println!(
        "{}",
        serde_json::json!({ "ages_us": micros(&ages), "cpu_ms": used, "resident_mb": resident_mb("self")? })
    );
    // The client reads its last answer before this goes.
    std::io::stdin().lines().next();
    thread.shutdown().await;
    Ok(())
}

async fn measure(seconds: u64, size: Size) -> Result<()> {
    let home = std::env::temp_dir().join(format!("kith-rpc-bench-{}", std::process::id()));
    std::fs::create_dir(&home)?;
    let socket = home.join("kithd.sock");
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(&socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(server.stdout.take().context("it is piped")?).lines();
    ensure!(said.next().context("the server ended")?? == "ready", "the server did not start");
    let result = stream(&socket, seconds, size, &server.id().to_string()).await;
    let report = said.next().context("the server ended")??;
    drop(server.stdin.take());
    server.wait()?;
    std::fs::remove_dir_all(&home)?;
    let mine = result?;
    let theirs: serde_json::Value = serde_json::from_str(&report)?;
    let up: Vec<u64> = serde_json::from_value(theirs["ages_us"].clone())?;
    let up = up.into_iter().map(Duration::from_micros).skip(WARM_UP as usize).collect::<Vec<_>>();
    let moved = mine.ages.len() + up.len();
    let (down, up) = (sorted(mine.ages), sorted(up));
    let line = serde_json::json!({
        "size": size.to_string(), "seconds": seconds, "pictures_down": down.len(), "pictures_up": up.len(),
        "fps_down": down.len() as f64 / mine.seconds,
        "delay_ms_p50": at(&down, 50), "delay_ms_p95": at(&down, 95), "delay_ms_p99": at(&down, 99),
        "up_delay_ms_p50": at(&up, 50), "up_delay_ms_p99": at(&up, 99),
        "cpu_ms_per_picture": mine.cpu_ms / moved as f64,
        "client_resident_mb": resident_mb("self")?, "daemon_resident_mb": theirs["resident_mb"],
        "client_resident_mb_at_start": mine.resident_mb, "daemon_resident_mb_at_start": mine.daemon_resident_mb,
    });
    println!("{line}");
    Ok(())
}

struct Measured {
    ages: Vec<Duration>,
    cpu_ms: f64,
    seconds: f64,
    resident_mb: f64,
    daemon_resident_mb: f64,
}

async fn stream(socket: &Path, seconds: u64, size: Size, server: &str) -> Result<Measured> {
    let client = Client::connect(socket).await?;
    let id = client.calls().await?.first().context("one call")?.id;
    let call = client.call(id).await?;
    let receiver = call.receive_video().await?;
    let sender = call.send_video(VideoFormat { size, fps_milli: FPS * 1000 }).await?;
    let data = bytes::Bytes::from(vec![128; size.i420_bytes()]);
    let receiving = tokio::spawn(async move {
        let mut ages = Vec::new();
        loop {
            match receiver.next().await {
                Ok(picture) if picture.sequence >= WARM_UP => ages.push(MonoTime::now().since(picture.capture)),
                Ok(_) => {}
                Err(Gone::CallEnded) => return Ok(ages),
                Err(gone) => return Err(gone),
            }
        }
    });
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / FPS);
    let (mut cpu, mut began, mut resident, mut their_resident) = (0.0, MonoTime::now(), 0.0, 0.0);
    for sequence in 0..WARM_UP + seconds * u64::from(FPS) {
        ticks.tick().await;
        if sequence == WARM_UP {
            (cpu, began) = (cpu_ms("self")? + cpu_ms(server)?, MonoTime::now());
            (resident, their_resident) = (resident_mb("self")?, resident_mb(server)?);
        }
        sender.put(Picture::new(size, MonoTime::now(), sequence, data.clone())?)?;
    }
    ticks.tick().await;
    let cpu_ms = cpu_ms("self")? + cpu_ms(server)? - cpu;
    let seconds = MonoTime::now().since(began).as_secs_f64();
    call.hang_up().await?;
    let ages = receiving.await??;
    Ok(Measured { ages, cpu_ms, seconds, resident_mb: resident, daemon_resident_mb: their_resident })
}

fn micros(ages: &[Duration]) -> Vec<u128> {
    ages.iter().map(Duration::as_micros).collect()
}

fn sorted(mut ages: Vec<Duration>) -> Vec<Duration> {
    ages.sort();
    ages
}

fn at(sorted: &[Duration], percent: usize) -> Option<f64> {
    let index = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(index).map(|age| age.as_secs_f64() * 1e3)
}

/// User and system time of all threads of a process.
fn cpu_ms(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat has a name")?.1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks * 1e3 / rustix::param::clock_ticks_per_second() as f64)
}

fn resident_mb(process: &str) -> Result<f64> {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: f64 = pages.split(' ').nth(1).context("statm has fields")?.parse()?;
    Ok(pages * rustix::param::page_size() as f64 / 1e6)
}
