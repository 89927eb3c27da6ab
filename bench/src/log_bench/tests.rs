//! The benchmark in small: it runs, counts right, and what was acknowledged is there.

use clap::Parser as _;

use super::*;

#[test]
fn a_short_run_of_every_backend_acknowledges_what_the_log_holds() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let words =
        ["log", "--dir", dir, "--window-ms", "60", "--windows", "2", "--in-flight", "1,64", "--segment-mib", "4"];
    let args = LogBenchArgs::parse_from(words);
    let uncounted = |part: &mut dyn FnMut()| {
        part();
        0
    };
    let levels = run(&args, &uncounted).unwrap();
    assert_eq!(levels.len(), 6);
    for level in &levels {
        assert!(level.log.commands > 0 && level.log.commits > 0 && level.raw.commits > 0);
        assert_eq!(level.ratios.len(), 2);
        assert!(level.log.bytes >= level.payload_bytes(), "frames hold their payload");
        let per_commit = level.log.commands as f64 / level.log.commits as f64;
        assert!(per_commit <= f64::from(level.in_flight), "{per_commit} commands per commit");
        assert_eq!(level.log.command_ns.len(), level.log.commands);
    }
    let text = report::table(&levels);
    assert!(text.contains("rate, log over raw") && text.contains("flush/commit"), "{text}");
    assert_eq!(report::json(&levels)["levels"].as_array().map(Vec::len), Some(6));
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "its folder is gone");
}

#[test]
fn the_gates_judge_medians_of_pairs() {
    let mut level = Level::new(Backend::Direct, 1, &LogBenchArgs::parse_from(["log"]));
    for rate in [0.5, 0.95, 1.0] {
        level.ratios.push(gates::Ratios { rate, p50: 1.0, p99: 2.0 });
    }
    let gates = level.gates();
    let holds = |name: &str| gates.iter().find(|gate| gate.name.starts_with(name)).map(|gate| gate.holds);
    assert_eq!((holds("rate"), holds("p99"), holds("major faults")), (Some(true), Some(false), Some(true)));
}
