//! `dropstone bench report` and `dropstone bench compare`: arguments, and what they do.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::compare::{Comparison, GateError, Side, parse_gates};
use super::result::{ALL_OPS, BenchResult, Clock, VerdictClass};
use super::table::Style;
use super::{csv, hgrm, html, json as result_json, table};

/// Results of one side of a comparison.
const SIDE_RESULTS_MAX: usize = 64;

const REPORT_EXAMPLES: &str = "\
Examples:
  dropstone bench report bench-results/x                       the summary
  dropstone bench report bench-results/x --html report.html    one page that works offline
  dropstone bench report bench-results/x --csv series.csv --hgrm response.hgrm

Exit codes:
  0 VALID  2 AT-LEAST  3 INVALID  4 wrong answers  64 usage, or no result there";

const COMPARE_EXAMPLES: &str = "\
Examples:
  dropstone bench compare base/ new/ --gate p99:+5%,rate:-3%
  dropstone bench compare a1,a2,a3 b1,b2,b3 --html compare.html   several results of a side are its repeats

A gate passes when the whole 95 % interval of the ratio lies inside, and fails when all of it lies outside.
Figures: rate rate_slo p50 p90 p99 p99.9 p99.99 max err cpu_us enters syscalls syncs device wire allocs rss

Exit codes:
  0 passed, or no gate  1 failed  2 undecided  3 a side is INVALID  4 a side has wrong answers
  64 usage, no result there, or results that are unlike";

/// Shows a result: as a summary, and as files where asked.
#[derive(Args, Clone, Debug)]
#[command(after_help = REPORT_EXAMPLES)]
pub struct ReportArgs {
    /// A result.json, or the directory it lies in.
    pub result: PathBuf,
    /// Write one page with all plots; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write one row per second.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write the percentile table of all operations' response, as HdrHistogram does.
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

/// Compares two results: ratios with intervals, and gates on them.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// The older result: a result.json, its directory, or several with commas between them.
    pub base: String,
    /// The newer result, given as BASE is.
    pub new: String,
    /// How far figures may move, as p99:+5%,rate:-3%.
    #[arg(long, value_name = "NAME:+N%,...", default_value = "", hide_default_value = true)]
    pub gate: String,
    /// Compare results of different work, stamped UNLIKE.
    #[arg(long)]
    pub unlike: bool,
    /// Write one page with the comparison; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Why a view could not be made. Every one is a mistake of the call: exit code 64.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// A result was not read.
    #[error(transparent)]
    Read(#[from] result_json::ReadError),
    /// A gate was not understood.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A side has too many results.
    #[error("a side of a comparison has at most {SIDE_RESULTS_MAX} results")]
    Many,
    /// The results are of different work.
    #[error("the results are unlike: {0}; give --unlike to compare them all the same")]
    Unlike(String),
    /// The result has no histogram.
    #[error("{path} keeps no histogram of response, so it has no percentile table", path = .0.display())]
    NoHistogram(PathBuf),
    /// A file was not written.
    #[error("could not write {path}: {error}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// How much room stdout has, and whether it shows colours.
#[must_use]
pub fn stdout_style(columns: Option<usize>) -> Style {
    let is_terminal = std::io::stdout().is_terminal();
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match columns.filter(|_| is_terminal) {
        Some(columns) => Style { columns, has_colour: !wants_none },
        None => Style::PLAIN,
    }
}

/// `bench report`. Gives the exit code: that of the verdict.
///
/// Errors: no result there, or a file that cannot be written.
pub fn report(args: &ReportArgs, as_json: bool, style: &Style) -> Result<u8, FaceError> {
    report_to(args, as_json, style, &mut std::io::stdout())
}

/// As [`report`], with the summary written to `out`.
///
/// Errors: those of [`report`].
pub fn report_to(args: &ReportArgs, as_json: bool, style: &Style, out: &mut impl Write) -> Result<u8, FaceError> {
    let result = result_json::read(&args.result)?;
    if let Some(path) = &args.html {
        write(path, &html::result(&result))?;
    }
    if let Some(path) = &args.csv {
        write(path, &csv::to_string(&result))?;
    }
    if let Some(path) = &args.hgrm {
        let response = result.latency_of(ALL_OPS, Clock::Response);
        let histogram = response.and_then(|response| result_json::decode_histogram(&response.hdr_base64));
        let histogram = histogram.ok_or_else(|| FaceError::NoHistogram(args.result.clone()))?;
        write(path, &hgrm::to_string(&histogram))?;
    }
    let text = if as_json { result_json::to_string(&result) } else { table::summary(&result, style) };
    print(out, &text);
    Ok(exit_code(&result))
}

/// `bench compare`. Gives the exit code of [`Comparison::exit_code`].
///
/// Errors: no result there, a gate that is none, unlike results, or a file that cannot be written.
pub fn compare(args: &CompareArgs, as_json: bool, style: &Style) -> Result<u8, FaceError> {
    compare_to(args, as_json, style, &mut std::io::stdout())
}

/// As [`compare`], with the table written to `out`.
///
/// Errors: those of [`compare`].
pub fn compare_to(args: &CompareArgs, as_json: bool, style: &Style, out: &mut impl Write) -> Result<u8, FaceError> {
    let gates = parse_gates(&args.gate)?;
    let comparison = Comparison::new(side(&args.base)?, side(&args.new)?, &gates);
    if !comparison.unlike.is_empty() && !args.unlike {
        return Err(FaceError::Unlike(comparison.unlike.join("; ")));
    }
    if let Some(path) = &args.html {
        write(path, &html::comparison(&comparison))?;
    }
    let text = if as_json { format!("{}\n", to_json(&comparison)) } else { table::comparison(&comparison, style) };
    print(out, &text);
    Ok(comparison.exit_code())
}

/// The exit code of a result: 0 VALID, 2 AT-LEAST, 3 INVALID, 4 wrong answers, 130 interrupted.
#[must_use]
pub fn exit_code(result: &BenchResult) -> u8 {
    if result.has_wrong_answers() {
        return 4;
    }
    match result.verdict.class {
        _ if result.partial => 130,
        VerdictClass::Valid => 0,
        VerdictClass::AtLeast => 2,
        VerdictClass::Invalid => 3,
    }
}

fn side(text: &str) -> Result<Side, FaceError> {
    // A name with a comma in it is taken as it is when it is there.
    let whole = Path::new(text);
    let paths: Vec<&Path> = if whole.exists() { vec![whole] } else { text.split(',').map(Path::new).collect() };
    if paths.len() > SIDE_RESULTS_MAX {
        return Err(FaceError::Many);
    }
    let results: Result<Vec<BenchResult>, _> = paths.into_iter().map(result_json::read).collect();
    Ok(Side::new(text, results?).expect("splitting a text gives one part at least"))
}

/// A comparison for machines.
fn to_json(comparison: &Comparison) -> Value {
    let rows = comparison.rows.iter().map(|row| {
        json!({
            "figure": row.metric.name(),
            "base": row.base,
            "new": row.new,
            "ratio": row.ratio,
            "ci95": row.interval.map(|interval| interval.span()),
            "basis": match row.basis {
                super::compare::Basis::Repeats => "repeats",
                super::compare::Basis::WithinRun => "within_run",
                super::compare::Basis::Point => "point",
            },
            "gate": row.gate.map(|gate| gate.0.to_string()),
            "decision": row.gate.map(|gate| gate.1.name()),
        })
    });
    json!({
        "schema": "dropstone.bench.comparison/1",
        "base": side_json(&comparison.base),
        "new": side_json(&comparison.new),
        "rows": rows.collect::<Vec<_>>(),
        "absent": comparison.absent.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unlike": comparison.unlike,
        "notes": comparison.notes,
        "decision": comparison.decision.map(super::compare::Decision::name),
        "exit_code": comparison.exit_code(),
    })
}

fn side_json(side: &Side) -> Value {
    json!({ "name": side.name, "runs": side.runs(), "verdict": side.class().name() })
}

fn write(path: &Path, text: &str) -> Result<(), FaceError> {
    std::fs::write(path, text).map_err(|error| FaceError::Write { path: path.to_owned(), error })
}

fn print(out: &mut impl Write, text: &str) {
    // A closed pipe leaves nobody to tell.
    let _ = out.write_all(text.as_bytes());
}
