//! A peer that speaks nonsense, or too much.

use kith_common::call::{CallKind, CallState, Switch};
use kith_common::clock::MonoTime;
use kith_common::ids::CallId;
use kith_core::call::{MediaState, Signal};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::fakes::{DEADLINE, Exchange, Node};
use crate::calls::CallPolicy;
use crate::calls::ports::Network as _;
use crate::calls::wire::{Body, MAX_MESSAGE_BYTES, Message, decode, encode};
use crate::net::{Stream, frames};

fn offer(n: u32) -> Message {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_le_bytes());
    let media = MediaState { microphone: Switch::On, camera: Switch::On, format: None };
    let transport = crate::media::TransportParams {
        ice_ufrag: "u".into(),
        ice_pwd: "p".into(),
        fingerprint_algorithm: "sha-256".into(),
        fingerprint: vec![1; 32],
        candidates: Vec::new(),
        tunnel: false,
    };
    let signal = Signal::Offer { kind: CallKind::Video, media };
    Message {
        wire: CallId::from_bytes(id),
        body: Body::Signal { signal, transport: Some(transport), video_due: Some(0) },
    }
}

async fn read(stream: &mut Stream) -> Option<Message> {
    decode(&frames::read(stream, MAX_MESSAGE_BYTES, DEADLINE).await.ok()?).ok()
}

async fn closed(stream: &mut Stream) {
    let reading = async { while read(stream).await.is_some() {} };
    timeout(DEADLINE, reading).await.expect("the stream is closed");
}

fn setting() -> (Exchange, Node) {
    let exchange = Exchange::default();
    let ben = exchange.node(2, CallPolicy::default());
    (exchange, ben)
}

#[tokio::test]
async fn nonsense_ends_the_stream_and_nothing_else() {
    let (exchange, ben) = setting();
    let (mallory, _incoming) = exchange.join(3);
    let too_long = u32::try_from(MAX_MESSAGE_BYTES + 1).expect("short").to_be_bytes();
    let ping = encode(&Message { wire: CallId::from_bytes([8; 16]), body: Body::Ping { sent: MonoTime(1) } });
    let hang_up = Body::plain(Signal::HangUp { reason: String::new() });
    let stray = encode(&Message { wire: CallId::from_bytes([8; 16]), body: hang_up });
    for junk in [&[0; 64][..], &[0xff; 64], &too_long, &[0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &ping, &stray] {
        let mut stream = mallory.open_signal(ben.net.me).await.expect("ben is there");
        let _ = stream.write_all(junk).await;
        closed(&mut stream).await;
    }
    assert!(ben.calls.list().is_empty());
}

#[tokio::test]
async fn a_peer_that_rings_a_thousand_times_is_heard_a_few_times_and_leaves_nothing_behind() {
    let (exchange, ben) = setting();
    let (mallory, _incoming) = exchange.join(3);
    let mut rang = 0;
    for n in 0..1000 {
        let mut stream = mallory.open_signal(ben.net.me).await.expect("ben is there");
        stream.write_all(&encode(&offer(n))).await.expect("ben reads");
        let answer = timeout(DEADLINE, read(&mut stream)).await.expect("ben answers");
        if answer.is_some_and(|message| message.body == Body::plain(Signal::Ringing)) {
            rang += 1;
            let cancel = Message { body: Body::plain(Signal::Cancel), ..offer(n) };
            stream.write_all(&encode(&cancel)).await.expect("ben reads");
            closed(&mut stream).await;
        }
    }
    assert!((1..=12).contains(&rang), "{rang}");
    assert!(ben.calls.list().iter().all(|call| call.state == CallState::Ended));
    assert!(ben.calls.list().len() <= 32);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up_and_others_are_served() {
    let (exchange, ben) = setting();
    let (mallory, _incoming) = exchange.join(3);
    let mut stuck = mallory.open_signal(ben.net.me).await.expect("ben is there");
    stuck.write_all(&encode(&offer(1))).await.expect("ben reads");
    let ping = encode(&Message { body: Body::Ping { sent: MonoTime(1) }, ..offer(1) });
    // Each ping wants an answer; nobody takes them.
    let flood = async { while stuck.write_all(&ping).await.is_ok() {} };
    let _ = timeout(DEADLINE, flood).await;
    let ada = exchange.node(1, CallPolicy::default());
    let call = ada.calls.dial(ben.target(), kith_common::call::CallOptions::default());
    super::until(&call, |info| info.ending.is_some() || info.state == CallState::Ringing).await;
}
