//! What this node has to say to others: that something is offered to them, that a copy is to be kept or no longer. One
//! visit to one peer at a time, when it is there.

use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::file::{CopyState, FileHash, FileKind, ShareState};
use kith_common::ids::PeerId;
use kith_content::ContentError;
use kith_store::{CopyRow, Database, PartRow, ShareRow, Told};

use super::MAX_COPY_PARTS;
use super::library::{Places, blocking, read_list};
use super::pipe::PipeError;
use super::ports::Network;
use super::talk::Talk;
use super::wire::{Keep, MAX_PARTS, Verdict};

/// Offers in one visit; the others have their turn at the next.
const MAX_OFFERS: u32 = 50;

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
    db: Database,
    places: Arc<Places>,
    peer: PeerId,
    ticket: impl Fn(&ShareRow) -> String + Send,
) -> Visit {
    let mut talk = match Talk::open(&net, peer).await {
        Ok(talk) => talk,
        Err(failure) => {
            tracing::debug!(%peer, %failure, "nothing can be offered to a peer now");
            return Visit::Failed;
        }
    };
    match say(&mut talk, &db, &places, peer, ticket).await {
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
    Pipe(PipeError),
    Store(Failure),
}

impl From<PipeError> for Trouble {
    fn from(error: PipeError) -> Self {
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
    db: &Database,
    places: &Arc<Places>,
    peer: PeerId,
    ticket: impl Fn(&ShareRow) -> String + Send,
) -> Result<bool, Trouble> {
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
        let Some(share) = db.read(move |store| store.share(hash)).await? else { continue };
        let copy = match sealed_parts(db, places, &share).await? {
            Ok(parts) => keep(talk, peer, &share, &parts).await?,
            Err(why) => CopyRow { peer, state: CopyState::Refused, held_bytes: 0, reason: why },
        };
        more |= copy.state == CopyState::Sending;
        db.write(move |store| store.set_copy(hash, &copy)).await?;
    }
    Ok(more)
}

/// Asks for a copy to be kept, or how far it is.
async fn keep(talk: &mut Talk, peer: PeerId, share: &ShareRow, parts: &[PartRow]) -> Result<CopyRow, PipeError> {
    let Some(id) = parts.first().map(|part| part.id) else {
        return Err(PipeError::Nonsense("nothing to be kept"));
    };
    let total_bytes = parts.iter().map(|part| part.size_bytes).sum();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let question = |first: usize, parts: &[PartRow]| Keep {
        id,
        total_bytes,
        count,
        first: u32::try_from(first).unwrap_or(u32::MAX),
        parts: parts.to_vec(),
    };
    let mut verdict = talk.keep(question(0, &[])).await?;
    if verdict == Verdict::SendList {
        for (number, some) in parts.chunks(MAX_PARTS).enumerate() {
            verdict = talk.keep(question(number * MAX_PARTS, some)).await?;
            if matches!(verdict, Verdict::Refused(_)) {
                break;
            }
        }
    }
    let copy = |state, held_bytes, reason| CopyRow { peer, state, held_bytes, reason };
    Ok(match verdict {
        Verdict::Agreed { held_bytes } if held_bytes >= total_bytes => {
            copy(CopyState::Kept, share.size_bytes, String::new())
        }
        Verdict::Agreed { held_bytes } | Verdict::Noted { held_bytes } => {
            // Of the content, whose ciphertext is a little longer.
            copy(CopyState::Sending, held_bytes.min(share.size_bytes), String::new())
        }
        Verdict::Refused(reason) => copy(CopyState::Refused, 0, reason),
        Verdict::SendList => copy(CopyState::Refused, 0, "It asks for the list again and again.".to_owned()),
    })
}

/// What the sealed copy of a share consists of: made once, the same for everybody who keeps it. Inside an error, a sentence
/// on why there is none.
async fn sealed_parts(
    db: &Database,
    places: &Arc<Places>,
    share: &ShareRow,
) -> Result<Result<Vec<PartRow>, String>, Failure> {
    if share.state != ShareState::Available {
        return Ok(Err("The file has changed since it was shared.".to_owned()));
    }
    let position = share.position;
    if let Some(parts) = db.read(move |store| store.sealed_pieces(position)).await? {
        let sealed = |part: PartRow| PartRow { size_bytes: kith_content::sealed_bytes(part.size_bytes), ..part };
        return Ok(Ok(parts.into_iter().map(sealed).collect()));
    }
    let pieces = db.read(move |store| store.pieces(position)).await?;
    if pieces.len() > MAX_COPY_PARTS as usize {
        return Ok(Err(format!(
            "A folder of more than {MAX_COPY_PARTS} files cannot be kept: put it into an archive."
        )));
    }
    let (key, kind, hash, places) = (share.key.clone(), share.kind, share.hash, Arc::clone(places));
    let sealing = blocking(move || {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let secret = kith_content::copy_key(&key, piece.hash);
            let sealed = if kind == FileKind::Folder && piece.hash == hash {
                kith_content::hash_bytes(&kith_content::seal_bytes(&secret, &read_list(&piece.path)?))
            } else {
                let mut go_on = |_| std::ops::ControlFlow::Continue(());
                kith_content::add_sealed(&piece.path, &secret, piece.hash, &places.outboards, &mut go_on)?.hash
            };
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
        Err(error) => return Ok(Err(format!("It could not be sealed: {error}."))),
    };
    let stored = parts.clone();
    db.write(move |store| store.set_sealed_pieces(position, &stored)).await?;
    Ok(Ok(parts))
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
