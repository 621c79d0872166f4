//! Moments as people and scripts read them.

/// RFC 3339, in UTC, to the second.
pub fn rfc3339(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The moment that `2026-03-01T12:00:00Z` names, in milliseconds since 1970. The zone may be an offset, and is UTC when
/// there is none; a day alone is its beginning.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let number = |text: &str, digits: usize| -> Option<i64> {
        let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| fits)
    };
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (time, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => match time.rfind(['+', '-']) {
            Some(at) => {
                let (hours, minutes) = time[at + 1..].split_once(':')?;
                let minutes = number(hours, 2)? * 60 + number(minutes, 2)?;
                (&time[..at], if time[at..].starts_with('+') { minutes } else { -minutes })
            }
            None => (time, 0),
        },
    };
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let second = clock.next().map_or(Some(0), |second| number(second.split('.').next()?, 2))?;
    let real = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !real || parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000)
}

/// `3 s`, `2 min`, `5 h`, `4 d`: how long ago.
pub fn ago(unix_ms: i64, now_unix_ms: i64) -> String {
    span(now_unix_ms.saturating_sub(unix_ms).max(0).unsigned_abs() / 1000)
}

pub fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_across_leap_years() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_199_999), "2024-02-29T23:59:59Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn times_are_read_as_they_are_printed() {
        for unix_ms in [0, 951_782_400_000, 1_709_251_199_000, 4_102_444_800_000] {
            assert_eq!(parse(&rfc3339(unix_ms)), Some(unix_ms));
        }
        assert_eq!(parse("2000-02-29"), Some(951_782_400_000));
        assert_eq!(parse("2000-02-29T01:30:00+01:30"), Some(951_782_400_000));
        assert_eq!(parse("2000-02-28 22:00-02:00"), Some(951_782_400_000));
        assert_eq!(parse("2000-02-29T00:00:00.999"), Some(951_782_400_000));
        for text in ["", "yesterday", "2000-13-01", "2000-1-1", "2000-01-01T25:00", "2000-01-01T10", "2000-01-01-01"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans_are_short() {
        assert_eq!([span(5), span(600), span(9000), span(1_000_000)], ["5 s", "10 min", "2 h", "11 d"]);
    }
}
