//! The generator's model of one namespace: which files there are once every operation so far is done, in index order.
//!
//! It decides what an update, a move or a read means, so it depends on indexes alone and never on replies. Beside it
//! stands what replies told (`Told`), by which answers are judged (`judge.rs`).

use base::{Prng, mix64};

use crate::mix::Population;
use crate::op::{FileId, Writer};
use crate::pieces::Pieces;
use crate::stream::Draws;
use crate::trace::Space;

/// Files put last are not met by other operations: they may still be on their way.
pub const FRESH_FILES: usize = 64;

/// A place: a folder and a name in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The folder, by its number in [`Tree::folders`].
    pub folder: u32,
    /// What the name is made from.
    pub name: u64,
}

/// What replies told of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// The highest revision acknowledged or read; 0 is none.
    pub rev: u64,
    /// The revision that brought the content known.
    pub content_rev: u64,
    /// Who wrote that content, and its size.
    pub content: Option<(Writer, u64)>,
    /// Writes that name the file and are on their way, or whose outcome is not known.
    pub pending: u32,
    /// Writes resolved so far that vacate the place.
    pub vacated: u32,
    /// A move or delete of it is among what is pending.
    pub is_vacating: bool,
    /// A move or delete of it overlapped with another write of it, so nothing is sure of its place any more.
    pub is_unsure: bool,
}

/// A file of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// Where it is.
    pub place: Place,
    /// What replies told.
    pub told: Told,
    /// Its place in the list of live files.
    at: u32,
}

/// One namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// Parent and name of each folder; the first one is the root, the second holds all others.
    folders: Vec<Place>,
    /// The path of each folder below [`TOP`]: names are made once, for the sake of speed.
    below: Vec<Box<str>>,
    /// The path of [`TOP`].
    top: String,
    files: Pieces<File>,
    live: Vec<u32>,
    /// Folders of the population, from which puts choose.
    homes: u32,
    /// The head of its journal that a reply told last.
    pub head: u64,
    /// The row up to which its changes were told; 0 is the population's end.
    pub cursor: u64,
}

/// The folder that holds all others.
pub const TOP: u32 = 1;

impl Tree {
    /// What is there before the first operation: a function of the stream and the namespace.
    #[must_use]
    pub fn populate(population: &Population, draws: Draws, namespace: u32) -> Tree {
        let mut prng = draws.prng(namespace.into());
        let files = population.files.draw(prng.next_u64());
        let folders = (files / u64::from(population.files_per_folder)).max(1);
        let mut tree = Tree::empty();
        let mut depths = vec![0, 1];
        for _ in 1..folders {
            // Any folder that may have children, all alike: depths grow as the logarithm of their number.
            let parent = (0..8).map(|_| TOP + prng.below(u64::from(tree.homes) - 1) as u32);
            let parent = parent.into_iter().find(|parent| depths[*parent as usize] < population.depth_max);
            let parent = parent.unwrap_or(TOP);
            depths.push(depths[parent as usize] + 1);
            tree.add_home(parent);
        }
        for _ in 0..files {
            let folder = TOP + prng.below(u64::from(tree.homes) - 1) as u32;
            tree.add_populated(namespace, folder, population.file_bytes);
        }
        tree
    }

    /// The same namespace of a trace.
    #[must_use]
    pub fn of_space(space: &Space, namespace: u32) -> Tree {
        let mut tree = Tree::empty();
        space.folders.iter().for_each(|parent| tree.add_home(*parent));
        space.files.iter().for_each(|(folder, bytes)| tree.add_populated(namespace, *folder, *bytes));
        tree
    }

    /// What a trace holds of it, before the first operation.
    #[must_use]
    pub fn space(&self) -> Space {
        let file = |file: &File| (file.place.folder, file.told.content.map_or(0, |(_, bytes)| bytes));
        let folders = self.folders.iter().skip(TOP as usize + 1).map(|place| place.folder);
        Space { folders: folders.collect(), files: self.files.iter().map(file).collect() }
    }

    /// The root, and the folder that holds all others.
    fn empty() -> Tree {
        let mut tree = Tree { homes: 2, ..Tree::default() };
        tree.folders.extend([Place { folder: 0, name: 0 }, Place { folder: 0, name: 1 }]);
        tree.below.extend([Box::default(), Box::default()]);
        put_name(1, &mut tree.top);
        tree
    }

    /// A folder of the population.
    fn add_home(&mut self, parent: u32) {
        self.add_folder(Place { folder: parent, name: u64::from(self.homes) });
        self.homes += 1;
    }

    /// A file of the population.
    fn add_populated(&mut self, namespace: u32, folder: u32, bytes: u64) {
        let id = self.add_file(Place { folder, name: (1 << 40) | self.files.len() as u64 });
        self.file_mut(id).told.content = Some((Writer::population(namespace, id.0), bytes));
    }

    /// Files that operations may meet.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.live.len().saturating_sub(FRESH_FILES.min(self.live.len() / 2)) as u64
    }

    /// The `rank`-th of them, the oldest first.
    #[must_use]
    pub fn pick(&self, rank: u64) -> FileId {
        FileId(self.live[rank as usize])
    }

    /// Files that are there.
    pub fn live(&self) -> impl Iterator<Item = FileId> {
        self.live.iter().map(|file| FileId(*file))
    }

    /// The file of a number.
    #[must_use]
    pub fn file(&self, id: FileId) -> &File {
        &self.files[id.0 as usize]
    }

    /// The file of a number.
    pub fn file_mut(&mut self, id: FileId) -> &mut File {
        &mut self.files[id.0 as usize]
    }

    /// Folders of the population, [`TOP`] first.
    pub fn homes(&self) -> std::ops::Range<u32> {
        TOP..self.homes
    }

    /// A new file.
    pub fn add_file(&mut self, place: Place) -> FileId {
        let id = self.files.len() as u32;
        self.files.push(File { place, told: Told::default(), at: self.live.len() as u32 });
        self.live.push(id);
        FileId(id)
    }

    /// A new folder below [`TOP`], into which operations put nothing.
    pub fn add_folder(&mut self, place: Place) {
        let mut path = self.below[place.folder as usize].to_string();
        put_name(place.name, &mut path);
        self.below.push(path.into());
        self.folders.push(place);
    }

    /// The file is elsewhere from now on.
    pub fn move_file(&mut self, id: FileId, place: Place) {
        let file = self.file_mut(id);
        file.place = place;
        file.told.vacated += 1;
    }

    /// The file is gone from now on.
    pub fn remove_file(&mut self, id: FileId) {
        let file = self.file_mut(id);
        file.told.vacated += 1;
        let at = file.at as usize;
        self.live.swap_remove(at);
        if let Some(moved) = self.live.get(at) {
            self.files[*moved as usize].at = at as u32;
        }
    }

    /// [`TOP`] has another name from now on.
    pub fn rename_top(&mut self, name: u64) {
        self.folders[TOP as usize].name = name;
        self.top.clear();
        put_name(name, &mut self.top);
    }

    /// Where a folder is.
    #[must_use]
    pub fn folder(&self, folder: u32) -> Place {
        self.folders[folder as usize]
    }

    /// Overwrites `path` with the path of a folder; empty for the root.
    pub fn folder_path(&self, folder: u32, path: &mut String) {
        path.clear();
        if folder != 0 {
            path.push_str(&self.top);
            path.push_str(&self.below[folder as usize]);
        }
    }

    /// Overwrites `path` with the path of a place.
    pub fn path(&self, place: Place, path: &mut String) {
        self.folder_path(place.folder, path);
        put_name(place.name, path);
    }
}

/// Appends `/` and the name made from `number`: 8 to 40 bytes, one in twenty with letters beyond ASCII. The digits of the
/// number come first, so that no two are alike in any case.
pub fn put_name(number: u64, path: &mut String) {
    let mut prng = Prng::new(mix64(number));
    let start = path.len() + 1;
    let bytes = 8 + prng.below(33) as usize;
    path.push('/');
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        path.push(char::from(b"0123456789abcdef"[(number >> (4 * at)) as usize & 15]));
    }
    path.push('-');
    let is_wide = prng.below(20) == 0;
    let mut bits = prng.next_u64();
    while path.len() - start < bytes {
        let left = bytes - (path.len() - start);
        if is_wide && left >= 2 && bits & 3 == 0 {
            path.push('\u{e9}');
        } else {
            path.push(char::from(b'a' + (bits & 15) as u8));
        }
        bits = if bits >> 4 == 0 { prng.next_u64() } else { bits >> 4 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Sizes;
    use crate::stream::Stream;

    fn population(files: u64) -> Population {
        Population { namespaces: 4, files: Sizes::Const(files), file_bytes: 0, files_per_folder: 10, depth_max: 5 }
    }

    fn tree(files: u64) -> Tree {
        Tree::populate(&population(files), Draws::new(1, Stream::Population), 2)
    }

    #[test]
    fn names_are_legal_unique_and_sized() {
        let mut names = std::collections::BTreeSet::new();
        let mut wide = 0;
        for number in (0..20_000).chain((1 << 40)..(1 << 40) + 100) {
            let mut path = String::new();
            put_name(number, &mut path);
            assert_eq!(base::names::normalize_path(&path).unwrap(), path);
            let name = &path[1..];
            assert!((8..=40).contains(&name.len()), "{name}");
            wide += usize::from(!name.is_ascii());
            assert!(names.insert(base::names::name_key(name)));
        }
        assert!((700..1300).contains(&wide), "{wide} of 20,000 are beyond ASCII");
    }

    #[test]
    fn a_population_is_the_same_every_time_and_keeps_its_bounds() {
        assert_eq!(tree(1000), tree(1000));
        let tree = tree(1000);
        assert_eq!((tree.live.len(), tree.homes().len()), (1000, 100));
        let mut path = String::new();
        for file in tree.live() {
            tree.path(tree.file(file).place, &mut path);
            let depth = path.matches('/').count();
            assert!((2..=6).contains(&depth), "{path}");
        }
    }

    #[test]
    fn fresh_files_are_left_alone() {
        let mut tree = tree(1000);
        assert_eq!(tree.settled(), 936);
        let added = tree.add_file(Place { folder: TOP, name: 7 });
        assert!((0..tree.settled()).all(|rank| tree.pick(rank) != added));
        assert_eq!(self::tree(3).settled(), 2);
        assert_eq!(self::tree(0).settled(), 0);
    }

    #[test]
    fn removed_files_are_never_picked_and_the_rest_stay() {
        let mut tree = tree(100);
        let gone: Vec<FileId> = (0..50).map(|at| tree.pick(at % 7)).collect();
        let mut removed = std::collections::BTreeSet::new();
        for file in gone {
            if removed.insert(file) {
                tree.remove_file(file);
            }
        }
        let live: std::collections::BTreeSet<FileId> = tree.live().collect();
        assert_eq!(live.len() + removed.len(), 100);
        assert!(live.is_disjoint(&removed));
        for file in live {
            assert_eq!(tree.live[tree.file(file).at as usize], file.0);
        }
    }

    #[test]
    fn a_renamed_folder_takes_all_along() {
        let mut tree = tree(10);
        let place = tree.file(tree.pick(0)).place;
        let (mut before, mut after) = (String::new(), String::new());
        tree.path(place, &mut before);
        tree.rename_top(999);
        tree.path(place, &mut after);
        assert_ne!(before, after);
        assert_eq!(before.rsplit('/').next(), after.rsplit('/').next());
    }
}
