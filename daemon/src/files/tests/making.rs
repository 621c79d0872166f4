//! Adding and removing at the same time, and adds that come to nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kith_common::failure::FailureKind;
use kith_common::file::{AddOptions, FileSettings, ShareScope};
use kith_store::{Database, ShareRow};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use super::rig::{DEADLINE, bytes, files_below, peer};
use crate::files::adding::{Desk, GiveUp};
use crate::files::clients::Sink;
use crate::files::library::Places;

fn settings(store_bytes: u64) -> FileSettings {
    FileSettings {
        folder: PathBuf::new(),
        download_bytes_per_second: 0,
        upload_bytes_per_second: 0,
        unasked_bytes: 0,
        unasked_kinds: Vec::new(),
        copy_bytes_per_contact: 0,
        store_bytes,
        at_once: 1,
    }
}

fn copied() -> AddOptions {
    AddOptions { copy: true, ..AddOptions::default() }
}

struct Office {
    home: TempDir,
    desk: Arc<Desk>,
}

impl Office {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let places = Arc::new(Places::new(&home.path().join("data")));
        for folder in [&places.outboards, &places.blobs, &places.kept, &places.incoming] {
            std::fs::create_dir_all(folder).expect("writable");
        }
        let db = Database::in_memory(peer(1)).await;
        let desk = Arc::new(Desk::new(db, places, home.path().join("data")));
        Self { home, desk }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below home")).expect("writable");
        std::fs::write(&path, content).expect("writable");
        path
    }

    async fn add(&self, path: PathBuf, options: &AddOptions) -> Result<ShareRow, kith_common::failure::Failure> {
        let settings = settings(1 << 40);
        let adding = self.desk.add(path, options, Vec::new(), &settings, watch::Sender::default());
        timeout(DEADLINE, adding).await.expect("it waits for nobody")
    }
}

async fn until_empty(folder: &Path) {
    let emptied = async {
        while !files_below(folder).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, emptied).await.is_ok(), "there is still {:?}", files_below(folder));
}

#[tokio::test]
async fn adding_goes_on_while_something_is_to_be_removed_that_waits_for_an_add() {
    let office = Office::new().await;
    let first = office.add(office.write("first", &bytes(1, 50_000)), &copied()).await.expect("it can be shared");
    // A large one is hashed meanwhile.
    let long = office.desk.making().await;
    let hash = first.hash;
    office.desk.db.write(move |store| store.remove_share(hash)).await.expect("it is shared");
    timeout(DEADLINE, office.desk.tidy_away(vec![hash])).await.expect("it waits for nobody");
    let second = office.add(office.write("second", b"2"), &copied()).await.expect("it can be shared");
    let (blobs, outboards) = (office.desk.places.blobs.clone(), office.desk.places.outboards.clone());
    assert_eq!(
        (files_below(&blobs).len(), files_below(&outboards).len()),
        (2, 1),
        "nothing goes while something is made"
    );
    drop(long);
    until_empty(&outboards).await;
    let left = async {
        while files_below(&blobs) != [kith_content::blob_path(&blobs, second.hash)] {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, left).await.is_ok(), "{:?}", files_below(&blobs));
}

#[tokio::test]
async fn nothing_stays_of_an_add_that_came_to_nothing() {
    let office = Office::new().await;
    for name in ["a", "b", "c/d"] {
        office.write(&format!("folder/{name}"), &bytes(name.len() as u64, 40_000));
    }
    let kept = office.add(office.write("kept", &bytes(9, 40_000)), &copied()).await.expect("it can be shared");
    // Refused when all of it has been copied.
    let nobody = AddOptions { scope: ShareScope::Peers, ..copied() };
    for path in ["folder", "folder/a", "kept"] {
        let failure = office.add(office.home.path().join(path), &nobody).await.expect_err("it is for nobody");
        assert_eq!(failure.kind, FailureKind::InvalidArgument);
    }
    let mut sink = Sink::new(&office.desk, "sent", settings(1 << 40)).await.expect("there is room");
    sink.write(bytes(3, 30_000).into()).await.expect("there is room");
    sink.done(&nobody, Vec::new()).await.expect_err("it is for nobody");
    let places = Arc::clone(&office.desk.places);
    until_empty(&places.incoming).await;
    let left = async {
        while files_below(&places.blobs) != [kith_content::blob_path(&places.blobs, kept.hash)]
            || files_below(&places.outboards) != [kith_content::outboard_path(&places.outboards, kept.hash)]
        {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        timeout(DEADLINE, left).await.is_ok(),
        "{:?} {:?}",
        files_below(&places.blobs),
        files_below(&places.outboards)
    );
}

#[tokio::test]
async fn nothing_stays_of_a_folder_whose_user_has_gone_while_it_was_hashed() {
    let office = Office::new().await;
    office.write("folder/a", &bytes(1, 40_000));
    // A hole: it takes far longer to hash than anybody here waits.
    let long = std::fs::File::create(office.write("folder/b", b"")).expect("writable");
    long.set_len(1 << 40).expect("writable");
    let (options, settings, progress) = (AddOptions::default(), settings(1 << 40), watch::Sender::default());
    let mut hashed = progress.subscribe();
    let path = office.home.path().join("folder");
    let outboards = office.desk.places.outboards.clone();
    {
        let adding = office.desk.add(path, &options, Vec::new(), &settings, progress);
        tokio::select! {
            added = adding => panic!("so soon: {added:?}"),
            first = timeout(DEADLINE, hashed.wait_for(|now| now.files == 1)) => {
                first.expect("it is hashed").expect("the work goes on");
            }
        }
    }
    assert!(!files_below(&outboards).is_empty());
    until_empty(&outboards).await;
}

#[tokio::test]
async fn what_a_client_sends_too_much_of_is_refused_with_sizes_that_make_sense() {
    let office = Office::new().await;
    office.add(office.write("first", &bytes(1, 1_500_000)), &copied()).await.expect("it can be shared");
    let mut sink = Sink::new(&office.desk, "sent", settings(2_000_000)).await.expect("a little");
    sink.write(bytes(2, 400_000).into()).await.expect("there is room");
    let failure = sink.write(bytes(3, 200_000).into()).await.expect_err("the quota");
    assert_eq!(failure.kind, FailureKind::NotPermitted);
    let said = "own copies may have 2.0 MB in all: 1.5 MB are there, and 600 kB of this have come";
    assert_eq!(failure.message, said);
    drop(sink);
    until_empty(&office.desk.places.incoming).await;
}

#[test]
fn work_stops_when_whoever_wants_it_has_gone() {
    let (give_up, go_on) = GiveUp::new();
    assert_eq!(go_on(), ControlFlow::Continue(()));
    drop(give_up);
    assert_eq!(go_on(), ControlFlow::Break(()));
}
