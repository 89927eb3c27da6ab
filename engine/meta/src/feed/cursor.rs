//! Where a reader of a feed stands, as bytes.
//!
//! ```text
//!  0 u8 format=1  1 u8 flags {1 recursive,2 deleted,4 mounted,8 paging,16 expanding,32 by id,64 by link,128 expanding deleted}
//!  2 u16 limit    4 u8 key id   5 zero[3]   8 acct   16 scope nsid   24 scope node   32 path_hash[8]
//! 40 u16 count   42 count x (nsid u64, jid u64)
//!    with one of paging, expanding, expanding deleted: nsid u64, node u64, u16 position_len, position
//! ```
//!
//! The gateway signs these bytes and puts the signature after them.

use base::limits::{LIST_PAGE_MAX, MOUNTS_MAX, POSITION_BYTES_MAX};
use base::{Acct, Jid, Nsid, TreeNode};

use crate::codec::{DecodeError, Put, Reader, len16};
use crate::query::ROOT;
use crate::scope::Scope;

const RECURSIVE: u8 = 1;
const DELETED: u8 = 2;
const MOUNTED: u8 = 4;
const PAGING: u8 = 8;
const EXPANDING: u8 = 16;
const BY_ID: u8 = 32;
const BY_LINK: u8 = 64;
const EXPANDING_DELETED: u8 = 128;
/// A position in the root, then one in what hangs there.
const PLACE_BYTES_MAX: usize = 2 * POSITION_BYTES_MAX + 1;

/// Where a reader stands in a folder's feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedCursor {
    /// With all below the folder.
    pub is_recursive: bool,
    /// Listings tell what was deleted too.
    pub has_deleted: bool,
    /// With what hangs in the folder.
    pub has_mounted: bool,
    /// The folder was named by id, so a move is a reset.
    pub is_by_id: bool,
    /// The folder was named by a link.
    pub is_by_link: bool,
    /// Entries of a page at most, 1 to `LIST_PAGE_MAX`.
    pub limit: u16,
    /// The key that signs it; the gateway's.
    pub key_id: u8,
    /// Whose it is.
    pub acct: Acct,
    /// The namespace of the folder.
    pub nsid: Nsid,
    /// The folder.
    pub folder: TreeNode,
    /// [`crate::scope::path_hash`] of its path when it was listed.
    pub path_hash: [u8; 8],
    /// What was told of each namespace: first the folder's own, then what hangs in it, ascending. Empty before the first
    /// page only.
    pub heads: Vec<(Nsid, Jid)>,
    /// A listing or a subtree that is under way.
    pub place: Option<Place>,
}

/// What is told page by page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceKind {
    /// The listing of the folder itself.
    Paging,
    /// What came with a row: a moved folder, or (node 1 of what hangs in the folder) all of a mounted namespace.
    Expanding,
    /// What went with a row.
    ExpandingDeleted,
}

/// How far a subtree was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which of the three.
    pub kind: PlaceKind,
    /// Where the subtree is.
    pub nsid: Nsid,
    /// Its root.
    pub node: TreeNode,
    /// The name keys from there to the last entry told, joined by `/`; they may go on through a mount.
    pub position: String,
}

impl FeedCursor {
    /// The folder, as the machine wants to know it.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let FeedCursor { folder, path_hash, is_by_id, is_recursive, .. } = *self;
        Scope { folder, path_hash, is_by_id, is_recursive }
    }

    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let place = match self.place.as_ref().map(|place| place.kind) {
            None => 0,
            Some(PlaceKind::Paging) => PAGING,
            Some(PlaceKind::Expanding) => EXPANDING,
            Some(PlaceKind::ExpandingDeleted) => EXPANDING_DELETED,
        };
        let flags = [
            (self.is_recursive, RECURSIVE),
            (self.has_deleted, DELETED),
            (self.has_mounted, MOUNTED),
            (self.is_by_id, BY_ID),
            (self.is_by_link, BY_LINK),
        ];
        out.u8(1);
        out.u8(flags.iter().filter(|(is_set, _)| *is_set).fold(place, |flags, (_, flag)| flags | flag));
        out.u16(self.limit);
        out.u8(self.key_id);
        out.zero(3);
        [self.acct.0, self.nsid.0, self.folder.0].iter().for_each(|field| out.u64(*field));
        out.bytes(&self.path_hash);
        out.u16(len16(self.heads.len()));
        for (nsid, jid) in &self.heads {
            out.u64(nsid.0);
            out.u64(jid.0);
        }
        if let Some(place) = &self.place {
            out.u64(place.nsid.0);
            out.u64(place.node.0);
            out.u16(len16(place.position.len()));
            out.bytes(place.position.as_bytes());
        }
    }

    /// The cursor in exactly these bytes.
    ///
    /// Errors: [`DecodeError`] for whatever no [`Feed`](super::Feed) makes; the caller says `malformed`.
    pub fn decode(bytes: &[u8]) -> Result<FeedCursor, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        match reader.u8()? {
            1 => {}
            format => return Err(DecodeError::Format(format)),
        }
        let flags = reader.u8()?;
        let (limit, key_id) = (reader.u16()?, reader.u8()?);
        reader.zero(3)?;
        if limit == 0 || u32::from(limit) > LIST_PAGE_MAX {
            return Err(DecodeError::Field("limit"));
        }
        let (acct, nsid, folder) = (Acct(reader.u64()?), Nsid(reader.u64()?), TreeNode(reader.u64()?));
        let path_hash = reader.array()?;
        let count = reader.u16()? as usize;
        if count > 1 + MOUNTS_MAX {
            return Err(DecodeError::TooMany("namespaces"));
        }
        let heads = (0..count).map(|_| Ok((Nsid(reader.u64()?), Jid(reader.u64()?)))).collect::<Result<Vec<_>, _>>()?;
        let kind = match flags & (PAGING | EXPANDING | EXPANDING_DELETED) {
            0 => None,
            PAGING => Some(PlaceKind::Paging),
            EXPANDING => Some(PlaceKind::Expanding),
            EXPANDING_DELETED => Some(PlaceKind::ExpandingDeleted),
            _ => return Err(DecodeError::Field("cursor flags")),
        };
        let place = match kind {
            None => None,
            Some(kind) => {
                let (nsid, node, length) = (Nsid(reader.u64()?), TreeNode(reader.u64()?), reader.u16()? as usize);
                Some(Place { kind, nsid, node, position: reader.text(length)? })
            }
        };
        reader.end()?;
        let cursor = FeedCursor {
            is_recursive: flags & RECURSIVE != 0,
            has_deleted: flags & DELETED != 0,
            has_mounted: flags & MOUNTED != 0,
            is_by_id: flags & BY_ID != 0,
            is_by_link: flags & BY_LINK != 0,
            limit,
            key_id,
            acct,
            nsid,
            folder,
            path_hash,
            heads,
            place,
        };
        cursor.check()?;
        Ok(cursor)
    }

    /// What every cursor of a feed keeps to.
    fn check(&self) -> Result<(), DecodeError> {
        let ensure = |holds: bool, field| if holds { Ok(()) } else { Err(DecodeError::Field(field)) };
        ensure(self.folder.0 != 0 && self.nsid.0 != 0, "scope")?;
        let [(first, _), mounted @ ..] = &self.heads[..] else { return Err(DecodeError::Field("heads")) };
        ensure(*first == self.nsid, "heads")?;
        ensure(mounted.is_sorted_by(|one, other| one.0 < other.0), "heads")?;
        ensure(mounted.iter().all(|(nsid, _)| *nsid != self.nsid), "heads")?;
        ensure(mounted.is_empty() || (self.is_recursive && self.has_mounted), "heads")?;
        let Some(place) = &self.place else { return Ok(()) };
        ensure(place.position.len() <= PLACE_BYTES_MAX, "position")?;
        let (is_own, is_root) = (place.nsid == self.nsid, place.node == ROOT);
        let is_told = self.heads.iter().any(|(nsid, _)| *nsid == place.nsid);
        let holds = match place.kind {
            PlaceKind::Paging => is_own && place.node == self.folder,
            // Of a mount that was told last, nothing is told yet.
            PlaceKind::Expanding if is_root => !is_own && self.has_mounted && (is_told || place.position.is_empty()),
            PlaceKind::Expanding | PlaceKind::ExpandingDeleted => is_told && !is_root,
        };
        // A row whose old place alone was told stands at the beginning of what went with it, whatever the scope.
        let is_recursive = self.is_recursive || place.kind != PlaceKind::Expanding;
        ensure(holds && is_recursive && place.node.0 != 0 && place.nsid.0 != 0, "place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn cursor(kind: Option<PlaceKind>) -> FeedCursor {
        let place = kind.map(|kind| Place { kind, nsid: Nsid(7), node: TreeNode(3), position: "a/b".to_owned() });
        FeedCursor {
            is_recursive: true,
            has_deleted: false,
            has_mounted: true,
            is_by_id: true,
            is_by_link: false,
            limit: 500,
            key_id: 9,
            acct: Acct(5),
            nsid: Nsid(7),
            folder: TreeNode(3),
            path_hash: [0xab; 8],
            heads: vec![(Nsid(7), Jid(0x11)), (Nsid(6), Jid(0x12)), (Nsid(8), Jid(0x13))],
            place,
        }
    }

    fn bytes_of(cursor: &FeedCursor) -> Vec<u8> {
        let mut bytes = Vec::new();
        cursor.encode(&mut bytes);
        bytes
    }

    #[test]
    fn cursors_are_pinned_and_every_cut_is_refused() {
        let mut lines = Vec::new();
        let kinds = [PlaceKind::Paging, PlaceKind::Expanding, PlaceKind::ExpandingDeleted].map(Some);
        for kind in [None].into_iter().chain(kinds) {
            let made = cursor(kind);
            let bytes = bytes_of(&made);
            assert_eq!(FeedCursor::decode(&bytes), Ok(made));
            assert!((0..bytes.len()).all(|cut| FeedCursor::decode(&bytes[..cut]).is_err()));
            assert!(FeedCursor::decode(&[&bytes[..], &[0]].concat()).is_err());
            lines.push((format!("{kind:?}"), bytes));
        }
        golden::check("feed_cursors", &lines);
    }

    #[test]
    fn what_no_feed_makes_is_refused() {
        let refused = |change: &dyn Fn(&mut FeedCursor)| {
            let mut bad = cursor(Some(PlaceKind::Paging));
            change(&mut bad);
            FeedCursor::decode(&bytes_of(&bad)).expect_err("it is refused")
        };
        let field = DecodeError::Field;
        assert_eq!(refused(&|bad| bad.limit = 0), field("limit"));
        assert_eq!(refused(&|bad| bad.limit = 2001), field("limit"));
        assert_eq!(refused(&|bad| bad.heads.clear()), field("heads"));
        assert_eq!(refused(&|bad| bad.heads.swap(0, 1)), field("heads"));
        assert_eq!(refused(&|bad| bad.heads.swap(1, 2)), field("heads"));
        assert_eq!(refused(&|bad| bad.heads[1] = bad.heads[2]), field("heads"));
        assert_eq!(refused(&|bad| bad.heads[1] = bad.heads[0]), field("heads"));
        assert_eq!(refused(&|bad| bad.has_mounted = false), field("heads"));
        assert_eq!(refused(&|bad| bad.is_recursive = false), field("heads"));
        assert_eq!(refused(&|bad| bad.folder = TreeNode(0)), field("scope"));
        let place = |change: &dyn Fn(&mut Place)| refused(&|bad| change(bad.place.as_mut().unwrap()));
        assert_eq!(place(&|place| place.nsid = Nsid(99)), field("place"));
        assert_eq!(place(&|place| place.nsid = Nsid(8)), field("place"));
        assert_eq!(place(&|place| place.node = TreeNode(4)), field("place"));
        assert_eq!(place(&|place| place.position = "x".repeat(PLACE_BYTES_MAX + 1)), field("position"));
        let many = (0..1001).map(|n| (Nsid(100 + n), Jid(1)));
        assert_eq!(refused(&|bad| bad.heads.extend(many.clone())), DecodeError::TooMany("namespaces"));
        let mut bytes = bytes_of(&cursor(None));
        bytes[1] |= PAGING | EXPANDING;
        assert_eq!(FeedCursor::decode(&bytes), Err(field("cursor flags")));
        bytes[0] = 2;
        assert_eq!(FeedCursor::decode(&bytes), Err(DecodeError::Format(2)));
    }

    #[test]
    fn every_byte_may_be_anything() {
        let bytes = bytes_of(&cursor(Some(PlaceKind::Expanding)));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(decoded) = FeedCursor::decode(&bytes) {
                    assert_eq!(bytes_of(&decoded), bytes, "byte {at}");
                }
            }
        }
    }
}
