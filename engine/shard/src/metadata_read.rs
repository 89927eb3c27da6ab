//! Reads of what is at a path, answered with its metadata as JSON and the version: what the memcached port gives out.

use base::bytes::get_u64;
use base::stages::OpClass;
use base::{Acct, GroupId, Jid, Nsid};
use meta::render::{self, Style};
use meta::{Answer, At, Entry, NodeKind, Query, Store, What};
use seglog::Disk;

use crate::group::Form;
use crate::{Shard, Ticket};

const HEADER_BYTES: usize = 16;

/// What is at a path; the numbers are those of memcached's flags, and of cached items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MetadataKind {
    /// A file.
    File = 1,
    /// A folder.
    Folder = 2,
    /// A mount, which is not followed.
    Mount = 3,
    /// Nothing.
    Absent = 4,
    /// More folders above it than one answer may walk.
    TooDeep = 5,
    /// The path breaks a rule of paths.
    Malformed = 6,
}

/// The body of a reply to [`Shard::handle_metadata`].
///
/// ```text
///  0 u8 kind   1 [7] zero   8 u64 as_of   16 JSON, of what is there
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetadataAnswer<'a> {
    /// What is there.
    pub kind: MetadataKind,
    /// The newest change that shaped the answer; for one path it never runs back.
    pub as_of: Jid,
    /// The object of `files/get_metadata`; empty where nothing is.
    pub json: &'a [u8],
}

impl<'a> MetadataAnswer<'a> {
    /// The answer in a body; `None` when it is none.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<MetadataAnswer<'a>> {
        use MetadataKind::{Absent, File, Folder, Malformed, Mount, TooDeep};
        let number = *body.first()?;
        let kind = [File, Folder, Mount, Absent, TooDeep, Malformed].into_iter().find(|kind| *kind as u8 == number)?;
        Some(MetadataAnswer { kind, as_of: Jid(get_u64(body, 8)?), json: body.get(HEADER_BYTES..)? })
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Takes a read of what is at a path of a namespace, `/a/b` or empty for the root: linearizable as
    /// [`Shard::handle_query`], asked by the system, answered with a [`MetadataAnswer`].
    pub fn handle_metadata(&mut self, ticket: Ticket, group: GroupId, nsid: Nsid, path: &str) {
        let Some(at) = self.local(group) else {
            let text = "no such group on this core";
            return self.replies.text(ticket, group, crate::Status::Malformed, text);
        };
        if self.holds_files(ticket, group) && self.may_wait(at, ticket) {
            let query = Query::Lookup(What::At(At::path(path)));
            self.join_query(ticket, at, (Acct(0), nsid), (query, Form::Metadata), OpClass::Get);
        }
    }
}

/// Where a read of this form looks.
pub(crate) fn path_asked(query: &Query) -> &At {
    match query {
        Query::Lookup(What::At(at)) => at,
        other => unreachable!("reads of metadata are made of a path above: {other:?}"),
    }
}

/// Appends a [`MetadataAnswer`]. Behind a mount nothing is in this namespace.
pub(crate) fn encode(answer: &Answer, as_of: Jid, out: &mut Vec<u8>) {
    let kind = match answer {
        Answer::Entry(entry) => match entry.meta.kind {
            NodeKind::File => MetadataKind::File,
            NodeKind::Folder => MetadataKind::Folder,
            NodeKind::Mount => MetadataKind::Mount,
        },
        Answer::TooLarge => MetadataKind::TooDeep,
        Answer::Malformed => MetadataKind::Malformed,
        _ => MetadataKind::Absent,
    };
    out.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&as_of.0.to_le_bytes());
    if let Answer::Entry(entry) = answer {
        render_json(entry, out);
    }
}

/// Appends the JSON of an answer.
pub(crate) fn render_json(entry: &Entry, out: &mut Vec<u8>) {
    render::metadata(entry, &Style { has_tag: true, ..Style::default() }, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_nothing_else_is_one() {
        let mut body = Vec::new();
        encode(&Answer::NotFound, Jid(7), &mut body);
        let absent = MetadataAnswer { kind: MetadataKind::Absent, as_of: Jid(7), json: b"" };
        assert_eq!(MetadataAnswer::parse(&body), Some(absent));
        (0..body.len()).for_each(|cut| assert_eq!(MetadataAnswer::parse(&body[..cut]), None, "cut at {cut}"));
        body[0] = 0;
        assert_eq!(MetadataAnswer::parse(&body), None);
    }
}
