//! Pages and tables of sample results: whole, self-contained, safe against what a result may hold.

mod sample;

use std::sync::LazyLock;

use load::report::compare::{Comparison, Side, parse_gates};
use load::report::result::{
    ALL_OPS, BenchResult, Clock, CurvePoint, ErrorCount, Fault, Interval, Knee, Latency, Reason, Repeat, Stage, Sweep,
    VerdictClass,
};
use load::report::table::Style;
use load::report::{html, table};

/// Made once: the model takes its time in a build without optimisation.
static VALID: LazyLock<BenchResult> = LazyLock::new(sample::valid);
static INVALID: LazyLock<BenchResult> = LazyLock::new(sample::invalid);

/// Every element is closed, in order; what a browser would have to guess is an error.
fn assert_whole(page: &str) {
    let page = without_content(&without_content(page, "style"), "script");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").expect("a page of today");
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        match (tag.strip_prefix('/'), tag.ends_with('/') || tag.starts_with("meta ")) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name), "closed in order"),
            (None, true) => {}
            (None, false) => open.push(tag.split(' ').next().expect("a name")),
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// `page` with the one element `name` emptied: what stands in it is no HTML.
fn without_content(page: &str, name: &str) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let (before, rest) = page.split_once(&begin).expect("the element");
    let (_, after) = rest.split_once(&end).expect("its end");
    assert!(!after.contains(&begin), "one {name} only");
    format!("{before}{begin}{end}{after}")
}

fn assert_offline(page: &str) {
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word} would ask the network");
    }
}

fn compared() -> Comparison {
    let side = |name: &str, result| Side::new(name, vec![result]).expect("one result");
    let gates = parse_gates("p99:+5%,rate:-3%,syscalls:+1%").expect("gates");
    Comparison::new(side("base", sample::repeats(1.0, 1)), side("new", sample::repeats(1.2, 2)), &gates)
}

#[test]
fn pages_are_whole_and_ask_no_network() {
    for result in [VALID.clone(), INVALID.clone(), sample::at_least(), BenchResult::default()] {
        let page = html::result(&result);
        assert_whole(&page);
        assert_offline(&page);
    }
}

#[test]
fn the_verdict_its_reasons_and_the_note_stand_on_the_page_before_any_figure() {
    let page = html::result(&INVALID);
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(at(sample::NOTE) < at("class=\"tiles\""));
    assert!(at(">INVALID<") < at("class=\"tiles\"") && at("steal 6.1 %") < at("class=\"tiles\""));
    assert!(page.contains("kill-leader") && page.contains("overloaded"));
    let closed = html::result(&sample::at_least());
    assert!(closed.contains("not what independent users see") && closed.contains("UNCHECKED"));
}

#[test]
fn plots_have_a_title_and_words_for_those_who_do_not_see_them() {
    let page = html::result(&INVALID);
    assert_eq!(page.matches("<svg ").count(), page.matches("role=\"img\"").count());
    assert_eq!(page.matches("<svg ").count(), page.matches("<desc ").count());
    assert!(page.matches("<svg ").count() >= 3);
}

#[test]
fn a_comparison_has_a_page_with_its_decision() {
    let comparison = compared();
    assert_eq!(comparison.exit_code(), 1, "a service time of 1.2 shows in p99");
    let page = html::comparison(&comparison);
    assert_whole(&page);
    assert_offline(&page);
    assert!(page.contains(">FAIL<") && page.contains("syscalls:+1% UNDECIDED"));
    let text = table::comparison(&comparison, &Style { columns: 130, has_colour: false });
    assert!(text.contains("p99:+5% FAIL") && text.trim_end().ends_with("FAIL"), "{text}");
}

/// A result whose every text is hostile and whose every figure is odd.
fn odd() -> BenchResult {
    let bad = || "</title><script>alert(1)</script>\"'&\u{1b}[31m".to_owned();
    let figures = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300];
    let latency = |us: f64| Latency {
        op: ALL_OPS.to_owned(),
        clock: Clock::Response,
        count: u64::MAX,
        mean_us: us,
        p50_us: Some(us),
        p99_us: Some(us),
        max_us: us,
        hdr_base64: bad(),
        ..Latency::default()
    };
    let interval = |us: f64| Interval {
        at_s: us,
        offered: us,
        achieved: us,
        p50_us: Some(us),
        errors: u64::MAX,
        ..Interval::default()
    };
    let stage = |us: f64| Stage {
        op: ALL_OPS.to_owned(),
        node: ALL_OPS.to_owned(),
        stage: bad(),
        at_p99_us: Some(us),
        ..Stage::default()
    };
    let level = |us: f64| CurvePoint { rate_achieved: us, p50_us: Some(us), p99_us: Some(us), ..CurvePoint::default() };
    let mut result = BenchResult { note: bad(), command: bad(), ..BenchResult::default() };
    result.latency = figures.map(latency).to_vec();
    result.throughput.intervals = figures.map(interval).to_vec();
    result.throughput.ci95 = Some([f64::NAN, 1.0]);
    result.stages = figures.map(stage).to_vec();
    result.faults =
        figures.map(|at_s| Fault { at_s, kind: bad(), unavailable_ms: at_s, recovered_ms: Some(at_s) }).to_vec();
    result.errors = vec![ErrorCount { kind: bad(), count: u64::MAX }; 2];
    result.verdict.class = VerdictClass::Valid;
    result.verdict.reasons = figures.map(|value| Reason { code: bad(), value, limit: value }).to_vec();
    result.repeats =
        figures.map(|us| Repeat { rate_achieved: us, p99_us: Some(us), max_us: us, ..Repeat::default() }).to_vec();
    result.sweep = Some(Sweep {
        slo: bad(),
        rate_slo: Some(f64::NAN),
        rate_slo_ci95: Some([f64::NAN, f64::NEG_INFINITY]),
        knee: Some(Knee { rate: f64::NAN, p99_us: -1.0 }),
        saturated_first: bad(),
        curve: figures.map(level).to_vec(),
        searched: Vec::new(),
    });
    result.mix.name = bad();
    result.tool.version = bad();
    result.target.durability.ack = bad();
    result.checks.mode = bad();
    result.checks.violations = vec![bad()];
    result
}

#[test]
fn hostile_texts_and_odd_figures_neither_break_a_page_nor_end_the_process() {
    let page = html::result(&odd());
    assert_whole(&page);
    assert!(!page.contains("<script>alert") && !page.contains('\u{1b}'));
    let side = |name: &str| Side::new(name, vec![odd(), odd()]).expect("two results");
    let gates = parse_gates("p99:+5%,rate:-3%,rate_slo:-3%").expect("gates");
    let comparison = Comparison::new(side("<a>"), side("<b>"), &gates);
    let page = html::comparison(&comparison);
    assert_whole(&page);
    assert!(!page.contains("<script>alert") && comparison.exit_code() == 4);
    for columns in [0, 40, 200] {
        let style = Style { columns, has_colour: false };
        assert!(!table::summary(&odd(), &style).contains('\u{1b}'), "escapes of a result do not reach the terminal");
        assert!(!table::comparison(&comparison, &style).contains('\u{1b}'));
    }
}

#[test]
fn a_summary_fits_the_terminal_as_far_as_its_words_do() {
    for columns in [60, 80, 100, 160] {
        let text = table::summary(&INVALID, &Style { columns, has_colour: false });
        // A single part, as the target's line, is not split.
        let parts = text.lines().filter(|line| line.matches("  ").count() > 1);
        assert!(parts.clone().count() > 4);
        assert!(text.contains("INVALID") && text.contains("p99 "), "{text}");
    }
    assert!(table::summary(&VALID, &Style::PLAIN).lines().count() <= 12);
}
