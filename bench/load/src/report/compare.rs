//! Two results side by side: the ratio of each figure with its interval, and gates on them.

mod gate;
mod metric;

pub use gate::{Gate, GateError, parse_gates};
pub use metric::Metric;

use super::result::{BenchResult, LoopKind, Repeat, VerdictClass};
use super::words;
use crate::stats::{self, Interval};

/// Repeats on each side from which the interval is taken between runs.
const REPEATS_MIN: usize = 3;

/// The bootstrap's seed: one comparison gives one answer.
const SEED: u64 = 0x0063_6f6d_7061_7265;

/// Offered rates that differ by less count as equal.
const RATE_SLACK: f64 = 0.001;

/// One side: a result, or several that count as its repeats.
#[derive(Clone, Debug)]
pub struct Side {
    /// How it is called, as its path.
    pub name: String,
    /// The results; not empty.
    pub results: Vec<BenchResult>,
    /// Their repeats, and the results themselves where they have none.
    repeats: Vec<Repeat>,
}

impl Side {
    /// A side of one or more results. `None` for none.
    #[must_use]
    pub fn new(name: &str, results: Vec<BenchResult>) -> Option<Side> {
        if results.is_empty() {
            return None;
        }
        let repeats = results.iter().flat_map(super::merge::of_result).collect();
        Some(Side { name: name.to_owned(), results, repeats })
    }

    /// The first result, which stands for what all have in common.
    #[must_use]
    pub fn first(&self) -> &BenchResult {
        &self.results[0]
    }

    /// Runs behind the figures.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.repeats.len()
    }

    /// The weakest verdict of all.
    #[must_use]
    pub fn class(&self) -> VerdictClass {
        let whole = self.results.iter().map(|result| result.verdict.class);
        let each = self.repeats.iter().map(|repeat| repeat.verdict.class);
        whole.chain(each).max().unwrap_or_default()
    }

    fn figures(&self, metric: Metric) -> Vec<f64> {
        self.repeats.iter().filter_map(|repeat| metric.of_repeat(repeat)).collect()
    }
}

/// Where a row's interval comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Between the repeats of both sides.
    Repeats,
    /// From the interval of each run: what differs from run to run is not in it.
    WithinRun,
    /// A count of one run, without any interval.
    Point,
}

/// What a gate, or all of them, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The whole interval lies inside.
    Pass,
    /// The interval straddles the limit, or there is none.
    Undecided,
    /// The whole interval lies outside.
    Fail,
}

impl Decision {
    /// Its name in every view.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Pass => "PASS",
            Decision::Undecided => "UNDECIDED",
            Decision::Fail => "FAIL",
        }
    }
}

/// One figure of both sides.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub metric: Metric,
    /// The median of the base's repeats.
    pub base: f64,
    /// The median of the new side's repeats.
    pub new: f64,
    /// New over base; infinite from 0 up, 1 when both are 0.
    pub ratio: f64,
    /// Its 95 % interval; absent where a run has none.
    pub interval: Option<Interval>,
    /// Where that comes from.
    pub basis: Basis,
    /// The gate on it, and what it came to.
    pub gate: Option<(Gate, Decision)>,
}

/// Two sides compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The older side.
    pub base: Side,
    /// The newer side.
    pub new: Side,
    /// Figures that both have, headline first.
    pub rows: Vec<Row>,
    /// Gates on figures that one side lacks: each is undecided.
    pub absent: Vec<Gate>,
    /// What differs although it should not: stamped on every page.
    pub unlike: Vec<String>,
    /// What a reader must know beside the figures.
    pub notes: Vec<String>,
    /// What all gates came to; `None` without gates.
    pub decision: Option<Decision>,
}

impl Comparison {
    /// Compares every figure that both sides have, and judges `gates`.
    #[must_use]
    pub fn new(base: Side, new: Side, gates: &[Gate]) -> Comparison {
        let weakest = base.class().max(new.class());
        let mut rows: Vec<Row> = Metric::ALL.iter().filter_map(|metric| row(&base, &new, *metric)).collect();
        for gate in gates {
            if let Some(row) = rows.iter_mut().find(|row| row.metric == gate.metric) {
                row.gate = Some((*gate, judge(*gate, row, weakest)));
            }
        }
        let is_absent = |gate: &&Gate| !rows.iter().any(|row| row.metric == gate.metric);
        let absent: Vec<Gate> = gates.iter().filter(is_absent).copied().collect();
        let decision = decide(&rows, &absent, gates.is_empty());
        let unlike = unlike(base.first(), new.first());
        let notes = notes(&base, &new, &rows, weakest);
        Comparison { base, new, rows, absent, unlike, notes, decision }
    }

    /// As BENCH A11: 0 passed or no gate, 1 failed, 2 undecided, 3 a side is INVALID, 4 a side has wrong answers.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let mut results = self.base.results.iter().chain(&self.new.results);
        if results.any(BenchResult::has_wrong_answers) {
            return 4;
        }
        if self.base.class().max(self.new.class()) == VerdictClass::Invalid {
            return 3;
        }
        match self.decision {
            None | Some(Decision::Pass) => 0,
            Some(Decision::Fail) => 1,
            Some(Decision::Undecided) => 2,
        }
    }
}

fn row(base: &Side, new: &Side, metric: Metric) -> Option<Row> {
    let (base_figures, new_figures) = (base.figures(metric), new.figures(metric));
    let has_repeats = base_figures.len() >= REPEATS_MIN && new_figures.len() >= REPEATS_MIN;
    let (base_median, new_median) = match (stats::median(&base_figures), stats::median(&new_figures)) {
        (Some(base), Some(new)) => (base, new),
        // Of whole results only, as the rate of a sweep.
        _ => (metric.of_result(base.first())?, metric.of_result(new.first())?),
    };
    let (interval, basis) = if has_repeats {
        (stats::of_medians(&base_figures, &new_figures, SEED).map(|found| found.1), Basis::Repeats)
    } else {
        within_run(base, new, metric, (base_median, new_median))
    };
    // Two zeroes are equal beyond doubt; one alone has no interval that a logarithm could give.
    let both_zero = base_median == 0.0 && new_median == 0.0;
    let ratio = if both_zero { 1.0 } else { new_median / base_median };
    let interval = if both_zero || base_median == 0.0 { Some(Interval::new(ratio, ratio)) } else { interval };
    Some(Row { metric, base: base_median, new: new_median, ratio, interval, basis, gate: None })
}

fn within_run(base: &Side, new: &Side, metric: Metric, medians: (f64, f64)) -> (Option<Interval>, Basis) {
    if metric.is_count() {
        let ratio = medians.1 / medians.0;
        return (ratio.is_finite().then(|| Interval::new(ratio, ratio)), Basis::Point);
    }
    let (base_ci, new_ci) = (metric.interval(base.first()), metric.interval(new.first()));
    let interval = base_ci
        .zip(new_ci)
        .and_then(|(base_ci, new_ci)| Some(stats::within_runs(medians.0, base_ci, medians.1, new_ci)?.1));
    (interval, Basis::WithinRun)
}

/// A bound that is only a bound decides nothing (BENCH A11: AT-LEAST is undecided); figures of an INVALID run less.
fn judge(gate: Gate, row: &Row, weakest: VerdictClass) -> Decision {
    match row.interval {
        Some(interval) if weakest == VerdictClass::Valid => gate.judge(interval),
        _ => Decision::Undecided,
    }
}

fn decide(rows: &[Row], absent: &[Gate], has_no_gates: bool) -> Option<Decision> {
    if has_no_gates {
        return None;
    }
    let mut all: Vec<Decision> = rows.iter().filter_map(|row| row.gate.map(|gate| gate.1)).collect();
    all.extend(absent.iter().map(|_| Decision::Undecided));
    let has = |decision| all.contains(&decision);
    Some(match (has(Decision::Fail), has(Decision::Undecided)) {
        (true, _) => Decision::Fail,
        (false, true) => Decision::Undecided,
        (false, false) => Decision::Pass,
    })
}

/// What makes two results incomparable (BENCH A9): other work, another way to load, or another promise.
fn unlike(base: &BenchResult, new: &BenchResult) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, base: String, new: String| {
        if base != new {
            found.push(format!("{what}: {base} and {new}"));
        }
    };
    let mix = |result: &BenchResult| format!("{}/{} {:016x}", result.mix.name, result.mix.version, result.mix.hash);
    differ("mix", mix(base), mix(new));
    differ("seed", format!("{:x}", base.seed), format!("{:x}", new.seed));
    let offered = (base.load.rate_offered, new.load.rate_offered);
    let is_same_rate = (offered.0 - offered.1).abs() <= RATE_SLACK * offered.0.max(offered.1);
    let has_rate = |result: &BenchResult| result.sweep.is_none() && result.load.kind == LoopKind::Open;
    if base.load.kind != new.load.kind || base.load.arrival != new.load.arrival || base.load.clients != new.load.clients
    {
        differ("load", words::load(base), words::load(new));
    } else if has_rate(base) && has_rate(new) && !is_same_rate {
        differ("offered rate", format!("{}/s", offered.0), format!("{}/s", offered.1));
    }
    let promise = |result: &BenchResult| {
        let durability = &result.target.durability;
        format!("{}, {}, {} replicas, {}", durability.ack, durability.sync, durability.replicas, durability.reads)
    };
    differ("durability", promise(base), promise(new));
    found
}

fn notes(base: &Side, new: &Side, rows: &[Row], weakest: VerdictClass) -> Vec<String> {
    let mut notes = Vec::new();
    for side in [base, new] {
        let class = side.class();
        if class != VerdictClass::Valid {
            notes.push(format!("{} is {}: no gate can pass or fail on it", side.name, class.name()));
        }
        if side.first().load.kind == LoopKind::Closed {
            notes.push(format!("{}: {}", side.name, words::CLOSED_LOOP));
        }
        if !side.first().note.is_empty() {
            notes.push(format!("{}: {}", side.name, side.first().note));
        }
    }
    if rows.iter().any(|row| row.basis != Basis::Repeats) && weakest != VerdictClass::Invalid {
        notes.push(format!(
            "{} and {} runs: below {REPEATS_MIN} on a side, intervals are those within the runs, and what differs from \
             run to run is not in them; use --repeat 5",
            base.runs(),
            new.runs()
        ));
    }
    if base.first().host != new.first().host {
        notes.push("the machines differ: see the environment of each".to_owned());
    }
    if base.first().stream_hash != new.first().stream_hash
        && base.first().time.duration_s == new.first().time.duration_s
    {
        notes.push("the streams of operations differ (stream_hash): the windows did not hold the same work".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::result::{Checks, Cost, Latency, LatencyCi, Load, Throughput, Verdict};

    /// A valid run of one p99 whose interval is ±2 %.
    fn run(p99: f64, rate: f64) -> BenchResult {
        BenchResult {
            load: Load { rate_offered: 1_000.0, rate_achieved: rate, ..Load::default() },
            latency: vec![Latency {
                op: "all".to_owned(),
                count: 30_000,
                p99_us: Some(p99),
                ci95: LatencyCi { p99_us: Some([p99 * 0.98, p99 * 1.02]), ..LatencyCi::default() },
                ..Latency::default()
            }],
            throughput: Throughput { mean: rate, ci95: Some([rate * 0.99, rate * 1.01]), ..Throughput::default() },
            verdict: Verdict { class: VerdictClass::Valid, reasons: Vec::new() },
            ..BenchResult::default()
        }
    }

    fn compare(base: BenchResult, new: BenchResult, gates: &str) -> Comparison {
        let gates = parse_gates(gates).expect("gates");
        let side = |name, result| Side::new(name, vec![result]).expect("a side");
        Comparison::new(side("base", base), side("new", new), &gates)
    }

    #[test]
    fn gates_pass_fail_and_straddle() {
        for (p99, code) in [(1_000.0, 0), (1_200.0, 1), (1_050.0, 2), (800.0, 0)] {
            assert_eq!(compare(run(1_000.0, 1_000.0), run(p99, 1_000.0), "p99:+5%").exit_code(), code, "{p99}");
        }
        for (rate, code) in [(1_000.0, 0), (900.0, 1), (970.0, 2), (1_100.0, 0)] {
            assert_eq!(compare(run(1_000.0, 1_000.0), run(1_000.0, rate), "rate:-3%").exit_code(), code, "{rate}");
        }
        // One failure outranks what is open.
        assert_eq!(compare(run(1_000.0, 1_000.0), run(1_050.0, 900.0), "p99:+5%,rate:-3%").exit_code(), 1);
    }

    #[test]
    fn without_gates_a_comparison_is_shown_and_exits_with_zero() {
        let comparison = compare(run(1_000.0, 1_000.0), run(5_000.0, 1_000.0), "");
        assert_eq!((comparison.decision, comparison.exit_code()), (None, 0));
        assert!(comparison.notes.iter().any(|note| note.contains("--repeat 5")));
    }

    #[test]
    fn a_side_that_is_not_valid_decides_nothing() {
        let mut weak = run(5_000.0, 1_000.0);
        weak.verdict.class = VerdictClass::AtLeast;
        assert_eq!(compare(run(1_000.0, 1_000.0), weak.clone(), "p99:+5%").exit_code(), 2);
        weak.verdict.class = VerdictClass::Invalid;
        assert_eq!(compare(run(1_000.0, 1_000.0), weak.clone(), "p99:+5%").exit_code(), 3);
        weak.checks = Checks { lost: 1, ..Checks::default() };
        assert_eq!(compare(weak, run(1_000.0, 1_000.0), "").exit_code(), 4);
    }

    #[test]
    fn a_gate_on_a_figure_that_is_missing_is_undecided() {
        let comparison = compare(run(1_000.0, 1_000.0), run(1_000.0, 1_000.0), "syncs:+15%");
        assert_eq!((comparison.absent.len(), comparison.exit_code()), (1, 2));
    }

    #[test]
    fn costs_are_compared_as_they_are_and_zero_stays_zero() {
        let with = |allocations, wire_bytes| BenchResult {
            cost: Cost { allocations: Some(allocations), wire_bytes: Some(wire_bytes), ..Cost::default() },
            ..run(1_000.0, 1_000.0)
        };
        assert_eq!(compare(with(0.0, 800.0), with(0.0, 810.0), "allocs:+0%,wire:+2%").exit_code(), 0);
        assert_eq!(compare(with(0.0, 800.0), with(0.5, 800.0), "allocs:+0%").exit_code(), 1);
        assert_eq!(compare(with(0.0, 800.0), with(0.0, 820.0), "wire:+2%").exit_code(), 1);
    }

    #[test]
    fn repeats_give_the_interval_between_runs() {
        let repeated = |figures: [f64; 5]| {
            let repeat = |p99: f64| Repeat {
                p99_us: Some(p99),
                rate_achieved: 1_000.0,
                verdict: Verdict { class: VerdictClass::Valid, reasons: Vec::new() },
                ..Repeat::default()
            };
            BenchResult { repeats: figures.map(repeat).to_vec(), ..run(figures[2], 1_000.0) }
        };
        let comparison = compare(
            repeated([980.0, 990.0, 1_000.0, 1_010.0, 1_020.0]),
            repeated([1_180.0, 1_190.0, 1_200.0, 1_210.0, 1_220.0]),
            "p99:+5%",
        );
        let row = comparison.rows.iter().find(|row| row.metric == Metric::P99).expect("p99");
        assert_eq!(row.basis, Basis::Repeats);
        assert!((row.ratio - 1.2).abs() < 1e-9 && row.interval.expect("an interval").low > 1.1, "{row:?}");
        assert_eq!(comparison.exit_code(), 1);
    }

    #[test]
    fn several_files_of_a_side_are_its_repeats() {
        let side = |name, p99s: [f64; 3]| Side::new(name, p99s.map(|p99| run(p99, 1_000.0)).to_vec()).expect("a side");
        let gates = parse_gates("p99:+50%").expect("a gate");
        let comparison =
            Comparison::new(side("a", [1_000.0, 1_005.0, 1_010.0]), side("b", [1_001.0, 1_004.0, 1_012.0]), &gates);
        assert_eq!((comparison.base.runs(), comparison.exit_code()), (3, 0));
        assert!(Side::new("empty", Vec::new()).is_none());
    }

    #[test]
    fn what_is_not_alike_is_named() {
        let mut other = run(1_000.0, 1_000.0);
        other.mix.name = "spotify".to_owned();
        other.load.rate_offered = 2_000.0;
        other.target.durability.ack = "memory".to_owned();
        let comparison = compare(run(1_000.0, 1_000.0), other, "");
        assert_eq!(comparison.unlike.len(), 3, "{:?}", comparison.unlike);
        assert!(compare(run(1.0, 1.0), run(2.0, 2.0), "").unlike.is_empty());
    }
}
