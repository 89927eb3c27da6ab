//! What each accepted append may be answered with at most: its own last entry, or that of another one read in the same
//! turn, since answers of one turn are merged. For [`super::watermarks`].

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, Mono, NodeId, Term};
use raft::Body;

use crate::checker::slots::Slots;

/// Send times kept per direction: answers to older messages are not judged.
const KEPT: usize = 512;

/// What one leader sent to one follower in its newest term there.
#[derive(Default)]
struct Direction {
    incarnation: u64,
    term: Term,
    /// By send time, which an answer echoes.
    most: BTreeMap<Mono, LogIndex>,
}

/// An append that was read in a turn that is not over.
struct Read {
    group: GroupId,
    from: NodeId,
    to: NodeId,
    sent: Mono,
    last: LogIndex,
}

/// See above.
#[derive(Default)]
pub(crate) struct Answers {
    /// By group, follower and leader.
    directions: Slots<(GroupId, NodeId, NodeId), Direction>,
    reads: Vec<Read>,
}

impl Answers {
    /// `to` reads an append of `from`, in this life of it.
    pub(crate) fn note_read(&mut self, group: GroupId, from: NodeId, to: NodeId, incarnation: u64, body: &Body) {
        let Body::AppendEntries { term, prev_index, count, send_mono, .. } = *body else { return };
        let direction = self.directions.of((group, to, from));
        if (incarnation, term) < (direction.incarnation, direction.term) {
            return;
        }
        if (incarnation, term) != (direction.incarnation, direction.term) {
            *direction = Direction { incarnation, term, most: BTreeMap::new() };
        }
        let last = LogIndex(prev_index.0.saturating_add(u64::from(count)));
        self.reads.push(Read { group, from, to, sent: send_mono, last });
    }

    /// The turn of `node` in which it read them is over.
    pub(crate) fn note_turn(&mut self, group: GroupId, node: NodeId) {
        let is_of_turn = |read: &Read| read.group == group && read.to == node;
        for read in self.reads.iter().filter(|read| is_of_turn(read)) {
            let together = self.reads.iter().filter(|other| is_of_turn(other) && other.from == read.from);
            let last = together.map(|other| other.last).max().unwrap_or(read.last);
            let most = &mut self.directions.of((group, node, read.from)).most;
            let known = most.entry(read.sent).or_default();
            *known = last.max(*known);
            if most.len() > KEPT {
                most.pop_first();
            }
        }
        self.reads.retain(|read| !is_of_turn(read));
    }

    /// The most that an ack of `from` to `to` may say that echoes `echo`; none when that is not known.
    pub(crate) fn most(&self, group: GroupId, from: NodeId, to: NodeId, term: Term, echo: Mono) -> Option<LogIndex> {
        let direction = self.directions.get((group, from, to)).filter(|direction| direction.term == term)?;
        direction.most.get(&echo).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::append;

    const GROUP: GroupId = GroupId(1);

    fn read(answers: &mut Answers, incarnation: u64, term: u64, sent: u64, prev: u64, count: u16) {
        let body = append(term, (1, prev), count, sent);
        answers.note_read(GROUP, NodeId(1), NodeId(2), incarnation, &body);
    }

    fn most(answers: &Answers, term: u64, echo: u64) -> Option<u64> {
        answers.most(GROUP, NodeId(2), NodeId(1), Term(term), Mono(echo)).map(|index| index.0)
    }

    #[test]
    fn an_answer_may_say_what_its_turn_read_and_no_more() {
        let mut answers = Answers::default();
        read(&mut answers, 1, 3, 10, 4, 2);
        answers.note_turn(GROUP, NodeId(2));
        read(&mut answers, 1, 3, 20, 6, 3);
        read(&mut answers, 1, 3, 15, 6, 1);
        answers.note_turn(GROUP, NodeId(3));
        assert_eq!(most(&answers, 3, 20), None);
        answers.note_turn(GROUP, NodeId(2));
        assert_eq!([10, 15, 20].map(|echo| most(&answers, 3, echo)), [Some(6), Some(9), Some(9)]);
        assert_eq!((most(&answers, 3, 11), most(&answers, 2, 10)), (None, None));
        // A copy of the first alone allows no more than before.
        read(&mut answers, 1, 3, 10, 4, 2);
        answers.note_turn(GROUP, NodeId(2));
        assert_eq!(most(&answers, 3, 10), Some(6));
    }

    #[test]
    fn another_term_or_life_begins_anew_and_an_older_one_is_ignored() {
        let mut answers = Answers::default();
        read(&mut answers, 1, 3, 10, 4, 2);
        answers.note_turn(GROUP, NodeId(2));
        read(&mut answers, 1, 4, 30, 4, 2);
        read(&mut answers, 1, 3, 10, 4, 9);
        answers.note_turn(GROUP, NodeId(2));
        assert_eq!((most(&answers, 3, 10), most(&answers, 4, 30)), (None, Some(6)));
        read(&mut answers, 2, 4, 40, 4, 1);
        answers.note_turn(GROUP, NodeId(2));
        assert_eq!((most(&answers, 4, 30), most(&answers, 4, 40)), (None, Some(5)));
    }
}
