//! The list and its bar, laid out without a window.

use iced::widget::container;

use super::*;

/// Rows of 50, whose height says nothing of what is in them.
fn state(count: u64, wanted: Wanted, moved: f32) -> (State, usize) {
    let built = std::cell::Cell::new(0);
    let keys: Vec<u64> = (0..count).map(|key| key * 3).collect();
    let list = |wanted| {
        rows(
            keys.clone(),
            wanted,
            |_| (),
            |_| {
                built.set(built.get() + 1);
                container("row").height(50).into()
            },
        )
    };
    let renderer = headless();
    let limits = Limits::new(Size::ZERO, Size::new(400.0, 600.0));
    let mut tree = Tree::new(&list(wanted) as &dyn Widget<(), Theme, Renderer>);
    let _ = list(wanted).layout(&mut tree, &renderer, &limits);
    tree.state.downcast_mut::<State>().scroll(moved, 600.0);
    let _ = list(wanted).layout(&mut tree, &renderer, &limits);
    let state = std::mem::take(tree.state.downcast_mut::<State>());
    (state, built.get())
}

fn headless() -> Renderer {
    use iced::advanced::renderer::Headless as _;
    let made = Renderer::new(iced::Font::DEFAULT, iced::Pixels(14.0), Some("tiny-skia"));
    futures::executor::block_on(made).expect("software draws everywhere")
}

fn wanted(number: u64, aim: Aim) -> Wanted {
    Wanted { number, aim }
}

#[test]
fn of_a_hundred_thousand_rows_a_screenful_is_built() {
    let (state, built) = state(100_000, wanted(0, Aim::End), 0.0);
    assert!(state.placed.len() < 20, "{}", state.placed.len());
    assert!(built < 40, "{built}");
    assert_eq!(state.sight(600.0).map(|sight| sight.last), Some(99_999));
}

#[test]
fn a_row_that_is_asked_for_is_in_sight() {
    let (state, _) = state(100_000, wanted(1, Aim::Row(150_000)), 0.0);
    let sight = state.sight(600.0).expect("something is in sight");
    assert!((sight.first..=sight.last).contains(&50_000), "{sight:?}");
    assert_eq!(sight.at_end, AtEnd::No);
}

#[test]
fn scrolling_moves_by_what_was_scrolled_and_stops_at_both_ends() {
    let (up, _) = state(1_000, wanted(0, Aim::End), 130.0);
    assert_eq!(up.placed.iter().find(|row| row.index == 999).map(|row| row.top), Some(600.0 - EDGE - 50.0 + 130.0));
    let (past_end, _) = state(1_000, wanted(0, Aim::End), -5_000.0);
    assert_eq!((past_end.at_end, past_end.anchor), (AtEnd::Yes, Anchor::End));
    let (past_top, _) = state(1_000, wanted(1, Aim::Row(0)), 5_000.0);
    assert_eq!(past_top.placed.first().map(|row| (row.index, row.top)), Some((0, EDGE)));
}

/// A list of a thousand rows of 50, and a hand on the mouse.
struct Hand {
    tree: Tree,
    renderer: Renderer,
    keys: Vec<u64>,
}

impl Hand {
    fn new() -> Self {
        let keys: Vec<u64> = (0..1_000).collect();
        let list = list(&keys);
        Self { tree: Tree::new(&list as &dyn Widget<(), Theme, Renderer>), renderer: headless(), keys }
    }

    /// Does something with the mouse there; whether the list took it for itself.
    fn does(&mut self, event: mouse::Event, x: f32, y: f32) -> bool {
        let mut rows = list(&self.keys);
        let limits = Limits::new(Size::ZERO, Size::new(400.0, 600.0));
        let node = rows.layout(&mut self.tree, &self.renderer, &limits);
        let mut messages = Vec::new();
        let mut shell = Shell::new(&mut messages);
        rows.update(
            &mut self.tree,
            &Event::Mouse(event),
            Layout::new(&node),
            mouse::Cursor::Available(Point::new(x, y)),
            &self.renderer,
            &mut iced::advanced::clipboard::Null,
            &mut shell,
            &Rectangle::with_size(Size::new(400.0, 600.0)),
        );
        let captured = shell.is_event_captured();
        let _ = list(&self.keys).layout(&mut self.tree, &self.renderer, &limits);
        captured
    }

    fn sight(&self) -> Sight {
        self.tree.state.downcast_ref::<State>().sight(600.0).expect("something is in sight")
    }
}

fn list(keys: &[u64]) -> Rows<'static, ()> {
    let aim = Wanted { number: 0, aim: Aim::End };
    rows(keys.to_vec(), aim, |_| (), |_| container("row").height(50).into())
}

#[test]
fn the_bar_is_taken_hold_of_pulled_and_let_go() {
    let mut hand = Hand::new();
    let press = mouse::Event::ButtonPressed(mouse::Button::Left);
    let release = mouse::Event::ButtonReleased(mouse::Button::Left);
    let moved = |x, y| mouse::Event::CursorMoved { position: Point::new(x, y) };
    assert!(!hand.does(press, 200.0, 300.0), "beside it");
    assert_eq!(hand.sight().at_end, AtEnd::Yes);
    // At the end the thumb stands at the bottom; held there, nothing moves.
    assert!(hand.does(press, 394.0, 590.0));
    assert_eq!(hand.sight().last, 999);
    // Pulled to the middle, also with the pointer somewhere beside it.
    assert!(hand.does(moved(100.0, 300.0), 100.0, 300.0));
    assert!((400..600).contains(&hand.sight().first), "{:?}", hand.sight());
    assert!(hand.does(moved(394.0, -50.0), 394.0, -50.0));
    assert_eq!(hand.sight().first, 0);
    assert!(hand.does(release, 394.0, 10.0));
    assert!(!hand.does(moved(394.0, 500.0), 394.0, 500.0), "it is not held any more");
    assert_eq!(hand.sight().first, 0);
    // Pressed elsewhere on the track, it comes there.
    assert!(hand.does(press, 394.0, 300.0));
    assert!((400..600).contains(&hand.sight().first), "{:?}", hand.sight());
    assert!(hand.does(moved(394.0, 700.0), 394.0, 700.0));
    assert_eq!(hand.sight().at_end, AtEnd::Yes);
}

#[test]
fn few_rows_stand_at_the_bottom() {
    let (state, _) = state(2, wanted(0, Aim::End), 0.0);
    assert_eq!(state.placed.last().map(|row| row.top + row.height), Some(600.0 - EDGE));
    assert_eq!(state.at_end, AtEnd::Yes);
}

#[test]
fn a_list_that_is_read_from_the_top_begins_and_stays_there() {
    let (begun, _) = state(1_000, wanted(0, Aim::Top), 0.0);
    assert_eq!(begun.placed.first().map(|row| (row.index, row.top)), Some((0, EDGE)));
    assert_eq!(begun.anchor, Anchor::TOP, "what comes before the first row is seen");
    let (few, _) = state(2, wanted(0, Aim::Top), -130.0);
    assert_eq!(few.placed.first().map(|row| row.top), Some(EDGE), "a few cannot be scrolled away");
    let (past_end, _) = state(1_000, wanted(0, Aim::Top), -5_000.0);
    assert!(matches!(past_end.anchor, Anchor::Row { key, .. } if key > 0), "others at the end do not move it");
}
