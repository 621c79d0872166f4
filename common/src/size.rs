//! Sizes and rates in words, the same for everybody who says them. Multiples are decimal, as of the disks and the networks
//! that people buy: a kB is 1000 bytes, a GB is 1000 MB.

/// `2.4 MB`; below one MB without a fraction: `12 kB`, `1 byte`. What would be rounded to 1000 is one of the next unit.
pub fn bytes(count: u64) -> String {
    let exact = count as f64;
    match exact {
        _ if exact >= 999.95e9 => format!("{:.1} TB", exact / 1e12),
        _ if exact >= 999.95e6 => format!("{:.1} GB", exact / 1e9),
        _ if exact >= 999.5e3 => format!("{:.1} MB", exact / 1e6),
        _ if exact >= 1e3 => format!("{:.0} kB", exact / 1e3),
        _ if count == 1 => "1 byte".to_owned(),
        _ => format!("{count} bytes"),
    }
}

/// `2.4 MB/s`
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_change_their_unit_before_they_have_four_digits() {
        let said: Vec<String> =
            [0, 1, 999, 1_000, 999_499, 999_500, 999_950_000, 5_000_000_000, 17_592_186_044_416].map(bytes).into();
        let expected = ["0 bytes", "1 byte", "999 bytes", "1 kB", "999 kB", "1.0 MB", "1.0 GB", "5.0 GB", "17.6 TB"];
        assert_eq!(said, expected);
        assert_eq!(rate(120_000_000), "120.0 MB/s");
    }
}
