//! Times on the wire: exactly `YYYY-MM-DDTHH:MM:SSZ`. Milliseconds inside, whole seconds outside.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time by this machine's clock, milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time as text.
#[must_use]
pub fn text(ms: i64) -> String {
    let mut out = Vec::with_capacity(20);
    meta::render::timestamp(ms, &mut out);
    String::from_utf8(out).expect("a time is ASCII")
}

/// Milliseconds since 1970 of a text that [`text`] could have made.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if bytes.len() != 20 || marks.iter().any(|(at, mark)| bytes[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &bytes[from..to];
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let ms = (days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000;
    // A day or second that does not exist would be told as another.
    (self::text(ms) == text).then_some(ms)
}

/// Days since 1970: eras of 400 years, years that begin in March.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds_and_are_read_back() {
        assert_eq!(text(1_431_445_838_999), "2015-05-12T15:50:38Z");
        for ms in [0, 951_782_400_000, 951_868_799_000, 1_709_164_800_000, 4_107_542_399_000, -1_000] {
            assert_eq!(parse(&text(ms)), Some(ms));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let fraction = "2015-05-12T15:50:38.5Z";
        for bad in ["", "2015-05-12T15:50:38", fraction, "2015-02-29T00:00:00Z", "2015-13-01T00:00:00Z"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("2016-02-29T24:00:00Z"), None);
        assert_eq!(parse("2016-0é-29T00:00:00Z"), None);
    }
}
