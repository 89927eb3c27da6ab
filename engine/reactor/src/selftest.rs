//! Does this kernel receive as the ring relies on? Run once per process, before the first ring.
//!
//! A byte pattern that depends on its position goes through a socket pair in pieces of 1 byte to 64 KiB, first with
//! enough buffers, then with all buffers used up in between. Lost, doubled or swapped bytes show at once.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use base::mono::Span;
use base::{Prng, mix64};

use crate::clock;
use crate::io::{Event, Io as _, Wait};
use crate::ring::{Ring, RingConfig};
use crate::setup::{Machine, RingError};

const PATTERN_BYTES: u64 = 1 << 20;
/// Turns without a byte after which the test gives up, 1 ms each.
const IDLE_TURNS_MAX: u32 = 1000;

/// What the self-test saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Bytes received, all right.
    pub bytes: u64,
    /// How often the buffers ran out and receiving went on after.
    pub exhausted: u64,
    /// Time taken, in microseconds.
    pub took_us: u64,
}

/// Runs the self-test now, on a small ring of its own, and says what it saw.
///
/// Errors: [`RingError::SelfTest`] if receiving is wrong, or what kept the ring from being made.
pub fn run() -> Result<Report, RingError> {
    let config = RingConfig { entries: 64, completions: 256, buffers: 8, sockets_max: 4, ..RingConfig::default() };
    let mut ring = Ring::untested(&config)?;
    let started = clock::mono();
    let failed = |what| RingError::SelfTest { kernel: Machine::read().kernel, what };
    let bytes = receive(&mut ring, false).and_then(|steady| Ok(steady + receive(&mut ring, true)?)).map_err(failed)?;
    let exhausted = ring.counters().no_buffers;
    if exhausted == 0 {
        return Err(failed("buffers never ran out, though all were full".to_owned()));
    }
    Ok(Report { bytes, exhausted, took_us: clock::mono().since(started).as_us() })
}

/// Runs the self-test unless it has passed in this process already.
pub(crate) fn passed() -> Result<(), RingError> {
    static PASSED: OnceLock<()> = OnceLock::new();
    if PASSED.get().is_none() {
        run()?;
        // Another core may have been faster; both saw the same.
        let _ = PASSED.set(());
    }
    Ok(())
}

/// Sends the pattern to the ring and checks what comes out. With `is_flood` the writer fills the socket before the ring
/// looks, so that the buffers run out.
fn receive(ring: &mut Ring, is_flood: bool) -> Result<u64, String> {
    let system = |error: std::io::Error| error.to_string();
    let (ours, mut theirs) = UnixStream::pair().map_err(system)?;
    theirs.set_nonblocking(true).map_err(system)?;
    let socket = ring.adopt(ours.into()).ok_or("no slot for the test")?;
    let pattern: Vec<u8> = (0..PATTERN_BYTES).map(pattern_byte).collect();
    let mut prng = Prng::new(1);
    let (mut sent, mut received, mut wrong, mut idle_turns, mut closed) = (0, 0, None, 0, false);
    while received < pattern.len() {
        loop {
            let bytes = if prng.one_in(4) { 1 + prng.below(64) } else { 1 + prng.below(64 << 10) } as usize;
            let end = pattern.len().min(sent + bytes);
            if sent == end {
                break;
            }
            match theirs.write(&pattern[sent..end]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
            if !is_flood {
                break;
            }
        }
        ring.enter(Wait::Until(clock::mono() + Span::from_ms(1)));
        let before = received;
        ring.reap(&mut |event| match event {
            Event::Received { bytes, .. } => {
                if pattern.get(received..received + bytes.len()) != Some(bytes) {
                    wrong.get_or_insert(received);
                }
                received += bytes.len();
            }
            Event::Closed { .. } => closed = true,
            _ => {}
        });
        idle_turns = if received == before { idle_turns + 1 } else { 0 };
        if let Some(position) = wrong {
            return Err(format!("bytes after position {position} differ from what was sent"));
        }
        if closed || idle_turns > IDLE_TURNS_MAX {
            return Err(format!("receiving stopped after {received} of {PATTERN_BYTES} bytes"));
        }
    }
    ring.close(socket);
    while !closed {
        ring.enter(Wait::Until(clock::mono() + Span::from_ms(1)));
        ring.reap(&mut |event| closed |= matches!(event, Event::Closed { .. }));
        idle_turns += 1;
        if idle_turns > IDLE_TURNS_MAX {
            return Err("a cancelled receive never ended".to_owned());
        }
    }
    Ok(received as u64)
}

fn pattern_byte(position: u64) -> u8 {
    mix64(position) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_receives_all_bytes_in_order_and_survives_the_end_of_its_buffers() {
        let report = run().unwrap();
        assert_eq!(report.bytes, 2 * PATTERN_BYTES);
        assert!(report.exhausted > 0);
        println!("{report:?}");
    }
}
