//! A local file as blocks: hashed once, read again block by block, and watched for changes meanwhile.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use base::BlockHash;
use base::limits::BLOCK_BYTES;

use crate::store::hash_of;

/// Why a local file has no blocks.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It was written while it was read.
    #[error("it changed while it was read")]
    Changed,
}

/// The blocks of a file at one moment.
#[derive(Debug)]
pub struct LocalBlocks {
    file: File,
    stamp: Stamp,
    /// What the system said of it when it was opened.
    pub metadata: Metadata,
    /// Kept when it is the only block: most files are read once.
    only: Option<Vec<u8>>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its modification time, milliseconds since 1970.
    pub mtime_ms: Option<i64>,
    /// The block names.
    pub names: Vec<BlockHash>,
    /// SHA-256 of the concatenated names.
    pub content_hash: [u8; 32],
}

/// What changes when a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    bytes: u64,
    modified: Option<std::time::SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl LocalBlocks {
    /// Opens and hashes a file.
    ///
    /// Errors: [`LocalError`]; `Changed` is worth another try.
    pub fn read(path: &Path) -> Result<LocalBlocks, LocalError> {
        let mut file = File::open(path)?;
        let stamp = Stamp::of(&file)?;
        let metadata = file.metadata()?;
        let mtime_ms = mtime_ms(&metadata);
        let (mut bytes, mut names, mut only) = (0, Vec::new(), None);
        let mut block = Vec::new();
        loop {
            block.clear();
            let read = Read::by_ref(&mut file).take(BLOCK_BYTES).read_to_end(&mut block)? as u64;
            if read == 0 {
                break;
            }
            names.push(hash_of(&block));
            bytes += read;
            if read < BLOCK_BYTES {
                // The end: what follows would be growth, and shows below.
                only = (names.len() == 1).then(|| std::mem::take(&mut block));
                break;
            }
            if bytes > stamp.bytes {
                return Err(LocalError::Changed);
            }
        }
        if bytes != stamp.bytes || Stamp::of(&file)? != stamp {
            return Err(LocalError::Changed);
        }
        let content_hash = content_hash(&names);
        Ok(LocalBlocks { file, stamp, metadata, only, bytes, mtime_ms, names, content_hash })
    }

    /// Reads a block again.
    ///
    /// Errors: also when it is not the block that was hashed; see [`LocalBlocks::is_unchanged`].
    pub fn block(&self, position: u32) -> io::Result<Vec<u8>> {
        if let Some(only) = &self.only {
            return Ok(only.clone());
        }
        let offset = u64::from(position) * BLOCK_BYTES;
        let length = BLOCK_BYTES.min(self.bytes.saturating_sub(offset));
        let mut block = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut block, offset);
        if read.is_err() || self.names.get(position as usize) != Some(&hash_of(&block)) {
            return Err(io::Error::other(LocalError::Changed));
        }
        Ok(block)
    }

    /// The file is still as it was hashed.
    pub fn is_unchanged(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// A file's modification time in milliseconds since 1970.
pub fn mtime_ms(metadata: &Metadata) -> Option<i64> {
    let modified = metadata.modified().ok()?;
    let ms = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_millis()).ok()?,
    };
    Some(ms)
}

/// SHA-256 of the concatenated block names.
pub fn content_hash(names: &[BlockHash]) -> [u8; 32] {
    let joined: Vec<u8> = names.iter().flat_map(|name| name.0).collect();
    hash_of(&joined).0
}

/// The content hash of what is at `path`; `None` when it changes while it is read.
///
/// Errors: of reading it.
pub fn hash_file(path: &Path) -> io::Result<Option<[u8; 32]>> {
    match LocalBlocks::read(path) {
        Ok(blocks) => Ok(Some(blocks.content_hash)),
        Err(LocalError::Changed) => Ok(None),
        Err(LocalError::Io(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_cut_at_4_mib() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (length, blocks) in [(0, 0), (1, 1), (BLOCK_BYTES, 1), (BLOCK_BYTES + 1, 2), (2 * BLOCK_BYTES, 2)] {
            std::fs::write(&path, vec![3; length as usize]).unwrap();
            let read = LocalBlocks::read(&path).unwrap();
            assert_eq!((read.bytes, read.names.len()), (length, blocks), "{length} bytes");
            for position in 0..blocks as u32 {
                assert_eq!(hash_of(&read.block(position).unwrap()), read.names[position as usize]);
            }
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BlockHash(content_hash(&[])).to_string(), empty);
    }

    #[test]
    fn a_file_that_changes_between_hash_and_upload_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![3; BLOCK_BYTES as usize + 10]).unwrap();
        let read = LocalBlocks::read(&path).unwrap();
        assert!(read.is_unchanged());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", BLOCK_BYTES).unwrap();
        assert!(read.block(0).is_ok());
        assert!(read.block(1).is_err());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5).unwrap();
        assert!(!read.is_unchanged());
        assert!(read.block(0).is_err());
    }
}
