//! Looks, plans, does the first steps, looks again: until both sides are equal or what is left cannot be done.

mod here;
mod there;
mod workers;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base_tree::BaseTree;
use crate::cloud::{Cloud, CloudError};
use crate::feed::{Feed, FeedError};
use crate::ignore::{IGNORE_FILE, Ignore, PART_PREFIX, STATE_FOLDER};
use crate::local_tree::{LOCAL_ROOT, LocalId, LocalTree};
use crate::plan::{Action, Plan, Subject, plan};
use crate::remote_tree::RemoteTree;
use crate::state::{self, Pair, State, StateError};
use crate::tell::{Event, Tell};
use crate::transfer::Done;
use crate::{Stamp, disk, name};

/// Times that one thing may change under our hands in one round before it is left for the next.
const AGAIN_MAX: u32 = 8;
/// Phases of one round; deep trees and long circles take a few hundred.
const PHASES_MAX: u32 = 20_000;
/// What was done is noted at least so often while files are on their way.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Files between two notes of it.
const SAVE_FILES: usize = 256;

/// How it works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files on their way at once.
    pub workers: usize,
    /// In the names of conflicted copies.
    pub host: String,
}

impl Default for Options {
    fn default() -> Options {
        Options { workers: 8, host: name::host() }
    }
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Nobody answers: the same may do later.
    #[error("{0}")]
    Unreachable(String),
    /// The remote folder has gone, or the cluster refuses.
    #[error("{0}")]
    Remote(String),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The local folder itself.
    #[error("{path}: {error}", path = path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

impl From<FeedError> for SyncError {
    fn from(error: FeedError) -> SyncError {
        match error {
            FeedError::Cloud(error) => error.into(),
            other => SyncError::Remote(other.to_string()),
        }
    }
}

impl From<CloudError> for SyncError {
    fn from(error: CloudError) -> SyncError {
        match error {
            CloudError::Unreachable(text) => SyncError::Unreachable(text),
            other => SyncError::Remote(other.to_string()),
        }
    }
}

/// What a round came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Round {
    /// Changes made, on either side.
    pub done: usize,
    /// Things that were not done; each was told.
    pub failed: usize,
    /// Things that stay out and whose owner should know; each was told.
    pub left_out: usize,
    /// It was asked to stop before the end.
    pub is_stopped: bool,
}

/// One local folder and one remote one.
pub struct Engine<'a> {
    cloud: &'a dyn Cloud,
    tell: &'a dyn Tell,
    stop: &'a AtomicBool,
    options: Options,
    root: PathBuf,
    root_stamp: Stamp,
    feed: Feed,
    base: BaseTree,
    local: LocalTree,
    remote: RemoteTree,
    /// None in a dry run.
    state: Option<State>,
    ignore_stamp: Option<Stamp>,
    dirty: HashSet<LocalId>,
    is_scan_due: bool,
    /// What failed in this round, and how often something changed under our hands.
    held: HashSet<Subject>,
    again: HashMap<Subject, u32>,
    told: HashSet<(String, String)>,
    round: Round,
    /// Folders with new names since the base was last saved.
    unsynced: HashSet<PathBuf>,
}

impl<'a> Engine<'a> {
    /// Opens both sides.
    ///
    /// Errors: [`SyncError`].
    pub fn open(
        root: &Path,
        pair: Pair,
        cloud: &'a dyn Cloud,
        tell: &'a dyn Tell,
        stop: &'a AtomicBool,
        options: Options,
        is_dry: bool,
    ) -> Result<Engine<'a>, SyncError> {
        let local_error = |error| SyncError::Local { path: root.to_owned(), error };
        let root_stamp = disk::stamp(root).map_err(local_error)?;
        let (state, loaded) = if is_dry {
            (None, state::peek(root, pair)?)
        } else {
            let (state, loaded) = State::open(root, pair)?;
            (Some(state), loaded)
        };
        let mut remote = RemoteTree::new(pair.root);
        if let Some((cursor, otherwise)) = loaded.remote {
            let as_base = loaded.base.iter().filter(|entry| !otherwise.contains_key(&entry.node)).map(state::as_remote);
            as_base.chain(otherwise.values().flatten().cloned()).for_each(|there| remote.put(there));
            remote.cursor = cursor;
        }
        let feed = Feed::open(cloud, &remote)?;
        let local = LocalTree::new(root, Ignore::default()).map_err(local_error)?;
        Ok(Engine {
            cloud,
            tell,
            stop,
            options,
            root: root.to_owned(),
            root_stamp,
            feed,
            base: loaded.base,
            local,
            remote,
            state,
            ignore_stamp: None,
            dirty: HashSet::new(),
            is_scan_due: true,
            held: HashSet::new(),
            again: HashMap::new(),
            told: HashSet::new(),
            round: Round::default(),
            unsynced: HashSet::new(),
        })
    }

    /// Something happened in this folder here.
    pub fn mark(&mut self, folder: LocalId) {
        self.dirty.insert(folder);
    }

    /// Nobody knows what happened here: everything is read again.
    pub fn mark_all(&mut self) {
        self.is_scan_due = true;
    }

    /// Folders that came since the last call, with their paths: they want to be watched.
    pub fn take_new_folders(&mut self) -> Vec<(LocalId, PathBuf)> {
        let new = self.local.take_new_folders();
        new.into_iter().filter(|id| self.local.get(*id).is_some()).map(|id| (id, self.local.path(id))).collect()
    }

    /// Up to which journal row the cluster is known.
    #[must_use]
    pub fn since(&self) -> base::Jid {
        self.remote.cursor.since
    }

    /// What would be done first, as far as it can be told now.
    ///
    /// Errors: [`SyncError`].
    pub fn preview(&mut self) -> Result<Vec<String>, SyncError> {
        let plan = self.look()?;
        Ok(plan.actions.iter().filter_map(|action| self.shown(action)).collect())
    }

    /// Works until both sides are equal or what is left cannot be done now.
    ///
    /// Errors: [`SyncError`]; what was done is done, and the next round goes on from there.
    pub fn round(&mut self) -> Result<Round, SyncError> {
        self.held.clear();
        self.again.clear();
        self.round = Round::default();
        for phase in 0.. {
            let plan = self.look()?;
            if self.stop.load(Ordering::Relaxed) {
                self.round.is_stopped = true;
                break;
            }
            let first = plan.actions.iter().map(Action::phase).min();
            let actions: Vec<Action> =
                plan.actions.into_iter().filter(|action| Some(action.phase()) == first).collect();
            if actions.is_empty() {
                self.tell_left_out(plan.left_out);
                break;
            }
            if phase >= PHASES_MAX {
                let why = "it changes faster than it can be synced; the next round goes on".to_owned();
                self.round.failed += 1;
                self.tell_once(Event::Failed("the folder".to_owned(), why));
                break;
            }
            let done = self.execute(actions);
            // What was done before it failed is noted all the same.
            self.save(false)?;
            done?;
        }
        self.save(true)?;
        Ok(self.round)
    }

    /// Brings both trees up to now, and compares.
    fn look(&mut self) -> Result<Plan, SyncError> {
        self.check_root()?;
        if std::mem::take(&mut self.is_scan_due) {
            self.dirty.clear();
            self.scan()?;
        }
        let base = &self.base;
        let knows = |inode| base.by_inode(inode).is_some();
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().for_each(|folder| self.local.rescan(folder, false, &knows));
        if self.read_ignore() {
            self.scan()?;
        }
        self.feed.refresh(self.cloud, &mut self.remote)?;
        let mut plan = plan(&mut self.base, &self.local, &self.remote, &self.held);
        plan.actions.retain(|action| !self.held.contains(&action.subject()));
        Ok(plan)
    }

    fn scan(&mut self) -> Result<(), SyncError> {
        let base = &self.base;
        let root = &self.root;
        let local = &mut self.local;
        let scanned = local.scan(&|inode| base.by_inode(inode).is_some());
        scanned.map_err(|error| SyncError::Local { path: root.clone(), error })?;
        if self.state.is_some() {
            self.clean();
        }
        Ok(())
    }

    /// A folder that is not the one we began with, such as the empty one below a disk that was unmounted, is no tree from
    /// which all was deleted.
    fn check_root(&self) -> Result<(), SyncError> {
        let error = |error| SyncError::Local { path: self.root.clone(), error };
        let is_same = disk::stamp(&self.root).map_err(error)?.inode == self.root_stamp.inode;
        let has_state = self.state.is_none() || self.root.join(STATE_FOLDER).join("state").exists();
        if is_same && has_state {
            return Ok(());
        }
        let text = "it is not the folder any more that was synced; nothing was done; put it back and start again";
        Err(error(io::Error::other(text)))
    }

    /// True when there are other patterns than before.
    fn read_ignore(&mut self) -> bool {
        let file = self.local.child(LOCAL_ROOT, IGNORE_FILE);
        let stamp = file.and_then(|id| self.local.get(id)).map(|node| node.stamp);
        if stamp == self.ignore_stamp {
            return false;
        }
        self.ignore_stamp = stamp;
        // One that cannot be read says nothing; it is told when it is to be put.
        let text = fs::read(self.root.join(IGNORE_FILE)).unwrap_or_default();
        let ignore = Ignore::parse(&String::from_utf8_lossy(&text));
        if ignore == self.local.ignore {
            return false;
        }
        self.local.ignore = ignore;
        true
    }

    /// Takes away what a crash left of our own files.
    fn clean(&mut self) {
        let hashes = self.base.hashes();
        let is_known = |hash: &crate::ContentHash| hashes.contains(hash);
        let date = name::date(now_ms());
        let host = self.options.host.clone();
        let found_name = |at| format!("recovered file ({host}'s conflicted copy {date} {at})");
        let folders: Vec<LocalId> = std::iter::once(LOCAL_ROOT).chain(self.local.ids()).collect();
        for id in folders {
            let has_any = |name: &String| name.starts_with(PART_PREFIX);
            if self.local.get(id).is_some_and(|node| node.left.keys().any(has_any)) {
                let path = self.local.path(id);
                if let Err(error) = disk::clean(&path, &is_known, &found_name) {
                    self.tell_once(Event::Failed(self.local.relative(id), error.to_string()));
                }
                self.dirty.insert(id);
            }
        }
    }

    fn execute(&mut self, actions: Vec<Action>) -> Result<(), SyncError> {
        match actions.first().map(Action::phase) {
            Some(0 | 4) => self.transfer(actions),
            _ => {
                let (there, here): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(|action| {
                    matches!(
                        action,
                        Action::MoveRemote { .. }
                            | Action::MakeRemote { .. }
                            | Action::DeleteRemote { .. }
                            | Action::DeleteRemoteFolder { .. }
                    )
                });
                self.change_here(here);
                self.change_there(there)
            }
        }
    }

    /// What something that was not done means for this round.
    fn settle(&mut self, subject: Subject, shown: &str, done: Done) -> Result<(), SyncError> {
        match done {
            Done::Again => {
                let times = self.again.entry(subject).or_default();
                *times += 1;
                if *times >= AGAIN_MAX {
                    self.hold(subject, shown, "it keeps changing; it is left for the next round");
                }
                if let Subject::Local(local) = subject {
                    self.dirty.extend(self.local.get(local).map(|node| node.parent));
                    self.dirty.insert(local);
                }
            }
            Done::Failed(why) => self.hold(subject, shown, &why),
            Done::Unreachable(why) => return Err(SyncError::Unreachable(why)),
            Done::Hashed(..) | Done::Put(..) | Done::Got(_) => {}
        }
        Ok(())
    }

    fn hold(&mut self, subject: Subject, shown: &str, why: &str) {
        self.held.insert(subject);
        self.round.failed += 1;
        self.tell_once(Event::Failed(shown.to_owned(), why.to_owned()));
    }

    fn tell_left_out(&mut self, of_plan: Vec<(String, String)>) {
        let mut all = self.local.left_out();
        all.extend(of_plan);
        self.round.left_out = all.len();
        for (path, why) in all {
            self.tell_once(Event::LeftOut(path.trim_end().to_owned(), why));
        }
    }

    /// The same about the same thing is told once.
    fn tell_once(&mut self, event: Event) {
        let what = (event.path().to_owned(), event.more().unwrap_or_default().to_owned());
        if self.told.insert(what) {
            self.tell.event(event);
        }
    }

    fn did(&mut self, event: Event) {
        self.round.done += 1;
        self.told.retain(|(path, _)| path != event.path());
        self.tell.event(event);
    }

    /// Notes what both sides have in common; at the end of a round also how far the cluster was read.
    fn save(&mut self, is_end: bool) -> Result<(), SyncError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let error = |error| SyncError::Local { path: self.root.join(STATE_FOLDER), error };
        // A name must not be lost in a power cut once the base says that it is there: it would look deleted.
        disk::sync_folders(&std::mem::take(&mut self.unsynced)).map_err(error)?;
        state.save(&mut self.base, is_end.then_some(&self.remote)).map_err(error)
    }

    fn shown(&self, action: &Action) -> Option<String> {
        let there = |node| self.remote.path(node).map(|path| path.trim_start_matches('/').to_owned());
        let here = |local| self.local.relative(local);
        Some(match action {
            Action::Hash(local) => format!("compare   {}", here(*local)),
            Action::MoveLocal { local, folder, name, .. } => {
                format!("move      {} -> {} (here)", here(*local), join(&here(*folder), name))
            }
            Action::MoveRemote { node, folder, name, .. } => {
                format!("move      {} -> {} (there)", there(*node)?, join(&there(*folder)?, name))
            }
            Action::MakeLocal { node, .. } => format!("get       {}/", there(*node)?),
            Action::MakeRemote { local, .. } => format!("put       {}/", here(*local)),
            Action::Conflict { local } => format!("conflict  {}", here(*local)),
            Action::Put { local, .. } => format!("put       {}", here(*local)),
            Action::Get { node, .. } => format!("get       {}", there(*node)?),
            Action::DeleteLocal { local, .. } => format!("delete    {} (here)", here(*local)),
            Action::RemoveFolder { local, .. } => format!("delete    {}/ (here)", here(*local)),
            Action::DeleteRemote { node, .. } => format!("delete    {} (there)", there(*node)?),
            Action::DeleteRemoteFolder { node } => format!("delete    {}/ (there)", there(*node)?),
        })
    }
}

/// `folder/name`, for people.
fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether it is time to note what was done.
struct Pace {
    since: Instant,
    count: usize,
}

impl Pace {
    fn new() -> Pace {
        Pace { since: Instant::now(), count: 0 }
    }

    fn is_due(&mut self) -> bool {
        self.count += 1;
        let is_due = self.count >= SAVE_FILES || self.since.elapsed() >= SAVE_EVERY;
        if is_due {
            *self = Pace::new();
        }
        is_due
    }
}
