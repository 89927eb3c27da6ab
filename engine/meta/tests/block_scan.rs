//! The list of a group's blocks: whole, in ranges, page by page, for the system alone, and its bytes.

mod common;

use base::{Acct, BlockHash, GroupId, Nsid};
use common::*;
use meta::*;

const LEAST: BlockHash = BlockHash([0; 32]);
const GREATEST: BlockHash = BlockHash([0xff; 32]);

fn scan(first: BlockHash, last: BlockHash, place: BlockPlace, limit: u32) -> Query {
    Query::BlockScan(BlockScan { group: GROUP, first, last, place, limit })
}

/// Three namespaces with `files` one-block files each; every second block is known in all of them. All names told.
fn filled(files: u32) -> (World, Vec<BlockHash>) {
    let mut world = World::new();
    let mut names = Vec::new();
    for nsid in [NSID, Nsid(NSID.0 + 5), Nsid(NSID.0 + 900)] {
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
        let header = CommandHeader { nsid, ..world.header(Acct(0)) };
        assert_eq!(world.entry(&[(header, init)]), [Outcome::Done]);
        for file in 0..files {
            let of = if file % 2 == 0 { 0 } else { nsid.0 };
            let content = format!("content {file} of {of}");
            let header = CommandHeader { nsid, ..world.header(OWNER) };
            let put = put(&format!("/{file}"), content.as_bytes(), PutMode::Add);
            assert!(world.entry(&[(header, put)])[0].is_ok());
            names.push(hash_of(content.as_bytes()));
        }
    }
    names.sort();
    (world, names)
}

/// All names of a range, page by page.
fn told(world: &mut World, first: BlockHash, last: BlockHash, limit: u32) -> Vec<BlockHash> {
    let (mut all, mut place, mut pages) = (Vec::new(), BlockPlace::default(), 0);
    loop {
        pages += 1;
        assert!(pages < 10_000, "a scan has an end");
        match world.ask_as(Acct(0), &scan(first, last, place, limit)) {
            Answer::Blocks(page) => {
                assert!(page.names.len() <= limit as usize && page.group == GROUP && page.stamp_ms >= STAMP);
                all.extend(page.names);
                match page.next {
                    Some(next) => assert!(std::mem::replace(&mut place, next) < next, "a scan goes on"),
                    None => break,
                }
            }
            other => panic!("{other:?}"),
        }
    }
    all.sort();
    all
}

#[test]
fn ranges_tell_every_block_once_for_each_namespace_that_knows_it_warm_and_cold() {
    for is_cold in [false, true] {
        let (mut world, names) = filled(40);
        world.store.checkpoint();
        world.store.set_cold(is_cold);
        for limit in [1, 2, 7, 2000] {
            assert_eq!(told(&mut world, LEAST, GREATEST, limit), names, "limit {limit}");
        }
        let cuts = [LEAST, names[1], BlockHash([0x40; 32]), names[70], BlockHash([0xf0; 32]), GREATEST];
        for (first, last) in cuts.iter().flat_map(|first| cuts.iter().map(move |last| (*first, *last))) {
            if first > last {
                assert_eq!(world.ask_as(Acct(0), &scan(first, last, BlockPlace::default(), 9)), Answer::Malformed);
                continue;
            }
            let wanted: Vec<BlockHash> = names.iter().copied().filter(|name| (first..=last).contains(name)).collect();
            for limit in [1, 3, 2000] {
                assert_eq!(told(&mut world, first, last, limit), wanted, "{first} to {last}, limit {limit}");
            }
        }
    }
}

#[test]
fn only_the_system_is_told_and_only_of_the_group_it_means() {
    let (mut world, _) = filled(2);
    let whole = scan(LEAST, GREATEST, BlockPlace::default(), 9);
    assert_eq!(world.ask_as(OWNER, &whole), Answer::NoAccess);
    let other =
        BlockScan { group: GroupId(GROUP.0 + 1), first: LEAST, last: GREATEST, place: Default::default(), limit: 9 };
    assert_eq!(world.ask_as(Acct(0), &Query::BlockScan(other)), Answer::Malformed);
}

#[test]
fn the_bytes_are_pinned_and_damaged_ones_are_refused() {
    let scan = BlockScan {
        group: GroupId(3),
        first: BlockHash([1; 32]),
        last: BlockHash([2; 32]),
        place: (Nsid(4), BlockHash([5; 32])),
        limit: 6,
    };
    let page = BlockPage { group: GroupId(3), stamp_ms: 9, names: vec![BlockHash([7; 32])], next: None };
    let (mut query, mut answer) = (Vec::new(), Vec::new());
    Query::BlockScan(scan).encode(&mut query);
    Answer::Blocks(page).encode(&mut answer);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let repeated = |byte: &str| byte.repeat(32);
    let pinned = format!(
        "011e0000700000000300000006000000{}{}0400000000000000{}",
        repeated("01"),
        repeated("02"),
        repeated("05")
    );
    assert_eq!(hex(&query), pinned);
    let pinned = format!(
        "013b00005800000003000000010000000900000000000000{}{}{}",
        "00".repeat(8),
        repeated("00"),
        repeated("07")
    );
    assert_eq!(hex(&answer), pinned);
    (0..query.len()).for_each(|cut| assert!(Query::decode(&query[..cut]).is_err()));
    (0..answer.len()).for_each(|cut| assert!(Answer::decode(&answer[..cut]).is_err()));
    // A count beyond the bytes is refused before anything is allocated.
    answer[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Answer::decode(&answer).is_err());
}
