//! The store as its collector sees it: listings, the way into the trash and out of it, tails, and the collector's state.
//!
//! ```text
//! blocks/ab/ab..            a block in use
//! trash/ab/ab..-<16 digits> the same on its way out; the digits are the time when it went there, milliseconds, hex
//! tails/..                  what an upload session has beyond its last whole block
//! gc/state                  the collector's state
//! ```
//! The time in the name makes each way into the trash an object of its own: a delete that comes late, of a collector
//! that was held up, can only meet the object that it was decided for.

use std::pin::Pin;
use std::time::SystemTime;

use base::BlockHash;
use bytes::Bytes;
use futures_core::Stream;
use object_store::path::Path as Location;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::{BlockStore, GetError, options};
use crate::gc::{Area, Listed, Trashed};

/// A move into the trash must be over by then: what saw the block just before must have been recorded when a mark a week
/// later begins. Milliseconds.
const MOVE_MS_MAX: u64 = 60 * 60 * 1000;
/// Where the collector's state is.
const STATE: &str = "state";
/// Bytes of a state at most: more is none.
const STATE_BYTES_MAX: u64 = 64 << 10;

type Objects = Pin<Box<dyn Stream<Item = object_store::Result<ObjectMeta>> + Send>>;

async fn next(objects: &mut Objects) -> object_store::Result<Option<ObjectMeta>> {
    std::future::poll_fn(|context| objects.as_mut().poll_next(context)).await.transpose()
}

fn modified_ms(object: &ObjectMeta) -> u64 {
    u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0)
}

/// Not there is an answer, not a failure.
fn if_there<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The block and the time in the name of an object of the trash.
fn parse_trashed(name: &str) -> Option<Trashed> {
    let (hash, at) = name.split_once('-')?;
    let is_time = at.len() == 16 && at.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let at_ms = u64::from_str_radix(at, 16).ok().filter(|_| is_time)?;
    Some(Trashed { hash: hash.parse().ok()?, at_ms })
}

impl BlockStore {
    /// Lists the objects of one area whose name begins with `byte`, in any order. Objects with other names are passed
    /// over.
    ///
    /// Errors: those of the object store; then the listing is not whole.
    pub async fn list(&self, area: Area, byte: u8, mut each: impl FnMut(Listed)) -> object_store::Result<()> {
        let mut objects = self.objects.list(Some(&self.area_directory(area, byte)));
        while let Some(object) = next(&mut objects).await? {
            let Some(name) = object.location.filename() else { continue };
            let since_ms = modified_ms(&object);
            match area {
                Area::Blocks => {
                    if let Ok(hash) = name.parse() {
                        each(Listed { hash, since_ms, trashed_ms: 0 });
                    }
                }
                Area::Trash => {
                    if let Some(Trashed { hash, at_ms }) = parse_trashed(name) {
                        each(Listed { hash, since_ms: since_ms.max(at_ms), trashed_ms: at_ms });
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves a block to the trash, under the time `now_ms`; false when it is not there, or was written after
    /// `unless_after_ms`. Milliseconds since 1970.
    ///
    /// Errors: those of the object store; then the block is in `blocks/`, in the trash, or in both.
    pub async fn trash(&self, hash: BlockHash, unless_after_ms: u64, now_ms: u64) -> object_store::Result<bool> {
        let from = self.location(hash);
        let Some(object) = if_there(self.objects.head(&from).await)? else { return Ok(false) };
        if modified_ms(&object) > unless_after_ms {
            return Ok(false);
        }
        let to = self.trashed_location(Trashed { hash, at_ms: now_ms });
        if self.directory.is_some() {
            let Some(()) = if_there(self.objects.rename(&from, &to).await)? else { return Ok(false) };
            self.set_modified(&to).await?;
            return Ok(true);
        }
        let Some(()) = if_there(self.objects.copy(&from, &to).await)? else { return Ok(false) };
        // A process that was held up between the two steps must not take away what others rely on by now.
        if wall_ms().saturating_sub(now_ms) > MOVE_MS_MAX {
            return Ok(false);
        }
        if_there(self.objects.delete(&from).await).map(|_| true)
    }

    /// A rename keeps the time of the last write; in the trash it is to be the time of the move.
    async fn set_modified(&self, location: &Location) -> object_store::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(location.as_ref());
        let set = move || std::fs::File::options().write(true).open(path)?.set_modified(SystemTime::now());
        match tokio::task::spawn_blocking(set).await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))) {
            // Another collector, or a reader, may have taken it on.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Generic { store: "directory", source: Box::new(error) })
            }
            _ => Ok(()),
        }
    }

    /// Deletes one object of the trash; false when it is not there.
    ///
    /// Errors: those of the object store.
    pub async fn delete_trashed(&self, trashed: Trashed) -> object_store::Result<bool> {
        Ok(if_there(self.objects.delete(&self.trashed_location(trashed)).await)?.is_some())
    }

    /// Brings a block back from one object of the trash, which goes then; false when the object is not there, or is not
    /// that block: a corrupt one stays where it is.
    ///
    /// Errors: [`GetError::Store`].
    pub async fn restore(&self, trashed: Trashed) -> Result<bool, GetError> {
        let hash = trashed.hash;
        let bytes = match self.read(hash, &self.trashed_location(trashed)).await {
            Ok(bytes) => bytes,
            Err(GetError::Missing(_)) => return Ok(false),
            Err(error @ GetError::Corrupt { .. }) => {
                tracing::error!(%error, "a block that is wanted is corrupt in the trash");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let store = |source| GetError::Store { hash, source };
        self.put(hash, bytes)
            .await
            .map_err(|error| store(Error::Generic { store: "restore", source: error.into() }))?;
        self.delete_trashed(trashed).await.map_err(store)?;
        Ok(true)
    }

    /// Reads a block from the trash, and puts it back where it belongs; the object of the trash stays for the collector.
    pub(super) async fn get_from_trash(&self, hash: BlockHash) -> Result<Bytes, GetError> {
        let store = |source| GetError::Store { hash, source };
        for trashed in self.find_in_trash(hash).await.map_err(store)? {
            match self.read(hash, &self.trashed_location(trashed)).await {
                Ok(bytes) => {
                    tracing::warn!(block = %hash, "brought a block back that was read from the trash");
                    if let Err(error) = self.put(hash, bytes.clone()).await {
                        tracing::warn!(%error, "could not put it back yet; it is served from the trash");
                    }
                    return Ok(bytes);
                }
                Err(GetError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // It may have been brought back since it was looked for.
        self.read(hash, &self.location(hash)).await
    }

    /// The objects of one block in the trash, the newest first.
    async fn find_in_trash(&self, hash: BlockHash) -> object_store::Result<Vec<Trashed>> {
        let directory = self.area_directory(Area::Trash, hash.0[0]);
        let name = hash.to_string();
        let mut objects = self.objects.list_with_offset(Some(&directory), &directory.clone().join(name.as_str()));
        let mut found = Vec::new();
        while let Some(object) = next(&mut objects).await? {
            let object_name = object.location.filename().unwrap_or_default();
            if let Some(trashed) = parse_trashed(object_name).filter(|trashed| trashed.hash == hash) {
                found.push(trashed);
            } else if self.directory.is_none() && !object_name.starts_with(&name) {
                // Listings of object stores are sorted, those of directories are not.
                break;
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Reads a block in use and checks it against its name.
    ///
    /// Errors: [`GetError`].
    pub async fn verify(&self, hash: BlockHash) -> Result<(), GetError> {
        self.read(hash, &self.location(hash)).await.map(drop)
    }

    /// Is the block there, in use or in the trash? Its bytes are not looked at.
    ///
    /// Errors: those of the object store.
    pub async fn is_there(&self, hash: BlockHash) -> object_store::Result<bool> {
        if if_there(self.objects.head(&self.location(hash)).await)?.is_some() {
            return Ok(true);
        }
        if !self.find_in_trash(hash).await?.is_empty() {
            return Ok(true);
        }
        // It may have been brought back between the two looks.
        Ok(if_there(self.objects.head(&self.location(hash)).await)?.is_some())
    }

    /// Deletes the tail objects that were written before a time, in milliseconds since 1970; returns how many.
    ///
    /// Errors: those of the object store.
    pub async fn delete_tails(&self, before_ms: u64, is_dry: bool) -> object_store::Result<u64> {
        let mut objects = self.objects.list(Some(&self.prefix.clone().join("tails")));
        let mut deleted = 0;
        while let Some(object) = next(&mut objects).await? {
            if modified_ms(&object) < before_ms {
                deleted += u64::from(is_dry || if_there(self.objects.delete(&object.location).await)?.is_some());
            }
        }
        Ok(deleted)
    }

    /// Deletes what puts that were killed have left in a directory, if it is older than a time in milliseconds since
    /// 1970; returns how many. Other stores leave nothing.
    ///
    /// Errors: those of the directory.
    pub async fn delete_staged(&self, byte: u8, before_ms: u64) -> std::io::Result<u64> {
        let Some(directory) = &self.directory else { return Ok(0) };
        let directory = directory.join("blocks").join(format!("{byte:02x}"));
        let delete = move || {
            let mut deleted = 0;
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                if !entry.file_name().to_string_lossy().contains('#') {
                    continue;
                }
                let age = entry.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                if (age.as_millis() as u64) < before_ms {
                    std::fs::remove_file(entry.path())?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        };
        tokio::task::spawn_blocking(delete).await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)))
    }

    /// The text of the collector's state; `None` when there is none.
    ///
    /// Errors: those of the object store.
    pub async fn gc_state(&self) -> object_store::Result<Option<String>> {
        let Some(object) = if_there(self.objects.get(&self.state_location()).await)? else { return Ok(None) };
        if object.meta.size > STATE_BYTES_MAX {
            return Ok(None);
        }
        Ok(String::from_utf8(object.bytes().await?.to_vec()).ok())
    }

    /// Keeps the collector's state, durably.
    ///
    /// Errors: those of the object store.
    pub async fn put_gc_state(&self, text: String) -> object_store::Result<()> {
        let payload = PutPayload::from(text.into_bytes());
        self.objects.put_opts(&self.state_location(), payload, options(PutMode::Overwrite)).await.map(drop)
    }

    fn state_location(&self) -> Location {
        self.prefix.clone().join("gc").join(STATE)
    }

    fn area_directory(&self, area: Area, byte: u8) -> Location {
        let area = match area {
            Area::Blocks => "blocks",
            Area::Trash => "trash",
        };
        self.prefix.clone().join(area).join(format!("{byte:02x}"))
    }

    fn trashed_location(&self, trashed: Trashed) -> Location {
        let Trashed { hash, at_ms } = trashed;
        self.area_directory(Area::Trash, hash.0[0]).join(format!("{hash}-{at_ms:016x}"))
    }
}

/// This machine's clock: milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::hash_of;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// A store with one block.
    fn filled(directory: &Path, bytes: &'static [u8]) -> (BlockStore, BlockHash) {
        let store = BlockStore::open_directory(directory).unwrap();
        let hash = hash_of(bytes);
        run(store.put(hash, Bytes::from_static(bytes))).unwrap();
        (store, hash)
    }

    fn listed(store: &BlockStore, area: Area, hash: BlockHash) -> Vec<Listed> {
        let mut all = Vec::new();
        run(store.list(area, hash.0[0], |object| all.push(object))).unwrap();
        all
    }

    fn file(directory: &Path, hash: BlockHash) -> std::path::PathBuf {
        directory.join("blocks").join(format!("{:02x}", hash.0[0])).join(hash.to_string())
    }

    fn age(path: &Path, ms: u64) {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(wall_ms() - ms);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn an_old_block_goes_to_the_trash_under_its_time_and_a_read_brings_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let (store, hash) = filled(directory.path(), b"content");
        let now = wall_ms();
        age(&file(directory.path(), hash), 5000);
        assert!(!run(store.trash(hash, now - 6000, now)).unwrap(), "it is younger than that");
        assert!(run(store.trash(hash, now - 4000, now)).unwrap());
        assert!(!run(store.trash(hash, now - 4000, now)).unwrap(), "it is gone");
        assert!(listed(&store, Area::Blocks, hash).is_empty());
        let [trashed] = listed(&store, Area::Trash, hash)[..] else { panic!("one object in the trash") };
        assert_eq!((trashed.hash, trashed.trashed_ms), (hash, now));
        assert!(trashed.since_ms >= now, "the time of the move counts, not that of the put");
        assert!(run(store.is_there(hash)).unwrap());

        assert_eq!(run(store.get(hash)).unwrap(), Bytes::from_static(b"content"));
        let [back] = listed(&store, Area::Blocks, hash)[..] else { panic!("it is in use again") };
        assert!(back.since_ms >= now, "and is as young as if it were new");
        assert_eq!(listed(&store, Area::Trash, hash).len(), 1, "the collector takes the other one away");
    }

    #[test]
    fn a_late_delete_meets_only_the_object_it_was_meant_for() {
        let directory = tempfile::tempdir().unwrap();
        let (store, hash) = filled(directory.path(), b"content");
        run(store.trash(hash, u64::MAX, 1000)).unwrap();
        run(store.put(hash, Bytes::from_static(b"content"))).unwrap();
        run(store.trash(hash, u64::MAX, 2000)).unwrap();
        assert!(run(store.delete_trashed(Trashed { hash, at_ms: 1000 })).unwrap());
        assert!(!run(store.delete_trashed(Trashed { hash, at_ms: 1000 })).unwrap());
        assert_eq!(run(store.get(hash)).unwrap(), Bytes::from_static(b"content"));
    }

    #[test]
    fn a_block_is_restored_once_and_a_corrupt_one_stays_in_the_trash() {
        let directory = tempfile::tempdir().unwrap();
        let (store, hash) = filled(directory.path(), b"content");
        let trashed = Trashed { hash, at_ms: 1000 };
        run(store.trash(hash, u64::MAX, 1000)).unwrap();
        assert!(run(store.restore(trashed)).unwrap() && !run(store.restore(trashed)).unwrap());
        run(store.verify(hash)).unwrap();
        run(store.trash(hash, u64::MAX, 1000)).unwrap();
        let object = directory.path().join(store.trashed_location(trashed).as_ref());
        std::fs::write(&object, b"other").unwrap();
        assert!(!run(store.restore(trashed)).unwrap());
        assert!(matches!(run(store.get(hash)), Err(GetError::Corrupt { .. })));
        std::fs::remove_file(object).unwrap();
        assert!(matches!(run(store.get(hash)), Err(GetError::Missing(_))));
        assert!(!run(store.is_there(hash)).unwrap());
    }

    #[test]
    fn tails_and_staging_files_go_by_age_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let (store, hash) = filled(directory.path(), b"content");
        let tails = directory.path().join("tails");
        assert!(tails.is_dir());
        let staged = file(directory.path(), hash).with_extension("#1");
        for path in [&tails.join("old"), &tails.join("new"), &staged] {
            std::fs::write(path, b"x").unwrap();
        }
        age(&tails.join("old"), 5000);
        age(&staged, 5000);
        age(&file(directory.path(), hash), 5000);
        let before = wall_ms() - 4000;
        assert_eq!(run(store.delete_tails(before, true)).unwrap(), 1);
        assert_eq!(run(store.delete_tails(before, false)).unwrap(), 1);
        assert_eq!(run(store.delete_tails(before, false)).unwrap(), 0);
        assert!(tails.join("new").exists());
        assert_eq!(run(store.delete_staged(hash.0[0], before - 4000)).unwrap(), 0);
        assert_eq!(run(store.delete_staged(hash.0[0], before)).unwrap(), 1);
        run(store.verify(hash)).unwrap();
    }

    #[test]
    fn names_that_are_none_are_passed_over() {
        let name = "ab".repeat(32);
        assert!(parse_trashed(&format!("{name}-0000000000000010")).is_some_and(|trashed| trashed.at_ms == 16));
        for bad in ["", "-", &name, &format!("{name}-10"), &format!("{name}-000000000000001G"), "x-0000000000000010"] {
            assert_eq!(parse_trashed(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_state_is_kept_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = filled(directory.path(), b"content");
        assert_eq!(run(store.gc_state()).unwrap(), None);
        run(store.put_gc_state("one".to_owned())).unwrap();
        run(store.put_gc_state("two".to_owned())).unwrap();
        let again = BlockStore::open_directory(directory.path()).unwrap();
        assert_eq!(run(again.gc_state()).unwrap().as_deref(), Some("two"));
    }
}
