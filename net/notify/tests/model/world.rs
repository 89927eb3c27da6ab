//! The world of the model: everything that the tables do not do themselves, with virtual time.

use std::collections::{BTreeMap, BTreeSet};

use base::mono::Span;
use base::{CoreId, GroupId, Jid, Mono, NodeId, Nsid, Prng, Term, group_of, place_of};
use notify::edge::{Edge, LinkId, WatcherId};
use notify::hub::{Ask, EdgeId, Hub, StreamId};
use wire::notify::{Advance, Lead, OwnSection, Push, put_advance, put_push};

const STEP: Span = Span::from_ms(4);
const NODES: usize = 3;
const GROUPS: u32 = 4;
const PLACES: u16 = 2;
/// A primary and a standby for each place.
const HUBS: usize = 4;
const EDGES: usize = 2;
const NAMESPACES: u64 = 12;
const CLIENTS: usize = 30;

/// What fails.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub links: bool,
    pub frames: bool,
    pub leaders: bool,
    pub hubs: bool,
    pub edges: bool,
}

/// The metaserver's side of a feed.
struct Feed {
    link: u64,
    place: u16,
    generation: u64,
    seq: u64,
    is_new: bool,
    beat: Mono,
}

#[derive(Default)]
struct Server {
    is_up: bool,
    /// Told by the next turn.
    advances: BTreeMap<u64, u64>,
    turned: Vec<(u32, Lead)>,
    feeds: Vec<Feed>,
}

struct Leadership {
    leader: Option<usize>,
    term: u64,
}

struct HubSeat {
    hub: Option<Hub>,
    life: u64,
    /// The link of the feed from each node.
    feeds: [Option<u64>; NODES],
    edges: Vec<(EdgeId, u64)>,
}

struct EdgeSeat {
    edge: Edge<usize>,
    life: u64,
    links: BTreeMap<u16, (LinkId, u64)>,
}

struct Client {
    cursor: Vec<(Nsid, Jid)>,
    watcher: Option<WatcherId>,
    returns: Mono,
    /// It waits since.
    since: Mono,
}

enum Event {
    Advance {
        hub: usize,
        node: usize,
        link: u64,
        body: Vec<u8>,
    },
    Evaluate {
        of: Asker,
        nsid: Nsid,
    },
    Answer {
        of: Asker,
        head: Option<Jid>,
        nsid: Nsid,
    },
    Dialled {
        edge: usize,
        life: u64,
        link: LinkId,
        hub: usize,
    },
    Push {
        edge: usize,
        link: u64,
        id: LinkId,
        body: Vec<u8>,
    },
    Interest {
        hub: usize,
        link: u64,
        adds: Vec<Nsid>,
        drops: Vec<Nsid>,
    },
    /// A side of a link sees that it is gone.
    HubSeesLost {
        hub: usize,
        link: u64,
    },
    EdgeSeesLost {
        edge: usize,
        link: u64,
    },
}

#[derive(Clone, Copy)]
enum Asker {
    Hub { hub: usize, life: u64, ask: Ask },
    Edge { edge: usize, life: u64 },
}

pub struct World {
    now: Mono,
    prng: Prng,
    faults: Faults,
    truth: BTreeMap<u64, u64>,
    changed: BTreeMap<u64, Mono>,
    servers: Vec<Server>,
    groups: Vec<Leadership>,
    hubs: Vec<HubSeat>,
    edges: Vec<EdgeSeat>,
    clients: Vec<Client>,
    /// Links that are cut: nothing passes, and nobody is told.
    silent: BTreeSet<u64>,
    /// When the last frame of a link arrives: the next one comes no earlier.
    arrived: BTreeMap<u64, Mono>,
    events: BTreeMap<(Mono, u64), Event>,
    next: u64,
    woken: u64,
    slowest: Span,
    repairs: u64,
    gaps: u64,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> World {
        let now = Mono(1_000_000_000);
        let mut world = World {
            now,
            prng: Prng::new(seed),
            faults,
            truth: (1..=NAMESPACES).map(|nsid| (nsid, 1)).collect(),
            changed: BTreeMap::new(),
            servers: (0..NODES).map(|_| Server { is_up: true, ..Server::default() }).collect(),
            groups: (0..GROUPS).map(|at| Leadership { leader: Some(at as usize % NODES), term: 1 }).collect(),
            hubs: Vec::new(),
            edges: Vec::new(),
            clients: Vec::new(),
            silent: BTreeSet::new(),
            arrived: BTreeMap::new(),
            events: BTreeMap::new(),
            next: 1,
            woken: 0,
            slowest: Span(0),
            repairs: 0,
            gaps: 0,
        };
        for at in 0..HUBS {
            world.hubs.push(HubSeat { hub: None, life: 0, feeds: [None; NODES], edges: Vec::new() });
            world.start_hub(at);
        }
        for _ in 0..EDGES {
            let edge = world.new_edge();
            world.edges.push(EdgeSeat { edge, life: 0, links: BTreeMap::new() });
        }
        for _ in 0..CLIENTS {
            let of = 1 + world.prng.below(3);
            let cursor = (0..of).map(|_| (Nsid(1 + world.prng.below(NAMESPACES)), Jid(1))).collect();
            world.clients.push(Client { cursor, watcher: None, returns: now, since: now });
        }
        world
    }

    fn new_edge(&mut self) -> Edge<usize> {
        Edge::new(&[2; PLACES as usize], CLIENTS, self.prng.next_u64(), self.now)
    }

    fn start_hub(&mut self, at: usize) {
        let mut hub = Hub::new(self.prng.below(1 << 30), self.now);
        hub.set_groups(GROUPS);
        let seat = &mut self.hubs[at];
        (seat.hub, seat.life) = (Some(hub), seat.life + 1);
        (seat.feeds, seat.edges) = ([None; NODES], Vec::new());
    }

    fn draw_link(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends what comes later, in the order of its link.
    fn send(&mut self, link: u64, event: Event) {
        let due = self.now + Span::from_us(self.prng.below(8000));
        let due = due.max(self.arrived.get(&link).copied().unwrap_or_default());
        self.arrived.insert(link, due);
        self.at(due, event);
    }

    fn at(&mut self, due: Mono, event: Event) {
        self.next += 1;
        self.events.insert((due, self.next), event);
    }

    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + STEP;
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event);
            }
            self.put();
            self.fail();
            (0..NODES).for_each(|node| self.turn_of_server(node));
            (0..HUBS).for_each(|hub| self.turn_of_hub(hub));
            (0..EDGES).for_each(|edge| self.turn_of_edge(edge));
            (0..CLIENTS).for_each(|client| self.turn_of_client(client));
        }
    }

    /// All is well from now on, and nothing changes any more.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.silent.clear();
        self.servers.iter_mut().for_each(|server| server.is_up = true);
        (0..HUBS).for_each(|hub| {
            if self.hubs[hub].hub.is_none() {
                self.start_hub(hub)
            }
        });
        for group in 0..GROUPS as usize {
            if self.groups[group].leader.is_none() {
                self.elect(group);
            }
        }
        self.changed = self.truth.keys().map(|nsid| (*nsid, Mono::MAX)).collect();
    }

    // What happens outside of the tables.

    /// Journals move now and then; after the heal they do not.
    fn put(&mut self) {
        if self.changed.values().any(|at| *at == Mono::MAX) || !self.prng.one_in(8) {
            return;
        }
        let nsid = 1 + self.prng.below(NAMESPACES);
        let group = group_of(Nsid(nsid), GROUPS).0 as usize;
        if let Some(leader) = self.groups[group].leader {
            let jid = self.truth.get_mut(&nsid).expect("it is there");
            *jid += 1;
            self.servers[leader].advances.insert(nsid, *jid);
            self.changed.insert(nsid, self.now);
        }
    }

    fn fail(&mut self) {
        let Faults { links, leaders, hubs, edges, .. } = self.faults;
        if leaders && self.prng.one_in(60) {
            self.shake_leaders();
        }
        if hubs && self.prng.one_in(150) {
            let at = self.prng.below(HUBS as u64) as usize;
            match self.hubs[at].hub.take() {
                None => self.start_hub(at),
                Some(_) => self.lose_all_of_hub(at),
            }
        }
        if edges && self.prng.one_in(400) {
            self.restart_edge();
        }
        if links && self.prng.one_in(50) {
            self.break_link();
        }
    }

    fn shake_leaders(&mut self) {
        let node = self.prng.below(NODES as u64) as usize;
        match self.prng.below(3) {
            0 if self.servers[node].is_up => {
                // It may have applied what it has not told.
                self.servers[node] = Server::default();
                for group in 0..GROUPS as usize {
                    if self.groups[group].leader == Some(node) {
                        self.groups[group].leader = None;
                    }
                }
            }
            0 => self.servers[node].is_up = true,
            _ => {
                let group = self.prng.below(u64::from(GROUPS)) as usize;
                if let Some(leader) = self.groups[group].leader.take() {
                    self.servers[leader].turned.push((group as u32, Lead::Ended));
                    // What it applied and did not tell yet dies with its term, now and then.
                    if self.prng.one_in(2) {
                        self.servers[leader].advances.retain(|nsid, _| group_of(Nsid(*nsid), GROUPS).0 != group as u32);
                        self.servers[leader].turned.clear();
                    }
                }
            }
        }
        for group in 0..GROUPS as usize {
            if self.groups[group].leader.is_none() && self.prng.one_in(2) {
                self.elect(group);
            }
        }
    }

    fn elect(&mut self, group: usize) {
        let first = self.prng.below(NODES as u64) as usize;
        let up = (0..NODES).map(|at| (first + at) % NODES).find(|node| self.servers[*node].is_up);
        if let Some(node) = up {
            self.groups[group] = Leadership { leader: Some(node), term: self.groups[group].term + 1 };
            self.servers[node].turned.push((group as u32, Lead::Begun));
        }
    }

    fn lose_all_of_hub(&mut self, at: usize) {
        let own = std::mem::take(&mut self.hubs[at].edges);
        for edge in 0..EDGES {
            let links: Vec<u64> = self.edges[edge].links.values().map(|(_, link)| *link).collect();
            for link in links.into_iter().filter(|link| own.iter().any(|(_, other)| other == link)) {
                self.send(link, Event::EdgeSeesLost { edge, link });
            }
        }
        let feeds = self.hubs[at].feeds;
        for server in &mut self.servers {
            server.feeds.retain(|feed| !feeds.contains(&Some(feed.link)));
        }
    }

    /// Its clients come back to it, each with its own cursor.
    fn restart_edge(&mut self) {
        let at = self.prng.below(EDGES as u64) as usize;
        let edge = self.new_edge();
        let old = std::mem::replace(&mut self.edges[at], EdgeSeat { edge, life: 0, links: BTreeMap::new() });
        self.edges[at].life = old.life + 1;
        for (_, link) in old.links.into_values() {
            for hub in 0..HUBS {
                self.send(link, Event::HubSeesLost { hub, link });
            }
        }
        for client in (0..CLIENTS).filter(|client| client % EDGES == at) {
            let returns = self.now + Span::from_ms(self.prng.below(300));
            (self.clients[client].watcher, self.clients[client].returns) = (None, returns);
        }
    }

    /// One link falls silent or breaks; who sees that, and when, is by chance.
    fn break_link(&mut self) {
        let feeds = self.hubs.iter().flat_map(|seat| seat.feeds.iter().flatten().copied());
        let all: Vec<u64> = feeds.chain(self.edges.iter().flat_map(|seat| seat.links.values().map(|l| l.1))).collect();
        if all.is_empty() {
            return;
        }
        let link = all[self.prng.below(all.len() as u64) as usize];
        self.silent.insert(link);
        if self.prng.one_in(2) {
            for hub in 0..HUBS {
                self.send(link, Event::HubSeesLost { hub, link });
            }
        }
        if self.prng.one_in(2) {
            for edge in 0..EDGES {
                self.send(link, Event::EdgeSeesLost { edge, link });
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Advance { hub, node, link, body } => {
                let seat = &mut self.hubs[hub];
                if seat.feeds[node] != Some(link) {
                    return;
                }
                let advance = Advance::parse(&body).expect("sent whole");
                let is_kept = seat.hub.as_mut().is_none_or(|hub| hub.handle_advance(stream(node), advance, now));
                if !is_kept {
                    self.gaps += 1;
                    self.end_feed(hub, node);
                }
            }
            Event::Evaluate { of, nsid } => {
                let group = group_of(nsid, GROUPS).0 as usize;
                let head = self.groups[group].leader.map(|_| Jid(self.truth[&nsid.0]));
                let later = if head.is_some() { Span::from_us(self.prng.below(8000)) } else { Span::from_ms(300) };
                self.at(now + later, Event::Answer { of, head, nsid });
            }
            Event::Answer { of: Asker::Hub { hub, life, ask }, head, .. } => {
                let seat = &mut self.hubs[hub];
                if let Some(hub) = seat.hub.as_mut().filter(|_| seat.life == life) {
                    hub.handle_head(ask, head, now);
                }
            }
            Event::Answer { of: Asker::Edge { edge, life }, head, nsid } => {
                let seat = &mut self.edges[edge];
                if seat.life == life {
                    seat.edge.handle_head(nsid, head);
                }
            }
            Event::Dialled { edge, life, link, hub } => self.dialled(edge, life, link, hub),
            Event::Push { edge, link, id, body } => {
                let seat = &mut self.edges[edge];
                let is_there = seat.links.get(&id.place) == Some(&(id, link));
                if is_there && !seat.edge.handle_push(id, Push::parse(&body).expect("sent whole"), now) {
                    self.gaps += 1;
                    self.end_link(edge, id);
                }
            }
            Event::Interest { hub, link, adds, drops } => {
                let seat = &mut self.hubs[hub];
                let edge = seat.edges.iter().find(|(_, other)| *other == link).map(|(id, _)| *id);
                if let (Some(hub), Some(id)) = (seat.hub.as_mut(), edge) {
                    adds.iter().for_each(|nsid| hub.handle_interest(id, *nsid));
                    drops.iter().for_each(|nsid| hub.handle_drop(id, *nsid));
                }
            }
            Event::HubSeesLost { hub, link } => self.hub_sees_lost(hub, link),
            Event::EdgeSeesLost { edge, link } => {
                let seat = &mut self.edges[edge];
                let found = seat.links.values().find(|(_, other)| *other == link).map(|(id, _)| *id);
                if let Some(id) = found {
                    seat.edge.handle_lost(id, now);
                    seat.links.remove(&id.place);
                }
            }
        }
    }

    fn hub_sees_lost(&mut self, at: usize, link: u64) {
        let seat = &mut self.hubs[at];
        let edge = seat.edges.iter().position(|(_, other)| *other == link).map(|which| seat.edges.swap_remove(which).0);
        if let (Some(hub), Some(edge)) = (seat.hub.as_mut(), edge) {
            hub.handle_edge_lost(edge);
        }
        if let Some(node) = self.hubs[at].feeds.iter().position(|feed| *feed == Some(link)) {
            if let Some(hub) = self.hubs[at].hub.as_mut() {
                hub.handle_stream_lost(stream(node));
            }
            self.end_feed(at, node);
        }
    }

    fn end_feed(&mut self, hub: usize, node: usize) {
        let link = self.hubs[hub].feeds[node].take();
        self.servers[node].feeds.retain(|feed| Some(feed.link) != link);
    }

    fn end_link(&mut self, edge: usize, id: LinkId) {
        if let Some((_, link)) = self.edges[edge].links.remove(&id.place) {
            for hub in 0..HUBS {
                self.send(link, Event::HubSeesLost { hub, link });
            }
        }
    }

    fn dialled(&mut self, edge: usize, life: u64, link: LinkId, hub: usize) {
        let now = self.now;
        if self.edges[edge].life != life {
            return;
        }
        let joined = self.hubs[hub].hub.as_mut().and_then(|hub| hub.handle_join(now));
        match joined {
            None => self.edges[edge].edge.handle_lost(link, now),
            Some(id) => {
                let name = self.draw_link();
                self.hubs[hub].edges.push((id, name));
                self.edges[edge].links.insert(link.place, (link, name));
                self.edges[edge].edge.handle_connected(link, now);
            }
        }
    }

    // Turns.

    fn turn_of_server(&mut self, node: usize) {
        let now = self.now;
        let server = &mut self.servers[node];
        if !server.is_up {
            return;
        }
        let (advances, turned) = (std::mem::take(&mut server.advances), std::mem::take(&mut server.turned));
        let mut feeds = std::mem::take(&mut server.feeds);
        for feed in &mut feeds {
            if advances.is_empty() && turned.is_empty() && !feed.is_new && now < feed.beat {
                continue;
            }
            let body = self.advance_of(node, feed, &advances, &turned);
            (feed.seq, feed.is_new, feed.beat) = (feed.seq + 1, false, now + Span::from_ms(250));
            let is_lost = self.faults.frames && self.prng.one_in(40);
            if !is_lost && !self.silent.contains(&feed.link) {
                let hub = self.hubs.iter().position(|seat| seat.feeds[node] == Some(feed.link));
                if let Some(hub) = hub {
                    self.send(feed.link, Event::Advance { hub, node, link: feed.link, body });
                }
            }
        }
        self.servers[node].feeds = feeds;
    }

    fn advance_of(&self, node: usize, feed: &Feed, advances: &BTreeMap<u64, u64>, turned: &[(u32, Lead)]) -> Vec<u8> {
        let mut sections: Vec<OwnSection> = Vec::new();
        let term = |group: u32| Term(self.groups[group as usize].term);
        if feed.is_new {
            let led = (0..GROUPS).filter(|group| self.groups[*group as usize].leader == Some(node));
            sections.extend(led.map(|group| (GroupId(group), Lead::Begun, term(group), Vec::new())));
        } else {
            sections.extend(turned.iter().map(|(group, lead)| (GroupId(*group), *lead, term(*group), Vec::new())));
        }
        for (nsid, jid) in advances {
            let group = group_of(Nsid(*nsid), GROUPS);
            let is_led = self.groups[group.0 as usize].leader == Some(node);
            if is_led && place_of(Nsid(*nsid), PLACES) == feed.place {
                sections.push((group, Lead::Same, term(group.0), vec![(Nsid(*nsid), Jid(*jid))]));
            }
        }
        let mut body = Vec::new();
        put_advance(&mut body, feed.generation, feed.seq, &sections);
        body
    }

    fn turn_of_hub(&mut self, at: usize) {
        let now = self.now;
        if self.hubs[at].hub.is_none() {
            return;
        }
        for node in 0..NODES {
            if self.hubs[at].feeds[node].is_none() && self.servers[node].is_up && self.prng.one_in(20) {
                let (link, generation) = (self.draw_link(), self.draw_link());
                let place = (at % usize::from(PLACES)) as u16;
                let feed = Feed { link, place, generation, seq: 1, is_new: true, beat: now };
                self.servers[node].feeds.push(feed);
                self.hubs[at].feeds[node] = Some(link);
                self.hub(at).handle_stream_begun(stream(node), now);
            }
        }
        for silent in self.hub(at).handle_tick(now) {
            self.end_feed(at, silent.node.0 as usize);
        }
        let life = self.hubs[at].life;
        while let Some(ask) = self.hub(at).poll_ask().or_else(|| self.hub(at).poll_repair(now)) {
            let due = now + Span::from_us(self.prng.below(8000));
            self.at(due, Event::Evaluate { of: Asker::Hub { hub: at, life, ask }, nsid: ask.nsid });
        }
        let mut heads = Vec::new();
        for (id, link) in self.hubs[at].edges.clone() {
            while let Some(push) = self.hub(at).poll_push(id, now, &mut heads) {
                let mut body = Vec::new();
                put_push(&mut body, push.generation, push.seq, push.unsound, &heads);
                self.push(link, body);
            }
        }
        while self.hub(at).poll_woken().is_some() {}
        self.repairs = self.repairs.max(self.hub(at).counts().repairs);
    }

    fn hub(&mut self, at: usize) -> &mut Hub {
        self.hubs[at].hub.as_mut().expect("the caller has looked")
    }

    fn push(&mut self, link: u64, body: Vec<u8>) {
        let is_lost = self.faults.frames && self.prng.one_in(60);
        for edge in 0..EDGES {
            let id = self.edges[edge].links.values().find(|(_, other)| *other == link).map(|(id, _)| *id);
            if let Some(id) = id.filter(|_| !is_lost && !self.silent.contains(&link)) {
                self.send(link, Event::Push { edge, link, id, body: body.clone() });
            }
        }
    }

    fn turn_of_edge(&mut self, at: usize) {
        let (now, life) = (self.now, self.edges[at].life);
        for link in self.edges[at].edge.handle_tick(now) {
            self.end_link(at, link);
        }
        while let Some((link, address)) = self.edges[at].edge.poll_dial(now) {
            let hub = usize::from(link.place) + address * usize::from(PLACES);
            let due = now + Span::from_us(self.prng.below(8000));
            self.at(due, Event::Dialled { edge: at, life, link, hub });
        }
        let links: Vec<(LinkId, u64)> = self.edges[at].links.values().copied().collect();
        for (id, link) in links {
            let (mut adds, mut drops) = (Vec::new(), Vec::new());
            while self.edges[at].edge.poll_interest(id, &mut adds, &mut drops, now) {
                let hub = self.hubs.iter().position(|seat| seat.edges.iter().any(|(_, other)| *other == link));
                if let Some(hub) = hub.filter(|_| !self.silent.contains(&link)) {
                    let (adds, drops) = (adds.clone(), drops.clone());
                    self.send(link, Event::Interest { hub, link, adds, drops });
                }
            }
        }
        while let Some(nsid) = self.edges[at].edge.poll_ask() {
            let due = now + Span::from_us(self.prng.below(8000));
            self.at(due, Event::Evaluate { of: Asker::Edge { edge: at, life }, nsid });
        }
        while let Some(client) = self.edges[at].edge.poll_wake(now) {
            self.woken += 1;
            let client = &mut self.clients[client];
            let moved = client.cursor.iter().filter(|(nsid, jid)| self.truth[&nsid.0] > jid.0);
            let since = moved.filter_map(|(nsid, _)| self.changed.get(&nsid.0)).max();
            let slow = since.map(|changed| now.since(client.since.max(*changed))).unwrap_or_default();
            self.slowest = self.slowest.max(slow);
            client.cursor.iter_mut().for_each(|(nsid, jid)| jid.0 = self.truth[&nsid.0]);
            client.watcher = None;
            client.returns = now + Span::from_ms(self.prng.below(100));
        }
    }

    fn turn_of_client(&mut self, at: usize) {
        let now = self.now;
        let seat = &mut self.edges[at % EDGES];
        let client = &mut self.clients[at];
        if client.watcher.is_none() && client.returns <= now {
            client.since = now;
            client.watcher = Some(seat.edge.subscribe(&client.cursor, at, now).expect("there is room"));
            return;
        }
        // A few hang up and come back with what they have.
        if let Some(watcher) = client.watcher
            && self.prng.one_in(3000)
        {
            assert_eq!(seat.edge.unsubscribe(watcher, now), Some(at));
            (client.watcher, client.returns) = (None, now + Span::from_ms(self.prng.below(50)));
        }
    }

    // What came of it.

    /// Clients that wait although a journal of theirs has moved: client, namespace, known jid, true jid.
    pub fn sleepers(&self) -> Vec<(usize, u64, u64, u64)> {
        let mut late = Vec::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| client.watcher.is_some()) {
            for (nsid, jid) in &client.cursor {
                let truth = self.truth[&nsid.0];
                let is_young = self.changed.get(&nsid.0).is_some_and(|at| self.now.since(*at) < Span::from_ms(100));
                if truth > jid.0 && (!is_young || self.changed[&nsid.0] == Mono::MAX) {
                    late.push((at, nsid.0, jid.0, truth));
                }
            }
        }
        late
    }

    pub fn woken(&self) -> u64 {
        self.woken
    }

    pub fn slowest(&self) -> Span {
        self.slowest
    }

    /// From now on: the links are up.
    pub fn forget_slowest(&mut self) {
        self.slowest = Span(0);
    }

    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

fn stream(node: usize) -> StreamId {
    StreamId { node: NodeId(node as u64), core: CoreId(0) }
}
