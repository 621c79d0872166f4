//! Files, as clients meet them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use kith_common::client::Client;
use kith_common::convert::write_add_options;
use kith_common::failure::FailureKind;
use kith_common::file::{
    AddOptions, ContentKind, FileHash, FileKind, FileSettings, GetOptions, MAX_PIECE_BYTES, Share, ShareScope,
    ShareState,
};
use kith_common::file_capnp::{byte_sink, content_sink, files};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::streaming::raw;
use super::{Stage, resident_mb, soon};

/// Not a multiple of anything.
const SIZE: usize = 2_500_001;

fn content() -> Vec<u8> {
    (0..SIZE as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn written(stage: &Stage, name: &str) -> PathBuf {
    let path = stage.socket.with_file_name(name);
    std::fs::write(&path, content()).expect("there is room");
    path
}

async fn added(client: &Client, path: &Path) -> Share {
    let (progress, _) = mpsc::channel(1);
    soon(client.add_file(path, AddOptions::default(), progress)).await.expect("it is there")
}

async fn read(client: &Client, hash: FileHash, offset: u64, length: u64) -> Vec<u8> {
    let (sender, mut pieces) = mpsc::channel::<bytes::Bytes>(1);
    let collect = async {
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend_from_slice(&piece);
        }
        all
    };
    let (read, all) = soon(async { tokio::join!(client.read_content(hash, offset, length, sender), collect) }).await;
    read.expect("it is there");
    all
}

#[tokio::test]
async fn a_file_is_shared_listed_read_and_withdrawn() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let mut watch = soon(client.watch_files()).await.expect("they can be watched");
    let before = soon(watch.next()).await.expect("now").expect("the daemon is there");
    assert_eq!((before.shares, before.transfers.len(), before.offers.len()), (0, 0, 0));
    let path = written(&stage, "Größe.bin");
    let share = added(&client, &path).await;
    assert_eq!((share.name.as_str(), share.size_bytes, share.kind), ("Größe.bin", SIZE as u64, FileKind::File));
    assert_eq!((share.scope, share.state), (ShareScope::Anyone, ShareState::Available));
    assert_eq!(Path::new(&share.path), path);
    soon(async { while watch.next().await.expect("goes on").expect("is there").shares != 1 {} }).await;
    // The same again is the same.
    assert_eq!(added(&client, &path).await.hash, share.hash);
    for search in ["", "Größe", &share.hash.to_string()] {
        let found = soon(client.shares(search, 0, 10)).await.expect("it searches");
        assert_eq!(found.iter().map(|found| found.hash).collect::<Vec<_>>(), [share.hash], "{search}");
    }
    assert_eq!(soon(client.shares("other", 0, 10)).await.expect("it searches"), []);
    assert!(soon(client.shares("", share.position, 10)).await.expect("it searches").is_empty());
    let all = content();
    assert!(read(&client, share.hash, 0, 0).await == all);
    assert!(read(&client, share.hash, 100_000, 1_000_000).await == all[100_000..1_100_000]);
    soon(client.remove_share(share.hash)).await.expect("it is shared");
    let failure = soon(client.remove_share(share.hash)).await.expect_err("not any more");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    assert!(path.exists());
}

#[tokio::test]
async fn what_a_client_writes_is_shared_and_what_it_leaves_off_is_not() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let given_up = soon(client.send_content("half.bin", AddOptions::default())).await.expect("there is room");
    soon(given_up.write(content())).await.expect("there is room");
    drop(given_up);
    let writer = soon(client.send_content("whole.bin", AddOptions::default())).await.expect("there is room");
    for piece in content().chunks(300_000) {
        soon(writer.write(piece.to_vec())).await.expect("there is room");
    }
    let share = soon(writer.done()).await.expect("it is whole");
    assert_eq!((share.name.as_str(), share.size_bytes), ("whole.bin", SIZE as u64));
    assert_eq!(share.hash, added(&client, &written(&stage, "same.bin")).await.hash);
    assert!(read(&client, share.hash, 0, 0).await == content());
    assert_eq!(soon(client.shares("half", 0, 10)).await.expect("it searches"), []);
}

#[tokio::test]
async fn what_is_too_much_for_the_store_is_refused_as_such_however_it_comes() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let settings = soon(client.file_settings()).await.expect("there are some");
    soon(client.set_file_settings(FileSettings { store_bytes: 10, ..settings })).await.expect("they make sense");
    let writer = soon(client.send_content("large.bin", AddOptions::default())).await.expect("a little");
    let failure = match soon(writer.write(content())).await {
        Ok(()) => soon(writer.done()).await.expect_err("the quota"),
        Err(failure) => failure,
    };
    let (progress, _) = mpsc::channel(1);
    let copy = AddOptions { copy: true, ..AddOptions::default() };
    let by_path = soon(client.add_file(&written(&stage, "large.bin"), copy, progress)).await.expect_err("the quota");
    assert_eq!((failure.kind, by_path.kind), (FailureKind::NotPermitted, FailureKind::NotPermitted), "{failure:?}");
    assert_eq!(failure.advice, by_path.advice);
    assert!(failure.message.contains("10 bytes in all"), "{failure:?}");
}

#[tokio::test]
async fn what_cannot_be_shared_or_fetched_is_refused_in_words() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let (progress, _) = mpsc::channel(1);
    let missing = stage.socket.with_file_name("none.bin");
    let failure = soon(client.add_file(&missing, AddOptions::default(), progress)).await.expect_err("there is none");
    assert!(failure.message.contains("none.bin"), "{failure}");
    let stranger = AddOptions { scope: ShareScope::Peers, peers: vec!["nobody".into()], ..AddOptions::default() };
    let refused = soon(client.send_content("a.bin", stranger)).await;
    assert!(refused.is_err_and(|failure| failure.message.contains("nobody")));
    for target in ["", "nonsense", "kithfile:damaged", &"x".repeat(100_000)] {
        let failure = soon(client.get_file(target, GetOptions::default())).await.expect_err("no file");
        assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
    }
    let unknown = FileHash::from_bytes([7; 32]);
    for failure in [
        soon(client.keep_share(unknown, vec!["Ada".into()])).await.map(drop),
        soon(client.read_content(unknown, 0, 0, mpsc::channel(1).0)).await,
        soon(client.drop_kept(unknown)).await,
        soon(client.pause_transfer(77)).await.map(drop),
        soon(client.resume_transfer(77)).await.map(drop),
        soon(client.first_transfer(77)).await.map(drop),
        soon(client.cancel_transfer(77)).await,
        soon(client.accept_offer(77, GetOptions::default())).await.map(drop),
        soon(client.refuse_offer(77)).await,
    ] {
        let failure = failure.expect_err("there is none");
        assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    }
    // One that is no hash, at the level of the schema.
    let inside = async {
        let mut request = files(&stage).await.remove_request();
        request.get().set_hash("nonsense");
        let response = request.send().promise.await.expect("refused in words");
        let outcome = response.get().and_then(|response| response.get_outcome()).expect("there is one");
        let outcome = kith_common::convert::read_outcome(outcome).expect("of this version");
        assert_eq!(outcome.expect_err("no hash").kind, FailureKind::InvalidArgument);
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn settings_stay_as_they_are_set() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let before = soon(client.file_settings()).await.expect("it answers");
    assert!(before.folder.is_absolute() && before.at_once > 0, "{before:?}");
    let changed = FileSettings {
        folder: stage.socket.parent().expect("a folder").to_owned(),
        download_bytes_per_second: 1_000_000,
        unasked_kinds: vec![ContentKind::Image],
        ..before
    };
    soon(client.set_file_settings(changed.clone())).await.expect("they make sense");
    assert_eq!(soon(client.file_settings()).await, Ok(changed.clone()));
    let relative = FileSettings { folder: "Downloads".into(), ..changed.clone() };
    let failure = soon(client.set_file_settings(relative)).await.expect_err("relative to what?");
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
    assert_eq!(soon(client.file_settings()).await, Ok(changed));
}

async fn files(stage: &Stage) -> files::Client {
    let kith = raw(stage).await;
    kith.node_request().send().pipeline.get_node().files_request().send().pipeline.get_files()
}

async fn sink(files: &files::Client, name: &str) -> capnp::Result<content_sink::Client> {
    let mut request = files.receive_request();
    request.get().set_name(name);
    write_add_options(&AddOptions::default(), request.get().init_options());
    request.send().promise.await?.get()?.get_sink()
}

#[tokio::test]
async fn a_client_has_few_streams_and_the_next_begins_when_one_has_ended() {
    let stage = Stage::set().await;
    let inside = async {
        let files = files(&stage).await;
        let mut sinks = Vec::new();
        let refused = loop {
            match sink(&files, &format!("{}.bin", sinks.len())).await {
                Ok(sink) => sinks.push(sink),
                Err(error) => break error,
            }
        };
        assert_eq!((sinks.len(), refused.kind), (8, capnp::ErrorKind::Overloaded), "{refused}");
        drop(sinks.pop());
        soon(async { while sink(&files, "again.bin").await.is_err() {} }).await;
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn a_piece_that_is_too_large_ends_its_sink_and_nothing_else() {
    let stage = Stage::set().await;
    let inside = async {
        let files = files(&stage).await;
        let wrong = sink(&files, "wrong.bin").await.expect("there is room");
        let mut request = wrong.write_request();
        request.get().set_bytes(&vec![0; MAX_PIECE_BYTES + 1]);
        // Its failure may be told with the next call.
        let _ = request.send().await;
        assert!(wrong.done_request().send().promise.await.is_err());
        let right = sink(&files, "right.bin").await.expect("there is room");
        let mut request = right.write_request();
        request.get().set_bytes(b"hello");
        request.send().await.expect("there is room");
        let response = right.done_request().send().promise.await.expect("it is whole");
        let outcome = response.get().and_then(|response| response.get_outcome()).expect("there is one");
        let outcome = kith_common::convert::read_share_outcome(outcome).expect("of this version");
        assert_eq!(outcome.expect("it is whole").size_bytes, 5);
    };
    LocalSet::new().run_until(inside).await;
}

/// Takes a piece for each permit.
struct Slow {
    go: Semaphore,
    taken: std::cell::Cell<usize>,
}

struct SlowSink(Rc<Slow>);

impl byte_sink::Server for SlowSink {
    async fn write(self: Rc<Self>, params: byte_sink::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?.len();
        self.0.go.acquire().await.map_err(|error| capnp::Error::failed(error.to_string()))?.forget();
        self.0.taken.set(self.0.taken.get() + bytes);
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_little_and_loses_nothing() {
    const MB: usize = 200;
    let stage = Stage::set().await;
    let client = stage.client().await;
    let path = stage.socket.with_file_name("large.bin");
    let file = std::fs::File::create(&path).expect("a new file");
    file.set_len((MB << 20) as u64).expect("sparse");
    let share = added(&client, &path).await;
    let before = resident_mb();
    let inside = async {
        let slow = Rc::new(Slow { go: Semaphore::new(0), taken: std::cell::Cell::new(0) });
        let files = files(&stage).await;
        let mut request = files.read_request();
        request.get().set_hash(share.hash.to_string());
        request.get().set_sink(capnp_rpc::new_client(SlowSink(Rc::clone(&slow))));
        let mut reading = request.send().promise;
        // Others are served, and in that time all would have been read.
        tokio::select! {
            _ = &mut reading => panic!("nobody has taken it"),
            read = read(&client, share.hash, 0, 0) => assert_eq!(read.len(), MB << 20),
        }
        slow.go.add_permits(Semaphore::MAX_PERMITS / 2);
        soon(reading).await.expect("it has been taken");
        soon(async {
            while slow.taken.get() < MB << 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // What the other reader has collected lies in this process as well.
        assert!(resident_mb() < before + 2 * MB + 100, "{before} MB before, {} MB now", resident_mb());
    };
    LocalSet::new().run_until(inside).await;
}
