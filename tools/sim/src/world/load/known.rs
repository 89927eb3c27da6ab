//! What answers told, kept for a while, to be asked for again.

use base::Prng;

/// Of each kind of thing so many are kept.
pub(super) const KEPT_MAX: usize = 8;

/// Keeps `one`; the oldest goes where there is no room.
pub(super) fn keep<T>(list: &mut Vec<T>, one: T) {
    if list.len() >= KEPT_MAX {
        list.remove(0);
    }
    list.push(one);
}

/// The same, unless it is kept already.
pub(super) fn keep_once<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        keep(list, one);
    }
}

/// Any of them.
pub(super) fn pick<T: Clone>(list: &[T], dice: &mut Prng) -> Option<T> {
    let count = list.len() as u64;
    (count > 0).then(|| list[dice.below(count) as usize].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_answers_are_kept_and_each_once() {
        let mut list = Vec::new();
        (0..20).chain([19]).for_each(|one| keep_once(&mut list, one));
        assert_eq!(list, (12..20).collect::<Vec<_>>());
    }
}
