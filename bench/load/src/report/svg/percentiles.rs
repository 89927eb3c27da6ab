//! Latency by percentile, with as much room for each nine as for the one before.

use hdrhistogram::Histogram;

use super::axis::{Scale, Unit};
use super::{Area, Plot, legend, spread};
use crate::report::json::decode_histogram;
use crate::report::result::{Latency, Span};
use crate::report::words;
use crate::stats::BEYOND_MIN;

const HEIGHT: f64 = 420.0;

/// Points of a line that comes from a histogram.
const POINTS: usize = 240;

/// One line of the plot.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its class in the page's style: `s1` and so on.
    pub class: &'a str,
    /// What it shows.
    pub latency: &'a Latency,
}

/// Points of one line: quantile and microseconds, ascending, and the quantile up to which they have enough samples.
struct Data<'a> {
    line: Line<'a>,
    points: Vec<(f64, f64)>,
    sure: f64,
}

/// Lines of latency by percentile; what has fewer than 10 samples beyond it is drawn thin. `None` without samples.
#[must_use]
pub fn percentiles(lines: &[Line<'_>]) -> Option<String> {
    let data: Vec<Data<'_>> = lines.iter().filter_map(|line| points(*line)).collect();
    let most = data.iter().map(|one| one.line.latency.count).max()?;
    let nines = (most as f64).log10().clamp(2.0, 7.0);
    let times = data.iter().flat_map(|one| one.points.iter().map(|point| point.1));
    let area = Area {
        left: 70.0,
        right: 880.0,
        top: 34.0,
        bottom: HEIGHT - 50.0,
        x: Scale::Nines { nines },
        y: Scale::log(times, Unit::Time),
    };
    let mut plot = Plot::new(HEIGHT);
    area.draw_y(&mut plot, "latency");
    area.draw_x(&mut plot, "share of operations that were at least as fast");
    for one in &data {
        let split = one.points.partition_point(|point| point.0 <= one.sure);
        plot.path(&format!("line {}", one.line.class), &area.points(one.points[..split].iter().copied()));
        plot.path(
            &format!("line thin {}", one.line.class),
            &area.points(one.points[split.saturating_sub(1)..].iter().copied()),
        );
        whiskers(&mut plot, &area, one.line);
    }
    ends(&mut plot, &area, &data);
    let classes: Vec<String> = data.iter().map(|one| format!("line {}", one.line.class)).collect();
    let entries: Vec<(&str, &str)> =
        classes.iter().zip(&data).map(|(class, one)| (class.as_str(), one.line.name)).collect();
    legend(&mut plot, &area, &entries);
    hits(&mut plot, &area, &data, nines);
    Some(plot.finish("percentiles", "Latency by percentile", &description(&data)))
}

fn points(line: Line<'_>) -> Option<Data<'_>> {
    let latency = line.latency;
    if latency.count == 0 {
        return None;
    }
    let sure = 1.0 - BEYOND_MIN as f64 / latency.count as f64;
    let points = match decode_histogram(&latency.hdr_base64).filter(|histogram| !histogram.is_empty()) {
        Some(histogram) => from_histogram(&histogram),
        None => from_figures(latency),
    };
    Some(Data { line, points, sure })
}

fn from_histogram(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines = (histogram.len() as f64).log10().max(1.0);
    let quantile = |at: usize| 1.0 - 10f64.powf(-nines * at as f64 / POINTS as f64);
    let mut points: Vec<(f64, f64)> = (0..=POINTS)
        .map(quantile)
        .map(|quantile| (quantile, histogram.value_at_quantile(quantile) as f64 / 1e3))
        .collect();
    // The line ends at the slowest operation of all, which the quantile before it may miss.
    if let Some(last) = points.last_mut() {
        last.1 = histogram.max() as f64 / 1e3;
    }
    // Below a tenth of a microsecond nothing is measured; and a logarithm needs something.
    points.iter_mut().for_each(|point| point.1 = point.1.max(0.1));
    points
}

fn from_figures(latency: &Latency) -> Vec<(f64, f64)> {
    let figures = [
        (0.5, latency.p50_us),
        (0.9, latency.p90_us),
        (0.99, latency.p99_us),
        (0.999, latency.p999_us),
        (0.9999, latency.p9999_us),
    ];
    let mut points: Vec<(f64, f64)> = figures.into_iter().filter_map(|(quantile, us)| Some((quantile, us?))).collect();
    let last = 1.0 - 1.0 / latency.count as f64;
    if points.last().is_none_or(|point| point.0 < last) && latency.max_us > 0.0 {
        points.push((last, latency.max_us));
    }
    points
}

/// The interval of each percentile that has one.
fn whiskers(plot: &mut Plot, area: &Area, line: Line<'_>) {
    let ci = &line.latency.ci95;
    let spans: [(f64, Option<Span>); 5] =
        [(0.5, ci.p50_us), (0.9, ci.p90_us), (0.99, ci.p99_us), (0.999, ci.p999_us), (0.9999, ci.p9999_us)];
    for (quantile, span) in spans {
        let Some([low, high]) = span else { continue };
        let x = area.x_of(quantile);
        let class = format!("whisker {}", line.class);
        plot.line(&class, (x, area.y_of(low)), (x, area.y_of(high)));
        for end in [low, high] {
            plot.line(&class, (x - 4.0, area.y_of(end)), (x + 4.0, area.y_of(end)));
        }
    }
}

/// Each line's slowest operation, at its end.
fn ends(plot: &mut Plot, area: &Area, data: &[Data<'_>]) {
    let lasts: Vec<(f64, f64)> = data.iter().filter_map(|one| one.points.last().copied()).collect();
    let wanted: Vec<f64> = lasts.iter().map(|last| area.y_of(last.1) + 4.0).collect();
    for ((one, last), y) in data.iter().zip(&lasts).zip(spread(&wanted, 14.0)) {
        plot.dot(&format!("dot {}", one.line.class), area.point(*last), 3.0);
        plot.text(&format!("label start t{}", one.line.class), (area.right + 8.0, y), &words::time(last.1));
    }
}

/// Strips that tell all lines at one percentile.
fn hits(plot: &mut Plot, area: &Area, data: &[Data<'_>], nines: f64) {
    const STRIPS: usize = 48;
    let width = (area.right - area.left) / STRIPS as f64;
    for strip in 0..STRIPS {
        let quantile = 1.0 - 10f64.powf(-nines * (strip as f64 + 0.5) / STRIPS as f64);
        let mut said = words::percentile((quantile * 1e5).round() / 1e5);
        for one in data {
            let at = one.points.partition_point(|point| point.0 < quantile);
            if let Some(point) = one.points.get(at) {
                said += &format!("\n{}  {}", one.line.name, words::time(point.1));
            }
        }
        plot.hit((area.left + strip as f64 * width, area.top), (width, area.bottom - area.top), &said);
    }
}

fn description(data: &[Data<'_>]) -> String {
    let each = data.iter().map(|one| {
        let latency = one.line.latency;
        let (p50, p99) = (words::time_or_dash(latency.p50_us), words::time_or_dash(latency.p99_us));
        format!("{}: median {p50}, p99 {p99}, slowest {}", one.line.name, words::time(latency.max_us))
    });
    each.collect::<Vec<_>>().join(". ")
}
