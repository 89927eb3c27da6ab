//! Checksums, the histogram of the profile, random numbers.

use std::hint::black_box;

use base::checksum::crc32c;
use base::histogram::Histogram;
use base::{Prng, mix64};

use crate::{Bench, Body, each};

/// Operations of an iteration where one takes nanoseconds.
const MANY: u64 = 64;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let crc = |id, bytes| Bench::new(id, move |_| checksum(bytes)).operations(MANY).counted(50);
    vec![
        crc("base/crc32c/n=64B", 64),
        crc("base/crc32c/n=4KiB", 4 << 10),
        crc("base/crc32c/n=64KiB", 64 << 10),
        Bench::new("base/histogram_record/one", |_| histogram()).operations(MANY).counted(2000),
        Bench::new("base/prng_next/one", |_| prng()).operations(MANY).counted(2000),
    ]
}

fn checksum(bytes: usize) -> Body {
    let data: Vec<u8> = (0..bytes as u64).map(|at| mix64(at) as u8).collect();
    each(MANY, move |_| u64::from(crc32c(black_box(&data))))
}

/// Times as a log has them: 2^7 to 2^27 ns.
fn histogram() -> Body {
    let mut histogram = Histogram::default();
    each(MANY, move |at| {
        let value = mix64(at);
        histogram.record(black_box((1 << 7) + (value >> (37 + value % 20))));
        histogram.count()
    })
}

fn prng() -> Body {
    let mut prng = Prng::new(7);
    each(MANY, move |_| black_box(prng.next_u64()))
}
