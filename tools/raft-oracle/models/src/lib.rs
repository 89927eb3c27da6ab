//! Exhaustive models of the consensus core: the real `Raft`, a few nodes, every order of events within small bounds.
//!
//! A plan (`plan.rs`) is a world with bounds; `world.rs` says what may happen next; `truth.rs` what must hold in every
//! state. Time is abstract: a timeout may happen whenever it could. Each plan has a twin whose driver is broken in one
//! way, in which a rule must fail: else the model looks at nothing.

pub mod check;
pub mod log;
pub mod net;
pub mod node;
pub mod plan;
pub mod truth;
pub mod world;
