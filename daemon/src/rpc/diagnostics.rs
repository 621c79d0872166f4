//! Reachability and measurements for clients.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use capnp::Error;
use kith_common::convert::{
    write_bandwidth, write_failure, write_hop, write_network, write_outcome, write_ping, write_samples,
};
use kith_common::diagnostics::{LinkSample, NetworkState};
use kith_common::diagnostics_capnp::{
    bandwidth_observer, diagnostics, links_observer, network_observer, ping_observer, trace_observer,
};
use kith_common::failure::Failure;
use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::node::{status, target};

/// Replies of a measurement that wait for its observer; the measurement waits then.
const REPLIES: usize = 4;

pub struct DiagnosticsServer(pub Rc<Connection>);

/// Runs a measurement and tells its observer, one report after the other. An observer that fails ends both.
async fn told<T, O>(
    measuring: impl Future<Output = T>,
    mut reports: mpsc::Receiver<O>,
    mut tell: impl AsyncFnMut(O) -> capnp::Result<()>,
) -> capnp::Result<T> {
    let telling = async {
        while let Some(report) = reports.recv().await {
            tell(report).await?;
        }
        Ok(())
    };
    let (measured, ()) = futures::try_join!(async { Ok::<_, Error>(measuring.await) }, telling)?;
    Ok(measured)
}

impl diagnostics::Server for DiagnosticsServer {
    async fn network(
        self: Rc<Self>,
        _: diagnostics::NetworkParams,
        mut results: diagnostics::NetworkResults,
    ) -> capnp::Result<()> {
        let state = Arc::clone(&self.0.daemon.diagnostics.network().borrow());
        write_network(&state, results.get().init_state());
        Ok(())
    }

    async fn watch_network(
        self: Rc<Self>,
        params: diagnostics::WatchNetworkParams,
        mut results: diagnostics::WatchNetworkResults,
    ) -> capnp::Result<()> {
        let watching = watch_network(self.0.daemon.diagnostics.network(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("network", watching)?);
        Ok(())
    }

    async fn ping(
        self: Rc<Self>,
        params: diagnostics::PingParams,
        mut results: diagnostics::PingResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let observer: ping_observer::Client = params.get_observer()?;
        let (sender, replies) = mpsc::channel(REPLIES);
        let diagnostics = self.0.daemon.diagnostics.clone();
        let (target, count) = (target(&self.0, params.get_target()?), params.get_count());
        let measuring = async move { diagnostics.ping(&target?, count, sender).await };
        let outcome = told(measuring, replies, async |reply| {
            let mut request = observer.reply_request();
            write_ping(&reply, request.get().init_reply());
            request.send().promise.await.map(drop)
        });
        write_outcome(outcome.await?, results.get().init_outcome());
        Ok(())
    }

    async fn trace(
        self: Rc<Self>,
        params: diagnostics::TraceParams,
        mut results: diagnostics::TraceResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let observer: trace_observer::Client = params.get_observer()?;
        let (sender, hops) = mpsc::channel(REPLIES);
        let diagnostics = self.0.daemon.diagnostics.clone();
        let target = target(&self.0, params.get_target()?);
        let measuring = async move { diagnostics.trace(&target?, sender).await };
        let outcome = told(measuring, hops, async |hop| {
            let mut request = observer.hop_request();
            write_hop(&hop, request.get().init_hop());
            request.send().promise.await.map(drop)
        });
        write_outcome(outcome.await?, results.get().init_outcome());
        Ok(())
    }

    async fn bandwidth(
        self: Rc<Self>,
        params: diagnostics::BandwidthParams,
        mut results: diagnostics::BandwidthResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let observer: bandwidth_observer::Client = params.get_observer()?;
        let (sender, progress) = mpsc::channel(REPLIES);
        let diagnostics = self.0.daemon.diagnostics.clone();
        let (target, seconds) = (target(&self.0, params.get_target()?), params.get_seconds());
        let measuring = async move { diagnostics.bandwidth(&target?, seconds, sender).await };
        let outcome = told(measuring, progress, async |progress| {
            let mut request = observer.progress_request();
            request.get().set_done_bytes(progress.done);
            request.get().set_total_bytes(progress.total);
            request.get().set_bps(progress.bps);
            request.send().promise.await.map(drop)
        });
        let outcome: Result<_, Failure> = outcome.await?;
        let to = results.get().init_outcome();
        match outcome {
            Ok(result) => write_bandwidth(&result, to.init_measured()),
            Err(failure) => write_failure(&failure, to.init_failed()),
        }
        Ok(())
    }

    async fn report(
        self: Rc<Self>,
        _: diagnostics::ReportParams,
        mut results: diagnostics::ReportResults,
    ) -> capnp::Result<()> {
        results.get().set_text(self.0.daemon.diagnostics.report(&status(&self.0)));
        Ok(())
    }

    async fn history(
        self: Rc<Self>,
        _: diagnostics::HistoryParams,
        mut results: diagnostics::HistoryResults,
    ) -> capnp::Result<()> {
        let samples = self.0.daemon.diagnostics.history();
        write_samples(&samples, results.get().init_samples(length(&samples)));
        Ok(())
    }

    async fn watch_links(
        self: Rc<Self>,
        params: diagnostics::WatchLinksParams,
        mut results: diagnostics::WatchLinksResults,
    ) -> capnp::Result<()> {
        let watching = watch_links(self.0.daemon.diagnostics.second(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("links", watching)?);
        Ok(())
    }
}

fn length(samples: &[LinkSample]) -> u32 {
    u32::try_from(samples.len()).expect("a history is bounded by a few thousand")
}

async fn watch_network(
    mut network: watch::Receiver<Arc<NetworkState>>,
    observer: network_observer::Client,
) -> capnp::Result<()> {
    loop {
        let state = Arc::clone(&network.borrow_and_update());
        let mut request = observer.changed_request();
        write_network(&state, request.get().init_state());
        request.send().promise.await?;
        network.changed().await.map_err(|_| shutting_down())?;
    }
}

/// From the next second on; a client that is slow misses some.
async fn watch_links(
    mut second: watch::Receiver<Arc<Vec<LinkSample>>>,
    observer: links_observer::Client,
) -> capnp::Result<()> {
    loop {
        second.changed().await.map_err(|_| shutting_down())?;
        let samples = Arc::clone(&second.borrow_and_update());
        let mut request = observer.second_request();
        write_samples(&samples, request.get().init_samples(length(&samples)));
        request.send().promise.await?;
    }
}

fn shutting_down() -> Error {
    Error::disconnected("the daemon is shutting down".into())
}
