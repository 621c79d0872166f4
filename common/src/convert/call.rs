//! Calls: their state, timeline and figures.

use capnp::{Error, struct_list};

use super::node::peer_id;
use super::{Enumeration, enumeration, length, read_format, text, write_format};
use crate::call::{
    CallInfo, CallKind, CallOptions, CallRecord, CallState, CallStats, Direction, EncoderChoice, EndReason, Ending,
    Medium, SizeSeconds, Stage, StageReport, Switch, Transport,
};
use crate::call_capnp::{self as wire, call_info, call_record, call_stats, dial_options, stage_report};
use crate::ids::CallId;
use crate::node::Path;
use crate::peer_capnp;

enumeration!(CallKind, wire::CallKind: Voice, Video);
enumeration!(Direction, wire::Direction: Outgoing, Incoming);
enumeration!(CallState, wire::CallState: Dialing, Ringing, Connecting, Active, Ended);
enumeration!(Stage, wire::Stage: Resolve, Dial, Signal, Ring, Accept, Path, FirstPacket, FirstFrame, Active);
enumeration!(EndReason, wire::EndReason: Local, Remote, Declined, Busy, Blocked, Unreachable, Timeout, Failed);
enumeration!(Medium, wire::Medium: Audio, Video);
enumeration!(Transport, wire::Transport: Udp, Tcp);
enumeration!(EncoderChoice, wire::Encoder: Auto, Aom, Rav1e);
enumeration!(Switch, wire::Switch: On, Off);

pub fn write_options(options: &CallOptions, mut to: dial_options::Builder<'_>) {
    to.set_kind(options.kind.map_or(wire::CallKind::Unspecified, CallKind::to_wire));
    to.set_encoder(options.encoder.to_wire());
    to.set_microphone(options.microphone.to_wire());
    to.set_camera(options.camera.to_wire());
    to.set_log(options.log.to_wire());
}

pub fn read_options(from: dial_options::Reader<'_>) -> CallOptions {
    CallOptions {
        kind: CallKind::from_wire(from.get_kind()),
        encoder: EncoderChoice::from_wire(from.get_encoder()).unwrap_or_default(),
        microphone: Switch::from_wire(from.get_microphone()).unwrap_or_default(),
        camera: Switch::from_wire(from.get_camera()).unwrap_or_default(),
        log: Switch::from_wire(from.get_log()).unwrap_or_default(),
    }
}

/// A call's id as a client gives it.
pub fn read_call_id(from: capnp::text::Reader<'_>) -> capnp::Result<CallId> {
    from.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
}

pub fn write_call_info(info: &CallInfo, mut to: call_info::Builder<'_>) {
    to.set_id(info.id.to_string());
    if let Some(peer) = info.peer {
        to.set_peer_id(peer.to_string());
    }
    to.set_peer_name(info.peer_name.as_str());
    to.set_direction(info.direction.to_wire());
    to.set_kind(info.kind.to_wire());
    to.set_state(info.state.to_wire());
    to.set_since_unix_ms(info.since_unix_ms);
    to.set_path(info.path.map_or(peer_capnp::Path::Unspecified, Path::to_wire));
    to.set_transport(info.transport.to_wire());
    to.set_microphone(info.microphone.to_wire());
    to.set_camera(info.camera.to_wire());
    to.set_peer_microphone(info.peer_microphone.to_wire());
    to.set_peer_camera(info.peer_camera.to_wire());
    if let Some(ending) = &info.ending {
        to.set_end_reason(ending.reason.to_wire());
        to.set_failed_stage(ending.failed_stage.map_or(wire::Stage::Unspecified, Stage::to_wire));
        to.set_detail(ending.detail.as_str());
        to.set_advice(ending.advice.as_str());
    }
    if let Some(format) = &info.peer_format {
        write_format(format, to.init_peer_format());
    }
}

pub fn read_call_info(from: call_info::Reader<'_>) -> capnp::Result<CallInfo> {
    let state = CallState::required(from.get_state(), "the state of a call")?;
    let peer = from.get_peer_id()?;
    let ending = || -> capnp::Result<Ending> {
        Ok(Ending {
            reason: EndReason::from_wire(from.get_end_reason()).unwrap_or(EndReason::Failed),
            failed_stage: Stage::from_wire(from.get_failed_stage()),
            detail: text(from.get_detail()?)?,
            advice: text(from.get_advice()?)?,
        })
    };
    Ok(CallInfo {
        id: read_call_id(from.get_id()?)?,
        peer: if peer.is_empty() { None } else { Some(peer_id(peer)?) },
        peer_name: text(from.get_peer_name()?)?,
        direction: Direction::required(from.get_direction(), "the direction of a call")?,
        kind: CallKind::required(from.get_kind(), "the kind of a call")?,
        state,
        since_unix_ms: from.get_since_unix_ms(),
        path: Path::from_wire(from.get_path()),
        transport: Transport::from_wire(from.get_transport()).unwrap_or_default(),
        microphone: Switch::from_wire(from.get_microphone()).unwrap_or_default(),
        camera: Switch::from_wire(from.get_camera()).unwrap_or_default(),
        peer_microphone: Switch::from_wire(from.get_peer_microphone()).unwrap_or_default(),
        peer_camera: Switch::from_wire(from.get_peer_camera()).unwrap_or_default(),
        peer_format: read_format(from.get_peer_format()?)?,
        ending: if state == CallState::Ended { Some(ending()?) } else { None },
    })
}

pub fn write_stage(report: &StageReport, mut to: stage_report::Builder<'_>) {
    to.set_stage(report.stage.to_wire());
    to.set_at_micros(report.at_us);
    to.set_detail(report.detail.as_str());
}

pub fn read_stage(from: stage_report::Reader<'_>) -> capnp::Result<StageReport> {
    Ok(StageReport {
        stage: Stage::required(from.get_stage(), "the stage of a report")?,
        at_us: from.get_at_micros(),
        detail: text(from.get_detail()?)?,
    })
}

/// Unknown figures travel as a negative number.
const UNKNOWN: f64 = -1.0;

pub fn write_stats(stats: &CallStats, mut to: call_stats::Builder<'_>) {
    to.set_duration_seconds(stats.duration_s);
    to.set_path(stats.path.map_or(peer_capnp::Path::Unspecified, Path::to_wire));
    to.set_transport(stats.transport.to_wire());
    to.set_rtt_ms(stats.rtt_ms);
    to.set_loss(stats.loss);
    to.set_video_due(stats.video_due);
    to.set_video_sent(stats.video_sent);
    to.set_video_received(stats.video_received);
    to.set_video_dropped(stats.video_dropped);
    to.set_late400ms(stats.late_400ms);
    to.set_audio_sent(stats.audio_sent);
    to.set_audio_received(stats.audio_received);
    to.set_audio_concealed_ms(stats.audio_concealed_ms);
    to.set_frozen_ms(stats.frozen_ms);
    to.set_skew_ms_p95(stats.skew_ms_p95.unwrap_or(UNKNOWN));
    to.set_delay_ms_p50(stats.delay_ms_p50.unwrap_or(UNKNOWN));
    to.set_delay_ms_p95(stats.delay_ms_p95.unwrap_or(UNKNOWN));
    to.set_delay_uncertainty_ms(stats.delay_uncertainty_ms.unwrap_or(UNKNOWN));
    to.set_audio_delay_ms_p50(stats.audio_delay_ms_p50.unwrap_or(UNKNOWN));
    to.set_audio_delay_ms_p95(stats.audio_delay_ms_p95.unwrap_or(UNKNOWN));
    to.set_jitter_buffer_ms(stats.jitter_buffer_ms);
    to.set_video_kbps_out(stats.video_kbps_out);
    to.set_video_kbps_in(stats.video_kbps_in);
    to.set_audio_kbps_out(stats.audio_kbps_out);
    to.set_audio_kbps_in(stats.audio_kbps_in);
    to.set_estimate_kbps(stats.estimate_kbps);
    to.set_width(stats.width);
    to.set_height(stats.height);
    to.set_width_out(stats.width_out);
    to.set_height_out(stats.height_out);
    to.set_video_fps(stats.video_fps);
    to.set_encoder(stats.encoder.as_str());
    to.set_encode_ms_p95(stats.encode_ms_p95);
    let mut sizes = to.init_sizes(length(&stats.sizes));
    for (index, size) in (0..).zip(&stats.sizes) {
        let mut to = sizes.reborrow().get(index);
        to.set_width(size.width);
        to.set_height(size.height);
        to.set_seconds(size.seconds);
    }
}

pub fn read_stats(from: call_stats::Reader<'_>) -> capnp::Result<CallStats> {
    let known = |value: f64| (value >= 0.0).then_some(value);
    let sizes = from.get_sizes()?.iter().map(|size| SizeSeconds {
        width: size.get_width(),
        height: size.get_height(),
        seconds: size.get_seconds(),
    });
    Ok(CallStats {
        duration_s: from.get_duration_seconds(),
        path: Path::from_wire(from.get_path()),
        transport: Transport::from_wire(from.get_transport()).unwrap_or_default(),
        rtt_ms: from.get_rtt_ms(),
        loss: from.get_loss(),
        video_due: from.get_video_due(),
        video_sent: from.get_video_sent(),
        video_received: from.get_video_received(),
        video_dropped: from.get_video_dropped(),
        late_400ms: from.get_late400ms(),
        audio_sent: from.get_audio_sent(),
        audio_received: from.get_audio_received(),
        audio_concealed_ms: from.get_audio_concealed_ms(),
        frozen_ms: from.get_frozen_ms(),
        skew_ms_p95: known(from.get_skew_ms_p95()),
        delay_ms_p50: known(from.get_delay_ms_p50()),
        delay_ms_p95: known(from.get_delay_ms_p95()),
        delay_uncertainty_ms: known(from.get_delay_uncertainty_ms()),
        audio_delay_ms_p50: known(from.get_audio_delay_ms_p50()),
        audio_delay_ms_p95: known(from.get_audio_delay_ms_p95()),
        jitter_buffer_ms: from.get_jitter_buffer_ms(),
        video_kbps_out: from.get_video_kbps_out(),
        video_kbps_in: from.get_video_kbps_in(),
        audio_kbps_out: from.get_audio_kbps_out(),
        audio_kbps_in: from.get_audio_kbps_in(),
        estimate_kbps: from.get_estimate_kbps(),
        width: from.get_width(),
        height: from.get_height(),
        width_out: from.get_width_out(),
        height_out: from.get_height_out(),
        video_fps: from.get_video_fps(),
        encoder: text(from.get_encoder()?)?,
        encode_ms_p95: from.get_encode_ms_p95(),
        sizes: sizes.collect(),
    })
}

pub fn write_record(record: &CallRecord, mut to: call_record::Builder<'_>) {
    to.set_position(record.position);
    to.set_id(record.id.to_string());
    if let Some(peer) = record.peer {
        to.set_peer_id(peer.to_string());
    }
    to.set_peer_name(record.peer_name.as_str());
    to.set_target(record.target.as_str());
    to.set_direction(record.direction.to_wire());
    to.set_kind(record.kind.to_wire());
    to.set_started_unix_ms(record.started_unix_ms);
    to.set_ended_unix_ms(record.ended_unix_ms);
    to.set_answered(record.answered);
    to.set_duration_seconds(record.duration_s);
    to.set_reason(record.reason.to_wire());
    to.set_failed_stage(record.failed_stage.map_or(wire::Stage::Unspecified, Stage::to_wire));
    to.set_detail(record.detail.as_str());
    if let Some(stats) = &record.stats {
        write_stats(stats, to.init_quality().init_stats());
    }
}

pub fn read_record(from: call_record::Reader<'_>) -> capnp::Result<CallRecord> {
    let peer = from.get_peer_id()?;
    Ok(CallRecord {
        position: from.get_position(),
        id: read_call_id(from.get_id()?)?,
        peer: if peer.is_empty() { None } else { Some(peer_id(peer)?) },
        peer_name: text(from.get_peer_name()?)?,
        target: text(from.get_target()?)?,
        direction: Direction::required(from.get_direction(), "the direction of a call")?,
        kind: CallKind::required(from.get_kind(), "the kind of a call")?,
        started_unix_ms: from.get_started_unix_ms(),
        ended_unix_ms: from.get_ended_unix_ms(),
        answered: from.get_answered(),
        duration_s: from.get_duration_seconds(),
        reason: EndReason::from_wire(from.get_reason()).unwrap_or(EndReason::Failed),
        failed_stage: Stage::from_wire(from.get_failed_stage()),
        detail: text(from.get_detail()?)?,
        stats: match from.get_quality().which()? {
            call_record::quality::None(()) => None,
            call_record::quality::Stats(stats) => Some(read_stats(stats?)?),
        },
    })
}

pub fn write_records(records: &[CallRecord], mut to: struct_list::Builder<'_, call_record::Owned>) {
    for (index, record) in (0..).zip(records) {
        write_record(record, to.reborrow().get(index));
    }
}

pub fn read_records(from: struct_list::Reader<'_, call_record::Owned>) -> capnp::Result<Vec<CallRecord>> {
    from.iter().map(read_record).collect()
}
