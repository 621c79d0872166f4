//! Clients that mean harm or are broken: memory stays bounded and nobody else notices.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::message;
use kith_common::kith_capnp::kith;
use kith_common::rpc::Pool;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::{SOON, Stage, resident_mb, soon};
use crate::rpc::{MAX_CONNECTIONS, connection};

/// What all of an attack's connections together may cost.
const BOUND_MB: usize = 64;

fn connect(stage: &Stage) -> UnixStream {
    let stream = UnixStream::connect(&stage.socket).expect("the daemon listens");
    stream.set_read_timeout(Some(SOON)).expect("a socket takes a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket takes a timeout");
    stream
}

fn header(segments: u32, words: u32) -> Vec<u8> {
    [(segments - 1).to_le_bytes(), words.to_le_bytes()].concat()
}

/// Reads until the daemon closes; what it said.
fn last_words(mut stream: UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end as good as any.
    let _ = stream.read_to_end(&mut said);
    said
}

async fn others_are_served(stage: &Stage) {
    let client = soon(stage.client()).await;
    assert_eq!(soon(client.identity()).await.expect("it answers").name, "rehearsal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_connections_that_announce_64_mib_cost_nothing() {
    let stage = Stage::set().await;
    others_are_served(&stage).await;
    let before = resident_mb();
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(&stage);
            // Refused connections may be closed before this.
            let _ = stream.write_all(&header(1, 8 << 20));
            stream
        })
        .collect();
    for stream in streams {
        tokio::task::block_in_place(|| last_words(stream));
    }
    others_are_served(&stage).await;
    assert!(resident_mb() < before + BOUND_MB, "{before} MB before, {} MB now", resident_mb());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_cost_what_has_arrived() {
    let stage = Stage::set().await;
    others_are_served(&stage).await;
    let before = resident_mb();
    // The largest message that is allowed, of which 100 KB come.
    let streams: Vec<_> = (0..MAX_CONNECTIONS - 4)
        .map(|_| {
            let mut stream = connect(&stage);
            stream.write_all(&header(1, 512 << 10)).expect("the daemon reads");
            stream.write_all(&[0; 100_000]).expect("the daemon reads");
            stream
        })
        .collect();
    others_are_served(&stage).await;
    let now = resident_mb();
    assert!(now < before + BOUND_MB, "{before} MB before, {now} MB now");
    drop(streams);
    others_are_served(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_a_limit_or_no_message_ends_the_connection_with_a_reason() {
    let stage = Stage::set().await;
    let say = |bytes: Vec<u8>| {
        let mut stream = connect(&stage);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        String::from_utf8_lossy(&tokio::task::block_in_place(|| last_words(stream))).into_owned()
    };
    assert!(say(header(1, (512 << 10) + 1)).contains("at most 4194304 bytes"));
    assert!(say([header(512, 1), vec![0; 4096]].concat()).contains("at most 64 segments"));
    assert!(say([u32::MAX.to_le_bytes().to_vec(), vec![0xff; 64]].concat()).contains("at most 64 segments"));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for length in (0..400).map(|step| step * 7) {
        let garbage = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        });
        say(garbage.take(length).collect());
        // Framed as a message, so that it reaches the RPC layer.
        let body: Vec<u8> =
            (0..length as u32 / 8).flat_map(|word| u64::from(word).wrapping_mul(seed).to_le_bytes()).collect();
        say([header(1, length as u32 / 8), body].concat());
    }
    others_are_served(&stage).await;
}

fn bytes(message: &Builder<HeapAllocator>) -> Vec<u8> {
    capnp::serialize::write_message_to_words(message)
}

/// Asks for the bootstrap object, then for `hello` on it, `calls` times, and reads nothing.
fn flood(calls: u32) -> impl Iterator<Item = Vec<u8>> {
    let mut first = Builder::new_default();
    first.init_root::<message::Builder<'_>>().init_bootstrap().set_question_id(0);
    let hello = (1..=calls).map(|question| {
        let mut message = Builder::new_default();
        let mut call = message.init_root::<message::Builder<'_>>().init_call();
        call.set_question_id(question);
        call.set_interface_id(<kith::Client as capnp::traits::HasTypeId>::TYPE_ID);
        call.set_method_id(0);
        call.reborrow().init_target().init_promised_answer().set_question_id(0);
        call.init_params();
        bytes(&message)
    });
    std::iter::once(bytes(&first)).chain(hello)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_left_waiting_or_disconnected() {
    let stage = Stage::set().await;
    others_are_served(&stage).await;
    let before = resident_mb();
    let mut stream = connect(&stage);
    let mut sent = 0;
    tokio::task::block_in_place(|| {
        for message in flood(200_000) {
            // A full socket buffer, or the end of the connection.
            if stream.write_all(&message).is_err() {
                break;
            }
            sent += 1;
        }
    });
    others_are_served(&stage).await;
    let now = resident_mb();
    assert!(sent < 200_000, "it was stopped");
    assert!(now < before + BOUND_MB, "{before} MB before, {now} MB now, {sent} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_there_are_places_are_refused_at_once_and_places_come_back() {
    let stage = Stage::set().await;
    let idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(&stage)).collect();
    let refused = connect(&stage);
    assert!(tokio::task::block_in_place(|| last_words(refused)).is_empty());
    drop(idle);
    soon(async { while kith_common::client::Client::connect(&stage.socket).await.is_err() {} }).await;
}

struct Panics(CancellationToken);

impl kith::Server for Panics {
    async fn hello(self: Rc<Self>, _: kith::HelloParams, _: kith::HelloResults) -> capnp::Result<()> {
        panic!("on purpose");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[tokio::test]
async fn a_panic_in_a_method_ends_its_connection_only_and_frees_its_objects() {
    let inside = async {
        let (client, server) = tokio::net::UnixStream::pair().expect("a pair of sockets");
        let (dropped, pool) = (CancellationToken::new(), Pool::new());
        let bootstrap: kith::Client = capnp_rpc::new_client(Panics(dropped.clone()));
        let greeted = CancellationToken::new();
        let serving = connection::run(server, bootstrap.client, greeted, &pool);
        let calling = async {
            let mut client = client.into_std().expect("it was one");
            client.set_nonblocking(true).expect("a socket can");
            for message in flood(1) {
                client.write_all(&message).expect("it fits the buffer");
            }
            client
        };
        let (client, ()) = tokio::join!(calling, serving);
        soon(dropped.cancelled()).await;
        drop(client);
    };
    LocalSet::new().run_until(soon(inside)).await;
}
