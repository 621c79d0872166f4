//! The owner is off, and a contact that keeps a sealed copy is there.

use anyhow::{Context as _, Result, ensure};
use kith_common::client::Client;
use kith_common::failure::Failure;
use kith_common::file::{CopyState, FileHash};
use kith_tests::Daemon;
use kith_tests::people::befriend;
use tokio::runtime::Runtime;

use super::{Home, MB, add, bytes, field, get};
use crate::calls::SOON;

#[test]
fn while_the_owner_is_off_a_contact_gives_what_it_cannot_read() -> Result<()> {
    let (here, kept, there) = (Home::new()?, Home::new()?, Home::new()?);
    let ada = here.start("ada")?;
    let ben = Daemon::with("ben", kept.lasting()?)?;
    let cem = there.start("cem")?;
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    ben.ask(&["contacts", "trust", "Ada", "always", "--for", "relay"])?;
    let content = bytes(8, 9 * MB);
    let share = add(&ada, &here.write("letter.pdf", &content)?, &[])?;
    let hash = field(&share, "hash")?;
    ada.ask(&["files", "keep", hash, "Ben"])?;
    until_kept(&ada, hash.parse()?)?;
    let listed = ada.ask(&["files", "list"])?;
    ensure!(listed["copies"][0]["name"] == "Ben", "{listed}");
    ensure!(ben.ask(&["files", "kept"])?["name"] == "Ada", "it says for whom");
    let ticket = field(&share, "ticket")?.to_owned();
    assert_eq!(ada.stop()?, 0);

    let done = get(&cem, &ticket, &[])?;
    ensure!(std::fs::read(field(&done, "path")?)? == content, "the bytes are those");
    let providers = done["providers"].as_array().context("providers")?;
    let from = providers.iter().find(|one| one["received_bytes"].as_u64() > Some(0)).context("somebody")?;
    ensure!(from["peer"] == ben.peer.as_str() && from["sealed"] == true, "{done}");
    Ok(())
}

/// Until all of a sealed copy is at whoever was asked to keep it.
fn until_kept(daemon: &Daemon, hash: FileHash) -> Result<()> {
    let kept = async {
        let client = Client::connect(&daemon.socket).await?;
        let mut feed = client.watch_files().await?;
        while let Some(state) = feed.next().await {
            state?;
            let shares = client.shares(&hash.to_string(), 0, 1).await?;
            let copies = shares.iter().flat_map(|share| &share.copies);
            if copies.into_iter().any(|copy| copy.state == CopyState::Kept) {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    let waited = Runtime::new()?.block_on(async { tokio::time::timeout(SOON, kept).await });
    Ok(waited.context("the copy is not kept")??)
}
