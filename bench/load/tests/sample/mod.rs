//! SAMPLE DATA: results of a queue model in virtual time, for tests and for looking at pages. They measure nothing.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;

use base::Prng;
use hdrhistogram::Histogram;
use load::report::json::encode_histogram;
use load::report::merge::of_result;
use load::report::result::*;
use load::stats;

/// What every sample says above its figures.
pub const NOTE: &str = "SAMPLE DATA from a queue model in virtual time: it measures nothing";

const STAGES: [&str; 9] = ["net", "decode", "admit", "log_submit", "log_sync", "quorum", "apply", "reply", "send"];
const OPS: [(&str, f64); 5] = [("put", 0.50), ("delta", 0.20), ("blocklist", 0.20), ("stat", 0.08), ("move", 0.02)];

/// The model: Poisson arrivals to `servers` servers, first come first served.
#[derive(Clone, Debug)]
pub struct Model {
    pub seed: u64,
    pub rate: f64,
    pub seconds: u32,
    pub servers: usize,
    /// Median service time of an operation.
    pub service_us: f64,
    /// Nobody is served from `.0` on for `.1` seconds.
    pub stalls: Vec<(f64, f64)>,
    /// Share of operations that are answered with an error during a stall.
    pub errors_share: f64,
    /// The generator's own lag, median.
    pub lag_us: f64,
    /// Response of all operations only, without intervals: a hundredth of the work.
    pub is_brief: bool,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            seed: 7,
            rate: 2_500.0,
            seconds: 30,
            servers: 3,
            service_us: 520.0,
            stalls: Vec::new(),
            errors_share: 0.0,
            lag_us: 6.0,
            is_brief: false,
        }
    }
}

/// What the model did.
pub struct Run {
    pub latency: Vec<Latency>,
    pub intervals: Vec<Interval>,
    pub interval_histograms: Vec<Histogram<u64>>,
    pub response: Histogram<u64>,
    pub stages: Vec<Stage>,
    pub errors: u64,
    pub inflight: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1_000_000_000_000, 3).expect("valid bounds")
}

fn uniform(prng: &mut Prng) -> f64 {
    ((prng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

fn lognormal(prng: &mut Prng, median: f64, sigma: f64) -> f64 {
    let normal = (-2.0 * uniform(prng).ln()).sqrt() * (std::f64::consts::TAU * uniform(prng)).cos();
    median * (sigma * normal).exp()
}

/// One operation's times, microseconds.
struct Passed {
    op: usize,
    response: f64,
    service: f64,
    lag: f64,
    stages: [f64; STAGES.len()],
}

impl Model {
    /// Runs it.
    pub fn run(&self) -> Run {
        let mut prng = Prng::new(self.seed);
        let mut free = vec![0.0f64; self.servers];
        let mut passed = Vec::new();
        let mut seconds: Vec<(Histogram<u64>, Histogram<u64>, u64, u64)> =
            (0..self.seconds).map(|_| (histogram(), histogram(), 0, 0)).collect();
        let (mut now, end, mut errors) = (0.0, f64::from(self.seconds) * 1e6, 0);
        loop {
            now += -uniform(&mut prng).ln() / self.rate * 1e6;
            if now >= end {
                break;
            }
            seconds[(now / 1e6) as usize].2 += 1;
            let in_stall = self.stalls.iter().any(|(at, long)| (at * 1e6..(at + long) * 1e6).contains(&now));
            if in_stall && uniform(&mut prng) < self.errors_share {
                errors += 1;
                seconds[(now / 1e6) as usize].3 += 1;
                continue;
            }
            let one = self.serve(&mut prng, &mut free, now);
            let second = ((now + one.response) / 1e6) as usize;
            if let Some(second) = seconds.get_mut(second) {
                second.0.saturating_record((one.response * 1e3) as u64);
                second.1.saturating_record((one.lag * 1e3) as u64);
            }
            passed.push(one);
        }
        let inflight =
            (passed.len() as f64 / f64::from(self.seconds) * 1e-6 * passed.iter().map(|one| one.response).sum::<f64>()
                / passed.len() as f64) as u64;
        let interval_histograms: Vec<Histogram<u64>> = seconds.iter().map(|second| second.0.clone()).collect();
        let intervals = seconds.iter().enumerate().map(|(at, second)| interval(at, second, inflight)).collect();
        let latency = latencies(&passed, if self.is_brief { &[] } else { &interval_histograms }, self.is_brief);
        let mut response = histogram();
        passed.iter().for_each(|one| response.saturating_record((one.response * 1e3) as u64));
        Run { latency, intervals, interval_histograms, stages: stages(&passed), response, errors, inflight }
    }

    fn serve(&self, prng: &mut Prng, free: &mut [f64], now: f64) -> Passed {
        let draw = uniform(prng);
        let op = OPS
            .iter()
            .scan(0.0, |sum, op| {
                *sum += op.1;
                Some(*sum)
            })
            .position(|sum| draw < sum)
            .unwrap_or(0);
        let is_write = matches!(OPS[op].0, "put" | "move");
        let lag = lognormal(prng, self.lag_us, 0.5);
        let work = lognormal(prng, self.service_us * if is_write { 1.0 } else { 0.3 }, 0.45);
        let place = (0..free.len()).min_by(|a, b| free[*a].total_cmp(&free[*b])).expect("servers");
        let arrived = now + lag;
        let mut start = arrived.max(free[place]);
        for (at, long) in &self.stalls {
            if (at * 1e6..(at + long) * 1e6).contains(&start) {
                start = (at + long) * 1e6;
            }
        }
        free[place] = start + work;
        let queue = start - arrived;
        let share = |part: f64| part * work;
        let (net, sync) = (90.0, if is_write { 0.52 } else { 0.0 });
        let quorum = if is_write { 0.27 } else { 0.12 };
        let mut stages =
            [net, share(0.01), share(0.02), queue, share(sync), share(quorum), share(0.1), share(0.04), 0.0];
        let last = STAGES.len() - 1;
        stages[last] = net + queue + work - stages.iter().sum::<f64>();
        let service = net + queue + work;
        Passed { op, response: lag + service, service, lag, stages }
    }
}

fn interval(at: usize, second: &(Histogram<u64>, Histogram<u64>, u64, u64), inflight: u64) -> Interval {
    let us = |histogram: &Histogram<u64>, quantile: f64| {
        stats::is_shown(histogram.len(), quantile).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
    };
    let (response, lag, due, errors) = second;
    Interval {
        at_s: at as f64,
        offered: *due as f64,
        achieved: response.len() as f64,
        errors: *errors,
        p50_us: us(response, 0.5),
        p99_us: us(response, 0.99),
        p999_us: us(response, 0.999),
        max_us: (!response.is_empty()).then(|| response.max() as f64 / 1e3),
        inflight,
        lag_p99_us: us(lag, 0.99),
        stages_us: BTreeMap::new(),
    }
}

/// One time of an operation, microseconds.
type Figure = fn(&Passed) -> f64;

fn latencies(passed: &[Passed], seconds: &[Histogram<u64>], is_brief: bool) -> Vec<Latency> {
    let mut all = Vec::new();
    let ops = std::iter::once((ALL_OPS, None)).chain(OPS.iter().enumerate().map(|(place, op)| (op.0, Some(place))));
    for (op, place) in ops.take(if is_brief { 1 } else { usize::MAX }) {
        let mine = || passed.iter().filter(|one| place.is_none_or(|place| place == one.op));
        let clocks: [(Clock, Figure); 4] = [
            (Clock::Response, |one| one.response),
            (Clock::Service, |one| one.service),
            (Clock::PermitWait, |_| 0.0),
            (Clock::SchedLag, |one| one.lag),
        ];
        for (clock, time) in clocks.into_iter().take(if is_brief { 1 } else { 4 }) {
            let mut histogram = histogram();
            mine().for_each(|one| histogram.saturating_record((time(one) * 1e3) as u64));
            let seconds = if clock == Clock::Response && place.is_none() { seconds } else { &[] };
            all.push(latency(op, clock, &histogram, seconds));
        }
    }
    all
}

fn latency(op: &str, clock: Clock, histogram: &Histogram<u64>, seconds: &[Histogram<u64>]) -> Latency {
    let us = |quantile: f64| {
        stats::is_shown(histogram.len(), quantile).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
    };
    let seconds: Vec<&Histogram<u64>> = seconds.iter().collect();
    let ci = |quantile: f64| {
        us(quantile)?;
        let ranks = stats::order_interval(histogram, quantile, 3)?;
        let blocks = stats::percentile_interval(&seconds, quantile, 1);
        let widest = blocks.map_or(ranks, |blocks| blocks.hull(ranks));
        Some([widest.low / 1e3, widest.high / 1e3])
    };
    Latency {
        op: op.to_owned(),
        clock,
        count: histogram.len(),
        mean_us: histogram.mean() / 1e3,
        p50_us: us(0.5),
        p90_us: us(0.9),
        p99_us: us(0.99),
        p999_us: us(0.999),
        p9999_us: us(0.9999),
        max_us: histogram.max() as f64 / 1e3,
        ci95: LatencyCi {
            p50_us: ci(0.5),
            p90_us: ci(0.9),
            p99_us: ci(0.99),
            p999_us: ci(0.999),
            p9999_us: ci(0.9999),
        },
        hdr_base64: encode_histogram(histogram),
    }
}

fn stages(passed: &[Passed]) -> Vec<Stage> {
    let mut order: Vec<&Passed> = passed.iter().collect();
    order.sort_by(|a, b| a.service.total_cmp(&b.service));
    let around = &order[order.len() * 985 / 1000..order.len() * 995 / 1000];
    let stage = |place: usize| {
        let mut histogram = histogram();
        passed.iter().for_each(|one| histogram.saturating_record((one.stages[place] * 1e3) as u64));
        let at_p99 = around.iter().map(|one| one.stages[place]).sum::<f64>() / around.len() as f64;
        Stage {
            op: ALL_OPS.to_owned(),
            node: "all".to_owned(),
            stage: STAGES[place].to_owned(),
            count: histogram.len(),
            p50_us: Some(histogram.value_at_quantile(0.5) as f64 / 1e3),
            p99_us: Some(histogram.value_at_quantile(0.99) as f64 / 1e3),
            at_p99_us: Some(at_p99),
            hdr_base64: String::new(),
        }
    };
    (0..STAGES.len()).map(stage).collect()
}

/// The result of one run of `model`, VALID.
pub fn result(model: &Model) -> BenchResult {
    let run = model.run();
    let seconds = f64::from(model.seconds);
    let answered = run.response.len() as f64;
    let series: Vec<f64> = run.intervals.iter().map(|interval| interval.achieved).collect();
    let mut prng = Prng::new(model.seed ^ 1);
    let mut noise = |centre: f64| (0..model.seconds).map(|_| lognormal(&mut prng, centre, 0.3)).collect::<Vec<f64>>();
    BenchResult {
        note: NOTE.to_owned(),
        tool: Tool {
            version: "0.0.0-sample".to_owned(),
            git: "0000000".to_owned(),
            features: vec!["sample".to_owned()],
        },
        command: format!("dropstone bench run --mix sync --rate {} --duration {}s --seed 7", model.rate, model.seconds),
        time: Time { start_unix_ms: 1_800_000_000_000, duration_s: seconds },
        mix: Mix { name: "sync".to_owned(), version: 1, hash: 0x51_17 },
        seed: 7,
        stream_hash: 0x93ab_40fe,
        result_hash: 0x0bad_cafe,
        load: Load {
            kind: LoopKind::Open,
            arrival: "poisson".to_owned(),
            rate_offered: model.rate,
            rate_achieved: answered / seconds,
            inflight_max: 65_536,
            connections: 6,
            generator_cores: 1,
            generator_busy_max: 0.38,
            ..Load::default()
        },
        target: Target {
            driver: "sim".to_owned(),
            version: "queue model".to_owned(),
            nodes: 3,
            cores: 2,
            groups: 64,
            log_backend: "direct".to_owned(),
            spin_us: 0,
            durability: Durability {
                ack: "quorum".to_owned(),
                sync: "before ack".to_owned(),
                replicas: 3,
                reads: "linearizable".to_owned(),
                flushes_seen: Some(36_210),
            },
        },
        host: Host {
            cpu: "virtual time".to_owned(),
            cores: 4,
            mhz: 3_000.0,
            kernel: "none".to_owned(),
            fs: "none".to_owned(),
            device: "none".to_owned(),
            clocksource: "virtual".to_owned(),
            virt: "model".to_owned(),
            governor: "none".to_owned(),
        },
        host_series: HostSeries { steal: noise(0.001), psi_cpu: noise(0.012), psi_io: noise(0.04), load1: noise(1.4) },
        latency: run.latency,
        throughput: Throughput {
            mean: answered / seconds,
            ci95: stats::mean_interval(&series, 1).map(stats::Interval::span),
            intervals: run.intervals,
        },
        errors: Vec::new(),
        steady: Some(Steady { reached_s: Some(7.0), slope: 0.004 }),
        stages: run.stages,
        cost: cost(),
        checks: Checks { mode: "full".to_owned(), acks: (answered * 0.52) as u64, histories: 64, ..Checks::default() },
        verdict: Verdict { class: VerdictClass::Valid, reasons: Vec::new() },
        ..BenchResult::default()
    }
}

fn cost() -> Cost {
    Cost {
        cpu_us: [("follower".to_owned(), 3.8), ("leader".to_owned(), 6.1)].into(),
        enters: Some(0.062),
        syncs: Some(0.041),
        ops_per_sync: Some(24.4),
        device_bytes: Some(1.31),
        wire_bytes: Some(812.0),
        allocations: Some(0.0),
        rss_bytes: Some(412 << 20),
        context_switches: Some(0.09),
        run_delay_us: Some(1.2),
        ..Cost::default()
    }
}

/// A good run.
pub fn valid() -> BenchResult {
    result(&Model::default())
}

/// A run with faults, errors and a stolen processor: INVALID.
pub fn invalid() -> BenchResult {
    let stalls = vec![(9.0, 1.3), (20.5, 0.4)];
    let model = Model { stalls, errors_share: 0.6, rate: 2_200.0, lag_us: 30.0, ..Model::default() };
    let mut result = result(&model);
    let fault = |at_s, kind: &str, unavailable_ms, recovered_ms| Fault {
        at_s,
        kind: kind.to_owned(),
        unavailable_ms,
        recovered_ms,
    };
    result.faults =
        vec![fault(9.0, "kill-leader", 1_304.0, Some(2_600.0)), fault(20.5, "sync-stall=n3:400ms", 402.0, None)];
    result.errors = vec![
        ErrorCount { kind: "overloaded".to_owned(), count: 2_730 },
        ErrorCount { kind: "timeout".to_owned(), count: 41 },
    ];
    result.host_series.steal.iter_mut().for_each(|steal| *steal *= 60.0);
    result.load.late = 412;
    result.steady = Some(Steady { reached_s: None, slope: 0.031 });
    result.verdict = Verdict {
        class: VerdictClass::Invalid,
        reasons: vec![
            Reason { code: "steal".to_owned(), value: 0.061, limit: 0.02 },
            Reason { code: "errors".to_owned(), value: 0.0042, limit: 0.0001 },
            Reason { code: "not-steady".to_owned(), value: 0.031, limit: 0.02 },
        ],
    };
    result
}

/// A run whose generator was too slow: AT-LEAST, closed loop, unchecked.
pub fn at_least() -> BenchResult {
    let mut result = result(&Model { rate: 3_900.0, seconds: 20, lag_us: 180.0, ..Model::default() });
    result.load.kind = LoopKind::Closed;
    result.load.clients = 64;
    result.load.rate_offered = 0.0;
    result.load.arrival = String::new();
    result.throughput.intervals.iter_mut().for_each(|second| second.offered = 0.0);
    result.load.generator_busy_max = 0.93;
    result.checks = Checks { mode: "off".to_owned(), ..Checks::default() };
    result.verdict = Verdict {
        class: VerdictClass::AtLeast,
        reasons: vec![
            Reason { code: "sched_lag".to_owned(), value: 420.0, limit: 60.0 },
            Reason { code: "generator_busy".to_owned(), value: 0.93, limit: 0.85 },
        ],
    };
    result.latency.iter_mut().for_each(|latency| latency.hdr_base64 = String::new());
    result
}

/// A sweep of ten levels over the model.
pub fn sweep() -> BenchResult {
    let point = |rate: f64| {
        let run = Model { rate, seconds: 4, is_brief: true, ..Model::default() }.run();
        let all = run.latency.into_iter().next().expect("all ops come first");
        let achieved = run.intervals.iter().map(|interval| interval.achieved).sum::<f64>() / 4.0;
        CurvePoint {
            rate_offered: rate,
            rate_achieved: achieved,
            p50_us: all.p50_us,
            p90_us: all.p90_us,
            p99_us: all.p99_us,
            p999_us: all.p999_us,
            max_us: Some(all.max_us),
            errors_share: 0.0,
            met: all.p99_us.is_some_and(|p99| p99 < 5_000.0),
            verdict: VerdictClass::Valid,
        }
    };
    let best = 7_400.0;
    let curve: Vec<CurvePoint> = (1..=11).map(|tenth| point(best * f64::from(tenth) / 10.0)).collect();
    let pairs: Vec<(f64, f64)> = curve.iter().filter_map(|at| Some((at.rate_achieved, at.p99_us?))).collect();
    let knee = stats::knee(&pairs).map(|at| Knee { rate: pairs[at].0, p99_us: pairs[at].1 });
    let mut result = result(&Model { rate: best * 0.9, seconds: 10, ..Model::default() });
    result.command = "dropstone bench sweep --mix sync --slo 'p99<5ms,err<0.01%'".to_owned();
    result.sweep = Some(Sweep {
        slo: "p99<5ms,err<0.01%".to_owned(),
        rate_slo: Some(best * 0.9),
        rate_slo_ci95: Some([best * 0.885, best * 0.912]),
        knee,
        saturated_first: "disk syncs".to_owned(),
        curve,
        searched: [2_250.0, 3_375.0, 5_062.0, 7_593.0, 6_330.0].map(point).to_vec(),
    });
    result
}

/// Five repeats around one model, each with its own seed; `slower` multiplies every service time.
pub fn repeats(slower: f64, seed: u64) -> BenchResult {
    let model = |repeat: u64| Model {
        seed: seed * 100 + repeat,
        service_us: 520.0 * slower,
        seconds: 5,
        is_brief: true,
        ..Model::default()
    };
    let mut whole = result(&Model { is_brief: false, ..model(0) });
    whole.repeats = (0..5).flat_map(|at| of_result(&result(&model(at)))).collect();
    whole
}
