//! The disk model: what a sync covers, what a power cut and a kill leave, what memory gives.

use base::Prng;
use seglog::{Disk, DiskOp, OpToken, SEGMENT_BYTES_LEAST, Settings, Slot};
use sim::disk::{Cut, SimDisk};

const SLOT: Slot = Slot(0);
const BLOCK: u32 = 4096;

fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES_LEAST, ..seglog::testing::test_settings() }
}

/// A disk with one segment, number 1, open in slot 0.
fn disk() -> SimDisk {
    let mut disk = SimDisk::new(&settings());
    disk.open_image(SLOT, &[1; 4096]);
    let op = DiskOp::Activate { slot: SLOT, segment_seq: 1, header: vec![1; 4096] };
    disk.submit(OpToken(1), op);
    disk.complete(OpToken(1), u32::MAX).expect("there is space");
    disk
}

fn begin_write(disk: &mut SimDisk, token: u64, block: u32, fill: u8) {
    disk.image_mut(SLOT, block * BLOCK..(block + 1) * BLOCK).fill(fill);
    disk.submit(OpToken(token), DiskOp::Write { slot: SLOT, offset: block * BLOCK, bytes: BLOCK });
}

fn write(disk: &mut SimDisk, token: u64, block: u32, fill: u8) {
    begin_write(disk, token, block, fill);
    assert_eq!(disk.complete(OpToken(token), u32::MAX), Ok(BLOCK));
}

fn begin_sync(disk: &mut SimDisk, token: u64) {
    disk.submit(OpToken(token), DiskOp::Sync { slot: SLOT, offset: 0, bytes: BLOCK });
}

fn read(disk: &SimDisk, block: u32) -> Vec<u8> {
    let mut out = vec![0xee; BLOCK as usize];
    disk.read(1, block * BLOCK, &mut out).expect("it can be read");
    out
}

/// Nothing that is not durable survives.
const NOTHING: Cut = Cut { keep_per_1024: 0, tears_writes: false, torn_per_1024: 0 };

#[test]
fn a_sync_covers_the_writes_that_were_complete_when_it_was_submitted() {
    let mut disk = disk();
    write(&mut disk, 2, 1, 11);
    begin_write(&mut disk, 3, 2, 22);
    begin_sync(&mut disk, 4);
    disk.complete(OpToken(3), u32::MAX).expect("a write");
    write(&mut disk, 5, 3, 33);
    disk.complete(OpToken(4), 0).expect("a sync");
    assert_eq!([1, 2, 3].map(|block| read(&disk, block)[0]), [11, 22, 33], "a reader sees what was completed");
    disk.power_cut(NOTHING, &mut Prng::new(1));
    assert_eq!([1, 2, 3].map(|block| read(&disk, block)[0]), [11, 0, 0], "only the first was covered");
}

#[test]
fn a_kill_keeps_what_was_completed() {
    let mut disk = disk();
    write(&mut disk, 2, 1, 11);
    disk.kill(&mut Prng::new(1));
    assert_eq!(read(&disk, 1), [11; 4096]);
    assert!(disk.is_settled());
}

#[test]
fn a_power_cut_keeps_any_subset_of_sectors() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut disk = disk();
        write(&mut disk, 2, 1, 11);
        disk.power_cut(Cut { keep_per_1024: 512, ..NOTHING }, &mut Prng::new(seed));
        let block = read(&disk, 1);
        let sectors: Vec<u8> = block.chunks(512).map(|sector| sector[0]).collect();
        assert!(block.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "sectors are whole");
        seen.insert(sectors);
    }
    assert!(seen.len() > 40, "{} subsets of 64", seen.len());
}

#[test]
fn a_write_in_flight_is_torn_or_whole_or_not_there() {
    let (mut whole, mut gone, mut torn) = (0, 0, 0);
    for seed in 0..64 {
        for tears_writes in [false, true] {
            let mut disk = disk();
            begin_write(&mut disk, 2, 1, 11);
            disk.power_cut(Cut { tears_writes, ..NOTHING }, &mut Prng::new(seed));
            match read(&disk, 1).iter().filter(|byte| **byte == 11).count() {
                0 => gone += 1,
                4096 => whole += 1,
                some => {
                    assert!(tears_writes && some % 512 == 0);
                    torn += 1;
                }
            }
        }
    }
    assert!(whole > 20 && gone > 20 && torn > 50, "{whole} whole, {gone} gone, {torn} torn");
}

#[test]
fn a_torn_sector_is_half_new_or_cannot_be_read() {
    let (mut half, mut unreadable) = (0, 0);
    for seed in 0..64 {
        let mut disk = disk();
        begin_write(&mut disk, 2, 1, 11);
        disk.power_cut(Cut { torn_per_1024: 256, ..NOTHING }, &mut Prng::new(seed));
        let mut out = vec![0; BLOCK as usize];
        match disk.read(1, BLOCK, &mut out) {
            Err(_) => unreadable += 1,
            Ok(()) => half += usize::from(out.chunks(512).any(|s| s[0] == 11 && s[511] == 0)),
        }
    }
    assert!(half > 2 && unreadable > 2, "{half} half, {unreadable} unreadable");
}

#[test]
fn a_failed_sync_makes_nothing_durable_and_may_bring_the_old_back() {
    for brings_old in [false, true] {
        let mut disk = disk();
        write(&mut disk, 2, 1, 11);
        begin_sync(&mut disk, 3);
        assert!(disk.fail(OpToken(3), 5, brings_old).is_err());
        assert_eq!(read(&disk, 1)[0], if brings_old { 0 } else { 11 });
        disk.power_cut(NOTHING, &mut Prng::new(1));
        assert_eq!(read(&disk, 1)[0], 0);
    }
}

#[test]
fn a_lying_disk_syncs_nothing() {
    let mut disk = disk();
    disk.is_lying = true;
    write(&mut disk, 2, 1, 11);
    begin_sync(&mut disk, 3);
    assert_eq!(disk.complete(OpToken(3), 0), Ok(0));
    disk.power_cut(NOTHING, &mut Prng::new(1));
    assert_eq!(read(&disk, 1)[0], 0);
}

/// Block 1 is 11, durably, and then 22 by the word of a sync that lied.
fn lied() -> SimDisk {
    let mut disk = disk();
    for (token, fill) in [(2, 11), (4, 22)] {
        disk.is_lying = fill == 22;
        write(&mut disk, token, 1, fill);
        begin_sync(&mut disk, token + 1);
        assert_eq!(disk.complete(OpToken(token + 1), 0), Ok(0));
    }
    disk
}

#[test]
fn what_a_lying_sync_covers_is_read_until_power_is_cut() {
    let mut disk = lied();
    assert_eq!(read(&disk, 1), [22; 4096]);
    disk.power_cut(NOTHING, &mut Prng::new(1));
    assert_eq!(read(&disk, 1), [11; 4096], "what lay there before is back");
    let mut some = lied();
    some.power_cut(Cut { keep_per_1024: 512, ..NOTHING }, &mut Prng::new(1));
    let sectors: Vec<u8> = read(&some, 1).chunks(512).map(|sector| sector[0]).collect();
    assert!(sectors.contains(&11) && sectors.contains(&22), "each sector by itself: {sectors:?}");
}

#[test]
fn a_later_sync_that_tells_the_truth_or_a_kernel_that_lives_on_makes_a_lie_true() {
    let mut synced = lied();
    synced.is_lying = false;
    begin_sync(&mut synced, 6);
    assert_eq!(synced.complete(OpToken(6), 0), Ok(0));
    let mut killed = lied();
    killed.kill(&mut Prng::new(1));
    for mut disk in [synced, killed] {
        disk.power_cut(NOTHING, &mut Prng::new(1));
        assert_eq!(read(&disk, 1), [22; 4096]);
    }
}

#[test]
fn a_full_disk_prepares_nothing_until_there_is_space() {
    let mut disk = disk();
    disk.is_full = true;
    disk.submit(OpToken(2), DiskOp::Prepare);
    assert_eq!(disk.complete(OpToken(2), 0), Err(seglog::OpError::NoSpace));
    disk.is_full = false;
    disk.submit(OpToken(3), DiskOp::Prepare);
    assert_eq!((disk.complete(OpToken(3), 0), disk.free_files()), (Ok(0), 1));
}

#[test]
#[should_panic(expected = "bytes were changed in flight")]
fn bytes_on_their_way_must_not_change() {
    let mut disk = disk();
    begin_write(&mut disk, 2, 1, 11);
    disk.image_mut(SLOT, BLOCK..2 * BLOCK).fill(12);
    let _ = disk.complete(OpToken(2), u32::MAX);
}
