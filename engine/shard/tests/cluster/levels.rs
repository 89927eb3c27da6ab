//! Nodes of two releases in one group: what the group's feature level lets in, and who stops when it is raised.

use base::GroupId;
use meta::{Group0Command, LinkCommand, LinkSettings};

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);
/// Links are of its level 2.
const NEXT: Release = Release { level_known: 2, level_of: next_release };
/// It has never heard of links.
const BEFORE: Release = Release { level_known: 1, level_of: release_before };

fn next_release(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { Some(2) } else { meta::feature::level_of(kind) }
}

fn release_before(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { None } else { meta::feature::level_of(kind) }
}

fn link(path: &str) -> Command {
    let settings = LinkSettings::default();
    Command::Link(Box::new(LinkCommand::Create { at: meta::At::path(path), settings }))
}

fn raise(level: u32) -> Command {
    Command::Group0(Box::new(Group0Command::FeatureRaise { level }))
}

fn system() -> CommandHeader {
    CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, ROOT) }
}

impl World {
    /// Three nodes of these releases.
    fn of_releases(seed: u64, trailing: u64, releases: [Release; 3]) -> World {
        let mut world = World::new(seed, trailing);
        for (node, release) in world.nodes.values_mut().zip(releases) {
            node.release = release;
        }
        (1..=3).for_each(|id| world.crash(NodeId(id)));
        world.stops = Some(BTreeMap::new());
        world
    }

    /// What the leader says at the first try.
    fn offer(&mut self, header: CommandHeader, command: &Command) -> (Status, Vec<u8>) {
        let mut bytes = Vec::new();
        meta::encode_command(&header, command, &mut bytes);
        let leader = self.leader(GROUP()).expect("somebody leads");
        self.shard(leader).handle_command(Ticket { connection: 1, request: 50, kind: 1 }, GROUP(), &bytes);
        for _ in 0..4000 {
            self.turn();
            if let Some(answer) = self.answers.remove(&50) {
                return answer;
            }
        }
        panic!("never answered");
    }

    fn assert_refused(&mut self, header: CommandHeader, command: &Command, why: &str) {
        let (status, text) = self.offer(header, command);
        let text = String::from_utf8(text).expect("a text");
        assert!(status == Status::Unsupported && text.contains(why), "{status:?}: {text}");
    }

    /// The node has stopped because of that level. It is started again as `release`.
    fn start_again(&mut self, id: NodeId, level: u32, release: Release) {
        let why = self.stops.as_mut().and_then(|stops| stops.remove(&id));
        let wanted = StopReason::NewerLevel { group: GROUP(), level, known: 1 };
        assert_eq!(why, Some(wanted), "node {id}");
        let (disk, store) = self.kill(id);
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("the node is there");
        node.release = release;
        node.restart(disk, store, now);
        self.link_all();
    }
}

#[test]
fn a_command_waits_for_the_level_and_the_level_outlives_crashes_and_cold_rows() {
    let mut world = World::of_releases(1, 10_000, [NEXT; 3]);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a")).is_ok());
    world.assert_refused(header(session, 2, ROOT), &link("/a"), "needs feature level 2 and the group has 1");
    world.assert_refused(system(), &raise(3), "upgrade all nodes first");
    assert_eq!(world.command(101, system(), &raise(2)), Outcome::Done);
    assert_eq!(world.command(102, header(session, 2, ROOT), &link("/a")).code(), 40);
    // What was flushed is cold after a start: the row of the level too.
    for id in (1..=3).map(NodeId) {
        world.shard(id).checkpoint_soon();
    }
    world.run(Span::from_ms(500));
    for id in (1..=3).map(NodeId) {
        let (disk, mut store) = world.kill(id);
        store.set_cold(true);
        let now = world.now;
        world.nodes.get_mut(&id).expect("the node is there").restart(disk, store, now);
    }
    world.link_all();
    world.run(Span::from_ms(2500));
    assert!(world.command(103, header(session, 3, ROOT), &mkdir("/b")).is_ok());
    assert_eq!(world.command(104, header(session, 4, ROOT), &link("/b")).code(), 40);
    world.ensure_same(&[1, 2, 3]);
}

#[test]
fn the_release_before_refuses_what_it_does_not_know_and_stops_at_the_raise() {
    for seed in 0..3 {
        let old = NodeId(1 + seed % 3);
        let releases = [1, 2, 3].map(|id| if id == old.0 { BEFORE } else { NEXT });
        let mut world = World::of_releases(seed, 10_000, releases);
        let session = begin(&mut world);
        world.lead(old);
        world.assert_refused(header(session, 1, ROOT), &link("/a"), "not known to this release");
        world.assert_refused(system(), &raise(2), "upgrade all nodes first");
        world.lead(NodeId(1 + old.0 % 3));
        assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a")).is_ok());
        world.assert_refused(header(session, 2, ROOT), &link("/a"), "needs feature level 2");
        world.ensure_same(&[1, 2, 3]);
        // Too early: the old one is still there. It stops before it applies, as often as it is started.
        assert_eq!(world.command(101, system(), &raise(2)), Outcome::Done);
        assert_eq!(world.command(102, header(session, 2, ROOT), &link("/a")).code(), 40);
        world.run(Span::from_ms(500));
        world.start_again(old, 2, BEFORE);
        world.run(Span::from_ms(3000));
        world.start_again(old, 2, NEXT);
        world.run(Span::from_ms(3000));
        assert!(world.command(103, header(session, 3, ROOT), &mkdir("/b")).is_ok());
        world.ensure_same(&[1, 2, 3]);
        assert_eq!(listing(&mut world, old), ["/a", "/b"], "nothing is lost");
        assert_eq!(world.stops, Some(BTreeMap::new()));
        assert_eq!(world.differences, []);
    }
}

#[test]
fn the_release_before_stops_when_the_raise_comes_in_a_snapshot() {
    for seed in 0..2 {
        let mut world = World::of_releases(seed, 0, [NEXT, NEXT, BEFORE]);
        let session = begin(&mut world);
        let old = NodeId(3);
        let (disk, store) = world.kill(old);
        world.run(Span::from_ms(2500));
        assert_eq!(world.command(100, system(), &raise(2)), Outcome::Done);
        for at in 0..6 {
            assert!(world.command(101 + at, header(session, at + 1, ROOT), &mkdir(&format!("/{at}"))).is_ok());
        }
        for id in [1, 2].map(NodeId) {
            world.shard(id).checkpoint_soon();
        }
        world.run(Span::from_ms(500));
        let now = world.now;
        world.nodes.get_mut(&old).expect("the node is there").restart(disk, store, now);
        world.link_all();
        world.run(Span::from_ms(4000));
        assert!(!world.parts.is_empty(), "a snapshot was sent");
        world.start_again(old, 2, BEFORE);
        world.run(Span::from_ms(3000));
        world.start_again(old, 2, NEXT);
        world.ensure_same(&[1, 2, 3]);
        assert_eq!(listing(&mut world, old).len(), 6);
    }
}
