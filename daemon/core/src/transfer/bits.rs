//! A set of units, one bit each.

/// Of so many units, some. In bytes the first unit is the lowest bit of the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Bits {
    /// None of them.
    pub fn none(len: u32) -> Self {
        Self { words: vec![0; words(len)], len, count: 0 }
    }

    pub fn all(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; words(len)], len, count: len };
        bits.trim();
        bits
    }

    /// What is missing at the end counts as not there, what is too much is not looked at.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Self {
        let mut bits = Self::none(len);
        for (word, chunk) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        bits.trim();
        bits.count = bits.words.iter().map(|word| word.count_ones()).sum();
        bits
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[..(self.len as usize).div_ceil(8)].to_vec()
    }

    pub const fn len(&self) -> u32 {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub const fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// How many of them.
    pub const fn count(&self) -> u32 {
        self.count
    }

    pub fn get(&self, unit: u32) -> bool {
        unit < self.len && self.words[unit as usize / 64] & bit(unit) != 0
    }

    /// `false`: it was in, or is none of these units.
    pub fn insert(&mut self, unit: u32) -> bool {
        let new = unit < self.len && !self.get(unit);
        if new {
            self.words[unit as usize / 64] |= bit(unit);
            self.count += 1;
        }
        new
    }

    /// `false`: it was not in.
    pub fn remove(&mut self, unit: u32) -> bool {
        let was = self.get(unit);
        if was {
            self.words[unit as usize / 64] &= !bit(unit);
            self.count -= 1;
        }
        was
    }

    /// Those that are not in.
    pub fn inverted(&self) -> Self {
        let mut bits =
            Self { words: self.words.iter().map(|word| !word).collect(), len: self.len, count: self.len - self.count };
        bits.trim();
        bits
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let next = self.first_from(from, None)?;
            from = next + 1;
            Some(next)
        })
    }

    /// The first from there on, of those that `also` has too.
    pub(super) fn first_from(&self, from: u32, also: Option<&Self>) -> Option<u32> {
        let mut mask = u64::MAX << (from % 64);
        for index in (from / 64) as usize..self.words.len() {
            let also = also.map_or(u64::MAX, |also| also.words.get(index).copied().unwrap_or(0));
            let word = self.words[index] & also & mask;
            if word != 0 {
                // The length fits a u32.
                return u32::try_from(index * 64).ok().map(|base| base + word.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }

    fn trim(&mut self) {
        if let Some(last) = self.words.last_mut()
            && !self.len.is_multiple_of(64)
        {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }
}

const fn words(len: u32) -> usize {
    (len as usize).div_ceil(64)
}

const fn bit(unit: u32) -> u64 {
    1 << (unit % 64)
}
