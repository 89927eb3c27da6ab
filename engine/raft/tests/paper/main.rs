//! The rules of docs/design/raft.md one by one, with the section of the paper or the thesis where there is one.

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod elections;
mod faults;
mod figure2;
mod follower_reads;
mod idle;
mod learners;
mod leases;
mod membership;
mod reads;
mod replication;
mod snapshots;
