//! One page for a result or a comparison: no network, no script needed, light, dark and print.
//!
//! A little inline script makes the pointer's words follow it; without it the browser shows them as titles.

mod comparison;
mod tables;

pub use comparison::comparison;

use super::result::{ALL_OPS, BenchResult, Clock, LoopKind, Span, Verdict, VerdictClass};
use super::svg::{self, escape};
use super::{table, words};

pub(super) const CSS: &str = include_str!("html/page.css");

/// The generator's own lag is drawn from this share of the response on.
const LAG_SHARE_MIN: f64 = 0.05;

const SCRIPT: &str = include_str!("html/page.js");

/// The page of one result.
#[must_use]
pub fn result(result: &BenchResult) -> String {
    let mix = format!("{}/{}", result.mix.name, result.mix.version);
    let mut body = String::new();
    body += &format!(
        "<header><p class=\"kicker\">dropstone bench, {}</p><h1>{}</h1><p>{}</p><p>{}</p></header>\n",
        escape(&format!("{}, {}", table::tool(result), words::utc(result.time.start_unix_ms))),
        escape(&title(result, &mix)),
        escape(&format!(
            "{} {}: {} nodes, {} cores each",
            result.target.driver, result.target.version, result.target.nodes, result.target.cores
        )),
        escape(&words::durability(&result.target.durability)),
    );
    body += &notes(result);
    body += &verdict(&result.verdict, result);
    body += &tiles(result);
    if let Some(sweep) = &result.sweep {
        body += &plot("Latency against rate", "A filled mark met the SLO, a hollow one broke it.", svg::curve(sweep));
        body += &tables::levels(sweep);
    }
    body += &plot(
        "Latency by percentile",
        "Response counts from the moment an operation was due, service from the moment it was sent; the difference is \
         waiting that users feel. Bars are 95 % intervals; the thin ends have fewer than 10 samples beyond them.",
        percentiles(result),
    );
    body += &plot("Second by second", "", svg::timeline(result));
    let stages = table::all_stages(result);
    body += &plot(
        "Where the time went",
        "Means over the operations around the 99th percentile, so that the stages add up. The own percentiles of a \
         stage do not.",
        svg::stages(&stages),
    );
    body += &tables::latency(result);
    body += &tables::cost(result);
    body += &tables::faults(result);
    body += &tables::errors(result);
    body += &tables::repeats(result);
    body += &tables::facts(result);
    page(&format!("{mix} {} - dropstone bench", result.verdict.class.name()), &body)
}

fn title(result: &BenchResult, mix: &str) -> String {
    match &result.sweep {
        Some(sweep) => format!("{mix}, sweep for {}", sweep.slo),
        None => format!("{mix}, {}", words::load(result)),
    }
}

/// A whole page around `body`.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\
         <title>{}</title>\n<style>\n{CSS}</style></head>\n<body><main>\n{body}</main>\n<script>\n{SCRIPT}</script>\
         </body></html>\n",
        escape(title)
    )
}

fn section(title: &str, lead: &str, content: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p class=\"lead\">{}</p>", escape(lead)) };
    format!("<section><h2>{}</h2>{lead}{content}</section>\n", escape(title))
}

/// A plot in a section of its own; nothing where there is nothing to draw.
fn plot(title: &str, lead: &str, svg: Option<String>) -> String {
    svg.map_or_else(String::new, |svg| section(title, lead, &format!("<div class=\"plot\">{svg}</div>")))
}

fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}

fn notes(result: &BenchResult) -> String {
    let mut out = String::new();
    if !result.note.is_empty() {
        out += &note(&result.note);
    }
    if result.partial {
        out += &note("Interrupted: the figures are of the part that ran.");
    }
    if result.load.kind == LoopKind::Closed {
        out += &note(&format!("This is a {}.", words::CLOSED_LOOP));
    }
    out
}

fn tone(class: VerdictClass) -> &'static str {
    match class {
        VerdictClass::Valid => "good",
        VerdictClass::AtLeast => "warn",
        VerdictClass::Invalid => "bad",
    }
}

fn verdict(verdict: &Verdict, result: &BenchResult) -> String {
    let lag = result.latency_of(ALL_OPS, Clock::SchedLag).and_then(|lag| lag.p99_us);
    let meaning = match verdict.class {
        VerdictClass::Valid => "The numbers describe the target.",
        VerdictClass::AtLeast => "The target may be better: rates are lower bounds, latencies upper bounds.",
        VerdictClass::Invalid => "The numbers describe nothing.",
    };
    let reasons: String =
        verdict.reasons.iter().map(|reason| format!("<li>{}</li>", escape(&words::reason(reason)))).collect();
    let reasons = if reasons.is_empty() { reasons } else { format!("<ul>{reasons}</ul>") };
    let own = format!(
        "Generator {} busy, its own lag p99 {}. {}.",
        words::percent(result.load.generator_busy_max),
        words::time_or_dash(lag),
        words::checks(result)
    );
    let wrong: String =
        result.checks.violations.iter().take(20).map(|wrong| format!("<li>{}</li>", escape(wrong))).collect();
    let wrong = if wrong.is_empty() { wrong } else { format!("<p><b>Wrong answers:</b></p><ul>{wrong}</ul>") };
    format!(
        "<div class=\"verdict {}\" role=\"status\"><b>{}</b>\
         <div><p>{meaning}</p>{reasons}<p>{}</p>{wrong}</div></div>\n",
        tone(verdict.class),
        verdict.class.name(),
        escape(&own)
    )
}

fn tile(name: &str, value: &str, below: &str) -> String {
    format!("<div class=\"tile\"><span>{}</span><b>{}</b><i>{}</i></div>", escape(name), escape(value), escape(below))
}

fn interval(span: Option<Span>, word: fn(f64) -> String) -> String {
    span.map_or_else(String::new, |span| format!("{} to {}", word(span[0]), word(span[1])))
}

fn tiles(result: &BenchResult) -> String {
    let mut tiles = String::new();
    if let Some(sweep) = &result.sweep {
        let best = sweep.rate_slo.map_or_else(|| "-".to_owned(), words::rate);
        tiles += &tile("rate within SLO", &best, &interval(sweep.rate_slo_ci95, words::rate));
    }
    tiles += &tile("answered", &words::rate(result.load.rate_achieved), &interval(result.throughput.ci95, words::rate));
    if let Some(all) = result.headline() {
        let ci = &all.ci95;
        for (name, figure, span) in [
            ("response p50", all.p50_us, ci.p50_us),
            ("response p99", all.p99_us, ci.p99_us),
            ("response p99.9", all.p999_us, ci.p999_us),
        ] {
            tiles += &tile(name, &words::time_or_dash(figure), &interval(span, words::time));
        }
        tiles += &tile("slowest", &words::time(all.max_us), &format!("of {} operations", words::whole(all.count)));
    }
    let errors = format!("{} of answers", words::percent(result.errors_share()));
    tiles += &tile("errors", &words::whole(result.errors_count()), &errors);
    format!("<div class=\"tiles\">{tiles}</div>\n")
}

fn percentiles(result: &BenchResult) -> Option<String> {
    let of = |clock| result.latency_of(ALL_OPS, clock);
    let all = [
        ("response", "s1", Clock::Response),
        ("service", "s2 dash", Clock::Service),
        ("generator's own lag", "s6", Clock::SchedLag),
    ];
    // A lag far below the answers says nothing, and would take half of a logarithmic plot.
    let p99 = |latency: Option<&super::result::Latency>| latency.and_then(|latency| latency.p99_us).unwrap_or(0.0);
    let has_lag = p99(of(Clock::SchedLag)) > LAG_SHARE_MIN * p99(result.headline());
    let lines: Vec<svg::Line<'_>> = all
        .into_iter()
        .filter(|line| line.2 != Clock::SchedLag || has_lag)
        .filter_map(|(name, class, clock)| Some(svg::Line { name, class, latency: of(clock)? }))
        .collect();
    svg::percentiles(&lines)
}
