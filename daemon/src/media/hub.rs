//! (being written)

/// Where a call's sources and sinks meet.
#[derive(Clone, Default)]
pub struct Hub;

impl Hub {
    pub fn new() -> Self {
        Self
    }
}
