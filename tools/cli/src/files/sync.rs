//! `dropstone sync`: a local folder and a remote one are kept equal.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use meta::{At, Command, Mkdir, NodeKind, Outcome};
use serde_json::json;
use syncer::engine::Round;
use syncer::run::Wake;
use syncer::{Engine, Event, Native, Options, Pair, SyncError, Tell};

use super::Global;
use super::fail::{Code, Fail};
use super::print;
use super::progress::Progress;
use super::remote::{Remote, parse_path};

/// What the command's help ends with.
pub const HELP: &str = "\
Stays out: symbolic links, special files, names that cannot be in the cluster, temporary names (~$*, .~*, ~*.tmp,
.*.swp, .DS_Store, Thumbs.db, desktop.ini), what .dropstoneignore in LOCAL names, and shared folders inside REMOTE,
which are synced into folders of their own. Its own state is in LOCAL/.dropstone; without it both sides are compared
anew, and nothing is deleted.

.dropstoneignore has a pattern a line: `*.o` any such name, `/build/` a folder at the top, `docs/*.pdf`, `**/cache`.

Examples:
  dropstone sync ~/Files /
  dropstone sync ~/Photos /photos --once
  dropstone sync ~/Photos /photos --dry-run

Exit codes: 0 done, or stopped  1 some not done (each is named), or the folder cannot be read  2 usage  3 not found
            4 a file is there  5 cluster unreachable  6 refused
With --json each line of stdout is one JSON object; errors stay text, on stderr.";

/// Arguments of `dropstone sync`.
#[derive(Args, Debug)]
pub struct SyncArgs {
    /// The folder here; made if it is not there.
    local: PathBuf,
    /// The folder there, beginning with `/`; made if it is not there.
    remote: String,
    /// End when both are equal.
    #[arg(long)]
    once: bool,
    /// Only tell what would be done first; nothing is changed.
    #[arg(long, conflicts_with = "once")]
    dry_run: bool,
    /// Files on their way at once.
    #[arg(long, short, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
}

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &SyncArgs, global: &Global) -> Result<(), Fail> {
    let (wake, wakes) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, signal) = (Arc::clone(&stop), wake.clone());
    // Before any other thread starts: they are not to hear of signals.
    let on_stop = move || {
        asked.store(true, Ordering::Relaxed);
        // Nobody waits between the rounds: the flag alone is seen.
        let _ = signal.send(Wake::Stop);
    };
    reactor::signals::on_stop(on_stop).map_err(|error| Fail::new(Code::Failed, format!("signals: {error}")))?;
    let (native, pair) = open(args, global)?;
    let native = Arc::new(native);
    let teller = Teller { json: global.json, stop: &stop, bar: Mutex::default() };
    let options = Options { workers: usize::from(args.jobs), ..Options::default() };
    let mut engine = Engine::open(&args.local, pair, &*native, &teller, &stop, options, args.dry_run)?;
    if args.dry_run {
        // The plan looks at one phase after the other; these are the steps that are clear now.
        for line in engine.preview()? {
            if global.json { print::line(json!({ "would": line }))? } else { print::line(print::printable(&line))? }
        }
        return Ok(());
    }
    if args.once {
        let round = engine.round()?;
        teller.summary(round)?;
        return match round.failed {
            0 => Ok(()),
            count => Err(Fail::new(Code::Failed, format!("{count} were not done; see above"))),
        };
    }
    let mut is_first = true;
    let mut idle = |round: Round| {
        if std::mem::take(&mut is_first) || round.done > 0 || round.failed > 0 {
            // Nobody reads any more: the next event ends it.
            let _ = teller.summary(round);
        }
    };
    syncer::run(&mut engine, &native, &teller, &stop, (wake, &wakes), &mut idle)?;
    teller.line(if global.json { r#"{"state":"stopped"}"# } else { "stopped" })
}

/// The cluster, and what is synced with what; both folders are made.
fn open(args: &SyncArgs, global: &Global) -> Result<(Native, Pair), Fail> {
    let path = parse_path(&args.remote)?;
    if !args.dry_run {
        fs::create_dir_all(&args.local).map_err(|error| Fail::local(&args.local, error))?;
    }
    if !args.local.is_dir() {
        return Err(Fail::local(&args.local, "it is no folder"));
    }
    let (remote, path) = Remote::open_at(global, path, true)?;
    let there = remote.lookup(&path)?;
    if there.is_none() && args.local.join(".dropstone/state").exists() {
        let text = format!(
            "{}: not found, and {} was synced before; nothing was touched; remove its .dropstone to begin anew",
            print::path(&path),
            args.local.display()
        );
        return Err(Fail::new(Code::NotFound, text));
    }
    if there.is_none() && !args.dry_run {
        let outcome = remote.command(Command::Mkdir(Mkdir { at: At::path(&path), autorename: false }))?;
        // Another client may have made it just now.
        let is_there = matches!(outcome, Outcome::Conflict { folder: true, file: false, file_ancestor: false });
        if !outcome.is_ok() && !is_there {
            return Err(Fail::of_outcome(&path, &outcome));
        }
    }
    let entry = remote.entry(&path)?;
    if entry.meta.kind == NodeKind::File {
        return Err(Fail::new(Code::Conflict, format!("{}: it is a file; name a folder", print::path(&path))));
    }
    let pair = Pair { acct: remote.acct, nsid: remote.nsid, root: entry.meta.node };
    Ok((Native::new(remote.client.clone(), remote.acct, remote.nsid), pair))
}

impl From<SyncError> for Fail {
    fn from(error: SyncError) -> Fail {
        let code = match error {
            SyncError::Unreachable(_) => Code::Unreachable,
            SyncError::Remote(_) => Code::Refused,
            SyncError::State(_) | SyncError::Local { .. } => Code::Failed,
        };
        Fail::new(code, error)
    }
}

/// Prints what is told: changes on stdout, what was not done on stderr, and a bar while there is much to move.
struct Teller<'a> {
    json: bool,
    stop: &'a AtomicBool,
    bar: Mutex<Option<Progress>>,
}

/// Fewer files show no bar.
const BAR_FILES_MIN: usize = 2;
/// Nor do fewer bytes.
const BAR_BYTES_MIN: u64 = 8 << 20;

impl Teller<'_> {
    fn bar(&self) -> MutexGuard<'_, Option<Progress>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Above the bar, if there is one.
    fn line(&self, text: &str) -> Result<(), Fail> {
        match &*self.bar() {
            Some(progress) => progress.above(|| print::line(text)),
            None => print::line(text),
        }
    }

    fn summary(&self, round: Round) -> Result<(), Fail> {
        let Round { done, failed, left_out, is_stopped } = round;
        if self.json {
            let state = if is_stopped { "stopped" } else { "in sync" };
            return self
                .line(&json!({ "state": state, "done": done, "failed": failed, "left_out": left_out }).to_string());
        }
        let state = match (is_stopped, failed) {
            (true, _) => "stopped",
            (false, 0) => "in sync",
            (false, _) => "not in sync",
        };
        self.line(&format!("{state}: {done} changes, {left_out} left out, {failed} failed"))
    }
}

impl Tell for Teller<'_> {
    fn event(&self, event: Event) {
        let is_bad = matches!(event, Event::Failed(..) | Event::LeftOut(..));
        let told = if self.json {
            self.line(&json!({ "event": event.verb(), "path": event.path(), "more": event.more() }).to_string())
        } else if is_bad {
            let text = print::printable(&event.to_string());
            match &*self.bar() {
                Some(progress) => progress.note(&text),
                None => eprintln!("{text}"),
            }
            Ok(())
        } else {
            self.line(&print::printable(&event.to_string()))
        };
        if told.is_err() {
            // Nobody reads any more, like `head`.
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn begin(&self, files: usize, bytes: u64) {
        if files >= BAR_FILES_MIN && bytes >= BAR_BYTES_MIN {
            *self.bar() = Some(Progress::new("sync", files, bytes, self.json));
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(progress) = &*self.bar() {
            progress.add(bytes);
        }
    }

    fn end(&self) {
        if let Some(progress) = self.bar().take() {
            progress.finish();
        }
    }
}
