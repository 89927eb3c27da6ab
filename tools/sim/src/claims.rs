//! What each checker claims, in one sentence: that of its file's first line, for whoever reads of a failure.

/// By checker; those of the world itself, which have no file, come last.
const CLAIMS: &[(&str, &str)] = &[
    ("advertised", "what a leader tells others is committed it has applied itself, in this life"),
    (
        "amnesia",
        "a node whose log ends before what `meta` says was persisted comes back quarantined; and a leader that heard a later life of a node refuse what an earlier one had acked to it, as if all were well, counts it no more in that term",
    ),
    ("bounds", "nothing spins: at most 10,000 events in a simulated millisecond"),
    (
        "compat",
        "what is of an unknown kind or version is refused, by an answer or a closed connection, and never skipped",
    ),
    (
        "config",
        "one change of members at a time, none before an entry of the leader's own term is committed, every quorum of the old configuration meets every one of the new, and the configuration in force is the one that the log holds",
    ),
    (
        "converge",
        "twenty seconds after all is healed, or when the run ends after that, every replica that runs has applied everything that is committed, and nothing waits in a log uncommitted; the same of a run that is calm and idle for so long; and no group is asked to rest before each of its members has held all that is committed",
    ),
    (
        "durable",
        "when a client is told that its write is done, a quorum of voters would hold its entry after a power cut now",
    ),
    (
        "election",
        "a group has at most one leader per term, and a quorum has voted for it in that term and in this life of it",
    ),
    ("fail_slow", "a node whose log has not come nearer to its disk for long does not lead"),
    (
        "freshness",
        "a read that may not be old returns at least the newest write that was acknowledged before it was invoked, and at least what any such read had returned",
    ),
    (
        "hard_state",
        "term and vote never go back, and nothing that depends on them or on entries left before they were on disk",
    ),
    (
        "leader",
        "two seconds after all is healed every group has a leader, and twelve seconds after a quorum was left in peace every group is led from its midst",
    ),
    (
        "leader_completeness",
        "there is one committed sequence per group; each new leader holds all of it; nothing in it ever changes",
    ),
    (
        "lease",
        "at no instant would two nodes serve a leased read of one group, and no node would when its lease is over",
    ),
    (
        "liar",
        "whatever disks forget, each committed entry was once written by a leader of its term; and what as many hold as meet every quorum, not counting those that forgot, each later leader holds",
    ),
    ("linear", "the operations of the whole run fit the committed logs and time, as one copy would have answered them"),
    ("log_matching", "entries of equal index and term are equal on all nodes, and so is everything before them"),
    (
        "log_shape",
        "a recovered log is one that a crash may leave: contiguous, terms rising, no gap behind what was applied, and with all that was on disk before, unless a later leader had replaced it or the node says itself that it lost it; and no checkpoint is ahead of it",
    ),
    (
        "model",
        "every acknowledged outcome and every replica's state are those of the committed log run on one plain machine, whose invariants hold, and which does what a naive tree of paths does",
    ),
    (
        "notify",
        "the heads told to one watcher never go back, and a reader of the journal is never sent back or past its end",
    ),
    ("once", "each command of a session, however often it was sent, has one effect and one outcome"),
    ("progress", "five seconds after all is healed no operation that was begun before is still open"),
    (
        "refinement",
        "each step of each node is a step of the executable specification of Raft (docs/TESTING.md, \"Oracles\")",
    ),
    ("register", "by their values alone, what clients wrote to a path and read there has an order that respects time"),
    (
        "repair",
        "what a node held committed and on disk it holds for ever, unchanged, whatever happens to it, or it knows that it lost it; and at the end every committed entry is held by someone",
    ),
    ("session", "what one client is told never goes back, whichever node tells it: neither indexes nor journal rows"),
    ("state_equal", "replicas that have applied up to the same index have the same state, and the same rows"),
    ("tenant", "an account reads and changes nothing in a namespace that is not its own"),
    (
        "unrecoverable",
        "a group that is not live although all nodes were healed cannot be: nobody that has all its entries, or gets them from the entries of others, is ahead of a quorum that kept its hard state",
    ),
    (
        "wakeup",
        "a second after all is healed, and after the last election, every watcher has been told the newest head that anyone knew when all was healed",
    ),
    (
        "watermarks",
        "first - 1 <= applied <= commit <= last, commit never goes back, match < next, a leader commits only what a quorum persisted in its own term, and nobody acknowledges beyond what it persisted, nor beyond what is committed or what the message matched that it answers; nor does a leader count a follower for more than its present life acked",
    ),
    ("alarm", "no node raises an alarm over an undamaged cluster"),
    ("assert", "the assertions of the code itself hold"),
    ("feeds", "in the end a reader of a feed has what one has that lists anew"),
    ("process", "no process stops by itself once all faults have ended"),
    ("quarantine", "no node takes an undamaged disk for one that forgot"),
    ("recovery", "an undamaged log opens"),
];

/// The claim of a checker, without its full stop.
#[must_use]
pub fn claim_of(checker: &str) -> &'static str {
    CLAIMS.iter().find(|(name, _)| *name == checker).map_or("see the first line of its file", |(_, claim)| claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first sentence of `//! Claim: ...`, on one line.
    fn stated(text: &str) -> Option<String> {
        let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
        let text = lines.collect::<Vec<_>>().join(" ");
        let claim = text.strip_prefix("Claim: ")?;
        Some(claim.split_once(". ").map_or(claim, |(first, _)| first).trim_end_matches('.').to_owned())
    }

    #[test]
    fn every_checker_is_told_of_as_its_file_states_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/checker");
        for checker in crate::liar::checkers(crate::checker::all()) {
            let name = checker.name();
            let text =
                std::fs::read_to_string(format!("{folder}/{name}.rs")).expect("a checker has a file of its name");
            assert_eq!(stated(&text).as_deref(), Some(claim_of(name)), "{name}");
        }
        assert_eq!(claim_of("nobody"), "see the first line of its file");
    }
}
