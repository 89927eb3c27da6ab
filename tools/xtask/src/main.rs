//! `cargo xtask tidy`: the layer check.
fn main() {}
