//! Throughput against what a cluster is made of, or asked: a line for each machine, with the spread of its blocks.

use super::axis::{Scale, Unit};
use super::{Area, Plot, legend};
use crate::report::words;

const HEIGHT: f64 = 360.0;
/// Classes of the lines, in their order.
const CLASSES: [&str; 4] = ["line s1", "line s2 dash", "line s3", "line s4 dot2"];

/// One place on the axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Where: positive.
    pub x: f64,
    /// The median of the blocks. Units: operations per second.
    pub rate: f64,
    /// Of the slowest and the fastest block.
    pub rates: [f64; 2],
}

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// What it is, for the legend.
    pub name: String,
    /// Ascending.
    pub points: Vec<Point>,
}

/// The plot of at most four series; `axis` names what is varied. `None` with fewer than two points in all.
///
/// Both axes are logarithmic: along each, what is twice as much is as far everywhere.
#[must_use]
pub fn scale(id: &str, title: &str, axis: &str, series: &[Series]) -> Option<String> {
    let all = || series.iter().flat_map(|series| &series.points);
    if all().count() < 2 {
        return None;
    }
    let area = Area {
        left: 80.0,
        right: 930.0,
        top: 34.0,
        bottom: HEIGHT - 50.0,
        x: Scale::log(all().map(|point| point.x), Unit::Count),
        y: Scale::log(all().flat_map(|point| point.rates), Unit::Rate),
    };
    let mut plot = Plot::new(HEIGHT);
    area.draw_y(&mut plot, "acknowledged");
    area.draw_x(&mut plot, axis);
    for (one, class) in series.iter().zip(CLASSES) {
        plot.path(class, &area.points(one.points.iter().map(|point| (point.x, point.rate))));
        let colour = class.split_whitespace().nth(1).unwrap_or_default();
        for point in &one.points {
            let [low, high] = point.rates.map(|rate| area.point((point.x, rate)));
            plot.line(class, low, high);
            plot.dot(&format!("dot {colour}"), area.point((point.x, point.rate)), 3.5);
        }
    }
    let entries: Vec<(&str, &str)> =
        CLASSES.iter().zip(series).map(|(class, one)| (*class, one.name.as_str())).collect();
    legend(&mut plot, &area, &entries);
    hits(&mut plot, &area, axis, series);
    Some(plot.finish(id, title, &description(axis, series)))
}

fn hits(plot: &mut Plot, area: &Area, axis: &str, series: &[Series]) {
    for one in series {
        for point in &one.points {
            let (x, y) = area.point((point.x, point.rate));
            plot.hit((x - 9.0, y - 9.0), (18.0, 18.0), &said(axis, one, point));
        }
    }
}

fn said(axis: &str, series: &Series, point: &Point) -> String {
    let [low, high] = point.rates.map(words::rate);
    format!("{}, {axis} {}: {} ({low} to {high})", series.name, words::count(point.x), words::rate(point.rate))
}

fn description(axis: &str, series: &[Series]) -> String {
    let each = series.iter().flat_map(|one| one.points.iter().map(|point| said(axis, one, point)));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, rates: &[f64]) -> Series {
        let point = |(rate, x): (&f64, f64)| Point { x, rate: *rate, rates: [rate * 0.9, rate * 1.1] };
        Series { name: name.to_owned(), points: rates.iter().zip([1.0, 64.0, 4096.0]).map(point).collect() }
    }

    #[test]
    fn each_series_has_its_line_and_each_point_its_figures() {
        let both = [series("null", &[3_000.0, 90_000.0, 400_000.0]), series("files", &[2_000.0, 20_000.0, 30_000.0])];
        let plot = scale("scale", "Rate & more", "in flight", &both).expect("it has points");
        assert_eq!(plot.matches("<path").count(), 2);
        assert_eq!(plot.matches("<circle").count(), 6);
        assert!(plot.contains("Rate &amp; more") && plot.contains(">null<") && plot.contains(">files<"), "{plot}");
        assert!(plot.contains("null, in flight 4.10 k: 400 k/s (360 k/s to 440 k/s)"), "{plot}");
    }

    #[test]
    fn nothing_is_drawn_of_one_point() {
        assert_eq!(scale("a", "b", "c", &[series("null", &[1.0])]), None);
        assert_eq!(scale("a", "b", "c", &[]), None);
    }
}
