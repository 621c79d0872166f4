//! `status`: the node on one screen.

use kith_common::client::Client;
use kith_common::clock::unix_ms;
use kith_common::node::{ServiceInfo, ServiceState};
use serde_json::{Value, json};

use super::calls;
use crate::output::{Output, cells, name, table};
use crate::stop::Stop;
use crate::when::{ago, rfc3339, span};

pub async fn run(client: &Client, output: &Output) -> Result<(), Stop> {
    let (status, calls) = tokio::try_join!(client.status(), client.calls())?;
    let _gone = output.row(&json!({
        "version": status.version,
        "uptime_s": status.uptime_s,
        "process_id": status.process_id,
        "services": status.services.iter().map(service_row).collect::<Vec<_>>(),
        "peers_connected": status.peers_connected,
        "calls": calls.iter().map(calls::row).collect::<Vec<_>>(),
        "tor": { "enabled": false, "state": ServiceState::Absent },
    }));
    if output.is_json() {
        return Ok(());
    }
    let peers = match status.peers_connected {
        0 => "no peer connected".to_owned(),
        1 => "one peer connected".to_owned(),
        more => format!("{more} peers connected"),
    };
    let _gone = output.text(&format!(
        "kithd {} · process {} · up {} · {peers}\n",
        status.version,
        status.process_id,
        span(status.uptime_s)
    ));
    let mut rows = vec![cells(["SERVICE", "STATE", "PORT", "SINCE", ""])];
    let now = unix_ms();
    for service in &status.services {
        let port = if service.port == 0 { "–".to_owned() } else { service.port.to_string() };
        let since = if service.since_unix_ms > 0 { ago(service.since_unix_ms, now) } else { "–".to_owned() };
        let mut why = service.error.clone();
        if service.next_try_s > 0 {
            why += &format!(" (next try in {} s)", service.next_try_s);
        }
        let why = format!("{why} {}", service.suggestion);
        rows.push(cells([&service.name, &name(service.state), &port, &since, why.trim()]));
    }
    let _gone = output.text(&table(&rows));
    let _gone = output.text(&format!("\n{}", calls::text(&calls)));
    Ok(())
}

fn service_row(service: &ServiceInfo) -> Value {
    let mut row = json!(service);
    row["since"] = if service.since_unix_ms > 0 { rfc3339(service.since_unix_ms).into() } else { Value::Null };
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_promised_fields() {
        let row = service_row(&ServiceInfo {
            name: "video".into(),
            state: ServiceState::Failed,
            port: 0,
            wanted_port: 9996,
            since_unix_ms: 1000,
            error: "taken".into(),
            next_try_s: 3,
            suggestion: "Use 9997.".into(),
        });
        for field in ["name", "state", "port", "wanted_port", "since", "error", "next_try_s", "suggestion"] {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!(row["state"], "failed");
    }
}
