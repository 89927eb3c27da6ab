//! Seeded bugs: `mutate!(MUT_16A, right, wrong)` is `right`, unless the build has `--cfg mutations` and that mutation
//! was switched on. They prove that the simulator's checkers see (docs/TESTING.md, "Mutations").
//!
//! What the simulator cannot reach is shown by a test instead: its list says `test: ARGUMENTS` (of `cargo test`) or
//! `model: ARGUMENTS` (with `--cfg loom`) where others name checkers. That test fails with `DROPSTONE_MUTATION=16a` in its
//! environment, and `cargo xtask mutants` sees to it that it does.
//!
//! Never a Cargo feature: feature unification could put a bug into the binary that ships.

/// `right`, or under `--cfg mutations` and with the mutation switched on, `wrong`.
#[macro_export]
macro_rules! mutate {
    ($id:ident, $right:expr, $wrong:expr) => {{
        #[cfg(not(mutations))]
        let value = $right;
        #[cfg(mutations)]
        let value = if $crate::mutations::is_on($crate::mutations::$id) { $wrong } else { $right };
        value
    }};
}

#[cfg(mutations)]
pub use switched::*;

#[cfg(mutations)]
mod switched {
    use std::sync::atomic::{AtomicU16, Ordering};

    /// A seeded bug.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Mutation {
        /// As in `16a`: the number and letter of docs/TESTING.md.
        pub id: &'static str,
        /// What is wrong with it on.
        pub what: &'static str,
        /// Checkers of which one is expected to see it; or one word that begins with `test:` or `model:`.
        pub checkers: &'static [&'static str],
        number: u16,
    }

    /// Not looked into the environment yet.
    const UNKNOWN: u16 = u16::MAX;
    /// Names the one that is on in a test's process.
    const VARIABLE: &str = "DROPSTONE_MUTATION";

    /// 0: none.
    static ACTIVE: AtomicU16 = AtomicU16::new(UNKNOWN);

    impl Mutation {
        /// It is not the simulator that sees it.
        #[must_use]
        pub fn is_for_tests(&self) -> bool {
            self.checkers.iter().any(|checker| checker.contains(':'))
        }
    }

    /// Is this the mutation switched on in this process?
    #[inline]
    #[must_use]
    pub fn is_on(mutation: Mutation) -> bool {
        match ACTIVE.load(Ordering::Relaxed) {
            UNKNOWN => from_environment() == mutation.number,
            active => active == mutation.number,
        }
    }

    #[cold]
    fn from_environment() -> u16 {
        let id = std::env::var(VARIABLE).unwrap_or_default();
        let found = ALL.iter().find(|mutation| mutation.id == id);
        assert!(id.is_empty() || found.is_some(), "{VARIABLE} names no seeded bug: {id}");
        switch(found.copied());
        found.map_or(0, |mutation| mutation.number)
    }

    /// Switches one mutation on, or all off.
    pub fn switch(mutation: Option<Mutation>) {
        ACTIVE.store(mutation.map_or(0, |mutation| mutation.number), Ordering::Relaxed);
    }

    macro_rules! mutations {
        ($($name:ident $id:literal $what:literal [$($checker:literal)*])*) => {
            mutations!(@number 1u16; $($name $id $what [$($checker)*])*);
            /// Every mutation, in the order of docs/TESTING.md.
            pub const ALL: &[Mutation] = &[$($name),*];
        };
        (@number $number:expr; ) => {};
        (@number $number:expr; $name:ident $id:literal $what:literal [$($checker:literal)*] $($rest:tt)*) => {
            #[doc = $what]
            pub const $name: Mutation =
                Mutation { id: $id, what: $what, checkers: &[$($checker),*], number: $number };
            mutations!(@number $number + 1; $($rest)*);
        };
    }

    mutations! {
        MUT_1A "1a" "a vote is answered before term and vote are persisted" ["election" "hard_state"]
        MUT_1B "1b" "RequestVote leaves before term, vote and last entry are persisted" ["hard_state" "election"]
        MUT_1C "1c" "RequestVote does not wait for the disk, and a vote for an earlier life of the candidate counts" ["hard_state" "election" "leader_completeness"]
        MUT_2A "2a" "the commit index counts entries of earlier terms" ["leader_completeness" "refinement"]
        MUT_2B "2b" "the advertised commit index is not clamped to what the follower acked" ["leader_completeness" "refinement" "watermarks"]
        MUT_3A "3a" "a lease is served after it ended" ["lease" "freshness"]
        MUT_3B "3b" "a lease counts from the time an ack was received" ["lease" "freshness"]
        MUT_3C "3c" "a lease is ten times too long" ["lease" "freshness"]
        MUT_4A "4a" "a client is answered before a quorum has persisted" ["durable" "watermarks"]
        MUT_4B "4b" "AppendResp leaves before the sync" ["durable" "hard_state" "watermarks"]
        MUT_5A "5a" "a vote compares the index before the term" ["leader_completeness" "refinement"]
        MUT_6A "6a" "AppendEntries truncates without a conflict" ["log_matching" "watermarks" "leader_completeness"]
        MUT_6B "6b" "a compacted prev_index is taken for a conflict" ["log_matching" "watermarks" "converge"]
        MUT_6C "6c" "an ack reaches beyond what its message matched" ["log_matching" "watermarks" "leader_completeness"]
        MUT_7A "7a" "recovery brings superseded records back" ["log_shape" "log_matching"]
        MUT_7B "7b" "recovery does not check the salt" ["log_shape" "log_matching"]
        MUT_8A "8a" "a lease is kept through a transfer" ["lease" "freshness"]
        MUT_8B "8b" "a transfer is never given up" ["progress" "bounds"]
        MUT_8C "8c" "a lease is kept over a jump of the clock" ["lease" "freshness"]
        MUT_9A "9a" "a read is confirmed before an entry of the own term is committed" ["freshness"]
        MUT_10A "10a" "old acks of reads count" ["freshness"]
        MUT_10B "10b" "a read joins a round that has already left" ["freshness"]
        MUT_10C "10c" "a read is served before its round" ["freshness"]
        MUT_11A "11a" "the quorum of reads is one too small" ["freshness"]
        MUT_11B "11b" "the quorum of commits is one too small in even sizes" ["watermarks" "durable" "leader_completeness"]
        MUT_11C "11c" "a joint quorum is that of one half" ["watermarks" "durable" "config" "leader_completeness"]
        MUT_11D "11d" "a learner counts in a quorum" ["watermarks" "durable" "config"]
        MUT_12A "12a" "a bad checksum in the middle is the end of the log" ["repair" "durable" "leader_completeness"]
        MUT_12B "12b" "a faulty entry is taken for absent" ["repair" "durable" "leader_completeness"]
        MUT_12C "12c" "a node whose last frame is in doubt votes" ["matrix" "repair" "durable" "leader_completeness"]
        MUT_12D "12d" "Absent answers of an old term count" ["matrix" "repair" "durable" "leader_completeness"]
        MUT_13A "13a" "the checksum of an entry is not compared" ["repair" "state_equal" "log_matching"]
        MUT_13B "13b" "the hash of a snapshot is not verified" ["state_equal" "model"]
        MUT_14A "14a" "the applied index is not in the batch of its rows" ["state_equal" "once"]
        MUT_14B "14b" "a checkpoint is visible ahead of what the log has persisted" ["state_equal" "once" "log_shape"]
        MUT_15A "15a" "a failed Prepare is ignored and the index moves on" ["log_shape" "bounds"]
        MUT_16A "16a" "a truncation does not cut the queued pairs of epoch and index" ["durable" "watermarks" "hard_state"]
        MUT_17A "17a" "a sync covers writes that were not complete" ["durable" "hard_state"]
        MUT_17B "17b" "a short write is taken for a whole one" ["durable" "hard_state" "log_shape"]
        MUT_17C "17c" "what is persisted passes a gap" ["durable" "hard_state"]
        MUT_18A "18a" "snapshots leave the outcomes out" ["once" "state_equal"]
        MUT_18B "18b" "the outcomes are not consulted" ["once"]
        MUT_19A "19a" "two changes of the members at once" ["config"]
        MUT_19B "19b" "members change before an entry of the own term is committed" ["config"]
        MUT_19C "19c" "a joint configuration is left before it is committed" ["config"]
        MUT_19D "19d" "a configuration is not undone by truncation" ["config" "leader_completeness" "election"]
        MUT_19E "19e" "a node id is used again after its disk was lost" ["config" "leader_completeness" "durable"]
        MUT_19F "19f" "rows go before the vote that takes this node out is committed" ["refinement"]
        MUT_19G "19g" "who dropped its rows and is taken in again acks before it has a state" ["refinement"]
        MUT_20A "20a" "an older snapshot is accepted" ["leader_completeness" "watermarks" "converge"]
        MUT_20B "20b" "a snapshot keeps a conflicting tail" ["log_matching" "leader_completeness" "converge"]
        MUT_20C "20c" "a snapshot is acked before it is persisted" ["durable" "hard_state" "leader_completeness"]
        MUT_21A "21a" "a snapshot is merged into the state" ["state_equal" "model"]
        MUT_21B "21b" "apply goes on while a snapshot is installed" ["state_equal" "model"]
        MUT_22A "22a" "a leader whose log stands still goes on heartbeating" ["fail_slow"]
        MUT_26A "26a" "a failed sync is believed" ["durable" "hard_state"]
        MUT_28A "28a" "a frame's place is not compared" ["repair" "log_shape"]
        MUT_29A "29a" "stickiness is ignored without being forced" ["lease" "freshness"]
        MUT_29B "29b" "votes are given right after boot" ["lease" "freshness"]
        MUT_30A "30a" "a pre-vote raises the term" ["progress" "refinement"]
        MUT_30B "30b" "messages of lower terms are not answered" ["progress" "leader" "converge"]
        MUT_31A "31a" "next_index is not rolled back by a rejection" ["converge" "progress"]
        MUT_31B "31b" "a peer is not reset on a new incarnation" ["converge" "durable" "watermarks"]
        MUT_31C "31c" "a group rests while a member lags" ["converge"]
        MUT_32A "32a" "one failing command takes back its neighbours, which are acknowledged" ["model" "once"]
        MUT_40A "40a" "after a long pause only the last due timer fires" ["progress" "leader"]
        MUT_7C "7c" "a segment is given back while entries live in it" ["log_shape" "log_matching"]
        MUT_14C "14c" "a freeze cuts a batch in two" ["state_equal" "once"]
        MUT_14D "14d" "the CHECKPOINT record is written before the tables are" ["state_equal" "once" "log_shape" "refinement" "leader_completeness"]
        MUT_14E "14e" "the machine row is written before its rows" ["state_equal" "once"]
        MUT_23A "23a" "a watcher is told the head before it is listened for" ["wakeup"]
        MUT_24A "24a" "a watch that is taken up again passes over the head it missed" ["notify" "wakeup"]
        MUT_24C "24c" "a gap in a feed or a push is passed over" ["test: -p dropstone-notify --test model"]
        MUT_24D "24d" "a new leader's word is believed without asking for what the old one did not tell" ["test: -p dropstone-notify --test model"]
        MUT_24G "24g" "an edge does not tell the next hub what it told the one before" ["test: -p dropstone-notify --test model"]
        MUT_25F "25f" "the commit index is advertised ahead of the leader's own apply" ["advertised"]
        MUT_26B "26b" "a failed sync is tried again and then believed" ["durable" "hard_state"]
        MUT_27A "27a" "the directory is not synced after create, rename and retire" ["recovery" "durable" "log_shape"]
        MUT_15B "15b" "a prepared segment has holes" ["test: -p dropstone-reactor --test pool"]
        MUT_21C "21c" "the watermark passes an open pin" ["test: -p dropstone-store --lib pins"]
        MUT_21D "21d" "reads see what the tree itself holds for visible" ["test: -p dropstone-store --test model"]
        MUT_33A "33a" "the generation of a slot is not compared" ["test: -p dropstone-reactor --lib slots"]
        MUT_40B "40b" "the doorbell has no fences" ["model: -p dropstone-reactor --lib models"]
        MUT_40C "40c" "a core falls asleep without another look" ["model: -p dropstone-reactor --lib models"]
        MUT_40D "40d" "a sender looks for a sleeping core before it has posted" ["model: -p dropstone-reactor --lib models"]
        MUT_40E "40e" "a core looks for a sleeping receiver before it has told its mail" ["model: -p dropstone-reactor --lib models"]
        MUT_40F "40f" "mail is told before it is written" ["model: -p dropstone-reactor --lib models"]
        MUT_25A "25a" "a fill is taken without its token" ["model: -p dropstone-cache --lib models"]
        MUT_25D "25d" "the keys of one command change one by one" ["model: -p dropstone-cache --lib models"]
        MUT_25E "25e" "the stripe of a changed subtree is not bumped" ["test: -p dropstone-cache --test differential"]
        MUT_41A "41a" "a reader does not look at the sequence again" ["model: -p dropstone-cache --lib models"]
        MUT_41B "41b" "a change of a bucket has no fence" ["model: -p dropstone-cache --lib models"]
        MUT_41C "41c" "a segment is used again while slots show into it" ["test: -p dropstone-cache --test differential"]
        MUT_41D "41d" "a lease is given up without a fence" ["model: -p dropstone-cache --lib models"]
        MUT_41E "41e" "a change of a key that is not cached leaves its fill tokens" ["model: -p dropstone-cache --lib models"]
        MUT_34A "34a" "peer frames of an unknown version are passed over" ["compat"]
        MUT_34B "34b" "a committed entry of an unknown version is applied as if it did nothing" ["test: -p dropstone-shard --lib newer_release"]
        MUT_34C "34c" "an entry that raises its group to an unknown feature level is applied" ["test: -p dropstone-shard --lib newer_release"]
        MUT_38A "38a" "a client tries again without a wait" ["bounds"]
        MUT_38B "38b" "the queue of reads has no bound" ["test: -p dropstone-shard --test cluster reads_beyond"]
    }
}
