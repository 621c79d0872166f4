//! The listeners of a node: list, watch, stop, start, move.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::link::no_daemon;
use super::{Client, Feed, feed, keep};
use crate::convert::{read_failure, read_service, read_services};
use crate::failure::Failure;
use crate::node::ServiceInfo;
use crate::service_capnp::{service_outcome, services_observer};

macro_rules! service {
    ($request:expr) => {{
        let response = $request.send().promise.await?;
        match response.get()?.get_outcome()?.which() {
            Ok(service_outcome::Service(service)) => Ok(read_service(service?)?),
            Ok(service_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
            Ok(service_outcome::Unspecified(())) | Err(_) => {
                Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
            }
        }
    }};
}

impl Client {
    pub async fn services(&self) -> Result<Vec<ServiceInfo>, Failure> {
        let services = self.node.ask(|node, _| async move {
            let services = node.services_request().send().pipeline.get_services();
            let response = services.list_request().send().promise.await?;
            Ok(read_services(response.get()?.get_services()?)?)
        });
        services.await
    }

    /// All rows now and after each change; whoever is slow misses rows in between, never the newest.
    pub async fn watch_services(&self) -> Result<Feed<Vec<ServiceInfo>>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.services_request().send().pipeline.get_services().watch_request();
            request.get().set_observer(capnp_rpc::new_client(ServicesObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// The row as it is then. A port that is taken is a row in state `failed`, no failure of this.
    pub async fn start_service(&self, name: &str) -> Result<ServiceInfo, Failure> {
        let name = name.to_owned();
        let start = self.node.ask(|node, _| async move {
            let mut request = node.services_request().send().pipeline.get_services().start_request();
            request.get().set_name(name);
            service!(request)
        });
        start.await
    }

    pub async fn stop_service(&self, name: &str) -> Result<ServiceInfo, Failure> {
        let name = name.to_owned();
        let stop = self.node.ask(|node, _| async move {
            let mut request = node.services_request().send().pipeline.get_services().stop_request();
            request.get().set_name(name);
            service!(request)
        });
        stop.await
    }

    /// Moves it to another port; 0: any.
    pub async fn set_service_port(&self, name: &str, port: u16) -> Result<ServiceInfo, Failure> {
        let name = name.to_owned();
        let set = self.node.ask(move |node, _| async move {
            let mut request = node.services_request().send().pipeline.get_services().set_port_request();
            request.get().set_name(name);
            request.get().set_port(port);
            service!(request)
        });
        set.await
    }
}

struct ServicesObserver(mpsc::Sender<Vec<ServiceInfo>>);

impl services_observer::Server for ServicesObserver {
    async fn changed(
        self: Rc<Self>,
        params: services_observer::ChangedParams,
        _: services_observer::ChangedResults,
    ) -> capnp::Result<()> {
        let services = read_services(params.get()?.get_services()?)?;
        let gone = |_| capnp::Error::disconnected("nobody follows the services any more".into());
        self.0.send(services).await.map_err(gone)
    }
}
