//! What applying entries brought about: outcomes for those who proposed, and news for those who watch.

use std::ops::Range;

pub use base::record::EntryKind;
use base::{Acct, Jid, LogIndex, Nsid, Term};

/// One committed entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    /// Its place in the group's log.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// The crc of its record.
    pub crc: u32,
    /// What the payload is.
    pub kind: EntryKind,
    /// Commands ([`crate::payload`]), a configuration, or nothing.
    pub payload: &'a [u8],
}

/// What one or more applied entries brought about; cleared and reused by the caller.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    advances: Vec<(Nsid, Jid)>,
    sweeps: Vec<Nsid>,
    revoked: Vec<(Nsid, Acct)>,
}

impl Applied {
    /// Empty again; keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
        self.advances.clear();
        self.sweeps.clear();
        self.revoked.clear();
    }

    /// The encoded outcomes, one per command in order of the commands.
    pub fn outcomes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The encoded outcome of the command at this place of the entry. Panics if there is none.
    #[must_use]
    pub fn outcome(&self, place: u32) -> &[u8] {
        &self.bytes[self.ranges[place as usize].clone()]
    }

    /// The namespaces whose journal moved, with the new heads; each once, ascending.
    #[must_use]
    pub fn advances(&self) -> &[(Nsid, Jid)] {
        &self.advances
    }

    /// The namespaces in which a folder was deleted: the leader proposes `Sweep` there until it says `has_more: false`.
    #[must_use]
    pub fn sweeps(&self) -> &[Nsid] {
        &self.sweeps
    }

    /// The namespaces that accounts were put out of: whoever watches one for such an account is told, and hears no more.
    #[must_use]
    pub fn revoked(&self) -> &[(Nsid, Acct)] {
        &self.revoked
    }

    /// Notes that a journal moved to `head`.
    pub fn note_advance(&mut self, nsid: Nsid, head: Jid) {
        match self.advances.binary_search_by_key(&nsid, |(nsid, _)| *nsid) {
            Ok(at) => self.advances[at].1 = head,
            Err(at) => self.advances.insert(at, (nsid, head)),
        }
    }

    pub(crate) fn note_sweep(&mut self, nsid: Nsid) {
        if let Err(at) = self.sweeps.binary_search(&nsid) {
            self.sweeps.insert(at, nsid);
        }
    }

    pub(crate) fn note_revoked(&mut self, nsid: Nsid, acct: Acct) {
        self.revoked.push((nsid, acct));
    }

    pub(crate) fn push_outcome(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        self.ranges.push(start..self.bytes.len());
    }
}
