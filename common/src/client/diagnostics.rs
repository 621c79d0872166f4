//! How this node is reached, and how the ways to its peers do.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::call::outcome;
use super::link::no_daemon;
use super::{Client, Feed, feed, keep};
use crate::convert::{
    read_bandwidth, read_failure, read_hop, read_network, read_outcome, read_ping, read_samples, text,
};
use crate::diagnostics::{BandwidthProgress, BandwidthResult, Hop, LinkSample, NetworkState, PingReply};
use crate::diagnostics_capnp::{
    bandwidth_observer, bandwidth_outcome, links_observer, network_observer, ping_observer, trace_observer,
};
use crate::failure::Failure;

fn gone<T>(_: T) -> capnp::Error {
    capnp::Error::disconnected("nobody listens any more".into())
}

impl Client {
    /// Addresses, NAT, and what they mean.
    pub async fn network(&self) -> Result<NetworkState, Failure> {
        let network = self.node.ask(|node, _| async move {
            let diagnostics = node.diagnostics_request().send().pipeline.get_diagnostics();
            let response = diagnostics.network_request().send().promise.await?;
            Ok(read_network(response.get()?.get_state()?)?)
        });
        network.await
    }

    /// The same now and after each change.
    pub async fn watch_network(&self) -> Result<Feed<NetworkState>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.diagnostics_request().send().pipeline.get_diagnostics().watch_network_request();
            request.get().set_observer(capnp_rpc::new_client(NetworkObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// Pings `target` over each way there is, `count` times. Replies go to `replies` as they come; the future ends with
    /// the last. Dropping the future cancels.
    pub async fn ping(&self, target: &str, count: u32, replies: mpsc::Sender<PingReply>) -> Result<(), Failure> {
        let target = target.to_owned();
        let ping = self.node.ask(move |node, _| async move {
            let mut request = node.diagnostics_request().send().pipeline.get_diagnostics().ping_request();
            request.get().set_target(target);
            request.get().set_count(count);
            request.get().set_observer(capnp_rpc::new_client(PingObserver(replies)));
            outcome!(request)
        });
        ping.await
    }

    /// The routers on the way to `target`, to `hops` as they answer.
    pub async fn trace(&self, target: &str, hops: mpsc::Sender<Hop>) -> Result<(), Failure> {
        let target = target.to_owned();
        let trace = self.node.ask(move |node, _| async move {
            let mut request = node.diagnostics_request().send().pipeline.get_diagnostics().trace_request();
            request.get().set_target(target);
            request.get().set_observer(capnp_rpc::new_client(TraceObserver(hops)));
            outcome!(request)
        });
        trace.await
    }

    /// Measures both directions, `seconds` each (at most 10), with the peer's consent.
    pub async fn bandwidth(
        &self,
        target: &str,
        seconds: u32,
        progress: mpsc::Sender<BandwidthProgress>,
    ) -> Result<BandwidthResult, Failure> {
        let target = target.to_owned();
        let bandwidth = self.node.ask(move |node, _| async move {
            let mut request = node.diagnostics_request().send().pipeline.get_diagnostics().bandwidth_request();
            request.get().set_target(target);
            request.get().set_seconds(seconds);
            request.get().set_observer(capnp_rpc::new_client(BandwidthObserver(progress)));
            let response = request.send().promise.await?;
            match response.get()?.get_outcome()?.which() {
                Ok(bandwidth_outcome::Measured(result)) => Ok(read_bandwidth(result?)?),
                Ok(bandwidth_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
                Ok(bandwidth_outcome::Unspecified(())) | Err(_) => {
                    Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
                }
            }
        });
        bandwidth.await
    }

    /// A text to paste into a question, with personal parts masked.
    pub async fn diagnostics_report(&self) -> Result<String, Failure> {
        let report = self.node.ask(|node, _| async move {
            let diagnostics = node.diagnostics_request().send().pipeline.get_diagnostics();
            let response = diagnostics.report_request().send().promise.await?;
            Ok(text(response.get()?.get_text()?)?)
        });
        report.await
    }

    /// The last minutes, oldest first.
    pub async fn link_history(&self) -> Result<Vec<LinkSample>, Failure> {
        let history = self.node.ask(|node, _| async move {
            let diagnostics = node.diagnostics_request().send().pipeline.get_diagnostics();
            let response = diagnostics.history_request().send().promise.await?;
            Ok(read_samples(response.get()?.get_samples()?)?)
        });
        history.await
    }

    /// Each second's rows as they are made: one a peer, and one of all together.
    pub async fn watch_links(&self) -> Result<Feed<Vec<LinkSample>>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.diagnostics_request().send().pipeline.get_diagnostics().watch_links_request();
            request.get().set_observer(capnp_rpc::new_client(LinksObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }
}

struct NetworkObserver(mpsc::Sender<NetworkState>);

impl network_observer::Server for NetworkObserver {
    async fn changed(
        self: Rc<Self>,
        params: network_observer::ChangedParams,
        _: network_observer::ChangedResults,
    ) -> capnp::Result<()> {
        self.0.send(read_network(params.get()?.get_state()?)?).await.map_err(gone)
    }
}

struct PingObserver(mpsc::Sender<PingReply>);

impl ping_observer::Server for PingObserver {
    async fn reply(
        self: Rc<Self>,
        params: ping_observer::ReplyParams,
        _: ping_observer::ReplyResults,
    ) -> capnp::Result<()> {
        self.0.send(read_ping(params.get()?.get_reply()?)?).await.map_err(gone)
    }
}

struct TraceObserver(mpsc::Sender<Hop>);

impl trace_observer::Server for TraceObserver {
    async fn hop(
        self: Rc<Self>,
        params: trace_observer::HopParams,
        _: trace_observer::HopResults,
    ) -> capnp::Result<()> {
        self.0.send(read_hop(params.get()?.get_hop()?)?).await.map_err(gone)
    }
}

struct BandwidthObserver(mpsc::Sender<BandwidthProgress>);

impl bandwidth_observer::Server for BandwidthObserver {
    async fn progress(
        self: Rc<Self>,
        params: bandwidth_observer::ProgressParams,
        _: bandwidth_observer::ProgressResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let progress =
            BandwidthProgress { done: params.get_done_bytes(), total: params.get_total_bytes(), bps: params.get_bps() };
        self.0.send(progress).await.map_err(gone)
    }
}

struct LinksObserver(mpsc::Sender<Vec<LinkSample>>);

impl links_observer::Server for LinksObserver {
    async fn second(
        self: Rc<Self>,
        params: links_observer::SecondParams,
        _: links_observer::SecondResults,
    ) -> capnp::Result<()> {
        self.0.send(read_samples(params.get()?.get_samples()?)?).await.map_err(gone)
    }
}
