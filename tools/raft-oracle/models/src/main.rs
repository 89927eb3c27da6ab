//! `models all [--long] [--seconds N] [--states N]`, `models check NAME`, `models list`: checks plans, one line each, and
//! compares the counts of their states with the recorded ones. `UPDATE_EXPECT=1` rewrites the record.
//!
//! In a build with `--cfg mutations`, `models mutations [ID ...]` says which plan sees which seeded bug of the core.
//!
//! Exit codes: 0 all as it must be; 2 wrong words; 4 a rule broke, a broken twin was not seen, or a count is another one
//! than recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use models::check::{Report, check};
use models::plan::Plan;
use models::plans;
use models::search::Bounds;

const USAGE: &str =
    "usage: models all [--long] [--seconds N] [--states N] | models check NAME [--seconds N] | models list
  --seconds N   each plan stops after so long (default 60); what is recorded must be reached all the same
  --states N    and after so many states (default 6000000, about 5 GB at worst)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((words, is_long, bounds)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let plans = plans::all();
    let wanted: Vec<&Plan> = match words[..] {
        ["list"] => {
            plans.iter().for_each(|plan| println!("{:24} {}", plan.name, plan.why));
            return ExitCode::SUCCESS;
        }
        ["all"] => plans.iter().filter(|plan| is_long || !plan.is_long).collect(),
        #[cfg(mutations)]
        ["mutations", ref ids @ ..] => {
            let held: Vec<&Plan> = plans.iter().filter(|plan| plan.breaks.is_none() && !plan.is_long).collect();
            let seen = models::seeded::hunt(ids, &held, bounds);
            println!("mutations: {seen} seen");
            return if seen > 0 { ExitCode::SUCCESS } else { ExitCode::from(4) };
        }
        ["check", name] => plans.iter().filter(|plan| plan.name == name).collect(),
        _ => Vec::new(),
    };
    if wanted.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    run(&wanted, bounds)
}

fn parse(arguments: &[String]) -> Option<(Vec<&str>, bool, Bounds)> {
    let mut bounds = Bounds { time: Duration::from_secs(60), states: 6_000_000, counts_shapes: false };
    let (mut words, mut is_long) = (Vec::new(), false);
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "--long" => is_long = true,
            "--seconds" => bounds.time = Duration::from_secs(rest.next()?.parse().ok()?),
            "--states" => bounds.states = rest.next()?.parse().ok()?,
            _ => words.push(word),
        }
    }
    Some((words, is_long, bounds))
}

fn run(plans: &[&Plan], bounds: Bounds) -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.txt");
    let mut record = read(&std::fs::read_to_string(&file).unwrap_or_default());
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut is_good, mut total) = (true, 0);
    println!("{:24} {:>10} {:>9} {:>5}  {:24} {:>7}", "model", "states", "unique", "depth", "", "time");
    for plan in plans {
        let report = check(plan, bounds);
        total += report.unique;
        let end = match (&report.broken, report.cut) {
            (Some((rule, path)), _) => format!("{rule} broken in {}", path.len()),
            (None, Some(depth)) => format!("bounded, whole below {depth}"),
            (None, None) => "complete".to_string(),
        };
        let seconds = report.took.as_secs_f32();
        println!(
            "{:24} {:>10} {:>9} {:>5}  {end:34} {seconds:>6.1} s",
            plan.name, report.states, report.unique, report.depth
        );
        is_good &= is_as_wanted(plan, &report);
        // Where a search ends at a finding or a bound, its count says little.
        if plan.breaks.is_some() || report.broken.is_some() {
            continue;
        }
        let known = record.get(plan.name).copied();
        match (report.cut, known) {
            (None, known) if known == Some(report.unique) => {}
            (None, _) if is_update => {
                record.insert(plan.name.to_string(), report.unique);
            }
            (Some(_), None) => {}
            (_, known) => {
                println!("    WRONG: another count than {known:?}, as recorded in expected.txt");
                is_good = false;
            }
        }
    }
    println!("models: {} plans, {total} unique states, {}", plans.len(), if is_good { "ok" } else { "FAILED" });
    if is_update {
        let text: String = record.iter().map(|(name, states)| format!("{name} {states}\n")).collect();
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("could not write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::from(4) }
}

fn is_as_wanted(plan: &Plan, report: &Report) -> bool {
    match &report.broken {
        Some((rule, path)) if plan.breaks.is_none() || std::env::var_os("MODEL_PATHS").is_some() => {
            println!("    {rule}:");
            path.iter().for_each(|step| println!("      {step}"));
        }
        None if plan.breaks.is_some() => println!("    WRONG: the driver is broken ({}), and no rule saw it", plan.why),
        _ => {}
    }
    report.never.iter().for_each(|name| println!("    WRONG: never met: {name}"));
    report.is_expected(plan)
}

fn read(text: &str) -> BTreeMap<String, usize> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, n)| Some((name.into(), n.parse().ok()?)))
        .collect()
}
