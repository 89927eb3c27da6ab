//! The injector: at every chance of a fault it says whether one strikes, from the seed's draws or from a schedule.

use std::collections::BTreeMap;

use base::Prng;

use crate::draw::{Stream, draw, prng};
use crate::fault::{ALL, CLASSES, Class};
use crate::profile::{Profile, Rate};
use crate::schedule::Fault;

/// Nanoseconds of an hour.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Three numbers that say what a fault is like; times are in ns.
pub type Parameters = [u64; 3];

/// Faults of one class and entity that a schedule lists, by counter, and how many are behind.
#[derive(Default)]
struct Listed {
    faults: Vec<(u64, Parameters)>,
    next: usize,
}

/// Says what strikes.
pub struct Injector {
    seed: u64,
    /// Of chances: strikes below this. By class.
    thresholds: [u64; CLASSES],
    /// Mean ns between two strikes on one entity; 0 never. By class.
    gaps: [u64; CLASSES],
    is_on: [bool; CLASSES],
    /// Chances so far, by class and entity.
    counters: Vec<Vec<u64>>,
    listed: Option<BTreeMap<(Class, u32), Listed>>,
    is_enabled: bool,
    is_paused: bool,
    counts: [u64; CLASSES],
    record: Vec<Fault>,
    is_recording: bool,
}

impl Injector {
    /// Draws which classes are on and how often they strike. `forced_off` names classes that are not wanted;
    /// `listed` is a schedule to follow instead.
    #[must_use]
    pub fn new(seed: u64, profile: Profile, off: &[Class], listed: Option<&[Fault]>, is_recording: bool) -> Injector {
        let mut injector = Injector {
            seed,
            thresholds: [0; CLASSES],
            gaps: [0; CLASSES],
            is_on: [false; CLASSES],
            counters: vec![Vec::new(); CLASSES],
            listed: listed.map(index),
            is_enabled: true,
            is_paused: false,
            counts: [0; CLASSES],
            record: Vec::new(),
            is_recording,
        };
        for class in ALL {
            let mut dice = prng(seed, Stream::Shape, 1000 + class as u64, 0);
            let odds = if matches!(class, Class::Ctl1 | Class::Proc1) { 700 } else { 500 };
            let is_forced = class == Class::Clk2 && profile.is_of_clocks();
            // A lie shows when power is cut.
            let is_forced = is_forced || profile.has_liars() && matches!(class, Class::Proc1 | Class::Proc4);
            let is_on = (dice.below(1000) < odds || is_forced) && !off.contains(&class);
            injector.is_on[class as usize] = is_on;
            if !is_on {
                continue;
            }
            let share = |dice: &mut Prng, most: u64| dice.below(most.max(1)) + 1;
            match profile.rate(class) {
                Rate::PerMillion(most) => {
                    injector.thresholds[class as usize] = per_million(share(&mut dice, u64::from(most)));
                }
                Rate::Range(least, most) => {
                    let drawn = u64::from(least) + dice.below(u64::from(most - least) + 1);
                    injector.thresholds[class as usize] = per_million(drawn);
                }
                Rate::PerNodeHour(hundredths) => {
                    injector.gaps[class as usize] = HOUR_NS * 100 / share(&mut dice, u64::from(hundredths));
                }
                Rate::PerHour(most) => {
                    injector.gaps[class as usize] = HOUR_NS / share(&mut dice, u64::from(most));
                }
                // Checkpoints of a node, whatever the profile.
                Rate::On if class == Class::Ctl2 => injector.gaps[class as usize] = 2_000_000_000,
                Rate::On | Rate::Off => {}
            }
        }
        injector
    }

    /// Whether the class is on in this run.
    #[must_use]
    pub fn is_on(&self, class: Class) -> bool {
        self.is_on[class as usize]
    }

    /// Whether a class that is there from the start strikes this entity.
    #[must_use]
    pub fn begins_with(&self, class: Class, entity: u32) -> bool {
        match &self.listed {
            Some(listed) => listed.contains_key(&(class, entity)),
            None => self.is_on(class),
        }
    }

    /// From now on nothing strikes.
    pub fn end(&mut self) {
        self.is_enabled = false;
    }

    /// While it pauses no chance is counted, and nothing strikes.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether anything may strike still.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// A chance of a fault. `describe` draws what it is like.
    #[inline]
    pub fn strike(
        &mut self,
        class: Class,
        entity: u32,
        describe: impl FnOnce(&mut Prng) -> Parameters,
    ) -> Option<Parameters> {
        if !self.is_enabled || self.is_paused || (self.listed.is_none() && self.thresholds[class as usize] == 0) {
            return None;
        }
        let counter = self.count(class, entity);
        let parameters = match &mut self.listed {
            Some(listed) => take_listed(listed, class, entity, counter)?,
            None => {
                let drawn = draw(self.seed, class as u8, u64::from(entity), counter);
                if drawn >= self.thresholds[class as usize] {
                    return None;
                }
                describe(&mut Prng::new(drawn ^ 0x5eed))
            }
        };
        self.note(Fault { class, entity, counter, parameters });
        Some(parameters)
    }

    /// The first or next fault of a class that strikes by time: parameter 0 is when, the others are `describe`'s.
    /// It is noted with [`Injector::note`] once it strikes.
    pub fn next_timed(
        &mut self,
        class: Class,
        entity: u32,
        now: u64,
        describe: impl FnOnce(&mut Prng) -> [u64; 2],
    ) -> Option<Fault> {
        let mean = self.gaps[class as usize];
        if self.listed.is_some() || mean == 0 || !self.is_enabled {
            return None;
        }
        let counter = self.count(class, entity);
        let mut dice = Prng::new(draw(self.seed, class as u8, u64::from(entity), counter));
        let at = now + dice.below(2 * mean);
        let [a, b] = describe(&mut dice);
        Some(Fault { class, entity, counter, parameters: [at, a, b] })
    }

    /// A fault struck.
    pub fn note(&mut self, fault: Fault) {
        self.counts[fault.class as usize] += 1;
        if self.is_recording {
            self.record.push(fault);
        }
    }

    /// Faults so far, by class.
    #[must_use]
    pub fn counts(&self) -> [u64; CLASSES] {
        self.counts
    }

    /// What struck so far.
    #[must_use]
    pub fn into_record(self) -> Vec<Fault> {
        self.record
    }

    fn count(&mut self, class: Class, entity: u32) -> u64 {
        let counters = &mut self.counters[class as usize];
        if counters.len() <= entity as usize {
            counters.resize(entity as usize + 1, 0);
        }
        counters[entity as usize] += 1;
        counters[entity as usize] - 1
    }
}

fn per_million(parts: u64) -> u64 {
    (u64::MAX / 1_000_000).saturating_mul(parts)
}

fn index(faults: &[Fault]) -> BTreeMap<(Class, u32), Listed> {
    let mut listed: BTreeMap<(Class, u32), Listed> = BTreeMap::new();
    for fault in faults {
        listed.entry((fault.class, fault.entity)).or_default().faults.push((fault.counter, fault.parameters));
    }
    listed.values_mut().for_each(|list| list.faults.sort_unstable());
    listed
}

fn take_listed(
    listed: &mut BTreeMap<(Class, u32), Listed>,
    class: Class,
    entity: u32,
    counter: u64,
) -> Option<Parameters> {
    let list = listed.get_mut(&(class, entity))?;
    while list.faults.get(list.next).is_some_and(|(listed, _)| *listed < counter) {
        list.next += 1;
    }
    let (at, parameters) = *list.faults.get(list.next)?;
    (at == counter).then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(injector: &mut Injector) -> Vec<bool> {
        (0..200).map(|_| injector.strike(Class::Net1, 3, |dice| [dice.below(9), 0, 0]).is_some()).collect()
    }

    fn on_seed() -> u64 {
        (0..).find(|seed| Injector::new(*seed, Profile::Dense, &[], None, false).is_on(Class::Net1)).expect("half are")
    }

    #[test]
    fn a_recorded_run_replays_and_a_fault_left_out_changes_no_other() {
        let seed = on_seed();
        let mut drawn = Injector::new(seed, Profile::Dense, &[], None, true);
        let first = strikes(&mut drawn);
        let record = drawn.into_record();
        assert!(record.len() > 1, "seed {seed} strikes too rarely");
        let mut again = Injector::new(seed, Profile::Dense, &[], Some(&record), true);
        assert_eq!(strikes(&mut again), first);
        assert_eq!(again.into_record(), record);
        let mut fewer = Injector::new(seed, Profile::Dense, &[], Some(&record[1..]), true);
        let left = strikes(&mut fewer);
        let differs: Vec<usize> = (0..200).filter(|at| left[*at] != first[*at]).collect();
        assert_eq!(differs, [record[0].counter as usize]);
    }

    #[test]
    fn a_pause_strikes_nothing_and_shifts_no_draw() {
        let mut injector = Injector::new(on_seed(), Profile::Dense, &[], None, true);
        let mut paused = Injector::new(on_seed(), Profile::Dense, &[], None, true);
        paused.pause(true);
        assert!(strikes(&mut paused).iter().all(|struck| !struck));
        paused.pause(false);
        assert_eq!(strikes(&mut paused), strikes(&mut injector));
    }

    #[test]
    fn nothing_strikes_after_the_end() {
        let mut injector = Injector::new(on_seed(), Profile::Dense, &[], None, true);
        injector.end();
        assert!(strikes(&mut injector).iter().all(|struck| !struck));
        assert!(injector.next_timed(Class::Net9, 0, 5, |_| [0, 0]).is_none());
    }
}
