//! Backups of a node's state, their check, and data directories for a new cluster made of one (docs/design/backup.md).
//!
//! ```text
//! DIR/backup.json           what it is, the state of each group, every file with its bytes and xxh3-128
//! DIR/store/c<core>/        the tree of that core: `current`, `v<N>`, tables/
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{ClusterId, CoreId, GroupId, NodeId};
use meta::Machine;
use serde_json::{Value, json};
use store::{OpenError, backup};

use crate::config::NodeConfig;
use crate::exit::ExitCode;
use crate::identity::{self, FormatError, FormatRequest, Identity, IdentityError, Lock, LockError, MachineKind};

const FORMAT: u64 = 1;
const MANIFEST: &str = "backup.json";
/// A node looks for a request once a second, and then writes a memtable.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A backup was not made, is not whole, or cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whose data it is cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The new directory could not be formatted.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Tables are not what was written.
    #[error("{0}; make another backup, from another node if this one's disk is at fault")]
    Tables(#[from] OpenError),
    /// The target holds something already.
    #[error("{0} is not empty; name another directory or move this one away")]
    NotEmpty(PathBuf),
    /// There are no files in it.
    #[error("{0} is of a cluster whose machine is null: it holds counts and no files, so there is nothing to back up")]
    Null(PathBuf),
    /// Nobody serves the data.
    #[error("no process serves {0}; start the node first: only it can write down what it holds in memory")]
    NotServed(PathBuf),
    /// The node did not write down what it holds.
    #[error("core {core} made no checkpoint within 60 s; look at the node's log and at its free disk space")]
    NoCheckpoint {
        /// Which core.
        core: u16,
    },
    /// No backup, or of another format.
    #[error("{path}: {what}; a backup is the directory that `dropstone backup create` made")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Files differ from what was backed up.
    #[error("{} of {files} files are not as they were written: {}", .bad.len(), .bad.join("; "))]
    Damaged {
        /// Each with what is wrong.
        bad: Vec<String>,
        /// In all.
        files: usize,
    },
    /// The configuration does not fit.
    #[error("{0}")]
    Misfit(String),
}

impl BackupError {
    /// How a process ends that meets this.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            BackupError::Io { .. } => ExitCode::Io,
            BackupError::Identity(_) => ExitCode::Identity,
            BackupError::Format(_) | BackupError::NotEmpty(_) | BackupError::Misfit(_) | BackupError::Null(_) => {
                ExitCode::Usage
            }
            BackupError::NotServed(_) | BackupError::NoCheckpoint { .. } => ExitCode::Unavailable,
            BackupError::Tables(_) | BackupError::Manifest { .. } | BackupError::Damaged { .. } => ExitCode::Data,
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

/// The state of one group in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Which.
    pub group: GroupId,
    /// Its last entry in there.
    pub applied_index: u64,
    /// That entry's term.
    pub applied_term: u64,
    /// Rolling hash of all that was applied; replicas agree on it.
    pub state_hash: u64,
}

/// What `backup.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// By which node.
    pub node: NodeId,
    /// Groups of that cluster.
    pub groups: u32,
    /// Cores of its nodes.
    pub cores: u16,
    /// When it was begun, in milliseconds since 1970.
    pub time_ms: u64,
    /// Nodes that were members of any group: their ids are taken for ever.
    pub members: Vec<NodeId>,
    /// The groups that have state.
    pub states: Vec<GroupState>,
    /// Path below the backup, bytes, xxh3-128.
    pub files: Vec<(String, u64, u128)>,
}

/// Backs up the state of a running node to `to`, which must be empty or absent. Cores from the last to core 0, which holds
/// group 0: so the directory of namespaces covers all that have data.
///
/// `tell` hears of progress, for people. Errors: [`BackupError`]; what was begun is left for a look and is no backup.
pub fn create(
    config: &NodeConfig,
    to: &Path,
    time_ms: u64,
    tell: &mut dyn FnMut(&str),
) -> Result<Manifest, BackupError> {
    let data = config.process.data_dir.as_path();
    let identity = Identity::read(data)?;
    if identity.machine.is_null() {
        return Err(BackupError::Null(data.to_owned()));
    }
    if fs::read_dir(to).is_ok_and(|mut found| found.next().is_some()) {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    if !matches!(Lock::take(data), Err(LockError::Held { .. })) {
        return Err(BackupError::NotServed(data.to_owned()));
    }
    let store = to.join("store");
    fs::create_dir_all(&store).map_err(at(&store))?;
    let Identity { cluster, node, groups, cores, .. } = identity;
    // Groups that never changed their members do not name them.
    let members = config.cluster.nodes.iter().map(|seed| seed.id).collect();
    let mut manifest =
        Manifest { cluster, node, groups, cores, time_ms, members, states: Vec::new(), files: Vec::new() };
    for core in (0..cores).rev() {
        let (from, target) = (identity::store_dir(data, core), store.join(format!("c{core}")));
        checkpoint(&from, core)?;
        if !backup::copy_live(&from, &target).map_err(at(&from))? {
            fs::remove_dir_all(&target).map_err(at(&target))?;
            continue;
        }
        let machines = backup::survey(&store, CoreId(core))?;
        tell(&format!("core {core}: {} groups", machines.len()));
        for (group, machine) in &machines {
            manifest.note(*group, machine);
        }
        list_files(to, &target, &mut manifest.files)?;
    }
    manifest.states.sort_by_key(|state| state.group);
    manifest.files.sort();
    let made = to.join("backup.json.new");
    let mut file = File::create(&made).map_err(at(&made))?;
    file.write_all(manifest.to_json().to_string().as_bytes()).map_err(at(&made))?;
    file.sync_all().map_err(at(&made))?;
    fs::rename(&made, to.join(MANIFEST)).map_err(at(&made))?;
    sync(&store)?;
    sync(to)?;
    Ok(manifest)
}

/// Has a core write down all that it has applied.
fn checkpoint(tree: &Path, core: u16) -> Result<(), BackupError> {
    let request = backup::checkpoint_request(tree);
    File::create(&request).map_err(at(&request))?;
    for _ in 0..CHECKPOINT_WAIT.as_millis() / LOOK_EVERY.as_millis() {
        if !request.exists() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // Nobody waits for it any more.
    let _ = fs::remove_file(&request);
    Err(BackupError::NoCheckpoint { core })
}

/// Adds every file below `dir`, hashed, by its path below `root`.
fn list_files(root: &Path, dir: &Path, out: &mut Vec<(String, u64, u128)>) -> Result<(), BackupError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.is_dir() {
            list_files(root, &path, out)?;
            continue;
        }
        let (bytes, hash) = backup::hash_file(&path).map_err(at(&path))?;
        let name = path.strip_prefix(root).expect("it was found below").to_string_lossy().into_owned();
        out.push((name, bytes, hash));
    }
    Ok(())
}

/// Reads all of a backup against its manifest.
///
/// Errors: [`BackupError::Damaged`] names every file that is gone, longer, shorter or different.
pub fn verify(dir: &Path, tell: &mut dyn FnMut(&str)) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(dir)?;
    let mut bad = Vec::new();
    for (name, bytes, hash) in &manifest.files {
        match backup::hash_file(&dir.join(name)) {
            Ok(found) if found == (*bytes, *hash) => {}
            Ok((found, _)) if found != *bytes => bad.push(format!("{name} has {found} bytes, not {bytes}")),
            Ok(_) => bad.push(format!("{name} has other bytes")),
            Err(error) => bad.push(format!("{name}: {error}")),
        }
    }
    tell(&format!("{} files read", manifest.files.len()));
    if bad.is_empty() { Ok(manifest) } else { Err(BackupError::Damaged { bad, files: manifest.files.len() }) }
}

/// Makes the data directory of a node of a **new** cluster from a backup: the same on each of its nodes, whose ids no node
/// of the old cluster had. The directory appears whole or not at all.
pub fn restore(
    dir: &Path,
    config: &NodeConfig,
    cluster: ClusterId,
    node: NodeId,
    tell: &mut dyn FnMut(&str),
) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(dir)?;
    check_fit(&manifest, config, cluster, node)?;
    let data = &config.process.data_dir;
    if fs::read_dir(data).is_ok_and(|mut found| found.next().is_some()) {
        return Err(BackupError::NotEmpty(data.clone()));
    }
    let manifest = verify(dir, tell)?;
    let making = data.with_extension("restoring");
    if making.exists() {
        fs::remove_dir_all(&making).map_err(at(&making))?;
    }
    let (cores, groups, segment_bytes) = (manifest.cores, manifest.groups, config.process.segment_bytes);
    let machine = MachineKind::Files;
    identity::format(&making, FormatRequest { cluster, node, cores, groups, segment_bytes, joins: false, machine })?;
    for (name, ..) in &manifest.files {
        let to = making.join(name);
        let parent = to.parent().expect("it lies below a directory");
        fs::create_dir_all(parent).map_err(at(parent))?;
        fs::copy(dir.join(name), &to).map_err(at(&to))?;
        File::open(&to).and_then(|file| file.sync_all()).map_err(at(&to))?;
    }
    let voters: Vec<NodeId> = config.cluster.nodes.iter().map(|seed| seed.id).collect();
    let members = raft::Config::single(&voters).encode();
    for core in 0..cores {
        let tree = identity::store_dir(&making, core);
        if !tree.join("current").exists() {
            continue;
        }
        sync(&tree.join("tables"))?;
        sync(&tree)?;
        backup::adopt(&making.join("store"), CoreId(core), &members)?;
        tell(&format!("core {core}: restored"));
    }
    fs::rename(&making, data).map_err(at(data))?;
    sync(data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    Ok(manifest)
}

fn check_fit(manifest: &Manifest, config: &NodeConfig, cluster: ClusterId, node: NodeId) -> Result<(), BackupError> {
    let misfit = |what: String| Err(BackupError::Misfit(what));
    let (groups, cores) = (config.cluster.groups, config.cluster.cores);
    if (groups, cores) != (manifest.groups, manifest.cores) {
        let (g, c) = (manifest.groups, manifest.cores);
        return misfit(format!(
            "the backup is of {g} groups and {c} cores, the configuration has {groups} and {cores}; \
             set cluster.groups = {g} and cluster.cores = {c}"
        ));
    }
    if cluster == manifest.cluster {
        return misfit(
            "that is the id of the backed-up cluster; draw a new one with `dropstone format --new-id`".into(),
        );
    }
    if config.seed(node).is_none() {
        return misfit(format!("node {node} is not in cluster.nodes; add it there"));
    }
    match config.cluster.nodes.iter().find(|seed| manifest.members.contains(&seed.id)) {
        Some(taken) => {
            let highest = manifest.members.iter().max().map_or(0, |id| id.0);
            misfit(format!(
                "node id {} was a member of the backed-up cluster, and an id is never used twice; use ids above {highest}",
                taken.id
            ))
        }
        None => Ok(()),
    }
}

fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

impl Manifest {
    fn note(&mut self, group: GroupId, machine: &Machine) {
        self.states.push(GroupState {
            group,
            applied_index: machine.applied_index.0,
            applied_term: machine.applied_term.0,
            state_hash: machine.state_hash,
        });
        let members = raft::Config::decode(&machine.config).unwrap_or_default();
        self.members.extend(members.members().chain([self.node]));
        self.members.sort_unstable();
        self.members.dedup();
    }

    /// Hashes are text, because readers of JSON keep only 53 bits of a number.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let state = |state: &GroupState| {
            json!({
                "group": state.group.0,
                "applied_index": state.applied_index,
                "applied_term": state.applied_term,
                "state_hash": format!("{:016x}", state.state_hash),
            })
        };
        let file = |(path, bytes, hash): &(String, u64, u128)| json!({ "path": path, "bytes": bytes, "xxh3": format!("{hash:032x}") });
        json!({
            "format": FORMAT,
            "cluster": self.cluster.to_string(),
            "node": self.node.0,
            "groups": self.groups,
            "cores": self.cores,
            "time_ms": self.time_ms,
            "members": self.members.iter().map(|id| id.0).collect::<Vec<_>>(),
            "states": self.states.iter().map(state).collect::<Vec<_>>(),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
        })
    }

    /// Reads `backup.json`.
    pub fn read(dir: &Path) -> Result<Manifest, BackupError> {
        let path = dir.join(MANIFEST);
        let wrong = |what: &str| BackupError::Manifest { path: path.clone(), what: what.to_owned() };
        let text = fs::read(&path).map_err(|error| wrong(&error.to_string()))?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(&error.to_string()))?;
        if value["format"].as_u64() != Some(FORMAT) {
            return Err(wrong("not of format 1; use the release that made it"));
        }
        Manifest::parse(&value).ok_or_else(|| wrong("a field is missing or out of its bounds"))
    }

    fn parse(value: &Value) -> Option<Manifest> {
        let list = |name: &str| value[name].as_array();
        let hex = |value: &Value| u128::from_str_radix(value.as_str()?, 16).ok();
        let state = |value: &Value| {
            Some(GroupState {
                group: GroupId(u32::try_from(value["group"].as_u64()?).ok()?),
                applied_index: value["applied_index"].as_u64()?,
                applied_term: value["applied_term"].as_u64()?,
                state_hash: u64::try_from(hex(&value["state_hash"])?).ok()?,
            })
        };
        let file = |value: &Value| {
            let path = value["path"].as_str()?;
            // Nothing outside the backup is read or made.
            let is_inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            is_inside.then_some((path.to_owned(), value["bytes"].as_u64()?, hex(&value["xxh3"])?))
        };
        Some(Manifest {
            cluster: value["cluster"].as_str()?.parse().ok()?,
            node: NodeId(value["node"].as_u64()?),
            groups: u32::try_from(value["groups"].as_u64()?).ok()?,
            cores: u16::try_from(value["cores"].as_u64()?).ok()?,
            time_ms: value["time_ms"].as_u64()?,
            members: list("members")?.iter().map(|id| id.as_u64().map(NodeId)).collect::<Option<_>>()?,
            states: list("states")?.iter().map(state).collect::<Option<_>>()?,
            files: list("files")?.iter().map(file).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
