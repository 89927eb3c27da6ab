//! Random damage to random logs: what recovery claims is true, whatever was damaged, and what is undamaged is served.

use std::collections::BTreeMap;

use base::record::{EntryKind, Record};
use base::{GroupId, LogIndex, NodeId, Prng, Term};
use seglog::inspect::SegmentLook;
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{
    Health, Recovered, SEGMENT_BYTES_LEAST, SegLog, Settings, Slice, StateTaken, create, recover, recover_and_look,
};

const GROUPS: u32 = 5;
const UNREADABLE: &str = "cannot read";

fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES_LEAST, log_bytes_max: 64 * SEGMENT_BYTES_LEAST, ..test_settings() }
}

/// What a group holds.
#[derive(Clone, Default, Debug)]
struct Truth {
    first: u64,
    entries: Vec<(Term, u32, Vec<u8>)>,
    state: (Term, NodeId),
}

impl Truth {
    fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }
}

fn read(disk: &MemDisk) -> Recovered {
    recover(&mut MemLogReader::new(disk), &settings()).expect("damage of a frame is told per group")
}

fn restart(mut disk: MemDisk, salt_seed: u64) -> SegLog<MemDisk> {
    disk.kill();
    let recovered = read(&disk);
    for segment in recovered.segments() {
        disk.open_existing(segment.slot, segment.segment_seq);
    }
    SegLog::start(recovered, Settings { salt_seed, ..settings() }, disk)
}

fn append(log: &mut SegLog<MemDisk>, group: u32, truth: &mut Truth, term: Term, prng: &mut Prng) {
    let bytes = [20, 200, 3_000, 20_000][prng.below(4) as usize];
    let payload: Vec<u8> = (0..1 + prng.below(bytes)).map(|_| prng.next_u64() as u8).collect();
    let (id, index) = (GroupId(group), LogIndex(truth.last() + 1));
    log.append_new(id, EntryKind::Commands, index, term, &payload);
    truth.entries.push((term, log.crc(id, index).unwrap(), payload));
}

/// A log of several segments and some restarts, all of it persisted, and what it holds.
fn build(prng: &mut Prng, is_collected: bool) -> (SegLog<MemDisk>, BTreeMap<u32, Truth>) {
    let mut log = SegLog::start(create(&settings()), settings(), MemDisk::new(&settings()));
    let mut truths = BTreeMap::new();
    for turn in 0..40 {
        for _ in 0..prng.below(6) {
            let group = prng.below(u64::from(GROUPS)) as u32;
            let id = GroupId(group);
            let truth = truths.entry(group).or_insert_with(|| {
                log.new_group(id, b"config");
                Truth { first: 1, ..Truth::default() }
            });
            let term = truth.state.0.max(Term(1));
            match prng.below(12) {
                0 | 1 => {
                    let state = (Term(term.0 + 1), NodeId(1 + prng.below(3)));
                    if let StateTaken::Taken(_) = log.set_state(id, state.0, state.1) {
                        truth.state = state;
                    }
                }
                2 if !truth.entries.is_empty() => {
                    let from = truth.last() - prng.below(truth.entries.len() as u64).min(3);
                    truth.entries.truncate((from - truth.first) as usize);
                    log.truncate_suffix(id, LogIndex(from));
                    append(&mut log, group, truth, Term(term.0 + 1), prng);
                    log.set_state(id, Term(term.0 + 1), NodeId(1));
                    truth.state = log.state(id);
                }
                3 if is_collected && truth.entries.len() > 3 => {
                    let (term, crc, _) = truth.entries[1];
                    truth.entries.drain(..2);
                    truth.first += 2;
                    log.truncate_prefix(id, LogIndex(truth.first), term, crc, b"config");
                }
                _ => append(&mut log, group, truth, term, prng),
            }
        }
        run_ops(&mut log);
        if prng.one_in(15) {
            let disk = log.disk().clone();
            log = restart(disk, turn + 100);
        }
    }
    run_ops_until_echoed(&mut log);
    log.request_meta();
    run_ops(&mut log);
    (log, truths)
}

/// Damages one written block that is not a segment header, in some way.
fn damage(disk: &mut MemDisk, prng: &mut Prng) -> String {
    let seqs = disk.segment_seqs();
    let pick = |prng: &mut Prng, disk: &MemDisk| {
        let seq = seqs[prng.below(seqs.len() as u64) as usize];
        let blocks = disk.written_blocks(seq);
        (seq, blocks[prng.below(blocks.len() as u64) as usize])
    };
    let (seq, block) = pick(prng, disk);
    let at = block as usize * 4096;
    let (other_seq, other_block) = pick(prng, disk);
    let content =
        |disk: &MemDisk, seq: u64, block: u32| disk.segment_bytes(seq)[block as usize * 4096..][..4096].to_vec();
    let kind = prng.below(6);
    match kind {
        0 => {
            let sector = 512 * prng.below(8) as usize;
            disk.damage(seq, at + sector, |bytes| bytes[..512].fill(0));
        }
        1 => {
            let bit = prng.below(4096 * 8) as usize;
            disk.damage(seq, at, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
        2 => {
            let (mine, other) = (content(disk, seq, block), content(disk, other_seq, other_block));
            disk.damage(seq, at, |bytes| bytes.copy_from_slice(&other));
            disk.damage(other_seq, other_block as usize * 4096, |bytes| bytes.copy_from_slice(&mine));
        }
        3 => disk.damage(seq, at, |bytes| bytes.fill(0)),
        4 => {
            let other = content(disk, other_seq, block);
            disk.damage(seq, at, |bytes| bytes.copy_from_slice(&other));
        }
        _ => {
            disk.damage_unreadable(seq, block);
            return format!("{UNREADABLE} {seq}:{block}");
        }
    }
    format!("kind {kind} at {seq}:{block} ({other_seq}:{other_block})")
}

#[derive(Default, Debug)]
struct Seen {
    clean: u64,
    faulty: u64,
    quarantined: u64,
    entries_faulty: u64,
    bad_frames: u64,
    footer_mismatches: u64,
    scars: u64,
}

fn check(log: &mut SegLog<MemDisk>, truths: &BTreeMap<u32, Truth>, seen: &mut Seen, what: &str) {
    for (group, truth) in truths {
        let id = GroupId(*group);
        let health = log.health(id);
        match health {
            Health::Quarantined => {
                seen.quarantined += 1;
                continue;
            }
            // A block behind the end that cannot be read may have held a frame: recycled bytes, in truth.
            Health::RecoveringHead => assert!(what.contains(UNREADABLE), "{what}: all was shown to be persisted"),
            Health::Clean => seen.clean += 1,
            Health::Faulty => seen.faulty += 1,
        }
        assert!(log.has_group(id), "{what}: group {group} is absent and not quarantined");
        assert!(log.first_index(id).0 <= truth.first, "{what}: group {group} begins too late");
        assert_eq!(log.last_index(id).0, truth.last(), "{what}: group {group}");
        assert_eq!(log.state(id), truth.state, "{what}: group {group}");
        for (index, (term, crc, payload)) in (truth.first..).zip(&truth.entries) {
            let index = LogIndex(index);
            assert!(log.holds(id, index, *term, *crc), "{what}: group {group} entry {index}");
            let was_faulty = log.is_faulty(id, index);
            while log.entry(id, index) == Slice::Cold {
                log.fault_in(id, index, index);
                run_ops(log);
            }
            match log.entry(id, index) {
                Slice::InMemory(record) => assert_eq!(record.payload(), payload, "{what}: group {group} entry {index}"),
                Slice::Faulty => {
                    assert!(was_faulty, "{what}: recovery said that {group} {index} was whole");
                    seen.entries_faulty += 1;
                }
                Slice::Cold => unreachable!(),
            }
        }
    }
}

/// What recovery tells of each segment is what is seen of its bytes alone.
fn look(disk: &MemDisk, seen: &mut Seen, what: &str) {
    let mut looks = Vec::new();
    recover_and_look(&mut MemLogReader::new(disk), &settings(), &mut looks).unwrap();
    assert_eq!(looks.iter().map(|look| look.segment_seq).collect::<Vec<_>>(), disk.segment_seqs(), "{what}");
    for look in looks.iter().filter(|look| look.is_readable) {
        let bytes = disk.segment_bytes(look.segment_seq);
        assert_eq!(*look, SegmentLook::at(&bytes, look.segment_seq, true), "{what}");
        seen.bad_frames += look.bad_frames.len() as u64;
        seen.footer_mismatches += look.footer_mismatches;
        seen.scars += u64::from(look.has_scar);
    }
}

fn run(seeds: std::ops::Range<u64>, damages: u64, is_collected: bool) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        let mut prng = Prng::new(seed);
        let (log, truths) = build(&mut prng, is_collected);
        for round in 0..6 {
            let mut disk = log.disk().clone();
            disk.kill();
            let what: Vec<_> = (0..1 + prng.below(damages)).map(|_| damage(&mut disk, &mut prng)).collect();
            let what = format!("seed {seed} round {round}: {what:?}");
            look(&disk, &mut seen, &what);
            let healths = |log: &SegLog<MemDisk>| {
                let ids = (0..GROUPS).map(GroupId);
                ids.map(|id| (log.health(id), log.first_faulty(id))).collect::<Vec<_>>()
            };
            let mut log = restart(disk, 7_000 + round);
            check(&mut log, &truths, &mut seen, &what);
            let found = healths(&log);
            run_ops_until_echoed(&mut log);
            let mut again = restart(log.disk().clone(), 8_000 + round);
            assert_eq!(healths(&again), found, "{what}: a second recovery");
            check(&mut again, &truths, &mut Seen::default(), &what);
            repair(&mut again, &truths, &what);
        }
    }
    seen
}

/// Every faulty entry is written again from a copy; then a restart finds all of it whole.
fn repair(log: &mut SegLog<MemDisk>, truths: &BTreeMap<u32, Truth>, what: &str) {
    for (group, truth) in truths {
        let id = GroupId(*group);
        if log.health(id) != Health::Faulty {
            continue;
        }
        while let Some(index) = log.first_faulty(id) {
            let Some((term, _, payload)) =
                index.0.checked_sub(truth.first).and_then(|at| truth.entries.get(at as usize))
            else {
                // Compacted in truth: the compaction itself was lost.
                break;
            };
            let mut copy = vec![0; base::record::record_space(payload.len())];
            let header = base::record::RecordHeader {
                kind: base::record::RecordKind::Entry,
                flags: EntryKind::Commands as u8,
                life: 77,
                group: id,
                prev_crc: log.crc(id, index.prev()).unwrap(),
                index,
                term: *term,
            };
            base::record::write_record(&mut copy, &header, payload);
            log.rewrite(id, Record::parse(&copy).unwrap().0);
        }
    }
    run_ops_until_echoed(log);
    let healths: Vec<_> = truths.keys().map(|group| log.health(GroupId(*group))).collect();
    let mut again = restart(log.disk().clone(), 9_000);
    let after: Vec<_> = truths.keys().map(|group| again.health(GroupId(*group))).collect();
    assert_eq!(after, healths, "{what}: after the repair");
    check(&mut again, truths, &mut Seen::default(), what);
}

/// These seeds, or as many more from there on as `DAMAGE_SEEDS` says, for a long run.
fn seeds(seeds: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let more = std::env::var("DAMAGE_SEEDS").ok().and_then(|more| more.parse().ok());
    more.map_or(seeds.clone(), |more: u64| 1_000 + seeds.start..1_000 + seeds.start + more)
}

#[test]
fn one_damaged_block_costs_entries_and_seldom_a_group() {
    let seen = run(seeds(0..20), 1, false);
    assert!(seen.faulty > 30 && seen.entries_faulty > 50 && seen.clean > 200, "{seen:?}");
    assert!(seen.bad_frames > 10 && seen.footer_mismatches > 3 && seen.scars > 0, "{seen:?}");
    assert!(seen.quarantined * 5 < seen.clean + seen.faulty, "{seen:?}");
}

#[test]
fn many_damaged_blocks_never_make_a_claim_false() {
    let seen = run(seeds(100..120), 6, false);
    assert!(seen.faulty > 30 && seen.quarantined > 30, "{seen:?}");
}

#[test]
fn damage_to_a_log_that_was_compacted_and_collected_never_makes_a_claim_false() {
    let seen = run(seeds(200..220), 3, true);
    assert!(seen.faulty > 10 && seen.clean > 10, "{seen:?}");
}

/// Frames of which little is known had cleared a group by the entry before them, whose segment was then retired.
#[test]
fn a_group_that_was_cleared_of_a_damaged_frame_stays_clear_when_what_cleared_it_is_retired() {
    run(1741..1742, 3, true);
}
