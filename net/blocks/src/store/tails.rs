//! What an upload session has beyond its last whole block: objects that live as long as their session at most.
//!
//! ```text
//! tails/<nonce, 16 hex>-<name, 16 hex>    the name is the first eight bytes of the SHA-256 of the tail, little-endian
//! ```
//! The session is in the key, so that the age of an object says whether it can still be wanted. Two racing calls with
//! other bytes write other objects, and the session's row names the one that won.

use bytes::Bytes;
use object_store::path::Path as Location;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::{BlockStore, hash_apart, options};

/// Why a tail cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// There is no such object: its session has gone on, or is over.
    #[error("the tail is not in the object store")]
    Missing,
    /// The object is there and has other bytes.
    #[error("a tail is corrupt in the object store")]
    Corrupt,
    /// The object store failed.
    #[error("could not read or write a tail: {0}")]
    Store(object_store::Error),
}

impl BlockStore {
    /// Puts the tail of the session of this nonce, durably; returns its name.
    ///
    /// Errors: [`TailError::Store`]; putting again is harmless.
    pub async fn put_tail(&self, nonce: u64, bytes: Bytes) -> Result<u64, TailError> {
        let (hash, bytes) = hash_apart(bytes).await;
        let name = name_of(hash);
        // An equal one may be there, older: it gets a new age.
        let (location, payload) = (self.tail_location(nonce, name), PutPayload::from(bytes));
        let put = self.objects.put_opts(&location, payload, options(PutMode::Overwrite)).await;
        put.map_err(TailError::Store)?;
        Ok(name)
    }

    /// Reads a tail of `length` bytes and checks it against its name.
    ///
    /// Errors: [`TailError`].
    pub async fn get_tail(&self, nonce: u64, name: u64, length: u32) -> Result<Bytes, TailError> {
        let failed = |error| match error {
            Error::NotFound { .. } => TailError::Missing,
            error => TailError::Store(error),
        };
        let location = self.tail_location(nonce, name);
        let object = self.objects.get_opts(&location, GetOptions::default()).await.map_err(failed)?;
        if object.meta.size != u64::from(length) {
            return Err(TailError::Corrupt);
        }
        let (hash, bytes) = hash_apart(object.bytes().await.map_err(failed)?).await;
        if name_of(hash) == name { Ok(bytes) } else { Err(TailError::Corrupt) }
    }

    /// Deletes a tail that no row names any more. What fails is left to the collector.
    pub async fn delete_tail(&self, nonce: u64, name: u64) {
        if let Err(error) = self.objects.delete(&self.tail_location(nonce, name)).await
            && !matches!(error, Error::NotFound { .. })
        {
            tracing::debug!(%error, "could not delete a tail; the collector will");
        }
    }

    fn tail_location(&self, nonce: u64, name: u64) -> Location {
        self.prefix.clone().join("tails").join(format!("{nonce:016x}-{name:016x}"))
    }
}

fn name_of(hash: base::BlockHash) -> u64 {
    u64::from_le_bytes(hash.0[..8].try_into().expect("a hash has eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tail_is_its_sessions_and_never_other_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open_directory(directory.path()).unwrap();
        let bytes = Bytes::from_static(b"the end");
        let name = store.put_tail(7, bytes.clone()).await.unwrap();
        assert_eq!(store.put_tail(7, bytes.clone()).await.unwrap(), name);
        assert_eq!(store.get_tail(7, name, 7).await.unwrap(), bytes);
        assert!(matches!(store.get_tail(8, name, 7).await, Err(TailError::Missing)));
        assert!(matches!(store.get_tail(7, name, 6).await, Err(TailError::Corrupt)));
        std::fs::write(directory.path().join(store.tail_location(7, name).as_ref()), b"the ene").unwrap();
        assert!(matches!(store.get_tail(7, name, 7).await, Err(TailError::Corrupt)));
        store.delete_tail(7, name).await;
        assert!(matches!(store.get_tail(7, name, 7).await, Err(TailError::Missing)));
    }
}
