//! Fields in a query string or a form body: `a=1&b=%20`.

/// Fields at most.
const FIELDS_MAX: usize = 64;

/// The fields of a query or form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads it; what cannot be read is left out, and so is what comes after the 64th field.
    #[must_use]
    pub fn parse(text: &str) -> Form {
        let field = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name)?, unescape(value)?))
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(FIELDS_MAX);
        Form { fields: pairs.filter_map(field).collect() }
    }

    /// A field that is there and not empty; the first one of its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name && !field.1.is_empty()).map(|field| field.1.as_str())
    }

    /// With the fields of another one behind its own.
    #[must_use]
    pub fn and(mut self, other: Form) -> Form {
        self.fields.extend(other.fields);
        self
    }
}

/// `%41` and `+` become what they stand for.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
                digit(left.next()?)? << 4 | digit(left.next()?)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A text as it may stand in a path or query.
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            // Writing to a String cannot fail.
            byte => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_written() {
        let form = Form::parse("a=1+2&b=%c3%A9&empty=&bad=%zz&a=3&cut=%4");
        assert_eq!((form.get("a"), form.get("b")), (Some("1 2"), Some("é")));
        assert_eq!((form.get("empty"), form.get("bad"), form.get("cut")), (None, None, None));
        let text = "a b/é&=";
        assert_eq!(Form::parse(&format!("x={}", escape(text))).get("x"), Some(text));
    }

    #[test]
    fn there_is_a_bound() {
        let many: Vec<String> = (0..100).map(|n| format!("f{n}=1")).collect();
        let form = Form::parse(&many.join("&"));
        assert!(form.get("f63").is_some() && form.get("f64").is_none());
    }
}
