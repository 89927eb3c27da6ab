//! `bench sweep` and `bench curve`: level after level, to a result with a curve.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use base::Span;
use load::faults::FaultPlan;
use load::generator::Late;
use load::recorder::Clock;
use load::report::result::{BenchResult, CurvePoint, Knee, Sweep};
use load::report::{face, files};
use load::stats::is_shown;
use load::sweep::{Level, Probe, Search, Slo, Sweep as Found, sweep_with};

use super::place::{Place, PlaceArgs};
use super::plan::LoadArgs;
use super::runs::{self, Finished, Request};
use super::summary;
use super::tell::View;
use crate::cluster::Target;

/// What is to be searched.
pub struct Wanted<'a> {
    /// The load of every level.
    pub load: &'a LoadArgs,
    /// Where the cluster comes from.
    pub place: &'a PlaceArgs,
    /// What is promised.
    pub slo: &'a Slo,
    /// The first rate.
    pub from: f64,
    /// How long one level is measured, and the best once more.
    pub level: Span,
    /// How long the best is measured.
    pub confirm: Span,
    /// How long a level warms up.
    pub warmup: Span,
    /// How thoroughly.
    pub search: Search,
    /// Where the files go.
    pub out: &'a Path,
}

enum Ended {
    Interrupted,
    Wrong,
    Failed(anyhow::Error),
}

/// The levels so far.
#[derive(Default)]
struct Levels {
    searched: Vec<CurvePoint>,
    curve: Vec<CurvePoint>,
    /// The last run that confirmed the promise.
    confirmed: Option<Finished>,
    /// The last one of all, where none confirmed it.
    last: Option<Finished>,
}

/// Searches, writes the files, prints where they are.
pub fn run(wanted: &Wanted<'_>, target: &Target, view: View, stop: &AtomicBool) -> Result<ExitCode> {
    let place = wanted.place.open(target)?;
    if let Some(own) = &place.own {
        eprintln!("{} nodes on this machine, data in {} until the end", own.ids().count(), own.dir().display());
    }
    let begun = Instant::now();
    let mut levels = Levels::default();
    let mut number = 0;
    let measure = |rate: f64, probe: Probe| {
        number += 1;
        let one = one_level(wanted, &place, (rate, number), probe, view, stop)?;
        let level = level_of(rate, &one);
        let holds = wanted.slo.holds(&level);
        summary::print_level(&level, holds, probe, begun.elapsed().as_secs_f64());
        let point = point(&level, &one, holds);
        match probe {
            Probe::Curve => levels.curve.push(point),
            Probe::Search | Probe::Confirm => levels.searched.push(point),
        }
        match probe {
            Probe::Confirm if holds => levels.confirmed = Some(one),
            Probe::Search | Probe::Confirm => levels.last = Some(one),
            Probe::Curve => {}
        }
        Ok(level)
    };
    let found = match sweep_with(wanted.search, wanted.slo, wanted.from, 1, measure) {
        Ok(found) => found,
        Err(Ended::Interrupted) => return Ok(ExitCode::from(130)),
        Err(Ended::Wrong) => return Ok(ExitCode::from(4)),
        Err(Ended::Failed(error)) => return Err(error),
    };
    let Some(one) = levels.confirmed.take().or(levels.last.take()) else { return Ok(ExitCode::from(1)) };
    let result = result(wanted.slo, one.result.clone(), &found, levels);
    write(&one, &result, wanted.out)?;
    runs::show(&result, target.json, Some(wanted.out));
    Ok(ExitCode::from(u8::from(found.rate_slo.is_none())))
}

fn write(one: &Finished, result: &BenchResult, out: &Path) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(out)?;
        one.write_log(&out.join(files::INTERVAL_LOG))?;
        files::write(out, result)
    };
    write().with_context(|| format!("could not write to {}", out.display()))
}

/// The run at the best rate, with what the search found around it.
fn result(slo: &Slo, best: BenchResult, found: &Found, mut levels: Levels) -> BenchResult {
    levels.curve.sort_by(|a, b| a.rate_offered.total_cmp(&b.rate_offered));
    let at_knee = |rate: f64| levels.curve.iter().find(|point| point.rate_offered == rate);
    let knee = found.knee.and_then(|rate| Some(Knee { rate, p99_us: at_knee(rate)?.p99_us? }));
    let busiest = best.load.generator_busy_max;
    let sweep = Sweep {
        slo: slo.to_string(),
        rate_slo: found.rate_slo,
        // What was kept, and the lowest that was not.
        rate_slo_ci95: found.rate_slo.zip(found.broken_at).filter(|(kept, broken)| kept < broken).map(<[f64; 2]>::from),
        knee,
        saturated_first: if busiest > 0.85 { "generator".to_owned() } else { String::new() },
        curve: levels.curve,
        searched: levels.searched,
    };
    BenchResult { sweep: Some(sweep), ..best }
}

/// Each level gets fresh namespaces, so that what an earlier level left behind is no part of it.
fn one_level(
    wanted: &Wanted<'_>,
    place: &Place,
    (rate, number): (f64, u32),
    probe: Probe,
    view: View,
    stop: &AtomicBool,
) -> Result<Finished, Ended> {
    let duration = if probe == Probe::Confirm { wanted.confirm } else { wanted.level };
    let plan = |target: &Target| wanted.load.plan(target, Late::Send, Some(rate), None, duration);
    let request = Request {
        plan: &plan,
        duration,
        place: wanted.place,
        repeat: 1,
        faults: FaultPlan::default(),
        view,
        record: None,
        out: None,
    };
    let mut plan = plan(&place.target).map_err(Ended::Failed)?;
    plan.run = format!("{}-{number}", plan.run);
    plan.phases.waits_for_steady = false;
    plan.phases.warmup_min = wanted.warmup;
    let one = runs::one(&request, place, plan, stop).map_err(Ended::Failed)?.ok_or(Ended::Interrupted)?;
    match face::exit_code(&one.result) {
        4 => {
            runs::show(&one.result, false, None);
            Err(Ended::Wrong)
        }
        130 => Err(Ended::Interrupted),
        _ => Ok(one),
    }
}

fn level_of(rate: f64, one: &Finished) -> Level {
    let outcome = &one.run.outcome;
    let response = outcome.total.histograms.over_all(Clock::Response);
    let counts = &outcome.total.counts;
    Level {
        rate,
        achieved: counts.achieved as f64 / outcome.measured_s.max(1e-9),
        p50_ns: response.value_at_quantile(0.5),
        p90_ns: response.value_at_quantile(0.9),
        p99_ns: response.value_at_quantile(0.99),
        p999_ns: response.value_at_quantile(0.999),
        max_ns: response.max(),
        errors: counts.errors_in_all() as f64 / counts.offered.max(1) as f64,
        is_drained: outcome.unsent + outcome.unanswered == 0,
    }
}

fn point(level: &Level, one: &Finished, holds: bool) -> CurvePoint {
    let count = one.result.headline().map_or(0, |all| all.count);
    let shown = |ns: u64, quantile: f64| is_shown(count, quantile).then_some(ns as f64 / 1e3);
    CurvePoint {
        rate_offered: level.rate,
        rate_achieved: level.achieved,
        p50_us: shown(level.p50_ns, 0.5),
        p90_us: shown(level.p90_ns, 0.9),
        p99_us: shown(level.p99_ns, 0.99),
        p999_us: shown(level.p999_ns, 0.999),
        max_us: (count > 0).then_some(level.max_ns as f64 / 1e3),
        errors_share: level.errors,
        met: holds,
        verdict: one.result.verdict.class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_has_its_curve_in_order_and_the_knee_on_it() {
        let point = |rate: f64, p99: f64| CurvePoint { rate_offered: rate, p99_us: Some(p99), ..CurvePoint::default() };
        let levels = Levels {
            curve: vec![point(300.0, 900.0), point(100.0, 500.0), point(200.0, 510.0)],
            searched: vec![point(500.0, 1.0)],
            ..Levels::default()
        };
        let found = Found { rate_slo: Some(300.0), broken_at: Some(310.0), knee: Some(200.0), ..Found::default() };
        let slo = "p99<5ms,err<0.01%".parse().expect("a promise");
        let sweep = result(&slo, BenchResult::default(), &found, levels).sweep.expect("a sweep");
        let rates: Vec<f64> = sweep.curve.iter().map(|point| point.rate_offered).collect();
        assert_eq!((rates, sweep.searched.len()), (vec![100.0, 200.0, 300.0], 1));
        assert_eq!(sweep.knee.map(|knee| (knee.rate, knee.p99_us)), Some((200.0, 510.0)));
        assert_eq!((sweep.rate_slo_ci95, &*sweep.slo), (Some([300.0, 310.0]), "p99<5ms,err<0.01%"));
    }
}
