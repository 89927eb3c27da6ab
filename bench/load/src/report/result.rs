//! What a benchmark run found: the schema `dropstone.bench.result/1`.
//!
//! Fields are only ever added within a major version: a reader fills what is missing with defaults and passes over what
//! it does not know. Times are microseconds unless the name says otherwise; shares lie between 0 and 1.
//! Source: docs/design/bench.md has every field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name and major version of the schema.
pub const SCHEMA: &str = "dropstone.bench.result/1";

/// The op of a [`Latency`] or [`Stage`] that holds all kinds added up.
pub const ALL_OPS: &str = "all";

/// A 95 % confidence interval: low, high.
pub type Span = [f64; 2];

/// Everything that one run, sweep or set of repeats found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// What measured.
    pub tool: Tool,
    /// The exact command line, for repeating it.
    pub command: String,
    /// A line that stands above every view, as `sample data`; empty for none.
    pub note: String,
    /// True when the run was interrupted: everything is complete up to then.
    pub partial: bool,
    /// When, and how long.
    pub time: Time,
    /// What was sent.
    pub mix: Mix,
    /// Seed of all draws; 16 hex digits in JSON, as are the two hashes.
    #[serde(with = "hex64")]
    pub seed: u64,
    /// Hash of the resolved operations.
    #[serde(with = "hex64")]
    pub stream_hash: u64,
    /// Hash of the checked answers.
    #[serde(with = "hex64")]
    pub result_hash: u64,
    /// How load was made.
    pub load: Load,
    /// Who was asked.
    pub target: Target,
    /// The machine that measured.
    pub host: Host,
    /// That machine, once a second; beside `throughput.intervals`.
    pub host_series: HostSeries,
    /// Latencies per op kind and clock; op [`ALL_OPS`] first.
    pub latency: Vec<Latency>,
    /// Rates, in total and per interval.
    pub throughput: Throughput,
    /// Answers that were errors.
    pub errors: Vec<ErrorCount>,
    /// How the run became steady; absent when that was not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
    /// Where the time went, in time order per op and node.
    pub stages: Vec<Stage>,
    /// What an operation cost.
    pub cost: Cost,
    /// What was checked of the answers.
    pub checks: Checks,
    /// Faults that were made, in order.
    pub faults: Vec<Fault>,
    /// What the numbers are worth.
    pub verdict: Verdict,
    /// One entry per repeat; empty for a single run. The rest of the result is then of all repeats together.
    pub repeats: Vec<Repeat>,
    /// A search for the highest rate within an SLO; absent for a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
}

impl Default for BenchResult {
    fn default() -> Self {
        BenchResult {
            schema: SCHEMA.to_owned(),
            tool: Tool::default(),
            command: String::new(),
            note: String::new(),
            partial: false,
            time: Time::default(),
            mix: Mix::default(),
            seed: 0,
            stream_hash: 0,
            result_hash: 0,
            load: Load::default(),
            target: Target::default(),
            host: Host::default(),
            host_series: HostSeries::default(),
            latency: Vec::new(),
            throughput: Throughput::default(),
            errors: Vec::new(),
            steady: None,
            stages: Vec::new(),
            cost: Cost::default(),
            checks: Checks::default(),
            faults: Vec::new(),
            verdict: Verdict::default(),
            repeats: Vec::new(),
            sweep: None,
        }
    }
}

impl BenchResult {
    /// The latencies of one op and clock.
    #[must_use]
    pub fn latency_of(&self, op: &str, clock: Clock) -> Option<&Latency> {
        self.latency.iter().find(|latency| latency.op == op && latency.clock == clock)
    }

    /// The headline: `response` of all operations.
    #[must_use]
    pub fn headline(&self) -> Option<&Latency> {
        self.latency_of(ALL_OPS, Clock::Response)
    }

    /// Operations that were answered, well or with an error.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.headline().map_or(0, |latency| latency.count).saturating_add(self.errors_count())
    }

    /// Answers that were errors.
    #[must_use]
    pub fn errors_count(&self) -> u64 {
        self.errors.iter().fold(0, |sum, error| sum.saturating_add(error.count))
    }

    /// Errors over all answers, 0 to 1; 0 when there was none.
    #[must_use]
    pub fn errors_share(&self) -> f64 {
        match self.operations() {
            0 => 0.0,
            all => self.errors_count() as f64 / all as f64,
        }
    }

    /// True when an answer was wrong: it outranks every number.
    #[must_use]
    pub fn has_wrong_answers(&self) -> bool {
        self.checks.lost > 0 || self.checks.doubled > 0 || !self.checks.violations.is_empty()
    }
}

/// What measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tool {
    /// Version of the binary.
    pub version: String,
    /// Its commit, `-dirty` at the end where files were changed.
    pub git: String,
    /// Features it was built with.
    pub features: Vec<String>,
}

/// When, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Time {
    /// Begin of the measured window, Unix milliseconds.
    pub start_unix_ms: u64,
    /// Length of the measured window.
    pub duration_s: f64,
}

/// What was sent: results compare only when all three are equal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mix {
    /// Name of the mix.
    pub name: String,
    /// Raised whenever a number of the mix changes.
    pub version: u32,
    /// Hash of its parsed form, 16 hex digits.
    #[serde(with = "hex64")]
    pub hash: u64,
}

/// Which loop made the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopKind {
    /// Arrivals do not wait for answers; latency counts from the intended send time.
    #[default]
    Open,
    /// The next operation leaves on the answer of the last.
    Closed,
}

/// How load was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Open or closed.
    #[serde(rename = "loop")]
    pub kind: LoopKind,
    /// The arrival process, as given; empty for a closed loop.
    pub arrival: String,
    /// Operations per second that were due; 0 for a closed loop.
    pub rate_offered: f64,
    /// Operations per second that were answered.
    pub rate_achieved: f64,
    /// Bound on operations in flight.
    pub inflight_max: u64,
    /// Operations that left after they were due because no permit was free.
    pub late: u64,
    /// Operations that were dropped because they were too late.
    pub skipped: u64,
    /// Noes that an overlapping operation explains.
    pub raced: u64,
    /// Namespaces that were filled and loaded: those of the mix, as `--scale` left them.
    pub namespaces: u32,
    /// Connections to the target.
    pub connections: u32,
    /// Clients of a closed loop; 0 for an open one.
    pub clients: u64,
    /// Threads that made load.
    pub generator_cores: u32,
    /// The busiest generator core in its busiest interval, 0 to 1.
    pub generator_busy_max: f64,
}

/// Who was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Name of the driver.
    pub driver: String,
    /// Version of the target.
    pub version: String,
    /// Nodes of the target.
    pub nodes: u32,
    /// Cores (shards) per node.
    pub cores: u32,
    /// Raft groups.
    pub groups: u32,
    /// How the target's log is written.
    pub log_backend: String,
    /// How long a core of the target spins before it sleeps; 0 for not.
    pub spin_us: u64,
    /// What an acknowledgement means.
    pub durability: Durability,
}

/// What an acknowledgement of the target means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Durability {
    /// When a write is answered, as `quorum`.
    pub ack: String,
    /// When it is on a disk, as `before ack`.
    pub sync: String,
    /// Copies of each write.
    pub replicas: u32,
    /// What a read may see, as `linearizable`.
    pub reads: String,
    /// Flushes of the device in the window; absent when nobody counted.
    pub flushes_seen: Option<u64>,
}

/// The machine that measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Model of the processor.
    pub cpu: String,
    /// Logical processors.
    pub cores: u32,
    /// Their clock.
    pub mhz: f64,
    /// Kernel and its version.
    pub kernel: String,
    /// File system under test.
    pub fs: String,
    /// Its device.
    pub device: String,
    /// The kernel's clock source.
    pub clocksource: String,
    /// Kind of virtual machine, or `none`.
    pub virt: String,
    /// Governor of the processor's clock.
    pub governor: String,
}

/// The machine once a second; each list is empty or as long as `throughput.intervals`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSeries {
    /// Processor time that the hypervisor took, 0 to 1.
    pub steal: Vec<f64>,
    /// Pressure stall `some` of the processor, 0 to 1.
    pub psi_cpu: Vec<f64>,
    /// Pressure stall `some` of input and output, 0 to 1.
    pub psi_io: Vec<f64>,
    /// Load average over one minute.
    pub load1: Vec<f64>,
}

/// Which part of an operation's life: `response = permit_wait + sched_lag + service`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// From the intended send time to the reply.
    #[default]
    Response,
    /// From the send to the reply.
    Service,
    /// From the intended send time to the permit: the target's fault.
    PermitWait,
    /// From the permit to the send: the generator's own fault.
    SchedLag,
}

impl Clock {
    /// Its name in JSON and in tags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Clock::Response => "response",
            Clock::Service => "service",
            Clock::PermitWait => "permit_wait",
            Clock::SchedLag => "sched_lag",
        }
    }
}

/// Latencies of one op kind on one clock. A percentile is absent with fewer than 10 samples beyond it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// The op kind, or [`ALL_OPS`].
    pub op: String,
    /// The clock.
    pub clock: Clock,
    /// Operations measured; errors are not among them.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 90th percentile.
    pub p90_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// 99.9th percentile.
    pub p999_us: Option<f64>,
    /// 99.99th percentile.
    pub p9999_us: Option<f64>,
    /// The slowest.
    pub max_us: f64,
    /// Intervals of the percentiles.
    pub ci95: LatencyCi,
    /// The histogram in nanoseconds: HdrHistogram V2, deflated, base64. Empty when it was not kept.
    pub hdr_base64: String,
}

/// 95 % intervals of the percentiles of a [`Latency`]; absent where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatencyCi {
    /// Of the median.
    pub p50_us: Option<Span>,
    /// Of the 90th percentile.
    pub p90_us: Option<Span>,
    /// Of the 99th percentile.
    pub p99_us: Option<Span>,
    /// Of the 99.9th percentile.
    pub p999_us: Option<Span>,
    /// Of the 99.99th percentile.
    pub p9999_us: Option<Span>,
}

/// Rates, in total and per interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throughput {
    /// Answered operations per second over the window.
    pub mean: f64,
    /// Interval of the mean; absent with too few intervals.
    pub ci95: Option<Span>,
    /// One entry per interval, in order, without gaps.
    pub intervals: Vec<Interval>,
}

/// One interval of the window, one second long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interval {
    /// Its begin, seconds since the begin of the window.
    pub at_s: f64,
    /// Operations due per second.
    pub offered: f64,
    /// Operations answered per second.
    pub achieved: f64,
    /// Errors answered.
    pub errors: u64,
    /// Response of what was answered in it: median.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// 99.9th percentile.
    pub p999_us: Option<f64>,
    /// The slowest.
    pub max_us: Option<f64>,
    /// Operations in flight at its end.
    pub inflight: u64,
    /// The generator's own lag, 99th percentile.
    pub lag_p99_us: Option<f64>,
    /// Mean time of an operation in each stage of the target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages_us: BTreeMap<String, f64>,
}

/// Answers that were errors of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorCount {
    /// Its name, as `overloaded`.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// How the run became steady.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steady {
    /// Seconds of warm-up until then; absent when it never did.
    pub reached_s: Option<f64>,
    /// Slope of the throughput times the sliding window, over the mean.
    pub slope: f64,
}

/// Time in one stage of one op class. The `at_p99_us` of one op and node add up to the p99 of its total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// The op class, or [`ALL_OPS`].
    pub op: String,
    /// The node, as `n1`; `all` for all of them, `client` for the generator's own.
    pub node: String,
    /// The stage, as `log_sync`; `net` and `unattributed` are the client's.
    pub stage: String,
    /// Operations that went through it.
    pub count: u64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// Mean over the operations whose total lies around the 99th percentile.
    pub at_p99_us: Option<f64>,
    /// As in [`Latency`].
    pub hdr_base64: String,
}

/// What one operation cost; a figure is absent where nobody counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Processor time per operation and role: `leader`, `follower`, `cache`, `gateway`.
    pub cpu_us: BTreeMap<String, f64>,
    /// Calls of `io_uring_enter` per operation.
    pub enters: Option<f64>,
    /// System calls per operation.
    pub syscalls: Option<f64>,
    /// Syncs of the log per operation.
    pub syncs: Option<f64>,
    /// Operations per sync.
    pub ops_per_sync: Option<f64>,
    /// Bytes written to devices per byte of the user.
    pub device_bytes: Option<f64>,
    /// Bytes on the wire per operation.
    pub wire_bytes: Option<f64>,
    /// Heap allocations per operation.
    pub allocations: Option<f64>,
    /// Bytes allocated per operation.
    pub allocated_bytes: Option<f64>,
    /// Resident memory of the target, all nodes, at the end.
    pub rss_bytes: Option<u64>,
    /// Context switches per operation.
    pub context_switches: Option<f64>,
    /// Time that threads waited for a processor, per operation.
    pub run_delay_us: Option<f64>,
    /// Bytes that the nodes made the kernel write to devices, per operation.
    pub written_bytes: Option<f64>,
}

/// What was checked of the answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// `full`, `sample=1/16` or `off`; empty reads as off.
    pub mode: String,
    /// Acknowledged writes that were looked up.
    pub acks: u64,
    /// Of them gone.
    pub lost: u64,
    /// Of them there twice.
    pub doubled: u64,
    /// Writes whose outcome nobody heard, which were settled by what is there.
    pub in_doubt: u64,
    /// Files that were compared.
    pub files: u64,
    /// Histories that were found linearizable.
    pub histories: u64,
    /// Each wrong answer in words.
    pub violations: Vec<String>,
}

/// A fault that was made during the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// When, seconds since the begin of the window.
    pub at_s: f64,
    /// What, as `kill-leader`.
    pub kind: String,
    /// Longest gap without a good answer while operations were due.
    pub unavailable_ms: f64,
    /// Until p99 was back for five seconds; absent when it did not come back.
    pub recovered_ms: Option<f64>,
}

/// What the numbers are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VerdictClass {
    /// The numbers describe the target.
    #[serde(rename = "VALID")]
    Valid,
    /// The target may be better: rates are lower bounds, latencies upper bounds.
    #[serde(rename = "AT-LEAST")]
    AtLeast,
    /// The numbers describe nothing.
    #[default]
    #[serde(rename = "INVALID")]
    Invalid,
}

impl VerdictClass {
    /// Its name in JSON and in every view.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            VerdictClass::Valid => "VALID",
            VerdictClass::AtLeast => "AT-LEAST",
            VerdictClass::Invalid => "INVALID",
        }
    }
}

/// What the numbers are worth, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The class. A result without one is INVALID.
    pub class: VerdictClass,
    /// Its causes; empty for VALID.
    pub reasons: Vec<Reason>,
}

/// One cause of a verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// Which rule, as `sched_lag`; `words::reason` has them all.
    pub code: String,
    /// What was seen, in the rule's unit.
    pub value: f64,
    /// What would have been allowed.
    pub limit: f64,
}

/// The figures of one repeat, for intervals between runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeat {
    /// Begin of its window, Unix milliseconds.
    pub start_unix_ms: u64,
    /// Operations answered per second.
    pub rate_achieved: f64,
    /// Response of all operations: median.
    pub p50_us: Option<f64>,
    /// 90th percentile.
    pub p90_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// 99.9th percentile.
    pub p999_us: Option<f64>,
    /// 99.99th percentile.
    pub p9999_us: Option<f64>,
    /// The slowest.
    pub max_us: f64,
    /// Errors over answers, 0 to 1.
    pub errors_share: f64,
    /// What an operation cost.
    pub cost: Cost,
    /// What this repeat alone is worth.
    pub verdict: Verdict,
}

/// A search for the highest rate within an SLO.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sweep {
    /// The SLO as given, as `p99<5ms,err<0.01%`.
    pub slo: String,
    /// The highest confirmed rate; absent when no rate met the SLO.
    pub rate_slo: Option<f64>,
    /// Its interval.
    pub rate_slo_ci95: Option<Span>,
    /// Where latency begins to climb; absent when the curve has none.
    pub knee: Option<Knee>,
    /// What was full first: `server core`, `disk syncs`, `network`, `generator`; empty when unknown.
    pub saturated_first: String,
    /// Latency against rate, ascending by offered rate.
    pub curve: Vec<CurvePoint>,
    /// The levels of the search, in the order they ran.
    pub searched: Vec<CurvePoint>,
}

/// The point of a curve farthest from its chord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Knee {
    /// Operations per second.
    pub rate: f64,
    /// Response p99 there.
    pub p99_us: f64,
}

/// One level of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurvePoint {
    /// Operations due per second.
    pub rate_offered: f64,
    /// Operations answered per second.
    pub rate_achieved: f64,
    /// Response: median.
    pub p50_us: Option<f64>,
    /// 90th percentile.
    pub p90_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// 99.9th percentile.
    pub p999_us: Option<f64>,
    /// The slowest.
    pub max_us: Option<f64>,
    /// Errors over answers, 0 to 1.
    pub errors_share: f64,
    /// True when it met the SLO.
    pub met: bool,
    /// What the level is worth.
    pub verdict: VerdictClass,
}

/// 64 bits as 16 hex digits: a JSON number would lose some of them in readers that know doubles only.
mod hex64 {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|_| serde::de::Error::custom("expected up to 16 hex digits"))
    }
}
