//! Copies a file from one node to another over the kind of stream that files are fetched on, without checking anything: what
//! verification and recording are measured against.
//!
//! `kith-files-bench --lie FILE FOLDER` is a node that shares the file with anybody, prints its peer id and ticket, and sends
//! other bytes in their place from a tenth of it on. What it verifies with is kept in the folder.
//!
//! `kith-files-bench FROM TO` prints one JSON line and removes what it has written. Both nodes are in this process and meet over
//! loopback; the time counts from the opening of the stream to the last byte safe on the disk, as a transfer's does.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kith_common::target::Target;
use kithd::files::rehearsal::Liar;
use kithd::net::rehearsal::one_of_many;
use kithd::net::{Carrier, Net};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Read and written at once: a unit of a transfer.
const PIECE_BYTES: usize = 1024 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.as_slice() {
        [lie, file, folder] if lie.as_os_str() == "--lie" => lie_about(file, folder).await,
        [from, to] => copy(from.clone(), to).await,
        _ => bail!("kith-files-bench FROM TO, or kith-files-bench --lie FILE FOLDER"),
    }
}

/// Serves until it is killed.
async fn lie_about(file: &Path, folder: &Path) -> Result<()> {
    let (node, mut incoming) = Net::start(one_of_many(Carrier::Sockets)).await?;
    let streams = incoming.files.take().context("streams for files")?;
    let liar = Liar::new(file, folder)?;
    let (peer, ticket) = (node.peer_id(), node.identity().borrow().ticket.clone());
    println!("{}", serde_json::json!({ "peer_id": peer, "ticket": ticket }));
    liar.serve(streams).await;
    Ok(())
}

async fn copy(from: PathBuf, to: &Path) -> Result<()> {
    let (owner, mut incoming) = Net::start(one_of_many(Carrier::Sockets)).await?;
    let (getter, _others) = Net::start(one_of_many(Carrier::Sockets)).await?;
    let target: Target = owner.identity().borrow().ticket.parse()?;
    tokio::time::timeout(CONNECT_WITHIN, getter.connect(&target)).await??;
    let mut streams = incoming.files.take().context("streams for files")?;
    let sending = tokio::spawn(async move {
        let mut stream = streams.recv().await.context("no stream came")?.stream;
        // The protocol is agreed on with the first byte.
        stream.read_u8().await?;
        let mut file = File::open(from).await?;
        file.set_max_buf_size(PIECE_BYTES);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).await? {
                0 => break,
                count => stream.write_all(&piece[..count]).await?,
            }
        }
        stream.shutdown().await?;
        Ok::<_, anyhow::Error>(stream)
    });
    let begun = Instant::now();
    let opened = getter.open_files(owner.peer_id()).await?;
    let (path, mut stream) = (opened.path, opened.stream);
    stream.write_u8(0).await?;
    stream.flush().await?;
    let mut file = File::create(to).await?;
    file.set_max_buf_size(PIECE_BYTES);
    let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0_u64);
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            count => {
                file.write_all(&piece[..count]).await?;
                bytes += count as u64;
            }
        }
    }
    file.flush().await?;
    file.sync_data().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let _stream = sending.await??;
    std::fs::remove_file(to)?;
    println!(
        "{}",
        serde_json::json!({ "bytes": bytes, "seconds": seconds, "mb_per_s": bytes as f64 / 1e6 / seconds, "path": path })
    );
    Ok(())
}
