//! How the program ends: one line, and the exit code that scripts read (docs/design/bench.md, "Comparing").

use std::fmt;
use std::process::ExitCode;

/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A target or peer is not there.
pub const UNAVAILABLE: u8 = 69;
/// SIGINT or SIGTERM came.
pub const INTERRUPTED: u8 = 130;

/// An error with an exit code of its own; all others end with 1.
#[derive(Debug)]
struct Exit {
    code: u8,
    message: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// An error that ends the program with `code`.
pub fn exit(code: u8, message: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Exit { code, message: message.to_string() })
}

/// The code of an error.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Exit>().map_or(1, |exit| exit.code)
}

/// Prints the error, if any, and gives the exit code.
pub fn report(done: anyhow::Result<u8>) -> ExitCode {
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("dropstone-compare: {error:#}");
            code_of(&error).into()
        }
    }
}
