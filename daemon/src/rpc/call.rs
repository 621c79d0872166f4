//! Calls and each of them.

use std::rc::Rc;

use capnp::Error;
use kith_common::call::{CallOptions, CallRecord, LogQuery, Switch};
use kith_common::call_capnp::{call, call_records_outcome, calls};
use kith_common::chat::Before;
use kith_common::convert::{
    Enumeration, read_call_id, read_format, read_options, text, write_call_info, write_failure, write_outcome,
    write_records,
};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;

use super::connection::Connection;
use super::media::{self, AudioSource, VideoSource};
use super::{node, room, watch};
use crate::calls::CallHandle;

pub struct CallsServer(pub Rc<Connection>);

impl calls::Server for CallsServer {
    async fn list(self: Rc<Self>, _: calls::ListParams, mut results: calls::ListResults) -> capnp::Result<()> {
        let calls = self.0.daemon.calls.list();
        let mut to = results.get().init_calls(calls.len() as u32);
        for (index, info) in (0..).zip(&calls) {
            write_call_info(info, to.reborrow().get(index));
        }
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: calls::WatchParams, mut results: calls::WatchResults) -> capnp::Result<()> {
        let watching = watch::calls(Rc::clone(&self.0), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("calls", watching)?);
        Ok(())
    }

    async fn dial(self: Rc<Self>, params: calls::DialParams, mut results: calls::DialResults) -> capnp::Result<()> {
        let params = params.get()?;
        // The client takes the second line for what to try.
        let refused = |failure: Failure| Error::failed(format!("{}\n{}", failure.message, failure.advice));
        let target = node::target(&self.0, params.get_target()?).map_err(refused)?;
        let call = self.0.daemon.calls.dial(target, read_options(params.get_options()?));
        results.get().set_call(CallServer::client(&self.0, call));
        Ok(())
    }

    async fn get(self: Rc<Self>, params: calls::GetParams, mut results: calls::GetResults) -> capnp::Result<()> {
        let id = read_call_id(params.get()?.get_id()?)?;
        let call = self.0.daemon.calls.get(id).ok_or_else(|| Error::failed(format!("there is no call {id}")))?;
        results.get().set_call(CallServer::client(&self.0, call));
        Ok(())
    }

    async fn log(self: Rc<Self>, params: calls::LogParams, mut results: calls::LogResults) -> capnp::Result<()> {
        let params = params.get()?;
        let query = LogQuery {
            target: text(params.get_target()?)?,
            text: text(params.get_text()?)?,
            before: Before { position: params.get_before(), unix_ms: params.get_before_unix_ms() },
            limit: params.get_limit(),
        };
        let page = match anybody_or(&self.0, &query.target) {
            Ok(peer) => self.0.daemon.calls.log().page(&query, peer).await,
            Err(failure) => Err(failure),
        };
        write_log(page.as_deref().map(room::calls), results.get().init_outcome());
        Ok(())
    }

    async fn watch_log(
        self: Rc<Self>,
        params: calls::WatchLogParams,
        mut results: calls::WatchLogResults,
    ) -> capnp::Result<()> {
        let watching = watch::call_log(self.0.daemon.calls.log().clone(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("the log of calls", watching)?);
        Ok(())
    }

    async fn forget_call(
        self: Rc<Self>,
        params: calls::ForgetCallParams,
        mut results: calls::ForgetCallResults,
    ) -> capnp::Result<()> {
        let forgotten = self.0.daemon.calls.log().forget(read_call_id(params.get()?.get_id()?)?).await;
        write_outcome(forgotten, results.get().init_outcome());
        Ok(())
    }

    async fn clear_log(
        self: Rc<Self>,
        params: calls::ClearLogParams,
        mut results: calls::ClearLogResults,
    ) -> capnp::Result<()> {
        let cleared = match anybody_or(&self.0, params.get()?.get_target()?.to_str()?) {
            Ok(peer) => self.0.daemon.calls.log().clear(peer).await,
            Err(failure) => Err(failure),
        };
        let mut to = results.get().init_outcome();
        match cleared {
            Ok(count) => to.set_removed(count),
            Err(failure) => write_failure(&failure, to.init_failed()),
        }
        Ok(())
    }
}

/// Whose calls are meant. An empty target: everybody's.
fn anybody_or(connection: &Connection, target: &str) -> Result<Option<PeerId>, Failure> {
    if target.trim().is_empty() { Ok(None) } else { connection.daemon.contacts.peer(target).map(Some) }
}

fn write_log(page: Result<&[CallRecord], &Failure>, to: call_records_outcome::Builder<'_>) {
    match page {
        Ok(records) => write_records(records, to.init_records(records.len() as u32)),
        Err(failure) => write_failure(failure, to.init_failed()),
    }
}

pub struct CallServer {
    connection: Rc<Connection>,
    call: CallHandle,
}

impl CallServer {
    pub fn client(connection: &Rc<Connection>, call: CallHandle) -> call::Client {
        capnp_rpc::new_client(Self { connection: Rc::clone(connection), call })
    }
}

impl call::Server for CallServer {
    async fn info(self: Rc<Self>, _: call::InfoParams, mut results: call::InfoResults) -> capnp::Result<()> {
        write_call_info(&self.call.info().borrow(), results.get().init_info());
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: call::WatchParams, mut results: call::WatchResults) -> capnp::Result<()> {
        let taken = self.connection.taken.subscribe();
        let watching = watch::call(self.call.clone(), taken, params.get()?.get_observer()?);
        results.get().set_handle(self.connection.subscribe("a call", watching)?);
        Ok(())
    }

    async fn answer(self: Rc<Self>, params: call::AnswerParams, mut results: call::AnswerResults) -> capnp::Result<()> {
        let options: CallOptions = read_options(params.get()?.get_options()?);
        write_outcome(self.call.answer(options).await, results.get().init_outcome());
        Ok(())
    }

    async fn decline(self: Rc<Self>, _: call::DeclineParams, mut results: call::DeclineResults) -> capnp::Result<()> {
        self.call.decline().await;
        write_outcome(Ok(()), results.get().init_outcome());
        Ok(())
    }

    async fn hang_up(self: Rc<Self>, _: call::HangUpParams, mut results: call::HangUpResults) -> capnp::Result<()> {
        self.call.hang_up().await;
        write_outcome(Ok(()), results.get().init_outcome());
        Ok(())
    }

    async fn send_video(
        self: Rc<Self>,
        params: call::SendVideoParams,
        mut results: call::SendVideoResults,
    ) -> capnp::Result<()> {
        let format = read_format(params.get()?.get_format()?)?;
        results.get().set_sink(VideoSource::client(&self.connection, self.call.clone(), format)?);
        Ok(())
    }

    async fn send_audio(
        self: Rc<Self>,
        _: call::SendAudioParams,
        mut results: call::SendAudioResults,
    ) -> capnp::Result<()> {
        results.get().set_sink(AudioSource::client(&self.connection, &self.call)?);
        Ok(())
    }

    async fn receive_video(
        self: Rc<Self>,
        params: call::ReceiveVideoParams,
        mut results: call::ReceiveVideoResults,
    ) -> capnp::Result<()> {
        let sending = media::send_pictures(self.call.hub().receive_video(), params.get()?.get_sink()?);
        results.get().set_handle(self.connection.subscribe("a picture sink", sending)?);
        Ok(())
    }

    async fn receive_audio(
        self: Rc<Self>,
        params: call::ReceiveAudioParams,
        mut results: call::ReceiveAudioResults,
    ) -> capnp::Result<()> {
        let sending = media::send_sounds(self.call.hub().receive_audio(), params.get()?.get_sink()?);
        results.get().set_handle(self.connection.subscribe("a sound sink", sending)?);
        Ok(())
    }

    async fn set_microphone(
        self: Rc<Self>,
        params: call::SetMicrophoneParams,
        mut results: call::SetMicrophoneResults,
    ) -> capnp::Result<()> {
        self.call.set_microphone(Switch::required(params.get()?.get_state(), "the microphone's state")?).await;
        write_outcome(Ok(()), results.get().init_outcome());
        Ok(())
    }

    async fn set_camera(
        self: Rc<Self>,
        params: call::SetCameraParams,
        mut results: call::SetCameraResults,
    ) -> capnp::Result<()> {
        self.call.set_camera(Switch::required(params.get()?.get_state(), "the camera's state")?).await;
        write_outcome(Ok(()), results.get().init_outcome());
        Ok(())
    }
}
