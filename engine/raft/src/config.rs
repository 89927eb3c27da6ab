//! Who is in the group: one configuration, or two at once while it changes (joint consensus, thesis 4.3).
//!
//! ```text
//! Config entry payload
//!  0 u8 version = 1   1 u8 flags (1 joint, 2 auto_leave)   2 u8 incoming   3 u8 outgoing   4 u8 learners
//!  5 u8 learners_next 6 u16 zero   8 node_id u64 x (incoming + outgoing + learners + learners_next)
//! ```
//! Each list is ascending. All counts 0 is the configuration of a node that was not told yet where it belongs.

use base::NodeId;
use base::bytes::{get_u16, get_u64};
use base::limits::{MEMBERS_MAX, VOTERS_MAX};

use crate::ConfigChange;

const VERSION: u8 = 1;
const FLAG_JOINT: u8 = 1;
const FLAG_AUTO_LEAVE: u8 = 2;
const HEADER_BYTES: usize = 8;

/// The members of a group.
///
/// Invariant: lists ascend; a learner is no voter; `learners_next` are voters of the outgoing half alone.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Default)]
pub struct Config {
    incoming: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    learners_next: Vec<NodeId>,
    auto_leave: bool,
}

/// Why bytes are not a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a group configuration: bad {0}")]
pub struct DecodeConfigError(pub &'static str);

/// Why a change cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// A node is named twice, is not a node, or is removed without being a member.
    #[error("the change names a node twice, or removes one that is no member")]
    Member,
    /// No voter would be left.
    #[error("no voter would be left")]
    NoVoter,
    /// Too many voters or members.
    #[error("too many members")]
    TooMany,
    /// It is already so.
    #[error("nothing would change")]
    Same,
}

impl Config {
    /// A configuration of these voters, not joint. Repeated ids count once.
    #[must_use]
    pub fn single(voters: &[NodeId]) -> Config {
        Config { incoming: sorted(voters.iter().copied()), ..Config::default() }
    }

    /// Reads the payload of a Config entry.
    ///
    /// Errors: the field that no writer gives; bytes may come from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Config, DecodeConfigError> {
        let bad = |what| Err(DecodeConfigError(what));
        let [version, flags, incoming, outgoing, learners, learners_next] =
            base::bytes::get_array::<6>(bytes, 0).ok_or(DecodeConfigError("length"))?;
        if version != VERSION {
            return bad("version");
        }
        if get_u16(bytes, 6) != Some(0) {
            return bad("reserved field");
        }
        let counts = [incoming, outgoing, learners, learners_next].map(usize::from);
        if bytes.len() != HEADER_BYTES + 8 * counts.iter().sum::<usize>() {
            return bad("length");
        }
        let mut offset = HEADER_BYTES;
        let [incoming, outgoing, learners, learners_next] = counts.map(|count| {
            let ids = (0..count).map(|i| NodeId(get_u64(bytes, offset + 8 * i).unwrap_or_default())).collect();
            offset += 8 * count;
            ids
        });
        let config = Config { incoming, outgoing, learners, learners_next, auto_leave: flags & FLAG_AUTO_LEAVE != 0 };
        if flags & !(FLAG_JOINT | FLAG_AUTO_LEAVE) != 0
            || (flags & FLAG_JOINT != 0) != config.is_joint()
            || config.auto_leave && !config.is_joint()
        {
            return bad("flags");
        }
        config.check().map(|()| config)
    }

    fn check(&self) -> Result<(), DecodeConfigError> {
        let bad = |what| Err(DecodeConfigError(what));
        for list in [&self.incoming, &self.outgoing, &self.learners, &self.learners_next] {
            if list.first() == Some(&NodeId(0)) || !list.is_sorted_by(|a, b| a < b) {
                return bad("order of ids");
            }
        }
        if self.incoming.is_empty() && *self != Config::default() {
            return bad("count of voters");
        }
        if self.incoming.len() > VOTERS_MAX || self.outgoing.len() > VOTERS_MAX || self.members().count() > MEMBERS_MAX
        {
            return bad("count of members");
        }
        if self.learners.iter().any(|id| self.is_voter(*id)) {
            return bad("learner that votes");
        }
        if self.learners_next.iter().any(|id| self.incoming.contains(id) || !self.outgoing.contains(id)) {
            return bad("next learner");
        }
        Ok(())
    }

    /// The payload of a Config entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lists = [&self.incoming, &self.outgoing, &self.learners, &self.learners_next];
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let mut out = vec![VERSION, flag(self.is_joint(), FLAG_JOINT) | flag(self.auto_leave, FLAG_AUTO_LEAVE)];
        out.extend(lists.iter().map(|list| u8::try_from(list.len()).expect("members are bounded by MEMBERS_MAX")));
        out.extend([0, 0]);
        lists.iter().for_each(|list| list.iter().for_each(|id| out.extend(id.0.to_le_bytes())));
        out
    }

    /// The joint configuration that leads from this one to the one `change` asks for, in one step.
    ///
    /// Errors: [`ChangeError`]; this configuration must not be joint itself.
    pub fn change(&self, change: &ConfigChange) -> Result<Config, ChangeError> {
        let ConfigChange { add_voters, add_learners, remove } = change;
        let named = || add_voters.iter().chain(add_learners).chain(remove).copied();
        if self.is_joint() || named().count() != sorted(named()).len() || named().any(|id| id == NodeId(0)) {
            return Err(ChangeError::Member);
        }
        if remove.iter().any(|id| !self.is_member(*id)) {
            return Err(ChangeError::Member);
        }
        let stays = |id: &NodeId| !named().any(|other| other == *id);
        let incoming = sorted(self.incoming.iter().copied().filter(stays).chain(add_voters.iter().copied()));
        // A voter of the old half keeps voting there; it becomes a learner when the joint configuration is left.
        let (learners_next, at_once) =
            add_learners.iter().copied().partition::<Vec<_>, _>(|id| self.incoming.contains(id));
        let learners = sorted(self.learners.iter().copied().filter(stays).chain(at_once));
        base::mark::hit!("raft.config.voter_demoted", !learners_next.is_empty());
        let next = Config {
            incoming,
            outgoing: self.incoming.clone(),
            learners,
            learners_next: sorted(learners_next.into_iter()),
            auto_leave: true,
        };
        if next.incoming.is_empty() {
            return Err(ChangeError::NoVoter);
        }
        if next.leave() == *self {
            base::mark::hit!("raft.config.nothing_changes");
            return Err(ChangeError::Same);
        }
        next.check().map_err(|_| ChangeError::TooMany)?;
        Ok(next)
    }

    /// The configuration that a joint one leads to.
    #[must_use]
    pub fn leave(&self) -> Config {
        Config {
            incoming: self.incoming.clone(),
            outgoing: Vec::new(),
            learners: sorted(self.learners.iter().chain(&self.learners_next).copied()),
            learners_next: Vec::new(),
            auto_leave: false,
        }
    }

    /// The voters of the new half; of the only one, when not joint.
    #[must_use]
    pub fn incoming(&self) -> &[NodeId] {
        &self.incoming
    }

    /// The voters of the old half; empty when not joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// The nodes that receive and do not count.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// The voters that become learners when the joint configuration is left.
    #[must_use]
    pub fn learners_next(&self) -> &[NodeId] {
        &self.learners_next
    }

    /// Two halves must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The leader leaves the joint configuration by itself.
    #[must_use]
    pub fn auto_leave(&self) -> bool {
        self.auto_leave
    }

    /// Does its vote count, in either half?
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.incoming.contains(&id) || self.outgoing.contains(&id)
    }

    /// Are those for whom `has` holds a majority, of both halves while it is joint?
    #[must_use]
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        crate::quorum::count_poll(self, |id| Some(has(id))) == crate::quorum::Poll::Won
    }

    /// Is it a voter or a learner?
    #[must_use]
    pub fn is_member(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Every voter of either half, once.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let old = self.outgoing.iter().filter(|id| !self.incoming.contains(id));
        self.incoming.iter().chain(old).copied()
    }

    /// Every voter and learner, once.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters().chain(self.learners.iter().copied())
    }
}

fn sorted(ids: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_replacement_is_one_joint_step() {
        let change = ConfigChange { add_voters: nodes(&[4]), remove: nodes(&[3]), add_learners: nodes(&[2]) };
        let joint = Config::single(&nodes(&[3, 1, 2])).change(&change).unwrap();
        assert_eq!((joint.incoming(), joint.outgoing()), (&nodes(&[1, 4])[..], &nodes(&[1, 2, 3])[..]));
        assert_eq!((joint.learners(), joint.learners_next()), (&[][..], &nodes(&[2])[..]));
        let left = joint.leave();
        assert_eq!((left.incoming(), left.learners()), (&nodes(&[1, 4])[..], &nodes(&[2])[..]));
        assert!(!left.is_joint() && !left.auto_leave());
    }

    #[test]
    fn senseless_changes_are_refused() {
        let config = Config::single(&nodes(&[1, 2]));
        let remove = |ids: &[u64]| ConfigChange { remove: nodes(ids), ..ConfigChange::default() };
        let add = |ids: &[u64]| ConfigChange { add_voters: nodes(ids), ..ConfigChange::default() };
        assert_eq!(config.change(&remove(&[1, 2])), Err(ChangeError::NoVoter));
        assert_eq!(config.change(&remove(&[3])), Err(ChangeError::Member));
        assert_eq!(config.change(&add(&[0])), Err(ChangeError::Member));
        assert_eq!(config.change(&add(&[3, 3])), Err(ChangeError::Member));
        assert_eq!(config.change(&add(&[2])), Err(ChangeError::Same));
        assert_eq!(config.change(&add(&[3, 4, 5, 6, 7, 8])), Err(ChangeError::TooMany));
        assert!(config.change(&add(&[3, 4, 5, 6, 7])).is_ok());
    }

    #[test]
    fn the_bytes_are_pinned_and_round_trip() {
        let change = ConfigChange { add_voters: nodes(&[0x0102]), ..ConfigChange::default() };
        let joint = Config::single(&nodes(&[1])).change(&change).unwrap();
        let golden =
            [[1, 3, 2, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
                .concat();
        assert_eq!(joint.encode(), golden);
        assert_eq!(Config::decode(&golden), Ok(joint));
        assert_eq!(Config::decode(&Config::default().encode()), Ok(Config::default()));
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = Config::single(&nodes(&[1, 2, 3])).encode();
        assert!(Config::decode(&good).is_ok());
        for (at, value) in [(0, 2), (1, 1), (1, 2), (1, 4), (2, 4), (3, 1), (6, 1), (8, 9), (8, 0), (16, 1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(Config::decode(&bytes).is_err(), "byte {at} = {value} was taken");
        }
        (0..good.len()).for_each(|end| assert!(Config::decode(&good[..end]).is_err()));
        let mut prng = base::Prng::new(3);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..8 + 8 * prng.below(4)).map(|_| prng.below(4) as u8).collect();
            bytes[0] = 1;
            if let Ok(config) = Config::decode(&bytes) {
                assert_eq!(config.encode(), bytes);
            }
        }
    }
}
