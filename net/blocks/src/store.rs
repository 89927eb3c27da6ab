//! The object store: one object per block, named by its content.
//!
//! `blocks/<first two hex digits>/<64 hex digits>`, put only if absent, checked against its name whenever it is read.
//! What was put is durable when [`BlockStore::put`] returns. Layout and reasons: docs/design/blocks.md.

pub(crate) mod tails;
pub(crate) mod trash;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::BlockHash;
use base::limits::BLOCK_BYTES;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{Error, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};

/// The name of a block: SHA-256 of its bytes.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> BlockHash {
    BlockHash(Sha256::digest(bytes).into())
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory cannot be made or opened.
    #[error("could not open block directory {path}: {source}; check that it exists and belongs to this user")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The scheme is none that this program has.
    #[error("block store {0:?} is of an unknown kind; use a path, file:///path or s3://bucket/prefix")]
    Scheme(String),
    /// `s3://` in a program built without it.
    #[error("block store {0:?} needs S3, which this program was built without; build it with the feature s3")]
    S3Missing(String),
    /// A URL without what it needs.
    #[error("block store {url:?} is malformed: {why}")]
    Malformed {
        /// As configured.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The object store refused its settings.
    #[error("could not open block store {url:?}: {source}")]
    Store {
        /// As configured.
        url: String,
        /// Why.
        source: object_store::Error,
    },
}

/// Why a block cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The object store failed; the block may or may not be there.
    #[error("could not put block {hash}: {source}")]
    Store {
        /// Which.
        hash: BlockHash,
        /// Why.
        source: object_store::Error,
    },
    /// A directory could not be synced; the block may or may not survive a power cut.
    #[error("could not sync the directory of block {hash}: {source}")]
    Sync {
        /// Which.
        hash: BlockHash,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// There is no such object.
    #[error("block {0} is not in the object store")]
    Missing(BlockHash),
    /// The object is there and is not that block.
    #[error("block {hash} is corrupt in the object store: its {bytes} bytes have the hash {found}")]
    Corrupt {
        /// Its name.
        hash: BlockHash,
        /// What its bytes give.
        found: BlockHash,
        /// How many there are.
        bytes: u64,
    },
    /// The object store failed.
    #[error("could not read block {hash}: {source}")]
    Store {
        /// Which.
        hash: BlockHash,
        /// Why.
        source: object_store::Error,
    },
}

/// What a put found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutOutcome {
    /// The object is new.
    Stored,
    /// It was there already, with these very bytes.
    Present,
    /// What was there had other bytes; it was replaced.
    Repaired,
}

/// Blocks in an object store.
#[derive(Clone, Debug)]
pub struct BlockStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Location,
    /// The local directory, whose entries this file syncs where `object_store` does not.
    directory: Option<PathBuf>,
}

impl BlockStore {
    /// Opens the store named by configuration: a path, `file:///path`, or `s3://bucket/prefix` (feature `s3`; keys come
    /// from the environment).
    ///
    /// Errors: [`OpenStoreError`].
    pub fn open(url: &str) -> Result<BlockStore, OpenStoreError> {
        match url.split_once("://") {
            None if url.is_empty() => {
                Err(OpenStoreError::Malformed { url: url.to_owned(), why: "it is empty; give a path" })
            }
            None => BlockStore::open_directory(Path::new(url)),
            Some(("file", path)) if path.starts_with('/') => BlockStore::open_directory(Path::new(path)),
            Some(("file", _)) => {
                Err(OpenStoreError::Malformed { url: url.to_owned(), why: "a file URL has three slashes" })
            }
            Some(("s3", rest)) => open_s3(url, rest),
            Some(_) => Err(OpenStoreError::Scheme(url.to_owned())),
        }
    }

    /// Opens a local directory; makes it, and the 256 directories of the first two digits, durably.
    ///
    /// Errors: [`OpenStoreError::Directory`].
    pub fn open_directory(path: &Path) -> Result<BlockStore, OpenStoreError> {
        let failed = |source| OpenStoreError::Directory { path: path.to_owned(), source };
        // All directories stand and are synced before the first put: a put that found one just made by another, not yet
        // synced, would return too early.
        std::fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let blocks = path.join("blocks");
        for first in 0..=u8::MAX {
            std::fs::create_dir_all(blocks.join(format!("{first:02x}"))).map_err(failed)?;
        }
        // Tails come and go all the time; their directory stays.
        std::fs::create_dir_all(path.join("tails")).map_err(failed)?;
        for made in [&blocks, &path] {
            sync_directory(made).map_err(failed)?;
        }
        if let Some(parent) = path.parent() {
            sync_directory(parent).map_err(failed)?;
        }
        let store = |source| OpenStoreError::Store { url: path.display().to_string(), source };
        let objects = LocalFileSystem::new_with_prefix(&path).map_err(store)?.with_fsync(true);
        Ok(BlockStore { objects: Arc::new(objects), prefix: Location::default(), directory: Some(path) })
    }

    /// Puts a block under its name unless it is there. Durable on return.
    ///
    /// `hash` is [`hash_of`] `bytes`; the caller computed it. An object that is there is read back and compared, and
    /// replaced when it is corrupt: a put is the moment when the right bytes are at hand.
    ///
    /// Errors: [`PutError`]; putting again is harmless.
    pub async fn put(&self, hash: BlockHash, bytes: Bytes) -> Result<PutOutcome, PutError> {
        let failed = |source| PutError::Store { hash, source };
        let location = self.location(hash);
        match self.objects.put_opts(&location, PutPayload::from(bytes.clone()), options(PutMode::Create)).await {
            Ok(_) => return Ok(PutOutcome::Stored),
            Err(Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(failed(source)),
        }
        match self.read(hash, &location).await {
            Ok(_) => {
                // Its entry may be from a put that was killed before it synced the directory.
                self.sync_entry(hash).await?;
                Ok(PutOutcome::Present)
            }
            Err(GetError::Store { source, .. }) => Err(failed(source)),
            Err(error @ (GetError::Corrupt { .. } | GetError::Missing(_))) => {
                let payload = PutPayload::from(bytes);
                self.objects.put_opts(&location, payload, options(PutMode::Overwrite)).await.map_err(failed)?;
                // It went to the trash between the two looks.
                if matches!(error, GetError::Missing(_)) {
                    return Ok(PutOutcome::Stored);
                }
                tracing::error!(block = %hash, "replaced a corrupt block by the bytes of a new put");
                Ok(PutOutcome::Repaired)
            }
        }
    }

    /// Reads a block and checks it against its name. One that went to the trash comes back.
    ///
    /// Errors: [`GetError`].
    pub async fn get(&self, hash: BlockHash) -> Result<Bytes, GetError> {
        match self.read(hash, &self.location(hash)).await {
            Err(GetError::Missing(_)) => self.get_from_trash(hash).await,
            read => read,
        }
    }

    /// Reads a block from one place.
    async fn read(&self, hash: BlockHash, location: &Location) -> Result<Bytes, GetError> {
        let failed = |source| match source {
            Error::NotFound { .. } => GetError::Missing(hash),
            source => GetError::Store { hash, source },
        };
        let object = self.objects.get_opts(location, GetOptions::default()).await.map_err(failed)?;
        if object.meta.size > BLOCK_BYTES {
            return Err(GetError::Corrupt { hash, found: BlockHash::default(), bytes: object.meta.size });
        }
        let bytes = object.bytes().await.map_err(failed)?;
        let (found, bytes) = hash_apart(bytes).await;
        if found == hash { Ok(bytes) } else { Err(GetError::Corrupt { hash, found, bytes: bytes.len() as u64 }) }
    }

    fn location(&self, hash: BlockHash) -> Location {
        let name = hash.to_string();
        self.prefix.clone().join("blocks").join(&name[..2]).join(name.as_str())
    }

    async fn sync_entry(&self, hash: BlockHash) -> Result<(), PutError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let directory = directory.join("blocks").join(&hash.to_string()[..2]);
        let synced = tokio::task::spawn_blocking(move || sync_directory(&directory)).await;
        synced
            .unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)))
            .map_err(|source| PutError::Sync { hash, source })
    }
}

/// Hashes on a thread that may be kept busy: 4 MiB take milliseconds.
pub(crate) async fn hash_apart(bytes: Bytes) -> (BlockHash, Bytes) {
    if bytes.len() < HASH_APART_BYTES {
        return (hash_of(&bytes), bytes);
    }
    let shared = bytes.clone();
    match tokio::task::spawn_blocking(move || hash_of(&shared)).await {
        Ok(hash) => (hash, bytes),
        // The runtime is stopping; the answer will not be sent, but it stays right.
        Err(_) => (hash_of(&bytes), bytes),
    }
}

/// Below this a hop to another thread costs more than the hash.
const HASH_APART_BYTES: usize = 32 << 10;

fn options(mode: PutMode) -> PutOptions {
    PutOptions { mode, ..PutOptions::default() }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(feature = "s3")]
fn open_s3(url: &str, rest: &str) -> Result<BlockStore, OpenStoreError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(OpenStoreError::Malformed { url: url.to_owned(), why: "it names no bucket" });
    }
    let failed = |source| OpenStoreError::Store { url: url.to_owned(), source };
    let objects = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(failed)?;
    let prefix = Location::parse(prefix)
        .map_err(|_| OpenStoreError::Malformed { url: url.to_owned(), why: "its prefix has an empty part" })?;
    Ok(BlockStore { objects: Arc::new(objects), prefix, directory: None })
}

#[cfg(not(feature = "s3"))]
fn open_s3(url: &str, _rest: &str) -> Result<BlockStore, OpenStoreError> {
    Err(OpenStoreError::S3Missing(url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn object(directory: &Path, hash: BlockHash) -> PathBuf {
        directory.join("blocks").join(&hash.to_string()[..2]).join(hash.to_string())
    }

    #[test]
    fn a_block_is_put_once_and_read_back_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"a dropstone");
        let hash = hash_of(&bytes);
        let store = BlockStore::open(directory.path().to_str().unwrap()).unwrap();
        assert_eq!(run(store.put(hash, bytes.clone())).unwrap(), PutOutcome::Stored);
        assert_eq!(run(store.put(hash, bytes.clone())).unwrap(), PutOutcome::Present);
        drop(store);
        let store = BlockStore::open(&format!("file://{}", directory.path().display())).unwrap();
        assert_eq!(run(store.get(hash)).unwrap(), bytes);
        let path = object(directory.path(), hash);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let beside = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "no staging file stays");
    }

    #[test]
    fn a_corrupt_block_is_refused_on_read_and_replaced_by_the_next_put() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open_directory(directory.path()).unwrap();
        let bytes = Bytes::from(vec![7; 100_000]);
        let hash = hash_of(&bytes);
        run(store.put(hash, bytes.clone())).unwrap();
        for damage in [&b""[..], b"other bytes", &[7; 99_999], &vec![0; BLOCK_BYTES as usize + 1]] {
            std::fs::write(object(directory.path(), hash), damage).unwrap();
            assert!(matches!(run(store.get(hash)), Err(GetError::Corrupt { .. })), "{} bytes", damage.len());
        }
        assert_eq!(run(store.put(hash, bytes.clone())).unwrap(), PutOutcome::Repaired);
        assert_eq!(run(store.get(hash)).unwrap(), bytes);
    }

    #[test]
    fn a_block_that_was_never_put_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open_directory(directory.path()).unwrap();
        assert!(matches!(run(store.get(hash_of(b"x"))), Err(GetError::Missing(_))));
    }

    #[test]
    fn two_puts_at_once_both_succeed() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open_directory(directory.path()).unwrap();
        let bytes = Bytes::from(vec![9; 50_000]);
        let hash = hash_of(&bytes);
        let (one, two) = run(async { tokio::join!(store.put(hash, bytes.clone()), store.put(hash, bytes.clone())) });
        let outcomes = [one.unwrap(), two.unwrap()];
        assert!(outcomes.contains(&PutOutcome::Stored) && outcomes.contains(&PutOutcome::Present), "{outcomes:?}");
    }

    #[test]
    fn a_directory_that_is_a_file_and_unknown_kinds_of_stores_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = BlockStore::open(file.path().to_str().unwrap()).unwrap_err();
        assert!(refused.to_string().starts_with("could not open block directory"), "{refused}");
        assert!(matches!(BlockStore::open("ftp://host/dir"), Err(OpenStoreError::Scheme(_))));
        assert!(matches!(BlockStore::open("file://relative"), Err(OpenStoreError::Malformed { .. })));
        assert!(matches!(BlockStore::open(""), Err(OpenStoreError::Malformed { .. })));
        #[cfg(not(feature = "s3"))]
        assert!(matches!(BlockStore::open("s3://bucket/prefix"), Err(OpenStoreError::S3Missing(_))));
    }
}
