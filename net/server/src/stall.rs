//! The stall detector: a thread that looks every 5 ms where each core stands in its turn.
//!
//! A core stores its turn and step at each border, one plain store to a line of its own; nothing else touches that line but
//! the reader. A core that stands in one step for two looks in a row is stalled: counted, and told if it lasts. While a
//! core waits for the ring it is not stalled, however long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base::mono::Span;
use base::{CoreId, Mono};
use reactor::clock::mono;
use reactor::probes;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A stall this long is told; shorter ones are the scheduler's on any shared machine, and are counted.
const TELL_FROM: Span = Span::from_ms(100);
/// Told at most this often.
const TELL_EVERY: Span = Span::from_ms(1000);
/// A core that has not turned for so long is not alive; it turns twice a second when idle.
const SILENT_AFTER: Span = Span::from_ms(5000);
const NOBODY: u64 = u64::MAX;

/// A step of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Step {
    /// Waits for the ring.
    Wait = 0,
    /// Completions, mail, requests.
    Reap = 1,
    /// The disk, the store, deadlines.
    Disk = 2,
    /// Commands become entries.
    Propose = 3,
    /// Consensus, apply.
    Groups = 4,
    /// Replies are written.
    Reply = 5,
    /// The log's operations and sends are handed out.
    Send = 6,
}

const STEP_BITS: u32 = 4;
const STEPS: [&str; 7] = ["wait", "reap", "disk", "propose", "groups", "reply", "send"];

/// A line of its own, and the one that processors fetch with it.
#[repr(align(128))]
#[derive(Default)]
struct Beat(AtomicU64);

/// Where each core stands.
pub struct Beats {
    cores: Vec<Beat>,
    stalls: AtomicU64,
    silent: AtomicU64,
}

impl Beats {
    /// Nothing has turned yet.
    #[must_use]
    pub fn new(cores: u16) -> Beats {
        let cores = (0..cores).map(|_| Beat::default()).collect();
        Beats { cores, stalls: AtomicU64::new(0), silent: AtomicU64::new(NOBODY) }
    }

    /// A core begins a step of its turn.
    pub fn beat(&self, core: CoreId, turn: u64, step: Step) {
        self.cores[usize::from(core.0)].0.store(turn << STEP_BITS | step as u64, Ordering::Relaxed);
    }

    /// Times that a core stood in one step for more than 5 ms.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// A core that has not turned for 5 s.
    #[must_use]
    pub fn silent(&self) -> Option<CoreId> {
        let core = self.silent.load(Ordering::Relaxed);
        (core != NOBODY).then_some(CoreId(core as u16))
    }
}

/// What the thread remembers of a core.
#[derive(Clone, Copy)]
struct Seen {
    value: u64,
    since: Mono,
    is_counted: bool,
    is_told: bool,
}

/// Judges what it is shown: pure, so that tests need no clock.
struct Judge {
    seen: Vec<Seen>,
    told: Option<Mono>,
}

/// A stall that is worth a line.
#[derive(Debug, PartialEq, Eq)]
struct Stall {
    core: CoreId,
    step: &'static str,
    span: Span,
}

impl Judge {
    fn new(cores: usize, now: Mono) -> Judge {
        Judge { seen: vec![Seen { value: 0, since: now, is_counted: false, is_told: false }; cores], told: None }
    }

    /// Looks at all cores. What is to be told, if anything.
    fn look(&mut self, beats: &Beats, now: Mono) -> Option<Stall> {
        let (mut stall, mut silent) = (None, NOBODY);
        for (at, (seen, beat)) in self.seen.iter_mut().zip(&beats.cores).enumerate() {
            let value = beat.0.load(Ordering::Relaxed);
            if value != seen.value {
                *seen = Seen { value, since: now, is_counted: false, is_told: false };
                continue;
            }
            let span = now.since(seen.since);
            if span > SILENT_AFTER {
                silent = at as u64;
            }
            let step = (value & ((1 << STEP_BITS) - 1)) as usize;
            // The first look may have come at the end of 5 ms, the second comes 5 ms later at least.
            if step == Step::Wait as usize || span < Span(LOOK_EVERY.as_nanos() as u64) {
                continue;
            }
            if !std::mem::replace(&mut seen.is_counted, true) {
                beats.stalls.fetch_add(1, Ordering::Relaxed);
            }
            let may_tell = self.told.is_none_or(|told| now >= told + TELL_EVERY);
            if span >= TELL_FROM && !seen.is_told && may_tell {
                seen.is_told = true;
                self.told = Some(now);
                stall = Some(Stall { core: CoreId(at as u16), step: STEPS.get(step).copied().unwrap_or("?"), span });
            }
        }
        beats.silent.store(silent, Ordering::Relaxed);
        stall
    }
}

fn step_number(name: &str) -> u64 {
    STEPS.iter().position(|step| *step == name).unwrap_or(STEPS.len()) as u64
}

/// The thread; it ends with this value.
pub(crate) struct StallWatch {
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StallWatch {
    /// Starts looking.
    pub fn start(beats: Arc<Beats>) -> std::io::Result<StallWatch> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let is_over = is_ending.clone();
        let thread = std::thread::Builder::new().name("stall-watch".to_owned()).spawn(move || {
            let mut judge = Judge::new(beats.cores.len(), mono());
            while !is_over.load(Ordering::Acquire) {
                std::thread::park_timeout(LOOK_EVERY);
                if let Some(Stall { core, step, span }) = judge.look(&beats, mono()) {
                    probes::stall(core.0, step_number(step), span.0);
                    tracing::warn!(core = core.0, step, ms = span.as_ms(), "a core stands still in its turn");
                }
            }
        })?;
        Ok(StallWatch { is_ending, thread: Some(thread) })
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono(Span::from_ms(1000 + ms).0)
    }

    #[test]
    fn a_core_that_waits_for_the_ring_is_not_stalled() {
        let beats = Beats::new(1);
        let mut judge = Judge::new(1, ms(0));
        beats.beat(CoreId(0), 7, Step::Wait);
        for at in 0..400 {
            assert_eq!(judge.look(&beats, ms(at * 5)), None);
        }
        assert_eq!((beats.stalls(), beats.silent()), (0, None));
    }

    #[test]
    fn a_core_in_one_step_is_counted_once_and_told_once_it_lasts() {
        let beats = Beats::new(2);
        let mut judge = Judge::new(2, ms(0));
        beats.beat(CoreId(0), 7, Step::Reap);
        beats.beat(CoreId(1), 9, Step::Groups);
        let mut told = Vec::new();
        for at in 0..60 {
            beats.beat(CoreId(0), 7 + at, Step::Reap);
            told.extend(judge.look(&beats, ms(at * 5)));
        }
        assert_eq!(told, [Stall { core: CoreId(1), step: "groups", span: TELL_FROM }]);
        assert_eq!(beats.stalls(), 1);
        beats.beat(CoreId(0), 99, Step::Wait);
        beats.beat(CoreId(1), 9, Step::Reply);
        judge.look(&beats, ms(300));
        judge.look(&beats, ms(305));
        assert_eq!(beats.stalls(), 2, "another step is another stall");
    }

    #[test]
    fn a_core_that_does_not_turn_for_five_seconds_is_silent_until_it_does() {
        let beats = Beats::new(2);
        let mut judge = Judge::new(2, ms(0));
        beats.beat(CoreId(0), 1, Step::Wait);
        judge.look(&beats, ms(0));
        beats.beat(CoreId(0), 2, Step::Wait);
        judge.look(&beats, ms(5001));
        assert_eq!(beats.silent(), Some(CoreId(1)), "it has never turned");
        beats.beat(CoreId(1), 1, Step::Wait);
        judge.look(&beats, ms(5006));
        assert_eq!(beats.silent(), None);
    }
}
