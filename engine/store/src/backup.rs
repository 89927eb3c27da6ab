//! Copies of a store, also of one that is at work, and what a restore makes of them: for tools, never on a core.
//!
//! Tables and version files never change once `current` names them, and they stay while it does. So a copy is whole when
//! `current` is the same after its files were linked as before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::{CoreId, GroupId};
use meta::Machine;
use xxhash_rust::xxh3::Xxh3;

use crate::machine_row::{FLAG_INSTALLED, MachineRow};
use crate::scrub::read_back;
use crate::settings::{OpenError, OpenSettings};
use crate::tree::{Tree, TreeError, sync_dir};

/// How often a copy begins anew because the tables changed meanwhile.
const ATTEMPTS_MAX: u32 = 100;
/// Read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Copies the tree of one core, `from` = `store/c<core>`, to `to`, by hard links where the file system allows. False: it
/// has never flushed, so there is nothing to copy.
///
/// Errors: the file system's; or the tables changed all the while.
pub fn copy_live(from: &Path, to: &Path) -> io::Result<bool> {
    for _ in 0..ATTEMPTS_MAX {
        match try_copy(from, to) {
            Ok(Some(is_there)) => return Ok(is_there),
            Ok(None) => {}
            // A table or version file went while it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.is_dir() => {}
            Err(error) => return Err(error),
        }
        fs::remove_dir_all(to)?;
    }
    Err(io::Error::other(format!(
        "the tables in {} changed {ATTEMPTS_MAX} times while they were copied",
        from.display()
    )))
}

/// `None`: begin anew.
fn try_copy(from: &Path, to: &Path) -> io::Result<Option<bool>> {
    fs::create_dir_all(to.join("tables"))?;
    let read_current = || match fs::read(from.join("current")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    };
    let Some(current) = read_current()? else { return Ok(Some(false)) };
    let id = current.first_chunk::<8>().map(|id| u64::from_le_bytes(*id));
    let version = format!("v{}", id.ok_or_else(|| io::Error::other("`current` names no version"))?);
    link(&from.join(&version), &to.join(&version))?;
    for entry in fs::read_dir(from.join("tables"))? {
        let name = entry?.file_name();
        link(&from.join("tables").join(&name), &to.join("tables").join(&name))?;
    }
    // A damaged table that is on its way out: only with its end is the tree whole again.
    if from.with_extension("condemned").exists() || read_current()?.as_ref() != Some(&current) {
        return Ok(None);
    }
    let mut file = File::create(to.join("current"))?;
    file.write_all(&current)?;
    file.sync_all()?;
    for dir in [&to.join("tables"), to] {
        sync_dir(dir)?;
    }
    Ok(Some(true))
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // Another file system, or one without links.
        Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::Unsupported) => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        }
        done => done,
    }
}

/// Length and xxh3-128 of a file's bytes.
pub fn hash_file(path: &Path) -> io::Result<(u64, u128)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut piece) = (Xxh3::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, hash.digest128())),
            read => {
                hash.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Opens the copy of a core's tree below `dir`, removes what its version does not name, reads all its tables against their
/// checksums, and gives the state of each group in it.
///
/// Errors: [`OpenError::Corrupt`] for anything that is not as it was written.
pub fn survey(dir: &Path, core: CoreId) -> Result<Vec<(GroupId, Machine)>, OpenError> {
    let (tree, rows) = open(dir, core)?;
    if let Some(damage) = tree.tables().iter().find_map(read_back) {
        return Err(OpenError::Corrupt { dir: tree.dir().to_owned(), what: damage.reason });
    }
    Ok(rows.into_iter().filter(|(_, row)| !row.is_removed()).map(|(group, row)| (group, row.machine)).collect())
}

/// Makes the copy of a core's tree below `dir` the state of another cluster: every group in it has `config`, raft's
/// encoding, from now on, and its log begins behind it.
///
/// Errors: [`OpenError`].
pub fn adopt(dir: &Path, core: CoreId, config: &[u8]) -> Result<(), OpenError> {
    let (tree, rows) = open(dir, core)?;
    let rows: BTreeMap<GroupId, MachineRow> = rows
        .into_iter()
        .map(|(group, mut row)| {
            if !row.is_removed() {
                row.flags = FLAG_INSTALLED;
                row.machine.config = config.to_vec();
            }
            (group, row)
        })
        .collect();
    tree.bury(&rows).map_err(|error| match error {
        TreeError::Io(source) => OpenError::Io { dir: tree.dir().to_owned(), source },
        TreeError::Corrupt(what) => OpenError::Corrupt { dir: tree.dir().to_owned(), what },
    })
}

fn open(dir: &Path, core: CoreId) -> Result<(Tree, Vec<(GroupId, MachineRow)>), OpenError> {
    let mut settings = OpenSettings::dev(dir.to_owned(), core, Arc::new(|| {}));
    settings.heals = false;
    Tree::open(&settings, Arc::new(AtomicBool::new(false)))
}

/// The file that asks the store of a core, whose tree is `tree_dir`, for a checkpoint of all that is applied. The store
/// looks once a second and removes it when that is durable.
#[must_use]
pub fn checkpoint_request(tree_dir: &Path) -> PathBuf {
    tree_dir.with_extension("checkpoint")
}
