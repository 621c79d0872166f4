use tokio::task::yield_now;

use super::*;
use crate::files::wire;

/// Long enough for whatever can go on without anybody else.
async fn all_that_can_happen() {
    for _ in 0..1000 {
        yield_now().await;
    }
}

#[tokio::test]
async fn long_lists_wait_at_the_peer_until_it_is_their_turn() {
    let part = PartRow { id: FileHash::from_bytes([1; 32]), hash: FileHash::from_bytes([2; 32]), size_bytes: 1 };
    let keep = Keep { id: part.id, total_bytes: 400, count: 400, first: 0, parts: vec![part; 400] };
    let frames = wire::encode(&Frame::Keep(keep)).repeat(50);
    let (jobs, mut waiting) = mpsc::channel(MAX_WAITING);
    let told = Told::new();
    let looking = async {
        for _ in 0..3 {
            all_that_can_happen().await;
            assert_eq!(waiting.len(), MAX_WAITING_WORDS);
            drop(waiting.recv().await);
        }
    };
    tokio::select! {
        biased;
        end = read(frames.as_slice(), jobs, &told) => panic!("it has read all of it: {end:?}"),
        () = looking => {}
    }
}
