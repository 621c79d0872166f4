//! Between the schema's types and the domain's, in both directions.
//!
//! Reading checks everything: an enumerant or an id that is not known, or a value out of range, is an error that names
//! it, never a panic. Writing cannot fail.

mod buffers;
mod call;
mod chat;
mod contact;
mod diagnostics;
mod file;
mod media;
mod node;

use capnp::{Error, NotInSchema};

use crate::failure::{Failure, FailureKind};
use crate::types_capnp::{self, failure, outcome};

pub use call::{
    read_call_id, read_call_info, read_options, read_record, read_records, read_stage, read_stats, write_call_info,
    write_options, write_record, write_records, write_stage, write_stats,
};
pub use chat::{
    read_conversation, read_conversations, read_draft, read_group_change, read_message, read_message_id, read_messages,
    write_conversation, write_conversations, write_draft, write_group_change, write_message, write_messages,
};
pub use contact::{
    read_contact, read_contact_change, read_people, read_safety, write_contact, write_contact_change, write_people,
    write_safety,
};
pub use diagnostics::{
    read_bandwidth, read_hop, read_network, read_ping, read_samples, write_bandwidth, write_hop, write_network,
    write_ping, write_samples,
};
pub use file::{
    read_add_options, read_add_progress, read_file_settings, read_files_state, read_get_options, read_kept, read_piece,
    read_share, read_share_outcome, read_shares, read_transfer, read_transfer_outcome, write_add_options,
    write_add_progress, write_file_settings, write_files_state, write_get_options, write_kept, write_share,
    write_share_outcome, write_shares, write_transfer, write_transfer_outcome,
};
pub use media::{read_format, read_picture, read_sound, write_format, write_picture, write_sound};
pub use node::{
    read_identity, read_peer, read_peers, read_service, read_services, read_status, write_identity, write_peer,
    write_peers, write_service, write_services, write_status,
};

/// An enumeration of the domain and its counterpart in the schema.
pub trait Enumeration: Sized {
    type Wire;

    fn to_wire(self) -> Self::Wire;
    /// `None` for `unspecified`, and for what a newer peer knows and we do not.
    fn from_wire(wire: Result<Self::Wire, NotInSchema>) -> Option<Self>;

    /// From the wire, where it must be given.
    fn required(wire: Result<Self::Wire, NotInSchema>, field: &str) -> capnp::Result<Self> {
        Self::from_wire(wire).ok_or_else(|| Error::failed(format!("{field} is missing or not known to this version")))
    }
}

macro_rules! enumeration {
    ($domain:ty, $wire:ty: $($name:ident $(= $other:ident)?),+) => {
        impl crate::convert::Enumeration for $domain {
            type Wire = $wire;

            fn to_wire(self) -> $wire {
                match self { $(Self::$name => enumeration!(@wire $wire, $name $(, $other)?)),+ }
            }

            fn from_wire(wire: Result<$wire, capnp::NotInSchema>) -> Option<Self> {
                match wire {
                    $(Ok(enumeration!(@pattern $wire, $name $(, $other)?)) => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
    (@wire $wire:ty, $name:ident) => { <$wire>::$name };
    (@wire $wire:ty, $name:ident, $other:ident) => { <$wire>::$other };
    (@pattern $wire:ty, $name:ident) => { <$wire>::$name };
    (@pattern $wire:ty, $name:ident, $other:ident) => { <$wire>::$other };
}
use enumeration;

impl Enumeration for FailureKind {
    type Wire = types_capnp::FailureKind;

    fn to_wire(self) -> Self::Wire {
        use types_capnp::FailureKind as Wire;
        match self {
            Self::InvalidArgument => Wire::InvalidArgument,
            Self::NotFound => Wire::NotFound,
            Self::Unreachable => Wire::Unreachable,
            Self::TimedOut => Wire::TimedOut,
            Self::Declined => Wire::Declined,
            Self::Busy => Wire::Busy,
            Self::Blocked => Wire::Blocked,
            Self::NotPermitted => Wire::NotPermitted,
            Self::Unsupported => Wire::Unsupported,
            Self::VerificationFailed => Wire::VerificationFailed,
            // Only a client can find that it has no daemon.
            Self::Internal | Self::NoDaemon => Wire::Internal,
        }
    }

    fn from_wire(wire: Result<Self::Wire, NotInSchema>) -> Option<Self> {
        use types_capnp::FailureKind as Wire;
        Some(match wire.ok()? {
            Wire::Unspecified => return None,
            Wire::InvalidArgument => Self::InvalidArgument,
            Wire::NotFound => Self::NotFound,
            Wire::Unreachable => Self::Unreachable,
            Wire::TimedOut => Self::TimedOut,
            Wire::Declined => Self::Declined,
            Wire::Busy => Self::Busy,
            Wire::Blocked => Self::Blocked,
            Wire::NotPermitted => Self::NotPermitted,
            Wire::Unsupported => Self::Unsupported,
            Wire::VerificationFailed => Self::VerificationFailed,
            Wire::Internal => Self::Internal,
        })
    }
}

pub fn write_failure(failure: &Failure, mut to: failure::Builder<'_>) {
    to.set_kind(failure.kind.to_wire());
    to.set_message(failure.message.as_str());
    to.set_advice(failure.advice.as_str());
}

pub fn read_failure(from: failure::Reader<'_>) -> capnp::Result<Failure> {
    // A kind that we do not know still has its sentences.
    let kind = FailureKind::from_wire(from.get_kind()).unwrap_or(FailureKind::Internal);
    Ok(Failure { kind, message: text(from.get_message()?)?, advice: text(from.get_advice()?)? })
}

pub fn write_outcome(result: Result<(), Failure>, mut to: outcome::Builder<'_>) {
    match result {
        Ok(()) => to.set_ok(()),
        Err(failure) => write_failure(&failure, to.init_failed()),
    }
}

pub fn read_outcome(from: outcome::Reader<'_>) -> capnp::Result<Result<(), Failure>> {
    match from.which() {
        Ok(outcome::Ok(())) => Ok(Ok(())),
        Ok(outcome::Failed(failure)) => Ok(Err(read_failure(failure?)?)),
        Ok(outcome::Unspecified(())) | Err(_) => Err(Error::failed("the outcome is not known to this version".into())),
    }
}

/// A text of the wire as a `String`.
pub fn text(from: capnp::text::Reader<'_>) -> capnp::Result<String> {
    Ok(from.to_str()?.to_owned())
}

/// A list's length for a builder. Lists that this side makes are far shorter than `u32` reaches.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// A list of texts, into a builder of its length.
pub fn write_texts<'a>(texts: impl ExactSizeIterator<Item = &'a String>, mut to: capnp::text_list::Builder<'_>) {
    for (index, text) in (0..).zip(texts) {
        to.set(index, text.as_str());
    }
}

pub fn read_texts(from: capnp::text_list::Reader<'_>) -> capnp::Result<Vec<String>> {
    from.iter().map(|item| text(item?)).collect()
}

#[cfg(test)]
mod tests;
