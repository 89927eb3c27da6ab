//! From a run that is over to its trace.
//!
//! What operation `i` was follows from the seed, so a run keeps nothing of it but when it left: the stream is walked once
//! more, as the checks do (`verify.rs`). So recording costs a run 8 bytes an operation and no file.

use base::{Mono, Span};

use super::{Origin, Trace, TracedOp};
use crate::op::Op;
use crate::source::{Source, StreamSettings};

/// The trace of a run of `settings`. `sent` holds, for each generator core, when each of its operations was due, in the
/// order in which they left. Units: nanoseconds since the start.
#[must_use]
pub fn record(settings: &StreamSettings, sent: &[Vec<u64>], origin: Origin) -> Trace {
    let mut source = Source::new(settings, Mono(0), (0, 1));
    let spaces = (0..settings.mix.population.namespaces).map(|namespace| source.tree(namespace).space()).collect();
    let cores = sent.len() as u32;
    let mut left: Vec<_> = sent.iter().map(|times| times.iter()).collect();
    let mut ops = Vec::with_capacity(sent.iter().map(Vec::len).sum());
    let mut op = Op::default();
    while left.iter().any(|times| times.len() > 0) {
        source.next(&mut op);
        if op.index == u64::MAX {
            break;
        }
        // A core that had sent all it ever sent, while others went on.
        let Some(at_ns) = left[(op.namespace % cores) as usize].next() else { continue };
        ops.push(TracedOp { at_us: Span(*at_ns).0 / 1000, namespace: op.namespace, choice: source.choice() });
    }
    // Closed clients leave in an order of their own on each core; within a namespace it is that of the stream.
    ops.sort_by_key(|op| op.at_us);
    Trace { origin, spaces, ops }
}
