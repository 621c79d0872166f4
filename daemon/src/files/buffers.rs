//! Memory for the ranges that are being sent or received, used again: to have fresh pages of the system for each of them costs as
//! much as verifying what is in them.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is kept for the next, beside what is in use.
const SPARE_BYTES: usize = 4 * 1024 * 1024;

/// Where buffers come from and go back to. How many are in use is the users' to limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Stock>>);

#[derive(Debug, Default)]
struct Stock {
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    in_use: usize,
}

/// Bytes of whatever was in them before.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// One that has room for so many without asking the system, if there is one.
    pub fn take(&self, room: usize) -> Buffer {
        let mut stock = self.stock();
        stock.in_use += 1;
        let fits = stock.spare.iter().rposition(|spare| spare.capacity() >= room);
        let bytes = match fits {
            Some(at) => {
                let bytes = stock.spare.swap_remove(at);
                stock.spare_bytes -= bytes.capacity();
                bytes
            }
            None => Vec::new(),
        };
        drop(stock);
        Buffer { bytes, home: self.clone() }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        let mut stock = self.home.stock();
        stock.in_use -= 1;
        if stock.in_use == 0 {
            // Nobody is at it any more, or nobody who is fast enough for this to matter.
            (stock.spare, stock.spare_bytes) = (Vec::new(), 0);
        } else if stock.spare_bytes + bytes.capacity() <= SPARE_BYTES {
            stock.spare_bytes += bytes.capacity();
            stock.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: usize = 1024 * 1024;

    #[test]
    fn a_buffer_is_used_again_and_given_back_when_the_last_is_over() {
        let buffers = Buffers::default();
        let mut first = buffers.take(UNIT);
        first.resize(UNIT, 7);
        let place = first.as_ptr();
        let other = buffers.take(10);
        drop(first);
        let again = buffers.take(UNIT);
        assert_eq!(again.as_ptr(), place);
        // Too short for what is asked for.
        assert!(buffers.take(2 * UNIT).is_empty());
        drop((again, other));
        assert!(buffers.stock().spare.is_empty() && buffers.stock().spare_bytes == 0);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let buffers = Buffers::default();
        let _one = buffers.take(0);
        let many: Vec<Buffer> = (0..20)
            .map(|_| {
                let mut buffer = buffers.take(UNIT);
                buffer.resize(UNIT, 0);
                buffer
            })
            .collect();
        drop(many);
        let kept: usize = buffers.stock().spare.iter().map(Vec::capacity).sum();
        assert!(kept == buffers.stock().spare_bytes && (UNIT..=SPARE_BYTES).contains(&kept), "{kept}");
    }
}
