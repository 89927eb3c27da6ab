//! Repair: faulty entries are fetched from peers or cut once enough of them never had them, and a doubt about the last
//! frame ends (docs/design/raft.md, "Storage faults").
//!
//! ```text
//! asker, acked at most in term P            peer
//!  EntryFetch(first, doubt_term P + 1) ──▶   no leader for 500 ms: adopts P + 1; answers when its term is on disk
//!        ◀── EntryFetchResp(term, last, health, records | absent | compacted away)
//! ```
//! An answer of a term above P proves that no leader which may count an ack of the asker's past can reach that peer any
//! more. So what enough such peers do not hold is committed nowhere and never will be.

use base::limits::{APPEND_BYTES_SOFT, MEMBERS_MAX};
use base::mono::Span;
use base::record::{EntryKind, Record, Records};
use base::{LogIndex, Mono, NodeId, Term, mutate};

use crate::health::Health;
use crate::progress::Progress;
use crate::raft::{Raft, Role};
use crate::{Alarm, Body, Config, Log};

/// Between two rounds of asking.
const ASK_EVERY: Span = Span::from_ms(200);
/// Entries in one question, and so in one answer.
const ASK_ENTRIES_MAX: u64 = 1024;

/// What a peer said about its log, of which term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Answer {
    term: Term,
    health: Health,
    last: (Term, LogIndex),
    /// It does not hold this entry, of the term that was asked for.
    absent: Option<LogIndex>,
}

/// What a peer wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ask {
    first_index: LogIndex,
    first_term: Term,
    last_index: LogIndex,
    /// It waits for that entry: it lies above what it has applied.
    is_needed: bool,
}

impl Raft {
    /// What this node's log is worth now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.faults.health()
    }

    /// Its log's first faulty entry, and the first above what is applied, are those that this group knows: when they are
    /// not, it wants [`crate::Input::FaultFound`]. `first_above` is the log's [`Log::first_faulty_above`].
    #[must_use]
    pub fn knows_faults(&self, first_above: impl Fn(LogIndex) -> Option<LogIndex>) -> bool {
        self.faults.seen == first_above(LogIndex(0)) && self.faults.lowest == first_above(self.applied_index)
    }

    /// Its acks are below what it acked before, and it knows: that makes no liar of it.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.health() != Health::Clean
    }

    /// May it vote for somebody with this last entry?
    pub(crate) fn may_vote_for(&self, last: (Term, LogIndex)) -> bool {
        match self.faults.base {
            Health::Quarantined => false,
            Health::RecoveringHead => {
                base::mark::hit!("raft.vote.in_doubt");
                mutate!(MUT_12C, self.faults.floor.is_some_and(|floor| last >= floor), true)
            }
            Health::Clean | Health::Faulty => true,
        }
    }

    /// After every step of a group whose log is not clean: what changed, and does something end now?
    pub(crate) fn settle_faults(&mut self, log: &mut impl Log) {
        self.faults.find(log, self.applied_index, self.term());
        if self.faults.base == Health::RecoveringHead {
            self.settle_doubt(log);
        }
        if self.faults.lowest.is_some() {
            self.cut_absent(log);
        }
        self.dirty |= self.health() != self.faults.told;
    }

    // Asking.

    /// When [`Raft::tick_faults`] has something to do.
    pub(crate) fn faults_deadline(&self) -> Mono {
        if self.wants_answers() { self.faults.next_ask } else { Mono::MAX }
    }

    fn wants_answers(&self) -> bool {
        let is_asking = match self.faults.base {
            Health::Quarantined => return false,
            base => base == Health::RecoveringHead,
        };
        is_asking || self.faults.lowest.or(self.faults.behind).is_some()
    }

    pub(crate) fn tick_faults(&mut self, log: &impl Log) {
        if self.wants_answers() && self.now >= self.faults.next_ask {
            base::mark::hit!("raft.repair.asks_peers");
            self.faults.next_ask = self.now + ASK_EVERY;
            self.faults.has_progressed = false;
            // A leader that is here fills a lost head by itself.
            if self.faults.lowest.or(self.faults.behind).is_none() && self.is_loyal(false) {
                base::mark::hit!("raft.doubt.waits_for_its_leader");
                return;
            }
            let mut peers: Vec<NodeId> = self.configs.all_members().filter(|peer| *peer != self.id).collect();
            peers.sort_unstable();
            peers.dedup();
            peers.iter().for_each(|peer| self.ask(log, *peer));
        }
    }

    fn ask(&mut self, log: &impl Log, peer: NodeId) {
        let last = log.last_index();
        // Nothing faulty: the peer's last entry is of interest, and what lies before the floor.
        let wanted = self.faults.lowest.or(self.faults.behind);
        let first_index = wanted.unwrap_or(last.next());
        let faulty = (first_index.0..=last.0).take(ASK_ENTRIES_MAX as usize).map(LogIndex);
        let floor_index = self.faults.floor.map_or(last, |(_, index)| index);
        let last_index = faulty.take_while(|index| log.is_faulty(*index)).last().unwrap_or(floor_index);
        let body = Body::EntryFetch {
            term: self.term(),
            first_index,
            first_term: wanted.and_then(|index| log.term(index)).unwrap_or_default(),
            last_index,
            // The term found with the fault, and never more: else two askers would drive each other's terms up. A
            // leader wants the bytes alone.
            doubt_term: if self.is_leader() { Term(0) } else { self.faults.doubt_term },
        };
        self.push_now(peer, body);
    }

    /// Asks at once, and goes on.
    pub(crate) fn handle_fault_found(&mut self, log: &impl Log) {
        base::mark::hit!("raft.repair.fault_found");
        base::mark::hit!("raft.repair.leader_finds_fault", self.role == Role::Leader);
        self.faults.find(log, self.applied_index, self.term());
        self.faults.next_ask = self.now;
        self.tick_faults(log);
        self.dirty = true;
    }

    // Answering.

    pub(crate) fn handle_entry_fetch(&mut self, from: NodeId, body: Body) {
        let Body::EntryFetch { first_index, first_term, last_index, doubt_term, .. } = body else { return };
        if doubt_term > self.term() && !self.is_loyal(false) {
            base::mark::hit!("raft.repair.term_adopted");
            self.become_follower(doubt_term, NodeId(0));
        }
        self.faults.asks.retain(|(asker, _)| *asker != from);
        if self.faults.asks.len() < MEMBERS_MAX * 2 {
            let is_state = first_index == LogIndex(0);
            let is_needed = is_state || first_term > Term(0) && doubt_term > Term(0);
            self.faults.asks.push((from, Ask { first_index, first_term, last_index, is_needed }));
            self.dirty = true;
        }
    }

    /// At a drain: answers all who asked, from the log as it is now, if the own term is on disk.
    pub(crate) fn answer_asks(&mut self, log: &impl Log) {
        if self.faults.asks.is_empty() || self.hard.persisted().term != self.term() {
            return;
        }
        let mut asks = std::mem::take(&mut self.faults.asks);
        for (from, ask) in asks.drain(..) {
            if ask.first_index > LogIndex(0) {
                let body = self.answer(log, &ask);
                self.push_now(from, body);
            }
            if ask.is_needed && ask.first_index < log.first_index() {
                self.send_state_to(from);
            }
        }
        self.faults.asks = asks;
    }

    /// What a follower lost and acked before is compacted here, and it would be told so only with the next entry. It waits
    /// for it now, and other nodes need not hold it either: it gets the state.
    fn send_state_to(&mut self, id: NodeId) {
        let (now, is_leader) = (self.now, self.is_leader());
        // Who has none has none to send.
        let can_send = is_leader && !self.is_state_lost;
        let Some(peer) = self.lead.peer_mut(id).filter(|_| can_send) else { return };
        if matches!(peer.progress, Progress::Snapshot { .. }) {
            return;
        }
        base::mark::hit!("raft.snapshot.needed_by_asker");
        peer.become_snapshot(now);
        self.outbox.need_snapshot.push(id);
    }

    fn answer(&self, log: &impl Log, ask: &Ask) -> Body {
        let (first, own_last) = (ask.first_index, log.last_index());
        let is_compacted = first < log.first_index();
        let held = log.term(first).filter(|_| !is_compacted && first <= own_last);
        // An entry that is held and faulty is not absent: only its bytes are. Who lost its head asks for whatever follows.
        let is_head = ask.first_term == Term(0);
        let is_same = held.is_some_and(|term| is_head || term == ask.first_term);
        base::mark::hit!("raft.repair.asked_for_compacted", is_compacted);
        base::mark::hit!("raft.repair.asked_for_absent", !is_compacted && !is_same && !is_head);
        base::mark::hit!("raft.repair.asked_for_held", is_same);
        base::mark::hit!("raft.repair.asked_about_head", is_head);
        base::mark::hit!("raft.repair.asked_for_faulty", is_same && log.is_faulty(first));
        let mut last = first.prev();
        if is_same && ask.last_index >= first {
            let bound = ask.last_index.min(own_last).min(LogIndex(first.0.saturating_add(ASK_ENTRIES_MAX - 1)));
            let (fit, _) = log.fit(first, bound, APPEND_BYTES_SOFT);
            last = (first.0..=fit.0).map(LogIndex).take_while(|index| !log.is_faulty(*index)).last().unwrap_or(last);
        }
        Body::EntryFetchResp {
            term: self.term(),
            first_index: first,
            last_index: own_last,
            last_term: log.term(own_last).unwrap_or_default(),
            health: self.health(),
            count: u16::try_from(last.0 + 1 - first.0).expect("bounded by ASK_ENTRIES_MAX"),
            rejected: is_compacted,
            absent: !is_compacted && !is_same && !is_head,
        }
    }

    // Taking answers.

    pub(crate) fn handle_entry_fetch_resp(
        &mut self,
        log: &mut impl Log,
        from: NodeId,
        body: Body,
        entries: Records<'_>,
    ) {
        let Body::EntryFetchResp { term, first_index, last_index, last_term, health, absent, .. } = body else {
            return;
        };
        if !self.wants_answers() {
            base::mark::hit!("raft.repair.answer_too_late");
            return;
        }
        let mut has_written = false;
        for record in entries {
            if record.header().index > log.last_index() {
                if !self.extend_head(log, record) {
                    break;
                }
                has_written = true;
            } else if log.is_faulty(record.header().index) {
                if !self.rewrite(log, record) {
                    break;
                }
                has_written = true;
            }
        }
        base::mark::hit!("raft.repair.answer_of_doubtful", health != Health::Clean);
        base::mark::hit!("raft.repair.told_absent", absent);
        let answer = Answer { term, health, last: (last_term, last_index), absent: absent.then_some(first_index) };
        self.faults.find(log, self.applied_index, self.term());
        self.faults.answers.retain(|(peer, _)| *peer != from);
        if self.faults.answers.len() < MEMBERS_MAX * 2 {
            self.faults.answers.push((from, answer));
        }
        // Who had this run is likely to have the next one.
        if has_written && self.wants_answers() {
            self.ask(log, from);
        } else if self.faults.has_progressed {
            // It has no more, but others may: the next round need not wait.
            self.faults.next_ask = self.now;
            self.tick_faults(log);
        }
        self.faults.has_progressed |= has_written;
    }

    /// Appends an entry that may have been lost with the head, on the way to the floor; nobody may be able to lead before.
    /// The crc chain makes the log a prefix of the peer's, so it is one that a leader once wrote, and nothing is acked.
    fn extend_head(&mut self, log: &mut impl Log, record: Record<'_>) -> bool {
        let header = record.header();
        let last = log.last_index();
        let is_wanted = self.faults.floor.is_some_and(|floor| (header.term, header.index) <= floor);
        let is_next = header.index == last.next() && log.crc(last) == Some(header.prev_crc);
        let is_fit = header.term <= self.term() && log.term(last).is_some_and(|term| term <= header.term);
        let is_free = self.role == Role::Follower && !self.is_installing(log) && crate::follow::is_sound(record);
        if is_wanted && is_next && is_fit && is_free {
            base::mark::hit!("raft.doubt.head_fetched");
            self.append_received(log, record);
            self.dirty = true;
            return true;
        }
        false
    }

    /// Writes a faulty entry again if `record` is that very entry. False if it is not.
    pub(crate) fn rewrite(&mut self, log: &mut impl Log, record: Record<'_>) -> bool {
        let header = record.header();
        let index = header.index;
        // Index and term name one entry; the crc covers its bytes and all before it.
        if log.term(index) != Some(header.term) || log.crc(index) != Some(record.crc()) {
            base::mark::hit!("raft.repair.other_entry_refused");
            return false;
        }
        base::mark::hit!("raft.repair.rewritten");
        let epoch = log.rewrite(record);
        if index > self.applied_index {
            self.faults.note_rewritten(epoch, index);
        }
        if record.entry_kind() == Some(EntryKind::Config) {
            match Config::decode(record.payload()) {
                Ok(config) => {
                    self.is_removed &= !config.is_member(self.id);
                    self.configs.insert(index, config);
                    self.configs.note_committed(self.commit_index);
                    self.outbox.config_changed = true;
                }
                Err(_) => self.stop(Alarm::BadConfig(index)),
            }
        }
        self.dirty = true;
        true
    }

    /// Cuts the log at its lowest faulty entry once so many voters never had it that it is committed nowhere.
    fn cut_absent(&mut self, log: &mut impl Log) {
        let Some(index) = self.faults.lowest.filter(|index| *index > self.commit_index) else { return };
        let Some((_, config)) = self.configs.at(index.prev()) else { return };
        // A leader never cuts its own log (Raft 5.3).
        if self.role == Role::Leader || config.incoming().is_empty() {
            base::mark::hit!("raft.repair.leader_cuts_nothing");
            return;
        }
        let is_absent = |id: NodeId| {
            self.answer_of(id).is_some_and(|answer| answer.health.knows_all() && answer.absent == Some(index))
        };
        let is_nowhere = blocks_quorum(config, |id| id != self.id && is_absent(id));
        if mutate!(MUT_12B, is_nowhere, true) {
            base::mark::hit!("raft.repair.cut");
            // Whom this node acked the entry to must not find it gone.
            if self.term() < self.faults.doubt_term {
                base::mark::hit!("raft.repair.cut_leaves_its_term");
                self.become_follower(self.faults.doubt_term, NodeId(0));
            }
            self.truncate(log, index);
            self.faults.find(log, self.applied_index, self.term());
        }
    }

    /// A leader without the bytes of an entry sends and commits nothing from there on, and may not cut it either. When
    /// nobody has brought it for so long, the best follower is asked to take over, and a follower's ways are open: to be
    /// overwritten, or to cut what is nowhere. True if it leads no more.
    pub(crate) fn yield_stuck_lead(&mut self) -> bool {
        let Some(index) = self.faults.lowest else {
            self.lead.stuck = None;
            return false;
        };
        let since = self.lead.stuck.filter(|(at, _)| *at == index).map_or(self.now, |(_, since)| since);
        self.lead.stuck = Some((index, since));
        let is_over = self.now.since(since) >= self.settings.check_quorum;
        if is_over && self.hand_over_now(self.now, |_| true) {
            base::mark::hit!("raft.repair.stuck_lead_yielded");
            return true;
        }
        false
    }

    /// A voter's answer, if no leader that could count an old ack of this node can reach that voter any more.
    fn answer_of(&self, id: NodeId) -> Option<&Answer> {
        let known = self.faults.answers.iter().find(|(peer, _)| *peer == id).map(|(_, answer)| answer);
        known.filter(|answer| mutate!(MUT_12D, answer.term >= self.faults.doubt_term, true))
    }

    // The doubt about the last frame.

    /// A leader of the own term said that this is committed.
    pub(crate) fn note_vouched(&mut self, log: &impl Log, commit_index: LogIndex) {
        // The entry of its own term stands behind all that was committed before; and a leader says nothing of commits
        // to a peer whose new life has not yet caught up with what its old one acked.
        if self.faults.base == Health::RecoveringHead && log.term(commit_index) == Some(self.term()) {
            self.faults.vouched = Some((self.term(), commit_index));
        }
    }

    fn settle_doubt(&mut self, log: &impl Log) {
        let persisted = self.persisted_index();
        let is_refilled = self.faults.vouched.is_some_and(|(term, index)| term == self.term() && index <= persisted);
        if self.faults.floor.is_none() && (self.is_doubt_answered() || self.is_doubt_old_and_heard()) {
            base::mark::hit!("raft.doubt.floor_known");
            let own = (log.term(log.last_index()).unwrap_or_default(), log.last_index());
            let told = self.config().voters().filter_map(|id| self.answer_of(id)).map(|answer| answer.last);
            self.faults.floor = told.chain([own]).max();
            // Leaders of the past may still count what this node acked to them: it hears them no more.
            if self.term() < self.faults.doubt_term {
                base::mark::hit!("raft.doubt.leaves_its_term");
                self.become_follower(self.faults.doubt_term, NodeId(0));
            }
        }
        let own = (log.term(persisted).unwrap_or_default(), persisted);
        if is_refilled || self.faults.floor.is_some_and(|floor| own >= floor) {
            base::mark::hit!("raft.doubt.leader_vouched", is_refilled);
            base::mark::hit!("raft.doubt.ended");
            (self.faults.base, self.faults.floor, self.faults.vouched) = (Health::Clean, None, None);
            self.faults.find(log, self.applied_index, self.term());
        }
    }

    /// So many voters that know all they ever acked have spoken that one of them holds whatever was committed; or all.
    fn is_doubt_answered(&self) -> bool {
        let config = self.config();
        // Who knows no voters cannot have heard them all.
        if config.incoming().is_empty() {
            return false;
        }
        let knows = |id: NodeId| id != self.id && self.answer_of(id).is_some_and(|answer| answer.health.knows_all());
        let told = |id: NodeId| self.answer_of(id).is_some_and(|answer| answer.health != Health::Quarantined);
        blocks_quorum(config, knows) || config.voters().all(|id| id == self.id || told(id))
    }

    /// After the wait a quorum with this node must do.
    fn is_doubt_old_and_heard(&self) -> bool {
        let config = self.config();
        let Some(wait) = self.settings.doubt_wait else { return false };
        if config.incoming().is_empty() || self.now.since(self.faults.since) < wait {
            return false;
        }
        let told = |id: &NodeId| {
            *id == self.id || self.answer_of(*id).is_some_and(|answer| answer.health != Health::Quarantined)
        };
        let is_majority =
            |half: &[NodeId]| half.is_empty() || 2 * half.iter().filter(|id| told(id)).count() > half.len();
        let is_heard = is_majority(config.incoming()) && is_majority(config.outgoing());
        if is_heard {
            base::mark::hit!("raft.doubt.waited");
        }
        is_heard
    }

    // Amnesia.

    /// The leader holds an ack of this node for entries that its log does not hold, and it knows of no fault.
    pub(crate) fn handle_amnesia(&mut self) {
        if self.faults.base != Health::Quarantined {
            base::mark::hit!("raft.amnesia.told");
            self.faults.base = Health::Quarantined;
            self.become_follower(self.term(), self.leader);
        }
    }

    /// A new life of a follower rejected what an earlier one had acked, and calls its log clean.
    pub(crate) fn accuse(&mut self, id: NodeId) {
        let term = self.term();
        let Some(peer) = self.lead.peer_mut(id) else { return };
        let acked_index = peer.acked_before;
        if !std::mem::replace(&mut peer.is_accused, true) {
            self.outbox.warning = Some(Alarm::Amnesia(id));
        }
        self.push_now(id, Body::Amnesia { term, acked_index });
    }
}

/// Are those for whom `is_counted` holds so many, in each half, that the rest is no quorum?
fn blocks_quorum(config: &Config, is_counted: impl Fn(NodeId) -> bool) -> bool {
    let blocks = |half: &[NodeId]| {
        let quorum = half.len() / 2 + 1;
        half.is_empty() || half.iter().filter(|id| is_counted(**id)).count() > half.len() - quorum
    };
    blocks(config.incoming()) && blocks(config.outgoing())
}
