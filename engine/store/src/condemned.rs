//! Taking a damaged table out: nothing of it is read again, and no older version of a machine row comes back from below.
//!
//! The crate drops tables by ranges of keys. All that lies wholly between the damaged table's first and last key belongs to
//! groups that were dropped, so that whole span goes; then their machine rows are written anew. A crash between the two
//! would let older machine rows speak for rows that are gone, so a file beside the tree tells of the span until both are
//! done:
//!
//! ```text
//! DATA/store/c<core>.condemned
//! off  size  little-endian
//! 0    4     magic "DSCN"           4  2  version, 1        6  2  first_bytes
//! 8    2     last_bytes            10  2  reserved, 0      12     first key, last key
//! end  4     crc32c of all before
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base::{GroupId, checksum};
use lsm_tree::{AbstractTree as _, Guard as _, Slice};

use crate::key::{self, Life};
use crate::machine_row::{FLAG_REMOVED, MachineRow};
use crate::scrub::{Damage, read_back};
use crate::tree::{LATEST, Tree, TreeError, sync_dir};

const MAGIC: &[u8; 4] = b"DSCN";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 12;

/// The first and the last key of what goes, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
}

impl Span {
    fn encode(&self) -> Vec<u8> {
        let bytes = |key: &[u8]| u16::try_from(key.len()).expect("keys are shorter than 64 KiB").to_le_bytes();
        let mut out = Vec::with_capacity(HEAD_BYTES + self.first.len() + self.last.len() + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&bytes(&self.first));
        out.extend_from_slice(&bytes(&self.last));
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.first);
        out.extend_from_slice(&self.last);
        out.extend_from_slice(&checksum::crc32c(&out).to_le_bytes());
        out
    }

    /// `None`: not what this store writes.
    fn decode(bytes: &[u8]) -> Option<Span> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let (head, keys) = body.split_first_chunk::<HEAD_BYTES>()?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let is_ours = head[..4] == *MAGIC && u16_at(4) == VERSION && u16_at(10) == 0;
        if !is_ours || checksum::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (first, last) = keys.split_at_checked(usize::from(u16_at(6)))?;
        (last.len() == usize::from(u16_at(8))).then(|| Span { first: first.to_vec(), last: last.to_vec() })
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.first.as_slice() <= key && key <= self.last.as_slice()
    }

    /// Its first and last group; `None` for keys that are none.
    fn groups(&self) -> Option<(GroupId, GroupId)> {
        Some((key::split(&self.first)?.0, key::split(&self.last)?.0))
    }
}

impl From<&Damage> for Span {
    fn from(damage: &Damage) -> Span {
        let (first, last) = damage.keys.clone();
        Span { first, last }
    }
}

/// A row that says of a group: removed, and every life up to this one is over.
pub(crate) fn grave(life_high: Life) -> MachineRow {
    MachineRow { flags: FLAG_REMOVED, life: life_high, life_high, ..MachineRow::default() }
}

impl Tree {
    /// Drops every table inside the span and writes the graves of the groups that had rows there. For the writing thread,
    /// or before there is one: no table may be registered meanwhile.
    ///
    /// Errors: the next open finishes what was begun.
    pub(crate) fn condemn(&self, span: &Span, graves: &BTreeMap<GroupId, MachineRow>) -> Result<(), TreeError> {
        write_note(&self.note_path(), span)?;
        self.drop_span(span)?;
        self.bury(graves)?;
        remove_note(&self.note_path())?;
        Ok(())
    }

    /// Finishes what the last process began. Before anybody reads; the counter must be above every number in the tables.
    pub(crate) fn finish_condemned(&self) -> Result<(), TreeError> {
        read_note(&self.note_path())?.iter().try_for_each(|span| self.heal_span(span))
    }

    /// Machine rows met bytes that are not what was written: takes the damaged tables out.
    ///
    /// Errors: none of them is, so it is not the disk that is wrong.
    pub(crate) fn heal(&self, reason: String) -> Result<(), TreeError> {
        let found: Vec<Damage> = self.tables().iter().filter_map(read_back).collect();
        if found.is_empty() {
            return Err(TreeError::Corrupt(reason));
        }
        found.iter().try_for_each(|damage| self.heal_span(&Span::from(damage)))
    }

    /// As [`Tree::condemn`], when nobody knows yet which groups there are.
    fn heal_span(&self, span: &Span) -> Result<(), TreeError> {
        let Some((first, last)) = span.groups() else {
            return Err(TreeError::Corrupt("a table's first or last key is none".into()));
        };
        write_note(&self.note_path(), span)?;
        // Only the first group's machine row can lie before the span: then it says whether its rows are touched.
        let life = match span.holds(&key::machine(first)) {
            true => None,
            false => self.machine_row(first).ok().flatten().map(|row| if row.is_removed() { 0 } else { row.life }),
        };
        let damage = Damage { table: 0, keys: (span.first.clone(), span.last.clone()), reason: String::new() };
        let spares_first = life.is_some_and(|life| !damage.touches(first, life));
        self.drop_span(span)?;
        let found = self.survey(first, last)?;
        let graves = found.into_iter().filter(|(group, _)| !(spares_first && *group == first));
        self.bury(&graves.map(|(group, life_high)| (group, grave(life_high))).collect())?;
        remove_note(&self.note_path())?;
        Ok(())
    }

    /// The groups from `first` to `last` that have anything in the tables, each with the highest life that shows. Of later
    /// ones no row is left, so they may begin anew.
    fn survey(&self, first: GroupId, last: GroupId) -> Result<BTreeMap<GroupId, Life>, TreeError> {
        let mut found = BTreeMap::new();
        let mut next = Some(key::prefix(first, 0).to_vec());
        while let Some(start) = next {
            let Some((group, life)) = self.first_from(&start)?.filter(|(group, _)| *group <= last) else { break };
            let known = match life {
                0 => self.machine_row(group)?.map_or(0, |row| row.life_high),
                life => life,
            };
            let high: &mut Life = found.entry(group).or_insert(0);
            *high = known.max(*high);
            next = match high.checked_add(1) {
                Some(life) => Some(key::prefix(group, life).to_vec()),
                None => group.0.checked_add(1).map(|group| key::prefix(GroupId(group), 0).to_vec()),
            };
        }
        Ok(found)
    }

    /// Whose the first row from a key on is.
    fn first_from(&self, start: &[u8]) -> Result<Option<(GroupId, Life)>, TreeError> {
        let Some(row) = self.inner().range::<&[u8], _>(start.., LATEST, None).next() else { return Ok(None) };
        let (full, _) = row.into_inner()?;
        let split = key::split(&full).map(|(group, life, _)| (group, life));
        split.map(Some).ok_or_else(|| TreeError::Corrupt(format!("a key of {} bytes", full.len())))
    }

    fn machine_row(&self, group: GroupId) -> Result<Option<MachineRow>, TreeError> {
        let Some(value) = self.inner().get(key::machine(group), LATEST)? else { return Ok(None) };
        let decoded = MachineRow::decode(&value);
        let (row, _) = decoded.map_err(|error| TreeError::Corrupt(format!("machine row of group {group}: {error}")))?;
        Ok(Some(row))
    }

    fn drop_span(&self, span: &Span) -> Result<(), TreeError> {
        self.inner().drop_range::<&[u8], _>(span.first.as_slice()..=span.last.as_slice())?;
        self.show();
        Ok(())
    }

    /// Writes machine rows, durably.
    pub(crate) fn bury(&self, graves: &BTreeMap<GroupId, MachineRow>) -> Result<(), TreeError> {
        let seqno = self.next_seqno();
        let row = |(group, row): (&GroupId, &MachineRow)| {
            (Slice::from(key::machine(*group).as_slice()), Some(Slice::from(row.encode(seqno).as_slice())))
        };
        let tables = self.write_tables(seqno, graves.iter().map(row))?;
        if tables.is_empty() {
            return Ok(());
        }
        match tables.iter().find_map(read_back) {
            Some(damage) => Err(TreeError::Corrupt(damage.reason)),
            None => self.register(&tables, None),
        }
    }

    /// Beside the tree: in it the crate takes foreign files for damage.
    fn note_path(&self) -> PathBuf {
        self.dir().with_extension("condemned")
    }
}

fn write_note(path: &Path, span: &Span) -> io::Result<()> {
    let made = path.with_extension("condemned-new");
    let mut file = File::create(&made)?;
    file.write_all(&span.encode())?;
    file.sync_all()?;
    std::fs::rename(&made, path)?;
    sync_dir(path.parent().expect("a store lies in a directory"))
}

/// `None` without one. One that is not whole was never synced, so nothing was begun.
fn read_note(path: &Path) -> io::Result<Option<Span>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Span::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_note(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    sync_dir(path.parent().expect("a store lies in a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_the_bytes_of_the_design_and_other_bytes_are_none() {
        let span = Span { first: vec![0, 0, 0, 1, 0, 2, 0x10], last: vec![0, 0, 0, 3, 0, 0, 0, 9] };
        let bytes = span.encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "4453434e0100070008000000000000010002100000000300000009434b4244");
        assert_eq!(Span::decode(&bytes), Some(span));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(Span::decode(&other), None, "byte {at}");
            assert_eq!(Span::decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
