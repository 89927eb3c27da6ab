//! `bench report` and `bench compare` as a script sees them: exit codes, files, refusals.

use std::path::{Path, PathBuf};

use clap::Parser;
use load::report::face::{self, CompareArgs, FaceError, ReportArgs};
use load::report::json;
use load::report::result::{ALL_OPS, BenchResult, Latency, LatencyCi, Load, Verdict, VerdictClass};
use load::report::table::Style;

#[derive(Parser)]
struct Report {
    #[command(flatten)]
    args: ReportArgs,
}

#[derive(Parser)]
struct Compare {
    #[command(flatten)]
    args: CompareArgs,
}

fn report(words: &[&str]) -> Result<u8, FaceError> {
    let parsed = Report::try_parse_from([&["report"], words].concat()).expect("arguments");
    let mut shown = Vec::new();
    let code = face::report_to(&parsed.args, true, &Style::PLAIN, &mut shown)?;
    assert_eq!(shown.first(), Some(&b'{'));
    Ok(code)
}

fn compare(words: &[&str]) -> Result<u8, FaceError> {
    let parsed = Compare::try_parse_from([&["compare"], words].concat()).expect("arguments");
    // Into a buffer: a FAIL that is wanted must not stand in the output of the tests.
    let mut shown = Vec::new();
    let code = face::compare_to(&parsed.args, false, &Style::PLAIN, &mut shown)?;
    assert!(String::from_utf8_lossy(&shown).contains("p99"));
    Ok(code)
}

fn run(p99: f64, class: VerdictClass) -> BenchResult {
    let latency = Latency {
        op: ALL_OPS.to_owned(),
        count: 30_000,
        p99_us: Some(p99),
        ci95: LatencyCi { p99_us: Some([p99 * 0.99, p99 * 1.01]), ..LatencyCi::default() },
        ..Latency::default()
    };
    BenchResult {
        latency: vec![latency],
        load: Load { rate_offered: 1_000.0, rate_achieved: 1_000.0, ..Load::default() },
        verdict: Verdict { class, reasons: Vec::new() },
        ..BenchResult::default()
    }
}

fn saved(dir: &Path, name: &str, result: &BenchResult) -> String {
    let path: PathBuf = dir.join(name);
    std::fs::write(&path, json::to_string(result)).expect("written");
    path.to_str().expect("a plain name").to_owned()
}

#[test]
fn a_result_exits_with_its_verdict() {
    let dir = tempfile::tempdir().expect("a directory");
    for (class, code) in [(VerdictClass::Valid, 0), (VerdictClass::AtLeast, 2), (VerdictClass::Invalid, 3)] {
        let path = saved(dir.path(), "r.json", &run(1_000.0, class));
        assert_eq!(report(&[&path]).expect("shown"), code);
    }
    let mut wrong = run(1_000.0, VerdictClass::Valid);
    wrong.checks.lost = 1;
    assert_eq!(report(&[&saved(dir.path(), "w.json", &wrong)]).expect("shown"), 4);
    let partial = BenchResult { partial: true, ..run(1_000.0, VerdictClass::Valid) };
    assert_eq!(report(&[&saved(dir.path(), "p.json", &partial)]).expect("shown"), 130);
}

#[test]
fn files_are_written_where_they_are_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = saved(dir.path(), "r.json", &run(1_000.0, VerdictClass::Valid));
    let file = |name: &str| dir.path().join(name).to_str().expect("a plain name").to_owned();
    report(&[&path, "--html", &file("r.html"), "--csv", &file("r.csv")]).expect("written");
    assert!(std::fs::read_to_string(file("r.html")).expect("there").starts_with("<!doctype html>"));
    assert!(std::fs::read_to_string(file("r.csv")).expect("there").starts_with("at_s,"));
    assert!(matches!(report(&[&path, "--hgrm", &file("r.hgrm")]), Err(FaceError::NoHistogram(_))));
    assert!(matches!(report(&[&path, "--csv", &file("no/such/r.csv")]), Err(FaceError::Write { .. })));
    assert!(report(&[&file("absent.json")]).expect_err("absent").to_string().contains("could not read"));
}

#[test]
fn a_comparison_exits_with_what_its_gates_came_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let save = |name: &str, p99: f64| saved(dir.path(), name, &run(p99, VerdictClass::Valid));
    let (base, same, slow, near) = (save("a", 1_000.0), save("b", 1_000.0), save("c", 1_300.0), save("d", 1_050.0));
    assert_eq!(compare(&[&base, &same, "--gate", "p99:+5%"]).expect("compared"), 0);
    assert_eq!(compare(&[&base, &slow, "--gate", "p99:+5%"]).expect("compared"), 1);
    assert_eq!(compare(&[&base, &near, "--gate", "p99:+5%"]).expect("compared"), 2);
    assert_eq!(compare(&[&base, &slow]).expect("compared"), 0);
    let pages = dir.path().join("c.html").to_str().expect("a plain name").to_owned();
    assert_eq!(compare(&[&format!("{base},{same}"), &slow, "--html", &pages]).expect("compared"), 0);
    assert!(std::fs::read_to_string(pages).expect("there").contains("Change of each figure"));
}

#[test]
fn unlike_results_and_bad_gates_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = saved(dir.path(), "a", &run(1_000.0, VerdictClass::Valid));
    let mut other = run(1_000.0, VerdictClass::Valid);
    other.mix.name = "spotify".to_owned();
    let other = saved(dir.path(), "b", &other);
    let refused = compare(&[&base, &other]).expect_err("unlike").to_string();
    assert!(refused.contains("spotify") && refused.contains("--unlike"), "{refused}");
    assert_eq!(compare(&[&base, &other, "--unlike"]).expect("compared"), 0);
    assert!(matches!(compare(&[&base, &base, "--gate", "speed:+1%"]), Err(FaceError::Gate(_))));
    let many = vec![base.as_str(); 65].join(",");
    assert!(matches!(compare(&[&many, &base]), Err(FaceError::Many)));
}
