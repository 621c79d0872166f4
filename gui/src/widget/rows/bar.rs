//! The bar beside a list: where one is in it, and a way to be elsewhere. Heights of rows that have not been laid out are not
//! known, so it counts rows: where the thumb stands is which of them are in sight.

use iced::{Point, Rectangle, Size};

use super::{EDGE, Placed};

/// Of the thumb, and where one can press: wider, because a bar that is easily missed is none.
const WIDTH: f32 = 6.0;
pub const REACH: f32 = 14.0;
const MARGIN: f32 = 3.0;
/// However long the list, the thumb can be taken hold of.
const MIN_LENGTH: f32 = 36.0;
/// Less than a part of a row out of sight is none.
const NOTHING: f32 = 0.01;

/// Rows that are not in memory, as far as anybody knows: the thumb does not reach the ends before they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beyond {
    pub above: usize,
    pub below: usize,
}

/// What is in sight of how much, in rows and parts of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    start: f32,
    seen: f32,
    count: f32,
    beyond: Beyond,
}

/// Where a row is to be: its place in the list, and how far below the upper edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    End,
    Row(usize, f32),
}

impl Extent {
    /// `None`: all there is is in sight.
    pub fn of(placed: &[Placed], count: usize, height: f32, beyond: Beyond) -> Option<Self> {
        let seen = |row: &&Placed| row.height > 0.0 && row.top + row.height > 0.0 && row.top < height;
        let (first, last) = (placed.iter().find(seen)?, placed.iter().rev().find(seen)?);
        let start = first.index as f32 + (-first.top / first.height).clamp(0.0, 1.0);
        let end = last.index as f32 + ((height - last.top) / last.height).clamp(0.0, 1.0);
        let extent = Self { start, seen: (end - start).max(NOTHING), count: count as f32, beyond };
        (extent.hidden() > NOTHING).then_some(extent)
    }

    fn whole(&self) -> f32 {
        self.beyond.above as f32 + self.count + self.beyond.below as f32
    }

    /// How many rows are out of sight.
    fn hidden(&self) -> f32 {
        self.whole() - self.seen
    }

    /// The thumb's upper end and length, on a track of that length.
    pub fn thumb(&self, track: f32) -> (f32, f32) {
        let length = (track * self.seen / self.whole()).max(MIN_LENGTH).min(track);
        let part = (self.beyond.above as f32 + self.start) / self.hidden();
        (((track - length) * part).clamp(0.0, track - length), length)
    }

    /// What is to be in sight when the upper end of a thumb of that length stands there. Rows are as high as those in sight on
    /// average.
    pub fn goal(&self, top: f32, length: f32, track: f32, row_height: f32) -> Goal {
        let room = track - length;
        let part = if room > 0.0 { (top / room).clamp(0.0, 1.0) } else { 0.0 };
        let start = part * self.hidden() - self.beyond.above as f32;
        let last = (self.count - self.seen).max(0.0);
        if start >= last - NOTHING && self.beyond.below == 0 {
            return Goal::End;
        }
        let start = start.clamp(0.0, last);
        let below = if start < 1.0 { EDGE } else { 0.0 };
        Goal::Row(start as usize, below - start.fract() * (row_height + below))
    }
}

/// How the thumb is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grip {
    /// Below its upper end.
    pub at: f32,
    /// Its length stays while it is held, whatever comes into sight.
    pub length: f32,
    pub top: f32,
}

/// Where it can be pressed.
pub fn strip(list: Rectangle) -> Rectangle {
    Rectangle { x: list.x + list.width - REACH.min(list.width), width: REACH.min(list.width), ..list }
}

pub fn track(list: Rectangle) -> f32 {
    (list.height - 2.0 * MARGIN).max(1.0)
}

/// The place of a pointer on the track.
pub fn along(list: Rectangle, pointer: Point) -> f32 {
    pointer.y - list.y - MARGIN
}

pub fn shape(list: Rectangle, (top, length): (f32, f32)) -> Rectangle {
    let place = Point::new(list.x + list.width - WIDTH - MARGIN, list.y + MARGIN + top);
    Rectangle::new(place, Size::new(WIDTH, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 50 in a list of 600, from that one on.
    fn placed(first: usize, count: usize) -> Vec<Placed> {
        let row = |at: usize| Placed { index: first + at, key: 0, top: 50.0 * at as f32, height: 50.0 };
        (0..count).map(row).collect()
    }

    fn extent(first: usize, count: usize, beyond: Beyond) -> Extent {
        Extent::of(&placed(first, 12), count, 600.0, beyond).expect("some are out of sight")
    }

    #[test]
    fn without_anything_out_of_sight_there_is_no_bar() {
        assert_eq!(Extent::of(&placed(0, 12), 12, 600.0, Beyond::default()), None);
        assert_eq!(Extent::of(&[], 0, 600.0, Beyond::default()), None);
        assert!(Extent::of(&placed(0, 12), 12, 600.0, Beyond { above: 60, below: 0 }).is_some(), "more can be loaded");
    }

    #[test]
    fn the_thumb_stands_at_the_ends_at_the_ends_only() {
        let none = Beyond::default();
        let (top, length) = extent(0, 120, none).thumb(600.0);
        assert_eq!((top, length), (0.0, 60.0));
        let (top, length) = extent(108, 120, none).thumb(600.0);
        assert_eq!(top + length, 600.0);
        let (top, _) = extent(54, 120, none).thumb(600.0);
        assert!((top - 270.0).abs() < 1.0, "{top}");
        assert!(extent(0, 120, Beyond { above: 60, below: 0 }).thumb(600.0).0 > 100.0, "older ones are there");
        let (top, length) = extent(99_000, 100_000, none).thumb(600.0);
        assert!(length >= MIN_LENGTH && top + length < 600.0, "{top} {length}");
    }

    #[test]
    fn pulling_the_thumb_leads_there_and_to_the_ends() {
        let here = extent(54, 120, Beyond::default());
        let (_, length) = here.thumb(600.0);
        assert_eq!(here.goal(0.0, length, 600.0, 50.0), Goal::Row(0, EDGE));
        assert_eq!(here.goal(-50.0, length, 600.0, 50.0), Goal::Row(0, EDGE), "above the track");
        assert_eq!(here.goal(540.0, length, 600.0, 50.0), Goal::End);
        let Goal::Row(row, top) = here.goal(270.0, length, 600.0, 50.0) else { panic!("in the middle") };
        assert!((53..=54).contains(&row) && (-50.0..=0.0).contains(&top), "{row} {top}");
        let more = extent(0, 120, Beyond { above: 0, below: 60 });
        assert_eq!(more.goal(600.0, 60.0, 600.0, 50.0), Goal::Row(108, 0.0), "the last that are in memory");
    }
}
