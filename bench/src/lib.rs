//! What benchmarks share: rigs that drive one room as its caller does, without the rooms around it.

pub mod log_bench;
pub mod meta_bench;
pub mod store_bench;
