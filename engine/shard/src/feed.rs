//! Feeds: a hub of the notifiers hears of every journal of this core that has moved, one answer a turn.
//!
//! ```text
//! answer      0 u64 generation  8 u64 seq, from 1  16 u32 sections  20 u32 zero   24 sections
//! section     0 u32 group  4 u32 change (0 none, 1 leads now, 2 leads no more)  8 u64 term  16 u32 count  20 u32 zero
//!            24 count x (u64 nsid, u64 jid)
//! ```
//! Only of groups that this node leads, and only after apply: whoever is woken and reads at the leader finds the change.
//! A feed begins with a section for every group led. A gap in `seq` means that something was not heard. Without news an
//! empty answer comes every 250 ms, so that silence means a broken link. (`wire::notify` reads this.)

use base::mono::Span;
use base::{GroupId, Jid, Mono, Nsid, place_of};
use meta::Store;
use seglog::Disk;

use crate::group::Group;
use crate::reply::{Status, Ticket};
use crate::{Replies, Shard};

/// Hubs are few: two or three places, each with a standby.
const FEEDS_MAX: usize = 32;
/// Advances of one answer: 64 KiB. What goes beyond leaves at once.
const ADVANCES_MAX: usize = 4096;
const BEAT: Span = Span::from_ms(250);

const LEADS: u32 = 1;
const LEADS_NO_MORE: u32 = 2;

/// One hub that listens.
#[derive(Debug)]
struct Feed {
    ticket: Ticket,
    /// It wants the namespaces of this place out of so many.
    place: u16,
    places: u16,
    generation: u64,
    /// The next answer's.
    seq: u64,
    /// It was not told yet who is led here.
    is_new: bool,
}

/// All that listen, and what they have not heard yet.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    list: Vec<Feed>,
    /// Local group, namespace, head. Invariant: at most `ADVANCES_MAX` and those of one entry.
    advances: Vec<(u32, Nsid, Jid)>,
    /// Local groups that are led here since, or no more.
    turned: Vec<u32>,
    next_beat: Mono,
    /// Feeds of this start.
    begun: u32,
}

impl Feeds {
    /// Somebody listens.
    pub(crate) fn are_heard(&self) -> bool {
        !self.list.is_empty()
    }

    /// When an empty answer is due.
    pub(crate) fn deadline(&self) -> Mono {
        if self.are_heard() { self.next_beat } else { Mono::MAX }
    }

    /// Journals of a group that is led here moved.
    fn note_advances(&mut self, at: u32, advances: &[(Nsid, Jid)]) {
        self.advances.extend(advances.iter().map(|(nsid, jid)| (at, *nsid, *jid)));
    }

    /// A local group is led here now, or no more.
    pub(crate) fn note_lead(&mut self, at: u32) {
        if self.are_heard() {
            self.turned.push(at);
        }
    }

    pub(crate) fn handle_connection_closed(&mut self, connection: u64) {
        self.list.retain(|feed| feed.ticket.connection != connection);
    }

    fn is_full(&self) -> bool {
        self.advances.len() >= ADVANCES_MAX
    }

    /// Answers all feeds.
    fn tell(&mut self, groups: &[Group], replies: &mut Replies, now: Mono) {
        // The newest of each namespace is enough: sorted, it is the last of its run.
        self.advances.sort_unstable();
        for feed in &mut self.list {
            let (advances, turned) = (&self.advances, &self.turned);
            replies.push(feed.ticket, GroupId(0), Status::Ok, |out| feed.put(out, groups, advances, turned));
            feed.seq += 1;
            feed.is_new = false;
        }
        base::mark::hit!("shard.feed.told", !self.advances.is_empty());
        self.advances.clear();
        self.turned.clear();
        self.next_beat = now + BEAT;
    }
}

impl Feed {
    fn put(&self, out: &mut Vec<u8>, groups: &[Group], advances: &[(u32, Nsid, Jid)], turned: &[u32]) {
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        let count_at = out.len();
        out.extend_from_slice(&[0; 8]);
        let mut sections = 0u32;
        if self.is_new {
            for group in groups.iter().filter(|group| group.is_leader) {
                put_section(out, group, LEADS);
                sections += 1;
            }
        } else {
            for at in turned {
                let group = &groups[*at as usize];
                put_section(out, group, if group.is_leader { LEADS } else { LEADS_NO_MORE });
                sections += 1;
            }
        }
        for run in advances.chunk_by(|one, next| one.0 == next.0) {
            let start = put_section(out, &groups[run[0].0 as usize], 0);
            let count = self.put_advances(out, run);
            out[start + 16..start + 20].copy_from_slice(&count.to_le_bytes());
            if count == 0 {
                out.truncate(start);
            } else {
                sections += 1;
            }
        }
        out[count_at..count_at + 4].copy_from_slice(&sections.to_le_bytes());
    }

    /// Appends the newest jid of each namespace of this feed's place; how many those are.
    fn put_advances(&self, out: &mut Vec<u8>, run: &[(u32, Nsid, Jid)]) -> u32 {
        let newest =
            run.iter().enumerate().filter(|(at, (_, nsid, _))| run.get(at + 1).is_none_or(|next| next.1 != *nsid));
        let mut count = 0;
        for (_, (_, nsid, jid)) in newest.filter(|(_, (_, nsid, _))| place_of(*nsid, self.places) == self.place) {
            out.extend_from_slice(&nsid.0.to_le_bytes());
            out.extend_from_slice(&jid.0.to_le_bytes());
            count += 1;
        }
        count
    }
}

/// Appends a section without advances; where it begins.
fn put_section(out: &mut Vec<u8>, group: &Group, change: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&group.id.0.to_le_bytes());
    out.extend_from_slice(&change.to_le_bytes());
    out.extend_from_slice(&group.raft.term().0.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    start
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Tells of the journals of all groups led here that belong to `place` out of `places`, from now on until the
    /// connection closes. See the file's head.
    pub fn handle_feed(&mut self, ticket: Ticket, place: u16, places: u16) {
        if self.feeds.list.len() >= FEEDS_MAX {
            base::mark::hit!("shard.feed.too_many");
            return self.replies.bare(ticket, GroupId(0), Status::Overloaded);
        }
        base::mark::hit!("shard.feed.begun");
        self.feeds.begun += 1;
        let generation = self.settings.incarnation << 32 | u64::from(self.feeds.begun);
        // What others have not heard yet is told first: a feed's first answer is the state of this moment.
        self.tell_now(self.turn_now);
        self.feeds.list.push(Feed { ticket, place, places, generation, seq: 1, is_new: true });
        self.feeds.next_beat = self.turn_now;
    }

    /// Once a turn, after apply.
    pub(crate) fn tell_feeds(&mut self, now: Mono) {
        if !self.feeds.are_heard() {
            return;
        }
        let is_news = !self.feeds.advances.is_empty() || !self.feeds.turned.is_empty();
        if is_news || self.feeds.next_beat <= now {
            self.tell_now(now);
        }
    }

    /// An entry was applied: answers that grow too large leave at once.
    pub(crate) fn note_for_feeds(&mut self, at: u32) {
        if !self.groups[at as usize].is_leader || !self.feeds.are_heard() {
            return;
        }
        self.feeds.note_advances(at, self.applied.advances());
        if self.feeds.is_full() {
            base::mark::hit!("shard.feed.full");
            self.tell_now(self.turn_now);
        }
    }

    fn tell_now(&mut self, now: Mono) {
        let Shard { feeds, groups, replies, .. } = self;
        feeds.tell(groups, replies, now);
    }
}
