//! Keys in the tree: `group u32 BE | life u16 BE | table u8 | ..`. `meta` sees only what follows the life.

use base::GroupId;
use base::limits::KEY_BYTES_MAX;

/// A life numbers the times this node has filled a group; 0 is none, and no number serves a group twice.
pub(crate) type Life = u16;

/// One life of one group: whose rows.
pub(crate) type GroupLife = (GroupId, Life);

/// Bytes before the table byte.
pub(crate) const PREFIX_BYTES: usize = 6;

/// The bytes every key of one life of a group begins with.
pub(crate) fn prefix(group: GroupId, life: Life) -> [u8; PREFIX_BYTES] {
    let mut out = [0; PREFIX_BYTES];
    out[..4].copy_from_slice(&group.0.to_be_bytes());
    out[4..].copy_from_slice(&life.to_be_bytes());
    out
}

/// A key as the tree holds it; `key` begins with the table byte.
pub(crate) fn full(group: GroupId, life: Life, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + key.len());
    out.extend_from_slice(&prefix(group, life));
    out.extend_from_slice(key);
    out
}

/// The key of a group's machine row: life 0, table 00. It sorts before every row of its group.
pub(crate) fn machine(group: GroupId) -> Vec<u8> {
    full(group, 0, &[0])
}

/// The first key after all rows of one life of a group.
pub(crate) fn life_end(group: GroupId, life: Life) -> Vec<u8> {
    match (u64::from(group.0) << 16 | u64::from(life)) + 1 {
        next if next < 1 << 48 => next.to_be_bytes()[2..].to_vec(),
        _ => vec![0xff; PREFIX_BYTES + KEY_BYTES_MAX + 1],
    }
}

/// Splits a key of the tree; `None` when it is too short to be one.
pub(crate) fn split(full: &[u8]) -> Option<(GroupId, Life, &[u8])> {
    let (group, rest) = full.split_first_chunk::<4>()?;
    let (life, key) = rest.split_first_chunk::<2>()?;
    (!key.is_empty()).then_some((GroupId(u32::from_be_bytes(*group)), Life::from_be_bytes(*life), key))
}

/// The smallest key greater than `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.extend_from_slice(key);
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_group_lie_between_its_machine_row_and_the_end_of_its_life() {
        let group = GroupId(7);
        let row = full(group, 2, &[0x10, 0xff]);
        assert_eq!(row, [0, 0, 0, 7, 0, 2, 0x10, 0xff]);
        assert_eq!(machine(group), [0, 0, 0, 7, 0, 0, 0]);
        assert!(machine(group) < row && row < life_end(group, 2));
        assert_eq!(life_end(group, u16::MAX), prefix(GroupId(8), 0));
        assert_eq!(split(&row), Some((group, 2, &[0x10, 0xff][..])));
        assert_eq!(split(&row[..6]), None);
        let last = full(GroupId(u32::MAX), u16::MAX, &[0xff; KEY_BYTES_MAX]);
        assert!(last < life_end(GroupId(u32::MAX), u16::MAX));
    }
}
