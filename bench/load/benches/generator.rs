//! What whole operations cost the generator, against a target that takes no time.
//!
//! `cargo bench -p dropstone-load` prints operations per second of one core. The load that a target sees must never be
//! bounded by these. Single draws and records are ids of `bench/micro`, room `load`.

use load::Span;
use load::mix::Mix;
use load::session::null_rate;

fn main() {
    for name in ["put-small", "mdtest-create"] {
        let rate = null_rate(Mix::built_in(name).expect("it is built in"), 1, Span::from_ms(3000));
        println!("load/null/{name:<18} {:>8.2} M operations/s of one core", rate / 1e6);
    }
}
