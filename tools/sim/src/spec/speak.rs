//! What a node may say, and what that makes true for good.

use base::{LogIndex, NodeId, Term};
use raft::Body;

use super::group::{Group, Node};
use super::terms::{Fact, Facts};
use super::{Step, guard};

/// A message on its way.
#[derive(Clone, Copy)]
struct Said {
    from: usize,
    to: usize,
    from_id: NodeId,
    to_id: NodeId,
    term: Term,
}

impl Group {
    /// A message left. It was made in the turn that was shown last, or waited for the disk since an earlier one.
    pub(crate) fn note_sent(&mut self, from_id: NodeId, to_id: NodeId, body: &Body) -> Step {
        let (from, to) = (self.place(from_id), self.place(to_id));
        let said = Said { from, to, from_id, to_id, term: body.term() };
        self.check_term_known(&said, body)?;
        match *body {
            Body::PreVote { last_index, last_term, incarnation, .. } => {
                let fact = self.fact(said.term, from)?;
                let last = (last_term, last_index);
                fact.pre_vote.of(incarnation, last).asked |= 1 << to;
                return Ok(());
            }
            Body::RequestVote { last_index, last_term, incarnation, .. } => {
                self.say_request(&said, incarnation, (last_term, last_index))?;
            }
            Body::PreVoteResp { rejected: false, incarnation, .. } => {
                let poll = &mut self.fact(said.term, to)?.pre_vote;
                let is_asked = poll.has_asked(from, incarnation);
                guard!(PreVote, is_asked, "it grants term {} to node {to_id}, which did not ask", said.term);
                poll.granted |= if poll.incarnation == incarnation { 1 << from } else { 0 };
                return Ok(());
            }
            Body::VoteResp { rejected: false, incarnation, .. } => self.say_grant(&said, incarnation)?,
            Body::AppendEntries { prev_index, prev_term, prev_crc, commit_index, count, .. } => {
                self.say_append(&said, prev_index, (prev_term, prev_crc), LogIndex(prev_index.0 + u64::from(count)))?;
                self.say_commit(&said, commit_index)?;
            }
            Body::Heartbeat { commit_index, .. } => self.say_commit(&said, commit_index)?,
            Body::AppendResp { index, rejected: false, busy: false, .. } => self.say_ack(&said, index)?,
            Body::AppendResp { index, rejected: true, hint_index, hint_term, .. } => {
                let is_hint_below = hint_index <= index;
                guard!(RejectAppend, is_hint_below, "it refuses {index} and hints at {hint_index} of {hint_term}");
            }
            Body::TimeoutNow { .. } => {
                self.check_leads(&said, "asks for a campaign")?;
                let config = &self.nodes[from].config;
                guard!(Transfer, config.is_voter(to_id), "it asks node {to_id}, which does not vote, to campaign");
                self.fact(said.term, to)?.is_urged = true;
            }
            Body::ReadIndexResp { read_index, rejected: false, .. } => {
                self.check_leads(&said, "gives a read index")?;
                let commit = self.nodes[from].commit;
                guard!(Confirm, read_index <= commit, "read index {read_index}, and its commit is {commit}");
            }
            Body::Amnesia { acked_index, .. } => {
                self.check_leads(&said, "speaks of lost acks")?;
                let acked = self.terms.get(said.term, to).acked;
                guard!(Confirm, acked_index <= acked, "node {to_id} is to have acked {acked_index}, and acked {acked}");
            }
            Body::Removed { config_index, .. } => self.say_removed(&said, config_index)?,
            Body::EntryFetch { doubt_term, .. } => {
                let node = &mut self.nodes[from];
                node.doubt = node.doubt.max(doubt_term);
                self.fact(doubt_term, to)?.is_told = true;
                return Ok(());
            }
            Body::EntryFetchResp { first_index, count, absent, .. } => {
                return self.say_fetched(&said, first_index, count, absent);
            }
            Body::HeartbeatAck { .. }
            | Body::AppendResp { .. }
            | Body::PreVoteResp { .. }
            | Body::VoteResp { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResp { .. } => {}
        }
        self.fact(said.term, to)?.is_told = true;
        Ok(())
    }

    /// Nobody speaks of a term beyond its own, but for pre-votes. What it answered binds it after a restart.
    fn check_term_known(&mut self, said: &Said, body: &Body) -> Step {
        let Said { term, from, .. } = *said;
        // While a snapshot is being installed turns are not shown: it may have learned more since.
        let known = self.nodes[from].term;
        let is_told = |term| self.terms.get(term, from).is_told;
        let is_known = match body {
            Body::PreVote { .. } => term.0 <= known.0 + 1 || is_told(Term(term.0 - 1)),
            Body::PreVoteResp { rejected: false, .. } => true,
            _ => term <= known || is_told(term),
        };
        guard!(Refuse, is_known, "it speaks of term {term} in term {known}");
        let promises = match body {
            // They ask, and bind nobody.
            Body::PreVote { .. } | Body::PreVoteResp { rejected: false, .. } => false,
            Body::ReadIndex { .. } | Body::TimeoutNow { .. } | Body::EntryFetch { .. } => false,
            _ => true,
        };
        if promises {
            let node = &mut self.nodes[from];
            node.promised = node.promised.max(term);
        }
        Ok(())
    }

    fn say_request(&mut self, said: &Said, incarnation: u64, last: (Term, LogIndex)) -> Step {
        let Said { term, from, to, from_id, .. } = *said;
        let fact = self.fact(term, from)?;
        guard!(RequestVote, fact.vote == from_id, "it asks for votes in term {term} and voted for {}", fact.vote);
        let began = fact.began;
        guard!(
            RequestVote,
            began.is_none_or(|began| began == last),
            "it says that its log ends at {last:?}, and it began to campaign with {began:?}"
        );
        fact.is_vote_told = true;
        fact.votes.of(incarnation, last).asked |= 1 << to;
        Ok(())
    }

    fn say_grant(&mut self, said: &Said, incarnation: u64) -> Step {
        let Said { term, from, to, to_id, .. } = *said;
        let poll = self.terms.get(term, to).votes;
        let is_asked = poll.has_asked(from, incarnation);
        guard!(Grant, is_asked, "it votes for {to_id} in term {term}, which did not ask");
        let fact = self.fact(term, from)?;
        guard!(
            Grant,
            fact.vote == NodeId(0) || fact.vote == to_id,
            "it votes for {to_id} in term {term} after {}",
            fact.vote
        );
        (fact.vote, fact.is_vote_told) = (to_id, true);
        if poll.incarnation == incarnation {
            self.fact(term, to)?.votes.granted |= 1 << from;
        }
        Ok(())
    }

    /// Only who was elected speaks as leader.
    fn check_leads(&self, said: &Said, what: &str) -> Step {
        let leader = self.terms.leader(said.term);
        guard!(Confirm, leader == said.from_id, "it {what} in term {}, which {leader} leads", said.term);
        Ok(())
    }

    /// The speaker, if what it says is of the state that was shown last.
    fn speaker(&self, said: &Said) -> Option<&Node> {
        self.leading(said.from_id, said.term).map(|place| &self.nodes[place])
    }

    fn say_append(&mut self, said: &Said, prev: LogIndex, (term, crc): (Term, u32), last: LogIndex) -> Step {
        self.check_leads(said, "sends entries")?;
        if let Some(node) = self.speaker(said) {
            guard!(
                SendAppend,
                last <= node.log.last(),
                "entries up to {last} of a log that ends at {}",
                node.log.last()
            );
            let held = node.log.get(prev);
            guard!(
                SendAppend,
                held.is_none_or(|held| held.term == term && (held.crc == crc || held.crc == 0 || crc == 0)),
                "entries behind {prev} of term {term} crc {crc:08x}, and its log holds {held:?} there"
            );
        }
        let fact = self.fact(said.term, said.to)?;
        fact.offered = fact.offered.max(last);
        Ok(())
    }

    /// A follower hears of commits that the leader knows, and only as far as it acked.
    fn say_commit(&mut self, said: &Said, commit: LogIndex) -> Step {
        self.check_leads(said, "tells a commit index")?;
        if let Some(node) = self.speaker(said) {
            guard!(SendAppend, commit <= node.commit, "it tells of commit {commit} and knows of {}", node.commit);
        }
        let to_id = said.to_id;
        let fact = self.fact(said.term, said.to)?;
        guard!(
            SendAppend,
            commit <= fact.acked,
            "it tells node {to_id}, which acked {}, of commit {commit}",
            fact.acked
        );
        fact.advertised = fact.advertised.max(commit);
        Ok(())
    }

    /// An ack says that everything up to there is the leader's, on disk.
    fn say_ack(&mut self, said: &Said, index: LogIndex) -> Step {
        let Said { term, from, to_id, .. } = *said;
        let leader = self.terms.leader(term);
        guard!(AcceptAppend, leader == to_id, "it acks to node {to_id} in term {term}, which {leader} leads");
        let node = &self.nodes[from];
        if node.term == term && node.is_up {
            guard!(AcceptAppend, index <= node.persisted, "it acks {index} and persisted {}", node.persisted);
            guard!(
                AcceptAppend,
                !node.has_dropped || node.first <= node.applied.next(),
                "it acks {index}, its log begins at {}, and of what it dropped it has {} again",
                node.first,
                node.applied
            );
            let (own, theirs) =
                (node.log.get(index), self.leading(leader, term).map(|at| self.nodes[at].log.get(index)));
            if let (Some(own), Some(Some(theirs))) = (own, theirs) {
                guard!(
                    AcceptAppend,
                    own.is_same(theirs),
                    "it acks {index} as {own:?}, which the leader has as {theirs:?}"
                );
            }
        }
        let fact = self.fact(term, from)?;
        fact.acked = fact.acked.max(index);
        Ok(())
    }

    fn say_removed(&mut self, said: &Said, config_index: LogIndex) -> Step {
        self.check_leads(said, "tells who is out")?;
        let to_id = said.to_id;
        if let Some(node) = self.speaker(said) {
            let is_known = config_index <= node.commit;
            guard!(Confirm, is_known, "it speaks of configuration {config_index}, and its commit is {}", node.commit);
            let is_out = !node.config.is_member(to_id) || node.config_index > config_index;
            guard!(Confirm, is_out, "it tells member {to_id} that it is out");
        }
        let told = &mut self.nodes[said.to].told_out;
        *told = (*told).max(config_index);
        Ok(())
    }

    fn say_fetched(&mut self, said: &Said, first: LogIndex, count: u16, absent: bool) -> Step {
        let last = LogIndex((first.0 + u64::from(count)).saturating_sub(1));
        let held = self.nodes[said.from].log.last();
        guard!(Repair, count == 0 || last <= held, "it gives entries up to {last} of a log that ends at {held}");
        let node = &mut self.nodes[said.to];
        if count > 0 {
            node.fetched = node.fetched.max(last);
        }
        if absent {
            match node.absent.iter_mut().find(|(index, _)| *index == first) {
                Some((_, nodes)) => *nodes |= 1 << said.from,
                None => node.absent.push((first, 1 << said.from)),
            }
        }
        Ok(())
    }

    fn fact(&mut self, term: Term, place: usize) -> Result<&mut Fact, super::Refused> {
        let Some(facts) = self.terms.of(term) else {
            return Err(super::Refused {
                action: super::Action::Timeout,
                guard: format!("term {term} is far too high"),
            });
        };
        Ok(Facts::of(facts, place))
    }
}
