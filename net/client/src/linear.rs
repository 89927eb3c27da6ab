//! Linearizability on values alone, after Wing and Gong, with Lowe's memory of configurations that were tried.
//!
//! Pure: a history in, a verdict out; the simulator and the suites of real processes share it (docs/TESTING.md).
//! A configuration is what was put in order so far and the state that this led to. Operations are taken by their
//! invocation; all before `base` are in order, and of the [`WINDOW_MAX`] from `base` on a mask says which are.

use std::collections::BTreeSet;

/// Operations from the first that is not in order to the last that may come before it: while one waits for its answer,
/// others go on, three thousand of them in two seconds.
pub const WINDOW_MAX: usize = 4096;

/// What one copy would do.
pub trait Sequential {
    /// All that it remembers.
    type State: Clone + Ord;
    /// An operation with its answer.
    type Operation;

    /// Before the first operation.
    fn first(&self) -> Self::State;

    /// The state behind the operation; `None` when one copy in this state would have answered otherwise.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// One operation as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timed<T> {
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered; `None` is unknown: it took effect at some time after, or never.
    pub returned: Option<u64>,
    /// What.
    pub operation: T,
}

/// Why there is no order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disorder {
    /// No order fits.
    #[error("no order of the operations fits; the best one fails at operation {stuck}, counted by invocation")]
    None {
        /// The first operation, by invocation, that the longest order lacks.
        stuck: usize,
    },
    /// The window is too small to tell.
    #[error("more than {WINDOW_MAX} operations are open at operation {at}, counted by invocation")]
    TooWide {
        /// The operation, by invocation, before which none was put in order.
        at: usize,
    },
    /// Too many configurations to tell.
    #[error("no order was found among the first {tried} configurations")]
    TooMany {
        /// So many were tried.
        tried: usize,
    },
}

/// Is there an order of the operations that respects time and that one copy could have had?
///
/// Shape: any order of `history`; it is sorted by invocation here. An operation that returned when another was invoked
/// runs beside it.
///
/// # Errors
/// [`Disorder`].
pub fn check<S: Sequential>(copy: &S, history: &mut [Timed<S::Operation>]) -> Result<(), Disorder> {
    check_within(copy, history, usize::MAX)
}

/// As [`check`], and gives up after so many configurations.
///
/// # Errors
/// [`Disorder`]; only [`Disorder::None`] says that there is no order.
pub fn check_within<S: Sequential>(
    copy: &S,
    history: &mut [Timed<S::Operation>],
    configurations_max: usize,
) -> Result<(), Disorder> {
    history.sort_by_key(|timed| timed.invoked);
    let mut too_wide = None;
    let mut seen: BTreeSet<(usize, Mask, S::State)> = BTreeSet::new();
    let mut stack = vec![(0, Mask::default(), copy.first())];
    let mut stuck = 0;
    while let Some((base, mask, state)) = stack.pop() {
        if base == history.len() {
            return Ok(());
        }
        if !seen.insert((base, mask.clone(), state.clone())) {
            continue;
        }
        if seen.len() > configurations_max {
            return Err(Disorder::TooMany { tried: configurations_max });
        }
        stuck = stuck.max(base);
        let open = match open_until(history, base, &mask) {
            Ok(open) => open,
            Err(wide) => {
                // Another configuration may still lead to the end.
                too_wide.get_or_insert(wide);
                continue;
            }
        };
        // The last pushed is tried first: what was asked first.
        for at in (base..open.end).rev().filter(|at| !mask.has(at - base)) {
            if history[at].invoked > open.deadline {
                continue;
            }
            let (next_base, next_mask) = mask.with(at - base).advance(base);
            if at == base && history[at].returned.is_none() {
                // It never took effect.
                stack.push((next_base, next_mask.clone(), state.clone()));
            }
            if let Some(next) = copy.step(&state, &history[at].operation) {
                stack.push((next_base, next_mask, next));
            }
        }
    }
    Err(too_wide.unwrap_or(Disorder::None { stuck }))
}

/// The operations that may come next.
struct Open {
    /// They lie before this one.
    end: usize,
    /// And were invoked no later than the first return of one that is still to come.
    deadline: u64,
}

fn open_until<T>(history: &[Timed<T>], base: usize, mask: &Mask) -> Result<Open, Disorder> {
    let (mut deadline, mut end) = (u64::MAX, base);
    while end < history.len() && history[end].invoked <= deadline {
        if end - base >= WINDOW_MAX {
            return Err(Disorder::TooWide { at: base });
        }
        if !mask.has(end - base) {
            deadline = deadline.min(history[end].returned.unwrap_or(u64::MAX));
        }
        end += 1;
    }
    Ok(Open { end, deadline })
}

/// Which operations from a base on are in order. Shape: bits, 64 to a word, the last word is never 0: as a rule there are
/// few of them, and a window is wide only while one operation waits for long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
struct Mask(Vec<u64>);

impl Mask {
    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn with(&self, at: usize) -> Mask {
        let mut words = self.0.clone();
        words.resize(words.len().max(at / 64 + 1), 0);
        words[at / 64] |= 1 << (at % 64);
        Mask(words)
    }

    /// Moves `base` behind what is in order from there on.
    fn advance(mut self, base: usize) -> (usize, Mask) {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        self.0.drain(..full);
        let done = self.0.first().map_or(0, |word| word.trailing_ones());
        if done > 0 {
            for at in 0..self.0.len() {
                let above = self.0.get(at + 1).map_or(0, |next| next << (64 - done));
                self.0[at] = self.0[at] >> done | above;
            }
            // Only bits of the last word can have gone.
            self.0.pop_if(|last| *last == 0);
        }
        (base + 64 * full + done as usize, self)
    }
}

/// A register: the plainest copy, e.g. one path, or one file under `update(rev)`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Register;

/// What is done to a register; 0 is its first value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// The value is this now.
    Write(u64),
    /// The value was this.
    Read(u64),
    /// The value was the first and is the second now.
    Swap(u64, u64),
    /// The value was another one; nothing changed.
    SwapRefused(u64),
}

impl Sequential for Register {
    type State = u64;
    type Operation = Touch;

    fn first(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, operation: &Touch) -> Option<u64> {
        match *operation {
            Touch::Write(value) => Some(value),
            Touch::Read(value) => (*state == value).then_some(value),
            Touch::Swap(from, to) => (*state == from).then_some(to),
            Touch::SwapRefused(from) => (*state != from).then_some(*state),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    fn timed(invoked: u64, returned: u64, operation: Touch) -> Timed<Touch> {
        Timed { invoked, returned: (returned > 0).then_some(returned), operation }
    }

    /// Every order of every choice, without any cleverness.
    fn brute(history: &[Timed<Touch>], done: u32, state: u64) -> bool {
        let left = || (0..history.len()).filter(|at| done >> at & 1 == 0);
        if left().all(|at| history[at].returned.is_none()) {
            return true;
        }
        left().any(|at| {
            let is_next = left().all(|other| history[other].returned.is_none_or(|end| end >= history[at].invoked));
            let next = Register.step(&state, &history[at].operation).filter(|_| is_next);
            next.is_some_and(|next| brute(history, done | 1 << at, next))
        })
    }

    /// A history of one copy: each operation takes effect somewhere between its invocation and its return.
    fn draw(prng: &mut Prng, count: u64) -> Vec<Timed<Touch>> {
        let mut effects: Vec<(u64, u64, u64)> = (0..count)
            .map(|_| {
                let at = 10 + prng.below(100);
                (at, at - prng.below(10).min(at), at + 1 + prng.below(15))
            })
            .collect();
        effects.sort_unstable();
        let mut value = 0;
        let mut out = Vec::new();
        for ((_, invoked, returned), number) in effects.into_iter().zip(1..) {
            let operation = match prng.below(4) {
                0 => Touch::Read(value),
                1 => Touch::Swap(value, number),
                2 => Touch::SwapRefused(value + 1),
                _ => Touch::Write(number),
            };
            value = Register.step(&value, &operation).unwrap();
            let is_unknown = prng.below(6) == 0 && !matches!(operation, Touch::Read(_));
            out.push(timed(invoked, if is_unknown { 0 } else { returned }, operation));
        }
        out
    }

    fn spoil(prng: &mut Prng, history: &mut [Timed<Touch>]) {
        let at = prng.below(history.len() as u64) as usize;
        match &mut history[at].operation {
            Touch::Read(value) | Touch::Swap(value, _) | Touch::SwapRefused(value) => *value = prng.below(6),
            Touch::Write(_) => history[at].operation = Touch::Read(prng.below(6)),
        }
    }

    #[test]
    fn verdicts_are_those_of_brute_force_on_good_and_spoiled_histories() {
        let mut prng = Prng::new(11);
        let (mut good, mut bad) = (0, 0);
        for round in 0..1000 {
            let count = 2 + prng.below(5);
            let mut history = draw(&mut prng, count);
            if round % 2 == 1 {
                spoil(&mut prng, &mut history);
            }
            let wanted = brute(&history, 0, 0);
            let found = check(&Register, &mut history);
            assert_eq!(found.is_ok(), wanted, "{history:?}: {found:?}");
            assert!(round % 2 == 1 || wanted, "a good history is good");
            (good, bad) = if wanted { (good + 1, bad) } else { (good, bad + 1) };
        }
        assert!(good >= 500 && bad >= 100, "{good} good, {bad} bad");
    }

    #[test]
    fn a_stale_read_is_seen_and_one_beside_its_write_is_not() {
        let write = timed(1, 5, Touch::Write(7));
        assert_eq!(check(&Register, &mut [write.clone(), timed(4, 6, Touch::Read(0))]), Ok(()));
        let stale = check(&Register, &mut [write, timed(6, 8, Touch::Read(0))]);
        assert_eq!(stale, Err(Disorder::None { stuck: 1 }));
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never() {
        let unknown = timed(1, 0, Touch::Write(7));
        let read = |from, value| timed(from, from + 1, Touch::Read(value));
        assert_eq!(check(&Register, &mut [unknown.clone(), read(10, 0), read(20, 7)]), Ok(()));
        assert_eq!(check(&Register, &mut [unknown.clone(), read(10, 0)]), Ok(()));
        assert!(check(&Register, &mut [unknown, read(10, 7), read(20, 0)]).is_err());
    }

    #[test]
    fn what_costs_too_much_is_given_up_and_not_condemned() {
        let write = |value| timed(1, 0, Touch::Write(value));
        let mut history: Vec<_> = (1..20).map(write).chain([timed(5, 6, Touch::Read(99))]).collect();
        assert_eq!(check_within(&Register, &mut history, 1000), Err(Disorder::TooMany { tried: 1000 }));
    }

    #[test]
    fn a_long_history_is_checked_and_too_wide_a_one_is_refused() {
        let mut prng = Prng::new(3);
        let mut long: Vec<Timed<Touch>> = Vec::new();
        for (burst, base) in (0..2000).map(|burst| (burst, burst * 1000)) {
            long.extend(draw(&mut prng, 5).into_iter().map(|mut one| {
                one.invoked += base + 2;
                one.returned = Some(one.returned.unwrap_or(130) + base + 2);
                one
            }));
            // Each burst begins where a register begins.
            long.push(timed(base + 1000, base + 1001, Touch::Write(0)));
            assert!(burst < 2000);
        }
        assert_eq!(check(&Register, &mut long), Ok(()));
        let mut wide: Vec<_> =
            (0..WINDOW_MAX as u64 + 88).map(|at| timed(at + 1, 9_000, Touch::Write(at + 1))).collect();
        assert_eq!(check(&Register, &mut wide), Err(Disorder::TooWide { at: 0 }));
    }

    /// One read waits while 2,000 writes and reads go on; it saw `value`.
    fn beside_a_slow_read(value: u64) -> Result<(), Disorder> {
        let quick = (0..2_000)
            .map(|at| (at * 10 + 10, if u64::is_multiple_of(at, 2) { Touch::Write(at + 1) } else { Touch::Read(at) }));
        let quick = quick.map(|(at, operation)| timed(at, at + 5, operation));
        let mut history: Vec<_> = [timed(1, 30_000, Touch::Read(value))].into_iter().chain(quick).collect();
        check(&Register, &mut history)
    }

    #[test]
    fn an_operation_that_waits_while_many_others_go_on_is_judged() {
        assert_eq!(beside_a_slow_read(101), Ok(()));
        assert_eq!(beside_a_slow_read(0), Ok(()));
        assert!(matches!(beside_a_slow_read(102), Err(Disorder::None { .. })));
    }

    #[test]
    fn a_mask_moves_behind_what_is_in_order_over_words() {
        let all = |range: std::ops::Range<usize>| range.fold(Mask::default(), |mask, at| mask.with(at));
        assert_eq!(all(0..130).advance(5), (135, Mask::default()));
        assert_eq!(all(0..70).with(75).advance(0), (70, Mask::default().with(5)));
        assert_eq!(all(1..70).advance(9), (9, all(1..70)));
        assert_eq!(all(0..WINDOW_MAX).advance(0), (WINDOW_MAX, Mask::default()));
        assert_eq!(all(0..3).with(511).advance(0), (3, Mask::default().with(508)));
    }
}
