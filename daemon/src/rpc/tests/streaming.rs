//! Pictures and sound under load: slow clients, stuck clients, wrong pictures.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::ErrorKind;
use kith_common::call::Stage as Step;
use kith_common::call_capnp::{CallState, call, call_observer};
use kith_common::kith_capnp::kith;
use kith_common::media_capnp::video_sink;
use kith_common::rpc::{self, Pool, Side};
use tokio::net::UnixStream;
use tokio::task::{LocalSet, spawn_local};

use super::{Stage, picture, soon};

/// A connection at the level of the schema.
pub async fn raw(stage: &Stage) -> kith::Client {
    let stream = UnixStream::connect(&stage.socket).await.expect("the daemon listens");
    let (mut system, _) = rpc::system(stream, Side::Client, None, rpc::Limits::default(), &Pool::new());
    let bootstrap = system.bootstrap(Side::Server);
    spawn_local(system);
    bootstrap
}

fn raw_call(kith: &kith::Client, stage: &Stage) -> call::Client {
    let calls = kith.node_request().send().pipeline.get_node().calls_request().send().pipeline.get_calls();
    let mut request = calls.get_request();
    request.get().set_id(stage.call.handle().id().to_string());
    request.send().pipeline.get_call()
}

/// Holds every picture until it is let go.
#[derive(Default)]
struct Stuck {
    holding: Cell<usize>,
    sequences: RefCell<Vec<u64>>,
    go: tokio::sync::Notify,
}

struct StuckSink(Rc<Stuck>);

impl video_sink::Server for StuckSink {
    async fn picture(
        self: Rc<Self>,
        params: video_sink::PictureParams,
        _: video_sink::PictureResults,
    ) -> capnp::Result<()> {
        self.0.holding.set(self.0.holding.get() + 1);
        self.0.sequences.borrow_mut().push(params.get()?.get_picture()?.get_sequence());
        self.0.go.notified().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_stuck_sink_holds_two_pictures_then_gets_the_newest_and_harms_nobody() {
    let stage = Stage::set().await;
    let inside = async {
        let other = stage.client_call().await;
        let receiver = soon(other.receive_video()).await.expect("it is there");
        let kith = raw(&stage).await;
        let stuck = Rc::new(Stuck::default());
        let mut request = raw_call(&kith, &stage).receive_video_request();
        request.get().set_sink(capnp_rpc::new_client(StuckSink(Rc::clone(&stuck))));
        let _handle = request.send().promise.await.expect("it is there");
        for sequence in 1..=50 {
            stage.call.deliver_picture(picture(sequence, 640, 360));
            assert_eq!(soon(receiver.next()).await.map(|picture| picture.sequence), Ok(sequence));
        }
        assert_eq!(*stuck.sequences.borrow(), [1, 2]);
        stuck.go.notify_one();
        soon(async {
            while stuck.sequences.borrow().len() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(*stuck.sequences.borrow(), [1, 2, 50]);
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn a_wrong_picture_is_refused_and_the_sink_stays_usable() {
    let stage = Stage::set().await;
    let inside = async {
        let kith = raw(&stage).await;
        let mut request = raw_call(&kith, &stage).send_video_request();
        let mut format = request.get().init_format();
        format.set_width(64);
        format.set_height(32);
        format.set_frames_per_second_milli(30_000);
        let response = request.send().promise.await.expect("it is there");
        let source = response.get().and_then(|response| response.get_sink()).expect("a source");
        let sink: video_sink::Client = capnp::capability::FromClientHook::new(source.client.hook);
        for (width, height, bytes) in [(64, 32, 3071), (63, 32, 3072), (0, 0, 0), (65_534, 65_534, 3072), (64, 32, 0)] {
            let mut request = sink.picture_request();
            let mut picture = request.get().init_picture();
            picture.set_width(width);
            picture.set_height(height);
            picture.set_capture_monotonic_micros(u64::MAX);
            picture.init_i420(bytes);
            let error = soon(request.send().promise).await.err().expect("it does not fit");
            assert_eq!(error.kind, ErrorKind::Failed, "{error}");
        }
        let mut request = sink.picture_request();
        let mut picture = request.get().init_picture();
        picture.set_width(64);
        picture.set_height(32);
        picture.init_i420(3072);
        soon(request.send().promise).await.expect("it fits");
        assert!(soon(stage.call.source_picture()).await.is_some());
        stage.call.end();
        let mut request = sink.picture_request();
        let mut picture = request.get().init_picture();
        picture.set_width(64);
        picture.set_height(32);
        picture.init_i420(3072);
        let error = soon(request.send().promise).await.err().expect("the call has ended");
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn a_source_without_a_size_or_a_rate_is_refused() {
    let stage = Stage::set().await;
    let inside = async {
        let kith = raw(&stage).await;
        for (width, height, fps) in [(0, 0, 30_000), (641, 360, 30_000), (640, 360, 0), (640, 360, u32::MAX)] {
            let mut request = raw_call(&kith, &stage).send_video_request();
            let mut format = request.get().init_format();
            format.set_width(width);
            format.set_height(height);
            format.set_frames_per_second_milli(fps);
            assert!(soon(request.send().promise).await.is_err(), "{width}x{height} {fps}");
        }
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn dropping_the_handle_ends_the_subscription() {
    let stage = Stage::set().await;
    let inside = async {
        let kith = raw(&stage).await;
        let stuck = Rc::new(Stuck::default());
        let mut request = raw_call(&kith, &stage).receive_video_request();
        request.get().set_sink(capnp_rpc::new_client(StuckSink(Rc::clone(&stuck))));
        let handle = request.send().promise.await.expect("it is there");
        drop(handle);
        // The daemon lets go of the sink: only we hold it then.
        soon(async {
            while Rc::strong_count(&stuck) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    LocalSet::new().run_until(inside).await;
}

/// A client that wants to know when a call ends and has no other method.
struct EndOnly(Rc<Cell<usize>>, tokio_util::sync::CancellationToken);

impl call_observer::Server for EndOnly {
    async fn changed(
        self: Rc<Self>,
        params: call_observer::ChangedParams,
        _: call_observer::ChangedResults,
    ) -> capnp::Result<()> {
        self.0.set(self.0.get() + 1);
        if params.get()?.get_info()?.get_state()? == CallState::Ended {
            self.1.cancel();
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_observer_may_leave_out_what_does_not_interest_it() {
    let stage = Stage::set().await;
    stage.call.stage(Step::Ring, 1);
    let inside = async {
        let kith = raw(&stage).await;
        let (changes, ended) = (Rc::new(Cell::new(0)), tokio_util::sync::CancellationToken::new());
        let mut request = raw_call(&kith, &stage).watch_request();
        request.get().set_observer(capnp_rpc::new_client(EndOnly(Rc::clone(&changes), ended.clone())));
        let _handle = soon(request.send().promise).await.expect("it is there");
        stage.call.stats(kith_common::call::CallStats::default());
        stage.call.end();
        soon(ended.cancelled()).await;
        assert!(changes.get() >= 1);
    };
    LocalSet::new().run_until(inside).await;
}
