//! What a leader knows of one follower, and how much it may send.

use std::collections::VecDeque;

use base::limits::{INFLIGHT_BYTES_MAX, INFLIGHTS_MAX};
use base::{LogIndex, Mono, NodeId, mutate};

/// How a leader sends to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Progress {
    /// It looks for the place where the logs meet: one message, then an answer or a heartbeat's ack.
    Probe {
        /// The message is out.
        is_paused: bool,
    },
    /// Optimistically, up to a full window.
    Replicate,
    /// Heartbeats alone, until a snapshot has reconnected the log.
    Snapshot {
        /// The last news of it.
        since: Mono,
    },
}

/// A message's worth of entries on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Inflight {
    last_index: LogIndex,
    bytes: u32,
}

/// One follower, as its leader sees it.
///
/// Invariant: `match_index < next_index`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Who it is.
    pub id: NodeId,
    /// It holds, persisted, all of the leader's entries up to here.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// How to send.
    pub progress: Progress,
    /// When it last answered.
    pub last_answer: Mono,
    pub(crate) last_append: Mono,
    pub(crate) sent_commit: LogIndex,
    pub(crate) sent_position: u64,
    pub(crate) acked_position: u64,
    /// The newest send time of this leader that it has echoed.
    pub(crate) echo_mono: Mono,
    /// What earlier lives of it acked to this leader: it is not told of commits before it holds that much again.
    pub(crate) acked_before: LogIndex,
    /// When its newest life began: answers to older messages are not its own.
    pub(crate) up_since: Mono,
    /// Its newest life was found to have forgotten acks.
    pub(crate) is_accused: bool,
    /// An empty AppendEntries is due, whatever the window says: a lost one must not stall for ever.
    pub(crate) wants_empty: bool,
    /// It agreed to rest, and waits for nothing.
    pub(crate) is_resting: bool,
    /// It has just been woken: the next list names the group, whatever else was sent.
    pub(crate) must_list: bool,
    /// A learner: nearly caught up since then.
    pub(crate) close_since: Option<Mono>,
    inflights: VecDeque<Inflight>,
    inflight_bytes: u32,
}

impl Peer {
    pub(crate) fn new(id: NodeId, last_index: LogIndex, now: Mono) -> Peer {
        Peer {
            id,
            match_index: LogIndex(0),
            next_index: last_index.next(),
            progress: Progress::Probe { is_paused: false },
            last_answer: now,
            last_append: Mono(0),
            sent_commit: LogIndex(0),
            sent_position: 0,
            acked_position: 0,
            echo_mono: Mono(0),
            acked_before: LogIndex(0),
            up_since: Mono(0),
            is_accused: false,
            wants_empty: false,
            is_resting: false,
            must_list: false,
            close_since: None,
            inflights: VecDeque::new(),
            inflight_bytes: 0,
        }
    }

    /// A new life of it is up: what the old one acked is not counted before it says so itself.
    pub(crate) fn note_new_life(&mut self, now: Mono) {
        self.acked_before = self.acked_before.max(self.match_index);
        (self.match_index, self.up_since, self.is_accused) = (LogIndex(0), now, false);
    }

    /// The entry to ask it about next when its link begins or ends: the one behind what it acked. A life that has not acked
    /// yet is asked where the one before it would have been: a wrong guess costs one refusal, and the first entry of all
    /// would cost a snapshot. Who was to get one gets it.
    pub(crate) fn expected_index(&self) -> LogIndex {
        let is_known = self.match_index > LogIndex(0) || matches!(self.progress, Progress::Snapshot { .. });
        if is_known { self.match_index.next() } else { self.next_index }
    }

    /// How much of `commit_index` it may hear of. A follower that lost its head takes the commit of this term for the
    /// word that nothing it acked is missing: so that word waits until it is true.
    pub(crate) fn advertised(&self, commit_index: LogIndex) -> LogIndex {
        if mutate!(MUT_2B, false, true) {
            commit_index
        } else if self.match_index < self.acked_before {
            base::mark::hit!("raft.progress.no_commit_for_a_new_life");
            LogIndex(0)
        } else {
            self.match_index.min(commit_index)
        }
    }

    pub(crate) fn become_probe(&mut self, next_index: LogIndex, is_paused: bool) {
        self.progress = Progress::Probe { is_paused };
        self.next_index = next_index.max(self.match_index.next());
        self.clear_window();
    }

    pub(crate) fn become_replicate(&mut self) {
        self.progress = Progress::Replicate;
        self.next_index = self.match_index.next();
        self.clear_window();
    }

    pub(crate) fn become_snapshot(&mut self, now: Mono) {
        self.progress = Progress::Snapshot { since: now };
        self.clear_window();
    }

    /// Entries up to `last_index` left, as one message.
    pub(crate) fn note_sent(&mut self, last_index: LogIndex, bytes: u32) {
        assert!(last_index >= self.next_index, "peer {}: sent nothing new up to {last_index}", self.id);
        self.next_index = last_index.next();
        self.inflights.push_back(Inflight { last_index, bytes });
        self.inflight_bytes = self.inflight_bytes.saturating_add(bytes);
    }

    /// It acked `index`. True if that is news.
    pub(crate) fn note_acked(&mut self, index: LogIndex) -> bool {
        while self.inflights.front().is_some_and(|front| front.last_index <= index) {
            let freed = self.inflights.pop_front().expect("the front was just seen");
            self.inflight_bytes -= freed.bytes;
        }
        let is_news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(self.match_index.next());
        is_news
    }

    /// Does a rejection of `prev_index` say something new? Anything but the outstanding probe is an echo of the past.
    pub(crate) fn is_news_of_rejection(&self, prev_index: LogIndex) -> bool {
        match self.progress {
            Progress::Probe { .. } => prev_index == self.next_index.prev(),
            Progress::Replicate => prev_index > self.match_index,
            Progress::Snapshot { .. } => false,
        }
    }

    pub(crate) fn is_window_full(&self) -> bool {
        self.inflights.len() >= INFLIGHTS_MAX || self.inflight_bytes >= INFLIGHT_BYTES_MAX
    }

    /// For comparing groups whose windows never fill.
    pub(crate) fn forget_window(&mut self) {
        self.inflights.clear();
        self.inflight_bytes = 0;
    }

    fn clear_window(&mut self) {
        self.inflights.clear();
        self.inflight_bytes = 0;
        self.wants_empty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating(match_index: u64) -> Peer {
        let mut peer = Peer::new(NodeId(2), LogIndex(match_index), Mono(0));
        peer.note_acked(LogIndex(match_index));
        peer.become_replicate();
        peer
    }

    #[test]
    fn the_window_is_full_by_count_and_by_bytes_and_acks_free_it() {
        let mut peer = replicating(10);
        (0..INFLIGHTS_MAX as u64).for_each(|i| peer.note_sent(LogIndex(11 + i), 1));
        assert!(peer.is_window_full());
        assert!(peer.note_acked(LogIndex(12)));
        assert!(!peer.is_window_full());
        peer.note_sent(LogIndex(500), INFLIGHT_BYTES_MAX);
        assert!(peer.is_window_full());
        peer.note_acked(LogIndex(500));
        assert!(!peer.is_window_full());
        assert_eq!(peer.next_index, LogIndex(501));
    }

    #[test]
    fn next_index_stays_above_match_index() {
        let mut peer = replicating(10);
        peer.become_probe(LogIndex(3), false);
        assert_eq!(peer.next_index, LogIndex(11));
        peer.note_acked(LogIndex(20));
        assert_eq!(peer.next_index, LogIndex(21));
        assert!(!peer.note_acked(LogIndex(5)));
        assert_eq!(peer.match_index, LogIndex(20));
    }

    #[test]
    fn stale_rejections_are_no_news() {
        let mut peer = replicating(10);
        assert!(!peer.is_news_of_rejection(LogIndex(10)));
        assert!(peer.is_news_of_rejection(LogIndex(11)));
        peer.become_probe(LogIndex(15), false);
        assert!(peer.is_news_of_rejection(LogIndex(14)));
        assert!(!peer.is_news_of_rejection(LogIndex(13)));
        peer.become_snapshot(Mono(0));
        assert!(!peer.is_news_of_rejection(LogIndex(14)));
    }
}
