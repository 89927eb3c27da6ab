//! The objects of one pass: the smallest names at or above where it begins, as many as memory allows, with their marks.

use base::BlockHash;

/// One object in the trash: the same block may be there several times, each time under its own time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Trashed {
    /// The block.
    pub hash: BlockHash,
    /// When it went there: milliseconds since 1970, part of the object's name.
    pub at_ms: u64,
}

/// What may become of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    /// It stays, marked or not: it is too young, here or in the trash.
    Young,
    /// In `blocks/` for so long that it may go to the trash.
    Old,
    /// In `trash/` for so long that it may go for good.
    Due,
}

/// An object that a listing found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Object {
    pub hash: BlockHash,
    pub standing: Standing,
    /// Of an object in the trash.
    pub at_ms: u64,
    pub is_marked: bool,
}

/// Names from `from` to below `bound`, every object with one of them.
#[derive(Debug)]
pub(super) struct Found {
    from: BlockHash,
    /// The first name that is left to the next pass; `None`: the listing has not met its limit.
    bound: Option<BlockHash>,
    names_max: usize,
    objects: Vec<Object>,
}

impl Found {
    pub fn new(from: BlockHash, names_max: usize) -> Found {
        Found { from, bound: None, names_max: names_max.max(1), objects: Vec::new() }
    }

    /// Takes an object in, in any order. Beyond twice the limit the largest names go to the next pass.
    pub fn add(&mut self, object: Object) {
        if object.hash < self.from || self.bound.is_some_and(|bound| object.hash >= bound) {
            return;
        }
        self.objects.push(object);
        if self.objects.len() < 2 * self.names_max {
            return;
        }
        self.objects.sort_unstable();
        let bound = self.objects[self.names_max].hash;
        let keep = self.objects.partition_point(|object| object.hash < bound);
        // All objects of one name belong together, even if there are more of it than the limit allows.
        if keep == 0 {
            let Some(bound) = successor(bound) else { return };
            self.bound = Some(bound);
            self.objects.retain(|object| object.hash < bound);
        } else {
            self.bound = Some(bound);
            self.objects.truncate(keep);
        }
    }

    /// True when the directory after `first_byte` has nothing more for this pass.
    pub fn is_full_after(&self, first_byte: u8) -> bool {
        first_byte == u8::MAX
            || self.objects.len() >= self.names_max
            || self.bound.is_some_and(|bound| bound.0[0] <= first_byte)
    }

    /// The listing ended with the directory `first_byte`: sorts, and returns the last name of the pass.
    pub fn close(&mut self, first_byte: u8) -> BlockHash {
        self.objects.sort_unstable();
        let mut last = BlockHash([0xff; 32]);
        last.0[0] = first_byte;
        self.bound.map_or(last, |bound| predecessor(bound).expect("a bound is above a name that was kept"))
    }

    /// Marks all objects of a name; false when there is none.
    pub fn mark(&mut self, name: &BlockHash) -> bool {
        let first = self.objects.partition_point(|object| object.hash < *name);
        let same = self.objects[first..].iter_mut().take_while(|object| object.hash == *name);
        same.fold(false, |_, object| {
            object.is_marked = true;
            true
        })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn get(&self, at: usize) -> Option<&Object> {
        self.objects.get(at)
    }
}

/// The next name; `None` after the greatest.
pub(super) fn successor(name: BlockHash) -> Option<BlockHash> {
    step(name, u8::MAX, 0, 1)
}

fn predecessor(name: BlockHash) -> Option<BlockHash> {
    step(name, 0, u8::MAX, u8::MAX)
}

/// Adds `by` to the number that a name is; bytes that are `full` become `empty` and carry.
fn step(mut name: BlockHash, full: u8, empty: u8, by: u8) -> Option<BlockHash> {
    for byte in name.0.iter_mut().rev() {
        if *byte != full {
            *byte = byte.wrapping_add(by);
            return Some(name);
        }
        *byte = empty;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> BlockHash {
        let mut name = BlockHash::default();
        name.0[..8].copy_from_slice(&number.to_be_bytes());
        name
    }

    fn object(number: u64) -> Object {
        Object { hash: name(number), standing: Standing::Old, at_ms: 0, is_marked: false }
    }

    #[test]
    fn names_have_neighbours() {
        let mut carried = BlockHash([0xff; 32]);
        carried.0[0] = 7;
        let mut after = BlockHash::default();
        after.0[0] = 8;
        assert_eq!(successor(carried), Some(after));
        assert_eq!(predecessor(after), Some(carried));
        assert_eq!(successor(BlockHash([0xff; 32])), None);
        assert_eq!(predecessor(BlockHash::default()), None);
    }

    #[test]
    fn passes_of_few_names_meet_every_object_once_whatever_the_order() {
        let mut prng = base::Prng::new(1);
        let mut numbers: Vec<u64> = (0..500).map(|_| prng.next_u64()).collect();
        numbers.extend_from_within(..20);
        let (mut from, mut met, mut passes) = (BlockHash::default(), Vec::new(), 0);
        loop {
            passes += 1;
            let mut found = Found::new(from, 16);
            let mut byte = from.0[0];
            loop {
                numbers.iter().filter(|number| number.to_be_bytes()[0] == byte).for_each(|n| found.add(object(*n)));
                assert!(found.len() < 32);
                if found.is_full_after(byte) {
                    break;
                }
                byte += 1;
            }
            let last = found.close(byte);
            met.extend((0..found.len()).map(|at| found.get(at).unwrap().hash));
            match successor(last) {
                Some(next) => from = next,
                None => break,
            }
        }
        let mut all: Vec<BlockHash> = numbers.iter().map(|number| name(*number)).collect();
        all.sort();
        assert_eq!(met, all);
        assert!((16..60).contains(&passes), "{passes} passes");
    }

    #[test]
    fn one_name_more_often_than_the_limit_does_not_stop_the_walk() {
        let mut found = Found::new(BlockHash::default(), 2);
        for at_ms in 0..10 {
            found.add(Object { at_ms, ..object(5) });
        }
        found.add(object(9));
        assert_eq!(found.len(), 10);
        assert_eq!(found.close(0), name(5));
    }

    #[test]
    fn a_mark_reaches_all_objects_of_its_name_and_no_other() {
        let mut found = Found::new(BlockHash::default(), 100);
        [1, 2, 2, 3].iter().for_each(|n| found.add(object(*n)));
        found.close(0xff);
        assert!(found.mark(&name(2)) && !found.mark(&name(4)));
        let marks: Vec<bool> = (0..4).map(|at| found.get(at).unwrap().is_marked).collect();
        assert_eq!(marks, [false, true, true, false]);
    }
}
