//! Small texts of the command line: `name(1,2)`, times, rates and sizes.

use base::Span;

/// Why a text is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?}: {what}")]
pub struct ParseError {
    text: String,
    what: String,
}

impl ParseError {
    /// `text` is wrong in this way.
    pub fn new(text: &str, what: impl Into<String>) -> ParseError {
        ParseError { text: text.to_owned(), what: what.into() }
    }
}

/// `name` or `name(a,b)`.
pub(crate) struct Call<'a> {
    text: &'a str,
    name: &'a str,
    arguments: Vec<&'a str>,
}

impl<'a> Call<'a> {
    pub fn parse(text: &'a str) -> Result<Call<'a>, ParseError> {
        let Some((name, rest)) = text.split_once('(') else {
            return Ok(Call { text, name: text.trim(), arguments: Vec::new() });
        };
        let Some(inside) = rest.strip_suffix(')') else {
            return Err(ParseError::new(text, "has ( without a ) at its end"));
        };
        let arguments = inside.split(',').map(str::trim).collect();
        Ok(Call { text, name: name.trim(), arguments })
    }

    pub fn name(&self) -> &'a str {
        self.name
    }

    pub fn count(&self) -> usize {
        self.arguments.len()
    }

    /// `value`, if there are no arguments.
    pub fn none<T>(&self, value: T) -> Result<T, ParseError> {
        if self.arguments.is_empty() { Ok(value) } else { Err(self.wrong(&format!("{} takes no numbers", self.name))) }
    }

    /// The arguments as numbers; times are in seconds.
    pub fn numbers<const N: usize>(&self, form: &str) -> Result<[f64; N], ParseError> {
        if self.arguments.len() != N {
            return Err(self.wrong(&format!("is written {form}")));
        }
        let mut numbers = [0.0; N];
        for (number, text) in numbers.iter_mut().zip(&self.arguments) {
            *number = number_of(text).ok_or_else(|| self.wrong(&format!("{text:?} is no number, as in {form}")))?;
        }
        Ok(numbers)
    }

    pub fn unknown(&self, what: &str, known: &str) -> ParseError {
        self.wrong(&format!("there is no such {what}; known are {known}"))
    }

    pub fn wrong(&self, what: &str) -> ParseError {
        ParseError::new(self.text, what)
    }
}

/// A plain number, or a time in seconds.
fn number_of(text: &str) -> Option<f64> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(number),
        Ok(_) => None,
        Err(_) => parse_span(text).ok().map(|span| span.0 as f64 / 1e9),
    }
}

/// A time: `30s`, `1.5s`, `250ms`, `80us`, `2m`, `1h`; a bare number is seconds.
///
/// Errors: [`ParseError`], also for one that is negative or above 30 days.
pub fn parse_span(text: &str) -> Result<Span, ParseError> {
    let wrong = || ParseError::new(text, "is no time; write 30s, 250ms, 80us or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" | "s" => number,
        "ns" => number / 1e9,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    if !(0.0..=2_592_000.0).contains(&seconds) {
        return Err(ParseError::new(text, "is above 30 days; write a shorter time"));
    }
    Ok(Span((seconds * 1e9).round() as u64))
}

/// A rate or count: `20000`, `20k`, `1.5M`.
///
/// Errors: [`ParseError`], also for 0 and what is not finite.
pub fn parse_rate(text: &str) -> Result<f64, ParseError> {
    let text = text.trim_end_matches("/s");
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value * factor),
        _ => Err(ParseError::new(text, "is no rate above 0; write 500, 20k or 1.5M")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        for (text, ns) in [("30s", 30_000_000_000), ("1.5", 1_500_000_000), ("80us", 80_000), ("2m", 120_000_000_000)] {
            assert_eq!(parse_span(text), Ok(Span(ns)), "{text}");
        }
        for text in ["", "s", "3 s", "-1s", "1d", "99999h", "1..2s"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_may_be_short() {
        assert_eq!(parse_rate("20k"), Ok(20_000.0));
        assert_eq!(parse_rate("1.5M/s"), Ok(1_500_000.0));
        for text in ["0", "-3", "k", "inf", "1e999", ""] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
