//! A list of any length of which only what can be seen is built and laid out. Rows have keys that rise, are as high as
//! they are, and keep their place on the screen when others come or go above and below them; at the end the list stays
//! at the end. What the program has in memory may be a part of something longer: the list tells what is in sight, so
//! that more can be loaded in time. A bar shows where one is, and leads elsewhere.

mod bar;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use iced::advanced::layout::{Layout, Limits, Node};
use iced::advanced::widget::tree::{self, Tree};
use iced::advanced::widget::{Operation, Widget};
use iced::advanced::{Clipboard, Renderer as _, Shell, mouse, overlay, renderer};
use iced::keyboard::key::Named;
use iced::{Element, Event, Length, Point, Rectangle, Renderer, Size, Theme, Vector, border, keyboard, window};

pub use bar::Beyond;
use bar::{Extent, Goal, Grip};

use crate::theme;

/// What is laid out above and below what can be seen: a fast wheel finds it there.
const MARGIN: f32 = 240.0;
/// Between the first and last row and the edge.
const EDGE: f32 = 10.0;
/// What a notch of the wheel moves.
const NOTCH: f32 = 60.0;

/// Where the list is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    End,
    /// The row with this key, a third below the top.
    Row(u64),
    /// The first row. A list that is read from there on stands at the top when it is short, and stays where one is when
    /// others come at its end.
    Top,
    /// The same, where the row with this key is in sight: nothing moves when it is already.
    Near(u64),
}

impl Aim {
    fn is_from_top(self) -> bool {
        matches!(self, Self::Top | Self::Near(_))
    }
}

/// A wish to be somewhere. Each has a number of its own and is fulfilled once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub number: u64,
    pub aim: Aim,
}

/// What is in sight, by the rows' places in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    pub first: usize,
    pub last: usize,
    /// How many rows exist, those in the margin with them.
    pub built: usize,
    pub at_end: AtEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Anchor {
    End,
    Row { key: u64, top: f32 },
}

impl Anchor {
    /// The first row, whichever that is.
    const TOP: Self = Self::Row { key: 0, top: EDGE };
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    index: usize,
    key: u64,
    top: f32,
    height: f32,
}

struct State {
    anchor: Anchor,
    fulfilled: u64,
    placed: Vec<Placed>,
    at_end: AtEnd,
    told: Option<Sight>,
    /// The bar is held.
    grip: Option<Grip>,
}

impl Default for State {
    fn default() -> Self {
        Self { anchor: Anchor::End, fulfilled: 0, placed: Vec::new(), at_end: AtEnd::Yes, told: None, grip: None }
    }
}

impl State {
    fn scroll(&mut self, by: f32, height: f32) {
        let seen = self.placed.iter().find(|row| row.top + row.height > 0.0 && row.top < height);
        if let Some(row) = seen {
            self.anchor = Anchor::Row { key: row.key, top: row.top + by };
        }
    }

    /// The bar is pulled to where its thumb begins at `top`.
    fn pull(&mut self, top: f32, keys: &[u64], list: Rectangle, beyond: Beyond) {
        let (Some(grip), Some(extent)) = (self.grip, Extent::of(&self.placed, keys.len(), list.height, beyond)) else {
            return;
        };
        let track = bar::track(list);
        let top = top.clamp(0.0, (track - grip.length).max(0.0));
        self.grip = Some(Grip { top, ..grip });
        let row_height = self.placed.iter().map(|row| row.height).sum::<f32>() / self.placed.len().max(1) as f32;
        self.anchor = match extent.goal(top, grip.length, track, row_height) {
            Goal::End => Anchor::End,
            Goal::Row(index, top) => match keys.get(index) {
                Some(key) => Anchor::Row { key: *key, top },
                None => Anchor::End,
            },
        };
    }

    /// Whether all of a row can be seen.
    fn shows(&self, key: u64, height: f32) -> bool {
        self.placed.iter().any(|row| row.key == key && row.top >= 0.0 && row.top + row.height <= height)
    }

    fn sight(&self, height: f32) -> Option<Sight> {
        let seen = |row: &&Placed| row.top + row.height > 0.0 && row.top < height;
        let first = self.placed.iter().find(seen)?.index;
        let last = self.placed.iter().rev().find(seen)?.index;
        Some(Sight { first, last, built: self.placed.len(), at_end: self.at_end })
    }
}

type Build<'a, Message> = Box<dyn Fn(usize) -> Element<'a, Message> + 'a>;

pub struct Rows<'a, Message> {
    keys: Vec<u64>,
    build: Build<'a, Message>,
    shown: Vec<Element<'a, Message>>,
    wanted: Wanted,
    beyond: Beyond,
    on_sight: Box<dyn Fn(Sight) -> Message + 'a>,
}

/// `keys` rise; `build` makes the row of a place in them.
pub fn rows<'a, Message>(
    keys: Vec<u64>,
    wanted: Wanted,
    on_sight: impl Fn(Sight) -> Message + 'a,
    build: impl Fn(usize) -> Element<'a, Message> + 'a,
) -> Rows<'a, Message> {
    debug_assert!(keys.is_sorted(), "rows are found by their keys");
    let (build, on_sight) = (Box::new(build), Box::new(on_sight));
    Rows { keys, build, shown: Vec::new(), wanted, beyond: Beyond::default(), on_sight }
}

impl<Message> Rows<'_, Message> {
    /// What there is beyond the first and last row, for the bar.
    pub fn beyond(self, beyond: Beyond) -> Self {
        Self { beyond, ..self }
    }

    /// Takes hold of the bar, pulls it, and lets it go. Whether the event was meant for it, and something has changed.
    fn handle_bar(&self, state: &mut State, event: &Event, list: Rectangle, cursor: mouse::Cursor) -> bool {
        match event {
            Event::Mouse(mouse::Event::ButtonPressed(mouse::Button::Left)) => {
                let extent = Extent::of(&state.placed, self.keys.len(), list.height, self.beyond);
                let (Some(extent), Some(pointer)) = (extent, cursor.position_over(bar::strip(list))) else {
                    return false;
                };
                let (top, length) = extent.thumb(bar::track(list));
                let at = bar::along(list, pointer) - top;
                let on_it = (0.0..=length).contains(&at);
                // Pressed elsewhere, the thumb comes to the pointer.
                let at = if on_it { at } else { length / 2.0 };
                state.grip = Some(Grip { at, length, top });
                if !on_it {
                    state.pull(bar::along(list, pointer) - at, &self.keys, list, self.beyond);
                }
                true
            }
            Event::Mouse(mouse::Event::CursorMoved { position }) => {
                let Some(grip) = state.grip else { return false };
                // Wherever the pointer is by now.
                let pointer = cursor.position().unwrap_or(*position);
                state.pull(bar::along(list, pointer) - grip.at, &self.keys, list, self.beyond);
                true
            }
            Event::Mouse(mouse::Event::ButtonReleased(mouse::Button::Left)) => state.grip.take().is_some(),
            _ => false,
        }
    }
}

/// A row while it is being placed.
struct Row<'a, Message> {
    index: usize,
    element: Element<'a, Message>,
    tree: Tree,
    node: Node,
    top: f32,
}

impl<Message> Row<'_, Message> {
    fn bottom(&self) -> f32 {
        self.top + self.node.size().height
    }
}

/// Places rows one after the other.
struct Layouter<'r, 'a, Message> {
    keys: &'r [u64],
    build: &'r Build<'a, Message>,
    /// What widgets remember, by the keys of their rows.
    old: BTreeMap<u64, Tree>,
    renderer: &'r Renderer,
    size: Size,
    aim: Aim,
    rows: VecDeque<Row<'a, Message>>,
}

impl<'a, Message> Layouter<'_, 'a, Message> {
    fn row(&mut self, index: usize) -> Row<'a, Message> {
        let mut element = (self.build)(index);
        let mut tree = match self.old.remove(&self.keys[index]) {
            Some(mut tree) => {
                tree.diff(element.as_widget());
                tree
            }
            None => Tree::new(element.as_widget()),
        };
        let limits = Limits::new(Size::ZERO, Size::new(self.size.width, f32::INFINITY));
        let node = element.as_widget_mut().layout(&mut tree, self.renderer, &limits);
        Row { index, element, tree, node, top: 0.0 }
    }

    fn begin(&mut self, index: usize, place: impl FnOnce(f32) -> f32) {
        let mut row = self.row(index);
        row.top = place(row.node.size().height);
        self.rows.push_back(row);
    }

    fn down(&mut self) {
        while let Some(last) = self.rows.back()
            && last.index + 1 < self.keys.len()
            && last.bottom() < self.size.height + MARGIN
        {
            let (index, top) = (last.index + 1, last.bottom());
            let row = self.row(index);
            self.rows.push_back(Row { top, ..row });
        }
    }

    fn up(&mut self) {
        while let Some(first) = self.rows.front()
            && first.index > 0
            && first.top > -MARGIN
        {
            let (index, bottom) = (first.index - 1, first.top);
            let row = self.row(index);
            let top = bottom - row.node.size().height;
            self.rows.push_front(Row { top, ..row });
        }
    }

    fn shift(&mut self, by: f32) {
        self.rows.iter_mut().for_each(|row| row.top += by);
    }

    /// Places everything that is in sight. Whether the end is.
    fn place(&mut self, anchor: Anchor) -> AtEnd {
        let count = self.keys.len();
        if count == 0 {
            return AtEnd::Yes;
        }
        match anchor {
            Anchor::End => {
                let bottom = self.size.height - EDGE;
                self.begin(count - 1, |height| bottom - height);
            }
            Anchor::Row { key, top } => {
                // One that is gone leaves its place to the next.
                let index = self.keys.binary_search(&key).unwrap_or_else(|next| next.min(count - 1));
                self.begin(index, |_| top);
            }
        }
        self.down();
        self.up();
        if let Some(first) = self.rows.front()
            && first.index == 0
            && first.top > EDGE
        {
            let by = EDGE - first.top;
            self.shift(by);
            self.down();
        }
        // Last, so that few rows stand at the bottom, where writing goes on.
        let end = self.size.height - EDGE;
        if let Some(last) = self.rows.back()
            && last.index + 1 == count
            && last.bottom() <= end + 1.0
        {
            let by = end - last.bottom();
            self.shift(by);
            self.up();
            if let Some(first) = self.rows.front()
                && self.aim.is_from_top()
                && first.index == 0
                && first.top > EDGE
            {
                let by = EDGE - first.top;
                self.shift(by);
            }
            return AtEnd::Yes;
        }
        AtEnd::No
    }
}

impl<Message> Widget<Message, Theme, Renderer> for Rows<'_, Message> {
    fn tag(&self) -> tree::Tag {
        tree::Tag::of::<State>()
    }

    fn state(&self) -> tree::State {
        let anchor = if self.wanted.aim.is_from_top() { Anchor::TOP } else { Anchor::End };
        tree::State::new(State { anchor, ..State::default() })
    }

    /// Children are reconciled when they are placed: only then it is known which there are.
    fn diff(&self, _: &mut Tree) {}

    fn size(&self) -> Size<Length> {
        Size::new(Length::Fill, Length::Fill)
    }

    fn layout(&mut self, tree: &mut Tree, renderer: &Renderer, limits: &Limits) -> Node {
        let size = limits.resolve(Length::Fill, Length::Fill, Size::ZERO);
        let state = tree.state.downcast_mut::<State>();
        if state.fulfilled != self.wanted.number {
            state.fulfilled = self.wanted.number;
            state.anchor = match self.wanted.aim {
                Aim::End => Anchor::End,
                Aim::Row(key) => Anchor::Row { key, top: size.height / 3.0 },
                Aim::Top => Anchor::TOP,
                Aim::Near(key) if state.shows(key, size.height) => state.anchor,
                Aim::Near(key) => Anchor::Row { key, top: size.height / 3.0 },
            };
        }
        let old = state.placed.iter().map(|row| row.key).zip(tree.children.drain(..)).collect();
        let (keys, build, aim) = (&self.keys, &self.build, self.wanted.aim);
        let mut layouter = Layouter { keys, build, old, renderer, size, aim, rows: VecDeque::new() };
        state.at_end = layouter.place(state.anchor);
        let rows = layouter.rows;
        state.placed.clear();
        self.shown.clear();
        let mut nodes = Vec::with_capacity(rows.len());
        for row in rows {
            let height = row.node.size().height;
            state.placed.push(Placed { index: row.index, key: self.keys[row.index], top: row.top, height });
            nodes.push(row.node.move_to(Point::new(0.0, row.top)));
            self.shown.push(row.element);
            tree.children.push(row.tree);
        }
        let seen = state.placed.iter().find(|row| row.top + row.height > 0.0);
        state.anchor = match (self.wanted.aim.is_from_top(), state.at_end, seen) {
            // What comes before the first row is seen by who stands there.
            (true, _, Some(row)) if row.index == 0 && row.top >= EDGE => Anchor::TOP,
            (true, _, None) => Anchor::TOP,
            (true, _, Some(row)) | (false, AtEnd::No, Some(row)) => Anchor::Row { key: row.key, top: row.top },
            _ => Anchor::End,
        };
        Node::with_children(size, nodes)
    }

    fn operate(&mut self, tree: &mut Tree, layout: Layout<'_>, renderer: &Renderer, operation: &mut dyn Operation) {
        operation.container(None, layout.bounds());
        operation.traverse(&mut |operation| {
            for ((child, tree), layout) in self.shown.iter_mut().zip(&mut tree.children).zip(layout.children()) {
                child.as_widget_mut().operate(tree, layout, renderer, operation);
            }
        });
    }

    fn update(
        &mut self,
        tree: &mut Tree,
        event: &Event,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        renderer: &Renderer,
        clipboard: &mut dyn Clipboard,
        shell: &mut Shell<'_, Message>,
        viewport: &Rectangle,
    ) {
        let bounds = layout.bounds();
        let Some(visible) = bounds.intersection(viewport) else { return };
        if self.handle_bar(tree.state.downcast_mut::<State>(), event, bounds, cursor) {
            shell.capture_event();
            shell.invalidate_layout();
            shell.request_redraw();
            return;
        }
        // Rows reach beyond the list; nothing can be pressed there.
        let inside = if cursor.is_over(visible) { cursor } else { mouse::Cursor::Unavailable };
        for ((child, tree), layout) in self.shown.iter_mut().zip(&mut tree.children).zip(layout.children()) {
            child.as_widget_mut().update(tree, event, layout, inside, renderer, clipboard, shell, &visible);
        }
        let state = tree.state.downcast_mut::<State>();
        let by =
            match event {
                Event::Window(window::Event::RedrawRequested(_)) => {
                    let sight = state.sight(bounds.height);
                    if sight != state.told
                        && let Some(sight) = sight
                    {
                        state.told = Some(sight);
                        shell.publish((self.on_sight)(sight));
                    }
                    return;
                }
                Event::Mouse(mouse::Event::WheelScrolled { delta }) if cursor.is_over(visible) => match delta {
                    mouse::ScrollDelta::Lines { y, .. } => y * NOTCH,
                    mouse::ScrollDelta::Pixels { y, .. } => *y,
                },
                Event::Keyboard(keyboard::Event::KeyPressed {
                    key: keyboard::Key::Named(named), modifiers, ..
                }) if modifiers.is_empty() => match named {
                    Named::PageUp => bounds.height * 0.85,
                    Named::PageDown => bounds.height * -0.85,
                    _ => return,
                },
                _ => return,
            };
        if shell.is_event_captured() {
            return;
        }
        state.scroll(by, bounds.height);
        shell.capture_event();
        shell.invalidate_layout();
        shell.request_redraw();
    }

    fn draw(
        &self,
        tree: &Tree,
        renderer: &mut Renderer,
        theme: &Theme,
        style: &renderer::Style,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        viewport: &Rectangle,
    ) {
        let Some(visible) = layout.bounds().intersection(viewport) else { return };
        let inside = if cursor.is_over(visible) { cursor } else { mouse::Cursor::Unavailable };
        renderer.with_layer(visible, |renderer| {
            for ((child, tree), layout) in self.shown.iter().zip(&tree.children).zip(layout.children()) {
                if layout.bounds().intersects(&visible) {
                    child.as_widget().draw(tree, renderer, theme, style, layout, inside, &visible);
                }
            }
        });
        let state = tree.state.downcast_ref::<State>();
        let list = layout.bounds();
        let Some(extent) = Extent::of(&state.placed, self.keys.len(), list.height, self.beyond) else { return };
        let thumb = match state.grip {
            Some(grip) => (grip.top, grip.length),
            None => extent.thumb(bar::track(list)),
        };
        let colour = match state.grip {
            Some(_) => theme::ACCENT,
            None if cursor.is_over(bar::strip(list)) => theme::MUTED,
            None => theme::OFF,
        };
        // In front of the rows.
        renderer.with_layer(visible, |renderer| {
            let bounds = bar::shape(list, thumb);
            renderer
                .fill_quad(renderer::Quad { bounds, border: border::rounded(3), ..renderer::Quad::default() }, colour);
        });
    }

    fn mouse_interaction(
        &self,
        tree: &Tree,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        viewport: &Rectangle,
        renderer: &Renderer,
    ) -> mouse::Interaction {
        let Some(visible) = layout.bounds().intersection(viewport).filter(|visible| cursor.is_over(*visible)) else {
            return mouse::Interaction::None;
        };
        let state = tree.state.downcast_ref::<State>();
        let list = layout.bounds();
        if state.grip.is_some()
            || (cursor.is_over(bar::strip(list))
                && Extent::of(&state.placed, self.keys.len(), list.height, self.beyond).is_some())
        {
            return mouse::Interaction::Idle;
        }
        let children = self.shown.iter().zip(&tree.children).zip(layout.children());
        let of = children.map(|((child, tree), layout)| {
            child.as_widget().mouse_interaction(tree, layout, cursor, &visible, renderer)
        });
        of.max().unwrap_or_default()
    }

    fn overlay<'b>(
        &'b mut self,
        tree: &'b mut Tree,
        layout: Layout<'b>,
        renderer: &Renderer,
        viewport: &Rectangle,
        translation: Vector,
    ) -> Option<overlay::Element<'b, Message, Theme, Renderer>> {
        overlay::from_children(&mut self.shown, tree, layout, renderer, viewport, translation)
    }
}

impl<'a, Message: 'a> From<Rows<'a, Message>> for Element<'a, Message> {
    fn from(rows: Rows<'a, Message>) -> Self {
        Self::new(rows)
    }
}
