//! What a run left becomes a result with every field that a run can know.

mod common;

use std::collections::BTreeMap;

use common::{Ran, World};
use load::arrivals::Arrival;
use load::driver::Breakdown;
use load::host::HostSecond;
use load::observe::{Observed, Usage};
use load::op::OpKind;
use load::recorder::{Times, new_histogram};
use load::report::result::{BenchResult, Clock, Target};
use load::report::{fill, json, table};
use load::run::Sample;
use load::session::{Plan, RunResult};
use load::verdict::HostFacts;
use load::{Mono, Span};

/// 20 s at 500 operations a second, over servers that take 2 ms.
fn ran() -> Ran {
    let mut world = World::new("sync", Arrival::Poisson, 500.0, 20.0);
    world.sim.service = Span::from_ms(2);
    world.run()
}

fn plan(ran: &Ran) -> Plan {
    Plan {
        stream: ran.world.stream.clone(),
        pacing: ran.world.pacing,
        in_flight_max: 65_536,
        phases: ran.world.phases,
        settle: Span(0),
        cores: 1,
        cpus: Vec::new(),
        lanes: 1,
        only_core: None,
        targets: vec!["127.0.0.1:7100".to_owned()],
        groups: 8,
        deadline: Span::from_ms(10_000),
        spin: Span(0),
        verifies: true,
        errors_max: 0.0001,
        is_shared: true,
        records: false,
        run: "1".to_owned(),
    }
}

/// An operation of `us` microseconds, of which 10 were the generator's, 300 the way, 5 nobody's and the rest the disk's.
fn sample(us: u64) -> Sample {
    let at = |us: u64| Mono(us * 1_000);
    let times = Times { intended: at(0), permit: at(0), sent: at(10), replied: at(us) };
    let stages = vec![("decode", Span(1_000)), ("log_sync", Span((us - 316) * 1_000))];
    Sample { kind: OpKind::Put, times, breakdown: Breakdown { class: "put", node: 1, net: Span(300_000), stages } }
}

fn observed(seconds: usize) -> Observed {
    let mut sync = new_histogram();
    (1..=4_000u64).for_each(|at| sync.record(at * 1_000).expect("recorded"));
    let stages = BTreeMap::from([(("put".to_owned(), "log_sync".to_owned()), sync)]);
    Observed {
        host: vec![HostSecond { steal: 0.01, psi_cpu: 0.5, psi_io: 0.2, load1: 3.0 }; seconds],
        stages_us: vec![BTreeMap::from([("log_sync".to_owned(), 700.0)]); seconds],
        stages: BTreeMap::from([(1, stages.clone()), (2, stages)]),
        usage: Usage {
            cpu_us: BTreeMap::from([("leader".to_owned(), 50_000.0)]),
            syncs: Some(2_500),
            wire_bytes: Some(8_000_000),
            flushes: Some(2_500),
            ..Usage::default()
        },
        window_unix_ms: 1_800_000_000_000,
        place: None,
    }
}

fn filled() -> (BenchResult, RunResult, Plan) {
    let mut ran = ran();
    ran.outcome.samples = (0..1_000).map(|at| sample(1_000 + at)).collect();
    let plan = plan(&ran);
    let verdict = ran.verdict();
    let observed = observed(ran.outcome.seconds.len());
    let Ran { outcome, checks, kept, .. } = ran;
    let run = RunResult {
        outcome,
        checks: Some(checks),
        verdict,
        host: HostFacts::default(),
        kept,
        observed,
        faults: Vec::new(),
    };
    let about = fill::About { target: Target { nodes: 3, ..Target::default() }, ..fill::About::default() };
    (fill::result(&run, &plan, &about), run, plan)
}

#[test]
fn percentiles_have_intervals_and_histograms_that_give_them_again() {
    let (result, run, _) = filled();
    let headline = result.headline().expect("a headline");
    assert_eq!(headline.count, run.outcome.total.histograms.count());
    for (figure, interval) in [(headline.p50_us, headline.ci95.p50_us), (headline.p99_us, headline.ci95.p99_us)] {
        let (figure, [low, high]) = (figure.expect("enough samples"), interval.expect("enough seconds"));
        assert!(low <= figure && figure <= high && high < figure * 2.0, "{low} {figure} {high}");
    }
    assert_eq!(headline.p9999_us, None, "10,000 operations have one beyond p99.99");
    let histogram = json::decode_histogram(&headline.hdr_base64).expect("a histogram");
    assert_eq!(headline.p99_us, Some(histogram.value_at_quantile(0.99) as f64 / 1e3));
    let put = result.latency_of("put", Clock::Response).expect("puts");
    assert!(put.ci95.p50_us.is_some() && put.count < headline.count);
    let [low, high] = result.throughput.ci95.expect("enough seconds");
    assert!(low < result.load.rate_achieved && result.load.rate_achieved < high);
}

#[test]
fn stages_near_p99_add_up_to_a_response_and_stand_in_time_order() {
    let (result, ..) = filled();
    let shown = |stage: &&load::report::result::Stage| stage.op == "all" && ["all", "client"].contains(&&*stage.node);
    let rows: Vec<_> = result.stages.iter().filter(shown).collect();
    let names: Vec<&str> = rows.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["permit_wait", "sched_lag", "net", "decode", "log_sync", "unattributed"]);
    let sum: f64 = rows.iter().filter_map(|stage| stage.at_p99_us).sum();
    // Samples are 1000 to 1999 us: those from 1985 to 1994 are near p99.
    assert!((1_985.0..1_995.0).contains(&sum), "{sum}");
    let unattributed = rows.last().expect("rows").at_p99_us.expect("known");
    assert!((unattributed - 5.0).abs() < 1e-6, "{unattributed}");
    // Two nodes with the same counts are twice as many.
    let sync = rows[4];
    let p50 = sync.p50_us.expect("enough samples");
    assert!(sync.count == 8_000 && (1_998.0..2_002.0).contains(&p50), "{sync:?}");
    let of = |op: &str, node: &str| result.stages.iter().find(|stage| stage.op == op && stage.node == node);
    assert_eq!((of("put", "all").map(|s| s.count), of("all", "n2").map(|s| s.count)), (Some(8_000), Some(4_000)));
    let text = table::summary(&result, &table::Style::PLAIN);
    let line = text.lines().find(|line| line.starts_with("stages@p99")).expect("the line of the headline");
    assert!(line.contains("log_sync 1.67 ms") && line.ends_with("= 1.99 ms"), "{line}");
}

#[test]
fn seconds_costs_and_checks_are_those_of_the_window() {
    let (result, run, plan) = filled();
    let seconds = result.throughput.intervals.len();
    assert_eq!((seconds, result.host_series.steal.len()), (20, 20));
    assert_eq!(result.throughput.intervals[3].stages_us["log_sync"], 700.0);
    let achieved = run.outcome.total.counts.achieved as f64;
    assert_eq!(result.cost.syncs, Some(2_500.0 / achieved));
    assert_eq!(result.cost.cpu_us["leader"], 50_000.0 / achieved);
    assert_eq!(result.target.durability.flushes_seen, Some(2_500));
    assert!(result.checks.mode == "full" && result.checks.acks > 1_000 && !result.has_wrong_answers());
    assert_eq!((result.load.rate_offered, result.time.start_unix_ms), (500.0, 1_800_000_000_000));
    assert!(result.host.cores > 0 && result.steady.is_none());
    let mut log = Vec::new();
    fill::interval_log(&run, &plan, &mut log).expect("written to memory");
    let log = String::from_utf8(log).expect("text");
    let puts = log.lines().filter(|line| line.starts_with("Tag=put:response,")).count();
    assert!((18..=20).contains(&puts), "a line for each second with a put: {puts}");
}
