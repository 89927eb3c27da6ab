//! A list that grows without moving what it holds: a generator that sends a million requests a second remembers each file
//! once, and a list that doubles would touch fresh memory three times for it.

use std::ops::{Index, IndexMut};

/// Items of a piece: small beside the least namespace, large beside the pointer to it.
const PIECE_ITEMS: usize = 64;

/// Items by number, from 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pieces<T> {
    /// All but the last have [`PIECE_ITEMS`].
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Pieces<T> {
    fn default() -> Pieces<T> {
        Pieces { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    pub(crate) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE_ITEMS + last.len())
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.pieces.last_mut().filter(|last| last.len() < PIECE_ITEMS) {
            Some(last) => last.push(item),
            None => {
                let mut piece = Vec::with_capacity(PIECE_ITEMS);
                piece.push(item);
                self.pieces.push(piece);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

impl<T> Index<usize> for Pieces<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.pieces[number / PIECE_ITEMS][number % PIECE_ITEMS]
    }
}

impl<T> IndexMut<usize> for Pieces<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.pieces[number / PIECE_ITEMS][number % PIECE_ITEMS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_number_and_stay_where_they_are() {
        let mut list = Pieces::default();
        list.push(0u64);
        let first = &raw const list[0];
        for number in 1..1000 {
            assert_eq!(list.len(), number as usize);
            list.push(number);
        }
        list[777] = 7;
        assert_eq!((list.len(), list[0], list[63], list[64], list[777], list[999]), (1000, 0, 63, 64, 7, 999));
        assert!(std::ptr::eq(first, &raw const list[0]));
        assert!(list.iter().copied().eq((0..1000).map(|number| if number == 777 { 7 } else { number })));
    }
}
