//! Under which keys the read cache of a shard has what, for its shard and for readers on other cores.
//!
//! ```text
//! 0x40 nsid | path key        answer to a look-up by path     value: the encoded answer; absent: none
//! 0xc0 nsid | path key        its JSON
//! 0x41 nsid | node u64 BE     answer to a look-up by node     as by path
//! 0x41 nsid                   answer to Head
//! 0x01 nsid                   rights                          value: owner u64 | 1: shared u8
//! 0x09 nsid | acct u64 BE     the account has joined          value: none; that it is there is the answer
//! ```

use base::{Acct, Nsid};
use cache::{Hit, Kind, key};
use meta::{Answer, Query, Rights, What};

/// Of the rows of namespaces, in the tables of docs/design/metadata.md.
const RIGHTS: u8 = 0x01;
const MEMBER: u8 = 0x09;

/// Puts the key of a query's answer together; false when such answers are not cached.
pub fn put_query_key(nsid: Nsid, query: &Query, out: &mut Vec<u8>) -> bool {
    match query {
        Query::Lookup(What::At(at)) if at.node.0 == 0 => {
            key::encode(key::PATH, nsid, &[], out);
            meta::path_key(&at.path, out)
        }
        Query::Lookup(What::At(at)) if at.path.is_empty() => {
            key::encode(key::NODE, nsid, &at.node.0.to_be_bytes(), out);
            true
        }
        Query::Head => {
            put_head_key(nsid, out);
            true
        }
        _ => false,
    }
}

pub(crate) fn put_head_key(nsid: Nsid, out: &mut Vec<u8>) {
    key::encode(key::NODE, nsid, &[], out);
}

/// Puts the key of a namespace's rights together.
pub fn put_rights_key(nsid: Nsid, out: &mut Vec<u8>) {
    key::encode(RIGHTS, nsid, &[], out);
}

/// Puts the key of a member who joined together.
pub fn put_member_key(nsid: Nsid, acct: Acct, out: &mut Vec<u8>) {
    key::encode(MEMBER, nsid, &acct.0.to_be_bytes(), out);
}

pub(crate) fn rights_value(rights: Rights) -> [u8; 9] {
    let mut value = [u8::from(rights.is_shared); 9];
    value[..8].copy_from_slice(&rights.owner.0.to_le_bytes());
    value
}

/// The rights that are cached.
#[must_use]
pub fn rights_of(value: &[u8]) -> Option<Rights> {
    let (owner, shared) = value.split_first_chunk()?;
    Some(Rights { owner: Acct(u64::from_le_bytes(*owner)), is_shared: shared == [1] })
}

/// Appends the answer that a hit is.
pub fn put_answer(hit: &Hit<'_>, out: &mut Vec<u8>) {
    match hit.kind {
        Kind::Absent => Answer::NotFound.encode(out),
        _ => out.extend_from_slice(hit.value),
    }
}

#[cfg(test)]
mod tests {
    use base::TreeNode;
    use meta::At;

    use super::*;

    #[test]
    fn keys_have_their_bytes_and_answers_of_other_queries_have_none() {
        let key_of = |query: &Query| {
            let mut out = vec![1, 2, 3];
            put_query_key(Nsid(0x0102), query, &mut out).then_some(out)
        };
        let lookup = |node, path: &str| Query::Lookup(What::At(At { node: TreeNode(node), path: path.to_owned() }));
        assert_eq!(key_of(&lookup(0, "/A/b")).unwrap(), b"\x40\0\0\0\0\0\0\x01\x02/a/b");
        assert_eq!(key_of(&lookup(0, "")).unwrap(), b"\x40\0\0\0\0\0\0\x01\x02");
        assert_eq!(key_of(&lookup(7, "")).unwrap(), b"\x41\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x07");
        assert_eq!(key_of(&Query::Head).unwrap(), b"\x41\0\0\0\0\0\0\x01\x02");
        assert_eq!([key_of(&lookup(7, "/x")), key_of(&Query::SpaceUsage)], [None, None]);
    }

    #[test]
    fn rights_are_read_back() {
        for is_shared in [false, true] {
            let rights = Rights { owner: Acct(0x1234_5678_9abc), is_shared };
            assert_eq!(rights_of(&rights_value(rights)), Some(rights));
        }
        assert_eq!(rights_of(b"short"), None);
    }
}
