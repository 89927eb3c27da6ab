//! How a file command fails: words for people, a code for scripts.

use std::fmt;

use blocks::BlockClientError;
use client::{ClientError, ConnectError};
use meta::{Answer, Outcome};

/// The exit code of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// Some were not done, or a local file is the reason.
    Failed,
    /// Arguments that make no sense.
    Usage,
    /// Not there.
    NotFound,
    /// Something else is there.
    Conflict,
    /// The cluster does not answer.
    Unreachable,
    /// Not allowed.
    Refused,
    /// Nobody reads stdout any more.
    OutputClosed,
}

impl Code {
    /// The number that the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Code::OutputClosed => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
            Code::Conflict => 4,
            Code::Unreachable => 5,
            Code::Refused => 6,
        }
    }
}

/// Why a command, or its work on one file, was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// For scripts.
    pub code: Code,
    /// For people: lower case, what and what next.
    pub message: String,
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Fail {
    /// A failure of that kind.
    pub fn new(code: Code, message: impl fmt::Display) -> Fail {
        Fail { code, message: message.to_string() }
    }

    /// A local file could not be read or written.
    pub fn local(path: &std::path::Path, error: impl fmt::Display) -> Fail {
        Fail::new(Code::Failed, format!("{}: {error}", path.display()))
    }

    /// Nothing is at a remote path.
    pub fn not_found(path: &str) -> Fail {
        Fail::new(Code::NotFound, format!("{}: not found", shown(path)))
    }

    /// The same failure, with the name it happened to before it.
    pub fn at(self, name: impl fmt::Display) -> Fail {
        Fail { code: self.code, message: format!("{name}: {}", self.message) }
    }

    /// What an outcome that is no success means for `path`.
    pub fn of_outcome(path: &str, outcome: &Outcome) -> Fail {
        let (code, what) = match outcome {
            Outcome::NotFound => (Code::NotFound, "not found".to_owned()),
            Outcome::Conflict { file_ancestor: true, .. } => {
                (Code::Conflict, "a file is where one of its folders should be".to_owned())
            }
            Outcome::Conflict { folder: true, .. } => (Code::Conflict, "a folder is there".to_owned()),
            Outcome::Conflict { .. } | Outcome::Exists { .. } => (Code::Conflict, "a file is there".to_owned()),
            Outcome::NotFile => (Code::Conflict, "it is not a file".to_owned()),
            Outcome::NotFolder => (Code::Conflict, "it is not a folder".to_owned()),
            Outcome::RevMismatch => (Code::Conflict, "it was changed meanwhile".to_owned()),
            Outcome::IntoItself => (Code::Conflict, "a folder cannot go into itself".to_owned()),
            Outcome::InvalidRev => (Code::NotFound, "there is no such revision".to_owned()),
            Outcome::NoAccess => (Code::Refused, "no access".to_owned()),
            Outcome::Quota { short_bytes } => {
                (Code::Refused, format!("over the quota by {short_bytes} bytes; remove something first"))
            }
            Outcome::TooLarge => (Code::Refused, "over a limit of the cluster".to_owned()),
            Outcome::BadContentHash => (Code::Refused, "blocks and content hash disagree".to_owned()),
            Outcome::Malformed => (Code::Refused, "the cluster finds it malformed".to_owned()),
            Outcome::NestedShare => (Code::Refused, "shared folders do not nest".to_owned()),
            Outcome::Elsewhere { .. } => {
                (Code::Refused, "it is inside a shared folder, which is not supported yet".to_owned())
            }
            other => (Code::Failed, format!("the cluster answered {other:?}")),
        };
        Fail::new(code, format!("{}: {what}", shown(path)))
    }

    /// What a flow that was refused means for `path`: of the outcome that refused it only the code is kept.
    pub fn of_code(path: &str, code: u8) -> Fail {
        let kind = match code {
            3 | 18 | 23 => Code::Conflict,
            6 => Code::NotFound,
            5 | 10 | 15 | 17 | 30 => Code::Refused,
            _ => Code::Failed,
        };
        Fail::new(kind, format!("{}: {}", shown(path), code_text(code)))
    }

    /// What an answer that is not the wanted one means for `path`.
    pub fn of_answer(path: &str, answer: &Answer) -> Fail {
        let (code, what) = match answer {
            Answer::NotFound => (Code::NotFound, "not found".to_owned()),
            Answer::NotFile => (Code::Conflict, "it is not a file".to_owned()),
            Answer::NotFolder => (Code::Conflict, "it is not a folder".to_owned()),
            Answer::NoAccess => (Code::Refused, "no access".to_owned()),
            Answer::Malformed => (Code::Refused, "the cluster finds it malformed".to_owned()),
            Answer::TooLarge => (Code::Refused, "over a limit of the cluster".to_owned()),
            Answer::Elsewhere { .. } => {
                (Code::Refused, "it is inside a shared folder, which is not supported yet".to_owned())
            }
            other => (Code::Failed, format!("the cluster answered {other:?}")),
        };
        Fail::new(code, format!("{}: {what}", shown(path)))
    }
}

/// The code of an outcome that refused a flow, in words.
pub fn code_text(code: u8) -> String {
    let text = match code {
        3 => "something else is at the target",
        5 => "over the quota; give it more room, or remove something first",
        6 => "not found, or deleted meanwhile",
        8 => "it is not a folder",
        10 => "no access",
        15 => "over a limit of the cluster, or it changed for longer than the journal is kept",
        16 => "a folder cannot go into itself",
        17 => "shared folders do not nest",
        18 => "it was changed while it was moved: it is in both places; compare them, and remove one",
        23 => "it is there already",
        30 => "the cluster finds it malformed",
        other => return format!("refused with code {other}"),
    };
    text.to_owned()
}

fn shown(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { super::print::printable(path) }
}

impl From<ConnectError> for Fail {
    fn from(error: ConnectError) -> Fail {
        let code = match &error {
            ConnectError::NoTarget | ConnectError::BadTarget { .. } => Code::Usage,
            ConnectError::Unreachable(_) => Code::Unreachable,
            _ => Code::Failed,
        };
        Fail::new(code, error)
    }
}

impl From<ClientError> for Fail {
    fn from(error: ClientError) -> Fail {
        let code = match &error {
            ClientError::TimedOut { .. } | ClientError::Unknown { .. } | ClientError::Unreachable { .. } => {
                Code::Unreachable
            }
            ClientError::Refused { .. } | ClientError::Malformed { .. } | ClientError::TooLarge { .. } => Code::Refused,
            _ => Code::Failed,
        };
        Fail::new(code, error)
    }
}

impl From<BlockClientError> for Fail {
    fn from(error: BlockClientError) -> Fail {
        let code = match &error {
            BlockClientError::NoServer | BlockClientError::Unreachable { .. } => Code::Unreachable,
            BlockClientError::Refused(_) => Code::Refused,
            _ => Code::Failed,
        };
        Fail::new(code, error)
    }
}

/// Output that cannot be written: a closed pipe is an end, anything else a failure.
impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Fail {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Fail::new(Code::OutputClosed, "nobody reads the output"),
            _ => Fail::new(Code::Failed, format!("could not write the output: {error}")),
        }
    }
}
