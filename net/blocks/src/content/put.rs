//! `files/upload`: one body becomes one file by one command, and the way of any put through mounts.

use base::{Jid, Nsid};
use meta::{At, Command, CommitFile, Metadata, Outcome, PresentBlock, PresentPart, PutMode, Rev, StoreAndCommit};

use super::body::Body;
use super::cut::{CutOptions, cut};
use super::error::{ContentError, unexpected};
use super::hash::content_hash_of;
use super::{Caller, Content};

/// Namespaces that one path can lead through: a root and what hangs in it.
pub(super) const HOPS_MAX: usize = 3;

/// What a put does when something is at its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Only where nothing is.
    #[default]
    Add,
    /// Replace a file.
    Overwrite,
    /// Replace exactly this revision.
    Update(Rev),
}

/// Where a file is to be, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutTarget {
    /// The namespace where `at` begins.
    pub nsid: Nsid,
    /// The place there.
    pub at: At,
    /// What to do when something is there.
    pub mode: Mode,
    /// Take another name instead of a conflict.
    pub autorename: bool,
    /// The same content there is a conflict too.
    pub strict: bool,
    /// In the names of conflicted copies of an update.
    pub label: String,
    /// As the client says, milliseconds since 1970.
    pub client_mtime_ms: Option<i64>,
}

/// How a put ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Of the machine; [`Outcome::metadata`] of a file that is there.
    pub outcome: Outcome,
    /// The file's path from where the target's began, as far as that is known; `None` for one that was named by its id.
    pub path_display: Option<String>,
}

impl Put {
    pub(super) fn of(target: &PutTarget, outcome: Outcome) -> Put {
        let path_display = outcome.metadata().and_then(|meta| path_of(&target.at, meta));
        Put { outcome, path_display }
    }
}

/// The target's path with the name that the file got.
fn path_of(at: &At, meta: &Metadata) -> Option<String> {
    let (parent, _) = at.path.rsplit_once('/')?;
    (at.node.0 == 0).then(|| format!("{parent}/{}", meta.name))
}

impl PutTarget {
    /// The put of this target in one namespace, still without content. A revision of another is never current there.
    pub(super) fn commit(&self, nsid: Nsid, at: At) -> CommitFile {
        let mode = match self.mode {
            Mode::Add => PutMode::Add,
            Mode::Overwrite => PutMode::Overwrite,
            Mode::Update(rev) if rev.nsid == nsid => PutMode::Update(rev.jid),
            Mode::Update(_) => PutMode::Update(Jid(0)),
        };
        CommitFile {
            at,
            mode,
            autorename: self.autorename,
            strict: self.strict,
            label: self.label.clone(),
            client_mtime_ms: self.client_mtime_ms,
            ..CommitFile::default()
        }
    }
}

impl Content {
    /// `files/upload`: cuts the body and puts the file, by one `StoreAndCommit` (one more for each mount on its path).
    ///
    /// What the machine refuses is the [`Put::outcome`]. Errors: [`ContentError`]; then nothing was put.
    pub async fn upload<B: Body>(
        &self,
        caller: Caller,
        target: &PutTarget,
        content_hash: Option<[u8; 32]>,
        body: &mut B,
    ) -> Result<Put, ContentError> {
        let share = self.uploads.share();
        let options = CutOptions { content_hash, ends_file: true, ..CutOptions::default() };
        let mut cut = cut(&self.store, &share, body, options).await?;
        let names: Vec<_> = cut.blocks.iter().map(|block| block.hash).collect();
        let (mut nsid, mut at) = (target.nsid, target.at.clone());
        for _ in 0..HOPS_MAX {
            self.refresh(&mut cut.blocks).await?;
            let mut commit = target.commit(nsid, at);
            commit.size = cut.call_bytes;
            commit.content_hash = content_hash_of(&names);
            commit.blocks = names.clone();
            let both = StoreAndCommit { commit, present: present_parts(&cut.blocks) };
            match self.sessions.command(caller.acct, nsid, Command::StoreAndCommit(both)).await? {
                Outcome::Elsewhere { nsid: next, rest } => (nsid, at) = (next, At::path(&rest)),
                outcome @ (Outcome::NeedBlocks(_) | Outcome::BadContentHash) => {
                    return Err(unexpected("an upload", &outcome));
                }
                outcome => return Ok(Put::of(target, outcome)),
            }
        }
        Err(ContentError::Internal(format!("a path leads through more than {HOPS_MAX} namespaces")))
    }
}

/// What a command attests of its blocklist: each name once.
pub(super) fn present_parts(blocks: &[PresentBlock]) -> Vec<PresentPart> {
    let mut seen = std::collections::HashSet::new();
    let blocks = blocks.iter().zip(0..).filter(|(block, _)| seen.insert(block.hash));
    blocks.map(|(block, position)| part(block, position)).collect()
}

fn part(block: &PresentBlock, position: u32) -> PresentPart {
    PresentPart { position, bytes: block.bytes, put_at_ms: block.put_at_ms }
}
