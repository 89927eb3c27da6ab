//! Where a curve of latency against rate begins to climb.

/// Distance from the chord, as a share of the plot, below which a curve counts as straight.
const DISTANCE_MIN: f64 = 0.03;

/// The place in `curve`, points of (rate, p99) ascending by rate, that lies farthest below the chord from its first to
/// its last point, latency on a logarithmic axis and both axes scaled to 0..1. `None` for fewer than three points, for
/// a curve that is straight, and for one that does not rise.
///
/// Source: BENCH A6; Satopää et al., "Finding a kneedle in a haystack", 2011.
#[must_use]
pub fn knee(curve: &[(f64, f64)]) -> Option<usize> {
    let (first, last) = (curve.first()?, curve.last()?);
    let is_fine = curve.iter().all(|(rate, p99)| rate.is_finite() && *p99 > 0.0 && p99.is_finite());
    if curve.len() < 3 || !is_fine || last.0 <= first.0 || last.1 <= first.1 {
        return None;
    }
    let (width, height) = (last.0 - first.0, (last.1 / first.1).ln());
    // In the unit square the chord is the diagonal; the distance to it is (x - y) / sqrt 2.
    let distance = |point: &(f64, f64)| {
        ((point.0 - first.0) / width - (point.1 / first.1).ln() / height) / std::f64::consts::SQRT_2
    };
    let distances = curve.iter().map(distance).enumerate();
    let (place, farthest) = distances.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (farthest > DISTANCE_MIN).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_bends_where_the_chord_is_farthest() {
        // M/M/1 with service time 1: the response's p99 is ln(100) / (1 - rate).
        let curve: Vec<(f64, f64)> = (1..=99).map(|x| f64::from(x) / 100.0).map(|r| (r, 4.6 / (1.0 - r))).collect();
        let at = knee(&curve).expect("a knee");
        // On the logarithmic axis the slope 1/(1-r) equals the chord's, ln(99)/0.98, at r = 0.787.
        assert_eq!(curve[at].0, 0.79);
    }

    #[test]
    fn a_sudden_wall_is_the_knee() {
        let curve = [(1.0, 1.0), (2.0, 1.0), (3.0, 1.1), (4.0, 1.1), (5.0, 50.0)];
        assert_eq!(knee(&curve), Some(3));
    }

    #[test]
    fn straight_falling_and_short_curves_have_none() {
        assert_eq!(knee(&[(1.0, 1.0), (2.0, 10.0)]), None);
        assert_eq!(knee(&[(1.0, 1.0), (2.0, 10.0), (3.0, 100.0)]), None);
        assert_eq!(knee(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), None);
        assert_eq!(knee(&[(1.0, 0.0), (2.0, 2.0), (3.0, 1.0)]), None);
        assert_eq!(knee(&[]), None);
    }
}
