//! Finding logs in a directory and reading them with a bar, without changing anything.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base::CoreId;
use reactor::FileLogReader;
use seglog::format::meta::META_COPIES;
use seglog::{FoundSegment, LogReader, Settings};
use server::identity::Identity;

use super::LogArgs;
use crate::files::progress::Progress;

/// The log of one core.
#[derive(Debug)]
pub struct CoreLog {
    /// Whose.
    pub core: CoreId,
    /// Where.
    pub dir: PathBuf,
    /// What its `meta`, its segments or the node's identity say of it.
    pub settings: Settings,
}

impl CoreLog {
    /// A reader, with a bar over all segments while stderr is a terminal. A log that has damage is read twice.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn reader(&self, verb: &str, is_hidden: bool) -> Result<Reader> {
        let mut inner = open(&self.dir)?;
        let bytes: u64 = inner.segments()?.iter().map(|segment| segment.bytes).sum();
        let bar = Progress::of(format!("{verb} core {}", self.core), bytes, is_hidden);
        Ok(Reader { inner, bar })
    }
}

/// Reads a log and tells a bar of it.
pub struct Reader {
    inner: FileLogReader,
    bar: Progress,
}

impl Reader {
    /// Removes the bar; returns the bytes that were read.
    pub fn finish(self) -> u64 {
        self.bar.finish();
        self.bar.done()
    }
}

impl LogReader for Reader {
    fn meta(&mut self) -> io::Result<[Option<Vec<u8>>; META_COPIES]> {
        self.inner.meta()
    }

    fn free(&mut self) -> io::Result<u32> {
        self.inner.free()
    }

    fn segments(&mut self) -> io::Result<Vec<FoundSegment>> {
        self.inner.segments()
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bar.add(out.len() as u64);
        self.inner.read(segment_seq, offset, out)
    }
}

fn open(dir: &Path) -> Result<FileLogReader> {
    FileLogReader::look(dir).with_context(|| format!("could not read the log in {}", dir.display()))
}

/// The logs that the arguments name, by core. Warns on stderr when a running node has them.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn find(args: &LogArgs) -> Result<Vec<CoreLog>> {
    let dir = &args.dir;
    let mut dirs = Vec::new();
    if is_log(dir) {
        dirs.push(dir.clone());
    } else {
        let entries = fs::read_dir(dir.join("log"));
        let entries = entries.with_context(|| format!("{} holds no log{}", dir.display(), hint(dir)))?;
        for entry in entries {
            let path = entry?.path();
            if is_log(&path) {
                dirs.push(path);
            }
        }
    }
    let data = if is_log(dir) { dir.parent().and_then(Path::parent) } else { Some(dir.as_path()) };
    let identity = data.and_then(|data| Identity::read(data).ok());
    warn_if_used(data);
    let mut logs = Vec::new();
    for dir in dirs {
        let settings = seglog::inspect::settings_of(&mut open(&dir)?, identity.as_ref().map(|identity| identity.cores))
            .with_context(|| format!("could not read the log in {}", dir.display()))?;
        let settings = match (settings, &identity) {
            (Some(settings), _) => settings,
            (None, Some(identity)) => from_identity(identity, &dir)?,
            (None, None) => bail!(
                "nothing in {} says whose log it is: its meta is lost; name the data directory above it",
                dir.display()
            ),
        };
        if args.core.is_none_or(|core| core == settings.core.0) {
            logs.push(CoreLog { core: settings.core, dir, settings });
        }
    }
    logs.sort_by_key(|log| log.core);
    match (logs.is_empty(), args.core) {
        (true, Some(core)) => bail!("{} holds no log of core {core}", dir.display()),
        (true, None) => bail!("{} holds no log{}", dir.display(), hint(dir)),
        _ => Ok(logs),
    }
}

fn from_identity(identity: &Identity, dir: &Path) -> Result<Settings> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let core = name.strip_prefix('c').and_then(|core| core.parse().ok());
    let core = core.with_context(|| format!("{} is not named c0, c1, ...", dir.display()))?;
    Ok(Settings {
        cluster_id: identity.cluster,
        node_uuid: identity.uuid,
        core: CoreId(core),
        cores: identity.cores,
        segment_bytes: identity.segment_bytes,
        log_bytes_max: 8 * identity.segment_bytes,
        salt_seed: 0,
        batches_in_flight: 1,
    })
}

/// A core's log has `meta`, or segments, or the folder of prepared ones.
fn is_log(dir: &Path) -> bool {
    let is_segment = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("seg-")))
    };
    dir.join("meta").is_file() || fs::read_dir(dir).is_ok_and(|mut entries| entries.any(is_segment))
}

/// Data directories right below, for who named the folder around them.
fn hint(dir: &Path) -> String {
    let below = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut nodes: Vec<String> =
        below.filter(|path| path.join("log").is_dir()).map(|path| path.display().to_string()).collect();
    nodes.sort();
    if nodes.is_empty() { String::new() } else { format!("; name one node: {}", nodes.join(", ")) }
}

/// A running node goes on writing: what is read here is then a moment's, and its newest frames may look torn.
fn warn_if_used(data: Option<&Path>) {
    let Some(file) = data.and_then(|data| File::open(data.join("lock")).ok()) else { return };
    if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        eprintln!("dropstone: a running node has this log; its newest frames may look torn");
    }
}

/// Prints to stdout. A closed pipe is no failure: whoever reads has seen enough.
pub fn put(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// `FROM..TO` or one number.
pub fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no index; write FROM..TO or one"));
    match text.split_once("..") {
        Some((from, to)) => {
            let from = if from.is_empty() { 0 } else { number(from)? };
            Ok(from..if to.is_empty() { u64::MAX } else { number(to)? })
        }
        None => number(text).map(|index| index..index.saturating_add(1)),
    }
}

/// A segment's number, hexadecimal.
pub fn parse_segment(text: &str) -> Result<u64, String> {
    let digits = text.trim_start_matches("seg-").trim_end_matches(".log");
    u64::from_str_radix(digits, 16)
        .map_err(|_| format!("`{text}` is no segment; write its number as in its file's name"))
}
