//! Exhaustive models of the consensus core: the real `Raft`, a few nodes, every order of events within small bounds.
//!
//! A plan (`plan.rs`, `plans.rs`) is a world with bounds; `world.rs` says what may happen next; `truth.rs` what must
//! hold in every state; `search.rs` gives both to stateright. Time is abstract: a timeout may happen whenever it could.
//! Each plan has a twin whose driver is broken in one way, in which a rule must fail: else the model looks at nothing.
//!
//! States are few because nothing of the past is kept that has no future: the core forgets its history (`raft::testing`),
//! messages that can do nothing any more are lost, nodes that are alike exchange their names (`names.rs`). And a state
//! is cheap, since what one event makes of one node is computed once (`store.rs`).

pub mod check;
pub mod log;
pub mod names;
pub mod net;
pub mod node;
pub mod plan;
pub mod plans;
pub mod search;
#[cfg(mutations)]
pub mod seeded;
pub mod store;
pub mod truth;
pub mod world;
