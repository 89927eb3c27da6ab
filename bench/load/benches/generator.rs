//! What the generator itself costs: draws, records, and whole operations against a target that takes no time.
//!
//! `cargo bench -p dropstone-load` prints nanoseconds each, and operations per second of one core. The load that a target
//! sees must never be bounded by these.

use std::hint::black_box;
use std::time::Instant;

use load::arrivals::{Arrival, Arrivals};
use load::keys::Keys;
use load::mix::Mix;
use load::op::OpKind;
use load::recorder::{Histograms, Times};
use load::session::null_rate;
use load::stream::{Draws, Stream};
use load::{Mono, Span};

const ROUNDS: u64 = 5_000_000;

fn nanos(name: &str, mut each: impl FnMut(u64)) {
    (0..ROUNDS / 10).for_each(&mut each);
    let begun = Instant::now();
    (0..ROUNDS).for_each(&mut each);
    println!("{name:<28} {:>8.1} ns", begun.elapsed().as_nanos() as f64 / ROUNDS as f64);
}

fn main() {
    let mut arrivals = Arrivals::new(Arrival::Poisson, 1e6, Span::from_ms(1000), 1);
    nanos("load/next_arrival/poisson", |_| {
        black_box(arrivals.next_ns());
    });
    let draws = Draws::new(1, Stream::Path);
    let zipf = Keys::Zipf { theta: 0.99, scramble: true };
    nanos("load/zipf/one", |k| {
        black_box(zipf.draw(k, draws.bits(k), 2000));
    });
    let mut histograms = Histograms::default();
    nanos("load/record/four", |k| {
        let at = |ns: u64| Mono(k + ns + (draws.bits(k) >> 44));
        let times = Times { intended: Mono(k), permit: Mono(k), sent: Mono(k + 900), replied: at(1000) };
        histograms.record(OpKind::Put, &times);
    });
    black_box(&histograms);
    for name in ["put-small", "mdtest-create"] {
        let rate = null_rate(Mix::built_in(name).expect("it is built in"), 1, Span::from_ms(3000));
        println!("load/null/{name:<18} {:>8.2} M operations/s of one core", rate / 1e6);
    }
}
