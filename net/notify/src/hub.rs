//! The hub's table: which edges care for which namespace, and what was heard of its journal. Pure: `now` is an argument.
//!
//! ```text
//! metaserver core ──Advance──▶ stream ─▶ group ─▶ namespace ─▶ owed to each edge with interest ──Push──▶ edge
//!                                          └ unsound ─▶ Head asked, again and again
//! ```
//! State, not queues: an edge is owed a namespace or not, and a push takes the newest jid at the moment it leaves.
//!
//! No wake-up is lost because the bit of interest is set first and the head is read after that, and because a group
//! whose leader is not heard without a gap is *unsound*: the heads of its namespaces are asked, not believed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::mono::Span;
use base::{CoreId, GroupId, IdMap, Jid, Mono, NodeId, Nsid, Prng, Term, group_of, mutate};
use wire::notify::{Advance, Lead, NAMESPACES_MAX};

use crate::slab::Slab;

/// Edges of one hub: bits of a namespace's interest.
pub const EDGES_MAX: usize = 64;
/// Heads asked at a time.
const ASKS_MAX: usize = 1024;
/// A stream or a link that says nothing for so long is broken.
pub const SILENCE: Span = Span::from_ms(1000);
/// A link without news says that it is there.
pub const BEAT: Span = Span::from_ms(250);
/// After a Head that failed.
const ASK_AGAIN: Span = Span::from_ms(500);
/// While nobody tells of a group.
const ASK_UNSOUND: Span = Span::from_ms(2000);
/// All heads are compared with the leaders' once in this time.
const REPAIR_EVERY: Span = Span::from_ms(60_000);
/// What a repair finds may be on its way.
const REPAIR_GRACE: Span = Span::from_ms(1000);

/// One core of one metaserver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct StreamId {
    /// The metaserver.
    pub node: NodeId,
    /// Its core.
    pub core: CoreId,
}

/// An edge, as long as its link lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct EdgeId {
    at: u8,
    generation: u64,
}

/// A question for a namespace's head, linearizable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Which namespace.
    pub nsid: Nsid,
    at: u32,
    id: u64,
}

/// What goes before the heads of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PushHead {
    /// Of the link.
    pub generation: u64,
    /// From 1.
    pub seq: u64,
    /// Groups whose leader is not heard.
    pub unsound: u32,
}

/// What a hub counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HubCounts {
    /// Jids heard of namespaces with interest.
    pub advances: u64,
    /// Heads asked.
    pub asks: u64,
    /// Heads pushed.
    pub pushes: u64,
    /// Namespaces whose head a comparison found ahead: zero unless something failed.
    pub repairs: u64,
    /// Times that a stream had to begin anew.
    pub gaps: u64,
}

#[derive(Debug)]
struct Stream {
    /// Of the feed; 0: nothing was heard yet.
    generation: u64,
    next_seq: u64,
    heard: Mono,
}

#[derive(Debug, Default)]
struct Group {
    /// Whose stream tells of it, and of which term.
    leader: Option<StreamId>,
    term: Term,
    /// Namespaces with interest.
    members: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AskState {
    None,
    /// In the queue.
    Waiting,
    /// Asked. `again`: what is asked may be older than what made it necessary.
    Flying {
        id: u64,
        again: bool,
        is_repair: bool,
    },
    /// Until then.
    Resting,
}

#[derive(Debug)]
struct Namespace {
    nsid: Nsid,
    jid: Jid,
    group: GroupId,
    /// Its place in the group's list.
    at_in_group: u32,
    /// Edges with interest.
    edges: u64,
    /// Edges that are to be told.
    owed: u64,
    /// Edges that were not told anything since they asked. Invariant: inside `edges`, and empty while `is_known`.
    unanswered: u64,
    /// The jid is the newest, as long as the stream of its group goes on.
    is_known: bool,
    ask: AskState,
}

#[derive(Debug)]
struct Edge {
    generation: u64,
    next_seq: u64,
    next_beat: Mono,
    /// Namespaces that may be owed; some were told or are gone since.
    dirty: VecDeque<u32>,
    /// It is in the list of those that have work.
    is_woken: bool,
}

/// The table.
#[derive(Debug)]
pub struct Hub {
    groups: Vec<Group>,
    streams: BTreeMap<StreamId, Stream>,
    namespaces: Slab<Namespace>,
    by_nsid: IdMap<Nsid, u32>,
    edges: Vec<Option<Edge>>,
    woken: VecDeque<EdgeId>,
    asks: VecDeque<u32>,
    flying: usize,
    resting: BTreeSet<(Mono, u32, Nsid)>,
    /// What repairs found, until it is certain that it was not merely on its way.
    suspects: VecDeque<(Mono, u32, Nsid, Jid)>,
    repair_at: u32,
    repair_from: Mono,
    next_id: u64,
    prng: Prng,
    counts: HubCounts,
}

impl Hub {
    /// Nobody is heard and nobody cares. `seed` also begins the generations of links, so another one is wanted each time.
    #[must_use]
    pub fn new(seed: u64, now: Mono) -> Hub {
        Hub {
            groups: Vec::new(),
            streams: BTreeMap::new(),
            namespaces: Slab::default(),
            by_nsid: IdMap::default(),
            edges: Vec::new(),
            woken: VecDeque::new(),
            asks: VecDeque::new(),
            flying: 0,
            resting: BTreeSet::new(),
            suspects: VecDeque::new(),
            repair_at: 0,
            repair_from: now,
            next_id: seed << 24 | 1,
            prng: Prng::new(seed),
            counts: HubCounts::default(),
        }
    }

    // Metaservers.

    /// The cluster has so many groups: known before any stream begins.
    pub fn set_groups(&mut self, groups: u32) {
        if self.groups.is_empty() {
            self.groups.resize_with(groups as usize, Group::default);
        }
    }

    /// A feed was asked for; its first answer is to come.
    pub fn handle_stream_begun(&mut self, stream: StreamId, now: Mono) {
        self.forget_leads(stream);
        self.streams.insert(stream, Stream { generation: 0, next_seq: 1, heard: now });
    }

    /// The link of a feed is gone.
    pub fn handle_stream_lost(&mut self, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            self.forget_leads(stream);
        }
    }

    /// One answer of a feed. False: something was not heard; the feed is to be begun anew.
    #[must_use]
    pub fn handle_advance(&mut self, stream: StreamId, advance: Advance<'_>, now: Mono) -> bool {
        let Some(entry) = self.streams.get_mut(&stream) else { return false };
        let is_first = entry.generation == 0 && advance.seq == 1;
        let is_next = entry.generation == advance.generation && entry.next_seq == advance.seq;
        if !is_first && !is_next && mutate!(MUT_24C, true, false) {
            self.counts.gaps += 1;
            self.handle_stream_lost(stream);
            return false;
        }
        (entry.generation, entry.next_seq, entry.heard) = (advance.generation, advance.seq + 1, now);
        for section in advance.sections() {
            self.note_lead(stream, section.group, section.lead, section.term);
            for (nsid, jid) in section.heads.iter() {
                if let Some(at) = self.by_nsid.get(&nsid) {
                    self.counts.advances += 1;
                    self.raise(*at, jid);
                }
            }
        }
        true
    }

    fn note_lead(&mut self, stream: StreamId, group: GroupId, lead: Lead, term: Term) {
        let Some(entry) = self.groups.get_mut(group.0 as usize) else { return };
        let is_told = lead == Lead::Begun || (lead == Lead::Same && term > entry.term);
        if is_told && term >= entry.term {
            (entry.leader, entry.term) = (Some(stream), term);
            // The one before may have applied and died before it told us.
            let is_asked = mutate!(MUT_24D, true, false);
            if is_asked {
                self.ask_group(group);
            }
        } else if lead == Lead::Ended && entry.leader == Some(stream) {
            entry.leader = None;
            self.ask_group(group);
        }
    }

    /// Groups that a stream told of are not heard any more.
    fn forget_leads(&mut self, stream: StreamId) {
        for group in 0..self.groups.len() {
            if self.groups[group].leader == Some(stream) {
                self.groups[group].leader = None;
                self.ask_group(GroupId(group as u32));
            }
        }
    }

    /// What is known of a group's namespaces may be old.
    fn ask_group(&mut self, group: GroupId) {
        let members = std::mem::take(&mut self.groups[group.0 as usize].members);
        for at in &members {
            self.want_head(*at);
        }
        self.groups[group.0 as usize].members = members;
    }

    fn want_head(&mut self, at: u32) {
        let Some(entry) = self.namespaces.get_mut(at) else { return };
        entry.is_known = false;
        match &mut entry.ask {
            AskState::Flying { again, .. } => *again = true,
            AskState::Waiting => {}
            AskState::None | AskState::Resting => {
                entry.ask = AskState::Waiting;
                self.asks.push_back(at);
            }
        }
    }

    /// The next head to ask for, as long as not too many are.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        while self.flying < ASKS_MAX {
            let at = self.asks.pop_front()?;
            let Some(entry) = self.namespaces.get_mut(at) else { continue };
            if entry.ask != AskState::Waiting {
                continue;
            }
            return Some(self.fly(at, false));
        }
        None
    }

    fn fly(&mut self, at: u32, is_repair: bool) -> Ask {
        let id = self.next_id;
        self.next_id += 1;
        self.flying += 1;
        self.counts.asks += 1;
        let entry = self.namespaces.get_mut(at).expect("the caller has just looked");
        entry.ask = AskState::Flying { id, again: false, is_repair };
        Ask { nsid: entry.nsid, at, id }
    }

    /// The answer: the head, or that nobody could tell.
    pub fn handle_head(&mut self, ask: Ask, head: Option<Jid>, now: Mono) {
        self.flying -= 1;
        let Some(entry) = self.namespaces.get_mut(ask.at).filter(|entry| entry.nsid == ask.nsid) else { return };
        let AskState::Flying { id, again, is_repair } = entry.ask else { return };
        if id != ask.id {
            return;
        }
        entry.ask = AskState::None;
        let is_sound = self.groups[entry.group.0 as usize].leader.is_some();
        match head {
            Some(jid) if is_repair && !again => {
                if jid > entry.jid {
                    self.suspects.push_back((now + REPAIR_GRACE, ask.at, ask.nsid, jid));
                }
            }
            Some(jid) => {
                entry.is_known = !again && is_sound;
                let unanswered = std::mem::take(&mut entry.unanswered);
                self.raise(ask.at, jid);
                self.owe(ask.at, unanswered);
                if again {
                    self.want_head(ask.at);
                } else if !is_sound {
                    self.rest(ask.at, ASK_UNSOUND, now);
                }
            }
            None => self.rest(ask.at, ASK_AGAIN, now),
        }
    }

    fn rest(&mut self, at: u32, span: Span, now: Mono) {
        let jitter = Span(self.prng.below(span.0 / 2));
        let Some(entry) = self.namespaces.get_mut(at) else { return };
        entry.ask = AskState::Resting;
        self.resting.insert((now + span + jitter, at, entry.nsid));
    }

    /// A journal is there now; it never goes back.
    fn raise(&mut self, at: u32, jid: Jid) {
        let Some(entry) = self.namespaces.get_mut(at) else { return };
        if jid > entry.jid {
            entry.jid = jid;
            let edges = entry.edges;
            self.owe(at, edges);
        }
    }

    fn owe(&mut self, at: u32, edges: u64) {
        let Some(entry) = self.namespaces.get_mut(at) else { return };
        let mut new = edges & !entry.owed;
        entry.owed |= edges;
        entry.unanswered &= !edges;
        while new != 0 {
            let bit = new.trailing_zeros();
            new &= new - 1;
            let Some(edge) = self.edges[bit as usize].as_mut() else { continue };
            edge.dirty.push_back(at);
            if !std::mem::replace(&mut edge.is_woken, true) {
                self.woken.push_back(EdgeId { at: bit as u8, generation: edge.generation });
            }
        }
    }

    // Edges.

    /// An edge joins; `None`: there are too many, or the cluster was not found yet.
    pub fn handle_join(&mut self, now: Mono) -> Option<EdgeId> {
        if self.groups.is_empty() {
            return None;
        }
        let at = self.edges.iter().position(Option::is_none).unwrap_or(self.edges.len());
        if at >= EDGES_MAX {
            return None;
        }
        let generation = self.next_id;
        self.next_id += 1;
        let edge = Edge { generation, next_seq: 1, next_beat: now, dirty: VecDeque::new(), is_woken: false };
        if at == self.edges.len() {
            self.edges.push(Some(edge));
        } else {
            self.edges[at] = Some(edge);
        }
        Some(EdgeId { at: at as u8, generation })
    }

    fn edge(&mut self, id: EdgeId) -> Option<&mut Edge> {
        self.edges.get_mut(usize::from(id.at))?.as_mut().filter(|edge| edge.generation == id.generation)
    }

    /// An edge cares for a namespace from now on: a push will name it, as it is then or later.
    pub fn handle_interest(&mut self, id: EdgeId, nsid: Nsid) {
        if self.edge(id).is_none() {
            return;
        }
        let bit = 1 << id.at;
        let at = self.by_nsid.get(&nsid).copied().unwrap_or_else(|| self.add(nsid));
        let entry = self.namespaces.get_mut(at).expect("the map leads to what is there");
        // The bit first, then the head: what is applied in between is told by the stream.
        entry.edges |= bit;
        if entry.is_known {
            self.owe(at, bit);
        } else {
            entry.unanswered |= bit;
            // An answer on its way is enough: what is applied after it comes by the stream, or is asked again.
            if matches!(entry.ask, AskState::None | AskState::Resting) {
                self.want_head(at);
            }
        }
    }

    fn add(&mut self, nsid: Nsid) -> u32 {
        let group = group_of(nsid, self.groups.len() as u32);
        let members = &mut self.groups[group.0 as usize].members;
        let at = self.namespaces.insert(Namespace {
            nsid,
            jid: Jid(0),
            group,
            at_in_group: members.len() as u32,
            edges: 0,
            owed: 0,
            unanswered: 0,
            is_known: false,
            ask: AskState::None,
        });
        members.push(at);
        self.by_nsid.insert(nsid, at);
        at
    }

    /// An edge does not care any more.
    pub fn handle_drop(&mut self, id: EdgeId, nsid: Nsid) {
        if self.edge(id).is_some()
            && let Some(at) = self.by_nsid.get(&nsid)
        {
            self.drop_bit(*at, 1 << id.at);
        }
    }

    /// The link of an edge is gone.
    pub fn handle_edge_lost(&mut self, id: EdgeId) {
        if self.edge(id).is_none() {
            return;
        }
        self.edges[usize::from(id.at)] = None;
        for at in 0..self.namespaces.slots() {
            self.drop_bit(at, 1 << id.at);
        }
    }

    fn drop_bit(&mut self, at: u32, bit: u64) {
        let Some(entry) = self.namespaces.get_mut(at) else { return };
        entry.edges &= !bit;
        entry.owed &= !bit;
        entry.unanswered &= !bit;
        if entry.edges == 0 {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: u32) {
        let Some(entry) = self.namespaces.remove(at) else { return };
        self.by_nsid.remove(&entry.nsid);
        let members = &mut self.groups[entry.group.0 as usize].members;
        members.swap_remove(entry.at_in_group as usize);
        if let Some(moved) = members.get(entry.at_in_group as usize) {
            self.namespaces.get_mut(*moved).expect("members are there").at_in_group = entry.at_in_group;
        }
    }

    /// The next edge that has become owed something, each once until its next push.
    pub fn poll_woken(&mut self) -> Option<EdgeId> {
        self.woken.pop_front()
    }

    /// What an edge is to be told now, or `None`. Called when its link can take it; `heads` is filled anew.
    pub fn poll_push(&mut self, id: EdgeId, now: Mono, heads: &mut Vec<(Nsid, Jid)>) -> Option<PushHead> {
        heads.clear();
        let bit = 1 << id.at;
        let edge = self.edges.get_mut(usize::from(id.at))?.as_mut().filter(|edge| edge.generation == id.generation)?;
        edge.is_woken = false;
        while heads.len() < NAMESPACES_MAX
            && let Some(at) = edge.dirty.pop_front()
        {
            if let Some(entry) = self.namespaces.get_mut(at).filter(|entry| entry.owed & bit != 0) {
                entry.owed &= !bit;
                heads.push((entry.nsid, entry.jid));
            }
        }
        if heads.is_empty() && now < edge.next_beat {
            return None;
        }
        let seq = edge.next_seq;
        edge.next_seq += 1;
        edge.next_beat = now + BEAT;
        self.counts.pushes += heads.len() as u64;
        let generation = edge.generation;
        Some(PushHead { generation, seq, unsound: self.unsound() })
    }

    /// Groups whose leader is not heard; all of them while the cluster was not found.
    #[must_use]
    pub fn unsound(&self) -> u32 {
        let silent = self.groups.iter().filter(|group| group.leader.is_none()).count() as u32;
        silent.max(u32::from(self.groups.is_empty()))
    }

    // Time.

    /// What is due now. The streams that are silent come out: their feeds are to be begun anew.
    pub fn handle_tick(&mut self, now: Mono) -> Vec<StreamId> {
        let is_silent = |stream: &Stream| now.since(stream.heard) > SILENCE;
        let silent: Vec<StreamId> =
            self.streams.iter().filter(|(_, stream)| is_silent(stream)).map(|(id, _)| *id).collect();
        silent.iter().for_each(|stream| self.handle_stream_lost(*stream));
        while let Some(due) = self.resting.first().copied().filter(|due| due.0 <= now) {
            self.resting.remove(&due);
            let entry = self.namespaces.get(due.1).filter(|entry| entry.nsid == due.2);
            if entry.is_some_and(|entry| entry.ask == AskState::Resting) {
                self.want_head(due.1);
            }
        }
        while let Some((_, at, nsid, jid)) = self.suspects.pop_front_if(|suspect| suspect.0 <= now) {
            let entry = self.namespaces.get(at).filter(|entry| entry.nsid == nsid);
            if entry.is_some_and(|entry| entry.jid < jid) {
                self.counts.repairs += 1;
                self.raise(at, jid);
            }
        }
        silent
    }

    /// The next head to compare with what is known, a share of all for the time that went by.
    pub fn poll_repair(&mut self, now: Mono) -> Option<Ask> {
        let slots = u64::from(self.namespaces.slots());
        let due = u128::from(now.since(self.repair_from).0) * u128::from(slots) / u128::from(REPAIR_EVERY.0);
        while u128::from(self.repair_at) < due && u64::from(self.repair_at) < slots && self.flying < ASKS_MAX {
            let at = self.repair_at;
            self.repair_at += 1;
            if self.namespaces.get(at).is_some_and(|entry| entry.is_known && entry.ask == AskState::None) {
                return Some(self.fly(at, true));
            }
        }
        if now.since(self.repair_from) >= REPAIR_EVERY {
            (self.repair_from, self.repair_at) = (now, 0);
        }
        None
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> HubCounts {
        self.counts
    }

    /// Namespaces, edges and streams now.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.namespaces.count(), self.edges.iter().flatten().count(), self.streams.len())
    }
}
