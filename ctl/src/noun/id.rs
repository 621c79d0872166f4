//! `id`: who this node is.

pub mod backup;

use std::path::Path;

use kith_capture::qr;
use kith_common::client::Client;
use kith_common::node::Identity;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use crate::cli::{IdArguments, IdVerb};
use crate::output::{Output, cells, table};
use crate::stop::Stop;

/// Black on white, whatever the terminal's colours are: cameras do not all read the negative.
const INK_ON_PAPER: &str = "\x1b[30;107m";
const USUAL_COLOURS: &str = "\x1b[0m";

pub async fn run(client: &Client, arguments: IdArguments, output: &Output) -> Result<(), Stop> {
    let identity = client.identity().await?;
    match arguments.verb {
        Some(IdVerb::Qr { to: Some(path) }) => written(&identity, &path, output),
        Some(IdVerb::Qr { to: None }) => picture(&identity, output),
        _ => {
            show(&identity, output);
            Ok(())
        }
    }
}

fn show(identity: &Identity, output: &Output) {
    let _gone = output.row(&json!(identity));
    let mut rows = vec![cells(["name", &identity.name]), cells(["peer id", &identity.peer_id.to_string()])];
    for (index, address) in identity.addresses.iter().enumerate() {
        rows.push(cells([if index == 0 { "addresses" } else { "" }, address]));
    }
    rows.push(cells(["ticket", &identity.ticket]));
    let _gone = output.text(&table(&rows));
}

fn picture(identity: &Identity, output: &Output) -> Result<(), Stop> {
    let picture = drawn(&identity.ticket)?;
    let _gone = output.row(&json!({ "ticket": identity.ticket, "qr": picture }));
    if output.is_live() {
        for line in picture.lines() {
            output.redraw(&format!("{INK_ON_PAPER}{line}{USUAL_COLOURS}\n"));
        }
    } else {
        let _gone = output.text(&picture);
    }
    let _gone = output.text(&identity.ticket);
    Ok(())
}

/// In a file, for those who are not in front of this screen.
fn written(identity: &Identity, path: &Path, output: &Output) -> Result<(), Stop> {
    qr::write_new(path, &identity.ticket)?;
    let _gone = output.row(&json!({ "ticket": identity.ticket, "file": path }));
    let _gone = output.text(&format!(
        "{} has your ticket: whoever has it can ask to be your contact, with `kithctl contacts add PICTURE` or the window.",
        path.display()
    ));
    Ok(())
}

/// The text as a QR code in half blocks, with the margin that readers need.
fn drawn(text: &str) -> Result<String, Stop> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|error| {
        Stop::failed(format!("the ticket does not fit a QR code: {error}")).advise("Copy it as text.")
    })?;
    Ok(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_drawn_as_a_square_with_a_margin() -> Result<(), Stop> {
        let picture = drawn(&format!("kith:{}", "2NEpo7TZRRrLZSi2U".repeat(8)))?;
        let lines: Vec<&str> = picture.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{picture}");
        assert!(
            lines.len() * 2 >= width && lines.len() * 2 <= width + 1,
            "two rows a line: {width} by {}",
            lines.len()
        );
        assert!(lines[0].trim().is_empty() && lines[lines.len() - 1].trim().is_empty(), "a margin: {picture}");
        assert!(picture.contains('█'), "{picture}");
        Ok(())
    }
}
