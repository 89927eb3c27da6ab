//! From the command line to a [`Plan`].

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base::mono::Span;
use base::{CoreId, mix64};
use clap::{Args, ValueEnum};
use load::arrivals::Arrival;
use load::generator::{Late, Loop};
use load::mix::Mix;
use load::phases::PhaseSettings;
use load::session::Plan;
use load::source::StreamSettings;
use reactor::clock;

use crate::cluster::Target;
use crate::exit::usage;

/// What happens to operations that are overdue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LateWish {
    /// They leave at once.
    Send,
    /// They leave at no more than twice the rate.
    Pace,
    /// Those later than --late-limit are dropped and counted.
    Skip,
}

/// Whether acknowledged writes are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum VerifyWish {
    /// All of them.
    Full,
    /// None; the result says so.
    Off,
}

/// What a load is made of.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// A built-in mix (`dropstone bench mixes`), or a file.
    #[arg(long, value_name = "NAME|FILE")]
    mix: String,
    /// Bytes of a null command, instead of the mix's [default: 16]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(0..=base::limits::COMMAND_BYTES_MAX as u64))]
    value_size: Option<u64>,
    /// So many times the namespaces of the mix; the result says so.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// poisson, const, pareto(shape), gpareto, onoff(on,off,factor), sine(period,amplitude), ramp(from,to),
    /// step(from,to,by,dwell).
    #[arg(long, value_name = "P", default_value = "poisson")]
    arrival: Arrival,
    /// The longest warm-up.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = load::text::parse_span)]
    warmup_max: Span,
    /// Measure after 5 s, steady or not.
    #[arg(long)]
    no_steady: bool,
    /// Of all that is random [default: from name and version of the mix]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    how: HowArgs,
}

/// How operations are sent and judged, whatever they are.
#[derive(Args, Clone, Debug)]
pub struct HowArgs {
    /// Operations that are overdue.
    #[arg(long, value_enum, default_value = "send")]
    late: LateWish,
    /// How late --late skip lets an operation be.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = load::text::parse_span)]
    late_limit: Span,
    /// Operations in flight.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    inflight_max: u32,
    /// Generator cores.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cores: u32,
    /// Processors that generator cores are pinned to, one for each.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Connections of a generator core to each core of the cluster.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Send everything to this core of each node, and let the node take it to the core that has it.
    #[arg(long, value_name = "CORE")]
    only_core: Option<u16>,
    /// How long to wait between filling the cluster and loading it.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = load::text::parse_span)]
    settle: Span,
    /// Look for every acknowledged write afterwards.
    #[arg(long, value_enum, default_value = "full")]
    verify: VerifyWish,
    /// Percent of the operations that may fail.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.01)]
    errors_max: f64,
    /// How long one operation may take, retries included.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = load::text::parse_span)]
    op_timeout: Span,
    /// Before an operation is due the ring is asked again and again for so long [default: 50us, 0 with 2 processors]
    #[arg(long, value_name = "TIME", value_parser = load::text::parse_span)]
    spin: Option<Span>,
}

impl LoadArgs {
    /// What `bench quick` loads.
    pub fn quick() -> LoadArgs {
        LoadArgs {
            mix: "quick".to_owned(),
            value_size: None,
            scale: 1.0,
            arrival: Arrival::Poisson,
            warmup_max: Span::from_ms(8000),
            no_steady: true,
            seed: None,
            how: HowArgs::quick(),
        }
    }

    /// As [`LoadArgs::quick`], of another mix.
    pub fn brief(mix: &str, scale: f64) -> LoadArgs {
        LoadArgs { mix: mix.to_owned(), scale, ..LoadArgs::quick() }
    }

    /// The mix, as it was named.
    pub fn mix(&self) -> &str {
        &self.mix
    }

    /// Whether it is for a null machine.
    pub fn is_null(&self) -> Result<bool> {
        Ok(find_mix(&self.mix)?.is_null())
    }

    /// How it is sent.
    pub fn how(&self) -> &HowArgs {
        &self.how
    }

    /// What a crash's time is drawn from: the seed of the load.
    pub fn seed_of_crash(&self) -> Result<u64> {
        let mix = find_mix(&self.mix)?;
        Ok(self.seed.unwrap_or_else(|| seed_of(&mix)))
    }

    /// The plan of one run; `groups` is filled in once the cluster has answered.
    pub fn plan(
        &self,
        target: &Target,
        late: Late,
        rate: Option<f64>,
        closed: Option<(u32, Span)>,
        duration: Span,
    ) -> Result<Plan> {
        if duration < Span::from_ms(1000) {
            return Err(usage("--duration is below one second; a second is the shortest interval"));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(usage("--scale must be above 0"));
        }
        let mut mix = find_mix(&self.mix)?.scaled(self.scale);
        if let Some(bytes) = self.value_size {
            if !mix.is_null() {
                return Err(usage("--value-size is of null commands: use it with --mix null"));
            }
            mix = mix.with_bytes(bytes);
        }
        let seed = self.seed.unwrap_or_else(|| seed_of(&mix));
        let pacing = match (rate, closed) {
            (_, Some((clients, think))) => Loop::Closed { clients, think },
            (rate, None) => Loop::Open { late, rate: rate.context("an open loop has a --rate")? },
        };
        let stream = StreamSettings {
            mix: Arc::new(mix),
            seed,
            arrival: if closed.is_some() { Arrival::Const } else { self.arrival },
            rate: rate.unwrap_or(1.0),
            duration: Span(duration.0 + self.warmup_max.0),
        };
        let phases = PhaseSettings {
            duration,
            warmup_min: Span(self.warmup_max.0.min(Span::from_ms(5000).0)),
            warmup_max: self.warmup_max,
            waits_for_steady: !self.no_steady,
            is_whole: false,
        };
        self.how.plan(target, stream, pacing, phases)
    }
}

impl HowArgs {
    /// What `bench quick` does.
    fn quick() -> HowArgs {
        HowArgs {
            late: LateWish::Send,
            late_limit: Span::from_ms(100),
            inflight_max: 65_536,
            cores: 1,
            cpus: Vec::new(),
            connections: 1,
            only_core: None,
            settle: Span::from_ms(500),
            verify: VerifyWish::Full,
            errors_max: 0.01,
            op_timeout: Span::from_ms(10_000),
            spin: None,
        }
    }

    /// Whether every acknowledged write is looked for afterwards.
    pub fn verifies(&self) -> bool {
        self.verify == VerifyWish::Full
    }

    /// What is done with operations that are overdue.
    pub fn late(&self) -> Late {
        match self.late {
            LateWish::Send => Late::Send,
            LateWish::Pace => Late::Pace,
            LateWish::Skip => Late::Skip(self.late_limit),
        }
    }

    /// The plan of one run of `stream`; `groups` is filled in once the cluster has answered.
    pub fn plan(&self, target: &Target, stream: StreamSettings, pacing: Loop, phases: PhaseSettings) -> Result<Plan> {
        if !(0.0..=100.0).contains(&self.errors_max) {
            return Err(usage("--errors-max must be from 0 to 100"));
        }
        if !self.cpus.is_empty() && self.cpus.len() != self.cores as usize {
            return Err(usage(format!("--cpus names {} processors for {} cores", self.cpus.len(), self.cores)));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let is_local = |target: &String| target.starts_with("127.") || target.starts_with("localhost");
        let targets = target.targets();
        Ok(Plan {
            stream,
            pacing,
            in_flight_max: self.inflight_max as usize,
            phases,
            settle: self.settle,
            cores: self.cores,
            cpus: self.cpus.clone(),
            lanes: usize::from(self.connections),
            only_core: self.only_core.map(CoreId),
            is_shared: targets.iter().any(is_local),
            targets,
            groups: 1,
            deadline: self.op_timeout,
            spin: self.spin.unwrap_or(if processors <= 2 { Span(0) } else { Span::from_us(50) }),
            verifies: self.verifies(),
            errors_max: self.errors_max / 100.0,
            records: false,
            run: format!("{:x}", clock::wall_ms()),
        })
    }
}

/// A built-in mix, or one from a file.
fn find_mix(name: &str) -> Result<Mix> {
    if let Some(mix) = Mix::built_in(name) {
        return Ok(mix);
    }
    if !Path::new(name).exists() {
        let known: Vec<String> = Mix::all_built_in().map(|mix| mix.name).collect();
        return Err(usage(format!("there is no mix and no file {name:?}; built in are {}", known.join(" "))));
    }
    let text = std::fs::read_to_string(name).map_err(|error| usage(format!("could not read {name}: {error}")))?;
    Mix::parse(name, &text).map_err(usage)
}

/// The same mix is the same stream, unless told otherwise.
fn seed_of(mix: &Mix) -> u64 {
    mix.name.bytes().fold(u64::from(mix.version), |seed, byte| mix64(seed ^ u64::from(byte)))
}

/// Requests per second of one generator core alone.
pub fn null_rate(duration: Span) -> f64 {
    let mix = Mix::built_in("put-small").expect("it is built in");
    let seed = seed_of(&mix);
    load::session::null_rate(mix, seed, duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { target: vec!["127.0.0.1:1".to_owned()], account: 1, json: false, explain: false }
    }

    #[test]
    fn a_mix_that_is_nowhere_is_told_with_those_that_are() {
        let load = LoadArgs { mix: "snyc".to_owned(), ..LoadArgs::quick() };
        let error = load.plan(&target(), Late::Send, Some(1.0), None, Span::from_ms(2000)).unwrap_err().to_string();
        assert!(error.contains("\"snyc\"; built in are put-small sync"), "{error}");
    }

    #[test]
    fn numbers_out_of_bounds_are_usage_errors() {
        let plan = |load: LoadArgs, ms| load.plan(&target(), Late::Send, Some(1.0), None, Span::from_ms(ms));
        let with = |how: HowArgs| LoadArgs { how, ..LoadArgs::quick() };
        assert!(plan(LoadArgs::quick(), 999).is_err());
        assert!(plan(LoadArgs { scale: 0.0, ..LoadArgs::quick() }, 2000).is_err());
        assert!(plan(with(HowArgs { cpus: vec![0, 1], ..HowArgs::quick() }), 2000).is_err());
        assert!(plan(with(HowArgs { errors_max: 101.0, ..HowArgs::quick() }), 2000).is_err());
        assert!(plan(LoadArgs::quick(), 2000).is_ok());
    }

    #[test]
    fn the_seed_follows_from_name_and_version() {
        let mix = Mix::built_in("sync").unwrap();
        assert_eq!(seed_of(&mix), seed_of(&mix.clone()));
        let mut newer = mix.clone();
        newer.version += 1;
        assert_ne!(seed_of(&mix), seed_of(&newer));
        assert_ne!(seed_of(&mix), seed_of(&Mix::built_in("spotify").unwrap()));
    }
}
