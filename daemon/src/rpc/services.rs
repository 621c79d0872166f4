//! The services of the node.

use std::rc::Rc;

use kith_common::convert::{write_failure, write_service, write_services};
use kith_common::failure::Failure;
use kith_common::node::ServiceInfo;
use kith_common::service_capnp::{service_outcome, services};

use super::connection::Connection;
use super::watch;

pub struct ServicesServer(pub Rc<Connection>);

impl services::Server for ServicesServer {
    async fn list(self: Rc<Self>, _: services::ListParams, mut results: services::ListResults) -> capnp::Result<()> {
        let rows = self.0.daemon.services.rows().borrow().clone();
        write_services(&rows, results.get().init_services(rows.len() as u32));
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        params: services::WatchParams,
        mut results: services::WatchResults,
    ) -> capnp::Result<()> {
        let watching = watch::services(self.0.daemon.services.rows(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("services", watching)?);
        Ok(())
    }

    async fn start(
        self: Rc<Self>,
        params: services::StartParams,
        mut results: services::StartResults,
    ) -> capnp::Result<()> {
        let outcome = self.0.daemon.services.start_service(params.get()?.get_name()?.to_str()?).await;
        write_outcome(outcome, results.get().init_outcome());
        Ok(())
    }

    async fn stop(
        self: Rc<Self>,
        params: services::StopParams,
        mut results: services::StopResults,
    ) -> capnp::Result<()> {
        let outcome = self.0.daemon.services.stop_service(params.get()?.get_name()?.to_str()?).await;
        write_outcome(outcome, results.get().init_outcome());
        Ok(())
    }

    async fn set_port(
        self: Rc<Self>,
        params: services::SetPortParams,
        mut results: services::SetPortResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let outcome = self.0.daemon.services.set_port(params.get_name()?.to_str()?, params.get_port()).await;
        write_outcome(outcome, results.get().init_outcome());
        Ok(())
    }
}

fn write_outcome(outcome: Result<ServiceInfo, Failure>, to: service_outcome::Builder<'_>) {
    match outcome {
        Ok(row) => write_service(&row, to.init_service()),
        Err(failure) => write_failure(&failure, to.init_failed()),
    }
}
