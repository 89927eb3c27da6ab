//! Leaps of time: in some runs days go by now and then between two instants, for all wall clocks alike, so that rows get
//! old enough to go while nodes crash and leaders change. Monotonic clocks know nothing of it.

use base::mono::Span;
use base::{GroupId, Jid, Nsid};
use meta::{BlocksDue, MemoryStore, Store as _};

use super::{SECOND, Shape, What, World};
use crate::clock::Clock;
use crate::draw::{Stream, between, prng};
use crate::heap::Due;
use crate::profile::Profile;

/// Of so many runs of a profile that has them, one has leaps.
const ONE_IN: u64 = 16;
/// A day in ms.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// One leap in ms.
const LEAP_MS: (u64, u64) = (DAY_MS / 2, 9 * DAY_MS);
/// Between two of the last days, in ns.
const LAST_DAY_EVERY: u64 = 8 * SECOND;
/// Leaders look for old rows so often, in ms.
const LOOK_MS: (u64, u64) = (200, 2_000);
/// Rows of one look: few, so that a namespace of a run takes several.
const ROWS_MAX: (u64, u64) = (8, 64);
/// What has been due for so long must be gone in the end: leaders look at blocks four times a day.
const GRACE_MS: u64 = 7 * 60 * 60 * 1000;

/// Does time leap in the run of this seed?
pub(super) fn draw(seed: u64, profile: Profile) -> bool {
    matches!(profile, Profile::Dense | Profile::Standard) && prng(seed, Stream::Leap, 0, 0).below(ONE_IN) == 0
}

impl Shape {
    /// Leaders look often enough for the leaps of a short run.
    pub(super) fn look_often(&mut self, seed: u64) {
        let mut dice = prng(seed, Stream::Leap, 1, 0);
        self.keep.rows_max = between(&mut dice, ROWS_MAX.0, ROWS_MAX.1) as u32;
        self.keep.look_every = Span::from_ms(between(&mut dice, LOOK_MS.0, LOOK_MS.1));
    }
}

impl World<'_> {
    pub(super) fn begin_leaps(&mut self) {
        if self.shape.has_leaps {
            self.push_leap(0);
        }
    }

    fn push_leap(&mut self, number: u32) {
        let mut dice = prng(self.seed, Stream::Leap, 2, u64::from(number));
        let at = self.now + between(&mut dice, self.shape.length / 40, self.shape.length / 12);
        self.push(at, Due::Leap { number });
    }

    /// Days have gone by.
    pub(super) fn leap(&mut self, number: u32) {
        if !self.injector.is_enabled() {
            return;
        }
        let mut dice = prng(self.seed, Stream::Leap, 3, u64::from(number));
        self.leap_by(number, between(&mut dice, LEAP_MS.0, LEAP_MS.1));
        self.push_leap(number + 1);
    }

    /// Last days, so that leaders look again at what was let go of after they had looked: a purge lets go of lists, these
    /// of blocks. `waited` is how long the end has waited for the rows to go, in ns.
    pub(super) fn leap_at_the_end(&mut self, waited: u64) {
        if self.shape.has_leaps && waited >= u64::from(self.end_leaps) * LAST_DAY_EVERY {
            self.end_leaps += 1;
            self.leap_by(u32::MAX - self.end_leaps, DAY_MS);
        }
    }

    fn leap_by(&mut self, number: u32, days_ms: u64) {
        self.note(What::Leap, u64::from(number), days_ms, |_| format!("{} hours go by", days_ms / 3_600_000));
        self.leapt_ms += days_ms;
        for node in &mut self.nodes {
            node.clock.wall_start_ms += days_ms as i64;
        }
        self.load.set_wall_ms(Clock::exact(0).wall_ms(self.now) + self.leapt_ms);
    }

    /// The first group in which something is left that should have gone, as its leader's rows say.
    pub(super) fn find_left_over(&self) -> Option<(GroupId, &'static str)> {
        if !self.shape.has_leaps {
            return None;
        }
        self.groups().find_map(|group| {
            let shard = self.nodes[self.leader_of(group)?].shard_of(group)?;
            let now_ms = shard.store().machine(group)?.stamp_ms.saturating_sub(GRACE_MS);
            left_over(&shard.store().warm(), group, now_ms, self.shape.keep.journal_ms).map(|what| (group, what))
        })
    }
}

fn left_over(store: &MemoryStore, group: GroupId, now_ms: u64, keep_ms: u64) -> Option<&'static str> {
    const WARM: &str = "all rows are in memory";
    let wants = &mut Vec::new();
    if meta::purge_due(store, group, Nsid(0), wants).expect(WARM).is_some() {
        return Some("a deleted folder");
    }
    let mut namespaces = Vec::new();
    meta::namespaces(store, group, Nsid(0), u32::MAX, &mut namespaces, wants).expect(WARM);
    namespaces.into_iter().find_map(|nsid| {
        let floor: Option<Jid> = meta::trim_due(store, group, nsid, now_ms - keep_ms, wants).expect(WARM);
        if floor.is_some() {
            return Some("rows of a journal");
        }
        let (mut position, mut looked) = (Vec::new(), 0);
        let due = meta::blocks_due(store, group, nsid, now_ms, u32::MAX, &mut position, &mut looked, wants);
        (due.expect(WARM) == BlocksDue::Yes).then_some("a block, list, session or kept result")
    })
}
