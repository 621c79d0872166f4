use tokio::task::yield_now;

use super::*;

#[test]
fn the_lowest_limit_says_how_much_goes_at_once() {
    let slow = Some(5 * 1024);
    for rates in [[slow, None, None], [None, slow, Some(1 << 30)], [Some(1 << 20), None, slow]] {
        assert_eq!(step(rates), MIN_STEP, "{rates:?}");
    }
    assert_eq!(step([None, Some(2_000_000), Some(3_000_000)]), 20_000);
    assert_eq!((step([None; 3]), step([Some(1 << 40); 3])), (PIECE, PIECE));
}

#[test]
fn questions_cost_a_peer_time_as_many_as_they_are() {
    let (mut turns, start) = (Turns::default(), Instant::now());
    let free = u32::try_from(LOOKUPS_FREE.as_millis() / LOOKUP_COST.as_millis()).expect("a few");
    assert!(turns.take(free, start) <= start, "after a pause they are free");
    assert_eq!(turns.take(32, start), start + 32 * LOOKUP_COST);
    assert_eq!(turns.take(1, start), start + 33 * LOOKUP_COST);
    assert!(!turns.is_rested(start + LOOKUPS_FREE));
    let later = start + 2 * LOOKUPS_FREE;
    assert!(turns.is_rested(later) && turns.take(free, later) <= later, "no more is saved up than that");
    assert!(turns.take(1, later) > later);
}

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
