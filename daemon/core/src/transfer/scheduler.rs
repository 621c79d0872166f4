use std::time::Instant;

use super::{Allowance, Bits, Event, Have, Mode, Progress, Refusal, SourceFigures, Terms, Units};

/// One transfer's part; see the module. `S` names a source: a peer, or a stream to one.
#[derive(Debug)]
pub struct Transfer<S> {
    _s: std::marker::PhantomData<S>,
}

impl<S: Copy + Ord> Transfer<S> {
    /// `done`: the units that are on the disk. `begin`: any number; sources that have only parts are asked from that unit
    /// on, so that not everybody has the same part of a file that is new to all. For tests 0, else random.
    pub fn new(units: Units, done: Bits, begin: u32) -> Self;
    /// A source is there. One that is known already has new terms.
    pub fn handle_source(&mut self, source: S, terms: Terms, now: Instant);
    /// It has other units than it had.
    pub fn handle_have(&mut self, source: S, have: Have, now: Instant);
    /// Its stream has ended.
    pub fn handle_gone(&mut self, source: S, now: Instant);
    /// So many more bytes of the answer for this unit have come.
    pub fn handle_bytes(&mut self, source: S, unit: u32, bytes: u64, now: Instant);
    /// The whole answer is here; it is being verified and written, which is no time of the source's.
    pub fn handle_received(&mut self, source: S, unit: u32, now: Instant);
    /// The unit is verified and on the disk.
    pub fn handle_stored(&mut self, source: S, unit: u32, now: Instant);
    /// What came does not have the hash, or is no answer at all.
    pub fn handle_wrong(&mut self, source: S, unit: u32, now: Instant);
    pub fn handle_refused(&mut self, source: S, unit: u32, refusal: Refusal, now: Instant);
    pub fn set_mode(&mut self, mode: Mode, now: Instant);
    /// Takes back all that was asked, and asks nothing more until [`Self::resume`]. Sources are kept.
    pub fn pause(&mut self, now: Instant);
    pub fn resume(&mut self, now: Instant);
    /// What to do next. `limit`: the download limit, which all transfers share.
    pub fn poll_event(&mut self, limit: &mut Allowance, now: Instant) -> Option<Event<S>>;
    /// When to poll again without anything having happened.
    pub fn poll_timeout(&self, limit: &Allowance, now: Instant) -> Option<Instant>;
    pub fn done(&self) -> &Bits;
    pub fn is_finished(&self) -> bool;
    pub fn progress(&self, now: Instant) -> Progress;
    pub fn sources(&self, now: Instant) -> impl Iterator<Item = (S, SourceFigures)>;
}
