//! Draws a [`Chart`]: scales with their figures, lines in the colours of their owners, and a legend with the newest values.

use iced::widget::canvas::{self, Cache, Canvas, Frame, Geometry, LineCap, LineJoin, Path, Stroke};
use iced::widget::{column, container, row, space, text};
use iced::{Alignment, Color, Element, Fill, Pixels, Point, Rectangle, Renderer, Size, Theme, alignment, mouse};

use super::parts::{dot, muted};
use crate::chart::{Chart, Line};
use crate::theme;

/// Room for the figures on the left, below, and at the edges.
const LEFT: f32 = 74.0;
const BELOW: f32 = 20.0;
const ABOVE: f32 = 8.0;
const RIGHT: f32 = 12.0;
/// Lines whose names have room beside the title; those of more stand below it.
const BESIDE: usize = 3;
/// The least that a plot can be read at.
pub const MIN_HEIGHT: f32 = 120.0;

/// A chart with what was drawn of it last: new only when the data is.
#[derive(Debug)]
pub struct Plot {
    chart: Chart,
    drawn: Cache,
}

impl Plot {
    pub fn new(chart: Chart) -> Self {
        Self { chart, drawn: Cache::new() }
    }

    pub fn show(&mut self, chart: Chart) {
        if self.chart != chart {
            self.chart = chart;
            self.drawn.clear();
        }
    }

    pub fn chart(&self) -> &Chart {
        &self.chart
    }

    /// A panel with a title, the legend and the plot; `empty` is said where there is nothing to draw.
    pub fn view<'a, Message: 'a>(&'a self, title: &'a str, empty: &'a str, height: f32) -> Element<'a, Message> {
        let drawn = || self.chart.lines.iter().filter(|line| !line.pieces.is_empty());
        let legend = row(drawn().map(entry)).spacing(16);
        let title = text(title).size(theme::BODY).font(theme::STRONG);
        let head: Element<'_, Message> = if drawn().count() > BESIDE {
            column![title, legend.wrap().vertical_spacing(6)].spacing(8).into()
        } else {
            row![title, space::horizontal(), legend].spacing(12).align_y(Alignment::Center).into()
        };
        let plot: Element<'_, Message> = if self.chart.is_empty() {
            container(muted(empty)).center_x(Fill).center_y(height).into()
        } else {
            Canvas::new(Drawing(self)).width(Fill).height(height).into()
        };
        container(column![container(head).padding([0, 4]), plot].spacing(8))
            .padding([13, 14])
            .width(Fill)
            .style(theme::raised)
            .into()
    }
}

fn entry<'a, Message: 'a>(line: &'a Line) -> Element<'a, Message> {
    let mut words = row![dot(theme::line(line.hue)), muted(line.name.as_str()).wrapping(text::Wrapping::None)]
        .spacing(7)
        .align_y(Alignment::Center);
    if !line.newest.is_empty() {
        words = words.push(text(line.newest.as_str()).size(theme::SMALL).wrapping(text::Wrapping::None));
    }
    words.into()
}

struct Drawing<'a>(&'a Plot);

impl<Message> canvas::Program<Message> for Drawing<'_> {
    type State = ();

    fn draw(&self, (): &(), renderer: &Renderer, _: &Theme, bounds: Rectangle, _: mouse::Cursor) -> Vec<Geometry> {
        vec![self.0.drawn.draw(renderer, bounds.size(), |frame| draw(frame, &self.0.chart))]
    }
}

fn label(frame: &mut Frame, content: &str, position: Point, align: (text::Alignment, alignment::Vertical)) {
    frame.fill_text(canvas::Text {
        content: content.to_owned(),
        position,
        color: theme::MUTED,
        size: Pixels(theme::TINY),
        font: theme::FONT,
        align_x: align.0,
        align_y: align.1,
        ..canvas::Text::default()
    });
}

fn draw(frame: &mut Frame, chart: &Chart) {
    let area = Size::new((frame.width() - LEFT - RIGHT).max(1.0), (frame.height() - ABOVE - BELOW).max(1.0));
    let place = |x: f64, y: f64| Point::new(LEFT + x as f32 * area.width, ABOVE + (1.0 - y as f32) * area.height);
    for mark in &chart.values {
        let (from, to) = (place(0.0, mark.at), place(1.0, mark.at));
        let colour = if mark.at == 0.0 { theme::CONTROL } else { theme::LINE };
        frame.stroke(&Path::line(from, to), Stroke::default().with_color(colour));
        let left = Point::new(LEFT - 10.0, from.y);
        label(frame, &mark.label, left, (text::Alignment::Right, alignment::Vertical::Center));
    }
    for mark in &chart.times {
        let below = place(mark.at, 0.0);
        let align = match mark.at {
            at if at <= 0.0 => text::Alignment::Left,
            at if at >= 1.0 => text::Alignment::Right,
            _ => text::Alignment::Center,
        };
        label(frame, &mark.label, Point::new(below.x, below.y + 6.0), (align, alignment::Vertical::Top));
    }
    let alone = chart.lines.len() == 1;
    for line in &chart.lines {
        let colour = theme::line(line.hue);
        for piece in &line.pieces {
            let points: Vec<Point> = piece.iter().map(|(x, y)| place(*x, *y)).collect();
            stroke(frame, &points, colour);
            if alone {
                fill(frame, &points, place(0.0, 0.0).y, colour);
            }
        }
    }
}

fn stroke(frame: &mut Frame, points: &[Point], colour: Color) {
    let [first, rest @ ..] = points else { return };
    if rest.is_empty() {
        // A second alone between two gaps.
        return frame.fill(&Path::circle(*first, 1.5), colour);
    }
    let path = Path::new(|path| {
        path.move_to(*first);
        rest.iter().for_each(|point| path.line_to(*point));
    });
    let stroke = Stroke { line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
    frame.stroke(&path, stroke.with_color(colour).with_width(1.6));
}

/// The area below a line that has the chart for itself.
fn fill(frame: &mut Frame, points: &[Point], ground: f32, colour: Color) {
    let [first, rest @ ..] = points else { return };
    let Some(last) = rest.last() else { return };
    let path = Path::new(|path| {
        path.move_to(Point::new(first.x, ground));
        points.iter().for_each(|point| path.line_to(*point));
        path.line_to(Point::new(last.x, ground));
        path.close();
    });
    frame.fill(&path, Color { a: 0.14, ..colour });
}
