//! The messages of a call between two daemons, as `schema/wire.capnp` defines them: to bytes and back.
//!
//! The peer is authenticated and may still be hostile: what it sends is bounded before it is read, and what makes no
//! sense is an error or left out, never a panic.

use capnp::message::{Builder, HeapAllocator};
use kith_common::call::{CallKind, Switch};
use kith_common::clock::MonoTime;
use kith_common::ids::CallId;
use kith_common::media::{Size, VideoFormat};
use kith_common::wire_capnp as wire;
use kith_core::call::{MediaState, Signal};

use crate::media::{Candidate, CandidateKind, MAX_CANDIDATES, TransportParams};
use crate::net::frames::{self, FrameError};

/// Of the messages and of what they mean.
pub(super) const VERSION: u16 = 1;
/// The longest message (wire.capnp). An offer with all candidates takes 3 KiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Candidates are `ip:port`; anything longer is none.
const MAX_ADDRESS_CHARS: usize = 64;
/// ICE credentials have at most 256 characters (RFC 8839 section 5.4).
const MAX_CREDENTIAL_CHARS: usize = 256;
/// SHA-512 has 64.
const MAX_FINGERPRINT_BYTES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The call, as both machines name it.
    pub wire: CallId,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// Something for the call machine; an offer and an accept come with the sender's end of the media path, what says
    /// the state of media with the number of pictures captured so far.
    Signal {
        signal: Signal,
        transport: Option<TransportParams>,
        video_due: Option<u64>,
    },
    Candidate(Candidate),
    Ping {
        sent: MonoTime,
    },
    Pong {
        ping_sent: MonoTime,
        received: MonoTime,
        sent: MonoTime,
    },
    /// Of a newer version.
    Unknown,
}

impl Body {
    pub fn plain(signal: Signal) -> Self {
        Self::Signal { signal, transport: None, video_due: None }
    }
}

// ---- to bytes

/// A message with its length before it.
pub(super) fn encode(message: &Message) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new().first_segment_words(256));
    let mut root: wire::call_message::Builder<'_> = builder.init_root();
    root.set_call_id(message.wire.as_bytes());
    match &message.body {
        Body::Signal { signal, transport, video_due } => {
            write_signal(root, signal, transport.as_ref(), video_due.unwrap_or(0));
        }
        Body::Candidate(candidate) => write_candidate(root.init_candidate(), candidate),
        Body::Ping { sent } => root.init_clock_ping().set_sent_micros(sent.micros()),
        Body::Pong { ping_sent, received, sent } => {
            let mut pong = root.init_clock_pong();
            pong.set_ping_sent_micros(ping_sent.micros());
            pong.set_received_micros(received.micros());
            pong.set_sent_micros(sent.micros());
        }
        Body::Unknown => root.set_unspecified(()),
    }
    frames::encode(&builder)
}

fn write_signal(
    mut root: wire::call_message::Builder<'_>,
    signal: &Signal,
    transport: Option<&TransportParams>,
    video_due: u64,
) {
    match signal {
        Signal::Offer { kind, media } => {
            let mut offer = root.init_offer();
            offer.set_version(VERSION);
            offer.set_kind(match kind {
                CallKind::Voice => wire::Kind::Voice,
                CallKind::Video => wire::Kind::Video,
            });
            write_media(offer.reborrow().init_media(), media, video_due);
            if let Some(transport) = transport {
                write_transport(offer.init_transport(), transport);
            }
        }
        Signal::Accept { media } => {
            let mut accept = root.init_accept();
            accept.set_version(VERSION);
            write_media(accept.reborrow().init_media(), media, video_due);
            if let Some(transport) = transport {
                write_transport(accept.init_transport(), transport);
            }
        }
        Signal::Ringing => root.set_ringing(()),
        Signal::Decline => root.set_decline(()),
        Signal::Busy => root.set_busy(()),
        Signal::Blocked => root.set_blocked(()),
        Signal::Cancel => root.set_cancel(()),
        Signal::HangUp { reason } => root.init_hang_up().set_reason(reason.as_str()),
        Signal::Media(media) => write_media(root.init_media_state(), media, video_due),
        Signal::TimedOut => root.set_timed_out(()),
        Signal::Failed(text) => root.set_failed(text.as_str()),
    }
}

fn write_media(mut to: wire::media_state::Builder<'_>, media: &MediaState, video_due: u64) {
    to.set_microphone(write_switch(media.microphone));
    to.set_camera(write_switch(media.camera));
    to.set_video_due(video_due);
    if let Some(format) = media.format {
        let mut to = to.init_format();
        // A Size has sides of at most 16 bit.
        to.set_width(u16::try_from(format.size.width()).unwrap_or(0));
        to.set_height(u16::try_from(format.size.height()).unwrap_or(0));
        to.set_frames_per_second_milli(format.fps_milli);
    }
}

fn write_switch(switch: Switch) -> wire::Switch {
    match switch {
        Switch::On => wire::Switch::On,
        Switch::Off => wire::Switch::Off,
    }
}

fn write_transport(mut to: wire::transport_params::Builder<'_>, transport: &TransportParams) {
    to.set_ice_ufrag(transport.ice_ufrag.as_str());
    to.set_ice_pwd(transport.ice_pwd.as_str());
    to.set_fingerprint_algorithm(transport.fingerprint_algorithm.as_str());
    to.set_fingerprint(&transport.fingerprint);
    to.set_tunnel(transport.tunnel);
    let candidates = &transport.candidates[..transport.candidates.len().min(MAX_CANDIDATES)];
    let mut list = to.init_candidates(u32::try_from(candidates.len()).unwrap_or(0));
    for (index, candidate) in (0..).zip(candidates) {
        write_candidate(list.reborrow().get(index), candidate);
    }
}

fn write_candidate(mut to: wire::candidate::Builder<'_>, candidate: &Candidate) {
    to.set_kind(match candidate.kind {
        CandidateKind::Host => wire::CandidateKind::Host,
        CandidateKind::Observed => wire::CandidateKind::Observed,
        CandidateKind::Relayed => wire::CandidateKind::Relayed,
    });
    to.set_address(candidate.address.to_string().as_str());
}

// ---- from bytes

/// Reads a message without its length.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    use wire::call_message::Which;
    let message = frames::open(bytes, MAX_MESSAGE_BYTES)?;
    let root: wire::call_message::Reader<'_> = message.get_root()?;
    let wire = CallId::from_slice(root.get_call_id()?).map_err(|_| FrameError::Nonsense("no call id of 16 bytes"))?;
    let Ok(which) = root.which() else { return Ok(Message { wire, body: Body::Unknown }) };
    let body = match which {
        Which::Unspecified(()) => Body::Unknown,
        Which::Offer(offer) => {
            let offer = offer?;
            let kind = match offer.get_kind() {
                Ok(wire::Kind::Voice) => CallKind::Voice,
                Ok(wire::Kind::Video) => CallKind::Video,
                _ => return Err(FrameError::Nonsense("an offer of neither voice nor video")),
            };
            let (media, video_due) = read_media(offer.get_media()?)?;
            let transport = Some(read_transport(offer.get_transport()?)?);
            Body::Signal { signal: Signal::Offer { kind, media }, transport, video_due: Some(video_due) }
        }
        Which::Accept(accept) => {
            let accept = accept?;
            let (media, video_due) = read_media(accept.get_media()?)?;
            let transport = Some(read_transport(accept.get_transport()?)?);
            Body::Signal { signal: Signal::Accept { media }, transport, video_due: Some(video_due) }
        }
        Which::MediaState(media) => {
            let (media, video_due) = read_media(media?)?;
            Body::Signal { signal: Signal::Media(media), transport: None, video_due: Some(video_due) }
        }
        Which::Ringing(()) => Body::plain(Signal::Ringing),
        Which::Decline(()) => Body::plain(Signal::Decline),
        Which::Busy(()) => Body::plain(Signal::Busy),
        Which::Blocked(()) => Body::plain(Signal::Blocked),
        Which::Cancel(()) => Body::plain(Signal::Cancel),
        Which::TimedOut(()) => Body::plain(Signal::TimedOut),
        Which::HangUp(hang_up) => Body::plain(Signal::HangUp { reason: hang_up?.get_reason()?.to_string()? }),
        Which::Failed(text) => Body::plain(Signal::Failed(text?.to_string()?)),
        Which::Candidate(candidate) => read_candidate(candidate?)?.map_or(Body::Unknown, Body::Candidate),
        Which::ClockPing(ping) => Body::Ping { sent: MonoTime(ping?.get_sent_micros()) },
        Which::ClockPong(pong) => {
            let pong = pong?;
            Body::Pong {
                ping_sent: MonoTime(pong.get_ping_sent_micros()),
                received: MonoTime(pong.get_received_micros()),
                sent: MonoTime(pong.get_sent_micros()),
            }
        }
    };
    Ok(Message { wire, body })
}

fn read_media(media: wire::media_state::Reader<'_>) -> Result<(MediaState, u64), FrameError> {
    let switch = |switch| match switch {
        Ok(wire::Switch::On) => Switch::On,
        _ => Switch::Off,
    };
    let format = media.get_format()?;
    // A size that no picture of Kith has is as good as none.
    let size = Size::new(format.get_width().into(), format.get_height().into()).ok();
    let format = size.map(|size| VideoFormat { size, fps_milli: format.get_frames_per_second_milli() });
    let state = MediaState { microphone: switch(media.get_microphone()), camera: switch(media.get_camera()), format };
    Ok((state, media.get_video_due()))
}

fn read_transport(from: wire::transport_params::Reader<'_>) -> Result<TransportParams, FrameError> {
    let text = |text: capnp::text::Reader<'_>, limit: usize, without| {
        let text = text.to_str().ok().filter(|text| !text.is_empty() && text.len() <= limit);
        text.map(str::to_owned).ok_or(FrameError::Nonsense(without))
    };
    let fingerprint = from.get_fingerprint()?;
    if fingerprint.is_empty() || fingerprint.len() > MAX_FINGERPRINT_BYTES {
        return Err(FrameError::Nonsense("a media path without a fingerprint"));
    }
    let mut candidates = Vec::new();
    for candidate in from.get_candidates()?.iter().take(MAX_CANDIDATES) {
        candidates.extend(read_candidate(candidate)?);
    }
    Ok(TransportParams {
        ice_ufrag: text(from.get_ice_ufrag()?, MAX_CREDENTIAL_CHARS, "a media path without an ICE user")?,
        ice_pwd: text(from.get_ice_pwd()?, MAX_CREDENTIAL_CHARS, "a media path without an ICE password")?,
        fingerprint_algorithm: text(
            from.get_fingerprint_algorithm()?,
            32,
            "a media path without a fingerprint algorithm",
        )?,
        fingerprint: fingerprint.to_vec(),
        candidates,
        tunnel: from.get_tunnel(),
    })
}

/// `None` for a kind of address that this version does not know.
fn read_candidate(from: wire::candidate::Reader<'_>) -> Result<Option<Candidate>, FrameError> {
    let kind = match from.get_kind() {
        Ok(wire::CandidateKind::Host) => CandidateKind::Host,
        Ok(wire::CandidateKind::Observed) => CandidateKind::Observed,
        Ok(wire::CandidateKind::Relayed) => CandidateKind::Relayed,
        _ => return Ok(None),
    };
    let address = from.get_address()?.to_str()?;
    if address.len() > MAX_ADDRESS_CHARS {
        return Ok(None);
    }
    Ok(address.parse().ok().map(|address| Candidate { kind, address }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frames::harm;

    fn transport() -> TransportParams {
        let candidate = |kind, address: &str| Candidate { kind, address: address.parse().expect("an address") };
        TransportParams {
            ice_ufrag: "user".into(),
            ice_pwd: "a password of some length".into(),
            fingerprint_algorithm: "sha-256".into(),
            fingerprint: vec![7; 32],
            candidates: vec![
                candidate(CandidateKind::Host, "192.0.2.1:9996"),
                candidate(CandidateKind::Observed, "[2001:db8::1]:9996"),
            ],
            tunnel: true,
        }
    }

    fn examples() -> Vec<Message> {
        let format = VideoFormat { size: Size::new(640, 360).expect("usual"), fps_milli: 30_000 };
        let media = MediaState { microphone: Switch::On, camera: Switch::Off, format: Some(format) };
        let plain = [
            Signal::Ringing,
            Signal::Decline,
            Signal::Busy,
            Signal::Blocked,
            Signal::Cancel,
            Signal::HangUp { reason: "over".into() },
            Signal::TimedOut,
            Signal::Failed("no camera".into()),
        ];
        let mut bodies: Vec<Body> = plain.into_iter().map(Body::plain).collect();
        let with = |signal, transport| Body::Signal { signal, transport, video_due: Some(77) };
        bodies.push(with(Signal::Offer { kind: CallKind::Voice, media }, Some(transport())));
        bodies.push(with(Signal::Accept { media: MediaState { format: None, ..media } }, Some(transport())));
        bodies.push(with(Signal::Media(media), None));
        bodies.push(Body::Candidate(transport().candidates[1]));
        bodies.push(Body::Ping { sent: MonoTime(5) });
        bodies.push(Body::Pong { ping_sent: MonoTime(5), received: MonoTime(6), sent: MonoTime(u64::MAX) });
        bodies.push(Body::Unknown);
        bodies.into_iter().map(|body| Message { wire: CallId::from_bytes([9; 16]), body }).collect()
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in examples() {
            assert_eq!(decode(harm::message(&encode(&message))).expect("it parses"), message);
        }
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message_and_never_a_panic() {
        harm::is_withstood(examples().iter().map(encode), decode);
    }

    #[test]
    fn an_offer_without_a_media_path_is_refused() {
        let media = MediaState { microphone: Switch::On, camera: Switch::On, format: None };
        let offer = Body::plain(Signal::Offer { kind: CallKind::Video, media });
        let bytes = encode(&Message { wire: CallId::from_bytes([1; 16]), body: offer });
        assert!(matches!(decode(harm::message(&bytes)), Err(FrameError::Nonsense(_))));
    }
}
