//! Prints a call: the promised JSON lines, or a readable timeline with one live status line.

use kith_common::call::{CallInfo, CallKind, CallStats, Direction, Ending, Medium, Stage, StageReport};
use serde_json::{Map, Value, json};

use crate::noun::calls::peer_title;
use crate::output::{Output, name, or_dash};
use crate::stop::{Exit, exit_of};

pub struct Timeline {
    output: Output,
    /// Stages are reported again to whoever begins to watch.
    shown: Vec<Stage>,
    live: bool,
}

impl Timeline {
    pub fn new(output: Output) -> Self {
        Self { output, shown: Vec::new(), live: false }
    }

    pub fn stage(&mut self, call: &CallInfo, report: &StageReport) {
        if self.shown.contains(&report.stage) {
            return;
        }
        self.shown.push(report.stage);
        let at_ms = report.at_us as f64 / 1000.0;
        let _gone = self.output.row(&json!({
            "event": "stage", "stage": report.stage, "at_ms": at_ms, "detail": report.detail, "call": call.id,
        }));
        self.clear();
        let what = match report.stage {
            Stage::Resolve => "looking the peer up",
            Stage::Dial => "connecting",
            Stage::Signal => "offering the call",
            Stage::Ring => "ringing",
            Stage::Accept => "accepted",
            Stage::Path => "media path found",
            Stage::FirstPacket => "first packet",
            Stage::FirstFrame => "first picture",
            Stage::Active => "in the call",
        };
        let detail = if report.detail.is_empty() { String::new() } else { format!(" · {}", report.detail) };
        let _gone = self.output.text(&format!("{:>9}  {what}{detail}", format!("{at_ms:.0} ms")));
    }

    pub fn stats(&mut self, call: &CallInfo, stats: &CallStats) {
        let mut line = json!({ "event": "stats" });
        if let (Value::Object(line), Value::Object(stats)) = (&mut line, json!(stats)) {
            line.extend(stats);
        }
        let _gone = self.output.row(&line);
        if self.output.is_live() {
            self.clear();
            self.output.redraw(&live_line(call, stats));
            self.live = true;
        }
    }

    /// Something to tell that is not the end: a source that was taken over, a device that stopped.
    pub fn notice(&mut self, text: &str) {
        self.clear();
        self.output.note(text);
    }

    pub fn source_taken(&mut self, medium: Medium) {
        let _gone = self.output.row(&json!({ "event": "source_taken", "medium": medium }));
        let what = match medium {
            Medium::Audio => "sound",
            Medium::Video => "pictures",
        };
        self.notice(&format!("Another program sends the {what} of this call now."));
    }

    /// The last line. `extra` are the figures that this process measured itself.
    pub fn ended(&mut self, call: &CallInfo, ending: &Ending, stats: &CallStats, extra: Map<String, Value>) {
        self.clear();
        let all = final_stats(stats, extra);
        let mut line = json!({
            "event": "ended", "reason": ending.reason, "detail": ending.detail, "advice": ending.advice,
            "call": call.id, "peer": call.peer,
        });
        if let Some(stage) = ending.failed_stage {
            line["failed_stage"] = json!(stage);
        }
        let _gone = self.output.text(&summary(call, ending, stats));
        let _gone = self.output.text(&figures(&all));
        line["stats"] = Value::Object(all);
        let _gone = self.output.row(&line);
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.live) {
            self.output.redraw("\r\x1b[2K");
        }
    }
}

/// The daemon's figures and this process's own, together.
fn final_stats(stats: &CallStats, extra: Map<String, Value>) -> Map<String, Value> {
    let mut all = match json!(stats) {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    all.extend(extra);
    all
}

fn live_line(call: &CallInfo, stats: &CallStats) -> String {
    let seconds = stats.duration_s as u64;
    let mut parts = vec![format!("{}:{:02}", seconds / 60, seconds % 60), peer_title(call)];
    if let Some(path) = stats.path {
        parts.push(format!("{} {}", name(path), name(stats.transport)));
    }
    if call.kind == CallKind::Video {
        parts.push(format!("{}x{} at {:.0}/s", stats.width, stats.height, stats.video_fps));
        parts.push(format!("delay {}", or_dash(stats.delay_ms_p50, " ms")));
        parts.push(format!("in {:.0} out {:.0} kb/s", stats.video_kbps_in, stats.video_kbps_out));
    }
    parts.push(format!("round trip {:.0} ms", stats.rtt_ms));
    parts.push(format!("loss {:.1} %", stats.loss * 100.0));
    parts.join(" · ")
}

fn summary(call: &CallInfo, ending: &Ending, stats: &CallStats) -> String {
    let way = if call.direction == Direction::Outgoing { "to" } else { "from" };
    let who = format!("The call {way} {}", peer_title(call));
    if exit_of(ending.reason) == Exit::Done {
        let by = if name(ending.reason) == "remote" { "the other side" } else { "this side" };
        format!("{who} was ended by {by} after {:.0} s.", stats.duration_s)
    } else {
        format!("{who} ended: {}.", name(ending.reason))
    }
}

/// Figures that people want at the end, those that are known.
fn figures(all: &Map<String, Value>) -> String {
    let number = |key: &str, digits: usize| all.get(key)?.as_f64().map(|value| format!("{value:.digits$}"));
    let pair = |a: &str, b: &str, unit: &str| Some(format!("{} / {} {unit}", number(a, 0)?, number(b, 0)?));
    let mut lines = Vec::new();
    let mut line = |label: &str, text: Option<String>| {
        if let Some(text) = text {
            lines.push(format!("  {label:<34} {text}"));
        }
    };
    if number("duration_s", 0).is_some_and(|seconds| seconds == "0") {
        return String::new();
    }
    let video = number("video_received", 0).is_some_and(|pictures| pictures != "0");
    if video {
        line("pictures received / sent", pair("video_received", "video_sent", ""));
        line("picture size", Some(format!("{}x{}", all["width"], all["height"])));
        line("encoder", all["encoder"].as_str().map(str::to_owned));
        line("picture delay p50 / p95", pair("delay_ms_p50", "delay_ms_p95", "ms"));
        line("there and back p50 / p95", pair("loop_delay_ms_p50", "loop_delay_ms_p95", "ms"));
        line("first picture after accepting", number("first_frame_ms", 0).map(|ms| format!("{ms} ms")));
        line("picture frozen", number("frozen_ms", 0).map(|ms| format!("{ms} ms")));
        line("picture to sound skew p95", number("skew_ms_p95", 0).map(|ms| format!("{ms} ms")));
        line("video in / out", pair("video_kbps_in", "video_kbps_out", "kb/s"));
    }
    line("sound received / sent", pair("audio_received", "audio_sent", ""));
    line("sound made up", number("audio_concealed_ms", 0).map(|ms| format!("{ms} ms")));
    line("first sound after accepting", number("first_sound_ms", 0).map(|ms| format!("{ms} ms")));
    let percent = |key: &str| all.get(key)?.as_f64().map(|share| format!("{:.1} %", share * 100.0));
    line("packets lost", percent("loss"));
    line("both daemons, of one core", percent("cpu_daemons"));
    if let Some(steady) = all.get("steady") {
        let number = |key: &str| steady[key].as_f64().map(|value| format!("{value:.1}"));
        line("after the ramp: pictures a second", number("fps"));
        line("after the ramp: delay p95", number("delay_ms_p95").map(|ms| format!("{ms} ms")));
        line("after the ramp: skew p95", number("skew_ms_p95").map(|ms| format!("{ms} ms")));
        line("after the ramp: sound made up", number("audio_concealed_ms").map(|ms| format!("{ms} ms")));
    }
    if let Some(drop) = all.get("drop") {
        let ms = |key: &str| drop[key].as_f64().map(|value| format!("{value:.0} ms"));
        line("after the drop: worst picture", ms("worst_ms"));
        line("after the drop: clear again after", ms("clear_after_ms"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_stats_have_the_promised_fields() {
        let mut extra = Map::new();
        extra.insert("loop_delay_ms_p95".into(), json!(80.0));
        let all = final_stats(&CallStats::default(), extra);
        let fields = "duration_s path transport rtt_ms loss video_due video_sent video_received video_dropped \
                      late_400ms audio_sent audio_received audio_concealed_ms frozen_ms skew_ms_p95 delay_ms_p50 \
                      delay_ms_p95 delay_uncertainty_ms video_kbps_out video_kbps_in width height encoder sizes \
                      loop_delay_ms_p95";
        for field in fields.split_whitespace() {
            assert!(all.contains_key(field), "{field}");
        }
        assert_eq!(all["transport"], "udp");
    }

    #[test]
    fn figures_that_are_not_known_are_left_out() {
        let stats = CallStats { duration_s: 3.0, video_received: 9, ..CallStats::default() };
        let text = figures(&final_stats(&stats, Map::new()));
        assert!(text.contains("pictures received") && !text.contains("null") && !text.contains("there and back"));
        assert_eq!(figures(&final_stats(&CallStats::default(), Map::new())), "");
    }
}
