//! `service`: has the user's systemd start kithd now and at every login, undoes that, and says how it stands.
//!
//! Talks to systemd, not to the daemon: a question about the service must not start it.

mod systemctl;
mod units;

use std::path::PathBuf;

use kith_common::client::Client;
use kith_common::paths;
use serde_json::json;

use crate::cli::ServiceVerb;
use crate::output::{Output, cells, table};
use crate::stop::{Exit, Stop};
use crate::throwaway::find_daemon;

use systemctl::{State, Systemctl};
use units::{SERVICE, SOCKET, Unit};

const BY_HAND: &str = "Start `kithd` from whatever starts programs here; in a terminal, `kithd` alone will do.";
const LINGER: &str = "It ends when you log out for good. To have it stay on, from boot: loginctl enable-linger";

pub async fn run(verb: ServiceVerb, output: &Output) -> Result<(), Stop> {
    match verb {
        ServiceVerb::Install => install(output).await,
        ServiceVerb::Remove => remove(output).await,
        ServiceVerb::Status => status(output).await,
    }
}

async fn install(output: &Output) -> Result<(), Stop> {
    let systemctl = systemd("install the service").await?;
    let units = units::all(&find_daemon()?, systemctl.version)?;
    if let Some(foreign) = units.iter().find(|unit| unit.is_foreign()) {
        let message = format!("cannot install the service: {} is not from kithctl", foreign.path.display());
        return Err(Stop::failed(message).advise("Move it away and try again; nothing was changed."));
    }
    let before = systemctl.state(SERVICE).await?;
    if !before.active {
        refuse_another_daemon(&systemctl).await?;
    }
    let changed = units.iter().any(Unit::differs);
    units.iter().try_for_each(Unit::write).map_err(|error| error.advise("Nothing was started."))?;
    systemctl.run(&["daemon-reload"]).await?;
    systemctl.run(&["enable", SOCKET, SERVICE]).await?;
    // Both at once: the service asks for the socket.
    systemctl.run(&["start", SOCKET, SERVICE]).await.map_err(|stop| {
        stop.advise(format!("See why: journalctl --user -u {SERVICE} -n 20. Undo with: kithctl service remove"))
    })?;
    if before.active && changed {
        output.note(&format!("The kithd that runs is still the old one: systemctl --user restart {SERVICE}"));
    }
    show(&systemctl.state(SERVICE).await?, None, output);
    let _gone = output.text(LINGER);
    Ok(())
}

async fn remove(output: &Output) -> Result<(), Stop> {
    let ours: Vec<PathBuf> = units::written();
    if ours.is_empty() {
        let foreign = units::path(SERVICE);
        if foreign.exists() {
            let message = format!("cannot remove the service: {} is not from kithctl", foreign.display());
            return Err(Stop::failed(message).advise("Remove it the way it came."));
        }
    } else {
        let systemctl = systemd("remove the service").await?;
        systemctl.run(&["disable", "--now", SOCKET, SERVICE]).await?;
        units::delete(&ours)?;
        systemctl.run(&["daemon-reload"]).await?;
        // A failed start would be remembered under a name that is gone; most of the time there was none.
        let _ = systemctl.run(&["reset-failed", SERVICE, SOCKET]).await;
    }
    show(&State::default(), None, output);
    let _gone = output.text("Your identity and your settings stay.");
    Ok(())
}

async fn status(output: &Output) -> Result<(), Stop> {
    match systemd("look at the service").await {
        Ok(systemctl) => show(&systemctl.state(SERVICE).await?, None, output),
        Err(stop) => {
            let written = State { installed: units::path(SERVICE).exists(), ..State::default() };
            show(&written, Some(stop.message), output);
        }
    }
    Ok(())
}

/// The user's service manager, or what to do without one.
async fn systemd(action: &str) -> Result<Systemctl, Stop> {
    Systemctl::find().await.map_err(|why| Stop::failed(format!("cannot {action}: {why}")).advise(BY_HAND))
}

/// Two daemons cannot share an identity: one that was started by hand has to go first.
async fn refuse_another_daemon(systemctl: &Systemctl) -> Result<(), Stop> {
    // Knocking at systemd's own socket would start the service.
    if systemctl.state(SOCKET).await?.active {
        return Ok(());
    }
    let socket = paths::socket();
    let Ok(client) = Client::connect(&socket).await else { return Ok(()) };
    let status = client.status().await?;
    let message = format!(
        "cannot install the service: a kithd that systemd did not start is running (process {})",
        status.process_id
    );
    Err(Stop::new(Exit::Failed, message).advise(format!("End it and try again: kill {}", status.process_id)))
}

fn show(state: &State, reason: Option<String>, output: &Output) {
    let unit = state.unit.clone().unwrap_or_else(|| units::path(SERVICE));
    let _gone = output.row(&json!({
        "installed": state.installed,
        "active": state.active,
        "enabled": state.enabled,
        "unit": unit,
        "state": state.word,
        "reason": reason,
    }));
    let yes_no = |on: bool| if on { "yes" } else { "no" };
    let running = match (state.active, state.word.as_str()) {
        (true, _) => "yes".to_owned(),
        (false, "" | "inactive") => "no".to_owned(),
        (false, word) => format!("no ({word}); see why: journalctl --user -u {SERVICE} -n 20"),
    };
    let mut rows = vec![
        cells(["installed", yes_no(state.installed)]),
        cells(["running", &running]),
        cells(["starts at login", yes_no(state.enabled)]),
    ];
    if state.installed {
        rows.push(cells(["unit", &unit.display().to_string()]));
    }
    let _gone = output.text(&table(&rows));
    if let Some(reason) = reason {
        let _gone = output.text(&format!("{reason}. {BY_HAND}"));
    }
}
