//! The network between nodes: connections of core pairs, frames on them, and what may happen to both.
//!
//! A link is a direction: (from seat, to seat, core). A pair is a connection: the link from the higher seat.

use base::{CoreId, Mono, NodeId};
use wire::{Link, PeerFrameWriter, frame_bytes};

use super::node::Mail;
use super::{CORES_MAX, MS, SEATS_MAX, SECOND, Shape, What, World};
use crate::draw::{Stream, draw, log_between, prng};
use crate::fault::Class;
use crate::heap::Due;

/// A failed dial is repeated after this long.
const RETRY: u64 = 200 * MS;

#[derive(Clone, Copy, Default)]
struct PairState {
    /// Frames and events of an older generation are void.
    generation: u32,
    is_up: bool,
    /// The nodes at its ends when it came up: a seat may have another one by now.
    higher: NodeId,
    lower: NodeId,
}

/// After a heal frames may be on their way for so long still.
const HELD: u64 = 100 * MS;

#[derive(Clone, Copy, Default)]
struct LinkState {
    /// Mean delay in ns.
    mean: u64,
    /// Frames arrive in order.
    last_arrival: u64,
    clogged_until: u64,
    frames: u64,
}

/// All links.
pub(super) struct Net {
    links: Vec<LinkState>,
    pairs: Vec<PairState>,
    /// Nothing gets from a seat to a seat until then.
    blocked_until: [[u64; SEATS_MAX]; SEATS_MAX],
    /// NET6: the longest clog of this run.
    clog_max: u64,
    /// What a seat sends to a seat until then arrives once more, so much later.
    echoes: [[(u64, u64); SEATS_MAX]; SEATS_MAX],
}

pub(super) fn link_of(from: usize, to: usize, core: usize) -> u16 {
    ((from * SEATS_MAX + to) * CORES_MAX + core) as u16
}

fn parts(link: u16) -> (usize, usize, usize) {
    let link = link as usize;
    (link / CORES_MAX / SEATS_MAX, link / CORES_MAX % SEATS_MAX, link % CORES_MAX)
}

/// The connection that a link is a direction of.
fn pair_of(link: u16) -> u16 {
    let (from, to, core) = parts(link);
    link_of(from.max(to), from.min(to), core)
}

impl Net {
    pub fn new(seed: u64, shape: &Shape) -> Net {
        let count = SEATS_MAX * SEATS_MAX * CORES_MAX;
        let mut net = Net {
            links: vec![LinkState::default(); count],
            pairs: vec![PairState::default(); count],
            blocked_until: [[0; SEATS_MAX]; SEATS_MAX],
            echoes: [[(0, 0); SEATS_MAX]; SEATS_MAX],
            clog_max: log_between(&mut prng(seed, Stream::Shape, 7, 0), 50 * MS, 5 * SECOND),
        };
        // Most clusters are close, some links are far: log-uniform up to a bound of this run.
        let bound = log_between(&mut prng(seed, Stream::Shape, 8, 0), MS / 2, 100 * MS);
        for from in 0..shape.seats {
            for to in 0..shape.seats {
                for core in 0..shape.cores as usize {
                    let link = link_of(from, to, core);
                    let mut dice = prng(seed, Stream::Peer, 1 << 32 | u64::from(link), 0);
                    net.links[link as usize].mean = log_between(&mut dice, MS / 10, bound);
                }
            }
        }
        net
    }

    pub fn block(&mut self, from: usize, to: usize, until: u64) {
        let blocked = &mut self.blocked_until[from][to];
        *blocked = (*blocked).max(until);
    }

    /// All links of these seats hold what they are given until then.
    pub fn clog(&mut self, from: usize, to: usize, until: u64) {
        for core in 0..CORES_MAX {
            let clogged = &mut self.links[link_of(from, to, core) as usize].clogged_until;
            *clogged = (*clogged).max(until);
        }
    }

    /// Whatever a seat sends to another until then arrives once more, so much later.
    pub fn echo(&mut self, from: usize, to: usize, delay: u64, until: u64) {
        self.echoes[from][to] = (delay, until);
    }

    pub fn heal(&mut self) {
        self.echoes = Default::default();
        self.blocked_until = [[0; SEATS_MAX]; SEATS_MAX];
        self.links.iter_mut().for_each(|link| link.clogged_until = 0);
    }

    fn is_blocked(&self, from: usize, to: usize, now: u64) -> bool {
        self.blocked_until[from][to] > now
    }

    /// The generation of a connection that is up.
    pub fn up(&self, link: u16) -> Option<u32> {
        let pair = self.pairs[pair_of(link) as usize];
        pair.is_up.then_some(pair.generation)
    }
}

impl World<'_> {
    // Connections.

    /// A process began in this seat: its links are to be made.
    pub(super) fn dial_all(&mut self, seat: usize) {
        for other in (0..self.shape.seats).filter(|other| *other != seat) {
            for core in 0..self.shape.cores as usize {
                let pair = link_of(seat.max(other), seat.min(other), core);
                let state = &mut self.net.pairs[pair as usize];
                state.generation += 1;
                state.is_up = false;
                let generation = state.generation;
                self.push(self.now, Due::Dial { pair, generation });
            }
        }
    }

    pub(super) fn dial(&mut self, pair: u16, generation: u32) {
        let (a, b, _) = parts(pair);
        let state = self.net.pairs[pair as usize];
        if state.generation != generation || state.is_up || !self.nodes[a].is_up() || !self.nodes[b].is_up() {
            return;
        }
        if self.net.is_blocked(a, b, self.now) || self.net.is_blocked(b, a, self.now) {
            return self.push(self.now + RETRY, Due::Dial { pair, generation });
        }
        let delay = self.net.links[pair as usize].mean * 2;
        self.push(self.now + delay, Due::Linked { pair, generation });
    }

    pub(super) fn link_up(&mut self, pair: u16, generation: u32) {
        let (a, b, core) = parts(pair);
        let state = &mut self.net.pairs[pair as usize];
        if state.generation != generation || state.is_up || !self.nodes[a].is_up() || !self.nodes[b].is_up() {
            return;
        }
        state.is_up = true;
        (state.higher, state.lower) = (self.nodes[a].id, self.nodes[b].id);
        self.note(What::Link, u64::from(pair), 1, |_| format!("{a} and {b}, core {core}: up"));
        for (seat, peer) in [(a, b), (b, a)] {
            let Self { nodes, .. } = self;
            let (node, incarnation) = (nodes[peer].id, nodes[peer].incarnation);
            let link = link_of(seat, peer, core);
            self.net.links[link as usize].last_arrival = self.now;
            self.mail(seat, core, Mail::PeerUp { node, incarnation });
        }
    }

    /// A connection is lost: whatever is on its way is void, both ends hear of it, and it is dialled again.
    pub(super) fn link_down(&mut self, pair: u16, generation: u32) {
        let state = &mut self.net.pairs[pair as usize];
        if state.generation != generation || !state.is_up {
            return;
        }
        state.is_up = false;
        state.generation += 1;
        let generation = state.generation;
        let (a, b, core) = parts(pair);
        self.note(What::Link, u64::from(pair), 0, |_| format!("{a} and {b}, core {core}: down"));
        let state = self.net.pairs[pair as usize];
        for (seat, peer, node) in [(a, b, state.lower), (b, a, state.higher)] {
            if let Some(Some(core)) = self.nodes[seat].cores.get_mut(core) {
                core.writers[peer] = None;
            }
            self.mail(seat, core, Mail::PeerDown { node });
        }
        self.push(self.now + RETRY, Due::Dial { pair, generation });
    }

    /// The process in this seat is gone: its peers hear of it, at once or never.
    pub(super) fn drop_links(&mut self, seat: usize, is_silent: bool) {
        for other in (0..self.shape.seats).filter(|other| *other != seat) {
            for core in 0..self.shape.cores as usize {
                let pair = link_of(seat.max(other), seat.min(other), core);
                let state = self.net.pairs[pair as usize];
                if !state.is_up {
                    continue;
                }
                let delay = self.net.links[pair as usize].mean;
                let delay = if is_silent { 5 * SECOND } else { delay };
                self.push(self.now + delay, Due::Unlinked { pair, generation: state.generation });
            }
        }
    }

    // Frames.

    /// Sends what a core wrote for a seat in this turn.
    pub(super) fn send_frames(&mut self, from: usize, to: usize, core: usize, writer: &mut PeerFrameWriter, at: u64) {
        if !writer.finish() && writer.pending_bytes() == 0 {
            return;
        }
        let link = link_of(from, to, core);
        let spare = self.buffers.spare();
        let bytes = writer.take(spare);
        let buffer = self.buffers.add(bytes);
        let Some(generation) = self.net.up(link) else { return self.buffers.release(buffer) };
        self.counts.messages += 1;
        let state = &mut self.net.links[link as usize];
        state.frames += 1;
        let jitter = draw(self.seed, Stream::Peer as u8, u64::from(link), state.frames) % state.mean.max(1);
        let mut delay = state.mean / 2 + jitter;
        let entity = u32::from(link);
        if let Some([spike, ..]) =
            self.injector.strike(Class::Net5, entity, |d| [log_between(d, 10 * MS, SECOND), 0, 0])
        {
            delay += spike;
        }
        let clog_max = self.net.clog_max;
        if let Some([span, ..]) =
            self.injector.strike(Class::Net6, entity, |d| [log_between(d, clog_max / 50, clog_max), 0, 0])
        {
            let clogged = &mut self.net.links[link as usize].clogged_until;
            *clogged = (*clogged).max(at + span);
        }
        self.corrupt(link, buffer);
        let frames = self.net.links[link as usize].frames;
        self.change_version(link, frames, buffer);
        let state = &mut self.net.links[link as usize];
        let arrival = (at + delay).max(state.clogged_until).max(state.last_arrival + 1);
        state.last_arrival = arrival;
        self.push(arrival, Due::Frames { link, generation, buffer });
    }

    fn corrupt(&mut self, link: u16, buffer: u32) {
        let entity = u32::from(link);
        if let Some([seed, ..]) = self.injector.strike(Class::Net7, entity, |d| [d.next_u64(), 0, 0]) {
            let mut dice = base::Prng::new(seed);
            let bytes = self.buffers.bytes_mut(buffer);
            for _ in 0..=dice.below(8) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
        }
        if let Some([seed, ..]) = self.injector.strike(Class::Net8, entity, |d| [d.next_u64(), 0, 0]) {
            let bytes = self.buffers.bytes_mut(buffer);
            let keep = base::Prng::new(seed).below(bytes.len() as u64) as usize;
            bytes.truncate(keep);
        }
    }

    /// Frames arrive, or one message out of some.
    pub(super) fn deliver(&mut self, link: u16, generation: u32, buffer: u32, only: u16) {
        let (from, to, core) = parts(link);
        let is_void = self.net.up(link) != Some(generation) || self.net.is_blocked(from, to, self.now);
        if is_void || !self.nodes[to].is_up() {
            return self.buffers.release(buffer);
        }
        self.mail(to, core, Mail::Frames { from: from as u8, generation, buffer, only });
    }

    /// Nothing is cut, clogged or repeated any more. A connection that still holds what it was given for long is made anew:
    /// what is on its way in it would keep back all that comes behind.
    pub(super) fn heal_links(&mut self) {
        self.net.heal();
        for link in 0..self.net.links.len() as u16 {
            let pair = pair_of(link);
            let state = self.net.pairs[pair as usize];
            if state.is_up && self.net.links[link as usize].last_arrival > self.now + HELD {
                self.push(self.now, Due::Unlinked { pair, generation: state.generation });
            }
        }
    }

    /// A frame that makes no sense ends its connection.
    pub(super) fn reset(&mut self, from: usize, to: usize, core: usize) {
        let pair = pair_of(link_of(from, to, core));
        let state = self.net.pairs[pair as usize];
        if state.is_up {
            self.push(self.now, Due::Unlinked { pair, generation: state.generation });
        }
    }

    /// What the network does to one decoded message: true when it is delivered now.
    pub(super) fn filter(&mut self, link: u16, generation: u32, buffer: u32, ordinal: u16) -> bool {
        let entity = u32::from(link);
        if self.injector.strike(Class::Net1, entity, |_| [0; 3]).is_some() {
            return false;
        }
        let (from, to, _) = parts(link);
        let (delay, until) = self.net.echoes[from][to];
        if until > self.now {
            self.repeat(link, generation, buffer, ordinal, delay);
        }
        if let Some([delay, ..]) = self.injector.strike(Class::Net2, entity, |d| [log_between(d, MS, SECOND), 0, 0]) {
            self.repeat(link, generation, buffer, ordinal, delay);
        }
        if let Some([delay, ..]) =
            self.injector.strike(Class::Net3, entity, |d| [log_between(d, SECOND, 60 * SECOND), 0, 0])
        {
            self.repeat(link, generation, buffer, ordinal, delay);
        }
        if let Some([delay, ..]) =
            self.injector.strike(Class::Net4, entity, |d| [log_between(d, MS / 4, 100 * MS), 0, 0])
        {
            self.repeat(link, generation, buffer, ordinal, delay);
            return false;
        }
        true
    }

    fn repeat(&mut self, link: u16, generation: u32, buffer: u32, ordinal: u16, delay: u64) {
        self.buffers.hold(buffer);
        self.push(self.now + delay, Due::Message { link, generation, buffer, ordinal });
    }

    /// The node that sends over a link that is up.
    pub(super) fn sender(&self, link: u16) -> NodeId {
        let (from, to, _) = parts(link);
        let pair = self.net.pairs[pair_of(link) as usize];
        if from > to { pair.higher } else { pair.lower }
    }

    pub(super) fn generation(&self, link: u16) -> u32 {
        self.net.pairs[pair_of(link) as usize].generation
    }
}

/// Begins the frame of this turn towards a seat.
pub(super) fn open_writer(slot: &mut Option<PeerFrameWriter>, core: usize, now: Mono) -> &mut PeerFrameWriter {
    let writer = slot.get_or_insert_with(|| PeerFrameWriter::new(base::limits::WIRE_FRAME_BYTES_MAX));
    if writer.frame_bytes() == 0 {
        writer.begin(CoreId(core as u16), CoreId(core as u16), 0, now);
    }
    writer
}

/// Cuts the first frame off.
pub(super) fn cut_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = frame_bytes(Link::Peer, bytes, base::limits::WIRE_FRAME_BYTES_MAX).ok()??;
    (length <= bytes.len()).then(|| bytes.split_at(length))
}
