//! The one binary, with a subcommand for every role and every tool.
fn main() {}
