//! `status`: the node on one screen.

use kith_common::client::Client;
use kith_common::file::TransferState;
use kith_common::node::ServiceState;
use serde_json::json;

use super::{calls, files, services};
use crate::output::Output;
use crate::stop::Stop;
use crate::when::span;

pub async fn run(client: &Client, output: &Output) -> Result<(), Stop> {
    let (status, calls) = tokio::try_join!(client.status(), client.calls())?;
    let mut transfers = files::state(client).await?.transfers;
    transfers.retain(|transfer| transfer.state.is_live() || transfer.state == TransferState::Paused);
    let _gone = output.row(&json!({
        "version": status.version,
        "uptime_s": status.uptime_s,
        "process_id": status.process_id,
        "services": status.services.iter().map(services::json_row).collect::<Vec<_>>(),
        "peers_connected": status.peers_connected,
        "calls": calls.iter().map(calls::row).collect::<Vec<_>>(),
        "transfers": transfers.iter().map(files::show::transfer_row).collect::<Vec<_>>(),
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
    let _gone = output.text(&services::text(&status.services));
    let _gone = output.text(&format!("\n{}", calls::text(&calls)));
    if !transfers.is_empty() {
        let _gone = output.text(&format!("\n{}", files::show::transfers(&transfers)));
    }
    Ok(())
}
