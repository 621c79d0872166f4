//! Picture buffers that are used again: a fresh one of a megabyte costs more in page faults than the copy into it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that wait. A stream of pictures has three or four alive; two streams with some slack.
const KEPT: usize = 8;
/// Smaller ones are not worth it.
const WORTH_BYTES: usize = 32 << 10;

static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct Buffer(Vec<u8>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == KEPT {
            // The oldest: after a change of size it fits nothing any more.
            waiting.remove(0);
        }
        waiting.push(std::mem::take(&mut self.0));
    }
}

/// A copy that lives as long as any of its clones.
pub fn copy(bytes: &[u8]) -> Bytes {
    if bytes.len() < WORTH_BYTES {
        return Bytes::copy_from_slice(bytes);
    }
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |buffer: &Vec<u8>| (bytes.len()..=bytes.len() * 2).contains(&buffer.capacity());
    let found = waiting.iter().rposition(fits).map(|index| waiting.remove(index));
    drop(waiting);
    let mut buffer = found.unwrap_or_default();
    buffer.clear();
    buffer.extend_from_slice(bytes);
    Bytes::from_owner(Buffer(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_used_again_has_the_new_bytes_only() {
        let first = copy(&[1; 100_000]);
        let kept = first.clone();
        drop(first);
        let second = copy(&[2; 90_000]);
        assert!(kept.iter().all(|&byte| byte == 1) && kept.len() == 100_000);
        drop(kept);
        let third = copy(&[3; 95_000]);
        assert!(second.iter().all(|&byte| byte == 2) && second.len() == 90_000);
        assert!(third.iter().all(|&byte| byte == 3) && third.len() == 95_000);
    }
}
