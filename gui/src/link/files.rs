//! What is asked of the daemon about files, and the feed that tells how transfers go.

use std::path::PathBuf;
use std::sync::Arc;

use kith_common::client::Client;
use kith_common::failure::Failure;
use kith_common::file::{AddOptions, FileHash, FileSettings, GetOptions};
use kith_common::ids::PeerId;
use tokio::sync::mpsc;

use super::errand::{REPORTS, forwarded};
use super::{Event, Job, News};

/// Shares of one page.
pub const SHARES: u32 = 100;

#[derive(Clone, PartialEq, Eq)]
pub enum Filing {
    /// A file or folder of this machine.
    Add(PathBuf, AddOptions),
    /// The newest before a position (0: the newest of all), with this text in name or path.
    Shares {
        search: String,
        before: u64,
    },
    Remove(FileHash),
    /// As a person types it: a hash or a ticket.
    Get(String, GetOptions),
    Pause(u32),
    Resume(u32),
    Cancel(u32),
    First(u32),
    Accept(u32, GetOptions),
    Refuse(u32),
    /// Whom to ask for keeping a sealed copy.
    Keep(FileHash, Vec<PeerId>),
    /// The sealed copies of others on this machine.
    Kept,
    DropKept(FileHash),
    Settings,
    Set(FileSettings),
}

impl std::fmt::Debug for Filing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither names of files nor who gets them have a place in a log.
        f.write_str(match self {
            Self::Add(_, options) => return write!(f, "Add({:?})", options.scope),
            Self::Shares { before, .. } => return write!(f, "Shares({before})"),
            Self::Remove(_) => "Remove",
            Self::Get(target, _) => return write!(f, "Get({} characters)", target.len()),
            Self::Pause(id) => return write!(f, "Pause({id})"),
            Self::Resume(id) => return write!(f, "Resume({id})"),
            Self::Cancel(id) => return write!(f, "Cancel({id})"),
            Self::First(id) => return write!(f, "First({id})"),
            Self::Accept(id, _) => return write!(f, "Accept({id})"),
            Self::Refuse(id) => return write!(f, "Refuse({id})"),
            Self::Keep(_, peers) => return write!(f, "Keep({} contacts)", peers.len()),
            Self::Kept => "Kept",
            Self::DropKept(_) => "DropKept",
            Self::Settings => "Settings",
            Self::Set(_) => "Set",
        })
    }
}

pub(super) async fn obey(
    client: &Client,
    job: Job,
    filing: Filing,
    events: &mpsc::Sender<Event>,
) -> Result<News, Failure> {
    let fetched = |transfer| News::Transfer(Box::new(transfer));
    Ok(match filing {
        Filing::Add(path, options) => {
            let (progress, received) = mpsc::channel(REPORTS);
            let work = client.add_file(&path, options, progress);
            News::Share(Box::new(forwarded(work, received, News::Adding, job, events).await?))
        }
        Filing::Shares { search, before } => News::Shares(client.shares(&search, before, SHARES).await?),
        Filing::Remove(hash) => client.remove_share(hash).await.map(|()| News::Done)?,
        Filing::Get(target, options) => fetched(client.get_file(&target, options).await?),
        Filing::Pause(id) => fetched(client.pause_transfer(id).await?),
        Filing::Resume(id) => fetched(client.resume_transfer(id).await?),
        Filing::Cancel(id) => client.cancel_transfer(id).await.map(|()| News::Done)?,
        Filing::First(id) => fetched(client.first_transfer(id).await?),
        Filing::Accept(id, options) => fetched(client.accept_offer(id, options).await?),
        Filing::Refuse(id) => client.refuse_offer(id).await.map(|()| News::Done)?,
        Filing::Keep(hash, contacts) => {
            let contacts: Vec<String> = contacts.iter().map(PeerId::to_string).collect();
            News::Share(Box::new(client.keep_share(hash, contacts).await?))
        }
        Filing::Kept => News::Kept(client.kept().await?),
        Filing::DropKept(hash) => client.drop_kept(hash).await.map(|()| News::Done)?,
        Filing::Settings => News::FileSettings(Box::new(client.file_settings().await?)),
        Filing::Set(settings) => client.set_file_settings(settings).await.map(|()| News::Done)?,
    })
}

/// Follows transfers and offers; a refusal is told once.
pub(super) async fn files(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_files().await?;
        while let Some(state) = feed.next().await {
            let _ = events.send(Event::Files(Ok(Arc::new(state?)))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::Files(Err(failure))).await;
    }
}
