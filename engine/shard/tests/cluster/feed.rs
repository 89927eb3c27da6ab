//! What hubs hear: every journal that moves, of the groups led where they listen, in order, and who leads.

use super::*;

/// The kind that marks answers of feeds.
pub const KIND: u8 = 12;
/// Which feed is whose: this and the node.
const HUB: u64 = 900;

/// Group, change, term and heads.
type Section = (u32, u32, u64, Vec<(u64, u64)>);

/// One answer, read by hand: generation, seq, sections.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    generation: u64,
    seq: u64,
    sections: Vec<Section>,
}

impl Heard {
    fn read(body: &[u8]) -> Heard {
        let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut sections) = (24, Vec::new());
        for _ in 0..short(16) {
            let count = short(at + 16) as usize;
            let heads = (0..count).map(|which| (long(at + 24 + which * 16), long(at + 32 + which * 16))).collect();
            sections.push((short(at), short(at + 4), long(at + 8), heads));
            at += 24 + count * 16;
        }
        assert_eq!(at, body.len(), "the sections fill it");
        Heard { generation: long(0), seq: long(8), sections }
    }

    /// The head told of a namespace.
    fn head_of(&self, nsid: Nsid) -> Option<u64> {
        let mut heads = self.sections.iter().flat_map(|(_, _, _, heads)| heads);
        heads.find(|(told, _)| *told == nsid.0).map(|(_, jid)| *jid)
    }
}

fn listen(world: &mut World, node: NodeId, (place, places): (u16, u16), request: u64) {
    let ticket = Ticket { connection: request, request, kind: KIND };
    world.shard(node).handle_feed(ticket, place, places);
}

/// Takes what one feed has told.
fn take(world: &mut World, request: u64) -> Vec<Heard> {
    let (own, others) = std::mem::take(&mut world.fed).into_iter().partition(|(told, _)| *told == request);
    world.fed = others;
    let own: Vec<(u64, Vec<u8>)> = own;
    own.iter().map(|(_, body)| Heard::read(body)).collect()
}

fn make(world: &mut World, path: &str, request: u64) {
    let system = CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, ROOT) };
    let outcome = world.command(request, system, &mkdir(path));
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn a_feed_tells_each_journal_that_moves_where_it_is_led_and_nowhere_else() {
    let mut world = World::new(21, 10_000);
    begin(&mut world);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).expect("somebody leads");
    for node in (1..=3).map(NodeId) {
        listen(&mut world, node, (0, 1), HUB + node.0);
    }
    world.run(Span::from_ms(10));
    for (path, request) in [("/a", 70), ("/b", 71), ("/c", 72)] {
        make(&mut world, path, request);
    }
    world.run(Span::from_ms(1000));
    for node in (1..=3).map(NodeId) {
        let heard = take(&mut world, HUB + node.0);
        assert!(heard.iter().map(|one| one.seq).eq(1..=heard.len() as u64), "no number is left out: {heard:?}");
        assert!(heard.iter().all(|one| one.generation == heard[0].generation));
        assert!(heard.len() > 4, "an empty answer comes every 250 ms: {heard:?}");
        let leads = heard[0].sections.iter().any(|(told, change, ..)| (*told, *change) == (group.0, 1));
        assert_eq!(leads, node == leader, "{heard:?}");
        let heads: Vec<u64> = heard.iter().filter_map(|one| one.head_of(ROOT)).collect();
        assert_eq!(heads.len(), if node == leader { 3 } else { 0 }, "{heads:?}");
        assert!(heads.is_sorted());
    }
}

#[test]
fn a_namespace_is_told_to_its_place_alone_and_to_nobody_once_the_link_is_gone() {
    let mut world = World::new(22, 10_000);
    begin(&mut world);
    let leader = world.leader(base::group_of(ROOT, GROUPS)).expect("somebody leads");
    let place = base::place_of(ROOT, 2);
    for which in 0..2 {
        listen(&mut world, leader, (which, 2), HUB + u64::from(which));
    }
    make(&mut world, "/a", 70);
    for which in 0..2 {
        let told = take(&mut world, HUB + u64::from(which)).iter().any(|one| one.head_of(ROOT).is_some());
        assert_eq!(told, which == place);
    }
    world.shard(leader).handle_connection_closed(HUB + u64::from(place));
    make(&mut world, "/b", 71);
    world.run(Span::from_ms(500));
    assert_eq!(take(&mut world, HUB + u64::from(place)), []);
    assert!(!take(&mut world, HUB + u64::from(1 - place)).is_empty());
}

#[test]
fn who_takes_over_says_so_and_who_gives_up_too() {
    let mut world = World::new(23, 10_000);
    begin(&mut world);
    let group = base::group_of(ROOT, GROUPS);
    let old = world.leader(group).expect("somebody leads");
    for node in (1..=3).map(NodeId) {
        listen(&mut world, node, (0, 1), HUB + node.0);
    }
    world.run(Span::from_ms(10));
    (1..=3).for_each(|node| drop(take(&mut world, HUB + node)));
    let new = NodeId(old.0 % 3 + 1);
    let now = world.now;
    let ticket = Ticket { connection: 1, request: 80, kind: 8 };
    world.shard(old).handle_transfer(ticket, group, new, now);
    world.run(Span::from_ms(500));
    let turned = |heard: &[Heard]| {
        let sections = heard.iter().flat_map(|one| &one.sections).filter(|(told, ..)| *told == group.0);
        sections.map(|(_, change, term, _)| (*change, *term)).collect::<Vec<_>>()
    };
    let ended = turned(&take(&mut world, HUB + old.0));
    let begun = turned(&take(&mut world, HUB + new.0));
    assert!(matches!(ended[..], [(2, _)]), "{ended:?}");
    assert!(matches!(begun[..], [(1, term)] if ended[0].1 <= term), "{begun:?}");
    make(&mut world, "/after", 81);
    assert!(take(&mut world, HUB + new.0).iter().any(|one| one.head_of(ROOT).is_some()));
    assert!(take(&mut world, HUB + old.0).iter().all(|one| one.head_of(ROOT).is_none()));
}

#[test]
fn more_feeds_than_hubs_can_be_are_refused() {
    let mut world = World::new(24, 10_000);
    (0..40).for_each(|feed| listen(&mut world, NodeId(1), (0, 1), HUB + feed));
    world.run(Span::from_ms(2));
    let refused = world.answers.values().filter(|(status, _)| *status == Status::Overloaded).count();
    assert_eq!(refused, 8);
}
