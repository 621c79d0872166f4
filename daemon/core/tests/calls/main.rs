//! The call machine in virtual time: one node and a peer played by hand, then two nodes against each other.

mod agreement;
mod alone;
mod rig;
mod together;
