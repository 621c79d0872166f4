//! Charts of the last minutes, as plain data: what was measured becomes lines between 0 and 1, scales with round figures
//! and words beside them. Knows nothing of widgets; `widget::chart` draws it.

mod history;

pub use history::History;

/// What a chart shows: the last ten minutes.
pub const SPAN_MS: i64 = 600_000;
/// Measured every second; whoever is silent for longer than this was not measured in between.
const GAP_MS: i64 = 2_500;
/// Points that a line keeps; a screen has not many more columns for it.
pub const COLUMNS: usize = 300;
/// Lines of the vertical scale above zero, at most.
const MAX_STEPS: f64 = 4.0;
/// The time between two marks of the time scale.
const MARK_MS: i64 = 120_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    BitsPerSecond,
    Milliseconds,
    /// A fraction, said in per cent.
    Share,
}

impl Unit {
    /// The least that a scale reaches up to: noise around nothing shall look like nothing.
    fn least(self) -> f64 {
        match self {
            Self::BitsPerSecond => 10_000.0,
            Self::Milliseconds => 10.0,
            Self::Share => 0.05,
        }
    }

    /// The figure in words, with its unit.
    pub fn say(self, value: f64) -> String {
        match self {
            Self::BitsPerSecond => bits(value),
            Self::Milliseconds if value < 9.95 => format!("{value:.1} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Share => percent(value),
        }
    }

    /// A figure of the scale: round, so without digits behind the point where it needs none.
    fn mark(self, value: f64) -> String {
        match self {
            Self::BitsPerSecond if value >= 1e9 => format!("{} Gbit/s", round(value / 1e9)),
            Self::BitsPerSecond if value >= 1e6 => format!("{} Mbit/s", round(value / 1e6)),
            Self::BitsPerSecond => format!("{} kbit/s", round(value / 1e3)),
            Self::Milliseconds => format!("{} ms", round(value)),
            Self::Share => format!("{} %", round(value * 100.0)),
        }
    }
}

/// `0.5`, `2`, without the dust of binary fractions.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// `912 kbit/s`
pub fn bits(bps: f64) -> String {
    match bps {
        bps if bps >= 1e9 => format!("{:.2} Gbit/s", bps / 1e9),
        bps if bps >= 1e7 => format!("{:.0} Mbit/s", bps / 1e6),
        bps if bps >= 1e6 => format!("{:.1} Mbit/s", bps / 1e6),
        bps => format!("{:.0} kbit/s", bps / 1e3),
    }
}

/// `0.4 %`
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A value at a time; without one when nothing could be measured then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub at_ms: i64,
    pub value: Option<f64>,
}

/// One line before it is drawn: who it is, which colour is theirs, and what was measured, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub hue: usize,
    pub points: Vec<Point>,
}

/// A mark of a scale: where it is, from 0 to 1, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub at: f64,
    pub label: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub name: String,
    pub hue: usize,
    /// Each without a gap; x from the oldest (0) to now (1), y from nothing (0) to the top of the scale (1).
    pub pieces: Vec<Vec<(f64, f64)>>,
    /// The newest value, in words. Empty when nothing has been measured for a while.
    pub newest: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// From nothing up.
    pub values: Vec<Mark>,
    /// From the oldest to now.
    pub times: Vec<Mark>,
    pub lines: Vec<Line>,
}

impl Chart {
    /// The `SPAN_MS` before `end_ms`.
    pub fn new(unit: Unit, series: &[Series], end_ms: i64) -> Self {
        let start_ms = end_ms - SPAN_MS;
        let within = |point: &&Point| point.at_ms >= start_ms && point.at_ms <= end_ms;
        let values =
            series.iter().flat_map(|series| series.points.iter().filter(within)).filter_map(|point| point.value);
        let (top, step) = scale(values.fold(0.0, f64::max), unit);
        let steps = (top / step).round() as u32;
        let values = (0..=steps).map(|index| {
            let label = if index == 0 { "0".to_owned() } else { unit.mark(f64::from(index) * step) };
            Mark { at: f64::from(index) / f64::from(steps), label }
        });
        let lines = series.iter().map(|series| {
            let last = series.points.iter().rfind(|point| point.value.is_some() && end_ms - point.at_ms <= GAP_MS);
            let points: Vec<Point> = series.points.iter().filter(within).copied().collect();
            let place =
                |point: &(i64, f64)| ((point.0 - start_ms) as f64 / SPAN_MS as f64, (point.1 / top).clamp(0.0, 1.0));
            Line {
                name: series.name.clone(),
                hue: series.hue,
                pieces: pieces(&thinned(&points, start_ms))
                    .iter()
                    .map(|piece| piece.iter().map(place).collect())
                    .collect(),
                newest: last.and_then(|point| point.value).map(|value| unit.say(value)).unwrap_or_default(),
            }
        });
        Self { values: values.collect(), times: times(), lines: lines.collect() }
    }

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.pieces.is_empty())
    }
}

/// The top of a scale that holds `highest`, and the step between its marks: 1, 2 or 5 with zeros.
fn scale(highest: f64, unit: Unit) -> (f64, f64) {
    let highest = if highest.is_finite() { highest.max(unit.least()) } else { unit.least() };
    let magnitude = 10_f64.powf((highest / MAX_STEPS).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| {
        // A hair less than a whole step is one: 0.3 / 0.1 is 2.9999….
        (highest / step - 1e-9).ceil() <= MAX_STEPS
    });
    let step = step.unwrap_or(10.0 * magnitude);
    ((highest / step - 1e-9).ceil() * step, step)
}

fn times() -> Vec<Mark> {
    let marks = (0..=SPAN_MS / MARK_MS).rev().map(|index| {
        let minutes = index * MARK_MS / 60_000;
        let label = if minutes == 0 { "now".to_owned() } else { format!("−{minutes} min") };
        Mark { at: 1.0 - (index * MARK_MS) as f64 / SPAN_MS as f64, label }
    });
    marks.collect()
}

/// At most two points a column, the lowest and the highest, so that no peak is lost. A column without any value stays
/// as a gap.
fn thinned(points: &[Point], start_ms: i64) -> Vec<Point> {
    if points.len() <= COLUMNS {
        return points.to_vec();
    }
    let width_ms = (SPAN_MS / i64::try_from(COLUMNS).unwrap_or(i64::MAX)).max(1);
    let columns = points.chunk_by(|a, b| (a.at_ms - start_ms) / width_ms == (b.at_ms - start_ms) / width_ms);
    let mut kept = Vec::with_capacity(COLUMNS * 2);
    for column in columns {
        let measured = || column.iter().filter(|point| point.value.is_some());
        let by_value = |a: &&Point, b: &&Point| a.value.unwrap_or(0.0).total_cmp(&b.value.unwrap_or(0.0));
        match (measured().min_by(by_value), measured().max_by(by_value)) {
            (Some(low), Some(high)) if low.at_ms < high.at_ms => kept.extend([*low, *high]),
            (Some(low), Some(high)) if low.at_ms > high.at_ms => kept.extend([*high, *low]),
            (Some(only), _) => kept.push(*only),
            (None, _) => kept.extend(column.first()),
        }
    }
    kept
}

/// Split where nothing was measured.
fn pieces(points: &[Point]) -> Vec<Vec<(i64, f64)>> {
    let mut pieces: Vec<Vec<(i64, f64)>> = Vec::new();
    let mut last: Option<i64> = None;
    for point in points {
        let Some(value) = point.value else {
            last = None;
            continue;
        };
        // Thinning moves neighbours apart by up to two columns.
        let near = last.is_some_and(|last| point.at_ms - last <= GAP_MS + 2 * SPAN_MS / COLUMNS as i64);
        match pieces.last_mut() {
            Some(piece) if near => piece.push((point.at_ms, value)),
            _ => pieces.push(vec![(point.at_ms, value)]),
        }
        last = Some(point.at_ms);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = Option<f64>>) -> Vec<Point> {
        (0..).zip(values).map(|(second, value)| Point { at_ms: second * 1000, value }).collect()
    }

    fn chart(unit: Unit, points: Vec<Point>, end_ms: i64) -> Chart {
        Chart::new(unit, &[Series { name: "Ada".into(), hue: 0, points }], end_ms)
    }

    fn labels(marks: &[Mark]) -> Vec<&str> {
        marks.iter().map(|mark| mark.label.as_str()).collect()
    }

    #[test]
    fn scales_are_round_and_hold_the_highest_value() {
        for highest in [0.0, 0.3, 7.0, 10.0, 11.0, 99.9, 100.0, 130.0, 4_321.0, 1e9, f64::NAN, f64::INFINITY] {
            let (top, step) = scale(highest, Unit::Milliseconds);
            assert!(!highest.is_finite() || top >= highest, "{highest}: {top}");
            assert!((1.0..=MAX_STEPS).contains(&(top / step).round()), "{highest}: {top} in steps of {step}");
            let lead = step / 10_f64.powf(step.log10().floor());
            assert!(
                [1.0, 2.0, 5.0, 10.0].iter().any(|round| (lead - round).abs() < 1e-6),
                "{highest}: steps of {step}"
            );
        }
    }

    #[test]
    fn marks_say_their_unit_and_begin_with_nothing() {
        let chart = chart(Unit::BitsPerSecond, points([Some(1_700_000.0)]), 0);
        assert_eq!(labels(&chart.values), ["0", "500 kbit/s", "1 Mbit/s", "1.5 Mbit/s", "2 Mbit/s"]);
        let chart = self::chart(Unit::Share, points([Some(0.03)]), 0);
        assert_eq!(labels(&chart.values), ["0", "2 %", "4 %", "6 %"]);
        let chart = self::chart(Unit::Milliseconds, points([Some(180.0)]), 0);
        assert_eq!(labels(&chart.values), ["0", "50 ms", "100 ms", "150 ms", "200 ms"]);
    }

    #[test]
    fn the_time_scale_ends_now() {
        let chart = chart(Unit::Share, Vec::new(), 5_000_000);
        assert_eq!(labels(&chart.times), ["−10 min", "−8 min", "−6 min", "−4 min", "−2 min", "now"]);
        assert_eq!(chart.times.last().map(|mark| mark.at), Some(1.0));
        assert!(chart.is_empty());
    }

    #[test]
    fn a_second_that_was_not_measured_is_a_gap() {
        let chart = chart(Unit::Milliseconds, points([Some(1.0), Some(2.0), None, Some(3.0)]), 4_000);
        let lengths: Vec<_> = chart.lines[0].pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1]);
    }

    #[test]
    fn a_time_without_any_sample_is_a_gap() {
        let mut points = points([Some(1.0), Some(2.0)]);
        points.push(Point { at_ms: 60_000, value: Some(3.0) });
        assert_eq!(chart(Unit::Milliseconds, points, 61_000).lines[0].pieces.len(), 2);
    }

    #[test]
    fn what_is_older_than_the_chart_is_not_on_it() {
        let chart = chart(Unit::Milliseconds, points([Some(9_000.0), Some(5.0)]), SPAN_MS + 1_000);
        assert_eq!(chart.lines[0].pieces, [vec![(0.0, 0.5)]], "the old peak does not stretch the scale either");
    }

    #[test]
    fn thinning_keeps_every_peak() {
        let mut values = vec![Some(10.0); 600];
        values[321] = Some(480.0);
        values[322] = Some(10.0);
        let chart = chart(Unit::Milliseconds, points(values), 600_000);
        let drawn = &chart.lines[0].pieces;
        assert_eq!(drawn.len(), 1, "thinning makes no gaps");
        assert!(drawn[0].len() <= 2 * COLUMNS + 2, "{}", drawn[0].len());
        let peak = drawn[0].iter().map(|(_, y)| *y).fold(0.0, f64::max);
        assert!((peak - 480.0 / 500.0).abs() < 1e-9 || (peak - 480.0 / 600.0).abs() < 1e-9, "{peak}");
    }

    #[test]
    fn a_long_gap_survives_thinning() {
        let values = (0..600).map(|second| (!(200..260).contains(&second)).then_some(7.0));
        assert_eq!(chart(Unit::Milliseconds, points(values), 600_000).lines[0].pieces.len(), 2);
    }

    #[test]
    fn the_newest_value_is_said_only_while_it_is_new() {
        assert_eq!(chart(Unit::Milliseconds, points([Some(23.4)]), 1_000).lines[0].newest, "23 ms");
        assert_eq!(chart(Unit::Milliseconds, points([Some(23.4)]), 9_000).lines[0].newest, "");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(bits(912_345.0), "912 kbit/s");
        assert_eq!(bits(48_200_000.0), "48 Mbit/s");
        assert_eq!(percent(0.004), "0.4 %");
        assert_eq!(percent(0.0), "0 %");
    }
}
