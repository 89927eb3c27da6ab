//! [`Chunks`]: a queue in pieces of one size. What is in it never moves: a queue of millions grows without a copy of all,
//! which would hold up its core, and without touching twice the memory.

use std::collections::VecDeque;

/// Values of a piece.
const PIECE: usize = 2048;

/// A queue that grows at its end and is cut at both.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<T> {
    /// All but the last are full; none is empty.
    pieces: VecDeque<Vec<T>>,
    /// Values at the front of the first piece that are no longer in the queue.
    skipped: usize,
    len: usize,
    /// Pieces that were given up: a queue that lives asks for no memory but to become longer than it ever was.
    spare: Vec<Vec<T>>,
}

impl<T: Copy> Chunks<T> {
    pub fn new() -> Chunks<T> {
        Chunks { pieces: VecDeque::new(), skipped: 0, len: 0, spare: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, at: usize) -> Option<&T> {
        if at >= self.len {
            return None;
        }
        let at = self.skipped + at;
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        if at >= self.len {
            return None;
        }
        let at = self.skipped + at;
        self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)
    }

    pub fn back(&self) -> Option<&T> {
        self.pieces.back()?.last()
    }

    pub fn push(&mut self, value: T) {
        self.len += 1;
        if let Some(piece) = self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            return piece.push(value);
        }
        let mut piece = self.spare.pop().unwrap_or_default();
        if !self.pieces.is_empty() {
            // The only piece of a short queue grows with it.
            piece.reserve_exact(PIECE);
        }
        piece.push(value);
        self.pieces.push_back(piece);
    }

    /// Drops the first `count` values.
    pub fn drop_front(&mut self, count: usize) {
        if count >= self.len {
            return self.clear();
        }
        (self.skipped, self.len) = (self.skipped + count, self.len - count);
        while self.skipped >= PIECE {
            self.skipped -= PIECE;
            let piece = self.pieces.pop_front();
            piece.into_iter().for_each(|piece| self.keep(piece));
        }
    }

    /// Drops all but the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        if len == 0 {
            return self.clear();
        }
        if len >= self.len {
            return;
        }
        self.len = len;
        let end = self.skipped + len;
        while self.pieces.len() > end.div_ceil(PIECE) {
            let piece = self.pieces.pop_back();
            piece.into_iter().for_each(|piece| self.keep(piece));
        }
        if let Some(last) = self.pieces.back_mut() {
            last.truncate(end - (end - 1) / PIECE * PIECE);
        }
    }

    pub fn clear(&mut self) {
        while let Some(piece) = self.pieces.pop_back() {
            self.keep(piece);
        }
        (self.skipped, self.len) = (0, 0);
    }

    fn keep(&mut self, mut piece: Vec<T>) {
        piece.clear();
        self.spare.push(piece);
    }

    /// Puts all of `other` behind what is here.
    pub fn append(&mut self, mut other: Chunks<T>) {
        if self.is_empty() {
            *self = other;
        } else if other.skipped == 0 && self.pieces.back().is_none_or(|last| last.len() == PIECE) {
            self.len += other.len;
            self.pieces.append(&mut other.pieces);
        } else {
            other.range(0, other.len()).for_each(|value| self.push(*value));
        }
    }

    /// The values at `start..end`, which must be there.
    pub fn range(&self, start: usize, end: usize) -> impl Iterator<Item = &T> {
        let (start, end) = (self.skipped + start, self.skipped + end);
        (start / PIECE..end.div_ceil(PIECE)).flat_map(move |piece| {
            let first = piece * PIECE;
            self.pieces[piece][start.saturating_sub(first)..(end - first).min(PIECE)].iter()
        })
    }

    /// How many values at the front fulfil `is_before`; none behind one that does not.
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).is_some_and(&mut is_before) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl<T: Copy + PartialEq> PartialEq for Chunks<T> {
    fn eq(&self, other: &Chunks<T>) -> bool {
        self.len == other.len && self.range(0, self.len).eq(other.range(0, other.len))
    }
}

impl<T: Copy + Eq> Eq for Chunks<T> {}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    #[test]
    fn it_holds_what_a_queue_holds_however_it_grows_and_is_cut() {
        let mut dice = Prng::new(3);
        for _ in 0..40 {
            let (mut chunks, mut queue) = (Chunks::new(), VecDeque::new());
            for step in 0..60_u64 {
                let some = dice.below(2 * PIECE as u64) as usize;
                match dice.below(12) {
                    0 => {
                        chunks.drop_front(some);
                        queue.drain(..some.min(queue.len()));
                    }
                    1 => {
                        let len = queue.len().saturating_sub(some);
                        chunks.truncate(len);
                        queue.truncate(len);
                    }
                    2 if step % 9 == 0 => {
                        chunks.clear();
                        queue.clear();
                    }
                    3 => {
                        let (mut other, dropped) = (Chunks::new(), dice.below(2) as usize);
                        (0..some + 2).for_each(|value| other.push(value as u64));
                        other.drop_front(dropped);
                        chunks.append(other);
                        queue.extend((dropped as u64)..some as u64 + 2);
                    }
                    4 if !queue.is_empty() => {
                        let at = some % queue.len();
                        *chunks.get_mut(at).unwrap() = step;
                        queue[at] = step;
                    }
                    _ => (0..some as u64).for_each(|value| {
                        chunks.push(value);
                        queue.push_back(value);
                    }),
                }
                let (from, to) = (some.min(queue.len()), (some + PIECE).min(queue.len()));
                assert_eq!((chunks.len(), chunks.is_empty()), (queue.len(), queue.is_empty()));
                assert_eq!((chunks.back(), chunks.get(some)), (queue.back(), queue.get(some)));
                assert!(chunks.get(queue.len()).is_none() && chunks.get_mut(queue.len()).is_none());
                assert!(chunks.range(from, to).eq(queue.range(from..to)));
                assert!(chunks.range(0, queue.len()).eq(queue.iter()));
            }
        }
    }

    #[test]
    fn equal_is_what_holds_the_same_wherever_its_pieces_begin() {
        let (mut one, mut other) = (Chunks::new(), Chunks::new());
        (0..5000_u64).for_each(|value| one.push(value));
        (1000..5000_u64).for_each(|value| other.push(value));
        assert!(one != other);
        one.drop_front(1000);
        assert!(one == other);
        assert_eq!(one.partition_point(|value| *value < 3500), 2500);
        *other.get_mut(7).unwrap() = 0;
        assert!(one != other);
    }

    #[test]
    fn a_queue_whose_front_goes_as_its_end_grows_asks_for_no_memory() {
        let mut chunks = Chunks::new();
        (0..20 * PIECE as u64).for_each(|value| chunks.push(value));
        for round in 0..100 {
            chunks.drop_front(10 * PIECE);
            let pieces = chunks.pieces.len() + chunks.spare.len();
            (0..10 * PIECE as u64).for_each(|value| chunks.push(value));
            assert_eq!(chunks.pieces.len() + chunks.spare.len(), pieces, "round {round}");
        }
    }
}
