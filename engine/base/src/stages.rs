//! Where the time of one request goes: stages that touch, so that their sum is the total, exactly.
//!
//! ```text
//! write  recv ▶ decode ▶ admit ▶ propose ▶ log_submit ▶ log_write ▶ log_sync ▶ quorum ▶ prefetch ▶ apply ▶ reply ▶ send
//! read   recv ▶ decode ▶ admit ▶ cache ▶ lease ▶ apply_wait ▶ prefetch ▶ lookup ▶ reply ▶ send
//! ```
//! A stamp is taken at the end of each stage. Stamps are observed and never decided on: a [`Stamp`] has no way to become
//! a [`crate::Mono`]. Source: docs/design/profile.md.

/// A moment in ticks of a clock of this machine, for measuring alone. Who made it knows how long a tick is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Stamp(u64);

/// False in builds with feature `profile-off`, the other arm of measurements of what this costs: nothing is marked then.
pub const ON: bool = !cfg!(feature = "profile-off");

/// Ticks of one unit of a slot, as a power of two.
pub const UNIT_SHIFT: u32 = 4;

impl Stamp {
    /// The moment at which a clock stood at `ticks`.
    #[must_use]
    pub const fn at(ticks: u64) -> Stamp {
        Stamp(ticks)
    }

    /// The clock's reading.
    #[must_use]
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// Units of 16 ticks since `earlier`; 0 if that is later, and at most `u32::MAX` (27 s at 2.5 GHz).
    #[must_use]
    pub fn units_since(self, earlier: Stamp) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0) >> UNIT_SHIFT).unwrap_or(u32::MAX)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $count:ident { $($(#[$each:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$each])* $variant = $number,)+ }

        /// How many there are.
        pub const $count: usize = [$($number),+].len();

        impl $name {
            /// All, by number.
            pub const ALL: [$name; $count] = [$($name::$variant),+];

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The one of that number.
            #[must_use]
            pub fn from_u8(number: u8) -> Option<$name> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

named! {
    /// A stage, named by what has happened at its end. The numbers are on the wire and the places of a slot's stamps.
    Stage, STAGES {
        /// The request's bytes were reaped: where all begins. It has no length.
        Recv = 0 "recv",
        /// All requests of the turn were read and handed to the shard.
        Decode = 1 "decode",
        /// The shard has done what comes before proposals: mail, completions of the disk, deadlines.
        Admit = 2 "admit",
        /// The entry is in the log's memory.
        Propose = 3 "propose",
        /// Its frame was handed to the log's backend: the wait behind frames in flight is here.
        LogSubmit = 4 "log_submit",
        /// That write is complete.
        LogWrite = 5 "log_write",
        /// It is on disk; 0 where a write is durable when it ends.
        LogSync = 6 "log_sync",
        /// A quorum has it.
        Quorum = 7 "quorum",
        /// The rows that it needs are in memory.
        Prefetch = 8 "prefetch",
        /// The outcome is known.
        Apply = 9 "apply",
        /// The reply is in the connection's buffer.
        Reply = 10 "reply",
        /// The kernel has taken it.
        Send = 11 "send",
        /// A read: looked up in the cache.
        Cache = 12 "cache",
        /// A read: confirmed, by lease or by a round.
        Lease = 13 "lease",
        /// A read: as much as it must see is applied.
        ApplyWait = 14 "apply_wait",
        /// A read: the answer is known.
        Lookup = 15 "lookup",
    }
}

named! {
    /// What kind of operation a request is, for reports. The numbers are on the wire.
    OpClass, OP_CLASSES {
        /// One file or folder made, or its attributes set; and all commands that are none of the others.
        Put = 0 "put",
        /// Many files at once.
        Batch = 1 "batch",
        /// A move, copy, restore or delete.
        MoveDelete = 2 "move_delete",
        /// A query of one thing.
        Get = 3 "get",
        /// A page of a listing.
        List = 4 "list",
        /// Changes since a cursor.
        Delta = 5 "delta",
        /// A query of blocks: which are known, which a file has.
        Blocks = 6 "blocks",
        /// A wake of who watches.
        Notify = 7 "notify",
    }
}

use Stage::*;

/// The stages of a write after [`Stage::Recv`], in their order.
pub const WRITE_STAGES: [Stage; 11] =
    [Decode, Admit, Propose, LogSubmit, LogWrite, LogSync, Quorum, Prefetch, Apply, Reply, Send];
/// The stages of a read after [`Stage::Recv`], in their order.
pub const READ_STAGES: [Stage; 9] = [Decode, Admit, Cache, Lease, ApplyWait, Prefetch, Lookup, Reply, Send];

impl OpClass {
    /// Its stages after [`Stage::Recv`], in their order.
    #[must_use]
    pub const fn stages(self) -> &'static [Stage] {
        match self {
            OpClass::Put | OpClass::Batch | OpClass::MoveDelete => &WRITE_STAGES,
            OpClass::Get | OpClass::List | OpClass::Delta | OpClass::Blocks | OpClass::Notify => &READ_STAGES,
        }
    }
}

/// The stamps of one request, or of all requests that share them: a line of 64 bytes and where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot {
    begin: Stamp,
    /// Units since `begin`, one more than that, by stage; 0 is none.
    stamps: [u32; STAGES],
}

/// How long each stage of a request took, by stage, and all of it. Units: those of a slot, or nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lengths {
    /// By stage; 0 for a stage that did not happen.
    pub of: [u32; STAGES],
    /// Invariant: the sum of them.
    pub total: u32,
}

impl Slot {
    /// A request whose bytes were reaped then.
    #[must_use]
    pub fn begun(begin: Stamp) -> Slot {
        let mut slot = Slot { begin, stamps: [0; STAGES] };
        slot.stamps[Recv as usize] = 1;
        slot
    }

    /// When its bytes were reaped.
    #[must_use]
    pub fn begin(&self) -> Stamp {
        self.begin
    }

    /// The same of a request whose bytes were reaped then, by another core, which handed it over: its first stage is that
    /// much longer. A moment that is not earlier changes nothing.
    #[must_use]
    pub fn begun_earlier(mut self, begin: Stamp) -> Slot {
        let more = self.begin.units_since(begin);
        if more > 0 {
            self.begin = begin;
            let marked =
                self.stamps.iter_mut().enumerate().filter(|(stage, stamp)| *stage != Recv as usize && **stamp != 0);
            marked.for_each(|(_, stamp)| *stamp = stamp.saturating_add(more));
        }
        self
    }

    /// A stage has ended now. The last mark of a stage counts: a retry marks it again.
    pub fn mark(&mut self, stage: Stage, now: Stamp) {
        if !ON {
            return;
        }
        self.stamps[stage as usize] = now.units_since(self.begin).saturating_add(1);
    }

    /// True when the stage has ended.
    #[must_use]
    pub fn has(&self, stage: Stage) -> bool {
        self.stamps[stage as usize] != 0
    }

    /// True when the commit index passed before the local disk was done: then the log's stages end with `quorum`.
    #[must_use]
    pub fn is_committed_before_sync(&self) -> bool {
        let [sync, quorum] = [LogSync, Quorum].map(|stage| self.stamps[stage as usize]);
        quorum != 0 && (sync == 0 || sync > quorum)
    }

    /// The lengths of the stages in `order`, each of which begins where the one before it ended. Whatever was marked, in
    /// whatever order, they sum to the total, which is the latest mark of a stage that shapes the answer.
    #[must_use]
    pub fn lengths(&self, order: &[Stage]) -> Lengths {
        self.lengths_by(order, |units| units)
    }

    /// The same in nanoseconds, where `ns_of` turns units into them and never falls. The moments are turned, not the
    /// lengths, so that the sum stays the total. A time beyond `u32::MAX` ns (4.29 s) counts as that long.
    #[must_use]
    pub fn lengths_ns(&self, order: &[Stage], ns_of: impl Fn(u32) -> u64) -> Lengths {
        self.lengths_by(order, |units| u32::try_from(ns_of(units)).unwrap_or(u32::MAX))
    }

    fn lengths_by(&self, order: &[Stage], turned: impl Fn(u32) -> u32) -> Lengths {
        let quorum = if self.has(Quorum) { self.stamps[Quorum as usize] } else { u32::MAX };
        let mut lengths = Lengths::default();
        let (mut units, mut reached) = (1, 0);
        for stage in order {
            let end = match stage {
                // The disk of this node may end after the quorum, or after all of it.
                LogSubmit | LogWrite | LogSync => self.stamps[*stage as usize].min(quorum),
                _ => self.stamps[*stage as usize],
            };
            // A stage without a mark did not happen, and one marked early has ended with the one before it.
            if end > units {
                units = end;
                let end = turned(units - 1);
                lengths.of[*stage as usize] = end - reached;
                reached = end;
            }
        }
        lengths.total = reached;
        debug_assert_eq!(lengths.of.iter().map(|length| u64::from(*length)).sum::<u64>(), u64::from(lengths.total));
        lengths
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(units: u64) -> Stamp {
        Stamp::at(1_000_000 + (units << UNIT_SHIFT))
    }

    #[test]
    fn stages_in_order_last_from_mark_to_mark() {
        let mut slot = Slot::begun(at(0));
        for (stage, units) in WRITE_STAGES.into_iter().zip([1, 3, 4, 10, 50, 90, 120, 120, 125, 126, 130]) {
            slot.mark(stage, at(units));
        }
        let lengths = slot.lengths(&WRITE_STAGES);
        let told: Vec<u32> = WRITE_STAGES.iter().map(|stage| lengths.of[*stage as usize]).collect();
        assert_eq!((told, lengths.total), (vec![1, 2, 1, 6, 40, 40, 30, 0, 5, 1, 4], 130));
        assert!(!slot.is_committed_before_sync());
    }

    #[test]
    fn the_log_ends_with_a_quorum_that_comes_before_the_own_disk() {
        let mut slot = Slot::begun(at(0));
        for (stage, units) in [(Propose, 5), (LogSubmit, 10), (LogWrite, 90), (LogSync, 200), (Quorum, 40), (Reply, 60)]
        {
            slot.mark(stage, at(units));
        }
        assert!(slot.is_committed_before_sync());
        let lengths = slot.lengths(&WRITE_STAGES);
        let told = [LogSubmit, LogWrite, LogSync, Quorum, Reply].map(|stage| lengths.of[stage as usize]);
        assert_eq!((told, lengths.total), ([5, 30, 0, 0, 20], 60));
    }

    #[test]
    fn a_stage_without_a_mark_has_no_length_and_a_retry_counts_to_the_last_mark() {
        let mut slot = Slot::begun(at(0));
        slot.mark(Lease, at(5));
        slot.mark(Prefetch, at(10));
        slot.mark(Prefetch, at(30));
        slot.mark(Lookup, at(31));
        let lengths = slot.lengths(&READ_STAGES);
        let told = [Decode, Cache, Lease, ApplyWait, Prefetch, Lookup].map(|stage| lengths.of[stage as usize]);
        assert_eq!((told, lengths.total), ([0, 0, 5, 0, 25, 1], 31));
    }

    #[test]
    fn a_request_that_another_core_handed_over_counts_from_where_it_came_in() {
        let mut slot = Slot::begun(at(100));
        for (stage, units) in [(Decode, 101), (Lease, 103), (Lookup, 110)] {
            slot.mark(stage, at(units));
        }
        let mut whole = slot.begun_earlier(at(40));
        whole.mark(Reply, at(150));
        let lengths = whole.lengths(&READ_STAGES);
        let told = [Recv, Decode, Lease, Lookup, Reply].map(|stage| lengths.of[stage as usize]);
        assert_eq!((told, lengths.total, whole.begin()), ([0, 61, 2, 7, 40], 110, at(40)));
        assert_eq!(slot.begun_earlier(at(100)), slot);
        assert_eq!(slot.begun_earlier(at(200)), slot, "no core sees a request before it came");
    }

    #[test]
    fn a_request_of_minutes_saturates_and_still_sums() {
        let mut slot = Slot::begun(at(0));
        slot.mark(Quorum, Stamp::at(u64::MAX));
        slot.mark(Send, Stamp::at(u64::MAX));
        let lengths = slot.lengths(&WRITE_STAGES);
        assert_eq!((lengths.of[Quorum as usize], lengths.total), (u32::MAX - 1, u32::MAX - 1));
        let ns = slot.lengths_ns(&WRITE_STAGES, |units| u64::from(units) * 6);
        assert_eq!((ns.of[Quorum as usize], ns.of[Send as usize], ns.total), (u32::MAX, 0, u32::MAX));
    }

    #[test]
    fn numbers_are_places_and_names_are_their_own() {
        for (number, stage) in (0..).zip(Stage::ALL) {
            assert_eq!((stage as u8, Stage::from_u8(number)), (number, Some(stage)));
        }
        assert_eq!((Stage::from_u8(16), OpClass::from_u8(8)), (None, None));
        let names: std::collections::BTreeSet<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        assert_eq!(names.len(), STAGES);
    }

    proptest! {
        /// Marks come as events do: any stage, any number of times, at any time, also before the request began.
        #[test]
        fn any_interleaving_of_marks_sums_to_the_total(
            marks in prop::collection::vec((0u8..16, 0u64..1 << 34), 0..40), is_write in any::<bool>(),
        ) {
            let begin = 1u64 << 33;
            let mut slot = Slot::begun(Stamp::at(begin));
            for (stage, ticks) in marks {
                slot.mark(Stage::from_u8(stage).unwrap(), Stamp::at(ticks));
            }
            let order: &[Stage] = if is_write { &WRITE_STAGES } else { &READ_STAGES };
            let lengths = slot.lengths(order);
            prop_assert_eq!(lengths.of.iter().sum::<u32>(), lengths.total);
            let ns = slot.lengths_ns(order, |units| ((u64::from(units) << 4) * 6_710_887) >> 24);
            prop_assert_eq!(ns.of.iter().map(|ns| u64::from(*ns)).sum::<u64>(), u64::from(ns.total));
            // No stage of another order, and none that was not marked, has a length.
            for stage in Stage::ALL {
                let may_last = order.contains(&stage) && slot.has(stage);
                prop_assert!(may_last || lengths.of[stage as usize] == 0, "{:?}", stage);
            }
        }
    }
}
