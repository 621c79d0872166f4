//! `id`: who this node is.

use kith_common::client::Client;

use crate::output::{Output, cells, table};
use crate::stop::Stop;

pub async fn run(client: &Client, output: &Output) -> Result<(), Stop> {
    let identity = client.identity().await?;
    let _gone = output.row(&serde_json::json!(identity));
    let mut rows = vec![cells(["name", &identity.name]), cells(["peer id", &identity.peer_id.to_string()])];
    for (index, address) in identity.addresses.iter().enumerate() {
        rows.push(cells([if index == 0 { "addresses" } else { "" }, address]));
    }
    rows.push(cells(["ticket", &identity.ticket]));
    let _gone = output.text(&table(&rows));
    Ok(())
}
