//! When operations are due: one schedule for all generator cores, from the seed alone.
//!
//! `intended(i) = intended(i - 1) + gap(i)`. The schedule never looks at a clock, so idle time earns no credit and a
//! stall makes no gap longer. Rates that change are a Poisson process of rate 1 warped by the inverse of the rate's
//! integral, which is exact (no thinning). Source: docs/design/bench.md, "Arrivals".

use std::f64::consts::TAU;
use std::str::FromStr;

use base::Span;

use crate::stream::{Draws, Stream};
use crate::text::{Call, ParseError};

/// How gaps are drawn. Times are in seconds, rates in operations per second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Arrival {
    /// Independent users: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Const,
    /// Heavy tail with this shape, above 1.
    Pareto {
        /// The exponent of the tail.
        shape: f64,
    },
    /// Generalised Pareto with the shape published for the gaps of a cache pool (ETC, SIGMETRICS 2012).
    GeneralisedPareto,
    /// Poisson whose rate switches between two values for exponential times, with the mean rate kept.
    OnOff {
        /// Mean time in the fast state.
        on: f64,
        /// Mean time in the slow state.
        off: f64,
        /// Fast rate over slow rate.
        factor: f64,
    },
    /// Poisson with rate `R * (1 + amplitude * sin(2 pi t / period))`.
    Sine {
        /// Length of a period.
        period: f64,
        /// 0 to 1.
        amplitude: f64,
    },
    /// Poisson whose rate goes in a line over the whole run.
    Ramp {
        /// Rate at the start.
        from: f64,
        /// Rate at the end.
        to: f64,
    },
    /// Poisson whose rate goes up in steps.
    Step {
        /// The first rate.
        from: f64,
        /// The last rate.
        to: f64,
        /// How much more each step is.
        by: f64,
        /// How long a step lasts.
        dwell: f64,
    },
    /// The times of a trace, so many times as fast. Only a mix of a trace has it, and its source alone knows the times.
    Trace {
        /// Above 0.
        speed: f64,
    },
}

/// The shape of the generalised Pareto gaps.
const ETC_SHAPE: f64 = 0.154_971;
/// The default shape of [`Arrival::Pareto`]: its variance is finite, its third moment is not.
const PARETO_SHAPE: f64 = 2.5;

impl FromStr for Arrival {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Arrival, ParseError> {
        let call = Call::parse(text)?;
        let arrival = match call.name() {
            "poisson" => call.none(Arrival::Poisson)?,
            "const" => call.none(Arrival::Const)?,
            "gev" | "gpareto" => call.none(Arrival::GeneralisedPareto)?,
            "pareto" if call.count() == 0 => Arrival::Pareto { shape: PARETO_SHAPE },
            "pareto" => Arrival::Pareto { shape: call.numbers::<1>("pareto(shape)")?[0] },
            "onoff" => {
                let [on, off, factor] = call.numbers("onoff(on,off,factor)")?;
                Arrival::OnOff { on, off, factor }
            }
            "sine" => {
                let [period, amplitude] = call.numbers("sine(period,amplitude)")?;
                Arrival::Sine { period, amplitude }
            }
            "ramp" => {
                let [from, to] = call.numbers("ramp(from,to)")?;
                Arrival::Ramp { from, to }
            }
            "step" => {
                let [from, to, by, dwell] = call.numbers("step(from,to,by,dwell)")?;
                Arrival::Step { from, to, by, dwell }
            }
            _ => return Err(call.unknown("arrival", "poisson const pareto gpareto onoff sine ramp step")),
        };
        arrival.check().map_err(|what| call.wrong(what))?;
        Ok(arrival)
    }
}

impl Arrival {
    fn check(self) -> Result<(), &'static str> {
        let positive = |values: &[f64]| values.iter().all(|value| value.is_finite() && *value > 0.0);
        match self {
            Arrival::Pareto { shape } if !(shape.is_finite() && shape > 1.0) => Err("the shape must be above 1"),
            Arrival::OnOff { on, off, factor } if !positive(&[on, off, factor]) => Err("all three must be above 0"),
            Arrival::Sine { period, amplitude } if !positive(&[period]) || !(0.0..=1.0).contains(&amplitude) => {
                Err("the period must be above 0 and the amplitude from 0 to 1")
            }
            Arrival::Ramp { from, to } if !positive(&[from, to]) => Err("both rates must be above 0"),
            Arrival::Step { from, to, by, dwell } if !positive(&[from, to, by, dwell]) || to < from => {
                Err("rates, step and dwell must be above 0, and the rates ascending")
            }
            _ => Ok(()),
        }
    }

    /// The mean rate over `duration` when `--rate` says `rate`, which some kinds do not look at.
    #[must_use]
    pub fn rate_mean(self, rate: f64, duration: Span) -> f64 {
        match self {
            Arrival::Ramp { from, to } => (from + to) / 2.0,
            Arrival::Step { from, to, by, dwell } => {
                let seconds = duration.0 as f64 / 1e9;
                let steps = (seconds / dwell).ceil().max(1.0) as u64;
                let rates = (0..steps).map(|step| (from + by * step as f64).min(to));
                rates.sum::<f64>() / steps as f64
            }
            _ => rate,
        }
    }

    /// Whether the rate that was asked for is the rate of the whole schedule.
    #[must_use]
    pub fn has_one_rate(self) -> bool {
        !matches!(self, Arrival::Ramp { .. } | Arrival::Step { .. } | Arrival::Trace { .. })
    }

    /// The name alone, for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Arrival::Poisson => "poisson",
            Arrival::Const => "const",
            Arrival::Pareto { .. } => "pareto",
            Arrival::GeneralisedPareto => "gpareto",
            Arrival::OnOff { .. } => "onoff",
            Arrival::Sine { .. } => "sine",
            Arrival::Ramp { .. } => "ramp",
            Arrival::Step { .. } => "step",
            Arrival::Trace { .. } => "trace",
        }
    }
}

/// The schedule: times since its start in nanoseconds, never falling.
#[derive(Clone, Debug)]
pub struct Arrivals {
    kind: Arrival,
    /// Operations per second.
    rate: f64,
    /// Of the whole run, for a ramp.
    seconds: f64,
    draws: Draws,
    index: u64,
    /// Seconds since the start of the last arrival.
    at: f64,
    /// The piece of constant rate that `at` lies in: its rate, its end and its number.
    piece: (f64, f64, u64),
}

impl Arrivals {
    /// The schedule of `kind` at a mean of `rate` operations per second; `duration` matters to a ramp only.
    #[must_use]
    pub fn new(kind: Arrival, rate: f64, duration: Span, seed: u64) -> Arrivals {
        let draws = Draws::new(seed, Stream::Arrival);
        let seconds = (duration.0 as f64 / 1e9).max(1e-9);
        let mut arrivals = Arrivals { kind, rate, seconds, draws, index: 0, at: 0.0, piece: (rate, 0.0, 0) };
        arrivals.piece = arrivals.piece_of(0, 0.0);
        arrivals
    }

    /// Nanoseconds since the start at which the next operation is due.
    pub fn next_ns(&mut self) -> u64 {
        let k = self.index;
        self.index += 1;
        if self.kind == Arrival::Const {
            return (k as f64 * 1e9 / self.rate) as u64;
        }
        let unit = self.draws.unit(k);
        let mean = 1.0 / self.rate;
        match self.kind {
            // A trace's times are not drawn (`source.rs`).
            Arrival::Const | Arrival::Trace { .. } => {}
            Arrival::Poisson => self.at += -unit.ln() * mean,
            Arrival::Pareto { shape } => self.at += mean * (shape - 1.0) / shape * unit.powf(-1.0 / shape),
            Arrival::GeneralisedPareto => {
                self.at += mean * (1.0 - ETC_SHAPE) * (unit.powf(-ETC_SHAPE) - 1.0) / ETC_SHAPE;
            }
            Arrival::OnOff { .. } | Arrival::Step { .. } => self.walk_pieces(-unit.ln()),
            Arrival::Sine { period, amplitude } => self.at = self.sine(-unit.ln(), period, amplitude),
            Arrival::Ramp { from, to } => self.at = self.ramp(-unit.ln(), from, to),
        }
        (self.at * 1e9) as u64
    }

    /// Goes on until the integral of the rate has grown by `mass`.
    fn walk_pieces(&mut self, mut mass: f64) {
        loop {
            let (rate, end, number) = self.piece;
            let room = rate * (end - self.at);
            if mass <= room {
                self.at += mass / rate;
                return;
            }
            mass -= room;
            self.at = end;
            self.piece = self.piece_of(number + 1, end);
        }
    }

    /// Piece `number`, which begins at `start`.
    fn piece_of(&self, number: u64, start: f64) -> (f64, f64, u64) {
        match self.kind {
            Arrival::OnOff { on, off, factor } => {
                let slow = self.rate * (on + off) / (off + factor * on);
                // Its own numbers, far above those of gaps.
                let unit = self.draws.unit((1 << 63) | number);
                let (rate, mean) = if number.is_multiple_of(2) { (slow * factor, on) } else { (slow, off) };
                (rate, start - unit.ln() * mean, number)
            }
            Arrival::Step { from, to, by, dwell } => {
                let rate = (from + by * number as f64).min(to);
                (rate, dwell * (number + 1) as f64, number)
            }
            _ => (self.rate, f64::INFINITY, number),
        }
    }

    /// The time at which the integral of the rate has grown by `mass`, by Newton's method: the integral is smooth and
    /// never falls.
    fn sine(&self, mass: f64, period: f64, amplitude: f64) -> f64 {
        let integral = |t: f64| self.rate * (t + amplitude * period / TAU * (1.0 - (TAU * t / period).cos()));
        let goal = integral(self.at) + mass;
        // The root lies between these, as the rate is at most twice the mean and the wave adds a period's mass at most.
        let (mut low, mut high) = (self.at, self.at + mass / self.rate + period);
        let mut t = self.at + mass / self.rate;
        for _ in 0..64 {
            let error = integral(t) - goal;
            if error > 0.0 {
                high = t;
            } else {
                low = t;
            }
            if error.abs() <= 1e-12 * goal.max(1.0) || high - low < 1e-12 {
                break;
            }
            let slope = self.rate * (1.0 + amplitude * (TAU * t / period).sin());
            let newton = t - error / slope;
            t = if low < newton && newton < high { newton } else { (low + high) / 2.0 };
        }
        t
    }

    fn ramp(&self, mass: f64, from: f64, to: f64) -> f64 {
        if self.at >= self.seconds {
            return self.at + mass / to;
        }
        let slope = (to - from) / self.seconds;
        let rate = from + slope * self.at;
        let left = (rate + to) / 2.0 * (self.seconds - self.at);
        if mass > left {
            return self.seconds + (mass - left) / to;
        }
        // slope / 2 * g^2 + rate * g = mass, solved in the form in which nothing cancels.
        self.at + 2.0 * mass / (rate + (rate * rate + 2.0 * slope * mass).max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests;
