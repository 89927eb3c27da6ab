//! The groups that rest between this core and the same core of another node: one small list per pair tells both sides
//! that the other is alive and means the same groups, however many there are (docs/design/raft.md, "Quiescence").
//!
//! ```text
//!  leader's core, every 50 ms                      follower's core
//!   items of the groups in use, then (count, hash) ──▶ takes the listed groups out of its set, compares
//!   compares with what that list said          ◀── (count, hash) as compared; then agreed groups join the set
//! ```
//! Six lists in a row that differ wake all groups of the pair: those of a round trip may have crossed a wake on its way.

use std::collections::BTreeMap;

use base::mono::Span;
use base::{Mono, NodeId};
use meta::Store;
use raft::{Body, Input, Raft};
use seglog::Disk;

use crate::{PeerOut, Shard};

/// Lists whose answers may still come: 400 ms of them.
const LISTS_KEPT: usize = 8;
/// Differences in a row that wake a pair.
const MISSES_MAX: u8 = 6;

/// What rests between two cores, as the leader's side counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resting {
    /// Groups.
    pub count: u32,
    /// The wrapping sum of their [`Raft::rest_hash`].
    pub hash: u64,
}

/// Resting groups by local index, with their shares.
#[derive(Default, Debug)]
struct Set {
    groups: BTreeMap<u32, u64>,
    hash: u64,
}

impl Set {
    fn insert(&mut self, at: u32, share: u64) {
        self.remove(at);
        self.groups.insert(at, share);
        self.hash = self.hash.wrapping_add(share);
    }

    fn remove(&mut self, at: u32) {
        if let Some(share) = self.groups.remove(&at) {
            self.hash = self.hash.wrapping_sub(share);
        }
    }

    fn resting(&self) -> Resting {
        Resting { count: self.groups.len() as u32, hash: self.hash }
    }
}

#[derive(Default, Debug)]
struct Pair {
    /// A link is up.
    is_up: bool,
    /// The newest message of the peer core.
    heard: Mono,
    /// Groups led here in which the peer rests.
    led: Set,
    /// Groups that the peer leads and that rest here.
    followed: Set,
    /// Groups of the peer's newest lists, by the list's time: they join `followed` after its comparison.
    listed: BTreeMap<u32, Mono>,
    /// Something led here was listed in this beat.
    is_listing: bool,
    sent: [(Mono, Resting); LISTS_KEPT],
    next_sent: usize,
    /// The newest list of the peer that was compared, and the newest of the own ones that was answered: an older one
    /// that comes late, or one that comes again, says what was.
    compared: Mono,
    answered: Mono,
    list_misses: u8,
    ack_misses: u8,
    is_slow: bool,
    /// A link came up then, or its core was told to be slow at last.
    fit_since: Mono,
}

/// All pairs of a core, ascending: a few, and every turn looks at each.
#[derive(Default, Debug)]
pub(crate) struct Pairs {
    by_node: Vec<(NodeId, Pair)>,
}

impl Pairs {
    fn get(&self, peer: NodeId) -> Option<&Pair> {
        self.by_node.iter().find(|(id, _)| *id == peer).map(|(_, pair)| pair)
    }

    fn get_mut(&mut self, peer: NodeId) -> Option<&mut Pair> {
        self.by_node.iter_mut().find(|(id, _)| *id == peer).map(|(_, pair)| pair)
    }

    /// The pair with a peer, made if it is new.
    fn of(&mut self, peer: NodeId) -> &mut Pair {
        let at = self.by_node.binary_search_by_key(&peer, |(id, _)| *id).unwrap_or_else(|at| {
            self.by_node.insert(at, (peer, Pair::default()));
            at
        });
        &mut self.by_node[at].1
    }

    /// When a node was last heard of.
    pub(crate) fn heard(&self, peer: NodeId) -> Mono {
        self.get(peer).map_or(Mono(0), |pair| pair.heard)
    }

    pub(crate) fn note_heard(&mut self, peer: NodeId, now: Mono) {
        let pair = self.of(peer);
        pair.heard = pair.heard.max(now);
    }

    pub(crate) fn set_up(&mut self, peer: NodeId, is_up: bool, now: Mono) {
        let pair = self.of(peer);
        (pair.is_up, pair.fit_since) = (is_up, now);
        // Another life of the peer may have another clock.
        (pair.compared, pair.answered) = Default::default();
    }

    pub(crate) fn is_up(&self, peer: NodeId) -> bool {
        self.get(peer).is_some_and(|pair| pair.is_up)
    }

    /// Its disk is too slow for it to lead, as it said.
    pub(crate) fn is_slow(&self, peer: NodeId) -> bool {
        self.get(peer).is_some_and(|pair| pair.is_slow)
    }

    /// Peers that could lead more: with a link, heard of within `silence`, and neither new nor slow since `fit_since`.
    pub(crate) fn fit(&self, fit_since: Mono, now: Mono, silence: Span) -> impl Iterator<Item = NodeId> {
        let fit = self.by_node.iter().filter(move |(_, pair)| {
            let is_heard = now.since(pair.heard) < silence;
            pair.is_up && !pair.is_slow && is_heard && pair.fit_since <= fit_since
        });
        fit.map(|(id, _)| *id)
    }

    /// Peers with a link.
    pub(crate) fn count_up(&self) -> usize {
        self.by_node.iter().filter(|(_, pair)| pair.is_up).count()
    }

    /// A group's state changed: it stands in exactly the sets it rests in.
    fn note_rest(&mut self, at: u32, raft: &Raft) {
        for (peer, pair) in &mut self.by_node {
            let (rests, leads) = (raft.rests_with(*peer), raft.is_leader());
            if rests && leads {
                pair.led.insert(at, raft.rest_hash())
            } else {
                pair.led.remove(at)
            }
            let follows = rests && !leads && !pair.listed.contains_key(&at);
            if follows { pair.followed.insert(at, raft.rest_hash()) } else { pair.followed.remove(at) }
        }
    }

    /// An item of the peer's list: the group is in use there, or asked to rest.
    fn note_listed(&mut self, peer: NodeId, at: u32, list: Mono) {
        let pair = self.of(peer);
        pair.followed.remove(at);
        pair.listed.insert(at, list);
    }

    pub(crate) fn note_listing(&mut self, peer: NodeId) {
        self.of(peer).is_listing = true;
    }

    /// When silence must be looked at.
    pub(crate) fn deadline(&self, silence: Span) -> Mono {
        let waiting = self.by_node.iter().filter(|(_, pair)| pair.has_rest());
        waiting.map(|(_, pair)| pair.heard + silence).min().unwrap_or(Mono::MAX)
    }

    /// Some group led here rests with somebody.
    pub(crate) fn leads(&self) -> bool {
        self.by_node.iter().any(|(_, pair)| !pair.led.groups.is_empty())
    }

    fn silent(&self, now: Mono, silence: Span) -> Option<NodeId> {
        self.by_node.iter().find(|(_, pair)| pair.has_rest() && now.since(pair.heard) >= silence).map(|(id, _)| *id)
    }
}

impl Pair {
    fn has_rest(&self) -> bool {
        !self.led.groups.is_empty() || !self.followed.groups.is_empty()
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Before a group is stepped: who rests is woken, and what it promised counts from the peer's last message.
    pub(crate) fn wake_for(&mut self, at: u32, input: &Input<'_>) {
        let (now, pairs) = (self.turn_now, &self.pairs);
        self.groups[at as usize].raft.wake_for(input, now, |peer| pairs.heard(peer));
    }

    /// After a group was stepped: the sets and the list of groups in use follow it.
    pub(crate) fn note_rest(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        if slot.raft.take_rest_change() {
            self.pairs.note_rest(at, &slot.raft);
            self.note_led(at);
        }
    }

    /// Only groups that are led here and do not rest are looked at by the heartbeat.
    pub(crate) fn note_led(&mut self, at: u32) {
        let slot = &self.groups[at as usize];
        if slot.is_leader && !slot.raft.is_resting() {
            self.heartbeating.insert(at);
        } else {
            self.heartbeating.remove(&at);
        }
    }

    pub(crate) fn note_message(&mut self, from: NodeId, at: u32, body: &Body, now: Mono) {
        self.pairs.note_heard(from, now);
        if let Body::Heartbeat { send_mono, .. } = *body {
            self.pairs.note_listed(from, at, send_mono);
        }
    }

    /// The end of a beat: every peer with a group that is led here, in use or at rest, hears how many rest.
    pub(crate) fn send_resting(&mut self, now: Mono) {
        for (to, pair) in &mut self.pairs.by_node {
            if !std::mem::take(&mut pair.is_listing) && pair.led.groups.is_empty() {
                continue;
            }
            let resting = pair.led.resting();
            pair.sent[pair.next_sent] = (now, resting);
            pair.next_sent = (pair.next_sent + 1) % LISTS_KEPT;
            self.peer_out.push_back(PeerOut::Resting { to: *to, resting, now });
        }
    }

    /// The end of a peer's list: how many groups rest here under its lead, as it believes. `list` is the time its items
    /// carry.
    pub fn handle_resting(&mut self, from: NodeId, resting: Resting, list: Mono, now: Mono) {
        self.pairs.note_heard(from, now);
        if list <= self.pairs.of(from).compared {
            base::mark::hit!("shard.pairs.stale_list");
            return;
        }
        self.pairs.of(from).compared = list;
        // Of an older list whose end was lost: they rest, or not, since then.
        self.settle_listed(from, |of| of < list);
        let pair_resting = self.pairs.of(from).followed.resting();
        let ack = PeerOut::RestingAck { to: from, resting: pair_resting, list, is_slow: self.should_not_lead() };
        self.peer_out.push_back(ack);
        let pair = self.pairs.of(from);
        pair.list_misses = if pair_resting == resting { 0 } else { pair.list_misses + 1 };
        let has_missed = pair.list_misses >= MISSES_MAX;
        self.settle_listed(from, |of| of <= list);
        if has_missed {
            base::mark::hit!("shard.pairs.list_differs");
            self.wake_pair(from, now);
        }
    }

    /// The follower's answer: what rested there when it compared the list of `list`.
    pub fn handle_resting_ack(&mut self, from: NodeId, resting: Resting, list: Mono, is_slow: bool, now: Mono) {
        self.pairs.note_heard(from, now);
        let pair = self.pairs.of(from);
        if is_slow || pair.is_slow {
            pair.fit_since = now;
        }
        pair.is_slow = is_slow;
        if list <= pair.answered {
            base::mark::hit!("shard.pairs.stale_answer");
            return;
        }
        let Some((_, said)) = pair.sent.iter().find(|(of, _)| *of == list) else { return };
        pair.answered = list;
        pair.ack_misses = if *said == resting { 0 } else { pair.ack_misses + 1 };
        if pair.ack_misses >= MISSES_MAX {
            base::mark::hit!("shard.pairs.ack_differs");
            self.wake_pair(from, now);
        }
    }

    fn settle_listed(&mut self, from: NodeId, is_due: impl Fn(Mono) -> bool) {
        let Some(pair) = self.pairs.get_mut(from) else { return };
        let groups = &self.groups;
        let followed = &mut pair.followed;
        pair.listed.retain(|at, of| {
            if !is_due(*of) {
                return true;
            }
            let raft = &groups[*at as usize].raft;
            if raft.rests_with(from) && !raft.is_leader() {
                followed.insert(*at, raft.rest_hash());
            }
            false
        });
    }

    /// Wakes every group that rests between this core and the peer's. The elections that may follow are spread by the
    /// core's budget of them.
    pub(crate) fn wake_pair(&mut self, peer: NodeId, now: Mono) {
        let Some(pair) = self.pairs.get_mut(peer) else { return };
        (pair.list_misses, pair.ack_misses) = (0, 0);
        let groups: Vec<u32> = pair.led.groups.keys().chain(pair.followed.groups.keys()).copied().collect();
        for at in groups {
            let pairs = &self.pairs;
            self.groups[at as usize].raft.wake(now, |peer| pairs.heard(peer));
            self.after_step(at);
        }
        if let Some(pair) = self.pairs.get_mut(peer) {
            (pair.led, pair.followed) = (Set::default(), Set::default());
        }
    }

    /// Peers that have been silent for the least election timeout.
    pub(crate) fn watch_silence(&mut self, now: Mono) {
        while let Some(peer) = self.pairs.silent(now, self.settings.raft.election_min) {
            base::mark::hit!("shard.pairs.silent");
            self.wake_pair(peer, now);
        }
    }
}
