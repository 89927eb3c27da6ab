//! What is here below the local folder, as it was when each folder was last read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::limits::DEPTH_MAX;
use base::names::{name_key, normalize_name};

use crate::ignore::Ignore;
use crate::{ContentHash, Kind, Stamp};

/// A file or folder here. Never used twice in one tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LocalId(pub u64);

/// The folder itself.
pub const LOCAL_ROOT: LocalId = LocalId(0);

/// What is known of it.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// The folder it is in; of the root itself.
    pub parent: LocalId,
    /// Its name as the system has it.
    pub raw: String,
    /// The same in the form of the cluster.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// As it was when it was seen.
    pub stamp: Stamp,
    /// Of the content that goes with `stamp`, if it was read.
    pub hash: Option<ContentHash>,
    /// Folders: what is in it and stays out, by name key where it has one.
    pub left: BTreeMap<String, Left>,
    /// Folders: it could not be read, so what is in it is not known.
    pub is_unread: bool,
}

/// Why something here stays out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Left {
    /// A pattern says so, or it is temporary: nobody needs to be told.
    Ignored,
    /// It cannot be synced, and why.
    Cannot(String),
}

/// The tree.
#[derive(Debug)]
pub struct LocalTree {
    root_path: PathBuf,
    device: u64,
    /// What stays out.
    pub ignore: Ignore,
    nodes: HashMap<LocalId, LocalNode>,
    children: HashMap<LocalId, BTreeMap<String, LocalId>>,
    by_inode: HashMap<u64, Vec<LocalId>>,
    next: u64,
    /// Folders that were read for the first time since the last [`LocalTree::take_new_folders`].
    new_folders: Vec<LocalId>,
}

/// One entry of a folder, before it has an id.
struct Found {
    raw: String,
    name: String,
    kind: Kind,
    stamp: Stamp,
}

impl LocalTree {
    /// An unread tree.
    ///
    /// Errors: of looking at the folder.
    pub fn new(root: &Path, ignore: Ignore) -> io::Result<LocalTree> {
        let metadata = fs::metadata(root)?;
        let mut tree = LocalTree {
            root_path: root.to_owned(),
            device: metadata.dev(),
            ignore,
            nodes: HashMap::new(),
            children: HashMap::new(),
            by_inode: HashMap::new(),
            next: 1,
            new_folders: Vec::new(),
        };
        let found = Found { raw: String::new(), name: String::new(), kind: Kind::Folder, stamp: Stamp::of(&metadata) };
        tree.insert(LOCAL_ROOT, LOCAL_ROOT, found);
        Ok(tree)
    }

    /// What is known of it.
    #[must_use]
    pub fn get(&self, id: LocalId) -> Option<&LocalNode> {
        self.nodes.get(&id)
    }

    /// All but the root, in a fixed order.
    #[must_use]
    pub fn ids(&self) -> Vec<LocalId> {
        let mut ids: Vec<LocalId> = self.nodes.keys().copied().filter(|id| *id != LOCAL_ROOT).collect();
        ids.sort_unstable();
        ids
    }

    /// What is in a folder, in order of the name keys.
    pub fn children(&self, folder: LocalId) -> impl Iterator<Item = LocalId> + '_ {
        self.children.get(&folder).into_iter().flat_map(|children| children.values().copied())
    }

    /// What has this name key in a folder.
    #[must_use]
    pub fn child(&self, folder: LocalId, key: &str) -> Option<LocalId> {
        self.children.get(&folder)?.get(key).copied()
    }

    /// Everything with this inode: more than one where a file has several links.
    #[must_use]
    pub fn by_inode(&self, inode: u64) -> &[LocalId] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// Where it is on disk.
    #[must_use]
    pub fn path(&self, id: LocalId) -> PathBuf {
        self.root_path.join(self.relative(id))
    }

    /// Where it is below the root, `a/b`, as the system has it.
    #[must_use]
    pub fn relative(&self, id: LocalId) -> String {
        let (mut names, mut at) = (Vec::new(), id);
        while at != LOCAL_ROOT {
            let Some(node) = self.nodes.get(&at) else { break };
            names.push(node.raw.as_str());
            at = node.parent;
        }
        names.reverse();
        names.join("/")
    }

    /// `id` is `folder` or below it.
    #[must_use]
    pub fn is_within(&self, id: LocalId, folder: LocalId) -> bool {
        let mut at = id;
        loop {
            if at == folder {
                return true;
            }
            match self.nodes.get(&at) {
                Some(node) if at != LOCAL_ROOT => at = node.parent,
                _ => return false,
            }
        }
    }

    /// The content that goes with the stamp has this hash.
    pub fn set_hash(&mut self, id: LocalId, stamp: Stamp, hash: ContentHash) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.stamp = stamp;
            node.hash = Some(hash);
        }
    }

    /// Folders that came since the last call: they are not watched yet.
    pub fn take_new_folders(&mut self) -> Vec<LocalId> {
        std::mem::take(&mut self.new_folders)
    }

    /// All that stays out and whose owner should know, with the reason.
    #[must_use]
    pub fn left_out(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (id, node) in &self.nodes {
            let folder = self.relative(*id);
            for (name, left) in &node.left {
                if let Left::Cannot(why) = left {
                    out.push((if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") }, why.clone()));
                }
            }
            if node.is_unread {
                out.push((folder, "it cannot be read; check its permissions".to_owned()));
            }
        }
        out.sort();
        out
    }

    /// Reads everything again.
    ///
    /// Errors: of reading the root itself.
    pub fn scan(&mut self, knows: &dyn Fn(u64) -> bool) -> io::Result<()> {
        fs::read_dir(&self.root_path)?;
        self.rescan(LOCAL_ROOT, true, knows);
        Ok(())
    }

    /// Reads a folder again, with all below it or only what is new in it. `knows`: this inode was synced before, so of two
    /// names that differ only in case it goes first.
    pub fn rescan(&mut self, folder: LocalId, is_deep: bool, knows: &dyn Fn(u64) -> bool) {
        let mut todo = vec![folder];
        while let Some(folder) = todo.pop() {
            if !self.nodes.get(&folder).is_some_and(|node| node.kind == Kind::Folder) {
                continue;
            }
            todo.extend(self.read(folder, is_deep, knows));
        }
    }

    /// Reads one folder; gives the folders in it that are to be read next.
    fn read(&mut self, folder: LocalId, is_deep: bool, knows: &dyn Fn(u64) -> bool) -> Vec<LocalId> {
        let path = self.path(folder);
        let (mut found, left) = match self.entries(folder, &path) {
            Ok(entries) => entries,
            Err(error) => {
                // Gone is told by the folder above; anything else leaves open what is in it.
                if let Some(node) = self.nodes.get_mut(&folder) {
                    node.is_unread = error.kind() != io::ErrorKind::NotFound;
                }
                return Vec::new();
            }
        };
        let mut left = left;
        // What was synced goes first, then what was seen first, then the order of names.
        let before = self.children.get(&folder).cloned().unwrap_or_default();
        let inode_before = |found: &Found| {
            let id = before.get(&name_key(&found.name));
            id.and_then(|id| self.nodes.get(id)).is_some_and(|node| node.stamp.inode == found.stamp.inode)
        };
        found.sort_by_cached_key(|one| (!knows(one.stamp.inode), !inode_before(one), one.raw.clone()));
        let mut kept: BTreeMap<String, Found> = BTreeMap::new();
        for one in found {
            let key = name_key(&one.name);
            match kept.entry(key) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(one)),
                std::collections::btree_map::Entry::Occupied(_) => {
                    let why = "another name in this folder differs from it only in case or accents; rename one";
                    // Its key is taken, so it is kept under the name itself, which no key begins with.
                    left.insert(format!("{} ", one.raw), Left::Cannot(why.to_owned()));
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&folder) {
            (node.left, node.is_unread) = (left, false);
        }
        self.merge(folder, &before, kept, is_deep)
    }

    fn merge(
        &mut self,
        folder: LocalId,
        before: &BTreeMap<String, LocalId>,
        now: BTreeMap<String, Found>,
        is_deep: bool,
    ) -> Vec<LocalId> {
        let mut next = Vec::new();
        for (key, id) in before {
            let same = now.get(key).zip(self.nodes.get(id));
            if !same.is_some_and(|(found, node)| node.stamp.inode == found.stamp.inode && node.kind == found.kind) {
                self.remove(*id);
            }
        }
        for (key, found) in now {
            let id = self.child(folder, &key);
            match id.and_then(|id| self.nodes.get_mut(&id).map(|node| (id, node))) {
                Some((id, node)) => {
                    if node.stamp != found.stamp {
                        (node.stamp, node.hash) = (found.stamp, None);
                    }
                    (node.raw, node.name) = (found.raw, found.name);
                    if is_deep && found.kind == Kind::Folder {
                        next.push(id);
                    }
                }
                None => {
                    let id = LocalId(self.next);
                    self.next += 1;
                    if found.kind == Kind::Folder {
                        next.push(id);
                    }
                    self.insert(id, folder, found);
                }
            }
        }
        next
    }

    /// What is in a folder: what can be synced, and what stays out.
    fn entries(&self, folder: LocalId, path: &Path) -> io::Result<(Vec<Found>, BTreeMap<String, Left>)> {
        let (mut found, mut left) = (Vec::new(), BTreeMap::new());
        let above = self.relative(folder);
        let depth = if above.is_empty() { 0 } else { above.split('/').count() };
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            let metadata = match fs::symlink_metadata(entry.path()) {
                Ok(metadata) => metadata,
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    left.insert(key_of(&name), Left::Cannot(error.to_string()));
                    continue;
                }
            };
            match self.judge(&name, &metadata, &above, depth) {
                Ok(one) => found.push(one),
                Err(why) => drop(left.insert(key_of(&name), why)),
            }
        }
        Ok((found, left))
    }

    fn judge(&self, name: &OsStr, metadata: &Metadata, above: &str, depth: usize) -> Result<Found, Left> {
        let cannot = |why: &str| Err(Left::Cannot(why.to_owned()));
        let Some(raw) = name.to_str() else { return cannot("its name is not UTF-8; rename it") };
        let path = if above.is_empty() { raw.to_owned() } else { format!("{above}/{raw}") };
        if self.ignore.holds(&path, metadata.is_dir()) {
            return Err(Left::Ignored);
        }
        if let Some(what) = special(metadata.file_type()) {
            return cannot(&format!("it is {what}, which is not synced"));
        }
        if metadata.dev() != self.device {
            return cannot("another file system is mounted there, which is not synced");
        }
        let name = match normalize_name(raw) {
            Ok(name) => name.into_owned(),
            Err(rule) => return cannot(&format!("{rule}; rename it")),
        };
        if depth + 1 >= DEPTH_MAX {
            return cannot("it is too deep for the cluster");
        }
        let kind = if metadata.is_dir() { Kind::Folder } else { Kind::File };
        Ok(Found { raw: raw.to_owned(), name, kind, stamp: Stamp::of(metadata) })
    }

    fn insert(&mut self, id: LocalId, parent: LocalId, found: Found) {
        let Found { raw, name, kind, stamp } = found;
        if kind == Kind::Folder {
            self.new_folders.push(id);
        }
        if id != LOCAL_ROOT {
            self.children.entry(parent).or_default().insert(name_key(&name), id);
            self.by_inode.entry(stamp.inode).or_default().push(id);
        }
        let (left, is_unread) = (BTreeMap::new(), false);
        self.nodes.insert(id, LocalNode { parent, raw, name, kind, stamp, hash: None, left, is_unread });
    }

    fn remove(&mut self, id: LocalId) {
        if let Some(node) = self.nodes.get(&id)
            && let Some(siblings) = self.children.get_mut(&node.parent)
        {
            siblings.remove(&name_key(&node.name));
        }
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            todo.extend(self.children.remove(&id).into_iter().flat_map(BTreeMap::into_values));
            let Some(node) = self.nodes.remove(&id) else { continue };
            if let Some(ids) = self.by_inode.get_mut(&node.stamp.inode) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_inode.remove(&node.stamp.inode);
                }
            }
        }
    }
}

/// The key of any name; of one that is no text, as near as can be.
fn key_of(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    normalize_name(&name).map_or_else(|_| name.to_string(), |name| name_key(&name))
}

fn special(kind: FileType) -> Option<&'static str> {
    match () {
        () if kind.is_symlink() => Some("a symbolic link"),
        () if kind.is_file() || kind.is_dir() => None,
        () => Some("a special file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path) -> LocalTree {
        let mut tree = LocalTree::new(root, Ignore::parse("*.o\n")).unwrap();
        tree.scan(&|_| false).unwrap();
        tree
    }

    fn paths(tree: &LocalTree) -> Vec<String> {
        let mut paths: Vec<String> = tree.ids().into_iter().map(|id| tree.relative(id)).collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_cannot_be_synced_stays_out_with_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        for name in ["deep/er/file", "README", "readme", "x.o", "trailing "] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        let tree = tree(root);
        assert_eq!(paths(&tree), ["README", "deep", "deep/er", "deep/er/file"]);
        let left: Vec<String> = tree.left_out().into_iter().map(|(path, _)| path.trim_end().to_owned()).collect();
        assert_eq!(left, ["link", "readme", "trailing"]);
    }

    #[test]
    fn a_folder_read_again_shows_what_came_went_and_changed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("stays"), "1").unwrap();
        fs::write(root.join("goes"), "1").unwrap();
        let mut tree = tree(root);
        let stays = tree.child(LOCAL_ROOT, "stays").unwrap();
        tree.set_hash(stays, tree.get(stays).unwrap().stamp, [7; 32]);
        fs::remove_file(root.join("goes")).unwrap();
        fs::create_dir(root.join("Comes")).unwrap();
        fs::write(root.join("Comes/inside"), "").unwrap();
        fs::write(root.join("stays"), "longer").unwrap();
        tree.rescan(LOCAL_ROOT, false, &|_| false);
        assert_eq!(paths(&tree), ["Comes", "Comes/inside", "stays"]);
        assert_eq!(tree.child(LOCAL_ROOT, "stays"), Some(stays));
        assert_eq!(tree.get(stays).unwrap().hash, None, "it was written since");
    }

    #[test]
    fn another_casing_of_a_name_is_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("name"), "1").unwrap();
        let mut tree = tree(root);
        let id = tree.child(LOCAL_ROOT, "name").unwrap();
        fs::rename(root.join("name"), root.join("NAME")).unwrap();
        tree.rescan(LOCAL_ROOT, false, &|_| false);
        assert_eq!(tree.child(LOCAL_ROOT, "name"), Some(id));
        assert_eq!(tree.get(id).unwrap().name, "NAME");
    }
}
