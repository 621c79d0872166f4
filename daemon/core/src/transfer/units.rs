//! What a transfer is made of.

/// The units of a file, or of the files of a folder in the order of its list. The last one of each file is shorter; a file
/// without bytes has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    unit_bytes: u64,
    /// Of each file that has bytes: its first unit, and its size.
    files: Vec<(u32, u64)>,
    count: u32,
    total_bytes: u64,
}

impl Units {
    /// `None` when there are more units than can be numbered.
    pub fn new(unit_bytes: u64, sizes: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut units = Self { unit_bytes: unit_bytes.max(1), files: Vec::new(), count: 0, total_bytes: 0 };
        for size in sizes.into_iter().filter(|size| *size > 0) {
            units.files.push((units.count, size));
            units.count = units.count.checked_add(u32::try_from(size.div_ceil(units.unit_bytes)).ok()?)?;
            units.total_bytes = units.total_bytes.checked_add(size)?;
        }
        Some(units)
    }

    pub const fn count(&self) -> u32 {
        self.count
    }

    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// How many bytes of content the unit has; 0: there is no such unit.
    pub fn bytes(&self, unit: u32) -> u64 {
        if unit >= self.count {
            return 0;
        }
        let file = self.files.partition_point(|(first, _)| *first <= unit) - 1;
        let (first, size) = self.files[file];
        (size - u64::from(unit - first) * self.unit_bytes).min(self.unit_bytes)
    }
}
