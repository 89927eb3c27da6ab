//! The directory of a dev cluster: one marker file that knows its shape, and a data directory per node.
//!
//! ```text
//! DATA/dev.toml   cluster, nodes, cores, groups, is_complete     written first (is_complete = false), by rename
//! DATA/n1..n3     data directories of the nodes                  formatted next; what is there already is kept
//! DATA/dev.toml   is_complete = true                             written last
//! DATA/blocks     the block server's
//! DATA/http       the gateway's: ca.pem, ca.key, secret, and what `dropstone env` prints
//! ```
//! A crash at any point is taken up by the next start. Once complete, a node's directory that is missing is a lost disk
//! and is not made again: the node would not know what it promised.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base::{ClusterId, NodeId};
use server::exit::ExitCode as Code;
use server::identity::{self, FormatRequest, Identity, IdentityError, MachineKind};

use crate::exit::{exit, usage};

const MARKER: &str = "dev.toml";
const MARKER_NEW: &str = "dev.toml.tmp";

/// What a dev cluster looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Metaservers.
    pub nodes: u16,
    /// Cores of each.
    pub cores: u16,
    /// Groups of the cluster.
    pub groups: u32,
    /// What becomes of committed commands.
    pub machine: MachineKind,
}

/// What the command line asks for; `None` takes what is there, or the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Metaservers.
    pub nodes: Option<u16>,
    /// Cores of each.
    pub cores: Option<u16>,
    /// Groups of the cluster.
    pub groups: Option<u32>,
    /// What becomes of committed commands.
    pub machine: Option<MachineKind>,
}

/// What a new cluster is unless told otherwise.
pub const SHAPE_DEFAULT: Shape = Shape { nodes: 3, cores: 2, groups: 8, machine: MachineKind::Files };

/// A dev cluster's directory, formatted.
#[derive(Debug)]
pub struct Layout {
    /// The directory of all.
    pub dir: PathBuf,
    /// Its shape.
    pub shape: Shape,
    /// True when this start made it.
    pub is_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marker {
    cluster: ClusterId,
    shape: Shape,
    is_complete: bool,
}

impl Layout {
    /// Opens the directory of a dev cluster, or makes it.
    pub fn open(dir: &Path, wanted: Wanted, segment_bytes: u64) -> Result<Layout> {
        let found = read_marker(dir)?;
        let marker = match found {
            Some(marker) => fits(dir, marker, wanted)?,
            None => begin(dir, wanted)?,
        };
        for node in 1..=marker.shape.nodes {
            let node_dir = node_dir(dir, node);
            match Identity::read(&node_dir) {
                Ok(identity) => check_identity(&node_dir, &identity, marker, node)?,
                Err(IdentityError::Missing { .. }) if !marker.is_complete => {
                    let request = FormatRequest {
                        cluster: marker.cluster,
                        node: NodeId(node.into()),
                        cores: marker.shape.cores,
                        groups: marker.shape.groups,
                        segment_bytes,
                        joins: false,
                        machine: marker.shape.machine,
                    };
                    identity::format(&node_dir, request).map_err(|error| exit(Code::Io, error))?;
                }
                Err(error @ IdentityError::Missing { .. }) => {
                    let what = "and a lost node is never formatted again under its id; \
                                move the whole directory away to begin anew";
                    return Err(exit(error.exit_code(), format!("{} is gone, {what}", node_dir.display())));
                }
                Err(error) => return Err(exit(error.exit_code(), error)),
            }
        }
        if !marker.is_complete {
            write_marker(dir, Marker { is_complete: true, ..marker }).context("could not write dev.toml")?;
        }
        let dir = dir.to_owned();
        Ok(Layout { dir, shape: marker.shape, is_new: !marker.is_complete })
    }

    /// The data directory of node `node`, from 1.
    pub fn node_dir(&self, node: u16) -> PathBuf {
        node_dir(&self.dir, node)
    }

    /// The block server's directory.
    pub fn block_dir(&self) -> PathBuf {
        self.dir.join("blocks")
    }

    /// Where the gateway keeps its certificate authority and secret.
    pub fn http_dir(&self) -> PathBuf {
        self.dir.join("http")
    }
}

fn node_dir(dir: &Path, node: u16) -> PathBuf {
    dir.join(format!("n{node}"))
}

fn begin(dir: &Path, wanted: Wanted) -> Result<Marker> {
    fs::create_dir_all(dir).with_context(|| format!("could not make {}; name another with --data", dir.display()))?;
    let mut names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    if let Some(name) = names.find(|name| name.as_ref().map_or(true, |name| name != MARKER_NEW && name != "lost+found"))
    {
        let name = name?;
        return Err(usage(format!(
            "{} has {name:?} in it and is no dev cluster; name another directory with --data",
            dir.display()
        )));
    }
    let shape = Shape {
        nodes: wanted.nodes.unwrap_or(SHAPE_DEFAULT.nodes),
        cores: wanted.cores.unwrap_or(SHAPE_DEFAULT.cores),
        groups: wanted.groups.unwrap_or(SHAPE_DEFAULT.groups.max(wanted.cores.unwrap_or(0).into())),
        machine: wanted.machine.unwrap_or(SHAPE_DEFAULT.machine),
    };
    if shape.groups < shape.cores.into() {
        return Err(usage(format!(
            "--groups {} is less than --cores {}; every core has a group",
            shape.groups, shape.cores
        )));
    }
    let cluster = identity::new_cluster_id().map_err(|error| exit(Code::Unavailable, error))?;
    let marker = Marker { cluster, shape, is_complete: false };
    write_marker(dir, marker).with_context(|| format!("could not write to {}", dir.display()))?;
    Ok(marker)
}

/// The shape is fixed once made; another one asked for by name is a mistake worth telling.
fn fits(dir: &Path, marker: Marker, wanted: Wanted) -> Result<Marker> {
    let Shape { nodes, cores, groups, machine } = marker.shape;
    if let Some(wanted) = wanted.machine.filter(|wanted| *wanted != machine) {
        return Err(usage(format!(
            "the machine of {} is {machine}, not {wanted}, and that is fixed; name another directory with --data",
            dir.display()
        )));
    }
    let asked = [
        ("--nodes", wanted.nodes.map(u32::from), u32::from(nodes)),
        ("--cores", wanted.cores.map(u32::from), u32::from(cores)),
        ("--groups", wanted.groups, groups),
    ];
    for (flag, wanted, found) in asked {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(usage(format!(
                "{} was made with {flag} {found}, not {wanted}, and that is fixed; leave {flag} out, or name another directory with --data",
                dir.display()
            )));
        }
    }
    Ok(marker)
}

fn check_identity(dir: &Path, identity: &Identity, marker: Marker, node: u16) -> Result<()> {
    if identity.cluster != marker.cluster || identity.node != NodeId(node.into()) {
        let (found, other) = (identity.cluster, identity.node);
        let message = format!(
            "{} is node {other} of cluster {found}, not node {node} of cluster {}; bring back the directory that belongs here",
            dir.display(),
            marker.cluster
        );
        return Err(exit(Code::Identity, message));
    }
    Ok(())
}

fn read_marker(dir: &Path) -> Result<Option<Marker>> {
    let path = dir.join(MARKER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let marker = parse_marker(&text);
    let damaged = || exit(Code::Data, format!("{} is damaged; move the directory away to begin anew", path.display()));
    marker.map(Some).ok_or_else(damaged)
}

fn parse_marker(text: &str) -> Option<Marker> {
    let table: toml::Table = text.parse().ok()?;
    let number = |key: &str| table.get(key)?.as_integer();
    let nodes = u16::try_from(number("nodes")?).ok().filter(|nodes| (1..=crate::ports::NODES_MAX).contains(nodes))?;
    let cores = u16::try_from(number("cores")?).ok().filter(|cores| (1..=crate::ports::CORES_MAX).contains(cores))?;
    let groups = u32::try_from(number("groups")?).ok()?;
    let cluster = table.get("cluster")?.as_str()?.parse().ok()?;
    let is_complete = table.get("is_complete")?.as_bool()?;
    let machine = match table.get("machine") {
        None => MachineKind::Files,
        Some(name) => MachineKind::of_name(name.as_str()?)?,
    };
    Some(Marker { cluster, shape: Shape { nodes, cores, groups, machine }, is_complete })
}

fn write_marker(dir: &Path, marker: Marker) -> io::Result<()> {
    let Marker { cluster, shape: Shape { nodes, cores, groups, machine }, is_complete } = marker;
    let text = format!(
        "# A cluster of `dropstone dev`; the program's own file.\n\
         cluster = \"{cluster}\"\nnodes = {nodes}\ncores = {cores}\ngroups = {groups}\nmachine = \"{machine}\"\n\
         is_complete = {is_complete}\n"
    );
    let mut file = File::create(dir.join(MARKER_NEW))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(dir.join(MARKER_NEW), dir.join(MARKER))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 8 << 20;

    fn open(dir: &Path) -> Result<Layout> {
        Layout::open(dir, Wanted::default(), SEGMENT)
    }

    #[test]
    fn a_cluster_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = open(dir.path()).expect("made");
        assert!(first.is_new && first.shape == SHAPE_DEFAULT);
        let identity = |node| Identity::read(&first.node_dir(node)).expect("formatted");
        assert_eq!(identity(1).cluster, identity(3).cluster);
        let uuid = identity(2).uuid;
        assert!(!open(dir.path()).expect("found").is_new);
        assert_eq!(identity(2).uuid, uuid);
    }

    #[test]
    fn a_crash_between_marker_and_last_node_is_taken_up() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let marker = begin(dir.path(), Wanted { nodes: Some(1), ..Wanted::default() }).expect("begun");
        let layout = open(dir.path()).expect("taken up");
        assert_eq!(Identity::read(&layout.node_dir(1)).expect("formatted").cluster, marker.cluster);
        assert_eq!(layout.shape.nodes, 1);
    }

    #[test]
    fn a_crash_before_the_marker_leaves_nothing_in_the_way() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join(MARKER_NEW), "half").expect("written");
        open(dir.path()).expect("made");
    }

    #[test]
    fn a_lost_node_is_not_made_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = open(dir.path()).expect("made");
        fs::remove_dir_all(layout.node_dir(2)).expect("removed");
        let message = open(dir.path()).expect_err("refused").to_string();
        assert!(message.contains("is gone, and a lost node"), "{message}");
    }

    #[test]
    fn another_shape_or_a_strangers_directory_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        open(dir.path()).expect("made");
        let wanted = Wanted { machine: Some(MachineKind::Null), ..Wanted::default() };
        let message = Layout::open(dir.path(), wanted, SEGMENT).expect_err("refused").to_string();
        assert!(message.contains("is files, not null"), "{message}");
        let wanted = Wanted { groups: Some(64), ..Wanted::default() };
        let message = Layout::open(dir.path(), wanted, SEGMENT).expect_err("refused").to_string();
        assert!(message.contains("was made with --groups 8, not 64"), "{message}");
        let other = tempfile::tempdir().expect("temporary directory");
        fs::write(other.path().join("thesis.tex"), "x").expect("written");
        let message = open(other.path()).expect_err("refused").to_string();
        assert!(message.contains("is no dev cluster"), "{message}");
        fs::remove_file(other.path().join("thesis.tex")).expect("removed");
        let few = Wanted { cores: Some(4), groups: Some(2), ..Wanted::default() };
        assert!(Layout::open(other.path(), few, SEGMENT).is_err());
    }

    #[test]
    fn nodes_of_two_clusters_are_not_mixed() {
        let (one, two) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        let (one, two) = (open(one.path()).expect("made"), open(two.path()).expect("made"));
        fs::copy(one.node_dir(1).join("identity"), two.node_dir(1).join("identity")).expect("copied");
        let message = open(&two.dir).expect_err("refused").to_string();
        assert!(message.contains("not node 1 of cluster"), "{message}");
    }

    #[test]
    fn a_damaged_marker_is_told() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join(MARKER), "nodes = 3").expect("written");
        assert!(open(dir.path()).expect_err("refused").to_string().contains("is damaged"));
    }
}
