//! `calls`, `hangup`, `decline`, `mute`, `camera`: the calls of this node, whoever placed them.

mod log;

use kith_common::call::{CallInfo, CallState, Direction};
use kith_common::client::{Client, ClientCall};
use kith_common::clock::unix_ms;
use serde_json::{Value, json};

use crate::cli::{CallsArguments, CallsVerb, CameraArguments, MuteArguments, OnOff, Which};
use crate::output::{Output, cells, name, table};
use crate::stop::Stop;
use crate::when::{ago, rfc3339};

/// A call as the promised JSON row.
pub fn row(call: &CallInfo) -> Value {
    json!({
        "call": call.id,
        "peer": call.peer,
        "peer_name": call.peer_name,
        "direction": call.direction,
        "state": call.state,
        "media": call.kind,
        "since": rfc3339(call.since_unix_ms),
        "path": call.path,
        "transport": call.transport,
        "microphone": call.microphone,
        "camera": call.camera,
        "peer_microphone": call.peer_microphone,
        "peer_camera": call.peer_camera,
        "reason": call.ending.as_ref().map(|ending| ending.reason),
        "detail": call.ending.as_ref().map(|ending| &ending.detail),
    })
}

/// Who the other side is, as far as it is known.
pub fn peer_title(call: &CallInfo) -> String {
    match (&call.peer, call.peer_name.as_str()) {
        (Some(peer), "") => peer.short(),
        (None, "") => "somebody".to_owned(),
        (_, name) => name.to_owned(),
    }
}

pub fn text(calls: &[CallInfo]) -> String {
    if calls.is_empty() {
        return "No calls.".to_owned();
    }
    let now = unix_ms();
    let mut rows = vec![cells(["CALL", "PEER", "DIRECTION", "STATE", "MEDIA", "SINCE", "PATH"])];
    for call in calls {
        let state = match &call.ending {
            Some(ending) => format!("ended ({})", name(ending.reason)),
            None => name(call.state),
        };
        rows.push(cells([
            &call.id.to_string()[..8],
            &peer_title(call),
            &name(call.direction),
            &state,
            &name(call.kind),
            &ago(call.since_unix_ms, now),
            &call.path.map_or_else(|| "–".to_owned(), name),
        ]));
    }
    table(&rows)
}

pub async fn run(client: &Client, arguments: CallsArguments, output: &Output) -> Result<(), Stop> {
    match arguments.verb {
        None => list(client, output).await,
        Some(CallsVerb::Log(arguments)) => log::run(client, arguments, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), Stop> {
    let calls = client.calls().await?;
    let _gone = calls.iter().try_for_each(|call| output.row(&row(call)));
    let _gone = output.text(&text(&calls));
    Ok(())
}

pub async fn hang_up(client: &Client, which: Which, output: &Output) -> Result<(), Stop> {
    let (info, call) = choose(client, which.call.as_deref(), "hang up", |call| call.state != CallState::Ended).await?;
    call.hang_up().await?;
    report(&call, &format!("Hung up the call with {}.", peer_title(&info)), output).await
}

pub async fn decline(client: &Client, which: Which, output: &Output) -> Result<(), Stop> {
    let rings = |call: &CallInfo| call.state == CallState::Ringing && call.direction == Direction::Incoming;
    let (info, call) = choose(client, which.call.as_deref(), "decline", rings).await?;
    call.decline().await?;
    report(&call, &format!("Declined the call from {}.", peer_title(&info)), output).await
}

pub async fn mute(client: &Client, arguments: MuteArguments, output: &Output) -> Result<(), Stop> {
    let live = |call: &CallInfo| call.state != CallState::Ended;
    let (_, call) = choose(client, arguments.call.as_deref(), "mute", live).await?;
    // Muted is a microphone that is off.
    let (microphone, said) = match arguments.state {
        OnOff::On => (OnOff::Off, "Muted: no sound is sent."),
        OnOff::Off => (OnOff::On, "Sound is sent again."),
    };
    call.set_microphone(microphone.switch()).await?;
    report(&call, said, output).await
}

pub async fn camera(client: &Client, arguments: CameraArguments, output: &Output) -> Result<(), Stop> {
    let live = |call: &CallInfo| call.state != CallState::Ended;
    let (_, call) = choose(client, arguments.call.as_deref(), "switch the camera of", live).await?;
    let said = match arguments.state {
        OnOff::On => "Pictures are sent.",
        OnOff::Off => "No pictures are sent.",
    };
    call.set_camera(arguments.state.switch()).await?;
    report(&call, said, output).await
}

async fn report(call: &ClientCall, said: &str, output: &Output) -> Result<(), Stop> {
    let _gone = output.row(&row(&call.info().await?));
    let _gone = output.text(said);
    Ok(())
}

async fn choose(
    client: &Client,
    id: Option<&str>,
    what: &str,
    fits: impl Fn(&CallInfo) -> bool,
) -> Result<(CallInfo, ClientCall), Stop> {
    let info = pick(client.calls().await?, id, what, fits)?;
    let call = client.call(info.id).await?;
    Ok((info, call))
}

fn pick(
    calls: Vec<CallInfo>,
    id: Option<&str>,
    what: &str,
    fits: impl Fn(&CallInfo) -> bool,
) -> Result<CallInfo, Stop> {
    let wanted = |call: &CallInfo| match id {
        Some(id) => !id.is_empty() && call.id.to_string().starts_with(&id.to_ascii_lowercase()),
        None => fits(call),
    };
    let mut found: Vec<CallInfo> = calls.into_iter().filter(wanted).collect();
    match (found.len(), id) {
        (1, _) => Ok(found.remove(0)),
        (0, None) => Err(Stop::failed(format!("there is no call to {what}"))),
        (0, Some(id)) => Err(Stop::failed(format!("there is no call {id:.40}")).advise("`kithctl calls` lists them.")),
        (several, _) => {
            let rows: Vec<String> =
                found.iter().map(|call| format!("{} with {}", &call.id.to_string()[..8], peer_title(call))).collect();
            Err(Stop::failed(format!("there are {several} calls to {what}: {}", rows.join(", ")))
                .advise("Name one by its id."))
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::call::{CallKind, Switch, Transport};
    use kith_common::ids::CallId;

    use super::*;

    fn call(number: u8, state: CallState) -> CallInfo {
        CallInfo {
            id: CallId::from_bytes([number; 16]),
            peer: None,
            peer_name: "ada".into(),
            direction: Direction::Incoming,
            kind: CallKind::Video,
            state,
            since_unix_ms: 0,
            path: None,
            transport: Transport::Udp,
            microphone: Switch::On,
            camera: Switch::On,
            peer_microphone: Switch::On,
            peer_camera: Switch::Off,
            peer_format: None,
            ending: None,
        }
    }

    #[test]
    fn a_call_has_the_promised_fields() {
        let row = row(&call(1, CallState::Active));
        for field in ["call", "peer", "direction", "state", "media", "since", "path"] {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!(row["media"], "video");
        assert_eq!(row["call"], "01010101010101010101010101010101");
    }

    #[test]
    fn the_only_call_that_fits_is_meant_unless_one_is_named() {
        let live = |call: &CallInfo| call.state != CallState::Ended;
        let calls = vec![call(1, CallState::Ended), call(2, CallState::Active)];
        assert_eq!(pick(calls.clone(), None, "x", live).map(|call| call.id), Ok(calls[1].id));
        assert_eq!(pick(calls.clone(), Some("0101"), "x", live).map(|call| call.id), Ok(calls[0].id));
        assert!(pick(calls.clone(), Some("03"), "x", live).is_err());
        assert!(pick(calls.clone(), Some(""), "x", live).is_err());
        assert!(pick(vec![], None, "x", live).is_err());
        assert!(pick(vec![call(1, CallState::Active), call(2, CallState::Active)], None, "x", live).is_err());
    }
}
