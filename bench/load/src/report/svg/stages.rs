//! Where the time of an operation around the 99th percentile went: stage after stage, as a cascade.

use super::{Plot, WIDTH};
use crate::report::result::Stage;
use crate::report::words;

const ROW: f64 = 26.0;
const TOP: f64 = 30.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 600.0;

/// Right edges of the columns of figures.
const COLUMNS: [(f64, &str); 4] = [(690.0, "at p99"), (760.0, "share"), (855.0, "own p50"), (950.0, "own p99")];

/// The cascade of `stages`, which are in time order; `None` when none has a time.
#[must_use]
pub fn stages(stages: &[&Stage]) -> Option<String> {
    let timed: Vec<(&Stage, f64)> = stages.iter().filter_map(|stage| Some((*stage, stage.at_p99_us?))).collect();
    let total: f64 = timed.iter().map(|one| one.1.max(0.0)).sum();
    if total <= 0.0 {
        return None;
    }
    let height = TOP + (timed.len() + 1) as f64 * ROW + 10.0;
    let mut plot = Plot::new(height);
    for (x, name) in COLUMNS {
        plot.text("axis end", (x, TOP - 12.0), name);
    }
    plot.text("axis start", (LEFT, TOP - 12.0), "time of an operation around p99, from left to right");
    let mut passed = 0.0;
    for (at, (stage, us)) in timed.iter().enumerate() {
        let y = TOP + at as f64 * ROW;
        if at % 2 == 0 {
            plot.rect("stripe", (0.0, y), (WIDTH, ROW));
        }
        let x = |us: f64| LEFT + us / total * (RIGHT - LEFT);
        plot.text("label end", (LEFT - 12.0, y + 17.0), &stage.stage);
        let class = format!("bar {}", class(&stage.stage));
        plot.rect(&class, (x(passed), y + 5.0), ((x(passed + us) - x(passed)).max(1.0), ROW - 10.0));
        figures(&mut plot, y, [Some(*us), None, stage.p50_us, stage.p99_us], us / total);
        passed += us;
    }
    let y = TOP + timed.len() as f64 * ROW;
    plot.line("base", (0.0, y), (WIDTH, y));
    plot.text("label end strong", (LEFT - 12.0, y + 18.0), "total");
    plot.text("tick end strong", (COLUMNS[0].0, y + 18.0), &words::time(total));
    let most = timed.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let description = format!(
        "{} of {} are spent in {}, the longest of {} stages",
        words::time(most.1),
        words::time(total),
        most.0.stage,
        timed.len()
    );
    Some(plot.finish("stages", "Where the time went", &description))
}

fn figures(plot: &mut Plot, y: f64, times: [Option<f64>; 4], share: f64) {
    for ((x, name), time) in COLUMNS.iter().zip(times) {
        let said = if *name == "share" { words::percent(share) } else { words::time_or_dash(time) };
        plot.text("tick end", (*x, y + 17.0), &said);
    }
}

/// Stages of one kind share a colour: network, waiting, disk, agreement, work.
fn class(stage: &str) -> &'static str {
    match stage {
        "net" | "send" | "recv" => "s6",
        "lag" | "sched_lag" | "permit_wait" | "admit" | "log_submit" | "hub_queue" | "apply_wait" => "s2",
        "log_write" | "log_sync" => "s1",
        "quorum" | "lease" => "s4",
        "unattributed" => "serr",
        _ => "s3",
    }
}
