//! What a run is told as: a line a second, a summary for people, one JSON object for machines.

use std::path::Path;

use hdrhistogram::Histogram;
use load::generator::Loop;
use load::op::OpKind;
use load::phases::Second;
use load::recorder::{Clock, KindHistograms};
use load::session::{Plan, RunResult};
use load::sweep::{Level, Probe, Sweep};
use serde_json::{Value, json};

/// Percentiles that are told: name, quantile, and how many operations they need to have ten beyond.
const PERCENTILES: [(&str, f64, u64); 4] =
    [("p50", 0.5, 20), ("p90", 0.9, 100), ("p99", 0.99, 1000), ("p99.9", 0.999, 10_000)];

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// One second.
pub fn print_second(second: &Second) {
    if second.offered == 0 && second.in_flight == 0 && !second.is_measured && second.second > 0 {
        // Only late answers come after the window.
        return;
    }
    if second.second.is_multiple_of(20) {
        eprintln!("   s    offered  achieved      p50      p99    p99.9      max  inflight  lag99    err  (ms)");
    }
    let Second { second: at, offered, achieved, errors, in_flight, .. } = second;
    let mark = if second.is_measured { ' ' } else { 'w' };
    let (p50, p99, p999) = (ms(second.p50_ns), ms(second.p99_ns), ms(second.p999_ns));
    let (max, lag) = (ms(second.max_ns), ms(second.lag99_ns));
    eprintln!(
        "{at:>4}{mark} {offered:>9} {achieved:>9} {p50:>8.2} {p99:>8.2} {p999:>8.2} {max:>8.2} {in_flight:>9} {lag:>6.2} {errors:>6}"
    );
}

/// The whole run, to stdout.
pub fn print(result: &RunResult, plan: &Plan, is_json: bool) {
    if is_json {
        println!("{}", to_json(result, plan));
        return;
    }
    print!("{}", text(result, plan));
}

fn text(result: &RunResult, plan: &Plan) -> String {
    let outcome = &result.outcome;
    let counts = &outcome.total.counts;
    let mix = &plan.stream.mix;
    let load = match plan.pacing {
        Loop::Open { rate, .. } => format!("open {} {rate:.0}/s", plan.stream.arrival.name()),
        Loop::Closed { clients, .. } => format!("closed, {clients} clients (not what independent users see)"),
    };
    let achieved = counts.achieved as f64 / outcome.measured_s.max(1e-9);
    let partial = if outcome.is_interrupted { ", interrupted" } else { "" };
    let mut text = format!(
        "{}/{} {load}  seed {:x}  stream {:016x}  {} namespaces\nachieved  {achieved:.0}/s in {:.1} s{partial}: {} late, {} skipped, {} raced, {} errors\n",
        mix.name,
        mix.version,
        plan.stream.seed,
        outcome.hash.0,
        mix.population.namespaces,
        outcome.measured_s,
        counts.late,
        counts.skipped,
        counts.raced,
        counts.errors_in_all()
    );
    for clock in [Clock::Response, Clock::Service, Clock::SchedLag] {
        text += &format!("{:<9} {}\n", clock.name(), percentiles(&outcome.total.histograms.over_all(clock)));
    }
    for kind in OpKind::ALL {
        if let Some(histograms) = outcome.total.histograms.of(kind) {
            let response = &histograms[Clock::Response as usize];
            text += &format!("  {:<11} {:>9} {}\n", kind.name(), response.len(), percentiles(response));
        }
    }
    for (kind, count) in &counts.errors {
        text += &format!("error     {}: {count}\n", kind.name());
    }
    for (kind, count) in &counts.violations {
        text += &format!("WRONG     {}: {count} answers during the run\n", kind.name());
    }
    text + &checks_text(result) + &verdict_text(result)
}

/// In milliseconds; `-` where fewer than ten operations lie beyond.
fn percentiles(histogram: &Histogram<u64>) -> String {
    let told = PERCENTILES.map(|(name, quantile, least)| match histogram.len() >= least {
        true => format!(" {name} {:.3}", ms(histogram.value_at_quantile(quantile))),
        false => format!(" {name} -"),
    });
    format!("{}  max {:.3} ms", told.concat(), ms(histogram.max()))
}

fn checks_text(result: &RunResult) -> String {
    let Some(checks) = &result.checks else { return "UNCHECKED\n".to_owned() };
    let mut text = format!(
        "checked   {} acks, {} lost, {} doubled, {} in doubt; {} files in {} namespaces\n",
        checks.acks, checks.lost, checks.doubled, checks.in_doubt, checks.files, checks.namespaces
    );
    for violation in checks.violations.iter().take(10) {
        text += &format!(
            "WRONG     {} in namespace {}: {}\n",
            violation.kind.name(),
            violation.namespace,
            violation.detail
        );
    }
    text
}

fn verdict_text(result: &RunResult) -> String {
    let lag = result.outcome.total.histograms.over_all(Clock::SchedLag).value_at_quantile(0.99) / 1000;
    let percent = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.1} %"));
    let mut text = format!(
        "{:<9} generator {:.0} % busy, lag p99 {lag} us, steal {}, PSI cpu {}\n",
        result.verdict.class.name(),
        result.outcome.busy_max * 100.0,
        percent(result.host.steal_percent),
        percent(result.host.psi_cpu_percent)
    );
    for reason in &result.verdict.reasons {
        text += &format!("  {}: {reason}\n", reason.class.name());
    }
    text
}

/// One level of a sweep.
pub fn print_level(level: &Level, holds: bool, probe: Probe) {
    let Level { rate, achieved, errors, .. } = level;
    let (p50, p99) = (ms(level.p50_ns), ms(level.p99_ns));
    let kept = if holds { "kept" } else { "broken" };
    eprintln!(
        "{probe:?} {rate:>9.0}/s  achieved {achieved:>9.0}  p50 {p50:>8.2}  p99 {p99:>8.2} ms  errors {:.3} %  {kept}",
        errors * 100.0
    );
}

/// What a sweep found.
pub fn print_sweep(found: &Sweep, is_json: bool) {
    if is_json {
        let level = |level: &Level| {
            json!({ "rate": level.rate, "achieved": level.achieved, "p50_us": level.p50_ns / 1000,
                    "p99_us": level.p99_ns / 1000, "p999_us": level.p999_ns / 1000, "errors": level.errors })
        };
        let curve: Vec<Value> = found.curve.iter().map(level).collect();
        println!(
            "{}",
            json!({ "rate_slo": found.rate_slo, "broken_at": found.broken_at, "knee": found.knee, "curve": curve })
        );
        return;
    }
    match (found.rate_slo, found.broken_at) {
        (Some(rate), Some(broken)) => println!("rate_slo  {rate:.0}/s kept, {broken:.0}/s broken"),
        (Some(rate), None) => println!("rate_slo  {rate:.0}/s kept; no rate broke it"),
        (None, _) => println!("rate_slo  none: the promise was broken at every rate"),
    }
    for Level { rate, p50_ns, p99_ns, p999_ns, .. } in &found.curve {
        println!("  {rate:>9.0}/s  p50 {:>8.3}  p99 {:>8.3}  p99.9 {:>8.3} ms", ms(*p50_ns), ms(*p99_ns), ms(*p999_ns));
    }
    if let Some(knee) = found.knee {
        println!("knee      {knee:.0}/s");
    }
}

/// Leaves `result.json` and `series.csv`, whole or not at all.
pub fn write(result: &RunResult, plan: &Plan, dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let put = |name: &str, text: String| {
        let temporary = dir.join(format!("{name}.tmp"));
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, dir.join(name))
    };
    let mut series =
        "second,measured,offered,achieved,errors,p50_us,p99_us,p999_us,max_us,lag99_us,in_flight,busy\n".to_owned();
    for at in &result.outcome.seconds {
        series += &format!(
            "{},{},{},{},{},{},{},{},{},{},{},{:.3}\n",
            at.second,
            at.is_measured,
            at.offered,
            at.achieved,
            at.errors,
            at.p50_ns / 1000,
            at.p99_ns / 1000,
            at.p999_ns / 1000,
            at.max_ns / 1000,
            at.lag99_ns / 1000,
            at.in_flight,
            at.busy
        );
    }
    put("series.csv", series)?;
    put("result.json", format!("{:#}\n", to_json(result, plan)))
}

/// The schema `dropstone.bench.result/1`, as far as its fields are known here.
fn to_json(result: &RunResult, plan: &Plan) -> Value {
    let outcome = &result.outcome;
    let counts = &outcome.total.counts;
    let (pacing, arrival, offered, clients) = match plan.pacing {
        Loop::Open { rate, .. } => ("open", plan.stream.arrival.name(), rate, 0),
        Loop::Closed { clients, .. } => ("closed", "", 0.0, clients),
    };
    let achieved = counts.achieved as f64 / outcome.measured_s.max(1e-9);
    let reasons = result.verdict.reasons.iter();
    let reasons: Vec<Value> = reasons
        .map(|reason| {
            let (code, value, limit) = in_schema(reason.code, reason.value, reason.limit);
            json!({ "code": code, "value": value, "limit": limit, "words": reason.to_string() })
        })
        .collect();
    let errors: Vec<Value> =
        counts.errors.iter().map(|(kind, count)| json!({ "kind": kind.name(), "count": count })).collect();
    let mix = &plan.stream.mix;
    json!({
        "schema": "dropstone.bench.result/1",
        "tool": { "version": env!("CARGO_PKG_VERSION") },
        "partial": outcome.is_interrupted,
        "time": { "duration_s": outcome.measured_s },
        "mix": { "name": mix.name, "version": mix.version, "hash": hex(mix.hash),
                 "namespaces": mix.population.namespaces },
        "seed": hex(plan.stream.seed),
        "stream_hash": hex(outcome.hash.0),
        "load": { "loop": pacing, "arrival": arrival, "rate_offered": offered, "rate_achieved": achieved,
                  "inflight_max": plan.in_flight_max, "late": counts.late, "skipped": counts.skipped,
                  "raced": counts.raced, "connections": plan.lanes, "clients": clients,
                  "generator_cores": plan.cores, "generator_busy_max": outcome.busy_max },
        "target": { "driver": "native", "groups": plan.groups },
        "latency": latency(result),
        "throughput": { "mean": achieved, "intervals": intervals(result) },
        "errors": errors,
        "checks": checks(result),
        "verdict": { "class": result.verdict.class.name(), "reasons": reasons },
    })
}

/// Code and units of a cause as the schema has them: shares where the verdict speaks of percent (docs/design/bench.md).
fn in_schema(code: &str, value: f64, limit: f64) -> (&str, f64, f64) {
    match code {
        "steal" | "psi_cpu" => (code, value / 100.0, limit / 100.0),
        "littles_law" => (code, (value / limit - 1.0).abs(), load::verdict::LITTLE_PART_MAX),
        "too_few" => ("too_few_operations", value, limit),
        "not_achieved" => ("achieved", value, limit),
        "tick" => ("scheduler_tick", value, limit),
        other => (other, value, limit),
    }
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn intervals(result: &RunResult) -> Vec<Value> {
    let us = |ns: u64| ns as f64 / 1e3;
    let measured = result.outcome.seconds.iter().filter(|second| second.is_measured);
    measured
        .zip(0..)
        .map(|(second, at)| {
            json!({ "at_s": f64::from(at), "offered": second.offered as f64, "achieved": second.achieved as f64,
                    "errors": second.errors, "p50_us": us(second.p50_ns), "p99_us": us(second.p99_ns),
                    "p999_us": us(second.p999_ns), "max_us": us(second.max_ns), "inflight": second.in_flight,
                    "lag_p99_us": us(second.lag99_ns) })
        })
        .collect()
}

/// Percentiles with fewer than ten operations beyond them are absent.
fn latency(result: &RunResult) -> Vec<Value> {
    let histograms = &result.outcome.total.histograms;
    let row = |op: &str, clock: Clock, set: &KindHistograms| {
        let histogram = &set[clock as usize];
        let [p50, p90, p99, p999] = PERCENTILES.map(|(_, quantile, least)| {
            (histogram.len() >= least).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
        });
        json!({ "op": op, "clock": clock.name(), "count": histogram.len(), "mean_us": histogram.mean() / 1e3,
                "p50_us": p50, "p90_us": p90, "p99_us": p99, "p999_us": p999,
                "max_us": histogram.max() as f64 / 1e3 })
    };
    let all: KindHistograms = Clock::ALL.map(|clock| histograms.over_all(clock));
    let kinds = OpKind::ALL.into_iter().filter_map(|kind| Some((kind.name(), histograms.of(kind)?)));
    let sets = std::iter::once(("all", &all)).chain(kinds);
    sets.flat_map(|(op, set)| Clock::ALL.map(|clock| row(op, clock, set))).collect()
}

fn checks(result: &RunResult) -> Value {
    let during = result.outcome.total.counts.violations.iter();
    let mut violations: Vec<String> =
        during.map(|(kind, count)| format!("{}: {count} answers during the run", kind.name())).collect();
    let Some(checks) = &result.checks else { return json!({ "mode": "off", "violations": violations }) };
    violations.extend(checks.violations.iter().map(|violation| {
        format!("{} in namespace {}: {}", violation.kind.name(), violation.namespace, violation.detail)
    }));
    json!({ "mode": "full", "acks": checks.acks, "lost": checks.lost, "doubled": checks.doubled,
            "in_doubt": checks.in_doubt, "files": checks.files, "violations": violations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_the_codes_and_units_of_the_schema() {
        assert_eq!(in_schema("psi_cpu", 87.5, 10.0), ("psi_cpu", 0.875, 0.1));
        assert_eq!(in_schema("littles_law", 12.0, 10.0).0, "littles_law");
        assert!((in_schema("littles_law", 12.0, 10.0).1 - 0.2).abs() < 1e-9);
        let words = |code: &str| {
            let (code, value, limit) = in_schema(code, 0.5, 0.25);
            load::report::words::reason(&load::report::result::Reason { code: code.to_owned(), value, limit })
        };
        for code in load::verdict::CODES {
            let said = words(code);
            assert!(!said.starts_with(in_schema(code, 0.0, 0.0).0), "{code} has no words: {said}");
        }
        assert_eq!(words("never_heard_of"), "never_heard_of 0.50 (limit 0.25)");
    }
}
