//! The histograms of each second, small enough to be kept until the end: for the interval log, and for intervals that
//! need to know how seconds differ.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

use crate::op::OpKind;
use crate::recorder::{Clock, Record, new_histogram};

/// Seconds that are kept; a longer run has totals for all of it, and these for its beginning.
pub const SECONDS_MAX: usize = 3_600;
/// Groups of seconds that a bootstrap draws from at most: more cost memory and tell little more.
const GROUPS_MAX: usize = 120;

/// One second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptSecond {
    /// Which since the start, from 0.
    pub second: u64,
    /// Each kind that occurred, with its histograms by clock, encoded.
    sets: Vec<(OpKind, [Vec<u8>; 4])>,
}

impl KeptSecond {
    /// The second as it was recorded.
    #[must_use]
    pub fn of(second: u64, record: &Record) -> KeptSecond {
        let mut serializer = V2DeflateSerializer::new();
        let mut encode = |histogram: &Histogram<u64>| {
            let mut bytes = Vec::new();
            serializer.serialize(histogram, &mut bytes).expect("writing to memory does not fail");
            bytes
        };
        let kinds = OpKind::ALL.into_iter().filter_map(|kind| Some((kind, record.histograms.of(kind)?)));
        let sets = kinds.map(|(kind, set)| (kind, Clock::ALL.map(|clock| encode(&set[clock as usize])))).collect();
        KeptSecond { second, sets }
    }

    /// The kinds that occurred.
    pub fn kinds(&self) -> impl Iterator<Item = OpKind> {
        self.sets.iter().map(|set| set.0)
    }

    /// One kind's histogram. Units: nanoseconds.
    #[must_use]
    pub fn histogram(&self, kind: OpKind, clock: Clock) -> Option<Histogram<u64>> {
        let (_, set) = self.sets.iter().find(|set| set.0 == kind)?;
        Deserializer::new().deserialize(&mut &*set[clock as usize]).ok()
    }

    /// Adds one kind, or all, to `sum`.
    fn add_to(&self, sum: &mut Histogram<u64>, kind: Option<OpKind>, clock: Clock) {
        for one in self.kinds().filter(|one| kind.is_none_or(|kind| kind == *one)) {
            if let Some(histogram) = self.histogram(one, clock) {
                sum.add(&histogram).expect("all histograms have the same bounds");
            }
        }
    }

    /// All kinds together.
    #[must_use]
    pub fn over_all(&self, clock: Clock) -> Histogram<u64> {
        let mut sum = new_histogram();
        self.add_to(&mut sum, None, clock);
        sum
    }
}

/// One kind, or all, over `seconds`: a histogram for each, or for as many neighbours as it takes to have few.
#[must_use]
pub fn groups(seconds: &[KeptSecond], kind: Option<OpKind>, clock: Clock) -> Vec<Histogram<u64>> {
    let size = seconds.len().div_ceil(GROUPS_MAX).max(1);
    let group = |group: &[KeptSecond]| {
        let mut sum = new_histogram();
        group.iter().for_each(|second| second.add_to(&mut sum, kind, clock));
        sum
    };
    seconds.chunks(size).map(group).collect()
}

#[cfg(test)]
mod tests {
    use base::Mono;

    use super::*;
    use crate::recorder::Times;

    #[test]
    fn what_is_kept_comes_back_equal_and_is_small() {
        let mut record = Record::default();
        for at in 0..2_000u64 {
            let kind = if at % 3 == 0 { OpKind::Put } else { OpKind::Stat };
            let replied = Mono(100_000 + base::mix64(at) % 5_000_000);
            let times = Times { intended: Mono(0), permit: Mono(0), sent: Mono(10), replied };
            record.histograms.record(kind, &times);
        }
        let kept = KeptSecond::of(7, &record);
        assert_eq!(
            kept.histogram(OpKind::Put, Clock::Service).as_ref(),
            record.histograms.of(OpKind::Put).map(|set| &set[3])
        );
        assert_eq!(kept.histogram(OpKind::Move, Clock::Service), None);
        assert_eq!(kept.over_all(Clock::Response), record.histograms.over_all(Clock::Response));
        let bytes: usize = kept.sets.iter().flat_map(|set| &set.1).map(Vec::len).sum();
        assert!(bytes < 40_000, "{bytes} bytes");
        let seconds = vec![kept; 250];
        let groups = groups(&seconds, Some(OpKind::Put), Clock::Response);
        assert_eq!((groups.len(), groups[0].len(), groups[83].len()), (84, 3 * 667, 667));
    }
}
