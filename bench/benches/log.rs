//! The log against the disk: `cargo bench -p dropstone-bench --bench log -- --help`.

use std::process::ExitCode;

use bench::log_bench::arguments::LogBenchArgs;
use bench::log_bench::{report, run};
use clap::Parser as _;

fn main() -> ExitCode {
    let args = LogBenchArgs::parse();
    let counted = |part: &mut dyn FnMut()| allocation_counter::measure(part).count_total;
    match run(&args, &counted) {
        Ok(levels) => {
            if args.json {
                println!("{:#}", report::json(&levels));
            } else {
                print!("{}", report::table(&levels));
            }
            let all_hold = levels.iter().flat_map(|level| level.gates()).all(|gate| gate.holds);
            if all_hold { ExitCode::SUCCESS } else { ExitCode::from(3) }
        }
        Err(error) => {
            eprintln!("log bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
