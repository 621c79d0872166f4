//! What this node has to say to others: that something is offered to them, that a copy is to be kept or no longer. One
//! visit to one peer at a time, when it is there.

use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::file::{CopyState, FileHash, FileKind, ShareState};
use kith_common::ids::PeerId;
use kith_content::ContentError;
use kith_store::{CopyRow, Database, PartRow, ShareRow, Told};

use super::MAX_COPY_PARTS;
use super::adding::{Desk, GiveUp};
use super::library::{blocking, read_list};
use super::ports::Network;
use super::talk::Talk;
use super::wire::{Keep, MAX_PARTS, Verdict};
use crate::net::frames::FrameError;

/// Offers in one visit; the others have their turn at the next.
const MAX_OFFERS: u32 = 50;

/// What a visit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// What there is to say.
    News,
    /// And whether the copies that the peer keeps are there still: it was away.
    Everything,
}

/// How a visit has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// Nothing is left to say.
    Over,
    /// Copies are on their way: to be asked about soon.
    Again,
    /// It could not be reached, or did not answer.
    Failed,
}

/// Says to the peer what there is to say. `ticket` makes the ticket of a share.
pub(super) async fn visit<N: Network>(
    net: N,
    desk: Arc<Desk>,
    peer: PeerId,
    about: About,
    ticket: impl Fn(&ShareRow) -> String + Send,
) -> Visit {
    let mut talk = match Talk::open(&net, peer).await {
        Ok(talk) => talk,
        Err(failure) => {
            tracing::debug!(%peer, %failure, "nothing can be offered to a peer now");
            return Visit::Failed;
        }
    };
    match say(&mut talk, &desk, peer, about, ticket).await {
        Ok(true) => Visit::Again,
        Ok(false) => Visit::Over,
        Err(Trouble::Pipe(error)) => {
            tracing::debug!(%peer, "a peer was not told what is for it: {error}");
            Visit::Failed
        }
        Err(Trouble::Store(failure)) => {
            tracing::warn!(%failure, "could not look up what is to be said to a peer");
            Visit::Failed
        }
    }
}

enum Trouble {
    Pipe(FrameError),
    Store(Failure),
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Self {
        Self::Pipe(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

/// Whether there is more to come.
async fn say(
    talk: &mut Talk,
    desk: &Arc<Desk>,
    peer: PeerId,
    about: About,
    ticket: impl Fn(&ShareRow) -> String + Send,
) -> Result<bool, Trouble> {
    let db = &desk.db;
    let untold = db.read(move |store| store.untold(peer, MAX_OFFERS)).await?;
    let mut more = untold.len() as u32 >= MAX_OFFERS;
    for share in untold {
        let verdict = talk.offer(ticket(&share), share.files).await?;
        let told = if matches!(verdict, Verdict::Refused(_)) { Told::Refused } else { Told::Told };
        let hash = share.hash;
        db.write(move |store| store.set_told(hash, peer, told)).await?;
    }
    for (_, id) in db.read(|store| store.unwanted_copies()).await?.into_iter().filter(|(of, _)| *of == peer) {
        talk.drop_copy(id).await?;
        db.write(move |store| store.forget_unwanted(peer, id)).await?;
    }
    for (_, hash) in db.read(|store| store.unfinished_copies()).await?.into_iter().filter(|(of, _)| *of == peer) {
        let copy = match sealed_parts(desk, peer, hash).await? {
            Sealing::Done(share, parts) => keep(talk, peer, &share, &parts).await?,
            Sealing::Never(why) => CopyRow { peer, state: CopyState::Refused, held_bytes: 0, reason: why },
            Sealing::Unwanted => continue,
        };
        more |= copy.state == CopyState::Sending;
        db.write(move |store| store.set_copy(hash, &copy)).await?;
    }
    if about == About::Everything {
        for hash in db.read(move |store| store.kept_by(peer)).await? {
            let Some((share, Some(parts))) = look(db, peer, hash).await? else { continue };
            let copy = check(talk, peer, &share, &parts).await?;
            more |= copy.state == CopyState::Sending;
            if copy.state != CopyState::Kept {
                db.write(move |store| store.set_copy(hash, &copy)).await?;
            }
        }
    }
    Ok(more)
}

/// Asks for a copy to be kept, or how far it is.
async fn keep(talk: &mut Talk, peer: PeerId, share: &ShareRow, parts: &[PartRow]) -> Result<CopyRow, FrameError> {
    let mut verdict = talk.keep(question(parts, 0, &[])?).await?;
    if verdict == Verdict::SendList {
        for (number, some) in parts.chunks(MAX_PARTS).enumerate() {
            verdict = talk.keep(question(parts, number * MAX_PARTS, some)?).await?;
            if matches!(verdict, Verdict::Refused(_)) {
                break;
            }
        }
    }
    Ok(copy(peer, share, parts, verdict, "It asks for the list again and again."))
}

/// Asks whether a copy that was whole is there still.
async fn check(talk: &mut Talk, peer: PeerId, share: &ShareRow, parts: &[PartRow]) -> Result<CopyRow, FrameError> {
    let verdict = talk.keep(question(parts, 0, &[])?).await?;
    Ok(copy(peer, share, parts, verdict, "It was dropped there."))
}

/// About a copy, with some of its parts or none.
fn question(all: &[PartRow], first: usize, parts: &[PartRow]) -> Result<Keep, FrameError> {
    let id = all.first().map(|part| part.id).ok_or(FrameError::Nonsense("nothing to be kept"))?;
    Ok(Keep {
        id,
        total_bytes: sum(all),
        count: u32::try_from(all.len()).unwrap_or(u32::MAX),
        first: u32::try_from(first).unwrap_or(u32::MAX),
        parts: parts.to_vec(),
    })
}

fn sum(parts: &[PartRow]) -> u64 {
    parts.iter().map(|part| part.size_bytes).sum()
}

/// What came of the question. `unknown`: what it means that the peer knows nothing of the copy.
fn copy(peer: PeerId, share: &ShareRow, parts: &[PartRow], verdict: Verdict, unknown: &str) -> CopyRow {
    let copy = |state, held_bytes, reason| CopyRow { peer, state, held_bytes, reason };
    match verdict {
        Verdict::Agreed { held_bytes } if held_bytes >= sum(parts) => {
            copy(CopyState::Kept, share.size_bytes, String::new())
        }
        Verdict::Agreed { held_bytes } | Verdict::Noted { held_bytes } => {
            // Of the content, whose ciphertext is a little longer.
            copy(CopyState::Sending, held_bytes.min(share.size_bytes), String::new())
        }
        Verdict::Refused(reason) => copy(CopyState::Refused, 0, reason),
        Verdict::SendList => copy(CopyState::Refused, 0, unknown.to_owned()),
    }
}

/// What became of sealing a share.
#[allow(clippy::large_enum_variant, reason = "one at a time, and taken apart where it comes from")]
enum Sealing {
    /// What its copy consists of: made once, the same for everybody who keeps it.
    Done(ShareRow, Vec<PartRow>),
    /// Inside, a sentence on why there is none.
    Never(String),
    /// The share is gone, or this peer is to keep it no longer.
    Unwanted,
}

/// A share, and what its copy consists of once that is known.
type Looked = (ShareRow, Option<Vec<PartRow>>);

/// As long as that peer is to keep it.
async fn look(db: &Database, peer: PeerId, hash: FileHash) -> Result<Option<Looked>, Failure> {
    let looking = db.read(move |store| {
        let share = store.share(hash)?.filter(|share| share.copies.iter().any(|copy| copy.peer == peer));
        let Some(share) = share else { return Ok(None) };
        let parts = store.sealed_pieces(share.position)?;
        Ok(Some((share, parts)))
    });
    let sealed = |part: PartRow| PartRow { size_bytes: kith_content::sealed_bytes(part.size_bytes), ..part };
    let looked = looking.await?;
    Ok(looked.map(|(share, parts)| (share, parts.map(|parts| parts.into_iter().map(sealed).collect()))))
}

async fn sealed_parts(desk: &Arc<Desk>, peer: PeerId, hash: FileHash) -> Result<Sealing, Failure> {
    match look(&desk.db, peer, hash).await? {
        None => Ok(Sealing::Unwanted),
        Some((share, parts)) => match (share.state, parts) {
            (ShareState::Missing, _) => Ok(Sealing::Never(not_there(share.kind).to_owned())),
            (ShareState::Changed, _) => Ok(Sealing::Never("The file has changed since it was shared.".to_owned())),
            (ShareState::Available, Some(parts)) => Ok(Sealing::Done(share, parts)),
            // It takes its time, and others who are to keep the same wait for it.
            (ShareState::Available, None) => desk.sealing(hash, seal(desk, peer, hash)).await,
        },
    }
}

const fn not_there(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "The file is not there any more: put it back where it was, and ask again.",
        FileKind::Folder => "Something of the folder is not there any more: put it back where it was, and ask again.",
    }
}

async fn seal(desk: &Arc<Desk>, peer: PeerId, hash: FileHash) -> Result<Sealing, Failure> {
    let (share, sealed) = match look(&desk.db, peer, hash).await? {
        None => return Ok(Sealing::Unwanted),
        Some((share, Some(parts))) => return Ok(Sealing::Done(share, parts)),
        Some((share, None)) => (share, desk.making().await),
    };
    let position = share.position;
    let pieces = desk.db.read(move |store| store.pieces(position)).await?;
    if pieces.len() > MAX_COPY_PARTS as usize {
        return Ok(Sealing::Never(format!(
            "A folder of more than {MAX_COPY_PARTS} files cannot be kept: put it into an archive."
        )));
    }
    let (_give_up, go_on) = GiveUp::new();
    let (key, kind, places, made) = (share.key.clone(), share.kind, Arc::clone(&desk.places), Arc::clone(&sealed));
    let sealing = blocking(move || {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let secret = kith_content::copy_key(&key, piece.hash);
            let sealed = if kind == FileKind::Folder && piece.hash == hash {
                kith_content::hash_bytes(&kith_content::seal_bytes(&secret, &read_list(&piece.path)?))
            } else {
                let mut follow = |_| go_on();
                kith_content::add_sealed(&piece.path, &secret, piece.hash, &places.outboards, &mut follow)?.hash
            };
            made.note(sealed);
            parts.push(PartRow {
                id: kith_content::lookup_id(&key, piece.hash),
                hash: sealed,
                size_bytes: kith_content::sealed_bytes(piece.size_bytes),
            });
        }
        Ok::<_, ContentError>(parts)
    });
    let parts = match sealing.await {
        Ok(parts) => parts,
        Err(error) => return Ok(Sealing::Never(format!("It could not be sealed: {error}."))),
    };
    // Meanwhile the user may have thought better of it.
    let (key, stored) = (share.key, parts);
    if desk.db.write(move |store| store.set_sealed_pieces(hash, &key, &stored)).await? {
        sealed.is_kept();
    }
    Ok(match look(&desk.db, peer, hash).await? {
        Some((share, Some(parts))) => Sealing::Done(share, parts),
        _ => Sealing::Unwanted,
    })
}

/// Whom there is something to say to.
pub(super) async fn to_visit(db: &Database) -> Result<Vec<PeerId>, Failure> {
    let waiting = db.read(|store| {
        let mut peers = store.to_be_told()?;
        peers.extend(store.unfinished_copies()?.into_iter().map(|(peer, _): (PeerId, FileHash)| peer));
        peers.extend(store.unwanted_copies()?.into_iter().map(|(peer, _)| peer));
        Ok(peers)
    });
    let mut peers = waiting.await?;
    peers.sort_unstable();
    peers.dedup();
    Ok(peers)
}
