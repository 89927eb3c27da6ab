//! Schedules against their definitions.

use super::*;

const MINUTE: Span = Span::from_ms(60_000);

fn times(kind: Arrival, rate: f64, count: usize, seed: u64) -> Vec<u64> {
    let mut arrivals = Arrivals::new(kind, rate, MINUTE, seed);
    (0..count).map(|_| arrivals.next_ns()).collect()
}

fn gaps(times: &[u64]) -> Vec<f64> {
    times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect()
}

/// Anderson-Darling's A² of `gaps` against an exponential distribution of known rate.
fn anderson_darling(mut gaps: Vec<f64>, rate: f64) -> f64 {
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    // A gap of 0 ns stands for one below half a nanosecond.
    let f = |gap: f64| 1.0 - (-rate * gap.max(2.5e-10)).exp();
    let sum: f64 = (0..gaps.len())
        .map(|i| {
            let high = -rate * gaps[gaps.len() - 1 - i].max(2.5e-10);
            (2.0 * i as f64 + 1.0) * (f(gaps[i]).ln() + high)
        })
        .sum();
    -n - sum / n
}

/// A12 row 3: the 1 % point of A² for a known distribution is 3.857.
#[test]
fn poisson_gaps_pass_anderson_darling_at_three_rates() {
    for rate in [1e3, 1e4, 1e5] {
        let a2 = anderson_darling(gaps(&times(Arrival::Poisson, rate, 10_001, 42)), rate);
        assert!(a2 < 3.857, "rate {rate}: A2 = {a2}");
    }
    let wrong = anderson_darling(gaps(&times(Arrival::Poisson, 1e4, 10_001, 42)), 1.1e4);
    assert!(wrong > 3.857, "a rate that is 10 % off is seen: {wrong}");
}

#[test]
fn every_kind_keeps_its_mean_rate() {
    let kinds = ["poisson", "const", "pareto", "gpareto", "onoff(50ms,200ms,5)", "sine(2s,0.8)"];
    for text in kinds {
        let kind: Arrival = text.parse().unwrap();
        let times = times(kind, 10_000.0, 600_000, 7);
        let rate = times.len() as f64 / (*times.last().unwrap() as f64 / 1e9);
        let within = if text.starts_with("onoff") { 0.08 } else { 0.01 };
        assert!((rate / 10_000.0 - 1.0).abs() < within, "{text}: {rate}");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{text} goes back in time");
    }
}

#[test]
fn const_gaps_do_not_drift() {
    let times = times(Arrival::Const, 3.0, 3_000_001, 0);
    assert_eq!(times[3_000_000], 1_000_000_000_000_000);
    assert!(times.windows(2).all(|pair| (333_333_333..=333_333_334).contains(&(pair[1] - pair[0]))));
}

fn count_between(times: &[u64], from: f64, to: f64) -> f64 {
    times.iter().filter(|time| (from..to).contains(&(**time as f64 / 1e9))).count() as f64
}

#[test]
fn a_sine_is_high_and_low_where_it_should_be() {
    let times = times("sine(4s,0.5)".parse().unwrap(), 10_000.0, 400_000, 3);
    // Integral of 1 + 0.5 sin over a quarter around the top and the bottom.
    let top = count_between(&times, 0.5, 1.5);
    let bottom = count_between(&times, 2.5, 3.5);
    assert!((top / 14_501.0 - 1.0).abs() < 0.03, "{top}");
    assert!((bottom / 5_498.0 - 1.0).abs() < 0.05, "{bottom}");
}

#[test]
fn a_ramp_goes_in_a_line_and_then_stays() {
    let times = times("ramp(1000,5000)".parse().unwrap(), 1.0, 230_000, 3);
    for (from, expected) in [(0.0, 1333.0), (30.0, 3333.0), (55.0, 5000.0), (62.0, 5000.0)] {
        let seen = count_between(&times, from, from + 1.0);
        let rate = (1000.0 + 4000.0 * (from + 0.5) / 60.0_f64).min(5000.0);
        assert!((seen / rate - 1.0).abs() < 0.12, "at {from} s: {seen}, not {rate} ({expected})");
    }
}

#[test]
fn steps_have_their_rates_for_their_time() {
    let kind: Arrival = "step(1000,3000,1000,5s)".parse().unwrap();
    let times = times(kind, 1.0, 60_000, 3);
    for (from, rate) in [(0.0, 1000.0), (5.0, 2000.0), (10.0, 3000.0), (15.0, 3000.0)] {
        let seen = count_between(&times, from, from + 5.0) / 5.0;
        assert!((seen / rate - 1.0).abs() < 0.06, "at {from} s: {seen}");
    }
    assert_eq!(kind.rate_mean(1.0, Span::from_ms(15_000)), 2000.0);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_form_that_does() {
    for (text, part) in [
        ("poison", "poisson const pareto"),
        ("pareto(1)", "above 1"),
        ("onoff(1s,2s)", "onoff(on,off,factor)"),
        ("sine(1s,2)", "amplitude"),
        ("poisson(3)", "takes no"),
        ("ramp(1,x)", "\"x\""),
        ("step(1,2,3,4", "("),
    ] {
        let error = text.parse::<Arrival>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert_eq!("onoff(100ms,1s,4)".parse(), Ok(Arrival::OnOff { on: 0.1, off: 1.0, factor: 4.0 }));
}
