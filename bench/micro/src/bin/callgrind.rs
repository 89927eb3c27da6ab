//! Runs one benchmark so many times, for who counts its instructions: `micro-callgrind ID ITERATIONS`.
//!
//! Without arguments it lists the ids that are counted and how often; with `--all`, every id. The difference between two
//! runs, one with twice the iterations, is the cost of the iterations alone: what is made before falls out.

use std::process::ExitCode;

use micro::{Scale, all, run};

/// The allocator of the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            for bench in all().iter().filter(|bench| bench.counted > 0) {
                println!("{} {} {}", bench.id, bench.counted, bench.operations);
            }
            ExitCode::SUCCESS
        }
        ["--all"] => {
            all().iter().for_each(|bench| println!("{}", bench.id));
            ExitCode::SUCCESS
        }
        [id, iterations] => {
            let (Some(bench), Ok(iterations)) = (all().into_iter().find(|bench| bench.id == *id), iterations.parse())
            else {
                eprintln!("no benchmark {id}, or {iterations} is no number; run it without arguments for a list");
                return ExitCode::from(64);
            };
            println!("{:016x}", run(&bench, Scale::Full, iterations));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: micro-callgrind [ID ITERATIONS | --all]");
            ExitCode::from(64)
        }
    }
}
