//! Golden files: `tests/golden/<name>.txt`, one line `name: hex` per layout; `UPDATE_EXPECT=1` rewrites them.

use std::fmt::Write;
use std::path::PathBuf;

/// Compares lines with the golden file of this name.
pub(crate) fn check(file: &str, lines: &[(String, Vec<u8>)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{file}.txt"));
    let mut text = String::new();
    for (name, bytes) in lines {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
            hex
        });
        writeln!(text, "{name}: {hex}").expect("writing to a string cannot fail");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the golden directory is writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, wanted) in text.lines().zip(golden.lines()) {
        assert_eq!(line, wanted, "{}: run with UPDATE_EXPECT=1 if the format was meant to change", path.display());
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{}", path.display());
}
