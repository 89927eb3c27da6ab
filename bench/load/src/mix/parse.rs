//! From TOML to a checked [`Mix`]: unknown keys, wrong types, numbers out of bounds and weights that do not sum to
//! 100.00 are errors with file, line and field.

use std::collections::BTreeMap;
use std::ops::Range;

use base::limits::BLOCK_BYTES;
use base::mix64;
use serde::Deserialize;
use toml::Spanned;

use super::{DrawRules, Mix, Population};
use crate::keys::Keys;
use crate::op::{OP_KINDS, OpKind};
use crate::sizes::Sizes;

/// The newest format read here.
const FORMAT: u32 = 1;
/// Blocks of a put: they travel in one command.
const FILE_BYTES_MAX: u64 = 256 * BLOCK_BYTES;

/// Why a mix is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct MixError {
    /// The file, or the built-in mix.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Field, and what is wrong with it.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMix {
    format: Spanned<u32>,
    name: String,
    version: u32,
    #[serde(default)]
    about: String,
    #[serde(default)]
    requires: Vec<Spanned<String>>,
    population: RawPopulation,
    draw: RawDraw,
    op: Spanned<BTreeMap<Spanned<String>, Spanned<RawOp>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPopulation {
    namespaces: Spanned<u32>,
    files_per_namespace: Spanned<RawSizes>,
    #[serde(default)]
    file_bytes: Option<Spanned<u64>>,
    #[serde(default)]
    tree: Option<Spanned<RawTree>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTree {
    depth_max: u32,
    files_per_folder: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDraw {
    namespace: Spanned<RawKeys>,
    path: Spanned<RawKeys>,
    file: Spanned<RawSizes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    dist: String,
    theta: Option<f64>,
    scramble: Option<bool>,
    items: Option<f64>,
    ops: Option<f64>,
    share: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSizes {
    dist: String,
    median: Option<f64>,
    sigma: Option<f64>,
    shape: Option<f64>,
    value: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOp {
    weight: f64,
    update_fraction: Option<f64>,
    limit: Option<u32>,
    files: Option<[u32; 2]>,
    blocks: Option<u32>,
}

struct Text<'a> {
    file: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn error(&self, span: Option<Range<usize>>, what: impl Into<String>) -> MixError {
        let start = span.map_or(0, |span| span.start.min(self.text.len()));
        let line = self.text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        MixError { file: self.file.to_owned(), line, what: what.into() }
    }

    /// `condition`, or the error that `what` holds for the field at `span`.
    fn check(&self, condition: bool, span: Range<usize>, what: &str) -> Result<(), MixError> {
        if condition { Ok(()) } else { Err(self.error(Some(span), what)) }
    }
}

/// The mix of a text.
pub fn parse(file: &str, text: &str) -> Result<Mix, MixError> {
    let source = Text { file, text };
    let raw: RawMix =
        toml::from_str(text).map_err(|error| source.error(error.span(), error.message().replace('\n', ", ")))?;
    let format = *raw.format.get_ref();
    let newer = format!("format = {format} is newer than this binary, which reads {FORMAT}");
    source.check(format == FORMAT, raw.format.span(), &newer)?;
    for driver in &raw.requires {
        let what = format!("requires: there is no driver {:?}; known are native, null, sim", driver.get_ref());
        source.check(["native", "null", "sim"].contains(&driver.get_ref().as_str()), driver.span(), &what)?;
    }
    let mut mix = Mix {
        name: raw.name,
        version: raw.version,
        about: raw.about,
        population: population(&source, &raw.population)?,
        draw: DrawRules {
            namespace: keys(&source, "draw.namespace", &raw.draw.namespace)?,
            path: keys(&source, "draw.path", &raw.draw.path)?,
            file: sizes(&source, "draw.file", &raw.draw.file, FILE_BYTES_MAX)?,
        },
        ends: [0; OP_KINDS],
        update_below: 0,
        batch: (1, 1),
        limit: 500,
        blocks: 1,
        hash: text.bytes().fold(0, |hash, byte| mix64(hash ^ u64::from(byte))),
        weights: [0.0; OP_KINDS],
        recorded: None,
    };
    ops(&source, &raw.op, &mut mix)?;
    Ok(mix)
}

fn population(source: &Text<'_>, raw: &RawPopulation) -> Result<Population, MixError> {
    let namespaces = *raw.namespaces.get_ref();
    let what = "population.namespaces must be from 1 to 1000000";
    source.check((1..=1_000_000).contains(&namespaces), raw.namespaces.span(), what)?;
    let file_bytes = raw.file_bytes.as_ref().map_or(0, |bytes| *bytes.get_ref());
    if let Some(bytes) = &raw.file_bytes {
        let what = "population.file_bytes must be at most 4194304, one block";
        source.check(file_bytes <= BLOCK_BYTES, bytes.span(), what)?;
    }
    let (mut depth_max, mut files_per_folder) = (16, 20);
    if let Some(tree) = &raw.tree {
        (depth_max, files_per_folder) = (tree.get_ref().depth_max, tree.get_ref().files_per_folder);
        let what = "population.tree: depth_max must be from 1 to 64 and files_per_folder above 0";
        source.check((1..=64).contains(&depth_max) && files_per_folder > 0, tree.span(), what)?;
    }
    Ok(Population {
        namespaces,
        files: sizes(source, "population.files_per_namespace", &raw.files_per_namespace, 20_000_000)?,
        file_bytes,
        files_per_folder,
        depth_max,
    })
}

fn keys(source: &Text<'_>, field: &str, raw: &Spanned<RawKeys>) -> Result<Keys, MixError> {
    let RawKeys { dist, theta, scramble, items, ops, share } = raw.get_ref();
    let given = [
        ("theta", theta.is_some()),
        ("scramble", scramble.is_some()),
        ("items", items.is_some()),
        ("ops", ops.is_some()),
        ("share", share.is_some()),
    ];
    let (keys, allowed): (Keys, &[&str]) = match dist.as_str() {
        "zipf" => {
            let keys = Keys::Zipf { theta: theta.unwrap_or(0.99), scramble: scramble.unwrap_or(true) };
            (keys, &["theta", "scramble"])
        }
        "latest" => (Keys::Latest { theta: theta.unwrap_or(0.99) }, &["theta"]),
        "uniform" => (Keys::Uniform, &[]),
        "sequential" => (Keys::Sequential, &[]),
        "hotspot" => (Keys::Hotspot { items: items.unwrap_or(0.2), ops: ops.unwrap_or(0.8) }, &["items", "ops"]),
        "exponential" => (Keys::Exponential { share: share.unwrap_or(0.2) }, &["share"]),
        _ => {
            let known = "zipf, latest, uniform, hotspot, sequential, exponential";
            return Err(source.error(Some(raw.span()), format!("{field}: no distribution {dist:?}; known are {known}")));
        }
    };
    refuse_others(source, field, dist, &given, allowed, raw.span())?;
    let is_sound = theta.is_none_or(|theta| theta > 0.0 && theta <= 10.0)
        && [items, ops].iter().all(|part| part.is_none_or(|part| (0.0..=1.0).contains(&part)))
        && share.is_none_or(|share| share > 0.0 && share <= 1.0);
    let what = format!("{field}: theta must be above 0 and at most 10, items, ops and share parts of 1");
    source.check(is_sound, raw.span(), &what)?;
    Ok(keys)
}

fn sizes(source: &Text<'_>, field: &str, raw: &Spanned<RawSizes>, bound: u64) -> Result<Sizes, MixError> {
    let RawSizes { dist, median, sigma, shape, value, min, max } = raw.get_ref();
    let given = [
        ("median", median.is_some()),
        ("sigma", sigma.is_some()),
        ("shape", shape.is_some()),
        ("value", value.is_some()),
        ("min", min.is_some()),
        ("max", max.is_some()),
    ];
    let top = max.unwrap_or(bound);
    let (sizes, allowed): (Sizes, &[&str]) = match dist.as_str() {
        "lognormal" => {
            let sizes = Sizes::Lognormal { median: median.unwrap_or(1.0), sigma: sigma.unwrap_or(1.0), max: top };
            (sizes, &["median", "sigma", "max"])
        }
        "const" => (Sizes::Const(value.unwrap_or(0)), &["value"]),
        "uniform" => (Sizes::Uniform { min: min.unwrap_or(0), max: top }, &["min", "max"]),
        "pareto" => {
            (Sizes::Pareto { min: min.unwrap_or(1), shape: shape.unwrap_or(1.5), max: top }, &["min", "shape", "max"])
        }
        _ => {
            let known = "lognormal, const, uniform, pareto";
            return Err(source.error(Some(raw.span()), format!("{field}: no distribution {dist:?}; known are {known}")));
        }
    };
    refuse_others(source, field, dist, &given, allowed, raw.span())?;
    let positive = |number: Option<f64>| number.is_none_or(|number| number.is_finite() && number > 0.0);
    let is_sound = positive(*median)
        && positive(*sigma)
        && positive(*shape)
        && top <= bound
        && value.unwrap_or(0) <= bound
        && min.unwrap_or(0) <= top;
    let what = format!("{field}: numbers must be above 0, min at most max, and all at most {bound}");
    source.check(is_sound, raw.span(), &what)?;
    Ok(sizes)
}

/// A field that the distribution does not look at is a mistake worth telling.
fn refuse_others(
    source: &Text<'_>,
    field: &str,
    dist: &str,
    given: &[(&str, bool)],
    allowed: &[&str],
    span: Range<usize>,
) -> Result<(), MixError> {
    match given.iter().find(|(name, is_given)| *is_given && !allowed.contains(name)) {
        None => Ok(()),
        Some((name, _)) => Err(source.error(Some(span), format!("{field}.{name}: {dist} has no {name}"))),
    }
}

fn ops(
    source: &Text<'_>,
    raw: &Spanned<BTreeMap<Spanned<String>, Spanned<RawOp>>>,
    mix: &mut Mix,
) -> Result<(), MixError> {
    for (name, op) in raw.get_ref() {
        let Some(kind) = OpKind::of_name(name.get_ref()) else {
            let known: Vec<&str> = OpKind::ALL.iter().map(|kind| kind.name()).collect();
            let what = format!("op.{}: no such operation; known are {}", name.get_ref(), known.join(", "));
            return Err(source.error(Some(name.span()), what));
        };
        one_op(source, kind, op, mix)?;
    }
    let null = mix.weights[OpKind::Null as usize];
    let what = "op.null: a null machine takes nothing else, so its weight is 100 or 0";
    source.check(null == 0.0 || null == 100.0, raw.span(), what)?;
    let sum: f64 = mix.weights.iter().sum();
    let what = format!("op: weights sum to {sum:.2}, not to 100.00");
    source.check((sum - 100.0).abs() < 0.005, raw.span(), &what)?;
    let mut end = 0.0;
    for (at, weight) in mix.weights.iter().enumerate() {
        end += weight;
        mix.ends[at] = share_of_64(end / 100.0);
    }
    Ok(())
}

fn one_op(source: &Text<'_>, kind: OpKind, op: &Spanned<RawOp>, mix: &mut Mix) -> Result<(), MixError> {
    let RawOp { weight, update_fraction, limit, files, blocks } = op.get_ref();
    let name = kind.name();
    let check = |condition: bool, what: &str| source.check(condition, op.span(), &format!("op.{name}.{what}"));
    check((0.0..=100.0).contains(weight), "weight must be from 0 to 100")?;
    check(update_fraction.is_none() || kind == OpKind::Put, "update_fraction belongs to put")?;
    check(limit.is_none() || matches!(kind, OpKind::List | OpKind::Delta), "limit belongs to list and delta")?;
    check(files.is_none() || kind == OpKind::PutBatch, "files belongs to put_batch")?;
    check(blocks.is_none() || kind == OpKind::HasBlocks, "blocks belongs to has_blocks")?;
    mix.weights[kind as usize] = *weight;
    if let Some(part) = update_fraction {
        check((0.0..=1.0).contains(part), "update_fraction must be from 0 to 1")?;
        mix.update_below = share_of_64(*part);
    }
    if let Some(limit) = limit {
        check((1..=2000).contains(limit), "limit must be from 1 to 2000")?;
        mix.limit = *limit;
    }
    if let Some([min, max]) = files {
        check((1..=*max).contains(min) && *max <= 1000, "files must be [min, max] from 1 to 1000")?;
        mix.batch = (*min, *max);
    }
    if let Some(blocks) = blocks {
        check((1..=4096).contains(blocks), "blocks must be from 1 to 4096")?;
        mix.blocks = *blocks;
    }
    Ok(())
}

/// A part of 1 as a part of 2^64; 1 itself is the largest number.
fn share_of_64(part: f64) -> u64 {
    (part * 2f64.powi(64)) as u64
}
