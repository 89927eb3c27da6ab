//! What is in a trace, in numbers: for people, and for machines.

use std::fmt;

use serde::Serialize;

use super::Trace;
use crate::op::OpKind;
use crate::report::words;

/// Of one kind of operation.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct KindFacts {
    /// Its name in mixes.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// Of a put: how many bring new content for a file that is there.
    pub updates: u64,
    /// Of a put: median and largest file, in bytes. Else files of batches, entries of pages, blocks asked for: median
    /// and most of one operation.
    pub size: [u64; 2],
}

/// What is in a trace.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Facts {
    /// The mix that was sent.
    pub mix: String,
    /// Its version.
    pub version: u32,
    /// Of contents, and of what was drawn; 16 hex digits.
    pub seed: String,
    /// When the run began.
    pub start_unix_ms: u64,
    /// Answers decided when operations left, not a schedule.
    pub is_closed: bool,
    /// From the start to the last operation.
    pub seconds: f64,
    /// What was measured, in seconds since the start.
    pub window_s: [f64; 2],
    /// Namespaces.
    pub namespaces: usize,
    /// Namespaces in which something was done.
    pub namespaces_used: usize,
    /// The share of the operations in the busiest tenth of the namespaces.
    pub busiest_tenth: f64,
    /// Folders there were.
    pub folders: u64,
    /// Files there were.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Operations.
    pub operations: u64,
    /// Of the busiest second.
    pub rate_max: u64,
    /// By kind, the most frequent first.
    pub kinds: Vec<KindFacts>,
    /// Of the file.
    pub bytes: u64,
    /// From which byte on it is not to be trusted, and why; empty where all is good.
    pub damage: String,
}

impl Facts {
    /// Of a trace in a file of so many bytes; `damage` as [`Facts::damage`].
    #[must_use]
    pub fn of(trace: &Trace, bytes: u64, damage: String) -> Facts {
        let origin = &trace.origin;
        let mut by_namespace = vec![0u64; trace.spaces.len()];
        trace.ops.iter().for_each(|op| by_namespace[op.namespace as usize] += 1);
        by_namespace.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        let tenth: u64 = by_namespace.iter().take(by_namespace.len().div_ceil(10)).sum();
        let files = trace.spaces.iter().flat_map(|space| &space.files);
        Facts {
            mix: origin.mix.clone(),
            version: origin.version,
            seed: format!("{:016x}", origin.seed),
            start_unix_ms: origin.start_unix_ms,
            is_closed: origin.is_closed,
            seconds: trace.ops.last().map_or(0.0, |op| op.at_us as f64 / 1e6),
            window_s: [origin.window_us.0 as f64 / 1e6, origin.window_us.1 as f64 / 1e6],
            namespaces: trace.spaces.len(),
            namespaces_used: by_namespace.iter().filter(|count| **count > 0).count(),
            busiest_tenth: tenth as f64 / trace.ops.len().max(1) as f64,
            folders: trace.spaces.iter().map(|space| space.folders.len() as u64 + 1).sum(),
            file_bytes: files.clone().map(|file| file.1).sum(),
            files: files.count() as u64,
            operations: trace.ops.len() as u64,
            rate_max: rate_max(trace),
            kinds: kinds(trace),
            bytes,
            damage,
        }
    }
}

/// Operations of the busiest second, of those that begin at a whole one.
fn rate_max(trace: &Trace) -> u64 {
    let seconds = trace.ops.chunk_by(|a, b| a.at_us / 1_000_000 == b.at_us / 1_000_000);
    seconds.map(|second| second.len() as u64).max().unwrap_or(0)
}

fn kinds(trace: &Trace) -> Vec<KindFacts> {
    let of = |kind: OpKind| {
        let choices = trace.ops.iter().map(|op| op.choice).filter(|choice| choice.kind == kind);
        let is_put = kind == OpKind::Put;
        let updates = choices.clone().filter(|choice| choice.is_update).count() as u64;
        let size = choices.map(|choice| if is_put { choice.size } else { choice.count.into() });
        let mut sizes: Vec<u64> = size.collect();
        sizes.sort_unstable();
        let size = [sizes.get(sizes.len() / 2), sizes.last()].map(|size| size.copied().unwrap_or(0));
        KindFacts { kind: kind.name(), count: sizes.len() as u64, updates, size }
    };
    let mut kinds: Vec<KindFacts> = OpKind::ALL.into_iter().map(of).filter(|kind| kind.count > 0).collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    kinds
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pacing = if self.is_closed { "closed loop" } else { "open loop" };
        let when = words::utc(self.start_unix_ms);
        writeln!(f, "recorded    {}/{}, {pacing}, {when}, seed {}", self.mix, self.version, self.seed)?;
        let [from, until] = self.window_s;
        writeln!(f, "length      {:.1} s; measured from {from:.1} to {until:.1} s", self.seconds)?;
        let (namespaces, used) = (words::whole(self.namespaces as u64), words::whole(self.namespaces_used as u64));
        let tenth = words::percent(self.busiest_tenth);
        writeln!(f, "namespaces  {namespaces}, {used} of them used; the busiest tenth has {tenth} of the operations")?;
        let (folders, files) = (words::whole(self.folders), words::whole(self.files));
        writeln!(f, "population  {folders} folders, {files} files, {}", words::bytes(self.file_bytes as f64))?;
        let mean = words::rate(self.operations as f64 / self.seconds.max(1e-6));
        let (operations, most) = (words::whole(self.operations), words::rate(self.rate_max as f64));
        writeln!(f, "operations  {operations}, {mean} in the mean, {most} in the busiest second")?;
        for KindFacts { kind, count, updates, size: [median, most] } in &self.kinds {
            let share = words::percent(*count as f64 / self.operations as f64);
            let count = words::whole(*count);
            let updates =
                if *updates > 0 { format!(", {} are updates", words::whole(*updates)) } else { String::new() };
            let size = match *kind {
                "put" => {
                    let [median, most] = [median, most].map(|bytes| words::bytes(*bytes as f64));
                    format!(", median {median}, largest {most}")
                }
                _ if *most > 1 => format!(", median of {median} each, most {most}"),
                _ => String::new(),
            };
            writeln!(f, "  {kind:<11} {share:>7}  {count}{updates}{size}")?;
        }
        let each = self.bytes as f64 / self.operations.max(1) as f64;
        let bytes = words::bytes(self.bytes as f64);
        let state = if self.damage.is_empty() { "whole".to_owned() } else { format!("NOT WHOLE {}", self.damage) };
        writeln!(f, "file        {bytes}, {each:.1} B an operation; {state}")
    }
}
