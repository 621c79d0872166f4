//! `files`: what this node shares, what it fetches, and what others offer it.

mod add;
mod get;
pub mod show;
mod watch;

use std::io::Write as _;

use kith_common::client::Client;
use kith_common::file::{FileHash, FilesState, MAX_SHARES_PAGE, Offer, Share, Transfer};
use kith_common::target::Target;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::cli::{FilesArguments, FilesVerb, SettingsArguments};
use crate::harmless::line;
use crate::output::Output;
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

/// Pieces that wait to be written; the daemon waits for whoever reads standard output.
const PIECES: usize = 1;

pub async fn run(client: &Client, arguments: FilesArguments, output: &Output) -> Result<(), Stop> {
    let (transfer, said) = match arguments.verb.unwrap_or(FilesVerb::List { search: None, limit: MAX_SHARES_PAGE }) {
        FilesVerb::Add(arguments) => return add::run(client, arguments, output).await,
        FilesVerb::Get(arguments) => return get::run(client, arguments, output).await,
        FilesVerb::List { search, limit } => return list(client, search.as_deref(), limit, output).await,
        FilesVerb::Show(content) => return show_one(client, content.hash, output).await,
        FilesVerb::Remove(content) => return remove(client, content.hash, output).await,
        FilesVerb::Transfers => return transfers(client, output).await,
        FilesVerb::Pause(transfer) => (client.pause_transfer(transfer.id).await?, "is paused"),
        FilesVerb::Resume(transfer) => (client.resume_transfer(transfer.id).await?, "goes on"),
        FilesVerb::First(transfer) => (client.first_transfer(transfer.id).await?, "is the first now"),
        FilesVerb::Cancel(transfer) => return cancel(client, transfer.id, output).await,
        FilesVerb::Offers => return offers(client, output).await,
        FilesVerb::Accept { offer, saving } => {
            let transfer = client.accept_offer(offer.id, get::options(saving)?).await?;
            let _gone = output.row(&show::transfer_row(&transfer));
            let _gone = output.text(&show::accepted(&transfer));
            return Ok(());
        }
        FilesVerb::Refuse(offer) => return refuse(client, offer.id, output).await,
        FilesVerb::Keep { content, contacts, .. } => return keep(client, content.hash, contacts, output).await,
        FilesVerb::Kept { drop } => return kept(client, drop, output).await,
        FilesVerb::Settings(arguments) => return settings(client, arguments, output).await,
        FilesVerb::Watch => return watch::run(client, output).await,
        FilesVerb::Cat { content, offset, length } => return cat(client, content.hash, offset, length).await,
    };
    let _gone = output.row(&show::transfer_row(&transfer));
    let _gone = output.text(&format!("{} (transfer {}) {said}.", show::title(&transfer), transfer.id));
    Ok(())
}

/// PEERs as the daemon takes them for files: contacts' names, peer ids and tickets. Who is named by an address is asked
/// there who that is; addresses of tickets are tried too, so that the daemon knows them.
pub async fn peers(client: &Client, names: Vec<String>) -> Result<Vec<String>, Stop> {
    let mut peers = Vec::with_capacity(names.len());
    for name in names {
        let peer = match dialed(&name) {
            Dialed::Must => client.connect_peer(&name).await?.peer_id.to_string(),
            // One who is away gets it later.
            Dialed::May => client.connect_peer(&name).await.map_or(name, |peer| peer.peer_id.to_string()),
            Dialed::Not => name,
        };
        peers.push(peer);
    }
    Ok(peers)
}

/// Whether a connection says who is meant.
#[derive(Debug, PartialEq, Eq)]
enum Dialed {
    Must,
    May,
    Not,
}

fn dialed(name: &str) -> Dialed {
    match name.parse() {
        Ok(Target::Address(_) | Target::Ip { .. }) => Dialed::Must,
        Ok(Target::Ticket(_)) => Dialed::May,
        Ok(Target::Peer(_)) | Err(_) => Dialed::Not,
    }
}

/// What is going on now.
pub async fn state(client: &Client) -> Result<FilesState, Stop> {
    let first = client.watch_files().await?.next().await;
    Ok(first.transpose()?.unwrap_or_default())
}

/// The newest first. The daemon answers in pages.
async fn list(client: &Client, search: Option<&str>, limit: u32, output: &Output) -> Result<(), Stop> {
    let mut found: Vec<Share> = Vec::new();
    while let Some(missing) = limit.checked_sub(u32::try_from(found.len()).unwrap_or(u32::MAX)).filter(|&n| n > 0) {
        let before = found.last().map_or(0, |oldest| oldest.position);
        let page = client.shares(search.unwrap_or_default(), before, missing.min(MAX_SHARES_PAGE)).await?;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let _gone = found.iter().try_for_each(|share| output.row(&show::share_row(share)));
    let none = found.is_empty() && search.is_some();
    let _gone =
        output.text(&if none { "No share has that in its name or path.".to_owned() } else { show::shares(&found) });
    let oldest = found.last().map(|oldest| oldest.position).filter(|_| found.len() == limit as usize);
    if let Some(oldest) = oldest
        && !client.shares(search.unwrap_or_default(), oldest, 1).await?.is_empty()
    {
        let all = if search.is_some() { None } else { Some(state(client).await?.shares) };
        output.note(&show::cut(limit, all));
    }
    Ok(())
}

async fn find(client: &Client, hash: FileHash) -> Result<Option<Share>, Stop> {
    let found = client.shares(&hash.to_string(), 0, 1).await?;
    Ok(found.into_iter().find(|share| share.hash == hash))
}

async fn show_one(client: &Client, hash: FileHash, output: &Output) -> Result<(), Stop> {
    let Some(share) = find(client, hash).await? else {
        return Err(Stop::failed(format!("{hash} is not shared from here")).advise("`kithctl files` lists what is."));
    };
    let _gone = output.row(&show::share_row(&share));
    let _gone = output.text(&show::share(&share));
    Ok(())
}

async fn remove(client: &Client, hash: FileHash, output: &Output) -> Result<(), Stop> {
    let share = find(client, hash).await?;
    client.remove_share(hash).await?;
    let mut row = share.as_ref().map_or_else(|| json!({ "hash": hash }), show::share_row);
    row["removed"] = true.into();
    let _gone = output.row(&row);
    let name = share.map_or_else(|| hash.to_string(), |share| line(&share.name));
    let _gone = output.text(&format!("{name} is shared no longer. The file itself stays."));
    Ok(())
}

async fn transfers(client: &Client, output: &Output) -> Result<(), Stop> {
    let transfers = state(client).await?.transfers;
    let _gone = transfers.iter().try_for_each(|transfer| output.row(&show::transfer_row(transfer)));
    let _gone = output.text(&show::transfers(&transfers));
    Ok(())
}

async fn cancel(client: &Client, id: u32, output: &Output) -> Result<(), Stop> {
    let transfer: Option<Transfer> = state(client).await?.transfers.into_iter().find(|transfer| transfer.id == id);
    client.cancel_transfer(id).await?;
    let mut row = transfer.as_ref().map_or_else(|| json!({ "id": id }), show::transfer_row);
    row["cancelled"] = true.into();
    let _gone = output.row(&row);
    let name = transfer.as_ref().map_or_else(|| format!("Transfer {id}"), show::title);
    let _gone = output.text(&format!("{name} is not listed any more."));
    Ok(())
}

async fn offers(client: &Client, output: &Output) -> Result<(), Stop> {
    let offers = state(client).await?.offers;
    let _gone = offers.iter().try_for_each(|offer| output.row(&show::offer_row(offer)));
    let _gone = output.text(&show::offers(&offers));
    Ok(())
}

async fn refuse(client: &Client, id: u32, output: &Output) -> Result<(), Stop> {
    let offer: Option<Offer> = state(client).await?.offers.into_iter().find(|offer| offer.id == id);
    client.refuse_offer(id).await?;
    let mut row = offer.as_ref().map_or_else(|| json!({ "id": id }), show::offer_row);
    row["state"] = "refused".into();
    let _gone = output.row(&row);
    let name = offer.map_or_else(|| format!("Offer {id}"), |offer| line(&offer.file_name));
    let _gone = output.text(&format!("{name} is refused."));
    Ok(())
}

async fn keep(client: &Client, hash: FileHash, contacts: Vec<String>, output: &Output) -> Result<(), Stop> {
    let share = client.keep_share(hash, contacts).await?;
    let _gone = output.row(&show::share_row(&share));
    let _gone = output.text(&show::share(&share));
    Ok(())
}

async fn kept(client: &Client, drop: Option<FileHash>, output: &Output) -> Result<(), Stop> {
    if let Some(hash) = drop {
        client.drop_kept(hash).await?;
        let _gone = output.row(&json!({ "hash": hash, "dropped": true }));
        let _gone = output.text("The copy is deleted.");
        return Ok(());
    }
    let kept = client.kept().await?;
    let _gone = kept.iter().try_for_each(|kept| output.row(&show::kept_row(kept)));
    let _gone = output.text(&show::kept(&kept));
    Ok(())
}

async fn settings(client: &Client, arguments: SettingsArguments, output: &Output) -> Result<(), Stop> {
    let before = client.file_settings().await?;
    let mut settings = before.clone();
    if let Some(folder) = arguments.folder {
        // Empty stays empty: it stands for the Downloads folder.
        settings.folder = if folder.as_os_str().is_empty() {
            folder
        } else {
            std::path::absolute(&folder)
                .map_err(|error| Stop::failed(format!("cannot say where {} is: {error}", folder.display())))?
        };
    }
    settings.download_bytes_per_second = arguments.download.unwrap_or(settings.download_bytes_per_second);
    settings.upload_bytes_per_second = arguments.upload.unwrap_or(settings.upload_bytes_per_second);
    settings.unasked_bytes = arguments.unasked.unwrap_or(settings.unasked_bytes);
    settings.unasked_kinds = arguments.unasked_kinds.unwrap_or(settings.unasked_kinds);
    settings.copy_bytes_per_contact = arguments.copies.unwrap_or(settings.copy_bytes_per_contact);
    settings.store_bytes = arguments.store.unwrap_or(settings.store_bytes);
    settings.at_once = arguments.at_once.unwrap_or(settings.at_once);
    if settings != before {
        client.set_file_settings(settings).await?;
        settings = client.file_settings().await?;
    }
    let _gone = output.row(&json!(settings));
    let _gone = output.text(&show::settings(&settings));
    Ok(())
}

/// The bytes as they are, whether with `--json` or without.
async fn cat(client: &Client, hash: FileHash, offset: u64, length: Option<u64>) -> Result<(), Stop> {
    let mut interrupt = Interrupt::new()?;
    let (pieces, written) = standard_output()?;
    let moving = async {
        // It fails too when nobody takes the pieces any more; why is known where they are written.
        let read = client.read_content(hash, offset, length.unwrap_or(0), pieces).await;
        match written.await {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => Err(Stop::failed(format!("cannot write to standard output: {error}"))),
            Ok(Ok(())) | Err(_) => Ok(read?),
        }
    };
    tokio::select! {
        biased;
        () = interrupt.asked() => Err(Stop::failed("given up before the end")),
        moved = moving => moved,
    }
}

/// Where pieces are sent to be written, and what became of that. Written on a thread of its own, which ends with the
/// process when nobody reads any more.
fn standard_output<P>() -> Result<(mpsc::Sender<P>, oneshot::Receiver<std::io::Result<()>>), Stop>
where
    P: AsRef<[u8]> + Send + 'static,
{
    let (sender, mut pieces) = mpsc::channel::<P>(PIECES);
    let (done, written) = oneshot::channel();
    let write = move || {
        let mut stdout = std::io::stdout().lock();
        let mut outcome = Ok(());
        while let Some(piece) = pieces.blocking_recv() {
            outcome = stdout.write_all(piece.as_ref()).and_then(|()| stdout.flush());
            if outcome.is_err() {
                break;
            }
        }
        let _gone = done.send(outcome);
    };
    let thread = std::thread::Builder::new().name("standard output".into()).spawn(write);
    thread.map_err(|error| Stop::failed(format!("cannot start a thread: {error}")))?;
    Ok((sender, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_who_is_there_and_names_stay_as_they_are_typed() {
        for address in ["192.0.2.7", "192.0.2.7:9999", "/ip4/192.0.2.7/tcp/9999"] {
            assert_eq!(dialed(address), Dialed::Must, "{address}");
        }
        let peer = kith_common::ids::PeerId::from_public_key([1; 32]);
        let ticket = kith_common::target::Ticket { peer, addresses: Vec::new() };
        assert_eq!(dialed(&ticket.to_string()), Dialed::May);
        for name in ["Ada", "Ada Lovelace", &peer.to_string(), ""] {
            assert_eq!(dialed(name), Dialed::Not, "{name}");
        }
    }
}
