//! The log of calls.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::call::outcome;
use super::link::no_daemon;
use super::{Client, Feed, feed, keep};
use crate::call::{CallRecord, LogQuery};
use crate::call_capnp::{call_log_observer, call_records_outcome, cleared_outcome};
use crate::convert::{read_failure, read_outcome, read_records};
use crate::failure::Failure;
use crate::ids::CallId;

fn unknown() -> capnp::Error {
    capnp::Error::failed("the outcome is not known to this version".into())
}

impl Client {
    /// Calls that are over, the newest first. Fewer than there may be where they would not fit an answer: ask again before
    /// the last of them.
    pub async fn call_log(&self, query: LogQuery) -> Result<Vec<CallRecord>, Failure> {
        let log = self.node.ask(move |node, _| async move {
            let mut request = node.calls_request().send().pipeline.get_calls().log_request();
            request.get().set_target(query.target);
            request.get().set_text(query.text);
            request.get().set_before(query.before.position);
            request.get().set_before_unix_ms(query.before.unix_ms);
            request.get().set_limit(query.limit);
            let response = request.send().promise.await?;
            match response.get()?.get_outcome()?.which() {
                Ok(call_records_outcome::Records(records)) => Ok(read_records(records?)?),
                Ok(call_records_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
                Ok(call_records_outcome::Unspecified(())) | Err(_) => Err(unknown().into()),
            }
        });
        log.await
    }

    /// The newest of the log now and each time that rows have come or gone; whoever is slow misses states in between, never
    /// the newest.
    pub async fn watch_call_log(&self) -> Result<Feed<Vec<CallRecord>>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.calls_request().send().pipeline.get_calls().watch_log_request();
            request.get().set_observer(capnp_rpc::new_client(LogObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// Here only. Fails with `NotFound` when it is not in the log.
    pub async fn forget_call(&self, id: CallId) -> Result<(), Failure> {
        let forget = self.node.ask(move |node, _| async move {
            let mut request = node.calls_request().send().pipeline.get_calls().forget_call_request();
            request.get().set_id(id.to_string());
            outcome!(request)
        });
        forget.await
    }

    /// All calls with that peer, or without one all there are; here only. How many there were.
    pub async fn clear_call_log(&self, target: Option<&str>) -> Result<u64, Failure> {
        let target = target.unwrap_or_default().to_owned();
        let clear = self.node.ask(|node, _| async move {
            let mut request = node.calls_request().send().pipeline.get_calls().clear_log_request();
            request.get().set_target(target);
            let response = request.send().promise.await?;
            match response.get()?.get_outcome()?.which() {
                Ok(cleared_outcome::Removed(count)) => Ok(count),
                Ok(cleared_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
                Ok(cleared_outcome::Unspecified(())) | Err(_) => Err(unknown().into()),
            }
        });
        clear.await
    }
}

struct LogObserver(mpsc::Sender<Vec<CallRecord>>);

impl call_log_observer::Server for LogObserver {
    async fn changed(
        self: Rc<Self>,
        params: call_log_observer::ChangedParams,
        _: call_log_observer::ChangedResults,
    ) -> capnp::Result<()> {
        let gone = |_| capnp::Error::disconnected("nobody follows the log of calls any more".into());
        self.0.send(read_records(params.get()?.get_newest()?)?).await.map_err(gone)
    }
}
