//! The flight recorder: the last turns, syncs and slow requests of a core, in a mapped file that survives `kill -9`.
//!
//! ```text
//! header, 4 KiB  0 u64 magic "DSFLIGHT"   8 u16 version (1)  10 u16 core  12 u32 mult (ns of a tick x 2^24)
//!               16 u64 node   24 u64 tick and 32 u64 unix ns of one moment   40 u64 capacity, events
//!               48 u64 cursor: events ever written   56 zero to the end
//! event, 32 B    0 u64 tick    8 u64 request    16 u16 kind   18 u16 core   20 u32 group   24 u64 argument
//! ```
//! Events go round; the one that the next write replaces may be torn and is not read. Little-endian.
//! The pages are the page cache's: they outlive the process, not the power.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{Ordering, compiler_fence};

use base::bytes::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::stages::Stamp;
use base::{CoreId, GroupId, NodeId};
use memmap2::MmapMut;

use crate::clock::{StampClock, wall_ns};
use crate::mmap_disk::{allocate, map_file};

const HEADER_BYTES: usize = 4096;
/// Bytes of an event.
pub const EVENT_BYTES: usize = 32;
const MAGIC: u64 = u64::from_le_bytes(*b"DSFLIGHT");
const VERSION: u16 = 1;
const CURSOR_AT: usize = 48;

/// What an event tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum EventKind {
    /// The core began; the ring goes on from an earlier life. Argument: the incarnation.
    Boot = 1,
    /// A turn that had work, from the tick on. Request: how many it took. Argument: its ticks.
    Turn = 2,
    /// A durable write of the log, from the tick on. Argument: its ticks.
    Sync = 3,
    /// A request, from the tick on. Request: its entry or applied index. Argument: class << 56 and its ticks.
    Request = 4,
}

impl EventKind {
    fn from_u16(number: u16) -> Option<EventKind> {
        [EventKind::Boot, EventKind::Turn, EventKind::Sync, EventKind::Request]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlightEvent {
    /// When it began.
    pub at: Stamp,
    /// By kind.
    pub request: u64,
    /// What it tells.
    pub kind: EventKind,
    /// Where.
    pub core: CoreId,
    /// Of which group, where there is one.
    pub group: GroupId,
    /// By kind.
    pub argument: u64,
}

/// The recorder of one core: one writer, plain stores.
#[derive(Debug)]
pub struct Flight {
    map: MmapMut,
    core: CoreId,
    capacity: u64,
    cursor: u64,
}

impl Flight {
    /// Opens the ring in `path`, of `bytes` at most, or makes it; one of another size, version or core is begun anew.
    ///
    /// Errors: the file cannot be made, or there is no space for it.
    pub fn open(path: &Path, bytes: u64, node: NodeId, core: CoreId, clock: &StampClock) -> io::Result<Flight> {
        let capacity = (bytes.saturating_sub(HEADER_BYTES as u64) / EVENT_BYTES as u64).max(2);
        let bytes = HEADER_BYTES as u64 + capacity * EVENT_BYTES as u64;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(0)?;
            file.set_len(bytes)?;
        }
        // A store to a page that has no block would end the process on a full disk.
        allocate(&file, bytes)?;
        let mut map = map_file(&file)?;
        let is_ours = get_u64(&map, 0) == Some(MAGIC)
            && get_u16(&map, 8) == Some(VERSION)
            && get_u16(&map, 10) == Some(core.0)
            && get_u64(&map, 40) == Some(capacity);
        if !is_ours {
            map.fill(0);
        }
        put_u64(&mut map, 0, MAGIC);
        put_u16(&mut map, 8, VERSION);
        put_u16(&mut map, 10, core.0);
        put_u64(&mut map, 16, node.0);
        put_u64(&mut map, 40, capacity);
        let cursor = get_u64(&map, CURSOR_AT).unwrap_or(0);
        let mut flight = Flight { map, core, capacity, cursor };
        flight.set_clock(clock);
        Ok(flight)
    }

    /// How ticks become time from now on; all events are read by the newest.
    pub fn set_clock(&mut self, clock: &StampClock) {
        put_u32(&mut self.map, 12, u32::try_from(clock.mult()).unwrap_or(u32::MAX));
        put_u64(&mut self.map, 24, clock.stamp().ticks());
        put_u64(&mut self.map, 32, wall_ns());
    }

    /// Adds an event, in the place of the oldest.
    pub fn record(&mut self, at: Stamp, kind: EventKind, request: u64, group: GroupId, argument: u64) {
        let place = HEADER_BYTES + (self.cursor % self.capacity) as usize * EVENT_BYTES;
        let event = &mut self.map[place..place + EVENT_BYTES];
        put_u64(event, 0, at.ticks());
        put_u64(event, 8, request);
        put_u16(event, 16, kind as u16);
        put_u16(event, 18, self.core.0);
        put_u32(event, 20, group.0);
        put_u64(event, 24, argument);
        self.cursor += 1;
        // What the cursor covers is written before it: whoever reads after a kill sees stores in this order.
        compiler_fence(Ordering::Release);
        put_u64(&mut self.map, CURSOR_AT, self.cursor);
    }
}

/// What a ring held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlightLog {
    /// Whose.
    pub node: NodeId,
    /// Which core's.
    pub core: CoreId,
    /// Nanoseconds of a tick, times 2^24.
    pub mult: u32,
    /// One moment as a stamp and in nanoseconds since 1970.
    pub pair: (Stamp, u64),
    /// Events ever written.
    pub written: u64,
    /// Those still there, oldest first.
    pub events: Vec<FlightEvent>,
}

/// Why a file is no ring.
#[derive(Debug, thiserror::Error)]
pub enum FlightError {
    /// It cannot be read.
    #[error("could not read it: {0}")]
    Io(#[from] io::Error),
    /// It was never one, or is of another version.
    #[error("it is no flight ring of version {VERSION}")]
    Format,
}

impl FlightLog {
    /// Reads a ring, also of a process that runs.
    ///
    /// Errors: [`FlightError`]. An event that makes no sense is left out.
    pub fn read(path: &Path) -> Result<FlightLog, FlightError> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut File::open(path)?, &mut bytes)?;
        FlightLog::parse(&bytes).ok_or(FlightError::Format)
    }

    fn parse(bytes: &[u8]) -> Option<FlightLog> {
        let (header, ring) = bytes.split_at_checked(HEADER_BYTES)?;
        if get_u64(header, 0)? != MAGIC || get_u16(header, 8)? != VERSION {
            return None;
        }
        let capacity = get_u64(header, 40).filter(|capacity| {
            *capacity > 0
                && usize::try_from(*capacity).ok().and_then(|c| c.checked_mul(EVENT_BYTES)) == Some(ring.len())
        })?;
        let written = get_u64(header, CURSOR_AT)?;
        // The oldest one may be half replaced.
        let first = if written < capacity { 0 } else { written - capacity + 1 };
        let event = |number: u64| {
            let at = (number % capacity) as usize * EVENT_BYTES;
            let event = &ring[at..at + EVENT_BYTES];
            Some(FlightEvent {
                at: Stamp::at(get_u64(event, 0)?),
                request: get_u64(event, 8)?,
                kind: EventKind::from_u16(get_u16(event, 16)?)?,
                core: CoreId(get_u16(event, 18)?),
                group: GroupId(get_u32(event, 20)?),
                argument: get_u64(event, 24)?,
            })
        };
        Some(FlightLog {
            node: NodeId(get_u64(header, 16)?),
            core: CoreId(get_u16(header, 10)?),
            mult: get_u32(header, 12)?,
            pair: (Stamp::at(get_u64(header, 24)?), get_u64(header, 32)?),
            written,
            events: (first..written).filter_map(event).collect(),
        })
    }

    /// Nanoseconds since 1970 of a stamp; of an earlier boot of the machine it is nonsense, for its ticks began anew.
    #[must_use]
    pub fn unix_ns(&self, at: Stamp) -> u64 {
        let ns = |ticks: u64| ((u128::from(ticks) * u128::from(self.mult)) >> 24) as u64;
        let (known, unix) = self.pair;
        match at.ticks().checked_sub(known.ticks()) {
            Some(later) => unix.saturating_add(ns(later)),
            None => unix.saturating_sub(ns(known.ticks() - at.ticks())),
        }
    }

    /// Nanoseconds of so many ticks.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.mult)) >> 24) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, events: u64) -> Flight {
        let bytes = HEADER_BYTES as u64 + events * EVENT_BYTES as u64;
        Flight::open(path, bytes, NodeId(3), CoreId(1), &StampClock::fallback()).expect("a ring can be made")
    }

    fn arguments(path: &Path) -> Vec<u64> {
        FlightLog::read(path).expect("it is a ring").events.iter().map(|event| event.argument).collect()
    }

    #[test]
    fn the_newest_events_are_there_but_for_the_one_that_may_be_torn() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let path = dir.path().join("c1.ring");
        let mut flight = open(&path, 8);
        for at in 0..5 {
            flight.record(Stamp::at(at * 10), EventKind::Turn, at, GroupId(2), 100 + at);
        }
        assert_eq!(arguments(&path), [100, 101, 102, 103, 104]);
        (5..21).for_each(|at| flight.record(Stamp::at(at * 10), EventKind::Sync, at, GroupId(2), 100 + at));
        assert_eq!(arguments(&path), (114..=120).collect::<Vec<u64>>());
        let log = FlightLog::read(&path).expect("it is a ring");
        let last = *log.events.last().expect("there are some");
        let wanted = FlightEvent {
            at: Stamp::at(200),
            request: 20,
            kind: EventKind::Sync,
            core: CoreId(1),
            group: GroupId(2),
            argument: 120,
        };
        assert_eq!((last, log.node, log.written), (wanted, NodeId(3), 21));
    }

    #[test]
    fn a_ring_goes_on_after_its_process_and_one_of_another_size_begins_anew() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let path = dir.path().join("c1.ring");
        let mut flight = open(&path, 8);
        flight.record(Stamp::at(1), EventKind::Turn, 0, GroupId(0), 1);
        // As after a kill: nothing is flushed and nobody says good-bye.
        std::mem::forget(flight);
        open(&path, 8).record(Stamp::at(2), EventKind::Boot, 0, GroupId(0), 2);
        assert_eq!(arguments(&path), [1, 2]);
        open(&path, 4).record(Stamp::at(3), EventKind::Boot, 0, GroupId(0), 3);
        assert_eq!(arguments(&path), [3]);
    }

    #[test]
    fn stamps_become_the_time_of_the_day() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let path = dir.path().join("c1.ring");
        let clock = StampClock::new();
        let mut flight = Flight::open(&path, 1 << 16, NodeId(1), CoreId(0), &clock).expect("a ring can be made");
        let before = wall_ns();
        flight.record(clock.stamp(), EventKind::Turn, 0, GroupId(0), 0);
        let after = wall_ns();
        let log = FlightLog::read(&path).expect("it is a ring");
        let told = log.unix_ns(log.events[0].at);
        // The pair was read before, with no more care than this: a preemption is the only error.
        assert!(before.saturating_sub(1_000_000_000) < told && told < after + 1_000_000_000, "{before} {told} {after}");
    }

    #[test]
    fn other_bytes_are_no_ring_and_nonsense_inside_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let path = dir.path().join("c1.ring");
        let mut flight = open(&path, 4);
        (0..3).for_each(|at| flight.record(Stamp::at(at), EventKind::Turn, 0, GroupId(0), at));
        let good = std::fs::read(&path).expect("it is there");
        let mut bad = good.clone();
        bad[HEADER_BYTES + EVENT_BYTES + 16] = 0xee;
        let events = FlightLog::parse(&bad).expect("still a ring").events;
        assert_eq!(events.iter().map(|event| event.argument).collect::<Vec<_>>(), [0, 2]);
        for (at, value) in [(0, 0), (8, 9), (40, 5), (47, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(FlightLog::parse(&bad), None, "byte {at}");
        }
        assert_eq!(FlightLog::parse(&good[..100]), None);
        assert_eq!(FlightLog::parse(&good[..good.len() - 1]), None);
    }
}
