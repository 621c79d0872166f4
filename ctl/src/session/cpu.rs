//! CPU time of other processes, from `/proc`.

use std::time::Duration;

use kith_common::clock::MonoTime;
use serde_json::{Map, Value, json};

use super::figures::RAMP;

#[derive(Clone, Copy)]
struct Sample {
    at: MonoTime,
    used: Duration,
}

/// User and system time of some processes together, from a start on.
pub struct CpuMeter {
    processes: Vec<u32>,
    start: Option<Sample>,
    ramp: Option<Sample>,
    last: Option<Sample>,
    stopped: bool,
}

impl CpuMeter {
    pub fn new(processes: Vec<u32>) -> Self {
        Self { processes, start: None, ramp: None, last: None, stopped: false }
    }

    /// `true` the first time.
    pub fn start(&mut self, now: MonoTime) -> bool {
        let first = self.start.is_none();
        if first {
            self.start = Some(self.measure(now).unwrap_or(Sample { at: now, used: Duration::ZERO }));
        }
        first
    }

    /// A process that has ended keeps the last sample.
    pub fn sample(&mut self, now: MonoTime) {
        let Some(start) = self.start.filter(|_| !self.stopped && !self.processes.is_empty()) else { return };
        let Some(sample) = self.measure(now) else { return };
        if now >= start.at + RAMP {
            self.ramp.get_or_insert(sample);
        }
        self.last = Some(sample);
    }

    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Fractions of one core.
    pub fn add_to(&self, fields: &mut Map<String, Value>) {
        if self.processes.is_empty() {
            return;
        }
        let share = |from: Option<Sample>| {
            let (from, to) = (from?, self.last?);
            let elapsed = to.at.since(from.at).as_secs_f64();
            (elapsed > 0.0).then(|| to.used.saturating_sub(from.used).as_secs_f64() / elapsed)
        };
        fields.insert("cpu_daemons".into(), json!(share(self.start)));
        if let Some(Value::Object(steady)) = fields.get_mut("steady") {
            steady.insert("cpu_daemons".into(), json!(share(self.ramp)));
        }
    }

    fn measure(&self, now: MonoTime) -> Option<Sample> {
        let used = self.processes.iter().map(|id| used(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?));
        Some(Sample { at: now, used: used.sum::<Option<Duration>>()? })
    }
}

/// utime and stime, fields 14 and 15 of proc(5); the name in field 2 may hold anything, so fields count from its end.
fn used(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "7 (a) b 1 2 (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(used(stat), Some(Duration::from_secs_f64(200.0 / ticks)));
        assert_eq!(used("7 (a"), None);
    }

    #[test]
    fn this_process_uses_less_than_all_cores() {
        let mut meter = CpuMeter::new(vec![std::process::id()]);
        assert!(meter.start(MonoTime(0)));
        assert!(!meter.start(MonoTime(1)));
        meter.sample(MonoTime(1_000_000));
        let mut fields = Map::new();
        meter.add_to(&mut fields);
        assert!(fields["cpu_daemons"].as_f64().is_some_and(|share| (0.0..64.0).contains(&share)), "{fields:?}");
    }
}
