//! `services`: the listeners of the node, and starting, stopping and moving them.

use std::collections::BTreeMap;

use kith_common::client::Client;
use kith_common::clock::unix_ms;
use kith_common::node::{ServiceInfo, ServiceState};
use serde_json::{Value, json};

use crate::cli::{ServicesArguments, ServicesVerb};
use crate::output::{Output, ReaderGone, cells, name, table};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;
use crate::when::{ago, rfc3339};

pub async fn run(client: &Client, arguments: ServicesArguments, output: &Output) -> Result<(), Stop> {
    let row = match arguments.verb {
        None if arguments.watch => return watch(client, output).await,
        None => {
            let _gone = show_list(&client.services().await?, output);
            return Ok(());
        }
        Some(ServicesVerb::Start(which)) => client.start_service(&which.name).await?,
        Some(ServicesVerb::Stop(which)) => client.stop_service(&which.name).await?,
        Some(ServicesVerb::Port { which, port }) => client.set_service_port(&which.name, port).await?,
    };
    let _gone = output.row(&json_row(&row));
    let _gone = output.text(&sentence(&row));
    Ok(())
}

/// A row with the promised fields.
pub fn json_row(service: &ServiceInfo) -> Value {
    let mut row = json!(service);
    row["since"] = if service.since_unix_ms > 0 { rfc3339(service.since_unix_ms).into() } else { Value::Null };
    row
}

/// All rows as text.
pub fn text(services: &[ServiceInfo]) -> String {
    let mut rows = vec![cells(["SERVICE", "STATE", "PORT", "SINCE", ""])];
    let now = unix_ms();
    for service in services {
        let since = if service.since_unix_ms > 0 { ago(service.since_unix_ms, now) } else { "–".to_owned() };
        rows.push(cells([&service.name, &name(service.state), &port(service), &since, &remark(service)]));
    }
    table(&rows)
}

/// The port in use, or the one that is wanted while there is none.
fn port(service: &ServiceInfo) -> String {
    match (service.port, service.wanted_port) {
        (0, 0) => "–".to_owned(),
        (0, wanted) => format!("({wanted})"),
        (port, _) => port.to_string(),
    }
}

fn remark(service: &ServiceInfo) -> String {
    let mut remark = service.error.clone();
    if service.next_try_s > 0 {
        remark += &format!(" (next try in {} s)", service.next_try_s);
    }
    if !remark.is_empty() && !service.suggestion.is_empty() {
        remark += "; ";
    }
    remark + &service.suggestion
}

/// What has become of a service that was started, stopped or moved.
fn sentence(service: &ServiceInfo) -> String {
    let remark = remark(service);
    let because = if remark.is_empty() { ".".to_owned() } else { format!(": {remark}.") };
    let what = match service.state {
        ServiceState::Listening => format!("listening on port {}", service.port),
        ServiceState::Failed => "not listening".to_owned(),
        ServiceState::Stopped if service.wanted_port > 0 => {
            format!("stopped; started it will want port {}", service.wanted_port)
        }
        state => name(state),
    };
    format!("{} is {what}{because}", service.name)
}

fn show_list(services: &[ServiceInfo], output: &Output) -> Result<(), ReaderGone> {
    services.iter().try_for_each(|service| output.row(&json_row(service)))?;
    output.text(&text(services))
}

async fn watch(client: &Client, output: &Output) -> Result<(), Stop> {
    let mut feed = client.watch_services().await?;
    let mut interrupt = Interrupt::new()?;
    let mut known = BTreeMap::new();
    loop {
        let Some(services) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        let changes = changes(&mut known, &services);
        let shown = if output.is_live() {
            output.redraw("\x1b[H\x1b[2J");
            output.text(&text(&services))
        } else if output.is_json() {
            changes.iter().try_for_each(|service| output.row(&json_row(service)))
        } else if changes.is_empty() {
            Ok(())
        } else {
            output.text(&format!("{}\n", text(&services)))
        };
        if shown == Err(ReaderGone) {
            return Ok(());
        }
    }
}

/// Rows that are new or different since the last list. That a second has passed until the next try is no news.
fn changes(known: &mut BTreeMap<String, ServiceInfo>, services: &[ServiceInfo]) -> Vec<ServiceInfo> {
    let news = services.iter().filter(|service| {
        let counted = ServiceInfo { next_try_s: 0, ..(*service).clone() };
        known.insert(service.name.clone(), counted.clone()) != Some(counted)
    });
    news.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(state: ServiceState) -> ServiceInfo {
        ServiceInfo {
            name: "video".into(),
            state,
            port: 0,
            wanted_port: 9996,
            since_unix_ms: 1000,
            error: "UDP port 9996 is in use by python3 (process 4711)".into(),
            next_try_s: 3,
            suggestion: "port 9997 is free: kithctl services port video 9997".into(),
        }
    }

    #[test]
    fn a_service_has_the_promised_fields() {
        let row = json_row(&service(ServiceState::Failed));
        for field in ["name", "state", "port", "wanted_port", "since", "error", "next_try_s", "suggestion"] {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!((&row["state"], &row["since"]), (&"failed".into(), &"1970-01-01T00:00:01Z".into()));
    }

    #[test]
    fn what_became_of_it_is_one_sentence() {
        let failed = sentence(&service(ServiceState::Failed));
        assert!(failed.starts_with("video is not listening: UDP port 9996") && failed.contains("9997"), "{failed}");
        let quiet = ServiceInfo {
            error: String::new(),
            suggestion: String::new(),
            next_try_s: 0,
            ..service(ServiceState::Listening)
        };
        assert_eq!(sentence(&ServiceInfo { port: 9996, ..quiet.clone() }), "video is listening on port 9996.");
        let stopped = sentence(&ServiceInfo { state: ServiceState::Stopped, ..quiet });
        assert_eq!(stopped, "video is stopped; started it will want port 9996.");
    }

    #[test]
    fn a_watch_reports_changes_and_not_the_count_down() {
        let mut known = BTreeMap::new();
        let failed = service(ServiceState::Failed);
        assert_eq!(changes(&mut known, std::slice::from_ref(&failed)).len(), 1);
        let later = ServiceInfo { next_try_s: 2, ..failed.clone() };
        assert!(changes(&mut known, &[later]).is_empty());
        let listening = ServiceInfo { state: ServiceState::Listening, ..failed };
        assert_eq!(changes(&mut known, std::slice::from_ref(&listening)), [listening]);
    }
}
