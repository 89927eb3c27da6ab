//! How the models of this room are explored (loom).

/// Orders in which one thread is put aside for another at most so often; more find nothing new in code this short.
const PREEMPTIONS_MAX: usize = 3;

/// Runs the model in every such order.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(model);
}
