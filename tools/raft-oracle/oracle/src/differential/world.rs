//! The generator: a cluster of our core without order or mercy. Each of its steps is compared.

use base::mono::Span;
use base::record::Records;
use base::{LogIndex, Mono, NodeId, Prng};
use ours::{Body, Effects, Input, Outcome, Outgoing};
use raft::eraftpb::{Entry, Message, MessageType};
use slog::Logger;

use crate::adapter;
use crate::differential::Counts;
use crate::differential::member::{Member, Transfer};
use crate::differential::rules::{self, Facts, Rule};
use crate::differential::twins::theirs_like;
use crate::differential::view::{Role, Said, View, role_of_ours, said_by_ours};
use crate::twin::{GROUP, HardState, Shared, Twin};

/// A world ends when its log is so long, or after so many steps.
const ENTRIES_MAX: u64 = 60;
const STEPS_MAX: u64 = 4000;
/// Messages on their way; the oldest is lost.
const MESSAGES_MAX: usize = 120;

#[derive(Clone)]
struct Wire {
    from: NodeId,
    to: NodeId,
    body: Body,
    bytes: Vec<u8>,
}

pub struct World {
    seed: u64,
    now: Mono,
    prng: Prng,
    members: Vec<Member>,
    wires: Vec<Wire>,
    logger: Logger,
    /// How much of everything, of 100: kept messages, and actions that are no delivery.
    keep: u64,
    disturb: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let now = Mono(1_000_000_000_000);
        let voters: Vec<u64> = (1..=[3, 3, 5, 4][prng.below(4) as usize]).collect();
        let mut log = Twin::new();
        // Term 1: the raft crate takes a message of term 0 for one of its own.
        log.set_hard(HardState { term: base::Term(1), ..HardState::default() });
        let epoch = log.close();
        log.sync(epoch);
        let boot = |id: &u64| Member::boot(NodeId(*id), &voters, log.clone(), 1, seed, now);
        let members = voters.iter().map(boot).collect();
        let (keep, disturb) = ([5, 30, 60][prng.below(3) as usize], [2, 10, 30][prng.below(3) as usize]);
        World { seed, now, prng, members, wires: Vec::new(), logger: crate::silent(), keep, disturb }
    }

    pub fn run(mut self, counts: &mut Counts) {
        (0..self.members.len()).for_each(|at| self.settle(at));
        for _ in 0..STEPS_MAX {
            if self.members.iter().any(|member| member.log.memory.last().0 >= ENTRIES_MAX) {
                break;
            }
            self.act(counts);
        }
        counts.commits += self.members.iter().map(|member| member.raft.commit_index().0).max().unwrap_or(0);
    }

    fn act(&mut self, counts: &mut Counts) {
        let at = self.prng.below(self.members.len() as u64) as usize;
        let is_busy = !self.wires.is_empty() && self.prng.below(100) >= self.disturb + 15;
        if is_busy {
            return self.deliver(counts);
        }
        match self.prng.below(100) {
            0..20 => self.sync(at, counts),
            20..36 => self.propose(at, counts),
            36..46 => self.heartbeats(at, counts),
            46..56 => self.apply(at),
            56..70 => {
                let most = [5, 60, 700][self.prng.below(3) as usize];
                self.now = self.now + Span::from_ms(1 + self.prng.below(most));
            }
            70..84 => self.tick(at, counts),
            84..92 if self.prng.below(100) < self.disturb => self.campaign(at, counts),
            92..98 if self.prng.below(100) < self.disturb => self.transfer(at, counts),
            98..100 if self.prng.below(100) < self.disturb => self.restart(at),
            _ if self.members.iter().all(|member| role_of_ours(&member.raft) == Role::Follower) => {
                self.now = self.now + Span::from_ms(300);
                self.campaign(at, counts);
            }
            _ => {}
        }
    }

    fn deliver(&mut self, counts: &mut Counts) {
        let place = self.prng.below(self.wires.len() as u64) as usize;
        let is_kept = self.prng.below(100) < self.keep;
        let wire = if is_kept { self.wires[place].clone() } else { self.wires.swap_remove(place) };
        if !is_kept && self.prng.below(100) < 5 {
            return;
        }
        let Wire { from, to, body, bytes } = wire;
        let at = to.0 as usize - 1;
        let entries = match body {
            Body::AppendEntries { prev_index, count, .. } => {
                Records::check_entries(&bytes, count, GROUP, prev_index.next()).expect("sound records")
            }
            _ => Records::EMPTY,
        };
        let commit = self.members[at].raft.commit_index();
        let (told, is_across) = self.trimmed(at, from, to, &body, &bytes, commit);
        let input = Input::Message { from, body, entries, now: self.now };
        let what = format!("{from} -> {to} {body:?}");
        let name = name_of(&body);
        let message = Some((from.0, body));
        let used = if is_across { vec![Rule::AcrossCommit] } else { vec![] };
        self.compare(at, input, message, name, &what, used, counts, |theirs| {
            let _ = theirs.step(told);
        });
    }

    /// The message for the raft crate. If its entries begin below the commit index and end above it, those below are
    /// cut off: then the raft crate takes the rest, as ours does ([`Rule::AcrossCommit`]).
    fn trimmed(
        &self,
        at: usize,
        from: NodeId,
        to: NodeId,
        body: &Body,
        bytes: &[u8],
        commit: LogIndex,
    ) -> (Message, bool) {
        let mut told = adapter::to_theirs(from, to, body, bytes).expect("nothing else is sent here");
        let is_current = told.term >= self.members[at].raft.term().0;
        let is_append = told.get_msg_type() == MessageType::MsgAppend;
        let is_across = told.index < commit.0 && commit.0 < told.index + told.entries.len() as u64;
        if !(is_append && is_current && is_across) {
            return (told, false);
        }
        let kept: Vec<Entry> = told.entries.iter().filter(|entry| entry.index > commit.0).cloned().collect();
        told.set_entries(kept.into());
        told.index = commit.0;
        told.log_term = self.members[at].log.memory.term(commit).expect("a committed entry is held").0;
        (told, true)
    }

    fn sync(&mut self, at: usize, counts: &mut Counts) {
        let epoch = self.members[at].sync_log();
        let log = &self.members[at].log.memory;
        // What the crate is told when everything is on disk: the log's end.
        let (last, term) = (log.last(), log.term(log.last()).unwrap_or_default());
        let input = Input::Synced { epoch };
        self.compare(at, input, None, "synced", "synced", vec![], counts, |theirs| {
            if last > LogIndex(0) {
                theirs.on_persist_entries(last.0, term.0);
            }
        });
        for outgoing in self.members[at].release() {
            self.send(at, &outgoing);
        }
    }

    fn propose(&mut self, at: usize, counts: &mut Counts) {
        if role_of_ours(&self.members[at].raft) != Role::Leader {
            return;
        }
        let payload = self.prng.next_u64().to_le_bytes();
        let input = Input::Propose { payload: &payload, now: self.now };
        self.compare(at, input, None, "propose", "propose", vec![], counts, |theirs| {
            let mut message = Message { from: theirs.id, ..Message::default() };
            message.set_msg_type(MessageType::MsgPropose);
            message.set_entries(vec![Entry { data: payload.to_vec().into(), ..Entry::default() }].into());
            let _ = theirs.step(message);
        });
    }

    fn campaign(&mut self, at: usize, counts: &mut Counts) {
        if role_of_ours(&self.members[at].raft) == Role::Leader {
            return;
        }
        let input = Input::Campaign { now: self.now };
        self.compare(at, input, None, "campaign", "campaign", vec![], counts, hup);
    }

    fn tick(&mut self, at: usize, counts: &mut Counts) {
        let (now, member) = (self.now, &mut self.members[at]);
        let role = role_of_ours(&member.raft);
        let is_due = member.raft.next_deadline() <= now;
        let input = Input::Tick { now };
        if role == Role::Leader {
            if member.transfer.is_some_and(|transfer| now.since(transfer.since) >= member.settings.transfer_abort) {
                member.transfer = None;
            }
            return self.compare(at, input, None, "check quorum", "check quorum", vec![], counts, |theirs| {
                let mut message = Message { from: theirs.id, ..Message::default() };
                message.set_msg_type(MessageType::MsgCheckQuorum);
                let _ = theirs.step(message);
            });
        }
        // A candidate whose own vote is not on disk yet waits on.
        let waits = role == Role::Candidate && member.log.newest_unsynced().is_some();
        if is_due && !member.is_booting(now) && !waits {
            // The draw of the deadline is private, so is whether it has passed: `next_deadline` says it.
            return self.compare(at, input, None, "timeout", "timeout", vec![], counts, hup);
        }
        counts.skipped += 1;
        let (_, effects) = self.members[at].step(input, now);
        self.send_all(at, &effects);
    }

    fn transfer(&mut self, at: usize, counts: &mut Counts) {
        let target = NodeId(1 + self.prng.below(self.members.len() as u64));
        let (now, member) = (self.now, &mut self.members[at]);
        let is_open = role_of_ours(&member.raft) == Role::Leader && member.transfer.is_none();
        let peer = member.raft.peers().iter().find(|peer| peer.id == target);
        // What our core asks of a target before it begins: the crate begins at once.
        let is_fit = peer.is_some_and(|peer| {
            peer.progress == ours::Progress::Replicate && now.since(peer.last_answer) < member.settings.check_quorum
        });
        if !is_open || !is_fit {
            return;
        }
        let input = Input::Transfer { target, now };
        let what = format!("transfer to {target}");
        self.compare(at, input, None, "transfer", &what, vec![], counts, |theirs| {
            let mut message = Message { from: target.0, ..Message::default() };
            message.set_msg_type(MessageType::MsgTransferLeader);
            let _ = theirs.step(message);
        });
    }

    /// What the leader's heartbeats say.
    fn heartbeats(&mut self, at: usize, counts: &mut Counts) {
        if role_of_ours(&self.members[at].raft) != Role::Leader {
            return;
        }
        let member = &mut self.members[at];
        let mut theirs = theirs_like(member, true, self.now, &self.logger);
        theirs.ping();
        let mut expected = View::of_theirs(&theirs, false);
        let before = View::of_ours(&member.raft, member.log.memory.terms(), &[], false);
        let facts = Facts {
            before: &before,
            message: None,
            is_campaign: false,
            is_booting: false,
            hears_leader: true,
            incarnation: member.incarnation,
            applied: member.raft.applied_index().0,
            is_new_position: false,
            is_late_timeout: false,
            was_just_sent: false,
        };
        for rule in rules::apply(&facts, &mut expected) {
            *counts.rules.entry(rule).or_default() += 1;
        }
        for to in member.voters.clone().into_iter().map(NodeId) {
            // None when an AppendEntries has just said as much.
            let Some(body) = self.members[at].raft.heartbeat(to, self.now) else { continue };
            let said = said_by_ours(to, &body, false);
            assert!(expected.said.contains(&said), "heartbeat: {said:?} is not in {:?}", expected.said);
            *counts.compared.entry("heartbeat sent").or_default() += 1;
            self.send(at, &Outgoing { to, body });
        }
    }

    fn apply(&mut self, at: usize) {
        let member = &mut self.members[at];
        let (applied, commit) = (member.raft.applied_index(), member.raft.commit_index());
        if applied < commit {
            let index = LogIndex(applied.0 + 1 + self.prng.below(commit.0 - applied.0));
            let (_, effects) = self.members[at].step(Input::Applied { index }, self.now);
            self.send_all(at, &effects);
        }
    }

    fn restart(&mut self, at: usize) {
        let member = &mut self.members[at];
        let mut log = std::mem::take(&mut member.log);
        if self.prng.one_in(2) {
            let epoch = log.close();
            log.crash(epoch);
        } else {
            log.crash(0);
        }
        let (id, voters, incarnation) = (member.raft.id(), member.voters.clone(), member.incarnation + 1);
        self.members[at] = Member::boot(id, &voters, log, incarnation, self.seed, self.now);
        self.settle(at);
    }

    /// The first drain of a life.
    fn settle(&mut self, at: usize) {
        let now = self.now;
        let epoch = self.members[at].sync_log();
        let (_, effects) = self.members[at].step(Input::Synced { epoch }, now);
        self.send_all(at, &effects);
    }

    #[expect(clippy::too_many_arguments, reason = "the input, and all that names it when it fails")]
    fn compare(
        &mut self,
        at: usize,
        input: Input<'_>,
        message: Option<(u64, Body)>,
        name: &'static str,
        what: &str,
        mut used: Vec<Rule>,
        counts: &mut Counts,
        act: impl FnOnce(&mut raft::Raft<Shared>),
    ) {
        let (now, member) = (self.now, &mut self.members[at]);
        let (is_booting, hears_leader) = (member.is_booting(now), member.hears_leader(now));
        let before = View::of_ours(&member.raft, member.log.memory.terms(), &[], false);
        let is_stale_leader = matches!(message, Some((_, Body::AppendEntries { term, .. } | Body::Heartbeat { term, .. }))
            if term.0 < before.term);
        let sent_at = message.and_then(|(from, _)| member.last_append.get(&from).copied()).unwrap_or_default();
        let mut theirs = theirs_like(member, hears_leader, now, &self.logger);
        act(&mut theirs);
        let mut expected = View::of_theirs(&theirs, is_stale_leader);
        let facts = Facts {
            before: &before,
            message: message.as_ref().map(|(from, body)| (*from, body)),
            is_campaign: matches!(input, Input::Campaign { .. }),
            is_booting,
            hears_leader,
            incarnation: member.incarnation,
            applied: member.raft.applied_index().0,
            is_new_position: message.as_ref().is_some_and(|(_, body)| member.is_new_position(body)),
            is_late_timeout: message.as_ref().is_some_and(|(_, body)| member.is_late_timeout(body)),
            was_just_sent: now.since(sent_at) < member.settings.heartbeat,
        };
        let theirs_said = expected.clone();
        used.extend(rules::apply(&facts, &mut expected));
        if let Input::Transfer { target, .. } = input {
            member.transfer = Some(Transfer { target, since: now });
        }
        let (outcome, effects) = member.step(input, now);
        let mut found = View::of_ours(&member.raft, member.log.memory.terms(), &effects, is_stale_leader);
        found.said.retain(|said| !matches!(said, Said::Append { count: 0, .. }));
        assert_eq!(member.raft.alarm(), None, "{what}");
        let is_refused = matches!(outcome, Outcome::Transferring | Outcome::NotLeader { .. } | Outcome::Overloaded);
        assert!(
            expected == found,
            "node {} of world {}: {what} ({outcome:?}, refused {is_refused})\n before   {before:?}\n expected {expected:?}\n \
             found    {found:?}\n the raft crate alone: {theirs_said:?}\n rules {used:?}, booting {is_booting}, hears a \
             leader {hears_leader}",
            at + 1,
            self.seed,
        );
        *counts.compared.entry(name).or_default() += 1;
        for rule in used {
            *counts.rules.entry(rule).or_default() += 1;
        }
        self.send_all(at, &effects);
    }

    fn send_all(&mut self, at: usize, effects: &[Effects]) {
        for outgoing in effects.iter().flat_map(|effects| &effects.send_now) {
            self.send(at, outgoing);
        }
        for outgoing in effects.iter().flat_map(|effects| &effects.send_after_sync) {
            let member = &mut self.members[at];
            let epoch = member.last_epoch;
            member.after_sync.push_back((epoch, *outgoing));
        }
        for outgoing in self.members[at].release() {
            self.send(at, &outgoing);
        }
    }

    fn send(&mut self, at: usize, outgoing: &Outgoing) {
        let Outgoing { to, body } = *outgoing;
        let bytes = match body {
            Body::AppendEntries { prev_index, count, .. } => {
                self.members[at].log.records(prev_index.next(), count).expect("a leader sends what it holds")
            }
            _ => Vec::new(),
        };
        if self.wires.len() >= MESSAGES_MAX {
            self.wires.remove(0);
        }
        self.wires.push(Wire { from: self.members[at].raft.id(), to, body, bytes });
    }
}

fn hup(theirs: &mut raft::Raft<Shared>) {
    let mut message = Message { from: theirs.id, ..Message::default() };
    message.set_msg_type(MessageType::MsgHup);
    let _ = theirs.step(message);
}

fn name_of(body: &Body) -> &'static str {
    match body {
        Body::AppendEntries { .. } => "append entries",
        Body::AppendResp { rejected: false, .. } => "append accepted",
        Body::AppendResp { .. } => "append rejected",
        Body::Heartbeat { .. } => "heartbeat",
        Body::HeartbeatAck { .. } => "heartbeat ack",
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteResp { .. } => "pre-vote answer",
        Body::RequestVote { .. } => "vote",
        Body::VoteResp { .. } => "vote answer",
        Body::TimeoutNow { .. } => "timeout now",
        _ => "other",
    }
}
