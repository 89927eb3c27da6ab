//! `cargo run --release -p models -- check [name] [--long]`: checks plans and compares the counts of their states with
//! the recorded ones. `UPDATE_EXPECT=1` rewrites the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use models::check::check;
use models::plan;

const USAGE: &str = "usage: models check [name] [--long] | models list";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_long = arguments.iter().any(|argument| argument == "--long");
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--long").collect();
    match words[..] {
        ["list"] => {
            plan::all().iter().for_each(|plan| println!("{:24} {}", plan.name, plan.why));
            ExitCode::SUCCESS
        }
        ["check"] => run(|plan| is_long || !plan.is_long),
        ["check", name] if plan::all().iter().any(|plan| plan.name == name) => run(|plan| plan.name == name),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(is_wanted: impl Fn(&plan::Plan) -> bool) -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.txt");
    let mut record = read(&std::fs::read_to_string(&file).unwrap_or_default());
    let mut is_good = true;
    for plan in plan::all().iter().filter(|plan| is_wanted(plan)) {
        let report = check(plan, 1);
        let seconds = report.took.as_secs_f32();
        println!("{:24} {:>9} states, depth {:>2}, {seconds:.1} s", plan.name, report.states, report.depth);
        match &report.broken {
            Some((rule, path)) if plan.breaks => println!("    breaks as it must: {rule}, {} steps", path.len()),
            Some((rule, path)) => {
                println!("    BROKEN: {rule}");
                path.iter().for_each(|step| println!("      {step}"));
            }
            None if plan.breaks => println!("    NOT BROKEN: the model is blind"),
            None => {}
        }
        report.never.iter().for_each(|name| println!("    NEVER: {name}"));
        is_good &= report.is_expected(plan);
        // Where a search ends at a finding, its count says little.
        if !plan.breaks && record.insert(plan.name.to_string(), report.states) != Some(report.states) {
            println!("    another count than recorded in expected.txt");
            is_good &= std::env::var_os("UPDATE_EXPECT").is_some();
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text: String = record.iter().map(|(name, states)| format!("{name} {states}\n")).collect();
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("could not write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(text: &str) -> BTreeMap<String, usize> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, n)| Some((name.into(), n.parse().ok()?)))
        .collect()
}
