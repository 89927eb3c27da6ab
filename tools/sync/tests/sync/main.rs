//! The engine on real folders, over the product's metadata machine in memory.

mod common;
mod converge;
mod races;
mod steps;
