//! Mixes: what is there before a run, and which operations come how often. Named, versioned, parsed strictly.

mod parse;

use std::sync::Arc;

use crate::keys::Keys;
use crate::op::{OP_KINDS, OpKind};
use crate::sizes::Sizes;
use crate::trace::Trace;

pub use parse::MixError;

/// What is there before the first operation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Population {
    /// Namespaces, each with an account of its own.
    pub namespaces: u32,
    /// Files of a namespace.
    pub files: Sizes,
    /// Bytes of each of them.
    pub file_bytes: u64,
    /// Files in a folder, in the mean.
    pub files_per_folder: u32,
    /// Folders below each other at most.
    pub depth_max: u32,
}

/// How things are drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DrawRules {
    /// Which namespace.
    pub namespace: Keys,
    /// Which file.
    pub path: Keys,
    /// Bytes of a file that is put.
    pub file: Sizes,
}

/// A mix.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix {
    /// `sync`.
    pub name: String,
    /// Raised whenever a number of it changes.
    pub version: u32,
    /// One sentence.
    pub about: String,
    /// What is there.
    pub population: Population,
    /// What is drawn how.
    pub draw: DrawRules,
    /// Upper ends of the kinds' shares, as parts of 2^64, ascending; a kind without a share ends where it begins.
    ends: [u64; OP_KINDS],
    /// Of 2^64: puts that are updates.
    update_below: u64,
    /// Files of a put_batch.
    pub batch: (u32, u32),
    /// Entries of a page.
    pub limit: u32,
    /// Blocks asked for at once.
    pub blocks: u32,
    /// Of the text it was read from; results name it.
    pub hash: u64,
    /// Weights in percent, for reports.
    pub weights: [f64; OP_KINDS],
    /// Nothing is drawn: these operations come, over this population.
    pub recorded: Option<Arc<Trace>>,
}

/// The mixes that come with the binary: name and text.
const BUILT_IN: [(&str, &str); 12] = [
    ("put-small", include_str!("../mixes/put-small.toml")),
    ("sync", include_str!("../mixes/sync.toml")),
    ("sync-chain", include_str!("../mixes/sync-chain.toml")),
    ("spotify", include_str!("../mixes/spotify.toml")),
    ("spotify-w20", include_str!("../mixes/spotify-w20.toml")),
    ("mdtest-create", include_str!("../mixes/mdtest-create.toml")),
    ("mdtest-stat", include_str!("../mixes/mdtest-stat.toml")),
    ("contended", include_str!("../mixes/contended.toml")),
    ("folder-move", include_str!("../mixes/folder-move.toml")),
    ("upload-burst", include_str!("../mixes/upload-burst.toml")),
    ("quick", include_str!("../mixes/quick.toml")),
    ("null", include_str!("../mixes/null.toml")),
];

impl Mix {
    /// The mix of a text; `file` is for errors.
    ///
    /// Errors: [`MixError`] with file, line and field.
    pub fn parse(file: &str, text: &str) -> Result<Mix, MixError> {
        parse::parse(file, text)
    }

    /// The built-in mix of that name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Mix> {
        let (name, text) = BUILT_IN.iter().find(|mix| mix.0 == name)?;
        Some(Mix::parse(name, text).expect("a test parses every built-in mix"))
    }

    /// All built-in mixes, in the order of the manual.
    pub fn all_built_in() -> impl Iterator<Item = Mix> {
        BUILT_IN.iter().filter_map(|(name, _)| Mix::built_in(name))
    }

    /// What a trace holds, to be sent once more. It is named after the mix that was recorded.
    #[must_use]
    pub fn of_trace(trace: Arc<Trace>) -> Mix {
        let mut weights = [0.0; OP_KINDS];
        trace.ops.iter().for_each(|op| weights[op.choice.kind as usize] += 100.0 / trace.ops.len() as f64);
        let namespaces = trace.spaces.len() as u32;
        let files: usize = trace.spaces.iter().map(|space| space.files.len()).sum();
        let times = [trace.end_us(), trace.ops.len() as u64, trace.origin.start_unix_ms];
        Mix {
            name: format!("{}-trace", trace.origin.mix),
            version: trace.origin.version,
            about: format!("what a run of {} sent", trace.origin.mix),
            population: Population {
                namespaces,
                files: Sizes::Const(files as u64 / u64::from(namespaces.max(1))),
                file_bytes: 0,
                files_per_folder: 1,
                depth_max: crate::trace::DEPTH_MAX.into(),
            },
            draw: DrawRules { namespace: Keys::Uniform, path: Keys::Uniform, file: Sizes::Const(0) },
            ends: [0; OP_KINDS],
            update_below: 0,
            batch: (1, 1),
            limit: 1,
            blocks: 1,
            hash: times.iter().fold(trace.origin.hash, |hash, word| base::mix64(hash ^ word)),
            weights,
            recorded: Some(trace),
        }
    }

    /// The kind of operation of a draw.
    #[must_use]
    pub fn kind(&self, bits: u64) -> OpKind {
        let at = self.ends.iter().position(|end| bits < *end);
        // The last share ends below 2^64 by a rounding error.
        at.map_or_else(|| self.last_kind(), |at| OpKind::ALL[at])
    }

    fn last_kind(&self) -> OpKind {
        let at = self.weights.iter().rposition(|weight| *weight > 0.0);
        OpKind::ALL[at.expect("weights sum to 100")]
    }

    /// Whether the put of this draw is an update.
    #[must_use]
    pub fn is_update(&self, bits: u64) -> bool {
        bits < self.update_below
    }

    /// Part of the operations that write, 0 to 1.
    #[must_use]
    pub fn write_share(&self) -> f64 {
        OpKind::ALL.iter().filter(|kind| kind.is_write()).map(|kind| self.weights[*kind as usize]).sum::<f64>() / 100.0
    }

    /// Its operations are commands of a null machine, and nothing else.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.weights[OpKind::Null as usize] > 0.0
    }

    /// The same for a cluster of so many groups: each is a namespace of a mix for a null machine. Others stay as they are.
    #[must_use]
    pub fn over_groups(mut self, groups: u32) -> Mix {
        if self.is_null() {
            self.population.namespaces = groups;
        }
        self
    }

    /// The same with commands of a null machine, or files, of exactly so many bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Mix {
        self.draw.file = Sizes::Const(bytes);
        self
    }

    /// The same with `scale` times as many namespaces, at least one.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Mix {
        let namespaces = f64::from(self.population.namespaces) * scale;
        self.population.namespaces = (namespaces.round() as u32).max(1);
        self
    }
}

#[cfg(test)]
mod tests;
