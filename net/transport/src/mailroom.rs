//! Requests that came to the wrong core of a node: they go to the right one by mailbox, and their answers come home.
//!
//! ```text
//!  home: the connection is here                 owner: the group is here
//!    forward ──▶ waiting ──▶ outbox ═══ request ═══▶ collect ──▶ serve ──▶ the shard
//!    deliver ◀── returned ◀── collect ◀═══ answer ═══ outbox ◀── answer ◀──┘
//! ```
//! A request is a parcel: a box with the bytes of the body. The answer is written into the same box, which then goes home
//! with it and is used again there, so that nothing is allocated once as many parcels exist as are on their way.
//!
//! A core has at most `MAILBOX_REQUESTS_MAX` requests at another that are not answered, half of what a ring holds: so each
//! ring has room for the other core's answers as well, and two cores never wait for each other. What comes beyond that
//! waits here, up to `MAILBOX_WAITING_MAX` requests or `MAILBOX_BYTES_MAX` bytes in all, and then is not taken.
//! Source: docs/design/reactor.md, Mailboxes.

use std::collections::VecDeque;

use base::limits::{
    MAILBOX_BYTES_MAX, MAILBOX_DEPTH_MAX, MAILBOX_REQUESTS_MAX, MAILBOX_WAITING_MAX, PARCEL_KEPT_BYTES,
};
use base::stages::Stamp;
use base::{CoreId, GroupId};
use reactor::{Doorbell, Mailbox, Outbox, mailbox};
use wire::ReplyStatus;

const _: () = assert!(2 * MAILBOX_REQUESTS_MAX <= MAILBOX_DEPTH_MAX, "a ring has room for requests and answers");
/// Parcels that a core keeps for later.
const SPARE_MAX: usize = MAILBOX_REQUESTS_MAX + MAILBOX_WAITING_MAX;

/// A request of a connection of this core, for the answer's way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The connection.
    pub connection: u64,
    /// The request on it.
    pub request: u64,
    /// Its kind.
    pub kind: u8,
    /// The group addressed.
    pub group: GroupId,
    /// When its bytes were reaped here.
    pub begun: Stamp,
}

/// A request of another core's connection. `place` names it for [`Mailroom::answer`], which must follow once.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Names it here.
    pub place: u32,
    /// Its kind.
    pub kind: u8,
    /// The group addressed.
    pub group: GroupId,
    /// Its body.
    pub body: &'a [u8],
}

/// An answer that has come home.
#[derive(Debug)]
pub struct Returned<'a, N> {
    /// What was asked here.
    pub asked: Asked,
    /// The core that answers.
    pub core: CoreId,
    /// How the request ended.
    pub status: ReplyStatus,
    /// What the owner tells beside the answer.
    pub note: &'a N,
    /// The answer.
    pub body: &'a [u8],
}

/// What travels: a request, and later its answer.
#[derive(Debug)]
struct Parcel<N> {
    /// Who sent it last.
    sender: CoreId,
    /// The place in its home's `away`.
    away: u32,
    kind: u8,
    group: GroupId,
    /// None in a request.
    status: Option<ReplyStatus>,
    note: N,
    body: Vec<u8>,
}

/// A request that is away from here, or waits to go.
#[derive(Debug)]
struct Away {
    asked: Asked,
    bytes: usize,
    is_sent: bool,
}

/// To and from one other core.
struct Lane<N> {
    outbox: Outbox<Box<Parcel<N>>>,
    mailbox: Mailbox<Box<Parcel<N>>>,
    /// Requests sent there and not answered. Invariant: at most `MAILBOX_REQUESTS_MAX`.
    unanswered: usize,
    /// Requests that wait for that. Invariant: at most `MAILBOX_WAITING_MAX`.
    waiting: VecDeque<Box<Parcel<N>>>,
    /// Of the bodies of both.
    bytes: usize,
}

impl<N> Lane<N> {
    /// Puts a parcel into the ring.
    fn send(&mut self, parcel: Box<Parcel<N>>) {
        let room = self.outbox.push(parcel);
        assert!(room.is_ok(), "requests and answers of a pair of cores are never more than its ring holds");
    }
}

/// One core's ends of its mailboxes, by the other core.
type Ends<T> = Vec<Option<T>>;

/// One core's end of all its mailboxes. `N` is what an owner tells beside an answer.
pub struct Mailroom<N> {
    core: CoreId,
    /// By core; none for this one.
    lanes: Vec<Option<Lane<N>>>,
    /// By place; the parcel names it.
    away: Vec<Option<Away>>,
    away_free: Vec<u32>,
    /// Requests of others that are worked on here, by place.
    held: Vec<Option<Box<Parcel<N>>>>,
    held_free: Vec<u32>,
    /// Of those, the ones that were not served yet.
    arrived: Vec<u32>,
    /// Answers that came and were not delivered yet.
    returned: Vec<Box<Parcel<N>>>,
    spare: Vec<Box<Parcel<N>>>,
    is_stopping: bool,
}

impl<N: Default + Send> Mailroom<N> {
    /// One for each core of a node, joined with all others; `doorbells` are the cores', in order.
    #[must_use]
    pub fn of_node(doorbells: &[Doorbell]) -> Vec<Mailroom<N>> {
        let count = doorbells.len();
        let mut outboxes: Vec<Ends<_>> = (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
        let mut mailboxes: Vec<Ends<_>> = (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
        for (from, outboxes) in outboxes.iter_mut().enumerate() {
            for (to, doorbell) in doorbells.iter().enumerate().filter(|(to, _)| *to != from) {
                let (outbox, mailbox) = mailbox(doorbell);
                (outboxes[to], mailboxes[to][from]) = (Some(outbox), Some(mailbox));
            }
        }
        let rooms = outboxes.into_iter().zip(mailboxes).zip(0..);
        rooms.map(|((outboxes, mailboxes), core)| Mailroom::new(CoreId(core), outboxes, mailboxes)).collect()
    }

    fn new(
        core: CoreId,
        outboxes: Ends<Outbox<Box<Parcel<N>>>>,
        mailboxes: Ends<Mailbox<Box<Parcel<N>>>>,
    ) -> Mailroom<N> {
        let lane = |(outbox, mailbox): (Option<_>, Option<_>)| {
            Some(Lane { outbox: outbox?, mailbox: mailbox?, unanswered: 0, waiting: VecDeque::new(), bytes: 0 })
        };
        Mailroom {
            core,
            lanes: outboxes.into_iter().zip(mailboxes).map(lane).collect(),
            away: Vec::new(),
            away_free: Vec::new(),
            held: Vec::new(),
            held_free: Vec::new(),
            arrived: Vec::new(),
            returned: Vec::new(),
            spare: Vec::new(),
            is_stopping: false,
        }
    }

    /// Takes a request for `to`, another core of this node. False when as much as may be is on its way there, or this core
    /// is about to stop: nothing was done then.
    #[must_use]
    pub fn forward(&mut self, to: CoreId, asked: Asked, body: &[u8]) -> bool {
        let Some(lane) = self.lanes.get_mut(usize::from(to.0)).and_then(Option::as_mut) else { return false };
        let is_full = lane.waiting.len() >= MAILBOX_WAITING_MAX || lane.bytes + body.len() > MAILBOX_BYTES_MAX;
        if self.is_stopping || is_full {
            return false;
        }
        let is_sent = lane.unanswered < MAILBOX_REQUESTS_MAX;
        let away = put(&mut self.away, &mut self.away_free, Away { asked, bytes: body.len(), is_sent });
        let mut parcel = self.spare.pop().unwrap_or_else(|| Box::new(Parcel::empty()));
        (parcel.sender, parcel.away) = (self.core, away);
        (parcel.kind, parcel.group) = (asked.kind, asked.group);
        parcel.body.extend_from_slice(body);
        lane.bytes += body.len();
        if is_sent {
            lane.unanswered += 1;
            lane.send(parcel);
        } else {
            lane.waiting.push_back(parcel);
        }
        true
    }

    /// Takes the mail of all other cores; [`Mailroom::serve`] and [`Mailroom::deliver`] give it out. Before a turn's time is
    /// read: all that is taken had come by then, so a lease that holds at that time holds for each request. Bounded: a
    /// core cannot send more than a ring holds before this one answers.
    pub fn collect(&mut self) {
        let Mailroom { core, lanes, away, held, held_free, arrived, returned, .. } = self;
        for lane in lanes.iter_mut().flatten() {
            let mut answered = 0;
            while let Some(parcel) = lane.mailbox.pop() {
                if parcel.status.is_some() {
                    answered += 1;
                    // One that was answered already, because this core stops, is not asked for any more.
                    lane.bytes -= away[parcel.away as usize].as_ref().map_or(0, |away| away.bytes);
                    returned.push(parcel);
                } else {
                    arrived.push(put(held, held_free, parcel));
                }
            }
            // Only now: the other core sees the places of all that was taken, so its next answers have room.
            lane.unanswered -= answered;
            while lane.unanswered < MAILBOX_REQUESTS_MAX
                && let Some(mut parcel) = lane.waiting.pop_front()
            {
                away[parcel.away as usize].as_mut().expect("it waits").is_sent = true;
                parcel.sender = *core;
                lane.unanswered += 1;
                lane.send(parcel);
            }
        }
    }

    /// Gives the requests that were collected to `each`, in the order of each core.
    pub fn serve(&mut self, mut each: impl FnMut(Incoming<'_>)) {
        let Mailroom { held, arrived, .. } = self;
        for place in arrived.drain(..) {
            let parcel = held[place as usize].as_mut().expect("a request is answered after it was served");
            each(Incoming { place, kind: parcel.kind, group: parcel.group, body: &parcel.body });
            // The answer's now, and while that is not known much memory is not kept for it.
            parcel.body = kept(std::mem::take(&mut parcel.body));
        }
    }

    /// Answers the request that [`Mailroom::serve`] named `place`; `write` appends the answer. It leaves with the next
    /// [`Mailroom::publish`].
    pub fn answer(&mut self, place: u32, status: ReplyStatus, note: N, write: impl FnOnce(&mut Vec<u8>)) {
        let mut parcel = take(&mut self.held, &mut self.held_free, place).expect("a request is answered once");
        (parcel.status, parcel.note) = (Some(status), note);
        write(&mut parcel.body);
        let home = std::mem::replace(&mut parcel.sender, self.core);
        self.lanes[usize::from(home.0)].as_mut().expect("it came by this lane").send(parcel);
    }

    /// Gives the answers that have come home to `each`.
    pub fn deliver(&mut self, mut each: impl FnMut(&Returned<'_, N>)) {
        let Mailroom { away, away_free, returned, spare, .. } = self;
        for mut parcel in returned.drain(..) {
            if let Some(Away { asked, .. }) = take(away, away_free, parcel.away) {
                let status = parcel.status.expect("only answers are kept");
                each(&Returned { asked, core: parcel.sender, status, note: &parcel.note, body: &parcel.body });
            }
            if spare.len() < SPARE_MAX {
                parcel.clear();
                spare.push(parcel);
            }
        }
    }

    /// Tells the other cores of what was put into their mailboxes, and wakes those that sleep.
    pub fn publish(&mut self) {
        self.lanes.iter_mut().flatten().for_each(|lane| lane.outbox.publish());
    }

    /// This core is about to stop: takes no request any more, and gives all that it has no answer to yet to `each`, with
    /// true for those that another core may have begun. Answers that still come for these are dropped.
    pub fn stop(&mut self, mut each: impl FnMut(&Asked, bool)) {
        self.is_stopping = true;
        for lane in self.lanes.iter_mut().flatten() {
            lane.waiting.clear();
            lane.bytes = 0;
        }
        let has_returned = |place: usize| self.returned.iter().any(|parcel| parcel.away as usize == place);
        for (place, away) in self.away.iter_mut().enumerate() {
            if !has_returned(place)
                && let Some(away) = away.take()
            {
                each(&away.asked, away.is_sent);
            }
        }
    }

    /// Requests of others that are worked on here.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len() - self.held_free.len()
    }
}

impl<N: Default> Parcel<N> {
    fn empty() -> Parcel<N> {
        let (sender, group) = (CoreId(0), GroupId(0));
        Parcel { sender, away: 0, kind: 0, group, status: None, note: N::default(), body: Vec::new() }
    }

    /// Nothing in it; the memory stays, unless it is much.
    fn clear(&mut self) {
        (self.status, self.note) = (None, N::default());
        self.body = kept(std::mem::take(&mut self.body));
    }
}

/// The buffer, emptied, if it is worth keeping.
fn kept(mut body: Vec<u8>) -> Vec<u8> {
    body.clear();
    if body.capacity() <= PARCEL_KEPT_BYTES { body } else { Vec::new() }
}

/// Puts a value into a free place and returns that.
fn put<T>(places: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    let place = free.pop().unwrap_or_else(|| {
        places.push(None);
        places.len() as u32 - 1
    });
    places[place as usize] = Some(value);
    place
}

/// Takes the value out of a place, which is free then. `None`: it was taken already.
fn take<T>(places: &mut [Option<T>], free: &mut Vec<u32>, place: u32) -> Option<T> {
    let value = places.get_mut(place as usize)?.take()?;
    free.push(place);
    Some(value)
}

impl<N> std::fmt::Debug for Mailroom<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unanswered: Vec<usize> = self.lanes.iter().flatten().map(|lane| lane.unanswered).collect();
        f.debug_struct("Mailroom")
            .field("core", &self.core)
            .field("unanswered", &unanswered)
            .field("held", &(self.held.len() - self.held_free.len()))
            .finish_non_exhaustive()
    }
}
