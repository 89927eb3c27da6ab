//! Minimising: the shortest schedule found under which the same checker still fails (Zeller and Hildebrandt 2002, ddmin).
//!
//! A candidate is kept only if the same checker fails, so that a second bug does not take the place of the first.

use crate::begun::Begun;
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

/// Runs a candidate: how it failed, `None` when it did not. When the second argument is true, only a failure before the
/// end of the faults is asked for, and the run may stop there.
pub type Try<'a> = dyn FnMut(&Schedule, bool) -> Option<Failure> + 'a;

/// Is asked before each candidate, with the best schedule so far and the number of candidates tried: go on?
pub type GoOn<'a> = dyn FnMut(&Schedule, u32) -> bool + 'a;

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

/// Pieces into which faults and operations are cut in the first, rough round.
const PIECES_ROUGH: usize = 16;

struct Shrinker<'a, 'b, 'c> {
    best: Schedule,
    failure: Failure,
    run: &'a mut Try<'b>,
    may_go_on: &'a mut GoOn<'c>,
    tries: u32,
    is_out: bool,
}

/// Shortens `schedule`, which fails with `failure`, while `may_go_on` says so.
///
/// Order: the end is cut at the failure, whole classes go, clients, groups, cores and nodes get fewer (which makes all that
/// follows quicker), then single faults go, then operations, then pauses and delays get shorter; all over again until
/// nothing changes.
pub fn shrink(schedule: Schedule, failure: Failure, run: &mut Try<'_>, may_go_on: &mut GoOn<'_>) -> Shrunk {
    let mut shrinker = Shrinker { best: schedule, failure, run, may_go_on, tries: 0, is_out: false };
    loop {
        let before = shrinker.best.clone();
        shrinker.cut_end();
        shrinker.drop_classes();
        shrinker.reduce_sizes();
        // Roughly first, so that neither faults nor operations use up all the time.
        for pieces in [PIECES_ROUGH, usize::MAX] {
            shrinker.drop_faults(pieces);
            shrinker.drop_operations(pieces);
        }
        shrinker.shorten_faults();
        if shrinker.is_out || shrinker.best == before {
            break;
        }
    }
    let Shrinker { best, failure, tries, is_out, .. } = shrinker;
    Shrunk { schedule: best, failure, tries, is_minimal: !is_out }
}

impl Shrinker<'_, '_, '_> {
    /// Takes the candidate if the same checker fails under it.
    fn keep_if_it_fails(&mut self, candidate: Schedule) -> bool {
        if candidate == self.best {
            return false;
        }
        if self.is_out || !(self.may_go_on)(&self.best, self.tries) {
            self.is_out = true;
            return false;
        }
        self.tries += 1;
        let is_before_the_end = candidate.size.length_ms.is_some_and(|length| self.failure.at_ms <= length);
        match (self.run)(&candidate, is_before_the_end) {
            Some(failure) if failure.checker == self.failure.checker => {
                (self.best, self.failure) = (candidate, failure);
                true
            }
            _ => false,
        }
    }

    /// A failure in the phase after the faults lies beyond the length: then only halving shortens it.
    fn cut_end(&mut self) {
        let end = (self.failure.at_ms + 1).min(self.best.size.length_ms.unwrap_or(u64::MAX));
        let mut candidate = self.best.clone();
        candidate.size.length_ms = Some(end);
        let is_late = |at: u64| at > end * 1_000_000;
        // What lies beyond strikes and begins nothing any more.
        candidate.faults.retain(|fault| !strikes_by_time(fault.class) || !is_late(fault.parameters[0]));
        candidate.operations.iter_mut().for_each(|begun| begun.retain(|begun| !is_late(begun.at)));
        self.keep_if_it_fails(candidate);
        while let Some(length) = self.best.size.length_ms.filter(|length| *length > 1000) {
            let mut candidate = self.best.clone();
            candidate.size.length_ms = Some(length / 2);
            if !self.keep_if_it_fails(candidate) {
                break;
            }
        }
    }

    /// All at once if that will do; else the classes with most faults first, to make all that follows quicker.
    fn drop_classes(&mut self) {
        let calm = Schedule { faults: Vec::new(), ..self.best.clone() };
        if self.keep_if_it_fails(calm) {
            return;
        }
        let count = |class: Class| self.best.faults.iter().filter(|fault| fault.class == class).count();
        let mut classes: Vec<(usize, Class)> = ALL.into_iter().map(|class| (count(class), class)).collect();
        classes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        for (_, class) in classes.into_iter().filter(|(count, _)| *count > 0) {
            let mut candidate = self.best.clone();
            candidate.faults.retain(|fault| fault.class != class);
            self.keep_if_it_fails(candidate);
        }
    }

    fn drop_faults(&mut self, pieces: usize) {
        self.drop_parts(self.best.faults.clone(), pieces, |schedule, faults: Vec<Fault>| schedule.faults = faults);
    }

    fn drop_operations(&mut self, pieces: usize) {
        let Some(operations) = self.best.operations.clone() else { return };
        if self.keep_if_it_fails(Schedule { operations: Some(Vec::new()), ..self.best.clone() }) {
            return;
        }
        self.drop_parts(operations, pieces, |schedule, begun: Vec<Begun>| schedule.operations = Some(begun));
    }

    /// Leaves out runs of parts, of half the length each time round, down to one of so many pieces, or single ones.
    fn drop_parts<T: Clone>(&mut self, mut parts: Vec<T>, pieces: usize, put: impl Fn(&mut Schedule, Vec<T>)) {
        let mut chunk = parts.len().div_ceil(2);
        let least = parts.len() / pieces;
        while chunk > least && !self.is_out {
            let mut at = 0;
            while at < parts.len() && !self.is_out {
                let end = (at + chunk).min(parts.len());
                let mut fewer = parts.clone();
                fewer.drain(at..end);
                let mut candidate = self.best.clone();
                put(&mut candidate, fewer.clone());
                if self.keep_if_it_fails(candidate) {
                    parts = fewer;
                } else {
                    at = end;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    fn reduce_sizes(&mut self) {
        if self.best.operations.is_none() {
            self.reduce(&[1, 2, 4, 8, 16, 32, 64], |s| s.size.operations, |s, count| s.size.operations = Some(count));
        }
        self.reduce(&[1, 2, 4], |s| s.size.clients.map(u64::from), |s, count| share_among(s, count as u32));
        let smaller: [fn(&mut Schedule); 3] = [|s| s.size.groups = Some(1), |s| s.size.cores = Some(1), three_nodes];
        for change in smaller {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            self.keep_if_it_fails(candidate);
        }
    }

    /// Tries the smallest of `counts` that will do.
    fn reduce(&mut self, counts: &[u64], now: fn(&Schedule) -> Option<u64>, put: fn(&mut Schedule, u64)) {
        for count in counts {
            let mut candidate = self.best.clone();
            if now(&candidate).is_none_or(|now| now > *count) {
                put(&mut candidate, *count);
                if self.keep_if_it_fails(candidate) {
                    break;
                }
            }
        }
    }

    /// Halves what lasts: the parameters of faults that are times of waiting.
    fn shorten_faults(&mut self) {
        for at in 0..self.best.faults.len() {
            for parameter in lasting(self.best.faults[at].class) {
                while let Some(time) = self.best.faults.get(at).map(|fault| fault.parameters[*parameter]) {
                    if time < 1_000_000 || self.is_out {
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

/// Three nodes, of which no more than one may be damaged: of five it were two.
fn three_nodes(schedule: &mut Schedule) {
    schedule.size.nodes = Some(3);
    schedule.size.damageable = schedule.size.damageable.map(|mask| match mask & 0b111 {
        0 => 1,
        of_three => of_three & of_three.wrapping_neg(),
    });
}

/// Gives what all clients begin to so many of them.
fn share_among(schedule: &mut Schedule, clients: u32) {
    schedule.size.clients = Some(clients);
    let mut numbers = vec![0; clients as usize];
    for begun in schedule.operations.iter_mut().flatten() {
        begun.client %= clients;
        let number = &mut numbers[begun.client as usize];
        begun.number = std::mem::replace(number, *number + 1);
    }
}

/// Parameter 0 of the class is when it strikes.
fn strikes_by_time(class: Class) -> bool {
    use Class::*;
    matches!(class, Net9 | Net10 | Proc1 | Proc3 | Proc6 | Proc7 | Disk6 | Disk8 | Disk9 | Disk10 | Clk3 | Ctl1 | Ctl2)
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
        let mut run = |schedule: &Schedule, _| {
            let has = |fault: &Fault| {
                schedule.faults.iter().any(|other| (other.class, other.counter) == (fault.class, fault.counter))
            };
            wanted.iter().all(has).then(|| failure("durable"))
        };
        let shrunk = shrink(long_schedule(), failure("durable"), &mut run, &mut |_, _| true);
        let left: Vec<_> = shrunk.schedule.faults.iter().map(|fault| (fault.class, fault.counter)).collect();
        assert_eq!(left, wanted.map(|fault| (fault.class, fault.counter)));
        assert!(shrunk.is_minimal && shrunk.tries < 500, "{} tries", shrunk.tries);
        assert_eq!(shrunk.schedule.size.nodes, Some(3));
        assert_eq!(shrunk.schedule.size.clients, Some(1));
    }

    #[test]
    fn another_checker_is_another_failure() {
        let mut run =
            |schedule: &Schedule, _| Some(failure(if schedule.faults.len() < 100 { "progress" } else { "durable" }));
        let shrunk = shrink(long_schedule(), failure("durable"), &mut run, &mut |_, _| true);
        assert_eq!((shrunk.schedule.faults.len(), shrunk.failure.checker.as_str()), (100, "durable"));
    }

    #[test]
    fn tries_may_run_out() {
        let mut left = 10;
        let mut may_go_on = |_: &Schedule, _| {
            left -= 1;
            left >= 0
        };
        let shrunk = shrink(long_schedule(), failure("durable"), &mut |_, _| None, &mut may_go_on);
        assert_eq!((shrunk.tries, shrunk.is_minimal), (10, false));
        assert_eq!(shrunk.schedule, long_schedule());
    }

    #[test]
    fn what_lasts_is_halved_while_it_still_fails() {
        let mut schedule = Schedule::new(1, Profile::Dense);
        schedule.faults = vec![fault(Class::Proc3, 0)];
        let mut run = |schedule: &Schedule, _| {
            schedule.faults.first().is_some_and(|f| f.parameters[1] > 7_000_000).then(|| failure("lease"))
        };
        let shrunk = shrink(schedule, failure("lease"), &mut run, &mut |_, _| true);
        assert_eq!(shrunk.schedule.faults[0].parameters[1], 8_000_000);
    }

    #[test]
    fn only_the_operations_that_matter_are_left_and_one_client_begins_them() {
        let head = client::Operation::Query { acct: base::Acct(1), nsid: base::Nsid(2), query: meta::Query::Head };
        let begun = |at: u64| Begun::new(at as u32 % 7, at / 7, at, &head).expect("it is drawn");
        let mut schedule = long_schedule();
        schedule.operations = Some((0..300).map(begun).collect());
        let mut run = |schedule: &Schedule, _| {
            let operations = schedule.operations.as_ref().expect("they are listed");
            [41, 260].iter().all(|at| operations.iter().any(|begun| begun.at == *at)).then(|| failure("linear"))
        };
        let shrunk = shrink(schedule, failure("linear"), &mut run, &mut |_, _| true).schedule;
        let left: Vec<_> = shrunk.operations.iter().flatten().map(|begun| (begun.client, begun.at)).collect();
        assert_eq!(left, [(0, 41), (0, 260)]);
        assert!(shrunk.faults.is_empty());
    }

    #[test]
    fn a_run_may_stop_with_its_faults_only_if_it_failed_before() {
        let mut asked = Vec::new();
        let mut run = |schedule: &Schedule, may_stop| {
            asked.push((schedule.size.length_ms, may_stop));
            None
        };
        let mut schedule = Schedule::new(1, Profile::Dense);
        schedule.size.length_ms = Some(10_000);
        shrink(schedule.clone(), failure("lease"), &mut run, &mut |_, _| true);
        assert_eq!(asked[..2], [(Some(5001), true), (Some(5000), true)]);
        asked.clear();
        let mut run = |schedule: &Schedule, may_stop| {
            asked.push((schedule.size.length_ms, may_stop));
            None
        };
        schedule.size.length_ms = Some(4000);
        shrink(schedule, failure("progress"), &mut run, &mut |_, _| true);
        assert!(asked.iter().all(|(_, may_stop)| !may_stop), "{asked:?}");
    }
}
