//! What clients do with a call: look, drive, share it, leave.

use kith_common::call::{CallOptions, CallState, CallStats, Medium, Stage as Step, Switch};
use kith_common::client::{CallEvent, Client, Gone};
use kith_common::failure::FailureKind;
use kith_common::ids::CallId;
use kith_common::media::{Size, VideoFormat};
use kith_common::node::ServiceState;

use super::{Stage, picture, soon, sound};

fn format() -> VideoFormat {
    VideoFormat { size: Size::new(640, 360).expect("a usual size"), fps_milli: 30_000 }
}

#[tokio::test]
async fn a_client_sees_the_node_and_its_calls() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let identity = soon(client.identity()).await.expect("it answers");
    assert_eq!(identity.name, "rehearsal");
    let status = soon(client.status()).await.expect("it answers");
    let absent = status.services.iter().filter(|service| service.state == ServiceState::Absent).count();
    assert_eq!((status.services.len(), absent), (6, 1), "{:?}", status.services);
    let calls = soon(client.calls()).await.expect("it answers");
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [stage.call.handle().id()]);
    assert!(soon(client.peers()).await.expect("it answers").is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_words() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let Err(failure) = soon(client.call(CallId::from_bytes([1; 16]))).await else { panic!("no such call") };
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    let failure = soon(client.dial("nonsense", CallOptions::default())).await.err().expect("no such target");
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
    let failure = soon(client.connect_peer("nonsense")).await.expect_err("no such target");
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
}

#[tokio::test]
async fn without_a_daemon_the_failure_says_so() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let failure = Client::connect(&home.path().join("nobody.sock")).await.err().expect("nobody listens");
    assert_eq!(failure.kind, FailureKind::NoDaemon);
}

#[tokio::test]
async fn every_stage_is_told_in_order_and_the_final_figures_before_the_end() {
    let stage = Stage::set().await;
    stage.call.stage(Step::Signal, 1);
    stage.call.stage(Step::Ring, 2);
    let mut events = soon(stage.client_call().await.watch()).await.expect("it can be watched");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(soon(events.next()).await.expect("more to come").expect("the daemon is there"));
    }
    let stages = |events: &[CallEvent]| {
        let stages = events.iter().filter_map(|event| match event {
            CallEvent::Stage(report) => Some(report.stage),
            _ => None,
        });
        stages.collect::<Vec<_>>()
    };
    assert_eq!(stages(&seen), [Step::Signal, Step::Ring]);
    assert!(matches!(&seen[2], CallEvent::Changed(info) if info.state == CallState::Ringing), "{seen:?}");
    for (at, step) in [(3, Step::Accept), (4, Step::Path), (5, Step::FirstPacket)] {
        stage.call.stage(step, at);
    }
    stage.call.stats(CallStats { video_received: 7, ..CallStats::default() });
    stage.call.end();
    let mut rest = Vec::new();
    while let Some(event) = soon(events.next()).await {
        rest.push(event.expect("the daemon is there"));
    }
    assert_eq!(stages(&rest), [Step::Accept, Step::Path, Step::FirstPacket]);
    let last_two = &rest[rest.len() - 2..];
    assert!(matches!(&last_two[0], CallEvent::Stats(stats) if stats.video_received == 7), "{rest:?}");
    assert!(matches!(&last_two[1], CallEvent::Changed(info) if info.ending.is_some()), "{rest:?}");
}

#[tokio::test]
async fn two_clients_watch_and_drive_the_same_call() {
    let stage = Stage::set().await;
    let (ada, ben) = (stage.client().await, stage.client_call().await);
    let mut calls = soon(ada.watch_calls()).await.expect("they can be watched");
    let (info, call) = soon(calls.next()).await.expect("one call").expect("the daemon is there");
    assert_eq!(info.state, CallState::Ringing);
    soon(call.answer(CallOptions::default())).await.expect("it rings");
    soon(ben.set_microphone(Switch::Off)).await.expect("it is there");
    let info = soon(call.info()).await.expect("it is there");
    assert_eq!((info.state, info.microphone), (CallState::Active, Switch::Off));
    soon(ben.hang_up()).await.expect("it is there");
    while soon(calls.next()).await.expect("more to come").expect("the daemon is there").0.state != CallState::Ended {}
}

#[tokio::test]
async fn the_newest_source_takes_over_and_the_old_one_is_told() {
    let stage = Stage::set().await;
    let (ada, ben) = (stage.client_call().await, stage.client_call().await);
    let mut events = soon(ada.watch()).await.expect("it can be watched");
    let (video, audio) = (soon(ada.send_video(format())).await, soon(ada.send_audio()).await);
    let (video, audio) = (video.expect("it is there"), audio.expect("it is there"));
    video.put(picture(1, 640, 360)).expect("the only source");
    audio.put(sound(1)).expect("the only source");
    assert_eq!(soon(stage.call.source_picture()).await.map(|picture| picture.sequence), Some(1));
    assert_eq!(soon(stage.call.source_sound()).await.map(|sound| sound.sequence), Some(1));
    let newer = soon(ben.send_video(format())).await.expect("it is there");
    while soon(events.next()).await.expect("more").expect("there") != CallEvent::SourceTaken(Medium::Video) {}
    video.put(picture(2, 640, 360)).expect("it is not known here yet");
    assert_eq!(soon(video.ended()).await, Gone::Taken);
    assert_eq!(video.put(picture(3, 640, 360)), Err(Gone::Taken));
    newer.put(picture(9, 640, 360)).expect("the newest source");
    assert_eq!(soon(stage.call.source_picture()).await.map(|picture| picture.sequence), Some(9));
    stage.call.end();
    audio.put(sound(2)).expect("it is not known here yet");
    assert_eq!(soon(audio.ended()).await, Gone::CallEnded);
}

#[tokio::test]
async fn pictures_and_sound_reach_every_client_until_the_call_ends() {
    let stage = Stage::set().await;
    let (ada, ben) = (stage.client_call().await, stage.client_call().await);
    let receivers = [soon(ada.receive_video()).await, soon(ben.receive_video()).await];
    let [first, second] = receivers.map(|receiver| receiver.expect("it is there"));
    let heard = soon(ada.receive_audio()).await.expect("it is there");
    stage.call.deliver_picture(picture(5, 1280, 720));
    stage.call.deliver_sound(sound(6));
    for receiver in [&first, &second] {
        let picture = soon(receiver.next()).await.expect("the call goes on");
        assert_eq!((picture.sequence, picture.data()[0]), (5, 5));
    }
    assert_eq!(soon(heard.next()).await.map(|sound| (sound.sequence, sound.samples.len())), Ok((6, 960)));
    stage.call.end();
    assert_eq!(soon(first.next()).await, Err(Gone::CallEnded));
    assert_eq!(soon(heard.next()).await, Err(Gone::CallEnded));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_what_it_held_and_the_call_goes_on() {
    let stage = Stage::set().await;
    let call = stage.client_call().await;
    let video = soon(call.send_video(format())).await.expect("it is there");
    let receiver = soon(call.receive_video()).await.expect("it is there");
    assert!(stage.call.handle().hub().has_video_source());
    drop((call, video, receiver));
    let mut format = stage.call.handle().hub().video_format();
    soon(format.wait_for(Option::is_none)).await.expect("the hub lives");
    assert_eq!(stage.call.handle().info().borrow().state, CallState::Ringing);
}

#[tokio::test]
async fn a_lost_daemon_ends_everything_typed() {
    let mut stage = Stage::set().await;
    let client = stage.client().await;
    let call = soon(client.call(stage.call.handle().id())).await.expect("it is there");
    let mut events = soon(call.watch()).await.expect("it can be watched");
    let mut peers = soon(client.watch_peers()).await.expect("they can be watched");
    let receiver = soon(call.receive_video()).await.expect("it is there");
    let sender = soon(call.send_video(format())).await.expect("it is there");
    stage.stop().await;
    soon(client.closed()).await;
    assert_eq!(soon(receiver.next()).await, Err(Gone::DaemonLost));
    assert_eq!(soon(sender.ended()).await, Gone::DaemonLost);
    assert_eq!(soon(call.info()).await.err().map(|failure| failure.kind), Some(FailureKind::NoDaemon));
    let mut last = None;
    while let Some(event) = soon(events.next()).await {
        last = Some(event);
    }
    assert_eq!(last.and_then(Result::err).map(|failure| failure.kind), Some(FailureKind::NoDaemon));
    while let Some(list) = soon(peers.next()).await {
        if let Err(failure) = list {
            assert_eq!(failure.kind, FailureKind::NoDaemon);
        }
    }
    assert!(Client::connect(&stage.socket).await.is_err());
}
