//! The world: nodes, network, clients and time, all on one thread, moved by a heap of events.
//!
//! ```text
//!  heap ─▶ turn of a core (turn.rs) ─▶ frames ─▶ network (net.rs) ─▶ mail ─▶ turn ...
//!             │  └─▶ disk operations ─▶ completions ─▶ mail
//!             └─▶ replies ─▶ clients (clients.rs), probes (probes.rs) ─▶ requests ─▶ mail
//!  faults by time (strikes.rs), plans (plan/) ─▶ crashes and starts (process.rs), partitions, pauses
//!  end.rs: everything is healed, and must become live
//! ```

mod astray;
mod calm;
mod clients;
mod end;
mod last_words;
mod leaps;
mod lies;
mod load;
mod members;
mod net;
mod node;
mod panel;
mod parcels;
mod plan;
mod probes;
mod process;
mod serve;
mod stranger;
mod strikes;
mod suspend;
mod tides;
mod turn;
mod upgrade;

use base::{GroupId, NodeId};

use crate::begun::Begun;
use crate::buffers::Buffers;
use crate::coverage::Coverage;
use crate::draw::{Stream, between, log_between, prng};
use crate::fault::Class;
use crate::heap::{Due, Heap};
use crate::inject::Injector;
use crate::observe::{Checker, Event, Time, Violation};
use crate::run::Options;
use crate::schedule::{Fault, Size};
use crate::trace::Trace;

use clients::ClientHost;
use load::Load;
use net::Net;
use node::{Node, State};
use serve::Connection;

/// Seats a cluster may have.
pub(crate) const SEATS_MAX: usize = 8;
/// Cores a node may have.
pub(crate) const CORES_MAX: usize = 4;
/// Events in one simulated millisecond, beyond which something spins.
const EVENTS_PER_MS_MAX: u64 = 10_000;
/// One millisecond.
pub(crate) const MS: u64 = 1_000_000;
/// One second.
pub(crate) const SECOND: u64 = 1_000 * MS;

/// How large this run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub seats: usize,
    pub cores: u16,
    pub groups: u32,
    pub clients: usize,
    pub length: u64,
    pub operations: u64,
    /// CTL2: entries kept behind a checkpoint.
    pub trailing: u64,
    /// When old rows go; no look through a group's rows falls into a run where time does not leap.
    pub keep: shard::Keep,
    /// Days go by now and then.
    pub has_leaps: bool,
    pub segment_bytes: u64,
    /// Batches of frames on their way to the disk; two in a quarter of the runs.
    pub log_batches: u8,
    /// Rows are cold after a flush.
    pub is_cold: bool,
    /// Seats whose disks may be damaged, a minority.
    pub damageable: u32,
    /// From one pass of a log's scrub to the next; none is as in production, longer than a run.
    pub scrub_every: Option<base::Span>,
    /// Consensus: with leases in half of the runs, with groups that rest early in half of them, and in half of the long
    /// ones with heartbeats half as often.
    pub raft: raft::Settings,
    /// Replicas compare their states behind each multiple of so many entries; 0: never.
    pub hash_every: u64,
    /// Half of the clients send everything to one core of each node, which takes it to the right one.
    pub has_strays: bool,
    /// In three quarters of the runs leaders are spread over the nodes.
    pub balance: shard::Balancing,
    /// Every core has a read cache.
    pub has_cache: bool,
    /// Seats that begin with the release before.
    pub old_release: u32,
    /// The machine in this seat errs.
    pub erring: Option<usize>,
}

impl Shape {
    fn draw(seed: u64, options: &Options, injector: &Injector) -> Shape {
        let mut dice = prng(seed, Stream::Shape, 0, 0);
        let (least, most) = options.profile.seconds();
        let Size { nodes, cores, groups, clients, length_ms, operations, .. } = options.size;
        let seats = nodes.unwrap_or(if dice.below(3) == 0 { 3 } else { 5 }) as usize;
        let drawn_cores = between(&mut dice, 1, 3) as u16;
        let drawn_clients = log_between(&mut dice, 4, 16) as u32;
        let length = between(&mut dice, least, most) * 1000;
        let trailing = log_between(&mut dice, 16, 256);
        let is_cold = dice.below(3) == 0;
        let segment_bytes = seglog::SEGMENT_BYTES_LEAST << dice.below(3);
        let has_two = prng(seed, Stream::Shape, 8, 0).below(4) == 0;
        let mut damageable = 0u32;
        while damageable.count_ones() < (seats as u32 - 1) / 2 {
            damageable |= 1 << dice.below(seats as u64);
        }
        let mut raft = raft::Settings::default();
        let mut raft_dice = prng(seed, Stream::Shape, 1, 0);
        let has_leases = options.profile.is_of_clocks() || options.profile.has_cache();
        if raft_dice.below(2) == 0 && !has_leases || options.has_no_leases {
            raft.lease = None;
        }
        if raft_dice.below(2) == 0 {
            raft.quiesce_after = Some(base::Span::from_ms(between(&mut raft_dice, 100, 2000)));
        }
        if options.profile == crate::profile::Profile::Standard && raft_dice.below(2) == 0 {
            raft.heartbeat = base::Span::from_ms(100);
        }
        let hash_every = log_between(&mut prng(seed, Stream::Shape, 9, 0), 2, 64);
        let has_strays = prng(seed, Stream::Shape, 10, 0).below(3) == 0;
        let plan = plan::Driver::draw(seed, options.profile);
        let mut shape = Shape {
            raft,
            seats,
            cores: drawn_cores,
            groups: groups.unwrap_or(3),
            clients: clients.unwrap_or(drawn_clients) as usize,
            length: length_ms.unwrap_or(length) * MS,
            operations: operations.unwrap_or(u64::MAX),
            keep: shard::Keep { look_every: base::Span::from_ms(1_000_000_000), ..shard::Keep::default() },
            trailing: if injector.is_on(Class::Ctl2) { trailing } else { 10_000 },
            segment_bytes,
            // A schedule that does not name them is older than the choice.
            log_batches: if has_two && options.schedule.is_none() { 2 } else { 1 },
            is_cold,
            damageable,
            scrub_every: None,
            // As with the batches.
            has_leaps: options.schedule.is_none() && leaps::draw(seed, options.profile),
            // As with the batches.
            hash_every: if options.schedule.is_some() { 0 } else { hash_every },
            // As with the batches.
            has_strays: has_strays && options.schedule.is_none(),
            balance: draw_balance(seed, options),
            has_cache: options.profile.has_cache(),
            old_release: upgrade::draw(seed, options.profile, seats),
            erring: None,
        };
        plan.shape(&mut shape);
        shape.cores = cores.unwrap_or(shape.cores);
        shape = shape.with(&options.size);
        if shape.has_leaps {
            shape.look_often(seed);
        }
        shape
    }

    /// What is given takes the place of what was drawn.
    fn with(mut self, given: &Size) -> Shape {
        let span = |ms: u64| (ms > 0).then(|| base::Span::from_ms(ms));
        self.trailing = given.trailing.unwrap_or(self.trailing);
        self.segment_bytes = given.segment_bytes.unwrap_or(self.segment_bytes);
        self.log_batches = given.log_batches.map_or(self.log_batches, |batches| batches.clamp(1, 2) as u8);
        self.is_cold = given.cold.map_or(self.is_cold, |cold| cold == 1);
        self.damageable = given.damageable.unwrap_or(self.damageable);
        self.has_leaps = given.leaps.map_or(self.has_leaps, |leaps| leaps == 1);
        self.hash_every = given.hash_every.unwrap_or(self.hash_every);
        self.has_strays = given.strays.map_or(self.has_strays, |strays| strays == 1);
        self.balance.is_on = given.balance.map_or(self.balance.is_on, |balance| balance == 1);
        self.old_release = given.old_release.unwrap_or(self.old_release);
        self.erring = given.erring.map_or(self.erring, |seat| (seat as usize).checked_sub(1));
        self.raft.lease = given.lease_ms.map_or(self.raft.lease, span);
        self.raft.quiesce_after = given.rest_ms.map_or(self.raft.quiesce_after, span);
        self.raft.heartbeat = given.heartbeat_ms.map_or(self.raft.heartbeat, |ms| base::Span::from_ms(ms.max(1)));
        self
    }

    pub fn size(&self) -> Size {
        let ms = |span: Option<base::Span>| Some(span.map_or(0, |span| span.0 / MS));
        Size {
            nodes: Some(self.seats as u32),
            cores: Some(self.cores),
            groups: Some(self.groups),
            clients: Some(self.clients as u32),
            length_ms: Some(self.length / MS),
            operations: (self.operations != u64::MAX).then_some(self.operations),
            trailing: Some(self.trailing),
            segment_bytes: Some(self.segment_bytes),
            log_batches: Some(u32::from(self.log_batches)),
            cold: Some(u32::from(self.is_cold)),
            damageable: Some(self.damageable),
            leaps: self.has_leaps.then_some(1),
            lease_ms: ms(self.raft.lease),
            rest_ms: ms(self.raft.quiesce_after),
            heartbeat_ms: Some(self.raft.heartbeat.0 / MS),
            hash_every: (self.hash_every > 0).then_some(self.hash_every),
            strays: self.has_strays.then_some(1),
            old_release: (self.old_release > 0).then_some(self.old_release),
            balance: self.balance.is_on.then_some(1),
            erring: self.erring.map(|seat| seat as u32 + 1),
        }
    }
}

/// Loads of clients here are small, and a run is short.
fn draw_balance(seed: u64, options: &Options) -> shard::Balancing {
    let mut dice = prng(seed, Stream::Shape, 10, 0);
    shard::Balancing {
        // As with the batches.
        is_on: dice.below(4) != 0 && options.schedule.is_none(),
        load_gap_min: between(&mut dice, 5, 50),
        fit_after: base::Span::from_ms(between(&mut dice, 500, 5000)),
        tenure: base::Span::from_ms(between(&mut dice, 500, 5000)),
    }
}

/// What a run counts.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub events: u64,
    pub turns: u64,
    pub messages: u64,
    pub operations: u64,
    pub acknowledged: u64,
    pub timed: u64,
    pub forwarded: u64,
    pub crashes: u64,
    pub disks_lost: u64,
    pub given_up: u64,
    pub elections: u64,
}

/// Everything.
pub(crate) struct World<'c> {
    pub seed: u64,
    pub now: u64,
    pub options: Options,
    pub shape: Shape,
    heap: Heap,
    pub trace: Trace,
    pub injector: Injector,
    nodes: Vec<Node>,
    net: Net,
    connections: Vec<Connection>,
    /// Those that the turn at hand wrote to, some more than once.
    written: Vec<u32>,
    clients: Vec<ClientHost>,
    load: Load,
    /// So much time went by in leaps, in ms.
    leapt_ms: u64,
    /// Leaps since everything was healed.
    end_leaps: u32,
    stranger: stranger::Stranger,
    /// What clients began, if it is recorded.
    pub begun: Vec<Begun>,
    buffers: Buffers,
    timed: Vec<Fault>,
    next_node: u64,
    /// Nodes that each group is to have, by the operator's wish.
    wanted: Vec<NodeId>,
    /// Nodes that were replaced, and their seats: the host keeps its address.
    former: Vec<(NodeId, usize)>,
    /// What each of them is to be.
    wish: members::Wish,
    operator_draws: u64,
    calm: calm::Calm,
    last_words: last_words::LastWords,
    upgrade: upgrade::Upgrade,
    driver: plan::Driver,
    probes: probes::Probes,
    episode: Option<plan::Episode>,
    phase: end::Phase,
    /// Elections that came once leaders were spread.
    stirred: u32,
    lies: lies::Lies,
    /// A node goes on that is without something it was told is on its disk, and does not know: what no checksum shows.
    has_forgotten: bool,
    /// It ended with its faults, by wish: nothing is owed.
    has_stopped_early: bool,
    panel: panel::Panel<'c>,
    pub violation: Option<Violation>,
    pub counts: Counts,
    pub coverage: Coverage,
    ms: u64,
    events_in_ms: u64,
    /// Memory that turns work with.
    records: Vec<u8>,
}

impl<'c> World<'c> {
    pub fn new(seed: u64, options: &Options, checkers: &'c mut [Box<dyn Checker>]) -> World<'c> {
        let listed = options.schedule.as_deref();
        let injector = Injector::new(seed, options.profile, options.off(), listed, options.is_recording);
        let shape = Shape::draw(seed, options, &injector);
        let mut world = World {
            seed,
            now: 0,
            options: options.clone(),
            shape,
            heap: Heap::default(),
            trace: Trace::new(),
            injector,
            nodes: Vec::new(),
            net: Net::new(seed, &shape),
            connections: Vec::new(),
            written: Vec::new(),
            clients: Vec::new(),
            // A schedule that lists no operations is older than this choice.
            load: Load::new(seed, shape.groups, shape.has_leaps, options.schedule.is_none() && load::is_wide(seed)),
            leapt_ms: 0,
            end_leaps: 0,
            stranger: stranger::Stranger::default(),
            begun: Vec::new(),
            buffers: Buffers::default(),
            timed: Vec::new(),
            next_node: shape.seats as u64 + 1,
            wanted: (1..=shape.seats as u64).map(NodeId).collect(),
            former: Vec::new(),
            wish: members::Wish::default(),
            operator_draws: 0,
            calm: calm::Calm::default(),
            last_words: last_words::LastWords::new(seed),
            upgrade: upgrade::Upgrade::new(&shape),
            driver: plan::Driver::draw(seed, options.profile),
            probes: probes::Probes::new(shape.groups),
            episode: None,
            phase: end::Phase::Faults,
            stirred: 0,
            lies: lies::Lies::draw(seed, options.profile, shape.seats, shape.length),
            has_forgotten: false,
            has_stopped_early: false,
            panel: panel::Panel::new(checkers),
            violation: None,
            counts: Counts::default(),
            coverage: Coverage::default(),
            ms: 0,
            events_in_ms: 0,
            records: Vec::new(),
        };
        world.trace.print = options.print;
        world.trace.wanted.clone_from(&options.wanted_events);
        world.trace.steps = options.keeps_steps.then(Vec::new);
        world.build();
        world
    }

    fn build(&mut self) {
        for seat in 0..self.shape.seats {
            self.build_node(seat);
        }
        for seat in 0..self.shape.seats {
            self.start(seat);
        }
        for client in 0..self.shape.clients {
            self.build_client(client);
        }
        self.begin_strikes();
        self.begin_plan();
        self.begin_tides();
        self.begin_leaps();
        self.push(2 * SECOND, Due::Client { client: stranger::NAME });
        self.probe_at(SECOND);
        self.push(self.shape.length, Due::Phase);
        self.push(300 * MS, Due::Operator);
        self.begin_upgrade();
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while self.violation.is_none() && self.phase != end::Phase::Over {
            let Some((time, due)) = self.heap.pop() else { break };
            debug_assert!(time >= self.now, "{due:?} is due in the past");
            self.now = time;
            self.guard();
            self.handle(due);
        }
        if !self.has_stopped_early {
            self.observe(&Event::End);
        }
    }

    /// Who sits where.
    pub fn nodes_by_seat(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    fn guard(&mut self) {
        self.counts.events += 1;
        if self.now / MS != self.ms {
            (self.ms, self.events_in_ms) = (self.now / MS, 0);
        }
        self.events_in_ms += 1;
        if self.events_in_ms > EVENTS_PER_MS_MAX {
            self.fail("bounds", format!("{EVENTS_PER_MS_MAX} events in one simulated millisecond: something spins"));
        }
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Turn { seat, core } => self.take_turn(seat as usize, core as usize),
            Due::Operation { seat, core, life, token } => self.end_operation(seat, core, life, token),
            Due::Flush { seat, core, life } => self.end_flush(seat, core, life),
            Due::Store { seat, core, life } => self.end_read(seat, core, life),
            Due::Parcels { seat, core, life } => self.bring_parcels(seat, core, life),
            Due::Frames { link, generation, buffer } => self.deliver(link, generation, buffer, u16::MAX),
            Due::Message { link, generation, buffer, ordinal } => self.deliver(link, generation, buffer, ordinal),
            Due::Dial { pair, generation } => self.dial(pair, generation),
            Due::Linked { pair, generation } => self.link_up(pair, generation),
            Due::Unlinked { pair, generation } => self.link_down(pair, generation),
            Due::Accept { connection } => self.accept(connection),
            Due::Accepted { connection } => self.client_connected(connection),
            Due::ToServer { connection, buffer } => self.reach_server(connection, buffer),
            Due::ToClient { connection, buffer } => self.reach_client(connection, buffer),
            Due::ServerClosed { connection } => self.server_closed(connection),
            Due::ClientClosed { connection } => self.client_closed(connection),
            Due::Client { client: stranger::NAME } => self.wake_stranger(),
            Due::Client { client } => self.wake_client(client as usize),
            Due::Fault { which } => self.strike_timed(which),
            Due::Crash { seat, life } => self.crash_if(seat, life),
            Due::Start { seat, life } => self.start_if(seat, life),
            Due::Operator => self.operate(),
            Due::Upgrade => self.upgrade(),
            Due::Plan => self.advance_plan(),
            Due::Stir => self.stir(),
            Due::Tide { number } => self.turn_tide(number),
            Due::Leap { number } => self.leap(number),
            Due::Probe => self.look_for_rivals(),
            Due::LastWord => self.say_last_word(),
            Due::Phase => self.next_phase(),
        }
    }

    fn push(&mut self, time: u64, due: Due) {
        self.heap.push(time.max(self.now), due);
    }

    /// An event for hash and trace.
    fn note(&mut self, what: What, a: u64, b: u64, text: impl FnOnce(&World<'_>) -> String) {
        self.trace.fold(self.now, what as u64, a, b);
        if self.trace.wants_text() {
            let text = text(self);
            let line = format!("{:>12.6} {what:?} {text}", self.now as f64 / SECOND as f64);
            if self.trace.print {
                println!("{line}");
            }
            self.trace.text.push(line);
        }
    }

    /// A line of the trace that is no event of its own.
    fn tell_trace(&mut self, text: impl FnOnce(&World<'_>) -> String) {
        if self.trace.wants_text() {
            let line = format!("{:>12.6}     {}", self.now as f64 / SECOND as f64, text(self));
            if self.trace.print {
                println!("{line}");
            }
            self.trace.text.push(line);
        }
    }

    fn observe(&mut self, event: &Event<'_>) {
        if let Some(found) = self.panel.show(Time(self.now), event) {
            self.violation.get_or_insert(found);
        }
    }

    fn fail(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    fn seat_of(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|entry| entry.id == node && entry.state != State::Gone)
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.shape.groups).map(GroupId)
    }

    /// The term of a group on the node in a seat, while it runs.
    fn term_of(&self, seat: usize, group: GroupId) -> Option<base::Term> {
        Some(self.nodes[seat].shard_of(group)?.raft(group)?.term())
    }

    /// The leader of the highest term among running nodes.
    fn leader_of(&self, group: GroupId) -> Option<usize> {
        let leads = |(seat, node): (usize, &Node)| {
            let raft = node.shard_of(group)?.raft(group)?;
            raft.is_leader().then(|| (raft.term(), seat))
        };
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_up()).filter_map(leads).max().map(|(_, seat)| seat)
    }
}

/// Kinds of events in the hash. Numbers are part of what a hash means.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum What {
    Turn = 1,
    Op,
    Link,
    Start,
    Crash,
    DiskLost,
    Fault,
    Ask,
    Answer,
    Phase,
    Operator,
    Plan,
    Leap,
}
