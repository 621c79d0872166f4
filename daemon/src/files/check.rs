//! What users may ask for, whom they mean, and how what failed is said.

use std::path::{Path, PathBuf};

use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FileHash, MAX_FILE_PEERS};
use kith_common::ids::PeerId;
use kith_common::target::Target;
use kith_content::ContentError;

use super::fetch::Origin;
use crate::net::ProviderKey;

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

pub(super) fn stopped() -> Failure {
    Failure::new(FailureKind::Internal, "the daemon is shutting down")
}

pub(super) fn no_share(hash: FileHash) -> Failure {
    Failure::new(FailureKind::NotFound, format!("nothing with the hash {hash} is shared from here"))
        .advise("kithctl files list shows what is.")
}

pub(super) fn no_transfer(id: u32) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no transfer {id}"))
        .advise("kithctl files transfers shows them.")
}

pub(super) fn no_offer(id: u32) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no offer {id}")).advise("kithctl files offers shows them.")
}

/// What a user is told about content that could not be read or written, in a transfer: one can go on later.
pub(super) fn failure(error: &ContentError) -> Failure {
    use FailureKind as Kind;
    let (kind, advice) = match error {
        ContentError::Changed => (Kind::NotFound, "Add it again, and give away the new ticket."),
        ContentError::Missing => (Kind::NotFound, "Look at the path."),
        ContentError::NotPermitted(_) => (Kind::NotPermitted, "Look at its owner and permissions, or choose another."),
        ContentError::NotAFile(_) | ContentError::BadName { .. } | ContentError::TooDeep(_) => {
            (Kind::InvalidArgument, "Rename it, leave it out, or put all of it into an archive.")
        }
        ContentError::Unsteady(_) => (Kind::Busy, "Add it when nothing writes to it any more."),
        ContentError::Full | ContentError::NoRoom { .. } => {
            (Kind::NotPermitted, "Free some space on that disk, then go on: kithctl files resume ID")
        }
        ContentError::Cancelled => (Kind::Declined, ""),
        ContentError::TooLarge | ContentError::TooManyFiles => {
            (Kind::InvalidArgument, "Put it into archives, and share those.")
        }
        ContentError::Lie(_) => (Kind::VerificationFailed, "Ask somebody else for it."),
        ContentError::NotHere | ContentError::BadRange => (Kind::InvalidArgument, "Ask for a part that there is."),
        ContentError::Damaged(_) => (Kind::Internal, "Add it again, and look at the health of the disk."),
        ContentError::BadManifest(_) => {
            (Kind::VerificationFailed, "Whoever shared the folder has to share it again, with a newer version.")
        }
        ContentError::InUse(_) => (Kind::Busy, "Stop the other program, then go on: kithctl files resume ID"),
        ContentError::Incomplete { .. } => (Kind::Internal, "Go on with it: kithctl files resume ID"),
        ContentError::NoFreeName(_) => (Kind::NotPermitted, "Tidy that folder up, or choose another with --to."),
        ContentError::Io { .. } => (Kind::Internal, "Look at the health of the disk, and into the log."),
    };
    Failure::new(kind, error.to_string()).advise(advice)
}

/// The same of something that was being added, where there is nothing to go on with.
pub(super) fn not_added(error: &ContentError) -> Failure {
    let failure = failure(error);
    match error {
        ContentError::Full | ContentError::NoRoom { .. } => {
            failure.advise("Free some space on that disk, and add it again.")
        }
        ContentError::InUse(_) => failure.advise("Stop the other program, and add it again."),
        _ => failure,
    }
}

/// What a person calls that peer.
pub(super) fn name_of(people: &People, peer: PeerId) -> String {
    let contact = people.contacts.iter().find(|contact| contact.peer_id == peer);
    contact.map_or_else(|| format!("…{}", peer.short()), |contact| contact.name.clone())
}

/// What the DHT learns of content is not what it can be fetched by.
pub(super) fn provider_key(hash: FileHash) -> ProviderKey {
    *kith_content::hash_bytes(&[b"kith provider 1".as_slice(), hash.as_bytes()].concat()).as_bytes()
}

/// Paths are the daemon's: a relative one would be relative to nothing that its user knows.
pub(super) fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.is_absolute() {
        return Ok(path);
    }
    let message = format!("{} is no full path", path.display());
    Err(invalid(message).advise("Give the path from / on."))
}

/// A folder that files are saved into: made if need be.
pub(super) async fn folder(path: &Path) -> Result<(), Failure> {
    let path = path.to_owned();
    let checking = tokio::task::spawn_blocking(move || {
        let not = |kind, why: &dyn std::fmt::Display| {
            Failure::new(kind, format!("{} cannot be saved into: {why}", path.display()))
                .advise("Choose another folder with --to, or for all files: kithctl files settings --folder DIR")
        };
        let denied = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                not(FailureKind::NotPermitted, &"this user may not write there")
            }
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
                not(FailureKind::InvalidArgument, &"it is no folder")
            }
            _ => not(FailureKind::Internal, &error),
        };
        std::fs::create_dir_all(&path).map_err(denied)?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(&path, access).map_err(|error| denied(error.into()))
    });
    checking
        .await
        .map_err(|error| Failure::new(FailureKind::Internal, format!("the folder was not looked at: {error}")))?
}

/// Whom a user means: contacts by name, anybody by peer id or ticket.
pub(super) fn peers(own: PeerId, people: &People, names: &[String]) -> Result<Vec<Origin>, Failure> {
    if names.len() > MAX_FILE_PEERS {
        let message = format!("{} peers at once are too many: at most {MAX_FILE_PEERS}", names.len());
        return Err(invalid(message));
    }
    let mut found = Vec::<Origin>::new();
    for name in names.iter().map(|name| name.trim()) {
        let wanted = name.to_lowercase();
        let contact = people.contacts.iter().find(|contact| contact.name.to_lowercase() == wanted);
        let origin = match (contact, name.parse()) {
            (Some(contact), _) => Origin { peer: contact.peer_id, addresses: Vec::new() },
            (None, Ok(Target::Peer(peer))) => Origin { peer, addresses: Vec::new() },
            (None, Ok(Target::Ticket(ticket))) => Origin { peer: ticket.peer, addresses: ticket.addresses },
            (None, _) => {
                return Err(Failure::new(FailureKind::NotFound, format!("no contact is called {name:.80?}"))
                    .advise("kithctl contacts list shows the contacts; a peer id or a ticket will do as well."));
            }
        };
        if origin.peer == own {
            return Err(invalid("that is this node's own identity").advise("Name another node."));
        }
        if !found.iter().any(|known| known.peer == origin.peer) {
            found.push(origin);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_public_key([n; 32])
    }

    #[test]
    fn peers_are_found_by_id_and_strangers_names_are_refused_in_words() {
        let people = People::default();
        let found = peers(peer(1), &people, &[peer(2).to_string(), format!(" {} ", peer(2))]);
        assert_eq!(found, Ok(vec![Origin { peer: peer(2), addresses: Vec::new() }]));
        for names in [vec!["Nobody".to_owned()], vec![peer(1).to_string()], vec![peer(2).to_string(); 33]] {
            assert!(peers(peer(1), &people, &names).is_err());
        }
    }

    #[test]
    fn only_who_has_a_transfer_is_told_to_go_on_with_it() {
        for error in [
            ContentError::Full,
            ContentError::NoRoom { needed_bytes: 2, free_bytes: 1 },
            ContentError::InUse("/somewhere".into()),
        ] {
            let (fetching, adding) = (failure(&error), not_added(&error));
            assert!(fetching.advice.contains("files resume ID"), "{fetching:?}");
            assert!(adding.advice.contains("add it again") && !adding.advice.contains("resume"), "{adding:?}");
            assert_eq!((adding.kind, adding.message), (fetching.kind, fetching.message));
        }
    }

    #[test]
    fn what_the_dht_learns_is_not_the_hash() {
        let hash = FileHash::from_bytes([7; 32]);
        assert_ne!(provider_key(hash), *hash.as_bytes());
        assert_ne!(provider_key(hash), provider_key(FileHash::from_bytes([8; 32])));
    }

    #[tokio::test]
    async fn a_folder_is_made_and_what_is_none_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        folder(&dir.path().join("a/b")).await.expect("it can be made");
        assert!(dir.path().join("a/b").is_dir());
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("writable");
        let failure = folder(&file).await.expect_err("no folder");
        assert!(failure.kind == FailureKind::InvalidArgument && failure.message.contains("no folder"), "{failure:?}");
        assert!(absolute("x/y".into()).is_err());
    }
}
