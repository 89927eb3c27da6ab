//! Every benchmark runs, tiny, and comes to what it always came to: a bench that measures nothing, or something else than
//! before, is found here. No time is looked at.

use std::collections::BTreeMap;
use std::path::Path;

use micro::{Scale, all, run};

/// Iterations of each.
const ITERATIONS: u64 = 4;

/// `UPDATE_EXPECT=1` writes the file anew; a change of it wants a reason.
#[test]
fn each_bench_comes_to_the_same_result_as_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/results.txt");
    let results: BTreeMap<&str, u64> =
        all().iter().map(|bench| (bench.id, run(bench, Scale::Tiny, ITERATIONS.min(bench.state)))).collect();
    let text: String = results.iter().map(|(id, hash)| format!("{id} {hash:016x}\n")).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there; UPDATE_EXPECT=1 makes it");
    let differing: Vec<_> = text.lines().filter(|line| !golden.lines().any(|other| other == *line)).collect();
    assert!(differing.is_empty(), "these are new or came to something else: {differing:#?}");
    assert_eq!(golden.lines().count(), results.len(), "the golden file has benches that are there no more");
}

#[test]
fn a_bench_comes_to_the_same_result_twice() {
    for bench in all().iter().filter(|bench| bench.counted > 0) {
        let results = [0, 1].map(|_| run(bench, Scale::Tiny, ITERATIONS));
        assert_eq!(results[0], results[1], "{}: what is counted must repeat", bench.id);
    }
}
