//! A file commit as a key-value store can hold it: two keys, the file's row and the row of the journal.
//!
//! ```text
//! RUN/NS/PATH          the file's row      size u64 | mtime i64 | put_at u64 | content hash 32 | 32 for each block
//! RUN/j/NS[/OP]        the journal's row   op u64 | size u64 | mtime i64
//! RUN/NS/FOLDER//NAME  the same file where folders are listed, as a mix of all kinds does
//! RUN/a/NS/PATH        attributes, there       mtime i64
//! ```
//! Numbers are little-endian. Rows hold what our command carries (docs/design/bench.md, "Peers"); ours also check the folder,
//! count the blocks' references and the quota, and number the journal's rows without gaps, which no peer does.

use load::content::Contents;
use load::driver::Answer;
use load::judge::first_8;
use load::op::{Op, OpKind, Writer};

const FIXED_BYTES: usize = 8 + 8 + 8 + 32;

/// Makes keys and rows in memory that is used again.
#[derive(Debug)]
pub struct Work {
    run: String,
    contents: Contents,
    /// The file's key.
    pub key: Vec<u8>,
    /// The file's row.
    pub row: Vec<u8>,
    /// The journal's key.
    pub journal_key: Vec<u8>,
    /// The journal's row.
    pub journal_row: Vec<u8>,
}

/// Whether a journal is one key with many rows, or each row has a key of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Journal {
    /// A list.
    List,
    /// A key for each row.
    Keys,
}

impl Work {
    /// Of a run, whose name tells its keys from all others. Contents are those of `seed`.
    #[must_use]
    pub fn new(run: &str, seed: u64) -> Work {
        let (key, row, journal_key, journal_row) = Default::default();
        Work { run: run.to_owned(), contents: Contents::new(seed), key, row, journal_key, journal_row }
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Fills in the key of the file of `op`.
    pub fn fill_key(&mut self, op: &Op) {
        self.key.clear();
        put(&mut self.key, format_args!("{}/{}{}", self.run, op.namespace, op.path));
    }

    /// Fills in keys and rows of a put; blocks are put at `wall_ms`.
    pub fn fill(&mut self, op: &Op, wall_ms: u64, journal: Journal) {
        debug_assert_eq!(op.kind, OpKind::Put, "a comparison puts files");
        self.fill_key(op);
        self.fill_row(op.writer, op.size, wall_ms);
        self.fill_journal(op, journal);
    }

    /// Fills in the row of a file that `writer` wrote.
    pub fn fill_row(&mut self, writer: Writer, size: u64, wall_ms: u64) {
        self.row.clear();
        for number in [size, writer.0, wall_ms] {
            self.row.extend_from_slice(&number.to_le_bytes());
        }
        self.row.extend_from_slice(&self.contents.hash(writer, size));
        for block in 0..Contents::blocks(size) {
            self.row.extend_from_slice(&self.contents.block(writer, block).0);
        }
    }

    /// Fills in key and row of the journal.
    pub fn fill_journal(&mut self, op: &Op, journal: Journal) {
        self.journal_key.clear();
        put(&mut self.journal_key, format_args!("{}/j/{}", self.run, op.namespace));
        if journal == Journal::Keys {
            put(&mut self.journal_key, format_args!("/{:016x}", op.index));
        }
        self.journal_row.clear();
        for number in [op.index, op.size, op.writer.0] {
            self.journal_row.extend_from_slice(&number.to_le_bytes());
        }
    }
}

impl Work {
    /// Makes paths of one level of both keys, for a store whose nodes have parents: `/RUN:NS:...`.
    pub fn flatten(&mut self) {
        for key in [&mut self.key, &mut self.journal_key] {
            key.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b':');
            key.insert(0, b'/');
        }
    }
}

/// The key of an entry where folders are listed, `RUN/NS/FOLDER//NAME`: those of a folder begin alike and no others do.
pub fn put_entry_key(run: &str, namespace: u32, path: &str, out: &mut Vec<u8>) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    put(out, format_args!("{run}/{namespace}{folder}//{name}"));
}

/// What the keys of all entries of a folder begin with.
pub fn put_folder_key(run: &str, namespace: u32, folder: &str, out: &mut Vec<u8>) {
    put(out, format_args!("{run}/{namespace}{folder}//"));
}

/// What a file's row says; `None` when it is none.
#[must_use]
pub fn read_row(row: &[u8], rev: u64) -> Option<Answer> {
    let size = u64::from_le_bytes(*row.first_chunk()?);
    let hash: &[u8; 32] = row.get(24..FIXED_BYTES)?.try_into().ok()?;
    let is_whole = row.len() - FIXED_BYTES == 32 * usize::try_from(size.div_ceil(base::limits::BLOCK_BYTES)).ok()?;
    is_whole.then(|| Answer::File { rev, size, content: first_8(hash) })
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    out.write_fmt(text).expect("a vector takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_put() {
        let op = Op { index: 5, namespace: 7, path: "/a/b".into(), size: 4096, writer: Writer(5), ..Op::default() };
        let mut work = Work::new("r1", 3);
        work.fill(&op, 1_000, Journal::Keys);
        assert_eq!((&work.key[..], &work.journal_key[..]), (&b"r1/7/a/b"[..], &b"r1/j/7/0000000000000005"[..]));
        assert_eq!((work.row.len(), work.journal_row.len()), (88, 24));
        let content = first_8(&Contents::new(3).hash(Writer(5), 4096));
        assert_eq!(read_row(&work.row, 9), Some(Answer::File { rev: 9, size: 4096, content }));
        assert_eq!(read_row(&work.row[..87], 9), None);
        assert_eq!(read_row(b"x", 9), None);
        let (mut entry, mut folder) = (Vec::new(), Vec::new());
        put_entry_key("r1", 7, "/a/b", &mut entry);
        put_folder_key("r1", 7, "/a", &mut folder);
        assert_eq!((&entry[..], &folder[..]), (&b"r1/7/a//b"[..], &b"r1/7/a//"[..]));
        work.fill(&op, 1_000, Journal::List);
        assert_eq!(work.journal_key, b"r1/j/7");
        work.flatten();
        assert_eq!((&work.key[..], &work.journal_key[..]), (&b"/r1:7:a:b"[..], &b"/r1:j:7"[..]));
    }
}
