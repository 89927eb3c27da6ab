//! One generator core from its first operation to its last answer.

use std::sync::atomic::{AtomicBool, Ordering};

use base::{Mono, Span};

use crate::driver::{Breakdown, Driver};
use crate::generator::{Ack, Generator};
use crate::op::OpKind;
use crate::recorder::{Record, Times, Window};
use crate::stream::StreamHash;

/// The length of an interval.
pub const INTERVAL: Span = Span::from_ms(1000);
/// How long answers are waited for once nothing is sent any more.
pub const DRAIN_MAX: Span = Span::from_ms(10_000);
/// And after an interrupt.
const DRAIN_INTERRUPTED: Span = Span::from_ms(500);

/// Operations of one core whose times the target explained, at most: more tell nothing new.
const SAMPLES_MAX: usize = 65_536;

/// An operation of the window whose target was asked where its time went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What it was.
    pub kind: OpKind,
    /// Its times.
    pub times: Times,
    /// What the target told.
    pub breakdown: Breakdown,
}

/// A second of one core.
#[derive(Debug)]
pub struct Report {
    /// Which core.
    pub core: u32,
    /// Which second since the start, from 0.
    pub second: u64,
    /// What was recorded in it.
    pub record: Record,
    /// Operations on their way at its end.
    pub in_flight: usize,
    /// When the last answer came, once the stream is over and all is answered.
    pub over_at: Option<Mono>,
}

/// What a core is told when it reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Orders {
    /// What is measured, once that is known.
    pub window: Option<Window>,
}

/// What a core has at its end.
#[derive(Debug)]
pub struct CoreResult {
    /// The window.
    pub total: Record,
    /// Writes, if they were kept.
    pub acks: Vec<Ack>,
    /// Operations that were due and never sent.
    pub unsent: u64,
    /// Operations that were sent and never answered.
    pub unanswered: u64,
    /// Operations of the schedule passed, of all cores.
    pub index: u64,
    /// Of what was due here.
    pub hash: StreamHash,
    /// Operations whose times were explained.
    pub samples: Vec<Sample>,
    /// The first responses of the window, in the order of their answers. Units: nanoseconds.
    pub series: Vec<u64>,
    /// Times without a good answer.
    pub gaps: Vec<Window>,
    /// When each operation was due, if that was kept. Units: nanoseconds since the start.
    pub times: Vec<u64>,
    /// It was interrupted.
    pub is_interrupted: bool,
}

/// Runs a core until its window is over and all is answered, or `stop` is set. `report` is called each second.
pub fn drive<D: Driver>(
    mut generator: Generator,
    driver: &mut D,
    (core, start): (u32, Mono),
    stop: &AtomicBool,
    mut report: impl FnMut(Report) -> Orders,
) -> CoreResult {
    let mut done = Vec::with_capacity(1024);
    let mut now = driver.now();
    let (mut second, mut interval_end) = (0, start + INTERVAL);
    let mut drain_until = Mono::MAX;
    let mut is_interrupted = false;
    let mut samples = Vec::new();
    while !generator.is_drained(now) && now < drain_until {
        let next = generator.turn(driver, now);
        let idle = driver.poll(next.min(interval_end).min(drain_until), &mut done);
        let after = driver.now();
        generator.pass(now, after, idle);
        for done in done.drain(..) {
            let ended = generator.end(&done);
            if let Some(breakdown) = driver.take_breakdown(done.token)
                && let Some((kind, times)) = ended
                && generator.recorder_mut().window().has(times.intended)
                && samples.len() < SAMPLES_MAX
            {
                samples.push(Sample { kind, times, breakdown });
            }
        }
        now = after;
        while interval_end <= now {
            let record = generator.recorder_mut().take_interval();
            let (in_flight, over_at) = (generator.in_flight(), generator.over_at());
            let orders = report(Report { core, second, record, in_flight, over_at });
            (second, interval_end) = (second + 1, interval_end + INTERVAL);
            if let Some(window) = orders.window
                && generator.recorder_mut().window() != window
                && !is_interrupted
            {
                generator.set_window(window);
                drain_until = window.until + DRAIN_MAX;
            }
        }
        if !is_interrupted && stop.load(Ordering::Relaxed) {
            is_interrupted = true;
            generator.stop_at(now);
            drain_until = drain_until.min(now + DRAIN_INTERRUPTED);
        }
    }
    let unanswered = generator.in_flight() as u64;
    generator.give_up_flights();
    let unsent = if is_interrupted { 0 } else { generator.give_up_unsent() };
    // The last, short second.
    let record = generator.recorder_mut().take_interval();
    report(Report { core, second, record, in_flight: generator.in_flight(), over_at: generator.over_at() });
    CoreResult {
        acks: generator.take_acks(),
        index: generator.source().index(),
        hash: generator.hash(),
        samples,
        series: generator.recorder_mut().series().to_vec(),
        gaps: generator.recorder_mut().gaps(now),
        times: generator.take_times(),
        total: std::mem::take(&mut generator.recorder_mut().total),
        unsent,
        unanswered,
        is_interrupted,
    }
}
