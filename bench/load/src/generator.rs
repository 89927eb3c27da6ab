//! One generator core: due operations out, answers in. No clock and no thread; `now` is an argument.
//!
//! An operation leaves when it is due and a permit is free; its time counts from when it was due. What is overdue leaves
//! as soon as it may, oldest first: the schedule is never moved, and idle time earns no credit, so no burst follows a
//! quiet moment. The backlog is a number, not memory: the next operation is computed when there is a permit for it.

use std::collections::VecDeque;

use base::{Mono, Span};

use crate::content::Contents;
use crate::driver::{Answer, Done, Driver, Failure, OpToken, Submit};
use crate::judge::{self, Judged, Judgement};
use crate::op::{FileId, Op, OpKind};
use crate::recorder::{Recorder, Times, Window};
use crate::source::Source;
use crate::stream::StreamHash;

/// What happens to operations that are overdue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Late {
    /// They leave at once.
    #[default]
    Send,
    /// They leave at no more than twice the offered rate.
    Pace,
    /// Those later than this are dropped and counted.
    Skip(Span),
}

/// Who decides when the next operation comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Loop {
    /// The schedule.
    Open {
        /// What is overdue.
        late: Late,
        /// Operations per second of this core, for [`Late::Pace`].
        rate: f64,
    },
    /// The answers: each of so many clients waits for its own, thinks, and goes on.
    Closed {
        /// How many.
        clients: u32,
        /// How long each thinks.
        think: Span,
    },
}

/// How a generator core works.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GeneratorSettings {
    /// Open or closed.
    pub pacing: Loop,
    /// Operations in flight of this core.
    pub in_flight_max: usize,
}

/// An acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The operation.
    pub index: u64,
    /// In which namespace.
    pub namespace: u32,
    /// The last journal row it made.
    pub jid: u64,
    /// How many rows.
    pub rows: u32,
    /// It is not known whether it was done; `jid` is 0.
    pub in_doubt: bool,
}

/// Operations of one core whose times are kept at most: half a gigabyte. A trace ends there.
pub const TIMES_MAX: usize = 1 << 26;

/// Sent later than this after it was due counts as late.
const LATE: Span = Span::from_ms(1);

#[derive(Clone, Copy)]
struct Flight {
    index: u64,
    namespace: u32,
    generation: u32,
    is_used: bool,
    intended: Mono,
    permit: Mono,
    judged: Judged,
}

const NO_FLIGHT: Flight = Flight {
    index: 0,
    namespace: 0,
    generation: 0,
    is_used: false,
    intended: Mono(0),
    permit: Mono(0),
    judged: Judged {
        kind: OpKind::Head,
        file: FileId::NONE,
        count: 0,
        size: 0,
        writer: crate::op::Writer(0),
        before: judge::NOTHING_SURE,
    },
};

/// One generator core.
pub struct Generator {
    source: Source,
    contents: Contents,
    settings: GeneratorSettings,
    recorder: Recorder,
    /// The next operation, once it was looked at.
    next: Op,
    has_next: bool,
    /// The driver has no room until something is done.
    is_full: bool,
    /// When it had room again.
    room_since: Mono,
    /// Permits that nobody has used yet, and when each other one came free.
    unused: usize,
    free: VecDeque<Mono>,
    /// Of closed clients: when each is ready.
    ready: VecDeque<Mono>,
    flights: Vec<Flight>,
    slots: Vec<u32>,
    in_flight: usize,
    /// The next overdue operation leaves not before this.
    pace_until: Mono,
    /// No operation due then or later is sent.
    stop_at: Mono,
    acks: Vec<Ack>,
    keeps_acks: bool,
    /// Of what was due, without the operation that was looked at ahead.
    hash: StreamHash,
    /// When the last answer came.
    replied_at: Mono,
    /// When each operation was due, in nanoseconds since then, if that is kept.
    times: Option<(Mono, Vec<u64>)>,
}

impl Generator {
    /// A core that sends what `source` makes. Acknowledged writes are kept if `keeps_acks`.
    #[must_use]
    pub fn new(
        source: Source,
        contents: Contents,
        settings: GeneratorSettings,
        keeps_acks: bool,
        now: Mono,
    ) -> Generator {
        let ready = match settings.pacing {
            Loop::Open { .. } => VecDeque::new(),
            Loop::Closed { clients, .. } => (0..clients).map(|_| now).collect(),
        };
        Generator {
            source,
            contents,
            settings,
            recorder: Recorder::default(),
            next: Op::default(),
            has_next: false,
            is_full: false,
            room_since: Mono(0),
            unused: settings.in_flight_max,
            free: VecDeque::new(),
            ready,
            flights: Vec::new(),
            slots: Vec::new(),
            in_flight: 0,
            pace_until: Mono(0),
            stop_at: Mono::MAX,
            acks: Vec::new(),
            keeps_acks,
            hash: StreamHash::default(),
            replied_at: now,
            times: None,
        }
    }

    /// From now on it is kept when each operation was due, since `start`: for a trace.
    pub fn keep_times(&mut self, start: Mono) {
        self.times = Some((start, Vec::new()));
    }

    /// The next operation leaves, or never will.
    fn note_due(&mut self) {
        self.hash = self.source.hash();
        if let Some((start, times)) = &mut self.times
            && times.len() < TIMES_MAX
        {
            times.push(self.next.intended.since(*start).0);
        }
    }

    /// Sends what is due. Returns when to come again if nothing is done before.
    pub fn turn(&mut self, driver: &mut impl Driver, now: Mono) -> Mono {
        let mut left = driver.burst_max();
        loop {
            if self.is_full {
                return Mono::MAX;
            }
            match self.due(now) {
                Some(time) if time <= now => {}
                Some(time) => return time,
                None => return Mono::MAX,
            }
            if left == 0 {
                // More is overdue: the answers that came meanwhile go first.
                return now;
            }
            left -= 1;
            if self.is_skipped(now) {
                continue;
            }
            let Some(permit) = self.take_permit() else { return Mono::MAX };
            self.send(driver, permit, now);
        }
    }

    /// Notes an answer.
    pub fn handle_done(&mut self, done: &Done) {
        self.end(done);
    }

    /// As [`Generator::handle_done`]; gives the times that were recorded, `None` for an error or a wrong answer.
    pub fn end(&mut self, done: &Done) -> Option<(OpKind, Times)> {
        let flight = self.flights.get(done.token.slot as usize).copied()?;
        if flight.generation != done.token.generation {
            return None;
        }
        let slot = &mut self.flights[done.token.slot as usize];
        (slot.generation, slot.is_used) = (flight.generation.wrapping_add(1), false);
        self.slots.push(done.token.slot);
        self.in_flight -= 1;
        if std::mem::take(&mut self.is_full) {
            self.room_since = done.replied;
        }
        self.free.push_back(done.replied);
        self.replied_at = self.replied_at.max(done.replied);
        let sent = done.sent.max(flight.permit);
        let replied = done.replied.max(sent);
        let (intended, permit) = match self.settings.pacing {
            Loop::Open { .. } => (flight.intended, flight.permit),
            Loop::Closed { think, .. } => {
                self.ready.push_back(replied + think);
                (sent, sent)
            }
        };
        let times = Times { intended, permit, sent, replied };
        let tree = self.source.tree_mut(flight.namespace);
        let judgement = judge::end(tree, self.contents, &flight.judged, done.answer);
        self.count(&times, judgement);
        let is_recorded = judgement == Judgement::Right || judgement == Judgement::Raced;
        if is_recorded {
            self.recorder.record(flight.judged.kind, &times);
        }
        self.keep_ack(&flight, done.answer);
        is_recorded.then_some((flight.judged.kind, times))
    }

    fn count(&mut self, times: &Times, judgement: Judgement) {
        // A rate counts answers when they come; an error belongs to when its operation was due.
        match judgement {
            Judgement::Right => self.recorder.count(times.replied, |counts| counts.achieved += 1),
            Judgement::Raced => self.recorder.count(times.replied, |counts| {
                counts.achieved += 1;
                counts.raced += 1;
            }),
            Judgement::Error(kind) => {
                self.recorder.count(times.intended, |counts| *counts.errors.entry(kind).or_default() += 1);
            }
            Judgement::Violation(kind) => {
                // A wrong answer outranks every window.
                *self.recorder.interval.counts.violations.entry(kind).or_default() += 1;
                *self.recorder.total.counts.violations.entry(kind).or_default() += 1;
            }
        }
        self.recorder.count(times.intended, |counts| {
            counts.late += u64::from(times.sent.since(times.intended) > LATE);
            counts.waited += u64::from(times.permit > times.intended);
        });
    }

    fn keep_ack(&mut self, flight: &Flight, answer: Answer) {
        let in_doubt = answer == Answer::Failed(Failure::Unknown);
        let jid = match answer {
            Answer::Applied { jid, .. } => jid,
            _ if in_doubt => 0,
            _ => return,
        };
        if self.keeps_acks && flight.judged.kind.is_write() {
            let rows = flight.judged.count;
            self.acks.push(Ack { index: flight.index, namespace: flight.namespace, jid, rows, in_doubt });
        }
    }

    /// When the next operation wants to leave; `None` when none does any more.
    fn due(&mut self, now: Mono) -> Option<Mono> {
        match self.settings.pacing {
            Loop::Open { late, .. } => {
                self.look_ahead();
                if self.next.intended >= self.stop_at {
                    return None;
                }
                let is_overdue = self.next.intended + LATE < now;
                let paced = late == Late::Pace && is_overdue;
                Some(if paced { self.next.intended.max(self.pace_until) } else { self.next.intended })
            }
            Loop::Closed { .. } if self.source.is_over() && !self.has_next => None,
            Loop::Closed { .. } => self.ready.front().copied().filter(|ready| *ready < self.stop_at),
        }
    }

    fn look_ahead(&mut self) {
        if !self.has_next {
            self.source.next(&mut self.next);
            self.has_next = true;
            let intended = self.next.intended;
            if intended < self.stop_at {
                self.recorder.count(intended, |counts| counts.offered += 1);
            }
        }
    }

    /// True when the next operation was dropped because it is too late.
    fn is_skipped(&mut self, now: Mono) -> bool {
        let Loop::Open { late: Late::Skip(limit), .. } = self.settings.pacing else { return false };
        if now.since(self.next.intended) <= limit {
            return false;
        }
        judge::skip(self.source.tree_mut(self.next.namespace), &self.next);
        self.recorder.count(self.next.intended, |counts| counts.skipped += 1);
        self.note_due();
        self.has_next = false;
        true
    }

    /// When the permit came free that the next operation gets; the one free for longest.
    fn take_permit(&mut self) -> Option<Mono> {
        if self.unused > 0 {
            self.unused -= 1;
            return Some(Mono(0));
        }
        self.free.pop_front()
    }

    fn send(&mut self, driver: &mut impl Driver, permit_free: Mono, now: Mono) {
        if let Loop::Closed { .. } = self.settings.pacing {
            let offered = !self.has_next;
            self.look_ahead_closed(now, offered);
        }
        let slot = self.slots.pop().unwrap_or_else(|| {
            self.flights.push(NO_FLIGHT);
            (self.flights.len() - 1) as u32
        });
        let token = OpToken { slot, generation: self.flights[slot as usize].generation };
        judge::fill_in(self.source.tree(self.next.namespace), &mut self.next);
        if driver.submit(&self.next, token, now) == Submit::Full {
            self.slots.push(slot);
            // As good as no permit: it gets one when the driver has room again.
            self.is_full = true;
            self.free.push_front(permit_free);
            return;
        }
        let intended = self.next.intended;
        let permit = intended.max(permit_free).max(self.room_since.min(now));
        let judged = judge::begin(self.source.tree_mut(self.next.namespace), &self.next);
        self.flights[slot as usize] = Flight {
            index: self.next.index,
            namespace: self.next.namespace,
            generation: token.generation,
            is_used: true,
            intended,
            permit,
            judged,
        };
        self.note_due();
        self.in_flight += 1;
        self.has_next = false;
        match self.settings.pacing {
            Loop::Open { rate, .. } => {
                let gap = Span((1e9 / (2.0 * rate)) as u64);
                self.pace_until = now.max(self.pace_until) + gap;
            }
            Loop::Closed { .. } => drop(self.ready.pop_front()),
        }
    }

    fn look_ahead_closed(&mut self, now: Mono, is_new: bool) {
        if is_new {
            self.source.next(&mut self.next);
            self.has_next = true;
            self.recorder.count(now, |counts| counts.offered += 1);
        }
        self.next.intended = now;
    }

    /// Time has passed from `from` to `until`, of which the driver was idle for `idle`.
    pub fn pass(&mut self, from: Mono, until: Mono, idle: Span) {
        self.recorder.pass(from, until, self.in_flight, idle);
    }

    /// Sets what is measured; nothing that is due at its end or later is sent.
    pub fn set_window(&mut self, window: Window) {
        self.recorder.set_window(window);
        self.stop_at = window.until;
    }

    /// Sends nothing more that is due at `time` or later.
    pub fn stop_at(&mut self, time: Mono) {
        self.stop_at = self.stop_at.min(time);
    }

    /// Operations on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether everything that was due is sent, and answered.
    #[must_use]
    pub fn is_drained(&self, now: Mono) -> bool {
        let is_sent = match self.settings.pacing {
            Loop::Open { .. } => self.has_next && self.next.intended >= self.stop_at,
            Loop::Closed { .. } => true,
        };
        self.stop_at <= now && self.in_flight == 0 && is_sent
    }

    /// When the last answer came, once all there ever was is sent and answered.
    #[must_use]
    pub fn over_at(&self) -> Option<Mono> {
        let is_over = self.source.is_over() && !self.has_next && self.in_flight == 0;
        is_over.then_some(self.replied_at)
    }

    /// When each operation was due that left, in the order in which they left; nothing if that was not kept. Units:
    /// nanoseconds.
    pub fn take_times(&mut self) -> Vec<u64> {
        self.times.take().map(|(_, times)| times).unwrap_or_default()
    }

    /// Gives up what was due and is not sent; returns how many those are.
    pub fn give_up_unsent(&mut self) -> u64 {
        let mut unsent = 0;
        if let Loop::Open { .. } = self.settings.pacing {
            self.look_ahead();
            while self.next.intended < self.stop_at {
                unsent += 1;
                self.hash = self.source.hash();
                self.has_next = false;
                self.look_ahead();
            }
        }
        unsent
    }

    /// Gives up what is on its way: nothing of it is heard any more, so its writes may be done or not.
    pub fn give_up_flights(&mut self) {
        for flight in self.flights.iter().filter(|flight| flight.is_used) {
            if self.keeps_acks && flight.judged.kind.is_write() {
                let Flight { index, namespace, .. } = *flight;
                self.acks.push(Ack { index, namespace, jid: 0, rows: flight.judged.count, in_doubt: true });
            }
        }
    }

    /// What was recorded.
    pub fn recorder_mut(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// The stream.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The hash of all that was due here.
    #[must_use]
    pub fn hash(&self) -> StreamHash {
        self.hash
    }

    /// Writes that were acknowledged, or may have been done; each is told once.
    pub fn take_acks(&mut self) -> Vec<Ack> {
        std::mem::take(&mut self.acks)
    }
}
