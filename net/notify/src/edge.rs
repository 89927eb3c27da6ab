//! The edge's table: who waits for which journal, and what the hubs tell of it. Pure: `now` is an argument.
//!
//! ```text
//! watcher ─▶ subscriptions ─▶ namespace {asked, live} ─▶ place ─▶ link to the hub of that place, or its standby
//! ```
//! A subscription is linked first, then the hub is asked: what the hub says after that finds it. A link that is lost, or
//! has a gap, makes all namespaces of its place *asked* again; the next link is told of all of them. While no hub can
//! tell, the heads are asked of the metaservers themselves.

use std::collections::VecDeque;

use base::mono::Span;
use base::{IdMap, Jid, Mono, Nsid, Prng, mutate, place_of};
use wire::notify::{NAMESPACES_MAX, Push};

use crate::hub::SILENCE;
use crate::slab::Slab;

/// Namespaces of one watcher.
pub const SUBSCRIPTIONS_MAX: usize = 1024;
/// Interest outlives the last watcher by so much: reconnects cost nothing.
const LINGER: Span = Span::from_ms(30_000);
/// A hub that hears no leader of some group for so long is left for its standby.
const UNSOUND: Span = Span::from_ms(2000);
/// And so long no other change is made for that reason: the standby may hear no more than it did.
const STAY: Span = Span::from_ms(30_000);
/// Metaservers are asked once no hub can tell for so long, and then again and again.
const BLIND: Span = Span::from_ms(1000);
const ASK_EVERY: Span = Span::from_ms(5000);
/// Between two dials of one place.
const DIAL_MIN: Span = Span::from_ms(50);
const DIAL_MAX: Span = Span::from_ms(2000);
/// Heads asked at a time.
const ASKS_MAX: usize = 1024;
const NONE: u32 = u32::MAX;

/// One dial to a hub and what comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct LinkId {
    /// Which place.
    pub place: u16,
    dial: u64,
}

/// One who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct WatcherId {
    at: u32,
    generation: u64,
}

/// There are as many watchers as this edge takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overloaded;

/// What an edge counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EdgeCounts {
    /// Watchers that came.
    pub watchers: u64,
    /// Watchers that were woken.
    pub wakes: u64,
    /// Heads that hubs pushed.
    pub pushes: u64,
    /// Namespaces that a hub was told of.
    pub interests: u64,
    /// Links that were lost, or left.
    pub links_lost: u64,
    /// Heads asked of metaservers because no hub could tell.
    pub asks: u64,
}

#[derive(Debug)]
struct Watcher<W> {
    generation: u64,
    first: u32,
    is_woken: bool,
    payload: W,
}

#[derive(Debug)]
struct Subscription {
    watcher: u32,
    namespace: u32,
    last_sent: Jid,
    before: u32,
    after: u32,
    next_of_watcher: u32,
}

#[derive(Debug)]
struct Namespace {
    nsid: Nsid,
    /// The newest that was heard.
    jid: Jid,
    first: u32,
    count: u32,
    place: u16,
    /// The hub was told of it on the link of now.
    is_told: bool,
    /// The hub has named it since: what it does not say did not happen.
    is_live: bool,
    /// In the place's list of those that the hub is to hear of.
    is_queued: bool,
    /// Nobody waits for it since.
    idle_since: Mono,
    is_dropping: bool,
}

#[derive(Debug)]
enum Link {
    Down { dial_at: Mono },
    Dialing(LinkId),
    Up { id: LinkId, generation: u64, next_seq: u64, heard: Mono },
}

#[derive(Debug)]
struct Place {
    addresses: usize,
    /// The address of the next dial.
    address: usize,
    link: Link,
    failures: u32,
    queue: VecDeque<u32>,
    /// The hub could not tell of everything since.
    blind_since: Option<Mono>,
    ask_at: Mono,
    stay_until: Mono,
}

/// The table. `W`: what the caller keeps for a watcher.
#[derive(Debug)]
pub struct Edge<W> {
    watchers_max: usize,
    places: Vec<Place>,
    namespaces: Slab<Namespace>,
    by_nsid: IdMap<Nsid, u32>,
    subscriptions: Slab<Subscription>,
    watchers: Slab<Watcher<W>>,
    woken: VecDeque<WatcherId>,
    idle: VecDeque<(Mono, u32, Nsid)>,
    /// When a hub is to have named it.
    asked: VecDeque<(Mono, u32, Nsid)>,
    asks: VecDeque<Nsid>,
    flying: usize,
    next_id: u64,
    prng: Prng,
    counts: EdgeCounts,
}

impl<W> Edge<W> {
    /// `addresses`: of each place, how many hubs can be dialled, in order of preference; at least one each.
    #[must_use]
    pub fn new(addresses: &[usize], watchers_max: usize, seed: u64, now: Mono) -> Edge<W> {
        let place = |addresses: &usize| Place {
            addresses: (*addresses).max(1),
            address: 0,
            link: Link::Down { dial_at: now },
            failures: 0,
            queue: VecDeque::new(),
            blind_since: Some(now),
            ask_at: now + BLIND,
            stay_until: now,
        };
        Edge {
            watchers_max,
            places: addresses.iter().map(place).collect(),
            namespaces: Slab::default(),
            by_nsid: IdMap::default(),
            subscriptions: Slab::default(),
            watchers: Slab::default(),
            woken: VecDeque::new(),
            idle: VecDeque::new(),
            asked: VecDeque::new(),
            asks: VecDeque::new(),
            flying: 0,
            next_id: 1,
            prng: Prng::new(seed),
            counts: EdgeCounts::default(),
        }
    }

    // Watchers.

    /// Waits until one of these journals is beyond the jid that is known of it. It may be woken at once.
    ///
    /// Shape: at most [`SUBSCRIPTIONS_MAX`]; others are left out.
    /// Errors: [`Overloaded`].
    pub fn subscribe(&mut self, cursor: &[(Nsid, Jid)], payload: W, now: Mono) -> Result<WatcherId, Overloaded> {
        if self.watchers.count() >= self.watchers_max {
            return Err(Overloaded);
        }
        self.counts.watchers += 1;
        let generation = self.next_id;
        self.next_id += 1;
        let at = self.watchers.insert(Watcher { generation, first: NONE, is_woken: false, payload });
        for (nsid, jid) in cursor.iter().take(SUBSCRIPTIONS_MAX) {
            let namespace = self.by_nsid.get(nsid).copied().unwrap_or_else(|| self.add(*nsid, now));
            self.link(at, namespace, *jid);
            if self.namespaces.get(namespace).is_some_and(|entry| entry.jid > *jid) {
                self.wake(at);
            }
            self.queue(namespace);
        }
        Ok(WatcherId { at, generation })
    }

    fn add(&mut self, nsid: Nsid, now: Mono) -> u32 {
        let place = place_of(nsid, self.places.len() as u16);
        let at = self.namespaces.insert(Namespace {
            nsid,
            jid: Jid(0),
            first: NONE,
            count: 0,
            place,
            is_told: false,
            is_live: false,
            is_queued: false,
            idle_since: now,
            is_dropping: false,
        });
        self.by_nsid.insert(nsid, at);
        at
    }

    fn link(&mut self, watcher: u32, namespace: u32, last_sent: Jid) {
        let entry = self.namespaces.get_mut(namespace).expect("the caller has just found it");
        let owner = self.watchers.get_mut(watcher).expect("the caller has just made it");
        let subscription = Subscription {
            watcher,
            namespace,
            last_sent,
            before: NONE,
            after: entry.first,
            next_of_watcher: owner.first,
        };
        let at = self.subscriptions.insert(subscription);
        if let Some(after) = self.subscriptions.get_mut(entry.first) {
            after.before = at;
        }
        (entry.first, owner.first) = (at, at);
        entry.count += 1;
        entry.is_dropping = false;
    }

    /// The hub is to hear of it, unless it has.
    fn queue(&mut self, namespace: u32) {
        let Some(entry) = self.namespaces.get_mut(namespace) else { return };
        if (!entry.is_told || entry.is_dropping) && !std::mem::replace(&mut entry.is_queued, true) {
            self.places[usize::from(entry.place)].queue.push_back(namespace);
        }
    }

    fn wake(&mut self, at: u32) {
        let Some(watcher) = self.watchers.get_mut(at) else { return };
        if !std::mem::replace(&mut watcher.is_woken, true) {
            self.woken.push_back(WatcherId { at, generation: watcher.generation });
        }
    }

    /// It waits no longer; `None`: it was woken, or is gone.
    pub fn unsubscribe(&mut self, id: WatcherId, now: Mono) -> Option<W> {
        self.watchers.get(id.at).filter(|watcher| watcher.generation == id.generation)?;
        let watcher = self.watchers.remove(id.at)?;
        let mut at = watcher.first;
        while let Some(subscription) = self.subscriptions.remove(at) {
            at = subscription.next_of_watcher;
            self.unlink(&subscription, now);
        }
        Some(watcher.payload)
    }

    fn unlink(&mut self, gone: &Subscription, now: Mono) {
        let entry = self.namespaces.get_mut(gone.namespace).expect("one with a subscription stays");
        match self.subscriptions.get_mut(gone.before) {
            Some(before) => before.after = gone.after,
            None => entry.first = gone.after,
        }
        if let Some(after) = self.subscriptions.get_mut(gone.after) {
            after.before = gone.before;
        }
        entry.count -= 1;
        if entry.count == 0 {
            entry.idle_since = now;
            self.idle.push_back((now + LINGER, gone.namespace, entry.nsid));
        }
    }

    /// The next one that was woken; it waits no longer.
    pub fn poll_wake(&mut self, now: Mono) -> Option<W> {
        while let Some(id) = self.woken.pop_front() {
            if let Some(payload) = self.unsubscribe(id, now) {
                self.counts.wakes += 1;
                return Some(payload);
            }
        }
        None
    }

    /// Any of those that wait, for an edge that stops: it waits no longer.
    pub fn poll_any(&mut self, now: Mono) -> Option<W> {
        let at = (0..self.watchers.slots()).find(|at| self.watchers.get(*at).is_some())?;
        let generation = self.watchers.get(at).expect("it was just found").generation;
        self.unsubscribe(WatcherId { at, generation }, now)
    }

    /// A journal is there now.
    fn raise(&mut self, namespace: u32, jid: Jid) {
        let Some(entry) = self.namespaces.get_mut(namespace) else { return };
        if jid <= entry.jid {
            return;
        }
        entry.jid = jid;
        let (mut at, from) = (entry.first, self.woken.len());
        while let Some(subscription) = self.subscriptions.get(at) {
            let (watcher, is_behind) = (subscription.watcher, subscription.last_sent < jid);
            at = subscription.after;
            if is_behind {
                self.wake(watcher);
            }
        }
        // In another order each time: the last of many is not always the same.
        for last in (from + 1..self.woken.len()).rev() {
            let other = from + self.prng.below((last - from + 1) as u64) as usize;
            self.woken.swap(last, other);
        }
    }

    // Hubs.

    /// The next hub to dial: the link, and which of the place's addresses.
    pub fn poll_dial(&mut self, now: Mono) -> Option<(LinkId, usize)> {
        let is_due = |place: &Place| matches!(place.link, Link::Down { dial_at } if dial_at <= now);
        let at = self.places.iter().position(is_due)?;
        let link = LinkId { place: at as u16, dial: self.next_id };
        self.next_id += 1;
        let place = &mut self.places[at];
        place.link = Link::Dialing(link);
        Some((link, place.address))
    }

    /// The hub has taken the link: it hears of all namespaces of its place.
    pub fn handle_connected(&mut self, link: LinkId, now: Mono) {
        let place = &mut self.places[usize::from(link.place)];
        if !matches!(place.link, Link::Dialing(id) if id == link) {
            return;
        }
        place.link = Link::Up { id: link, generation: 0, next_seq: 1, heard: now };
        for at in 0..self.namespaces.slots() {
            if self.namespaces.get(at).is_some_and(|entry| entry.place == link.place) {
                self.queue(at);
            }
        }
    }

    /// The link is gone, or never was.
    pub fn handle_lost(&mut self, link: LinkId, now: Mono) {
        if !self.is_current(link) {
            return;
        }
        self.counts.links_lost += 1;
        let place = &mut self.places[usize::from(link.place)];
        let was_up = matches!(place.link, Link::Up { generation, .. } if generation != 0);
        place.failures = if was_up { 0 } else { place.failures.saturating_add(1) };
        place.address = (place.address + 1) % place.addresses;
        let span = Span((DIAL_MIN.0 << place.failures.min(6)).min(DIAL_MAX.0));
        place.link = Link::Down { dial_at: now + Span(self.prng.below(span.0)) };
        self.note_blind(link.place, now);
        // What was known is no longer the newest for certain.
        let is_forgotten = mutate!(MUT_24G, true, false);
        for at in 0..self.namespaces.slots() {
            let entry = self.namespaces.get_mut(at).filter(|entry| entry.place == link.place);
            if let Some(entry) = entry
                && is_forgotten
            {
                (entry.is_told, entry.is_live) = (false, false);
            }
        }
    }

    fn note_blind(&mut self, place: u16, now: Mono) {
        let jitter = Span(self.prng.below(BLIND.0));
        let place = &mut self.places[usize::from(place)];
        if place.blind_since.is_none() {
            place.blind_since = Some(now);
            place.ask_at = now + BLIND + jitter;
        }
    }

    fn is_current(&self, link: LinkId) -> bool {
        match self.places[usize::from(link.place)].link {
            Link::Dialing(id) | Link::Up { id, .. } => id == link,
            Link::Down { .. } => false,
        }
    }

    /// One answer of a hub. False: something was not heard, or the link is an old one; it is to be closed.
    #[must_use]
    pub fn handle_push(&mut self, link: LinkId, push: Push<'_>, now: Mono) -> bool {
        let place = &mut self.places[usize::from(link.place)];
        let Link::Up { id, generation, next_seq, heard } = &mut place.link else { return false };
        if *id != link {
            return false;
        }
        let is_first = *generation == 0 && push.seq == 1;
        let is_next = *generation == push.generation && *next_seq == push.seq;
        if !is_first && !is_next && mutate!(MUT_24C, true, false) {
            self.handle_lost(link, now);
            return false;
        }
        (*generation, *next_seq, *heard) = (push.generation, push.seq + 1, now);
        if push.unsound == 0 {
            place.blind_since = None;
        } else {
            self.note_blind(link.place, now);
        }
        self.counts.pushes += push.heads.count() as u64;
        for (nsid, jid) in push.heads.iter() {
            let Some(at) = self.by_nsid.get(&nsid).copied() else { continue };
            let entry = self.namespaces.get_mut(at).expect("the map leads to what is there");
            entry.is_live |= entry.is_told;
            self.raise(at, jid);
        }
        true
    }

    /// Is there something that the hub of this link is to hear?
    #[must_use]
    pub fn has_interest(&self, link: LinkId) -> bool {
        let place = &self.places[usize::from(link.place)];
        matches!(place.link, Link::Up { id, .. } if id == link) && !place.queue.is_empty()
    }

    /// Places whose hub is to hear something.
    pub fn places_with_interest(&self) -> impl Iterator<Item = LinkId> {
        self.places.iter().filter(|place| !place.queue.is_empty()).filter_map(|place| match place.link {
            Link::Up { id, .. } => Some(id),
            _ => None,
        })
    }

    /// Namespaces of which the hub of a link is to be told: those of interest and those that are not any more; at most
    /// 4,096 of both. False: none. Called when the link can take them; the vectors are filled anew.
    pub fn poll_interest(&mut self, link: LinkId, adds: &mut Vec<Nsid>, drops: &mut Vec<Nsid>, now: Mono) -> bool {
        adds.clear();
        drops.clear();
        if !matches!(self.places[usize::from(link.place)].link, Link::Up { id, .. } if id == link) {
            return false;
        }
        while adds.len() + drops.len() < NAMESPACES_MAX
            && let Some(at) = self.places[usize::from(link.place)].queue.pop_front()
        {
            let Some(entry) = self.namespaces.get_mut(at) else { continue };
            entry.is_queued = false;
            let nsid = entry.nsid;
            if entry.is_dropping {
                if entry.is_told {
                    drops.push(nsid);
                }
                self.by_nsid.remove(&nsid);
                self.namespaces.remove(at);
            } else if !entry.is_told {
                entry.is_told = true;
                self.counts.interests += 1;
                adds.push(nsid);
                self.asked.push_back((now + ASK_EVERY, at, nsid));
            }
        }
        !adds.is_empty() || !drops.is_empty()
    }

    // Metaservers.

    /// The next namespace whose head is to be asked, because no hub can tell.
    pub fn poll_ask(&mut self) -> Option<Nsid> {
        if self.flying >= ASKS_MAX {
            return None;
        }
        let nsid = self.asks.pop_front()?;
        self.flying += 1;
        self.counts.asks += 1;
        Some(nsid)
    }

    /// The answer: the head, or that nobody could tell.
    pub fn handle_head(&mut self, nsid: Nsid, head: Option<Jid>) {
        self.flying -= 1;
        self.note_head(nsid, head);
    }

    /// A head that was learnt otherwise.
    pub fn note_head(&mut self, nsid: Nsid, head: Option<Jid>) {
        if let (Some(at), Some(jid)) = (self.by_nsid.get(&nsid).copied(), head) {
            self.raise(at, jid);
        }
    }

    // Time.

    /// What is due now. Links that are to be closed come out.
    pub fn handle_tick(&mut self, now: Mono) -> Vec<LinkId> {
        let mut closed = Vec::new();
        for at in 0..self.places.len() {
            let place = &mut self.places[at];
            if let Link::Up { id, heard, .. } = place.link {
                let is_silent = now.since(heard) > SILENCE;
                let is_blind = place.blind_since.is_some_and(|since| now.since(since) > UNSOUND);
                let may_leave = place.addresses > 1 && place.stay_until <= now;
                if is_silent || (is_blind && may_leave) {
                    place.stay_until = now + STAY;
                    closed.push(id);
                }
            }
            if place.blind_since.is_some() && place.ask_at <= now {
                place.ask_at = now + ASK_EVERY + Span(self.prng.below(BLIND.0));
                self.ask_all(at as u16);
            }
        }
        closed.iter().for_each(|link| self.handle_lost(*link, now));
        self.drop_idle(now);
        while let Some((_, at, nsid)) = self.asked.pop_front_if(|asked| asked.0 <= now) {
            let entry = self.namespaces.get(at).filter(|entry| entry.nsid == nsid);
            if entry.is_some_and(|entry| entry.is_told && !entry.is_live && entry.count > 0) {
                self.asks.push_back(nsid);
                self.asked.push_back((now + ASK_EVERY, at, nsid));
            }
        }
        closed
    }

    fn ask_all(&mut self, place: u16) {
        if !self.asks.is_empty() {
            // Those of the last time are still waiting.
            return;
        }
        for at in 0..self.namespaces.slots() {
            if let Some(entry) = self.namespaces.get(at)
                && entry.place == place
                && entry.count > 0
            {
                self.asks.push_back(entry.nsid);
            }
        }
    }

    fn drop_idle(&mut self, now: Mono) {
        while let Some((_, at, nsid)) = self.idle.pop_front_if(|idle| idle.0 <= now) {
            let Some(entry) = self.namespaces.get_mut(at).filter(|entry| entry.nsid == nsid) else { continue };
            if entry.count == 0 && now.since(entry.idle_since) >= LINGER {
                entry.is_dropping = true;
                self.queue(at);
            }
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> EdgeCounts {
        self.counts
    }

    /// Watchers and namespaces now.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.watchers.count(), self.namespaces.count())
    }

    /// Places whose hub tells of everything.
    #[must_use]
    pub fn sound_places(&self) -> usize {
        self.places.iter().filter(|place| place.blind_since.is_none()).count()
    }
}
