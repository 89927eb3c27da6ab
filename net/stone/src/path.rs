//! Paths in arguments: `/a/b`, `id:...`, `rev:...`, `ns:123/a`, and the empty one for the root.

use base::names::normalize_path;
use base::{Nsid, TreeNode};
use meta::{At, Rev};

use crate::ids::parse_file_id;

/// What a path argument names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathArg {
    /// From the path root, normalised; empty is the root itself.
    Path(String),
    /// A file or folder by its id.
    Id(Nsid, TreeNode),
    /// A revision of a file.
    Rev(Rev),
    /// From the root of a namespace, normalised.
    Ns(Nsid, String),
}

/// Which forms a route takes, beside paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathKinds {
    /// `id:`.
    pub id: bool,
    /// `rev:`.
    pub rev: bool,
}

impl PathKinds {
    /// What is read: `/...`, `id:`, `rev:`, `ns:`.
    pub const READ: PathKinds = PathKinds { id: true, rev: true };
    /// What is written to, or listed: `/...`, `id:`, `ns:`.
    pub const WRITE_OR_ID: PathKinds = PathKinds { id: true, rev: false };
    /// What is made: `/...`, `ns:`.
    pub const WRITE: PathKinds = PathKinds { id: false, rev: false };
}

/// A text is no path; the route answers `malformed_path` in its own wrapper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl PathArg {
    /// Parses and normalises.
    ///
    /// Errors: [`Malformed`].
    pub fn parse(text: &str, kinds: PathKinds) -> Result<PathArg, Malformed> {
        let normal = |path: &str| normalize_path(path).map(|path| path.into_owned()).map_err(|_| Malformed);
        if text.starts_with("id:") {
            let (nsid, node) = parse_file_id(text).filter(|_| kinds.id).ok_or(Malformed)?;
            return Ok(PathArg::Id(nsid, node));
        }
        if let Some(rev) = text.strip_prefix("rev:") {
            return rev.parse().ok().filter(|_| kinds.rev).map(PathArg::Rev).ok_or(Malformed);
        }
        if let Some(rest) = text.strip_prefix("ns:") {
            let (digits, path) = rest.split_once('/').map_or((rest, ""), |(digits, _)| (digits, &rest[digits.len()..]));
            return Ok(PathArg::Ns(parse_nsid(digits).ok_or(Malformed)?, normal(path)?));
        }
        normal(text).map(PathArg::Path)
    }

    /// Where it leads at first: a namespace and a place in it. `base`: the path root. A revision has no place.
    #[must_use]
    pub fn place(&self, base: Nsid) -> Option<(Nsid, At)> {
        match self {
            PathArg::Path(path) => Some((base, At::path(path))),
            PathArg::Id(nsid, node) => Some((*nsid, At::node(*node))),
            PathArg::Ns(nsid, path) => Some((*nsid, At::path(path))),
            PathArg::Rev(_) => None,
        }
    }

    /// It is the path root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        matches!(self, PathArg::Path(path) if path.is_empty())
    }
}

/// The number of a namespace: decimal digits.
#[must_use]
pub fn parse_nsid(text: &str) -> Option<Nsid> {
    let is_number = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(Nsid)).flatten()
}

#[cfg(test)]
mod tests {
    use base::Jid;

    use super::*;

    fn read(text: &str) -> Result<PathArg, Malformed> {
        PathArg::parse(text, PathKinds::READ)
    }

    fn path(text: &str) -> Result<PathArg, Malformed> {
        Ok(PathArg::Path(text.to_owned()))
    }

    #[test]
    fn every_form_is_read_and_normalised() {
        assert_eq!(read(""), path(""));
        assert_eq!(read("/"), path(""));
        assert_eq!(read("//a//b"), path("/a/b"), "rclone sends this");
        assert_eq!(read("/A\u{308}"), path("/\u{c4}"));
        assert_eq!(read("ns:10000000017"), Ok(PathArg::Ns(Nsid(10_000_000_017), String::new())));
        assert_eq!(read("ns:10000000017/x/y"), Ok(PathArg::Ns(Nsid(10_000_000_017), "/x/y".to_owned())));
        assert_eq!(read("id:AAAAAlQL5AEAAAAAAAAABw"), Ok(PathArg::Id(Nsid(10_000_000_001), TreeNode(7))));
        let rev = Rev { nsid: Nsid(10_000_000_001), jid: Jid(5) };
        assert_eq!(read(&format!("rev:{rev}")), Ok(PathArg::Rev(rev)));
    }

    #[test]
    fn what_breaks_a_rule_is_malformed() {
        let long = format!("/{}", "x".repeat(256));
        for bad in ["a", "/a\\b", "/a\0", "/..", "/a /b", "ns:", "ns:x/a", "ns:1x", "rev:12", "id:zz", "id:", &long] {
            assert_eq!(read(bad), Err(Malformed), "{bad:?}");
        }
        assert_eq!(PathArg::parse("id:AAAAAlQL5AEAAAAAAAAABw", PathKinds::WRITE), Err(Malformed));
        assert_eq!(PathArg::parse(&format!("rev:{}", "0".repeat(31)), PathKinds::WRITE_OR_ID), Err(Malformed));
    }
}
