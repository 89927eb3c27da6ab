//! What the load generator does for each operation: the load that a target sees must not be bounded by these.

use std::hint::black_box;

use load::arrivals::{Arrival, Arrivals};
use load::keys::Keys;
use load::op::OpKind;
use load::recorder::{Histograms, Times};
use load::stream::{Draws, Stream};
use load::{Mono, Span};

use crate::{Bench, Body, each};

const MANY: u64 = 64;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let bench = |id, make: fn() -> Body| Bench::new(id, move |_| make()).operations(MANY).counted(500);
    vec![
        bench("load/next_arrival/poisson", next_arrival),
        bench("load/zipf/one", zipf),
        bench("load/record/four", record),
    ]
}

fn next_arrival() -> Body {
    let mut arrivals = Arrivals::new(Arrival::Poisson, 1e6, Span::from_ms(1000), 1);
    each(MANY, move |_| black_box(arrivals.next_ns()))
}

fn zipf() -> Body {
    let draws = Draws::new(1, Stream::Path);
    let keys = Keys::Zipf { theta: 0.99, scramble: true };
    each(MANY, move |at| black_box(keys.draw(at, draws.bits(at), 2000)))
}

fn record() -> Body {
    let draws = Draws::new(1, Stream::Path);
    let mut histograms = Histograms::default();
    each(MANY, move |at| {
        let replied = Mono(at + 1000 + (draws.bits(at) >> 44));
        let times = Times { intended: Mono(at), permit: Mono(at), sent: Mono(at + 900), replied };
        histograms.record(OpKind::Put, black_box(&times));
        replied.0
    })
}
