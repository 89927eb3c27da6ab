//! The schema is pinned: names, order and forms of every field, as a file that must still load.
//!
//! `UPDATE_EXPECT=1 cargo test -p dropstone-load --test golden` writes it anew; read the change in review. Within
//! version 1 a line may be added and none may change.

use std::path::PathBuf;

use load::report::json;
use load::report::result::*;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/result.json")
}

/// Every field has a value of its own, so that none can be mistaken for another.
fn full() -> BenchResult {
    let text = str::to_owned;
    BenchResult {
        tool: Tool { version: text("0.1.0"), git: text("a1b2c3d"), features: vec![text("profile")] },
        command: text("dropstone bench run --mix sync --rate 100"),
        note: text("not measured: every figure is made up"),
        time: Time { start_unix_ms: 1_800_000_000_000, duration_s: 30.0 },
        mix: Mix { name: text("sync"), version: 1, hash: 0x0102_0304_0506_0708 },
        seed: 0x7d1c,
        stream_hash: 0xfedc_ba98_7654_3210,
        result_hash: 0x1234,
        load: load(),
        target: target(),
        host: host(),
        host_series: HostSeries { steal: vec![0.001], psi_cpu: vec![0.012], psi_io: vec![0.05], load1: vec![1.5] },
        latency: vec![latency()],
        throughput: throughput(),
        errors: vec![ErrorCount { kind: text("overloaded"), count: 2 }],
        steady: Some(Steady { reached_s: Some(7.5), slope: 0.004 }),
        stages: vec![Stage {
            op: text("all"),
            node: text("n1"),
            stage: text("log_sync"),
            count: 3_001,
            p50_us: Some(301.0),
            p99_us: Some(902.0),
            at_p99_us: Some(853.0),
            hdr_base64: text("HISTF"),
        }],
        cost: cost(),
        checks: Checks {
            mode: text("full"),
            acks: 1_501,
            lost: 1,
            doubled: 2,
            in_doubt: 3,
            files: 70,
            histories: 64,
            violations: vec![text("I11")],
        },
        faults: vec![Fault {
            at_s: 9.5,
            kind: text("kill-leader"),
            unavailable_ms: 310.0,
            recovered_ms: Some(1_900.0),
        }],
        verdict: verdict(),
        repeats: vec![Repeat {
            start_unix_ms: 1_800_000_100_000,
            rate_achieved: 99.5,
            p50_us: Some(601.0),
            p90_us: Some(901.0),
            p99_us: Some(1_801.0),
            p999_us: None,
            p9999_us: None,
            max_us: 7_001.0,
            errors_share: 0.0005,
            cost: Cost::default(),
            verdict: Verdict { class: VerdictClass::AtLeast, reasons: Vec::new() },
        }],
        sweep: Some(sweep()),
        ..BenchResult::default()
    }
}

fn load() -> Load {
    Load {
        kind: LoopKind::Open,
        arrival: "poisson".to_owned(),
        rate_offered: 100.0,
        rate_achieved: 99.9,
        inflight_max: 65_536,
        late: 4,
        skipped: 5,
        raced: 6,
        namespaces: 60,
        connections: 6,
        clients: 0,
        generator_cores: 1,
        generator_busy_max: 0.38,
    }
}

fn target() -> Target {
    Target {
        driver: "native".to_owned(),
        version: "0.1.0 (a1b2c3d)".to_owned(),
        nodes: 3,
        cores: 2,
        groups: 64,
        log_backend: "direct".to_owned(),
        spin_us: 20,
        durability: Durability {
            ack: "quorum".to_owned(),
            sync: "before ack".to_owned(),
            replicas: 3,
            reads: "linearizable".to_owned(),
            flushes_seen: Some(36_210),
        },
    }
}

fn host() -> Host {
    Host {
        cpu: "a processor".to_owned(),
        cores: 8,
        mhz: 3_000.0,
        kernel: "6.18".to_owned(),
        fs: "ext4".to_owned(),
        device: "nvme".to_owned(),
        clocksource: "tsc".to_owned(),
        virt: "none".to_owned(),
        governor: "performance".to_owned(),
    }
}

fn latency() -> Latency {
    Latency {
        op: "all".to_owned(),
        clock: Clock::PermitWait,
        count: 3_000,
        mean_us: 650.5,
        p50_us: Some(600.0),
        p90_us: Some(900.0),
        p99_us: Some(1_800.0),
        p999_us: Some(2_900.0),
        p9999_us: None,
        max_us: 7_000.0,
        ci95: LatencyCi { p50_us: Some([590.0, 610.0]), p99_us: Some([1_700.0, 1_950.0]), ..LatencyCi::default() },
        hdr_base64: String::new(),
    }
}

fn throughput() -> Throughput {
    let mut second = Interval {
        at_s: 0.0,
        offered: 100.0,
        achieved: 99.0,
        errors: 1,
        p50_us: Some(605.0),
        p99_us: Some(1_805.0),
        p999_us: None,
        max_us: Some(7_005.0),
        inflight: 14,
        lag_p99_us: Some(20.5),
        ..Interval::default()
    };
    second.stages_us.insert("log_sync".to_owned(), 300.5);
    Throughput { mean: 99.9, ci95: Some([99.0, 100.5]), intervals: vec![second, Interval::default()] }
}

fn cost() -> Cost {
    Cost {
        cpu_us: [("follower".to_owned(), 3.8), ("leader".to_owned(), 6.1)].into(),
        enters: Some(0.062),
        syscalls: Some(0.07),
        syncs: Some(0.041),
        ops_per_sync: Some(24.4),
        device_bytes: Some(1.31),
        wire_bytes: Some(812.0),
        allocations: Some(0.0),
        allocated_bytes: Some(0.5),
        rss_bytes: Some(432_013_312),
        context_switches: Some(0.09),
        run_delay_us: Some(1.2),
        written_bytes: Some(1_700.0),
    }
}

fn verdict() -> Verdict {
    let reason = Reason { code: "sched_lag".to_owned(), value: 61.0, limit: 60.0 };
    Verdict { class: VerdictClass::AtLeast, reasons: vec![reason] }
}

fn sweep() -> Sweep {
    let level = |rate| CurvePoint {
        rate_offered: rate,
        rate_achieved: rate - 1.0,
        p50_us: Some(601.0),
        p90_us: Some(901.0),
        p99_us: Some(1_801.0),
        p999_us: None,
        max_us: Some(7_001.0),
        errors_share: 0.0,
        met: true,
        verdict: VerdictClass::Valid,
    };
    Sweep {
        slo: "p99<5ms,err<0.01%".to_owned(),
        rate_slo: Some(900.0),
        rate_slo_ci95: Some([880.0, 915.0]),
        knee: Some(Knee { rate: 800.0, p99_us: 2_500.0 }),
        saturated_first: "disk syncs".to_owned(),
        curve: vec![level(500.0)],
        searched: vec![level(1_000.0)],
    }
}

#[test]
fn the_schema_is_that_of_the_golden_file() {
    let text = json::to_string(&full());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(golden().parent().expect("a folder")).expect("made");
        std::fs::write(golden(), &text).expect("written");
    }
    let pinned = std::fs::read_to_string(golden()).expect("the golden file is there");
    assert_eq!(text, pinned, "the schema changed; UPDATE_EXPECT=1 writes it anew");
}

#[test]
fn the_golden_file_loads_with_every_field() {
    assert_eq!(json::read(&golden()).expect("it loads"), full());
}

#[test]
fn a_later_minor_version_loads() {
    let text = std::fs::read_to_string(golden()).expect("the golden file is there");
    let later = text.replacen("{", "{\n  \"something_new\": { \"a\": [1, 2] },", 1);
    assert_eq!(json::from_slice(later.as_bytes()).expect("it loads"), full());
}
