//! Names: of conflicted copies, of what steps aside for a moment, and which fit into a local folder.

use base::limits::NAME_CHARS_MAX;

/// Bytes of a name that Linux file systems take.
pub const LOCAL_NAME_BYTES_MAX: usize = 255;
/// Copies tried before one gives up.
const TRIES_MAX: u32 = 1000;

/// `name (HOST's conflicted copy 2026-11-23).ext`, with a number from the second one on, that `is_free` takes.
pub fn conflicted(name: &str, host: &str, date: &str, is_free: impl Fn(&str) -> bool) -> Option<String> {
    (1..=TRIES_MAX)
        .map(|at| match at {
            1 => decorated(name, &format!("({host}'s conflicted copy {date})")),
            at => decorated(name, &format!("({host}'s conflicted copy {date} {at})")),
        })
        .find(|name| is_free(name))
}

/// A name for what steps aside while another takes its place.
pub fn aside(name: &str, is_free: impl Fn(&str) -> bool) -> Option<String> {
    (1..=TRIES_MAX)
        .map(|at| if at == 1 { decorated(name, "(moving)") } else { decorated(name, &format!("(moving {at})")) })
        .find(|name| is_free(name))
}

/// `stem words.ext`, cut so that the whole fits. The extension is from the last dot, unless that comes first.
fn decorated(name: &str, words: &str) -> String {
    let dot = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    // An extension so long that no stem is left beside it is none.
    fitted(stem, words, extension).or_else(|| fitted(name, words, "")).unwrap_or_else(|| words.to_owned())
}

fn fitted(mut stem: &str, words: &str, extension: &str) -> Option<String> {
    loop {
        let whole = format!("{stem} {words}{extension}");
        if whole.len() <= LOCAL_NAME_BYTES_MAX && whole.chars().count() <= NAME_CHARS_MAX {
            return Some(whole);
        }
        let (last, _) = stem.char_indices().next_back()?;
        stem = &stem[..last];
    }
}

/// `2026-11-23` of milliseconds since 1970, UTC.
pub fn date(ms: i64) -> String {
    // Years begin in March here, so that the leap day is the last.
    let days = ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + i64::from(month <= 2))
}

/// This machine's name, as it stands in conflicted copies.
pub fn host() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().unwrap_or("this computer");
    let name: String = name.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')).take(60).collect();
    if name.is_empty() { "this computer".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicted_copies_are_named_after_host_and_day() {
        let copy = |name| conflicted(name, "ada", "2026-11-23", |_| true).unwrap();
        assert_eq!(copy("plan.tar.gz"), "plan.tar (ada's conflicted copy 2026-11-23).gz");
        assert_eq!(copy(".bashrc"), ".bashrc (ada's conflicted copy 2026-11-23)");
        let second = conflicted("a.txt", "ada", "2026-11-23", |name| name.contains(" 2)")).unwrap();
        assert_eq!(second, "a (ada's conflicted copy 2026-11-23 2).txt");
        let long = copy(&format!("{}.txt", "ü".repeat(120)));
        assert!(long.len() <= 255 && long.ends_with("ü (ada's conflicted copy 2026-11-23).txt"), "{long}");
        assert_eq!(conflicted("a", "ada", "d", |_| false), None);
    }

    #[test]
    fn dates_are_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_827_696_789), "2000-02-29");
        assert_eq!(date(1_795_392_000_000), "2026-11-23");
    }
}
