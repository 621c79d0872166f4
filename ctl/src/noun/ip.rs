//! `ip`: what this node's addresses are, and whether it can be called.

use kith_common::client::Client;
use kith_common::diagnostics::{NetworkState, PortMapping};
use serde_json::json;

use crate::cli::IpArguments;
use crate::output::{Output, ReaderGone, cells, name, table};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

pub async fn run(client: &Client, arguments: IpArguments, output: &Output) -> Result<(), Stop> {
    if !arguments.watch {
        let _gone = show(&client.network().await?, output);
        return Ok(());
    }
    let mut feed = client.watch_network().await?;
    let mut interrupt = Interrupt::new()?;
    loop {
        let Some(state) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        output.redraw("\x1b[H\x1b[2J");
        if show(&state, output) == Err(ReaderGone) {
            return Ok(());
        }
    }
}

fn show(state: &NetworkState, output: &Output) -> Result<(), ReaderGone> {
    if output.is_json() {
        return output.row(&json!(state));
    }
    output.text(&text(state))
}

fn text(state: &NetworkState) -> String {
    let mut rows = vec![
        cells(["reachable", &name(state.reachability), ""]),
        cells(["router", &name(state.nat), ""]),
        cells(["DHT", if state.dht_server { "server" } else { "client" }, ""]),
    ];
    for local in &state.local {
        rows.push(cells(["local", &local.ip, &format!("{} ({})", local.interface, local.scope)]));
    }
    for seen in &state.observed {
        let peers = if seen.peers == 1 { "one peer".to_owned() } else { format!("{} peers", seen.peers) };
        let what = format!("{} ({}), as {peers} see it", seen.service, name(seen.transport));
        rows.push(cells(["observed", &seen.address, &what]));
    }
    let sentence = if state.meaning.is_empty() { "Too early to tell: ask again in a second." } else { &state.meaning };
    // Multiaddrs are too long for a column that others share.
    let relays = state.relay.iter().map(|relay| format!("relay      {}", relay.address));
    let mapping = |one: &PortMapping| format!("mapping    {} to {} ({})", one.external, one.internal, one.protocol);
    let lines: Vec<String> =
        std::iter::once(table(&rows)).chain(relays).chain(state.mappings.iter().map(mapping)).collect();
    format!("{sentence}\n\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use kith_common::call::Transport;
    use kith_common::diagnostics::{Nat, ObservedAddress, Reachability};

    use super::*;

    fn state() -> NetworkState {
        let observed = ObservedAddress {
            address: "203.0.113.11:9996".into(),
            service: "video".into(),
            transport: Transport::Udp,
            peers: 2,
        };
        NetworkState {
            observed: vec![observed],
            reachability: Reachability::Relayed,
            nat: Nat::UdpBlocked,
            meaning: "Calls come in through a relay.".into(),
            ..NetworkState::default()
        }
    }

    #[test]
    fn the_sentence_comes_first() {
        let text = text(&state());
        assert!(text.starts_with("Calls come in through a relay.\n\n"), "{text}");
        assert!(text.contains("203.0.113.11:9996  video (udp), as 2 peers see it"), "{text}");
    }

    #[test]
    fn the_promised_fields_are_there() {
        let row = json!(state());
        for field in ["local", "observed", "relay", "reachability", "nat", "meaning"] {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!((&row["reachability"], &row["nat"]), (&json!("relayed"), &json!("udp_blocked")));
    }
}
