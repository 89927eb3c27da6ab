//! What the core asks of its threads, and what they answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::GroupId;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use meta::Machine;

use crate::condemned::Span;
use crate::key::Life;
use crate::machine_row::MachineRow;
use crate::memtable::Memtable;
use crate::packed::Packed;
use crate::range_reads::Missing;
use crate::scrub::Damage;
use crate::tables::TableSet;

/// Jobs in one queue; more wait on the core's side.
const JOBS_MAX: usize = 1024;
/// Events that wait for the core; then the threads wait for it.
pub(crate) const EVENTS_MAX: usize = 1024;

/// For the reading thread.
pub(crate) enum ReadJob {
    /// Read these keys (without group and life) and ranges (named by their place in the prefetch).
    Prefetch {
        seq: u64,
        group: GroupId,
        life: Life,
        keys: Vec<Vec<u8>>,
        ranges: Vec<(u32, Missing)>,
    },
    /// A snapshot: the tables below `seqno`, under the memtables of that instant, newest first.
    SnapshotBegin {
        snapshot: u64,
        group: GroupId,
        life: Life,
        seqno: u64,
        memtables: Vec<Arc<Memtable>>,
    },
    SnapshotRead {
        snapshot: u64,
        part: u32,
    },
    SnapshotEnd {
        snapshot: u64,
    },
    /// The core has newer tables. Whoever is the last to let go of a table removes its file; not on the core, and not
    /// where a full disk is waited for.
    Forget(Arc<TableSet>),
}

/// For the writing thread.
pub(crate) enum WriteJob {
    Flush {
        id: u64,
        memtable: Arc<Memtable>,
    },
    /// Takes the parts of a snapshot into a new life; drops a half one of the group.
    InstallBegin {
        group: GroupId,
        install: u64,
        life: Life,
        machine: Box<Machine>,
    },
    InstallPart {
        group: GroupId,
        install: u64,
        body: Vec<u8>,
        last: bool,
    },
    /// Takes a damaged table out; its groups were dropped, and these are their machine rows.
    Condemn {
        table: u64,
        span: Span,
        graves: BTreeMap<GroupId, MachineRow>,
    },
    /// Freeing the nodes of a memtable takes milliseconds; not on the core.
    Dispose(Box<Memtable>),
}

/// For the compacting thread.
pub(crate) enum CompactJob {
    /// Tables were added.
    Kick,
    /// No reader will begin in a life of this group before this one.
    DropLivesBefore { group: GroupId, life: Life },
    /// This damaged table is out of the tree.
    Gone { table: u64 },
}

/// Rows of one range of a prefetch.
pub(crate) struct RangeDone {
    pub(crate) at: u32,
    pub(crate) rows: Packed,
    pub(crate) complete: bool,
}

/// What a thread finished.
pub(crate) enum Done {
    Prefetched {
        seq: u64,
        keys: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ranges: Vec<RangeDone>,
    },
    SnapshotPart {
        snapshot: u64,
        part: u32,
        body: Vec<u8>,
        last: bool,
    },
    Flushed {
        id: u64,
    },
    Installed {
        group: GroupId,
        life: Life,
        machine: Box<Machine>,
    },
    InstallFailed {
        group: GroupId,
        install: u64,
        reason: String,
    },
    Damaged(Damage),
    /// A damaged table is out of the tree, and that its groups were dropped is durable.
    Condemned {
        table: u64,
        groups: Vec<GroupId>,
    },
    Failed {
        reason: String,
    },
}

/// The core's end of a bounded queue: it never waits, what does not fit stays here until there is room.
///
/// Whoever asks for work bounds this backlog: prefetches by the entries in flight, parts by the snapshot window.
pub(crate) struct Lane<J> {
    sender: Option<Sender<J>>,
    backlog: VecDeque<J>,
}

impl<J> Lane<J> {
    /// A lane and the thread's end of it.
    pub(crate) fn new() -> (Lane<J>, Receiver<J>) {
        let (sender, receiver) = bounded(JOBS_MAX);
        (Lane { sender: Some(sender), backlog: VecDeque::new() }, receiver)
    }

    /// Another sender into the same queue, for a thread.
    pub(crate) fn sender(&self) -> Option<Sender<J>> {
        self.sender.clone()
    }

    pub(crate) fn push(&mut self, job: J) {
        self.backlog.push_back(job);
        self.pump();
    }

    /// Moves what waits into the queue while there is room. A full queue means events to come, and this is called
    /// with each.
    pub(crate) fn pump(&mut self) {
        let Some(sender) = &self.sender else { return self.backlog.clear() };
        while let Some(job) = self.backlog.pop_front() {
            match sender.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => return self.backlog.push_front(job),
                // The thread ended; it has said why.
                Err(TrySendError::Disconnected(_)) => return self.backlog.clear(),
            }
        }
    }

    /// No more jobs: the thread ends when it has seen that.
    pub(crate) fn close(&mut self) {
        self.sender = None;
        self.backlog.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_keeps_jobs_in_order_on_the_cores_side() {
        let (mut lane, receiver) = Lane::new();
        (0..JOBS_MAX * 2).for_each(|job| lane.push(job));
        assert_eq!(lane.backlog.len(), JOBS_MAX);
        let first: Vec<_> = receiver.try_iter().collect();
        lane.pump();
        let second: Vec<_> = receiver.try_iter().collect();
        assert_eq!([first, second].concat(), (0..JOBS_MAX * 2).collect::<Vec<_>>());
        lane.close();
        assert!(receiver.recv().is_err());
    }
}
