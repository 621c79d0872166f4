//! Tells observers what happens. One call to an observer is in flight at a time; whoever is slow is told the newest
//! when it is ready, and nobody else notices. Only the stages of a call are all told, in order.

use std::rc::Rc;
use std::sync::Arc;

use capnp::Error;
use kith_common::call::{CallState, LogQuery, MAX_LOG_NEWEST, Medium};
use kith_common::call_capnp::{call_log_observer, call_observer, calls_observer};
use kith_common::contact::People;
use kith_common::contact_capnp::people_observer;
use kith_common::convert::{
    Enumeration, write_call_info, write_peers, write_people, write_records, write_services, write_stage, write_stats,
};
use kith_common::node::{PeerInfo, ServiceInfo};
use kith_common::peer_capnp::peers_observer;
use kith_common::service_capnp::services_observer;
use tokio::sync::{broadcast, watch};

use super::call::CallServer;
use super::connection::Connection;
use super::node::MAX_PEERS;
use super::{chat, room};
use crate::calls::{CallHandle, CallLog};

/// The list of peers, now and after each change.
pub async fn peers(
    mut peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    observer: peers_observer::Client,
) -> capnp::Result<()> {
    loop {
        let list = Arc::clone(&peers.borrow_and_update());
        let list = &list[..list.len().min(MAX_PEERS)];
        let mut request = observer.changed_request();
        write_peers(list, request.get().init_peers(list.len() as u32));
        request.send().promise.await?;
        peers.changed().await.map_err(|_| shutting_down())?;
    }
}

/// The rows of the services, now and after each change.
pub async fn services(
    mut rows: watch::Receiver<Arc<Vec<ServiceInfo>>>,
    observer: services_observer::Client,
) -> capnp::Result<()> {
    loop {
        let list = Arc::clone(&rows.borrow_and_update());
        let mut request = observer.changed_request();
        write_services(&list, request.get().init_services(list.len() as u32));
        request.send().promise.await?;
        rows.changed().await.map_err(|_| shutting_down())?;
    }
}

/// Contacts, requests and who is there, now and after each change.
pub async fn people(mut people: watch::Receiver<Arc<People>>, observer: people_observer::Client) -> capnp::Result<()> {
    loop {
        let now = Arc::clone(&people.borrow_and_update());
        let mut request = observer.changed_request();
        write_people(&room::people(&now), request.get().init_people());
        request.send().promise.await?;
        people.changed().await.map_err(|_| shutting_down())?;
    }
}

/// The calls that go on, then each new one and each change.
pub async fn calls(connection: Rc<Connection>, observer: calls_observer::Client) -> capnp::Result<()> {
    let mut feed = connection.daemon.calls.subscribe();
    while let Some((info, handle)) = feed.next().await {
        let mut request = observer.call_request();
        write_call_info(&info, request.get().init_info());
        request.get().set_call(CallServer::client(&connection, handle));
        request.send().promise.await?;
    }
    Err(shutting_down())
}

/// The newest calls of the log, now and each time that rows have come or gone.
pub async fn call_log(log: CallLog, observer: call_log_observer::Client) -> capnp::Result<()> {
    let newest = LogQuery { limit: MAX_LOG_NEWEST, ..LogQuery::default() };
    let mut changes = log.changes();
    loop {
        changes.mark_unchanged();
        let records = chat::read(async || log.page(&newest, None).await).await;
        let records = room::calls(&records);
        let mut request = observer.changed_request();
        write_records(records, request.get().init_newest(records.len() as u32));
        request.send().promise.await?;
        changes.changed().await.map_err(|_| shutting_down())?;
    }
}

/// A client may leave out what does not interest it (a method it does not have is an error of its own); only one that is
/// gone ends the watch.
pub fn heard<T>(outcome: capnp::Result<T>) -> capnp::Result<()> {
    match outcome {
        Err(error) if error.kind == capnp::ErrorKind::Disconnected => Err(error),
        _ => Ok(()),
    }
}

/// Everything about one call, until it has ended.
pub async fn call(
    handle: CallHandle,
    mut taken: broadcast::Receiver<(kith_common::ids::CallId, Medium)>,
    observer: call_observer::Client,
) -> capnp::Result<()> {
    let id = handle.id();
    let (mut info, mut stages, mut stats) = (handle.info(), handle.stages(), handle.stats());
    // The first look tells everything there is.
    info.mark_changed();
    stats.mark_changed();
    let mut told = 0;
    loop {
        let now = info.has_changed().unwrap_or(false).then(|| info.borrow_and_update().clone());
        let ended = now.as_ref().is_some_and(|info| info.state == CallState::Ended);
        let new_stages = stages.borrow_and_update().get(told..).unwrap_or_default().to_vec();
        for stage in &new_stages {
            let mut request = observer.stage_request();
            write_stage(stage, request.get().init_report());
            heard(request.send().promise.await)?;
        }
        told += new_stages.len();
        // The final figures come before the end.
        let figures = stats.has_changed().unwrap_or(false).then(|| stats.borrow_and_update().clone()).flatten();
        if let Some(figures) = figures {
            let mut request = observer.stats_request();
            write_stats(&figures, request.get().init_stats());
            heard(request.send().promise.await)?;
        }
        if let Some(now) = now {
            let mut request = observer.changed_request();
            write_call_info(&now, request.get().init_info());
            heard(request.send().promise.await)?;
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            // A call that is forgotten while somebody watches it has told its end already.
            changed = info.changed() => match changed {
                // Waiting has marked it as seen, which it is not before it has been told.
                Ok(()) => info.mark_changed(),
                Err(_) => return Ok(()),
            },
            Ok(()) = stages.changed() => {}
            Ok(()) = stats.changed() => stats.mark_changed(),
            Ok((call, medium)) = taken.recv() => if call == id {
                let mut request = observer.source_taken_request();
                request.get().set_medium(medium.to_wire());
                heard(request.send().promise.await)?;
            },
        }
    }
}

fn shutting_down() -> Error {
    Error::disconnected("the daemon is shutting down".into())
}
