//! Processes: they start from what is on their disks, and stop without warning.

use base::{CoreId, LogIndex, NodeId, Prng, mutate};
use meta::Store as _;
use raft::Config;
use reactor::Doorbell;
use seglog::SegLog;
use shard::Shard;
use transport::Mailroom;

use super::node::{Core, Mail, Node, Remains, ShardLog, SimShard, State, log_settings, state_of};
use super::{MS, SECOND, Shape, What, World};
use crate::clock::Clock;
use crate::disk::{Cut, SimDisk, SimLogReader};
use crate::draw::{Stream, draw, log_between, prng};
use crate::fault::Class;
use crate::heap::Due;
use crate::observe::{Event, GroupView, Token};
use crate::schedule::Fault;
use crate::store::SimStore;

impl World<'_> {
    pub(super) fn build_node(&mut self, seat: usize) {
        let mut dice = prng(self.seed, Stream::Seed, seat as u64, 0);
        let mut clock = Clock::exact(SECOND + dice.below(1000 * SECOND));
        let begins = |class| self.injector.begins_with(class, seat as u32);
        let (has_offset, has_rate) = (begins(Class::Clk1), begins(Class::Clk2));
        let offset_ms = 1 + dice.below(self.options.profile.clock_offset_s() * 2000);
        let (slow, fast) = self.options.profile.clock_ppm();
        let (offset, ppm) = (offset_ms as i64, dice.below(slow + fast + 1) as i64);
        let entity = seat as u32;
        if has_offset {
            clock.wall_start_ms += offset - self.options.profile.clock_offset_s() as i64 * 1000;
            self.injector.note(Fault { class: Class::Clk1, entity, counter: 0, parameters: [offset_ms, 0, 0] });
        }
        if has_rate {
            clock.ppm = ppm - slow as i64;
            self.injector.note(Fault { class: Class::Clk2, entity, counter: 0, parameters: [ppm as u64, 0, 0] });
        }
        let mut node = Node {
            id: NodeId(seat as u64 + 1),
            state: State::Down,
            life: 0,
            incarnation: 0,
            clock,
            cores: Vec::new(),
            remains: Vec::new(),
            paused_until: 0,
            doom: None,
            down_ms: 0,
            initial: self.wanted.clone(),
            leaders: vec![NodeId(0); self.shape.groups as usize],
            restarts: 0,
            release: super::upgrade::release_of(&self.shape, seat),
            refusals: 0,
            is_damaged: false,
            is_dark: false,
        };
        node.remains = self.fresh_disks(&node);
        self.nodes.push(node);
    }

    fn fresh_disks(&self, node: &Node) -> Vec<Remains> {
        let fresh = |core| Remains {
            disk: SimDisk::new(&log_settings(node, core as usize, &self.shape, 0)),
            store: SimStore::new(self.shape.is_cold),
        };
        (0..self.shape.cores).map(fresh).collect()
    }

    pub(super) fn start_if(&mut self, seat: u8, life: u32) {
        let node = &self.nodes[seat as usize];
        if node.life == life && node.state == State::Down {
            self.start(seat as usize);
        }
    }

    /// Starts the process in a seat from its disks.
    pub(super) fn start(&mut self, seat: usize) {
        let is_empty = self.nodes[seat].incarnation == 0;
        self.perhaps_upgrade(seat);
        let node = &mut self.nodes[seat];
        node.incarnation += 1;
        node.life += 1;
        let remains = std::mem::take(&mut node.remains);
        let mut cores = Vec::new();
        let bell = |_| Doorbell::new().expect("the simulator's process has a descriptor left");
        let bells: Vec<Doorbell> = (0..remains.len()).map(bell).collect();
        let rooms = bells.iter().cloned().zip(Mailroom::of_node(&bells));
        for ((core, remains), room) in remains.into_iter().enumerate().zip(rooms) {
            match self.boot_core(seat, core, remains, is_empty, room) {
                Ok(cell) => cores.push(Some(cell)),
                Err(reason) => return self.refuse(seat, &reason),
            }
        }
        let now = self.now;
        let node = &mut self.nodes[seat];
        node.cores = cores;
        node.state = State::Up;
        node.paused_until = 0;
        node.is_dark = false;
        node.clock.resume(now);
        node.leaders.fill(NodeId(0));
        let (id, incarnation) = (node.id, node.incarnation);
        self.note(What::Start, seat as u64, id.0 << 32 | incarnation, |_| {
            format!("{seat}: node {id} starts, incarnation {incarnation}")
        });
        self.show_boot(seat);
        for core in 0..self.shape.cores as usize {
            self.wake(seat, core, now);
        }
        self.dial_all(seat);
        if incarnation > 1
            && let Some([operations, ..]) = self.injector.strike(Class::Proc2, seat as u32, |d| [d.below(6), 0, 0])
        {
            self.nodes[seat].doom = Some((operations, operations % 3));
        }
    }

    /// A core as its disk and store make it, or why its log does not open.
    fn boot_core(
        &mut self,
        seat: usize,
        core: usize,
        remains: Remains,
        is_empty: bool,
        room: (Doorbell, Mailroom<Option<Token>>),
    ) -> Result<Box<Core>, String> {
        let Remains { mut disk, mut store } = remains;
        if self.may_be_damaged(seat) {
            disk.keep_proven();
        }
        self.nodes[seat].is_damaged |= disk.has_lied();
        let misread = if is_empty { None } else { self.draw_misread(seat, core, &disk) };
        let node = &self.nodes[seat];
        let salt = draw(self.seed, Stream::Seed as u8, node.id.0 << 8 | core as u64, node.incarnation);
        let log_settings = log_settings(node, core, &self.shape, salt);
        store.crash();
        let recovered = if is_empty {
            seglog::create(&log_settings)
        } else {
            match seglog::recover(&mut SimLogReader::misreading(&disk, misread), &log_settings) {
                Ok(recovered) => recovered,
                Err(error) => return Err(error.to_string()),
            }
        };
        self.tell_trace(|_| format!("{seat}.{core} recovers: {:?}", recovered.report()));
        let forgotten = self.forgotten(core, &disk, recovered.report());
        let node = &self.nodes[seat];
        disk.handle_recovered(&recovered.groups());
        for group in self.groups() {
            if let Some(machine) = store.machine(group) {
                disk.handle_state(group, machine.applied_index, machine.applied_term);
            }
        }
        for segment in recovered.segments() {
            disk.open_existing(segment.slot, segment.segment_seq);
        }
        let settings = shard::Settings {
            node: node.id,
            core: CoreId(core as u16),
            cores: self.shape.cores,
            groups: self.shape.groups,
            incarnation: node.incarnation,
            seed: draw(self.seed, Stream::Seed as u8, 1 << 40, 0),
            raft: self.shape.raft,
            initial: Config::single(&node.initial),
            trailing_entries: self.shape.trailing,
            keep: self.shape.keep,
            state_hash_every: self.shape.hash_every,
            balance: self.shape.balance,
            release: node.release,
            machine: shard::MachineKind::Files,
        };
        let groups = self.groups().filter(|group| base::core_of(*group, self.shape.cores).0 as usize == core).count();
        let mut log = SegLog::start(recovered, log_settings, disk);
        if let Some(every) = self.shape.scrub_every {
            log.set_scrub_every(every);
        }
        let shard = Shard::new(settings, log, store, node.clock.mono(self.now));
        self.show_forgotten(seat, &forgotten, &shard);
        let mut core = Box::new(Core::new(shard, room, self.shape.seats, groups, self.now));
        if self.shape.has_cache {
            core.cache = Some(attach_cache(&mut core.shard, &self.shape, salt));
        }
        Ok(core)
    }

    fn show_boot(&mut self, seat: usize) {
        let World { nodes, panel, violation, now, shape, .. } = self;
        let node = &nodes[seat];
        let mut logs = Vec::new();
        for group in (0..shape.groups).map(base::GroupId) {
            if let Some(shard) = node.shard_of(group) {
                logs.push((group, shard, ShardLog::new(shard.log(), group)));
            }
        }
        let views: Vec<GroupView<'_>> = logs
            .iter()
            .filter_map(|(group, shard, log)| {
                let raft = shard.raft(*group)?;
                let state = state_of(shard, *group)?;
                Some(GroupView::of(node.clock.mono(*now), node.incarnation, raft, log, state))
            })
            .collect();
        let event = Event::Boot { node: node.id, incarnation: node.incarnation, groups: &views };
        if let Some(found) = panel.show(crate::observe::Time(*now), &event) {
            violation.get_or_insert(found);
        }
    }

    /// A log that does not open: allowed where disks may be damaged, and then the disk is as good as lost.
    fn refuse(&mut self, seat: usize, reason: &str) {
        let id = self.nodes[seat].id;
        if !self.nodes[seat].is_damaged {
            return self.fail("recovery", format!("node {id} refuses an undamaged log: {reason}"));
        }
        self.note(What::DiskLost, seat as u64, id.0, |_| format!("{seat}: node {id} refuses its log: {reason}"));
        self.replace_disk(seat);
    }

    /// Damage may strike this seat: under the atlas rule a minority, so that each committed entry has an intact copy and
    /// a majority has its hard state. Where disks lie that is all they do.
    pub(super) fn may_be_damaged(&self, seat: usize) -> bool {
        let profile = self.options.profile;
        (self.shape.damageable & 1 << seat != 0 || !profile.has_atlas_rule()) && !profile.has_liars()
    }

    /// A crash at an I/O point.
    pub(super) fn crash_if(&mut self, seat: u8, life: u32) {
        let node = &self.nodes[seat as usize];
        if node.life == life && node.is_up() && !self.is_spared(seat as usize) {
            self.crash(seat as usize);
        }
    }

    /// The process dies: by a power cut or alone, as PROC4 says.
    pub(super) fn crash(&mut self, seat: usize) {
        let is_power_cut = self.injector.strike(Class::Proc4, seat as u32, |d| [d.next_u64(), 0, 0]);
        self.stop(seat, is_power_cut.map(|[dice, ..]| dice));
    }

    /// After a turn: a shard that must stop takes its process with it.
    pub(super) fn after_turn(&mut self, seat: usize, core: usize) {
        let Some(cell) = self.nodes[seat].core(core) else { return };
        let Some(why) = cell.shard.stop_reason() else { return };
        let newer = match *why {
            shard::StopReason::NewerLevel { level, .. } => Some(level),
            _ => None,
        };
        let reason = why.to_string();
        if !self.injector.is_enabled() && self.nodes[seat].restarts > 3 {
            let id = self.nodes[seat].id;
            return self.fail("process", format!("node {id} stops by itself after all faults have ended: {reason}"));
        }
        self.nodes[seat].restarts += u32::from(!self.injector.is_enabled());
        if let Some(level) = newer {
            self.note_newer(seat, level);
        }
        self.note(What::Crash, seat as u64, 3, |_| format!("{seat}.{core}: stops: {reason}"));
        self.stop(seat, None);
    }

    /// The node in a seat loses power.
    pub(super) fn cut_power_of(&mut self, seat: usize, dice: u64) {
        self.stop(seat, Some(dice));
    }

    fn stop(&mut self, seat: usize, power_cut: Option<u64>) {
        let (id, life) = (self.nodes[seat].id, self.nodes[seat].life);
        self.counts.crashes += 1;
        let mut dice = prng(self.seed, Stream::Down, seat as u64, u64::from(life));
        let is_power_cut = power_cut.is_some();
        self.note(What::Crash, seat as u64, u64::from(is_power_cut), |_| {
            format!("{seat}: node {id} {}", if is_power_cut { "loses power" } else { "is killed" })
        });
        self.observe(&Event::Crash { node: id, is_power_cut });
        let mut cores = std::mem::take(&mut self.nodes[seat].cores);
        let mut remains = Vec::new();
        for (core, cell) in cores.iter_mut().enumerate() {
            let mut cell = cell.take().expect("a core is at home between turns");
            cell.inbox.drain(..).for_each(|mail| self.lose(mail));
            let mut disk = std::mem::take(cell.shard.log_mut().disk_mut());
            let mut store = std::mem::take(cell.shard.store_mut());
            // A flush on its way may be just done.
            if dice.below(2) == 0 {
                store.finish_flush();
            }
            store.crash();
            match power_cut {
                Some(seed) => self.cut_power(seat, core, &mut disk, seed),
                None => disk.kill(&mut dice),
            }
            remains.push(Remains { disk, store });
        }
        let node = &mut self.nodes[seat];
        node.remains = remains;
        node.state = State::Down;
        node.is_dark = is_power_cut;
        node.doom = None;
        node.life += 1;
        let life = node.life;
        self.drop_links(seat, is_power_cut && dice.below(2) == 0);
        self.drop_connections(seat, is_power_cut);
        let drawn = log_between(&mut dice, 20 * MS, 5 * SECOND);
        let down = match std::mem::take(&mut self.nodes[seat].down_ms) {
            0 => drawn,
            wanted => wanted * MS,
        };
        self.push(self.now + down, Due::Start { seat: seat as u8, life });
        if self.may_be_damaged(seat) && self.injector.strike(Class::Proc5, seat as u32, |_| [0; 3]).is_some() {
            self.replace_disk(seat);
        }
    }

    fn cut_power(&mut self, seat: usize, core: usize, disk: &mut SimDisk, seed: u64) {
        let entity = (seat * super::CORES_MAX + core) as u32;
        let mut dice = Prng::new(seed ^ core as u64);
        let keep_per_1024 = [0, 1024, 512, 128, 896][dice.below(5) as usize];
        let has_writes = disk.writes_in_flight() > 0;
        let tears_writes = has_writes && self.injector.strike(Class::Disk2, entity, |_| [0; 3]).is_some();
        // What is in flight nobody was told of: any node may lose it.
        let torn =
            if has_writes { self.injector.strike(Class::Disk1, entity, |d| [1 + d.below(256), 0, 0]) } else { None };
        let cut = Cut { keep_per_1024, tears_writes, torn_per_1024: torn.map_or(0, |[share, ..]| share) };
        disk.power_cut(cut, &mut dice);
    }

    /// The disk of a seat is replaced by an empty one: a new node in its place, which the operator lets in.
    pub(super) fn replace_disk(&mut self, seat: usize) {
        let lost = self.nodes[seat].id;
        self.counts.disks_lost += 1;
        self.note(What::DiskLost, seat as u64, lost.0, |_| format!("{seat}: node {lost} has lost its disk"));
        self.observe(&Event::DiskLost { node: lost });
        // A name belongs to a disk: who took it over would have forgotten votes and acks.
        let id = mutate!(MUT_19E, NodeId(self.next_node), lost);
        self.next_node += 1;
        self.former.push((lost, seat));
        let node = &mut self.nodes[seat];
        (node.id, node.incarnation, node.state, node.is_damaged) = (id, 0, State::Down, false);
        node.life += 1;
        node.cores = Vec::new();
        node.initial = mutate!(MUT_19E, Vec::new(), node.initial.clone());
        let life = node.life;
        self.nodes[seat].remains = self.fresh_disks(&self.nodes[seat]);
        self.wanted[seat] = id;
        let down = log_between(&mut prng(self.seed, Stream::Down, 100 + seat as u64, id.0), 100 * MS, 5 * SECOND);
        self.push(self.now + down, Due::Start { seat: seat as u8, life });
    }

    /// What the group's replicas hold, for the end of a run.
    pub(super) fn applied(&self, seat: usize, group: base::GroupId) -> Option<(LogIndex, u64)> {
        state_of(self.nodes[seat].shard_of(group)?, group)
    }

    /// Tells a core something from outside the machine.
    pub(super) fn tell(&mut self, seat: usize, core: usize, mail: Mail) {
        if self.nodes[seat].is_up() {
            self.mail(seat, core, mail);
        }
    }
}

/// A cache so small that its items go all the time.
fn attach_cache(shard: &mut SimShard, shape: &Shape, seed: u64) -> cache::Lent {
    let usual = cache::Settings::new(shape.groups, shape.cores, 0, seed);
    let settings = cache::Settings { segment_bytes: 2048, item_bytes_max: 1024, ..usual };
    // The least, and a bit.
    let memory = cache::Lent::new(settings.places() * (8192 + 128) + (24 << 10));
    shard.attach_cache(cache::Writer::new(memory.lines(), &settings).expect("it is large enough"));
    memory
}
