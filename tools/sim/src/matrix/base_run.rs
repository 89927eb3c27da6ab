//! What a case begins with: a cluster that has lived and stopped, its disks, and where everything lies on them.

use base::mono::Span;
use base::{GroupId, LogIndex, Term};

use super::client::Client;
use super::layout::Layout;
use super::rig::{Remains, Rig, Shape};

/// The end of a cluster's life.
pub(crate) struct Past {
    rig: Rig,
    pub remains: Vec<Remains>,
    pub client: Client,
    pub layouts: Vec<Layout>,
    /// Of the client's group.
    pub group: GroupId,
    /// Entries of acknowledged folders, ascending.
    pub targets: Vec<(LogIndex, Term)>,
    /// A seat that led while it was cut off, and the entries that nobody else has.
    pub stray: Option<(usize, Vec<(LogIndex, Term)>)>,
}

/// How a past goes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Story {
    /// Folders; each is one entry in a frame of its own.
    pub puts: u64,
    /// This many of the last folders are made without node 3.
    pub lag: u64,
    /// All nodes are restarted after so many folders: a new segment. 0 never.
    pub restart_every: u64,
    /// All make a checkpoint after so many folders. 0 never.
    pub checkpoint_every: u64,
    /// Entries kept behind a checkpoint.
    pub trailing: u64,
    /// Groups; the other ones only elect.
    pub groups: u32,
    /// Nodes.
    pub nodes: u64,
    /// In the end the leader is cut off and takes so many folders; then the others make one, or not.
    pub stray: u64,
    pub is_forked: bool,
    /// More folders in the entry of each: frames of several blocks.
    pub wide: u64,
}

impl Story {
    pub const FOUR: Story = Story {
        puts: 4,
        lag: 0,
        restart_every: 0,
        checkpoint_every: 0,
        trailing: 10_000,
        groups: 1,
        nodes: 3,
        wide: 0,
        stray: 0,
        is_forked: false,
    };
}

impl Past {
    /// Lives through a story. Panics when the cluster does not get through it without any fault.
    pub fn new(story: Story) -> Past {
        let shape = Shape { groups: story.groups, trailing: story.trailing, ..Shape::default() };
        let mut rig = Rig::new(shape, story.nodes, story.nodes);
        let mut client = Client::default();
        rig.start_all();
        assert!(client.begin(&mut rig), "a whole cluster takes its first commands");
        rig.run(Span::from_ms(200));
        let group = Client::group(&rig);
        let mut targets = Vec::new();
        for put in 1..=story.puts {
            if put + story.lag == story.puts + 1 && story.lag > 0 {
                rig.run(Span::from_ms(300));
                rig.kill(2, 1);
            }
            if let Some(leader) = rig.leader(group) {
                for _ in 0..story.wide {
                    client.put_at(&mut rig, leader);
                }
            }
            assert!(client.put(&mut rig, Span::from_ms(20_000)), "a whole cluster takes folder {put}");
            let leader = rig.leader(group).expect("who answered leads");
            let shard = rig.seats[leader].shard.as_ref().expect("who leads is up");
            let last = shard.log().last_index(group);
            targets.push((last, shard.log().term(group, last).expect("it was just written")));
            // Long enough for the echo of the frame: it is shown to have been persisted.
            rig.run(Span::from_ms(30));
            if story.checkpoint_every > 0 && put % story.checkpoint_every == 0 {
                rig.seats.iter_mut().filter_map(|seat| seat.shard.as_mut()).for_each(|shard| shard.checkpoint_soon());
                rig.run(Span::from_ms(60));
            }
            if story.restart_every > 0 && put % story.restart_every == 0 {
                rig.run(Span::from_ms(100));
                for at in 0..rig.seats.len() {
                    rig.kill(at, put);
                    rig.start(at);
                }
            }
        }
        rig.run(Span::from_ms(300));
        let mut stray = None;
        if let Some(leader) = rig.leader(group).filter(|_| story.stray > 0) {
            rig.isolate(leader, true);
            for _ in 0..story.stray {
                client.put_at(&mut rig, leader);
                rig.run(Span::from_ms(20));
            }
            if story.is_forked {
                assert!(client.put(&mut rig, Span::from_ms(20_000)), "two of three elect one and go on");
                rig.run(Span::from_ms(50));
            }
            stray = Some(leader);
        }
        assert!(rig.broken.is_none(), "{:?}", rig.broken);
        let remains = rig.kill_all();
        let layouts: Vec<Layout> = remains.iter().map(|remains| Layout::of(&remains.disk)).collect();
        let stray = stray.map(|at| {
            let settled = targets.last().map_or(LogIndex(0), |(index, _)| *index);
            let entries = layouts[at].entries.iter().filter(|entry| entry.group == group && entry.index > settled);
            (at, entries.map(|entry| (entry.index, entry.term)).collect())
        });
        Past { rig, remains, client, layouts, group, targets, stray }
    }

    /// The same cluster once more, nobody up, with disks that may be spoilt now.
    pub fn begin(&self) -> (Rig, Client) {
        (self.rig.again(self.remains.clone()), self.client.clone())
    }
}
