//! `result.json`: the schema as bytes, written and read, and the histograms inside it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde_json::Value;

use super::result::{BenchResult, SCHEMA};

/// The file in a result's directory.
pub const FILE: &str = "result.json";

/// A result file larger than this is not read: the largest real one is a hundredth of it.
const FILE_BYTES_MAX: u64 = 256 << 20;

const NAME: &str = "dropstone.bench.result/";

/// Why a result was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is not there, or the system refuses.
    #[error("could not read {path}: {error}; name a result.json or its directory", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is far too large.
    #[error("{path} has {bytes} bytes, no bench result has; is it the right file?", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Its text is no result.
    #[error("{path} is no bench result: {error}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: FormatError,
    },
}

/// Why bytes are no result.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, or a field has the wrong type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// JSON of something else.
    #[error("it has no `schema` that begins with {NAME}")]
    Schema,
    /// A newer major version.
    #[error(
        "its schema is {NAME}{found}, and this binary reads version 1; use the dropstone that wrote it, or a newer one"
    )]
    Newer {
        /// The major version it has.
        found: u32,
    },
}

/// `result` as JSON with two spaces of indent and a newline at the end.
///
/// # Panics
/// Never: the schema has string keys only.
#[must_use]
pub fn to_string(result: &BenchResult) -> String {
    let mut text = serde_json::to_string_pretty(result).expect("the schema has string keys only");
    text.push('\n');
    text
}

/// Reads a result.
///
/// Errors: a newer major version is refused; an unknown field is passed over, and a missing one has its default.
pub fn from_slice(bytes: &[u8]) -> Result<BenchResult, FormatError> {
    let value: Value = serde_json::from_slice(bytes)?;
    let schema = value.get("schema").and_then(Value::as_str).and_then(|schema| schema.strip_prefix(NAME));
    match schema.and_then(|major| major.parse::<u32>().ok()) {
        Some(1) => {}
        Some(found) if found > 1 => return Err(FormatError::Newer { found }),
        _ => return Err(FormatError::Schema),
    }
    let result: BenchResult = serde_json::from_value(value)?;
    Ok(BenchResult { schema: SCHEMA.to_owned(), ..result })
}

/// Reads the result at `path`: a file, or a directory with a `result.json`.
pub fn read(path: &Path) -> Result<BenchResult, ReadError> {
    let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
    let failed = |error| ReadError::File { path: path.clone(), error };
    let bytes = std::fs::metadata(&path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path, bytes });
    }
    let text = std::fs::read(&path).map_err(failed)?;
    from_slice(&text).map_err(|error| ReadError::Format { path, error })
}

/// A histogram as the schema keeps it: HdrHistogram V2, deflated, base64. Other tools decode it as it is.
///
/// # Panics
/// Never: a histogram in memory is small enough for the format, and writing to memory does not fail.
#[must_use]
pub fn encode_histogram(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing to memory does not fail");
    STANDARD.encode(bytes)
}

/// The histogram in `text`; `None` when it is empty or not one.
#[must_use]
pub fn decode_histogram(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
    Deserializer::new().deserialize(&mut &*bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        from_slice(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn a_newer_major_version_is_refused_with_what_to_do() {
        let said = refusal(r#"{"schema":"dropstone.bench.result/2","latency":7}"#);
        assert!(said.contains("result/2") && said.contains("a newer one"), "{said}");
    }

    #[test]
    fn other_json_and_no_json_are_refused() {
        for text in ["", "[]", "{}", r#"{"schema":"etcd"}"#, r#"{"schema":"dropstone.bench.result/x"}"#] {
            refusal(text);
        }
        let said = refusal(r#"{"schema":"dropstone.bench.result/1","seed":"no hex"}"#);
        assert!(said.contains("hex"), "{said}");
    }

    #[test]
    fn missing_fields_have_defaults_and_unknown_ones_are_passed_over() {
        let text = r#"{"schema":"dropstone.bench.result/1","seed":"ff","later":{"a":1},"mix":{"name":"sync","x":2}}"#;
        let result = from_slice(text.as_bytes()).expect("read");
        assert_eq!((result.seed, &*result.mix.name, result.mix.version), (255, "sync", 0));
        // A result that carries no verdict is worth nothing.
        assert_eq!(result.verdict.class, super::super::result::VerdictClass::Invalid);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let result = BenchResult { seed: u64::MAX, note: "a \"note\"".to_owned(), ..BenchResult::default() };
        assert_eq!(from_slice(to_string(&result).as_bytes()).expect("read"), result);
    }

    #[test]
    fn a_directory_stands_for_its_result() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(read(dir.path()).expect_err("nothing there").to_string().contains("result.json"));
        std::fs::write(dir.path().join(FILE), to_string(&BenchResult::default())).expect("written");
        assert_eq!(read(dir.path()).expect("read"), BenchResult::default());
    }

    #[test]
    fn histograms_come_back_equal_and_nonsense_does_not() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000_000_000, 3).expect("valid bounds");
        for value in [1, 1, 700, 1_000_000, 999_999_999_999] {
            histogram.record(value).expect("recorded");
        }
        assert_eq!(decode_histogram(&encode_histogram(&histogram)), Some(histogram));
        for text in ["", "%%%", "AAAA", "HISTFAAA"] {
            assert_eq!(decode_histogram(text), None, "{text}");
        }
    }
}
