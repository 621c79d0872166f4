//! One measured figure, its limit, and how it is printed.

use serde_json::{Value, json};

pub enum Limit {
    None,
    AtMost(f64),
    AtLeast(f64),
}

pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    limit: Limit,
    /// Shown in place of the number.
    text: Option<String>,
    shape: Shape,
}

enum Shape {
    Row,
    /// Text after the rows.
    Table,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, limit: Limit::None, text: None, shape: Shape::Row }
    }

    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::new(name, f64::NAN, "") }
    }

    /// A table of its own, in Markdown; the last figure of the last row.
    pub fn table(text: String) -> Self {
        Self { shape: Shape::Table, ..Self::text("table", text) }
    }

    pub fn at_most(mut self, limit: f64) -> Self {
        self.limit = Limit::AtMost(limit);
        self
    }

    pub fn at_least(mut self, limit: f64) -> Self {
        self.limit = Limit::AtLeast(limit);
        self
    }

    fn met(&self) -> Option<bool> {
        match self.limit {
            Limit::None => None,
            Limit::AtMost(limit) => Some(self.value <= limit),
            Limit::AtLeast(limit) => Some(self.value >= limit),
        }
    }

    pub fn row(&self, row: &str) -> String {
        if let (Shape::Table, Some(text)) = (&self.shape, &self.text) {
            return format!("\n{}", text.trim_end());
        }
        let number = |value: f64| {
            let digits = if value.abs() >= 100.0 {
                0
            } else if value.abs() >= 10.0 {
                1
            } else {
                3
            };
            format!("{value:.digits$}")
        };
        // As it was promised, unless it was measured itself.
        let shown = |limit: f64| if limit.to_string().len() > 6 { number(limit) } else { limit.to_string() };
        let measured = self.text.clone().unwrap_or_else(|| format!("{} {}", number(self.value), self.unit));
        let limit = match self.limit {
            Limit::None => String::new(),
            Limit::AtMost(limit) => format!("≤ {}", shown(limit)),
            Limit::AtLeast(limit) => format!("≥ {}", shown(limit)),
        };
        let mark = match self.met() {
            None => "",
            Some(true) => "✓",
            Some(false) => "✗",
        };
        format!("| {row} | {} | {} | {limit} | {mark} |", self.name, measured.trim())
    }

    pub fn json(&self, row: &str) -> Value {
        let (at_most, at_least) = match self.limit {
            Limit::None => (None, None),
            Limit::AtMost(limit) => (Some(limit), None),
            Limit::AtLeast(limit) => (None, Some(limit)),
        };
        let value = if self.value.is_nan() { Value::Null } else { json!(self.value) };
        json!({"row": row, "figure": self.name, "value": value, "text": self.text, "unit": self.unit,
               "at_most": at_most, "at_least": at_least, "met": self.met()})
    }
}

/// What the figures were measured on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |m| m.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{model}, {cores} cores, load {load} at the start; both ends of every call on this machine.")
}

/// The value below which `share` of the values lie; sorts them.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}
