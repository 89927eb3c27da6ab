//! How busy each group of this core is, as every replica sees it alike: commands applied, averaged over some seconds.

use base::Mono;
use base::mono::Span;

/// One step of the average.
pub(crate) const TICK: Span = Span::from_ms(1_000);
/// The newest second counts one part in so many: what stopped has halved after five to six seconds.
const PARTS: u32 = 8;
/// A load is kept in parts of a command per second, so that one command now and then does not round to nothing.
const SCALE: u32 = 16;
/// Seconds that are averaged one by one; after a longer gap nothing is left of what was.
const TICKS_MAX: u64 = 64;

/// The load of every local group.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Applied since the last tick.
    recent: Vec<u32>,
    /// The average, in sixteenths of a command per second.
    average: Vec<u32>,
    /// Groups with either of them, each once.
    active: Vec<u32>,
    ticked: Mono,
}

impl Loads {
    pub(crate) fn new(groups: usize, now: Mono) -> Loads {
        Loads {
            recent: vec![0; groups],
            average: vec![0; groups],
            // All of it now, since this is filled while commands are applied.
            active: Vec::with_capacity(groups),
            ticked: now,
        }
    }

    /// So many commands of a group were applied.
    pub(crate) fn note(&mut self, at: u32, commands: u32, now: Mono) {
        let index = at as usize;
        if self.recent[index] == 0 && self.average[index] == 0 && commands > 0 {
            if self.active.is_empty() {
                self.ticked = now;
            }
            self.active.push(at);
        }
        self.recent[index] = self.recent[index].saturating_add(commands);
    }

    /// Takes the seconds that have passed into the averages.
    pub(crate) fn tick(&mut self, now: Mono) {
        let ticks = now.since(self.ticked).0 / TICK.0;
        if ticks == 0 {
            return;
        }
        self.ticked = Mono(self.ticked.0 + ticks * TICK.0);
        let Loads { recent, average, active, .. } = self;
        active.retain(|at| {
            let (recent, average) = (&mut recent[*at as usize], &mut average[*at as usize]);
            // What came is spread over the seconds it may have come in.
            let each = u64::from(std::mem::take(recent)) * u64::from(SCALE) / ticks;
            let each = u32::try_from(each).unwrap_or(u32::MAX);
            (0..ticks.min(TICKS_MAX)).for_each(|_| *average = averaged(*average, each));
            *average > 0
        });
    }

    /// Commands per second of a group, averaged.
    pub(crate) fn of(&self, at: u32) -> u64 {
        u64::from(self.average[at as usize] / SCALE)
    }

    /// When [`Loads::tick`] is wanted: never while no group is used.
    pub(crate) fn deadline(&self) -> Mono {
        if self.active.is_empty() { Mono::MAX } else { self.ticked + TICK }
    }
}

/// The next average. It reaches 0 when nothing comes.
fn averaged(average: u32, newest: u32) -> u32 {
    if newest >= average { average + (newest - average) / PARTS } else { average - ((average - newest) / PARTS).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Mono {
        Mono(second * TICK.0)
    }

    #[test]
    fn a_steady_rate_is_found_and_what_stops_is_forgotten() {
        let mut loads = Loads::new(3, second(100));
        for now in 101..160 {
            loads.note(1, 800, second(now - 1));
            loads.tick(second(now));
        }
        assert!((780..=800).contains(&loads.of(1)), "{}", loads.of(1));
        assert_eq!((loads.of(0), loads.deadline()), (0, second(160)));
        loads.tick(second(165));
        assert!((300..500).contains(&loads.of(1)), "after five to six seconds half is left: {}", loads.of(1));
        loads.tick(second(2_000));
        loads.tick(second(4_000));
        assert_eq!((loads.of(1), loads.deadline()), (0, Mono::MAX));
    }

    #[test]
    fn a_group_is_active_once_however_often_it_is_used() {
        let mut loads = Loads::new(2, second(1));
        (0..10).for_each(|_| loads.note(0, 5, second(1)));
        assert_eq!(loads.active, [0]);
        loads.tick(second(2));
        loads.note(0, 5, second(1));
        assert_eq!(loads.active, [0]);
        loads.note(1, 0, second(2));
        assert_eq!(loads.active, [0], "an entry without commands is no use");
    }
}
