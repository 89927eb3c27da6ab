//! Tides of long runs: clients are busy for seconds and then begin nothing for minutes, so that groups rest, logs are
//! collected and scrubbed in quiet, and the next operation finds a cluster that slept. Faults go on all the while.

use super::{SECOND, World};
use crate::draw::{Stream, log_between, prng};
use crate::heap::Due;
use crate::profile::Profile;

/// How long clients are busy, in ns.
const BUSY: (u64, u64) = (4 * SECOND, 30 * SECOND);
/// How long they begin nothing after it, in ns.
const QUIET: (u64, u64) = (60 * SECOND, 900 * SECOND);

impl World<'_> {
    pub(super) fn begin_tides(&mut self) {
        if self.options.profile == Profile::Standard {
            self.push(QUIET.0, Due::Tide { number: 0 });
        }
    }

    /// Clients had their time.
    pub(super) fn turn_tide(&mut self, number: u32) {
        if !self.is_loading() {
            return;
        }
        let mut dice = prng(self.seed, Stream::Tide, 0, u64::from(number));
        let until = self.now + log_between(&mut dice, QUIET.0, QUIET.1);
        self.calm.hushed_until = self.calm.hushed_until.max(until);
        self.push(until + log_between(&mut dice, BUSY.0, BUSY.1), Due::Tide { number: number + 1 });
    }
}
