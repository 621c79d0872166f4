//! What both ends agree on without negotiation: media lines, SSRCs, roles; and the translation of str0m's errors.

use std::net::{IpAddr, SocketAddr};

use kith_common::call::Medium;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::CallId;
use str0m::config::Fingerprint;
use str0m::media::MediaKind;
use str0m::rtp::Ssrc;
use str0m::{Candidate, IceCreds, Rtc, RtcError};

use super::driver::mid;
use super::params::{Role, TransportParams};
use super::paths::relay_address;

/// RFC 8445 section 5.3: 4 to 256 characters, 22 to 256 characters.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PWD: std::ops::RangeInclusive<usize> = 22..=256;
const SHA_256_BYTES: usize = 32;

/// The SSRCs of one side. They come from the call's id, so two calls between two nodes differ.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs {
    pub audio: Ssrc,
    pub video: Ssrc,
    pub video_rtx: Ssrc,
}

impl Ssrcs {
    pub fn of(call: CallId, role: Role) -> Self {
        let [a, b, c, d, ..] = *call.as_bytes();
        // Never 0, which str0m uses for probes; the low bits tell side and stream apart.
        let base = (u32::from_be_bytes([a, b, c, d]) & 0xffff_fff0) | if role == Role::Caller { 1 } else { 9 };
        Self { audio: base.into(), video: (base + 1).into(), video_rtx: (base + 2).into() }
    }
}

pub fn other(role: Role) -> Role {
    match role {
        Role::Caller => Role::Callee,
        Role::Callee => Role::Caller,
    }
}

/// Tells str0m everything about the peer and the media. Both kinds of call have both media: a camera may join.
pub fn connect(rtc: &mut Rtc, call: CallId, role: Role, remote: &TransportParams) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(FailureKind::InvalidArgument, format!("The other side sent {what}."));
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !UFRAG.contains(&remote.ice_ufrag.len()) || !printable(&remote.ice_ufrag) {
        return Err(refused("an ICE user name of the wrong form"));
    }
    if !PWD.contains(&remote.ice_pwd.len()) || !printable(&remote.ice_pwd) {
        return Err(refused("an ICE password of the wrong form"));
    }
    if !remote.fingerprint_algorithm.eq_ignore_ascii_case("sha-256") || remote.fingerprint.len() != SHA_256_BYTES {
        return Err(refused("a certificate fingerprint that is not SHA-256"));
    }
    let mut api = rtc.direct_api();
    api.set_remote_ice_credentials(IceCreds { ufrag: remote.ice_ufrag.clone(), pass: remote.ice_pwd.clone() });
    api.set_remote_fingerprint(Fingerprint {
        hash_func: remote.fingerprint_algorithm.to_ascii_lowercase(),
        bytes: remote.fingerprint.clone(),
    });
    api.set_ice_controlling(role == Role::Caller);
    api.start_dtls(role == Role::Caller).map_err(|error| failure(&error))?;
    api.enable_twcc_feedback();
    let (audio, video) = (mid(Medium::Audio), mid(Medium::Video));
    api.declare_media(audio, MediaKind::Audio);
    api.declare_media(video, MediaKind::Video);
    let (ours, theirs) = (Ssrcs::of(call, role), Ssrcs::of(call, other(role)));
    api.declare_stream_tx(ours.audio, None, audio, None);
    api.declare_stream_tx(ours.video, Some(ours.video_rtx), video, None);
    api.expect_stream_rx(theirs.audio, None, audio, None);
    api.expect_stream_rx(theirs.video, Some(theirs.video_rtx), video, None);
    Ok(())
}

/// Makes the tunnel known to ICE on both ends.
pub fn add_relay(rtc: &mut Rtc, role: Role) {
    let (ours, theirs) = (relay_address(role), relay_address(other(role)));
    // `relayed`, not `host`: a host candidate of this address would win over working UDP (facts/media.md 4).
    if let Ok(candidate) = Candidate::relayed(ours, ours, "udp") {
        rtc.add_local_candidate(candidate);
    }
    if let Ok(candidate) = Candidate::relayed(theirs, theirs, "udp") {
        rtc.add_remote_candidate(candidate);
    }
}

/// Has ICE check UDP again after it has given it up.
pub fn offer_again(rtc: &mut Rtc, bases: &[SocketAddr]) {
    for base in bases {
        let Ok(candidate) = Candidate::host(*base, "udp") else { continue };
        rtc.direct_api().invalidate_candidate(&candidate);
        rtc.add_local_candidate(candidate);
    }
}

/// Whether packets to such an address can make sense: the peer names it, and it must not make this node talk to itself.
pub fn is_usable(ip: IpAddr, own: &[SocketAddr]) -> bool {
    let nonsense = match ip {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    !nonsense && (!ip.is_loopback() || own.iter().any(|own| own.ip().is_loopback()))
}

/// str0m's errors in words; all of them end the session.
pub fn failure(error: &RtcError) -> Failure {
    match error {
        RtcError::RemoteSdp(_) => Failure::new(
            FailureKind::NotPermitted,
            "The media connection was refused: its certificate is not the one that the other side announced.",
        )
        .advise("Somebody may be interfering with the connection. Call again from another network."),
        RtcError::Dtls(error) => {
            Failure::new(FailureKind::Unreachable, format!("The media connection could not be encrypted: {error}."))
                .advise("Call again.")
        }
        other => {
            Failure::new(FailureKind::Internal, format!("The media connection broke: {other}.")).advise("Call again.")
        }
    }
}
