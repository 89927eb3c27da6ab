//! Who a data directory belongs to: `DATA/identity`, written once by `format`, raised at every boot.
//!
//! ```text
//! identity   8 KiB: two copies of 4 KiB, written and synced one after the other, so that one is always whole
//!    0 magic "DSIDENT\0"   8 format u16 = 1   10 copy u8 {0,1}   11 zero u8   12 cores u16   14 zero u16
//!   16 cluster id [16]    32 uuid [16]       48 node u64        56 incarnation u64
//!   64 groups u32         68 flags u32 {1 joins a cluster that exists, 2 null machine}   72 segment_bytes u64
//!   80..4092 zero       4092 crc32c u32 of bytes 0..4092
//! ```
//!
//! The incarnation counts boots; peers refuse a lower one than they have seen. A lost directory is a lost identity: it
//! is never formatted again under the same node id, because it forgot what it promised.
//! Source: docs/design/operations.md 7.

mod lock;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base::bytes::{get_array, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::crc32c;
use base::limits::{CORES_MAX, GROUPS_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use base::{ClusterId, NodeId, NodeUuid};

pub use lock::{Lock, LockError};
pub use shard::MachineKind;

const MAGIC: [u8; 8] = *b"DSIDENT\0";
const FORMAT: u16 = 1;
const COPY_BYTES: usize = 4096;
const CRC_AT: usize = COPY_BYTES - 4;
const FLAG_JOINS: u32 = 1;
const FLAG_NULL: u32 = 2;
const FILE: &str = "identity";
const TEMPORARY: &str = "identity.tmp";

/// What `DATA/identity` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster this directory belongs to.
    pub cluster: ClusterId,
    /// The node it is, not 0.
    pub node: NodeId,
    /// Drawn at format; tells this directory from any other that claims the node id.
    pub uuid: NodeUuid,
    /// Cores that the log and the store are divided into.
    pub cores: u16,
    /// Groups of the cluster.
    pub groups: u32,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// Boots so far; 0 means never booted.
    pub incarnation: u64,
    /// True for a node that joins a cluster that exists: it starts with no members and waits to be added.
    pub joins: bool,
    /// What becomes of committed commands.
    pub machine: MachineKind,
}

/// What `format` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatRequest {
    /// The cluster, the same on all its nodes.
    pub cluster: ClusterId,
    /// This node, never used before in the cluster.
    pub node: NodeId,
    /// `cluster.cores`.
    pub cores: u16,
    /// `cluster.groups`.
    pub groups: u32,
    /// `process.segment_bytes`.
    pub segment_bytes: u64,
    /// True for a node that joins a cluster that exists.
    pub joins: bool,
    /// `cluster.machine`.
    pub machine: MachineKind,
}

/// A directory that was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It holds something.
    #[error(
        "{dir} is not empty (it has {found:?}); format never overwrites, so name another directory or move this one away"
    )]
    NotEmpty {
        /// The directory.
        dir: String,
        /// One thing in it.
        found: String,
    },
    /// A value that cannot be: node 0, too many cores.
    #[error("cannot format: {what}")]
    Invalid {
        /// What, and its bounds.
        what: String,
    },
    /// No random bytes for the uuid.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
    /// The file system refused.
    #[error("could not format {dir}: {source}")]
    Io {
        /// The directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
}

/// A directory whose identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("{dir} has no identity; run `dropstone format --config FILE --cluster ID --node N` first")]
    Missing {
        /// The directory.
        dir: String,
    },
    /// Written by a newer release.
    #[error(
        "{dir} has identity format {found}, this release knows up to {FORMAT}; start the release that wrote it, or a later one"
    )]
    NewerFormat {
        /// The directory.
        dir: String,
        /// Its format.
        found: u16,
    },
    /// Neither copy can be read.
    #[error(
        "the identity of {dir} is damaged ({what}); do not format it again under the same node id: replace the node by `dropstone admin member replace`"
    )]
    Damaged {
        /// The directory.
        dir: String,
        /// What is wrong.
        what: &'static str,
    },
    /// It does not fit the configuration.
    #[error(
        "{dir} belongs to another configuration: {what} is {found} there and {wanted} in the configuration; correct the file, or name the right data_dir"
    )]
    Mismatch {
        /// The directory.
        dir: String,
        /// Which value.
        what: &'static str,
        /// In the directory.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// The file system refused.
    #[error("could not read or write the identity of {dir}: {source}")]
    Io {
        /// The directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
}

impl IdentityError {
    /// The exit code of a server that stops for this.
    #[must_use]
    pub fn exit_code(&self) -> crate::exit::ExitCode {
        use crate::exit::ExitCode;
        match self {
            IdentityError::Missing { .. } => ExitCode::Usage,
            IdentityError::NewerFormat { .. } | IdentityError::Damaged { .. } => ExitCode::Data,
            IdentityError::Mismatch { .. } => ExitCode::Identity,
            IdentityError::Io { .. } => ExitCode::Io,
        }
    }
}

/// Draws a cluster id.
pub fn new_cluster_id() -> Result<ClusterId, FormatError> {
    Ok(ClusterId(random()?))
}

/// Makes `dir` the data directory of a node: identity, and the empty places of log and store.
///
/// Everything is synced, the directories too, before it returns; the identity comes last, by rename, so a directory
/// with an identity is a whole one. A format that was cut off by a crash is taken up again.
/// Errors: [`FormatError::NotEmpty`] for anything that may be data.
pub fn format(dir: &Path, request: FormatRequest) -> Result<Identity, FormatError> {
    check_request(&request)?;
    let error = |source| FormatError::Io { dir: dir.display().to_string(), source };
    let existed = dir.is_dir();
    fs::create_dir_all(dir).map_err(error)?;
    if let Some(found) = first_content(dir).map_err(error)? {
        return Err(FormatError::NotEmpty { dir: dir.display().to_string(), found });
    }
    let identity = Identity {
        cluster: request.cluster,
        node: request.node,
        uuid: NodeUuid(random()?),
        cores: request.cores,
        groups: request.groups,
        segment_bytes: request.segment_bytes,
        incarnation: 0,
        joins: request.joins,
        machine: request.machine,
    };
    write_all(dir, &identity, existed).map_err(error)?;
    Ok(identity)
}

fn check_request(request: &FormatRequest) -> Result<(), FormatError> {
    let wrong = |what: String| Err(FormatError::Invalid { what });
    if request.node.0 == 0 {
        return wrong("node ids begin at 1".to_owned());
    }
    if request.cluster == ClusterId::default() {
        return wrong("the cluster id is all zero; draw one with `dropstone format --new-id`".to_owned());
    }
    if !(1..=CORES_MAX).contains(&request.cores) {
        return wrong(format!("cores = {}, it goes from 1 to {CORES_MAX}", request.cores));
    }
    if !(u32::from(request.cores)..=GROUPS_MAX).contains(&request.groups) {
        return wrong(format!("groups = {}, it goes from the number of cores to {GROUPS_MAX}", request.groups));
    }
    let bytes = request.segment_bytes;
    if !bytes.is_power_of_two() || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) {
        return wrong(format!("segment_bytes = {bytes}, it is a power of two from 4 MiB to 1 GiB"));
    }
    Ok(())
}

/// The first thing that may be data. What an interrupted format leaves (`identity.tmp`, folders without files) and an
/// ext4 mount's `lost+found` are not.
fn first_content(dir: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = match name.as_str() {
            TEMPORARY | "lost+found" => true,
            "log" | "store" => entry.file_type()?.is_dir() && !has_file(&entry.path(), 0)?,
            _ => false,
        };
        if !is_ours {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn has_file(dir: &Path, depth: usize) -> io::Result<bool> {
    const DEPTH_MAX: usize = 4;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || depth == DEPTH_MAX || has_file(&entry.path(), depth + 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn write_all(dir: &Path, identity: &Identity, existed: bool) -> io::Result<()> {
    for core in 0..identity.cores {
        fs::create_dir_all(log_dir(dir, core).join("free"))?;
        fs::create_dir_all(store_dir(dir, core))?;
        sync_dir(&log_dir(dir, core))?;
    }
    sync_dir(&dir.join("log"))?;
    sync_dir(&dir.join("store"))?;
    let mut file = File::create(dir.join(TEMPORARY))?;
    file.write_all(&encode(identity, 0))?;
    file.write_all(&encode(identity, 1))?;
    file.sync_all()?;
    fs::rename(dir.join(TEMPORARY), dir.join(FILE))?;
    sync_dir(dir)?;
    match dir.parent() {
        Some(parent) if !existed => sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }),
        _ => Ok(()),
    }
}

/// Where the log of a core lives: `log/c<core>`, with `free/` inside.
#[must_use]
pub fn log_dir(data_dir: &Path, core: u16) -> PathBuf {
    data_dir.join("log").join(format!("c{core}"))
}

/// Where the tree of a core lives: `store/c<core>`.
#[must_use]
pub fn store_dir(data_dir: &Path, core: u16) -> PathBuf {
    data_dir.join("store").join(format!("c{core}"))
}

impl Identity {
    /// Reads the identity and changes nothing.
    pub fn read(dir: &Path) -> Result<Identity, IdentityError> {
        let name = dir.display().to_string();
        let mut file = match File::open(dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::Missing { dir: name }),
            Err(source) => return Err(IdentityError::Io { dir: name, source }),
        };
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut file).take(2 * COPY_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(|source| IdentityError::Io { dir: name.clone(), source })?;
        choose(&bytes).map_err(|bad| match bad {
            Bad::Newer(found) => IdentityError::NewerFormat { dir: name, found },
            Bad::Damaged(what) => IdentityError::Damaged { dir: name, what },
        })
    }

    /// Reads the identity and raises the incarnation; both copies are synced before it returns.
    ///
    /// Call it with [`Lock`] held and before any port opens.
    pub fn open_and_raise(dir: &Path) -> Result<Identity, IdentityError> {
        let mut identity = Identity::read(dir)?;
        let name = dir.display().to_string();
        let Some(next) = identity.incarnation.checked_add(1) else {
            return Err(IdentityError::Damaged { dir: name, what: "the incarnation is at its end" });
        };
        identity.incarnation = next;
        raise(dir, &identity).map_err(|source| IdentityError::Io { dir: name, source })?;
        Ok(identity)
    }

    /// Compares with what the configuration says, so that a wrong `data_dir` is refused before anything is touched.
    pub fn check(&self, dir: &Path, config: &crate::config::NodeConfig) -> Result<(), IdentityError> {
        let compare = |what, found: u64, wanted: u64| {
            let dir = dir.display().to_string();
            let (is_equal, found, wanted) = (found == wanted, found.to_string(), wanted.to_string());
            if is_equal { Ok(()) } else { Err(IdentityError::Mismatch { dir, what, found, wanted }) }
        };
        if let Some(wanted) = config.cluster.id.filter(|wanted| *wanted != self.cluster) {
            let (found, wanted) = (self.cluster.to_string(), wanted.to_string());
            return Err(IdentityError::Mismatch { dir: dir.display().to_string(), what: "cluster.id", found, wanted });
        }
        if self.machine != config.cluster.machine {
            let (found, wanted) = (self.machine.to_string(), config.cluster.machine.to_string());
            let what = "cluster.machine";
            return Err(IdentityError::Mismatch { dir: dir.display().to_string(), what, found, wanted });
        }
        compare("cores", u64::from(self.cores), u64::from(config.cluster.cores))?;
        compare("groups", u64::from(self.groups), u64::from(config.cluster.groups))?;
        compare("segment_bytes", self.segment_bytes, config.process.segment_bytes)?;
        compare("node", self.node.0, config.process.node.unwrap_or(self.node).0)
    }
}

/// Copy 0 first, synced, then copy 1: a crash between leaves one whole copy, and the higher incarnation wins.
fn raise(dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(dir.join(FILE))?;
    for copy in 0..2u8 {
        file.seek(SeekFrom::Start(u64::from(copy) * COPY_BYTES as u64))?;
        file.write_all(&encode(identity, copy))?;
        file.sync_data()?;
    }
    Ok(())
}

fn encode(identity: &Identity, copy: u8) -> [u8; COPY_BYTES] {
    let mut bytes = [0u8; COPY_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    put_u16(&mut bytes, 8, FORMAT);
    bytes[10] = copy;
    put_u16(&mut bytes, 12, identity.cores);
    bytes[16..32].copy_from_slice(&identity.cluster.0);
    bytes[32..48].copy_from_slice(&identity.uuid.0);
    put_u64(&mut bytes, 48, identity.node.0);
    put_u64(&mut bytes, 56, identity.incarnation);
    put_u32(&mut bytes, 64, identity.groups);
    let is_null = identity.machine.is_null();
    put_u32(&mut bytes, 68, if identity.joins { FLAG_JOINS } else { 0 } | if is_null { FLAG_NULL } else { 0 });
    put_u64(&mut bytes, 72, identity.segment_bytes);
    let crc = crc32c(&bytes[..CRC_AT]);
    put_u32(&mut bytes, CRC_AT, crc);
    bytes
}

enum Bad {
    Newer(u16),
    Damaged(&'static str),
}

fn decode(bytes: &[u8], copy: u8) -> Result<Identity, Bad> {
    const SHORT: Bad = Bad::Damaged("a copy is cut short");
    if get_array::<8>(bytes, 0).ok_or(SHORT)? != MAGIC {
        return Err(Bad::Damaged("no magic"));
    }
    if get_u32(bytes, CRC_AT).ok_or(SHORT)? != crc32c(&bytes[..CRC_AT]) {
        return Err(Bad::Damaged("a checksum differs"));
    }
    // After the checksum, so that a flipped bit is damage and never a newer release.
    let format = get_u16(bytes, 8).ok_or(SHORT)?;
    if format > FORMAT {
        return Err(Bad::Newer(format));
    }
    let flags = get_u32(bytes, 68).ok_or(SHORT)?;
    let identity = Identity {
        cluster: ClusterId(get_array(bytes, 16).ok_or(SHORT)?),
        uuid: NodeUuid(get_array(bytes, 32).ok_or(SHORT)?),
        node: NodeId(get_u64(bytes, 48).ok_or(SHORT)?),
        incarnation: get_u64(bytes, 56).ok_or(SHORT)?,
        groups: get_u32(bytes, 64).ok_or(SHORT)?,
        joins: flags & FLAG_JOINS != 0,
        machine: if flags & FLAG_NULL == 0 { MachineKind::Files } else { MachineKind::Null },
        segment_bytes: get_u64(bytes, 72).ok_or(SHORT)?,
        cores: get_u16(bytes, 12).ok_or(SHORT)?,
    };
    let request = FormatRequest {
        cluster: identity.cluster,
        node: identity.node,
        cores: identity.cores,
        groups: identity.groups,
        segment_bytes: identity.segment_bytes,
        joins: identity.joins,
        machine: identity.machine,
    };
    let is_known = flags & !(FLAG_JOINS | FLAG_NULL) == 0;
    let fits = format == FORMAT && bytes[10] == copy && is_known && check_request(&request).is_ok();
    if fits { Ok(identity) } else { Err(Bad::Damaged("a value is out of bounds")) }
}

/// The copy with the higher incarnation; the two may differ in nothing else.
fn choose(bytes: &[u8]) -> Result<Identity, Bad> {
    let copy = |at: usize| bytes.get(at * COPY_BYTES..(at + 1) * COPY_BYTES).unwrap_or_default();
    match (decode(copy(0), 0), decode(copy(1), 1)) {
        (Ok(first), Ok(second)) => {
            let incarnation = first.incarnation.max(second.incarnation);
            let second = Identity { incarnation, ..second };
            if (Identity { incarnation, ..first }) == second {
                Ok(second)
            } else {
                Err(Bad::Damaged("the two copies tell of different nodes"))
            }
        }
        (Err(Bad::Newer(format)), _) | (_, Err(Bad::Newer(format))) => Err(Bad::Newer(format)),
        (Ok(identity), Err(_)) | (Err(_), Ok(identity)) => Ok(identity),
        (Err(bad), Err(_)) => Err(bad),
    }
}

fn random() -> Result<[u8; 16], FormatError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(FormatError::Random)?;
    Ok(bytes)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
