//! How a command ends: its error as one line, and the exit code that scripts and supervisors read.

use std::fmt;
use std::process::ExitCode;

/// An error with an exit code of its own; all others exit with 1.
#[derive(Debug)]
pub struct Exit {
    code: server::exit::ExitCode,
    message: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// An error that ends the process with `code`.
pub fn exit(code: server::exit::ExitCode, message: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Exit { code, message: message.to_string() })
}

/// As [`exit`], for usage and configuration.
pub fn usage(message: impl fmt::Display) -> anyhow::Error {
    exit(server::exit::ExitCode::Usage, message)
}

/// Prints the error, if any, to stderr and gives the exit code.
pub fn report(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dropstone: {error:#}");
            match error.downcast_ref::<Exit>() {
                Some(exit) => exit.code.into(),
                None => ExitCode::FAILURE,
            }
        }
    }
}
