//! The people of this node: contacts with names that its user gave them, requests of strangers, and who is there now.
//!
//! One task owns them, with the database behind it, and speaks `/kith/contact/1` with the peers that are connected: it
//! asks those that were added to add this node as well, takes the requests of others, and tells presence to those who are
//! contacts on both sides, and to nobody else. It dials the contacts that are away. [`Contacts`] is a cheap handle; what
//! continues is on a watch ([`Contacts::people`]). Used by `calls` (whom not to ring for), `chat`, `rpc` and `main`; it
//! knows nothing of what two contacts do with each other.
//!
//! What two nodes say: whoever has the other among its contacts opens a stream, says `request`, and hears whether the
//! other has it too. From then on presence goes over that stream. A request that was heard and not (yet) returned is not
//! repeated; a contact on both sides is asked `again` at each connection, so that two nodes agree also after one of them
//! was restored from a backup.

mod commands;
mod handle;
mod heard;
mod link;
mod names;
mod ports;
mod reach;
mod safety;
mod strangers;
mod streams;
mod task;
mod wire;

#[cfg(test)]
mod tests;

pub use handle::Contacts;
pub use strangers::{KNOCKS, Knock};
