//! Copies a file from one node to another over the kind of stream that files are fetched on, without checking anything: what
//! verification and recording are measured against.
//!
//! `kith-files-bench FROM TO` prints one JSON line and removes what it has written. Both nodes are in this process and meet over
//! loopback; the time counts from the opening of the stream to the last byte handed to the file.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_common::target::Target;
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
    let mut arguments = std::env::args_os().skip(1);
    let (from, to) = (arguments.next().context("FROM")?, arguments.next().context("TO")?);
    ensure!(arguments.next().is_none(), "kith-files-bench FROM TO");
    let (from, to) = (Path::new(&from).to_owned(), Path::new(&to));
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
    let seconds = begun.elapsed().as_secs_f64();
    let _stream = sending.await??;
    std::fs::remove_file(to)?;
    println!(
        "{}",
        serde_json::json!({ "bytes": bytes, "seconds": seconds, "mb_per_s": bytes as f64 / 1e6 / seconds, "path": path })
    );
    Ok(())
}
