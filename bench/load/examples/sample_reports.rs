//! Writes pages of SAMPLE DATA into a directory, to look at them: `cargo run -p dropstone-load --example
//! sample_reports -- DIR`. The figures come from a queue model in virtual time and measure nothing.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;

use load::report::compare::{Comparison, Side, parse_gates};
use load::report::result::BenchResult;
use load::report::table::Style;
use load::report::tui::{Board, Node};
use load::report::{csv, html, json, table};

fn main() -> std::io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("name a directory for the sample pages");
        std::process::exit(64);
    };
    std::fs::create_dir_all(&dir)?;
    let samples: [(&str, BenchResult); 6] = [
        ("valid", sample::valid()),
        ("invalid", sample::invalid()),
        ("at-least", sample::at_least()),
        ("sweep", sample::sweep()),
        ("base", sample::repeats(1.0, 1)),
        ("new", sample::repeats(1.12, 2)),
    ];
    for (name, result) in &samples {
        std::fs::write(dir.join(format!("{name}.html")), html::result(result))?;
        std::fs::write(dir.join(format!("{name}.json")), json::to_string(result))?;
        std::fs::write(dir.join(format!("{name}.csv")), csv::to_string(result))?;
        println!("{}", table::summary(result, &Style { columns: 130, has_colour: false }));
    }
    let gates = parse_gates("p99:+5%,rate:-3%,wire:+2%,p50:+20%").expect("gates of the sample");
    let side = |name: &str, result: &BenchResult| Side::new(name, vec![result.clone()]).expect("one result");
    let compared = Comparison::new(side("base", &samples[4].1), side("new", &samples[5].1), &gates);
    std::fs::write(dir.join("compare.html"), html::comparison(&compared))?;
    print!("{}", table::comparison(&compared, &Style { columns: 130, has_colour: false }));
    println!("\n{}", live().join("\n"));
    Ok(())
}

/// The live view at the end of a run with faults.
fn live() -> Vec<String> {
    let run = sample::Model { stalls: vec![(9.0, 1.3)], is_brief: true, ..sample::Model::default() }.run();
    let mut board = Board::new(sample::NOTE);
    (board.phase, board.phase_s) = ("measure".to_owned(), 40.0);
    board.stages_us = run.stages.iter().map(|stage| (stage.stage.clone(), stage.p50_us.unwrap_or(0.0))).collect();
    for second in run.intervals {
        board.push(second, &run.response);
    }
    let node = |name: &str, is_up| Node {
        name: name.to_owned(),
        is_up,
        leads: 21,
        sync_p99_us: Some(870.0),
        busy: Some(0.41),
    };
    board.nodes = vec![node("n1", true), node("n2", true), node("n3", false)];
    board.mark(9.0, "kill-leader");
    board.render(&Style { columns: 100, has_colour: false }, 50)
}
