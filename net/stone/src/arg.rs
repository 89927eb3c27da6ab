//! Arguments: JSON that is read field by field. Unknown fields are ignored, a missing optional one has its default.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// JSON nests so deep at most.
pub const DEPTH_MAX: usize = 32;
/// Members of one object at most.
const MEMBERS_MAX: usize = 1024;

/// An argument, or an object in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    fields: Map<String, Value>,
    /// Where it is, for messages: `request body` or below.
    place: String,
}

/// A value of a union.
#[derive(Clone, Debug, PartialEq)]
pub struct Union {
    /// Which member.
    pub tag: String,
    /// All its fields; a bare string has none.
    pub fields: Arg,
}

impl Arg {
    /// Reads bytes. Nothing, and `null`, is a void argument.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn parse(bytes: &[u8]) -> Result<Arg, ApiError> {
        let place = "request body".to_owned();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Arg { fields: Map::new(), place });
        }
        if depth(bytes) > DEPTH_MAX {
            return Err(ApiError::Bad(format!("request body: nests deeper than {DEPTH_MAX}")));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Arg::within(fields, place),
            Ok(Value::Null) => Ok(Arg { fields: Map::new(), place }),
            Ok(_) => Err(ApiError::Bad("request body: expected object".to_owned())),
            Err(_) => Err(ApiError::Bad("request body: could not decode input as JSON".to_owned())),
        }
    }

    fn within(fields: Map<String, Value>, place: String) -> Result<Arg, ApiError> {
        if fields.len() > MEMBERS_MAX {
            return Err(ApiError::Bad(format!("{place}: more than {MEMBERS_MAX} members")));
        }
        Ok(Arg { fields, place })
    }

    /// An error about one of its fields.
    #[must_use]
    pub fn bad(&self, field: &str, what: &str) -> ApiError {
        ApiError::Bad(format!("{}: {field}: {what}", self.place))
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ApiError> {
        value.ok_or_else(|| ApiError::Bad(format!("{}: missing required field '{name}'", self.place)))
    }

    /// It has this field, and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// A text, if there is one.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(name, "expected string")),
        }
    }

    /// A text that must be there.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn text(&self, name: &str) -> Result<&str, ApiError> {
        let text = self.opt_text(name)?;
        self.required(name, text)
    }

    /// True or false.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.field(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.bad(name, "expected boolean")),
        }
    }

    /// A number within bounds, if there is one.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ApiError> {
        match self.field(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if min <= number && number <= max => Ok(Some(number)),
                _ => Err(self.bad(name, &format!("expected integer from {min} to {max}"))),
            },
        }
    }

    /// A number within bounds that must be there.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn number(&self, name: &str, min: u64, max: u64) -> Result<u64, ApiError> {
        let number = self.opt_number(name, min, max)?;
        self.required(name, number)
    }

    /// A flag, if there is one.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        if self.has(name) { self.flag(name, false).map(Some) } else { Ok(None) }
    }

    /// A time, milliseconds since 1970, if there is one.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let wrong = || self.bad(name, "expected a time like 2015-05-12T15:50:38Z");
        self.opt_text(name)?.map(|text| crate::stamp::parse(text).ok_or_else(wrong)).transpose()
    }

    /// A member of a union, if there is one: an object with a tag, or the tag alone.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_union(&self, name: &str) -> Result<Option<Union>, ApiError> {
        let place = || format!("{}: {name}", self.place);
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(tag)) => {
                Ok(Some(Union { tag: tag.clone(), fields: Arg { fields: Map::new(), place: place() } }))
            }
            Some(Value::Object(fields)) => match fields.get(".tag") {
                Some(Value::String(tag)) => {
                    Ok(Some(Union { tag: tag.clone(), fields: Arg::within(fields.clone(), place())? }))
                }
                _ => Err(self.bad(name, "missing '.tag' key")),
            },
            Some(_) => Err(self.bad(name, "expected a union")),
        }
    }

    /// An object, if there is one.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn opt_object(&self, name: &str) -> Result<Option<Arg>, ApiError> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Arg::within(fields.clone(), format!("{}: {name}", self.place)).map(Some),
            Some(_) => Err(self.bad(name, "expected object")),
        }
    }

    /// An object that must be there.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn object(&self, name: &str) -> Result<Arg, ApiError> {
        let object = self.opt_object(name)?;
        self.required(name, object)
    }

    /// A list of objects with at least `min` and at most `max`.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn objects(&self, name: &str, min: usize, max: usize) -> Result<Vec<Arg>, ApiError> {
        let object = |(value, at): (&Value, usize)| match value {
            Value::Object(fields) => Arg::within(fields.clone(), format!("{}: {name}: {at}", self.place)),
            _ => Err(self.bad(name, "expected list of objects")),
        };
        self.list(name, min, max)?.iter().zip(0..).map(object).collect()
    }

    /// A list of texts with at least `min` and at most `max`.
    ///
    /// Errors: [`ApiError::Bad`].
    pub fn texts(&self, name: &str, min: usize, max: usize) -> Result<Vec<&str>, ApiError> {
        let text = |value: &'_ Value| value.as_str().is_some();
        let list = self.list(name, min, max)?;
        if !list.iter().all(text) {
            return Err(self.bad(name, "expected list of strings"));
        }
        Ok(list.iter().filter_map(Value::as_str).collect())
    }

    fn list(&self, name: &str, min: usize, max: usize) -> Result<&[Value], ApiError> {
        match self.required(name, self.field(name))? {
            Value::Array(list) if (min..=max).contains(&list.len()) => Ok(list),
            Value::Array(_) => Err(self.bad(name, &format!("expected {min} to {max} items"))),
            _ => Err(self.bad(name, "expected list")),
        }
    }
}

/// How deep JSON nests, without reading it otherwise.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(text: &str) -> Arg {
        Arg::parse(text.as_bytes()).expect("it is an argument")
    }

    #[test]
    fn a_void_argument_is_null_or_nothing() {
        assert_eq!(arg("null"), arg(""));
        assert!(Arg::parse(b"[]").is_err() && Arg::parse(b"{").is_err() && Arg::parse(b"\xff").is_err());
    }

    #[test]
    fn fields_have_their_kinds_and_defaults() {
        let arg = arg(r#"{"path":"/a","recursive":true,"limit":5,"none":null,"mode":{".tag":"update","update":"r"},
            "short":"add","entries":[{"path":"/b"}],"time":"2015-05-12T15:50:38Z","unknown":[1]}"#);
        assert_eq!(arg.text("path"), Ok("/a"));
        assert_eq!((arg.flag("recursive", false), arg.flag("other", true)), (Ok(true), Ok(true)));
        assert_eq!(arg.opt_number("limit", 1, 2000), Ok(Some(5)));
        assert_eq!(arg.opt_text("none"), Ok(None));
        let mode = arg.opt_union("mode").unwrap().unwrap();
        assert_eq!((mode.tag.as_str(), mode.fields.text("update")), ("update", Ok("r")));
        assert_eq!(arg.opt_union("short").unwrap().unwrap().tag, "add");
        assert_eq!(arg.objects("entries", 0, 5).unwrap()[0].text("path"), Ok("/b"));
        assert_eq!(arg.opt_time("time"), Ok(Some(1_431_445_838_000)));
    }

    #[test]
    fn errors_say_where() {
        let arg = arg(r#"{"path":1,"limit":0,"entries":[{}],"mode":{}}"#);
        let bad = |text: &str| ApiError::Bad(text.to_owned());
        assert_eq!(arg.text("path"), Err(bad("request body: path: expected string")));
        assert_eq!(arg.text("cursor"), Err(bad("request body: missing required field 'cursor'")));
        assert_eq!(arg.opt_number("limit", 1, 2000), Err(bad("request body: limit: expected integer from 1 to 2000")));
        assert_eq!(
            arg.objects("entries", 1, 1).unwrap()[0].text("path"),
            Err(bad("request body: entries: 0: missing required field 'path'"))
        );
        assert!(arg.opt_union("mode").is_err());
        assert!(arg.objects("entries", 2, 3).is_err());
    }

    #[test]
    fn what_nests_too_deep_is_not_read() {
        let nest = |n: usize| format!("{}{}", r#"{"a":"#.repeat(n), "1") + &"}".repeat(n);
        assert!(Arg::parse(nest(DEPTH_MAX).as_bytes()).is_ok());
        assert!(Arg::parse(nest(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(Arg::parse(br#"{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[["}"#).is_ok());
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("\"{n}\":1")).collect();
        assert!(Arg::parse(format!("{{{}}}", many.join(",")).as_bytes()).is_err());
    }
}
