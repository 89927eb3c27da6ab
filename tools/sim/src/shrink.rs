//! Minimising: the shortest schedule found under which the same checker still fails (Zeller and Hildebrandt 2002, ddmin).
//!
//! A candidate is kept only if the same checker fails, so that a second bug does not take the place of the first.

use crate::fault::{ALL, Class};
use crate::schedule::{Fault, Schedule};

/// How a run of a candidate failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which checker.
    pub checker: String,
    /// At which simulated millisecond, rounded up.
    pub at_ms: u64,
}

/// Runs a candidate: how it failed, `None` when it did not.
pub type Try<'a> = dyn FnMut(&Schedule) -> Option<Failure> + 'a;

/// What came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// The shortest schedule that fails as the first one did.
    pub schedule: Schedule,
    /// How it fails.
    pub failure: Failure,
    /// Candidates tried.
    pub tries: u32,
    /// True when nothing is left to try; false when the tries ran out.
    pub is_minimal: bool,
}

struct Shrinker<'a, 'b> {
    best: Schedule,
    failure: Failure,
    run: &'a mut Try<'b>,
    may_go_on: &'a mut dyn FnMut() -> bool,
    tries: u32,
    is_out: bool,
}

/// Shortens `schedule`, which fails with `failure`, while `may_go_on` says so.
///
/// Order: the end is cut at the failure, whole classes go, then single faults, then clients, groups, cores and nodes get
/// fewer, then pauses and delays shorter; all over again until nothing changes.
pub fn shrink(schedule: Schedule, failure: Failure, run: &mut Try<'_>, may_go_on: &mut dyn FnMut() -> bool) -> Shrunk {
    let mut shrinker = Shrinker { best: schedule, failure, run, may_go_on, tries: 0, is_out: false };
    loop {
        let before = shrinker.best.clone();
        shrinker.cut_end();
        shrinker.drop_classes();
        shrinker.drop_faults();
        shrinker.reduce_sizes();
        shrinker.shorten_faults();
        if shrinker.is_out || shrinker.best == before {
            break;
        }
    }
    let Shrinker { best, failure, tries, is_out, .. } = shrinker;
    Shrunk { schedule: best, failure, tries, is_minimal: !is_out }
}

impl Shrinker<'_, '_> {
    /// Takes the candidate if the same checker fails under it.
    fn keep_if_it_fails(&mut self, candidate: Schedule) -> bool {
        if candidate == self.best {
            return false;
        }
        if self.is_out || !(self.may_go_on)() {
            self.is_out = true;
            return false;
        }
        self.tries += 1;
        match (self.run)(&candidate) {
            Some(failure) if failure.checker == self.failure.checker => {
                (self.best, self.failure) = (candidate, failure);
                true
            }
            _ => false,
        }
    }

    fn with_faults(&self, faults: Vec<Fault>) -> Schedule {
        Schedule { faults, ..self.best.clone() }
    }

    /// A failure in the phase after the faults lies beyond the length: then only halving shortens it.
    fn cut_end(&mut self) {
        let mut candidate = self.best.clone();
        candidate.size.length_ms = Some(self.failure.at_ms.min(self.best.size.length_ms.unwrap_or(u64::MAX)));
        self.keep_if_it_fails(candidate);
        while let Some(length) = self.best.size.length_ms.filter(|length| *length > 1000) {
            let mut candidate = self.best.clone();
            candidate.size.length_ms = Some(length / 2);
            if !self.keep_if_it_fails(candidate) {
                break;
            }
        }
    }

    fn drop_classes(&mut self) {
        for class in ALL {
            let faults: Vec<Fault> = self.best.faults.iter().copied().filter(|fault| fault.class != class).collect();
            if faults.len() < self.best.faults.len() {
                let candidate = self.with_faults(faults);
                self.keep_if_it_fails(candidate);
            }
        }
    }

    /// Leaves out runs of faults, of half the length each time round, down to single ones.
    fn drop_faults(&mut self) {
        let mut chunk = self.best.faults.len().div_ceil(2);
        while chunk > 0 && !self.is_out {
            let mut at = 0;
            while at < self.best.faults.len() && !self.is_out {
                let end = (at + chunk).min(self.best.faults.len());
                let mut faults = self.best.faults.clone();
                faults.drain(at..end);
                let candidate = self.with_faults(faults);
                if !self.keep_if_it_fails(candidate) {
                    at = end;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    fn reduce_sizes(&mut self) {
        for operations in [1, 2, 4, 8, 16, 32, 64] {
            let mut candidate = self.best.clone();
            if candidate.size.operations.is_none_or(|now| now > operations) {
                candidate.size.operations = Some(operations);
                if self.keep_if_it_fails(candidate) {
                    break;
                }
            }
        }
        for clients in [1, 2, 4] {
            let mut candidate = self.best.clone();
            if candidate.size.clients.is_none_or(|now| now > clients) {
                candidate.size.clients = Some(clients);
                if self.keep_if_it_fails(candidate) {
                    break;
                }
            }
        }
        let smaller: [fn(&mut Schedule); 3] =
            [|s| s.size.groups = Some(1), |s| s.size.cores = Some(1), |s| s.size.nodes = Some(3)];
        for change in smaller {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            self.keep_if_it_fails(candidate);
        }
    }

    /// Halves what lasts: the parameters of faults that are times of waiting.
    fn shorten_faults(&mut self) {
        for at in 0..self.best.faults.len() {
            for parameter in lasting(self.best.faults[at].class) {
                while let Some(time) = self.best.faults.get(at).map(|fault| fault.parameters[*parameter]) {
                    if time < 1_000_000 {
                        break;
                    }
                    let mut candidate = self.best.clone();
                    candidate.faults[at].parameters[*parameter] = time / 2;
                    if !self.keep_if_it_fails(candidate) {
                        break;
                    }
                }
            }
        }
    }
}

/// Which parameters of a class are durations in ns; parameter 0 of what strikes by time is when.
fn lasting(class: Class) -> &'static [usize] {
    use Class::*;
    match class {
        Net2 | Net3 | Net5 | Net6 | Disk11 => &[0],
        Net9 | Net10 | Proc3 | Proc6 | Proc7 | Disk10 => &[1],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn fault(class: Class, counter: u64) -> Fault {
        Fault { class, entity: 0, counter, parameters: [0, 64_000_000, 0] }
    }

    fn long_schedule() -> Schedule {
        let mut schedule = Schedule::new(1, Profile::Dense);
        schedule.faults = (0..200).map(|i| fault(ALL[i % ALL.len()], i as u64)).collect();
        schedule
    }

    fn failure(checker: &str) -> Failure {
        Failure { checker: checker.to_owned(), at_ms: 5000 }
    }

    #[test]
    fn only_the_faults_that_matter_are_left() {
        let wanted = [long_schedule().faults[17], long_schedule().faults[113]];
        let mut run = |schedule: &Schedule| {
            let has = |fault: &Fault| {
                schedule.faults.iter().any(|other| (other.class, other.counter) == (fault.class, fault.counter))
            };
            wanted.iter().all(has).then(|| failure("durable"))
        };
        let shrunk = shrink(long_schedule(), failure("durable"), &mut run, &mut || true);
        let left: Vec<_> = shrunk.schedule.faults.iter().map(|fault| (fault.class, fault.counter)).collect();
        assert_eq!(left, wanted.map(|fault| (fault.class, fault.counter)));
        assert!(shrunk.is_minimal && shrunk.tries < 500, "{} tries", shrunk.tries);
        assert_eq!(shrunk.schedule.size.nodes, Some(3));
        assert_eq!(shrunk.schedule.size.clients, Some(1));
    }

    #[test]
    fn another_checker_is_another_failure() {
        let mut run =
            |schedule: &Schedule| Some(failure(if schedule.faults.len() < 100 { "progress" } else { "durable" }));
        let shrunk = shrink(long_schedule(), failure("durable"), &mut run, &mut || true);
        assert_eq!((shrunk.schedule.faults.len(), shrunk.failure.checker.as_str()), (100, "durable"));
    }

    #[test]
    fn tries_may_run_out() {
        let mut left = 10;
        let mut may_go_on = || {
            left -= 1;
            left >= 0
        };
        let shrunk = shrink(long_schedule(), failure("durable"), &mut |_| None, &mut may_go_on);
        assert_eq!((shrunk.tries, shrunk.is_minimal), (10, false));
        assert_eq!(shrunk.schedule, long_schedule());
    }

    #[test]
    fn what_lasts_is_halved_while_it_still_fails() {
        let mut schedule = Schedule::new(1, Profile::Dense);
        schedule.faults = vec![fault(Class::Proc3, 0)];
        let mut run = |schedule: &Schedule| {
            schedule.faults.first().is_some_and(|f| f.parameters[1] > 7_000_000).then(|| failure("lease"))
        };
        let shrunk = shrink(schedule, failure("lease"), &mut run, &mut || true);
        assert_eq!(shrunk.schedule.faults[0].parameters[1], 8_000_000);
    }
}
