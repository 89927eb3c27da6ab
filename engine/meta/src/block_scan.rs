//! Which blocks does a group know: the mark of the object store's collector, and the scanner's list
//! (docs/design/blocks.md, "Garbage").
//!
//! A page is a range of block names over all namespaces of one group. Blocks of an open upload session need no table of
//! their own: its list counts them in the same command that brings them.

use base::limits::{LIST_PAGE_MAX, SCAN_NAMESPACES_MAX};
use base::{BlockHash, GroupId, Nsid};

use crate::codec::{DecodeError, Put, Reader, len32};
use crate::keys::{self, after, table};
use crate::overlay::{Source, View};
use crate::query::Answer;
use crate::read::at_most;
use crate::store::{Cold, Rows, Store};

/// A place in a group's table of blocks: all up to this one has been told.
pub type BlockPlace = (Nsid, BlockHash);

/// A question for the blocks that a group knows, with a name from `first` to `last`, both included. The system's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockScan {
    /// Which group; one that another group gets is `Malformed`, so that none is ever taken for another.
    pub group: GroupId,
    /// The least name wanted.
    pub first: BlockHash,
    /// The greatest.
    pub last: BlockHash,
    /// `next` of the page before; namespace 0 for the first page.
    pub place: BlockPlace,
    /// Names at most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
    pub limit: u32,
}

/// Some of the blocks that a group knows. A name comes once for each namespace that knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockPage {
    /// Which group.
    pub group: GroupId,
    /// The group's newest stamp, in milliseconds since 1970.
    pub stamp_ms: u64,
    /// In the order of (namespace, name).
    pub names: Vec<BlockHash>,
    /// Where the next page begins; `None` after the last. A page may be empty and not the last.
    pub next: Option<BlockPlace>,
}

/// The block of a row's key.
fn place_of(key: &[u8]) -> BlockPlace {
    let nsid = u64::from_be_bytes(key[1..9].try_into().expect("a block's key has a namespace"));
    (Nsid(nsid), BlockHash(key[9..].try_into().expect("a block's key ends with its name")))
}

/// Reads a page. From one namespace to the next it skips what is outside the wanted names.
pub(crate) fn scan<S: Store>(view: &mut View<'_, S>, scan: &BlockScan) -> Result<Answer, Cold> {
    if scan.group != view.group || scan.first > scan.last {
        return Ok(Answer::Malformed);
    }
    let stamp_ms = view.store.machine(scan.group).map_or(0, |machine| machine.stamp_ms);
    let limit = at_most(scan.limit, LIST_PAGE_MAX) as usize;
    let whole_table = keys::whole_table(table::BLOCK);
    let is_whole = scan.first == BlockHash([0; 32]) && scan.last == BlockHash([0xff; 32]);
    let (mut place, mut names, mut rows) = (scan.place, Vec::new(), Rows::new());
    let page = |names, next| Ok(Answer::Blocks(BlockPage { group: scan.group, stamp_ms, names, next }));
    if is_whole {
        let start = if place.0.0 == 0 { whole_table.start } else { after(keys::block(place.0, &place.1)) };
        view.scan(start..whole_table.end, limit as u32, &mut rows)?;
        let next = (rows.len() == limit).then(|| place_of(&rows[limit - 1].0));
        names.extend(rows.iter().map(|(key, _)| place_of(key).1));
        return page(names, next);
    }
    for _ in 0..SCAN_NAMESPACES_MAX {
        // What is left of the namespace.
        if place.0.0 != 0 && place.1 < scan.last {
            let start = if place.1 < scan.first {
                keys::block(place.0, &scan.first).to_vec()
            } else {
                after(keys::block(place.0, &place.1))
            };
            rows.clear();
            let wanted = limit - names.len();
            view.scan(start..after(keys::block(place.0, &scan.last)), wanted as u32, &mut rows)?;
            names.extend(rows.iter().map(|(key, _)| place_of(key).1));
            if rows.len() == wanted {
                return page(std::mem::take(&mut names), Some(place_of(&rows[wanted - 1].0)));
            }
        }
        // The next one that knows any block.
        let start = keys::block(Nsid(place.0.0 + 1), &BlockHash([0; 32])).to_vec();
        rows.clear();
        view.scan(start..whole_table.end.clone(), 1, &mut rows)?;
        let Some((key, _)) = rows.first() else { return page(names, None) };
        let (nsid, name) = place_of(key);
        if (scan.first..=scan.last).contains(&name) {
            names.push(name);
            place = (nsid, name);
        } else {
            place = (nsid, if name > scan.last { scan.last } else { BlockHash([0; 32]) });
        }
        if names.len() == limit {
            break;
        }
    }
    page(names, Some(place))
}

impl BlockScan {
    /// `0 u32 group  4 u32 limit  8 first  40 last  72 u64 nsid  80 name`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u32(self.group.0);
        out.u32(self.limit);
        out.bytes(&self.first.0);
        out.bytes(&self.last.0);
        put_place(self.place, out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<BlockScan, DecodeError> {
        let (group, limit) = (GroupId(reader.u32()?), reader.u32()?);
        let (first, last) = (BlockHash(reader.array()?), BlockHash(reader.array()?));
        Ok(BlockScan { group, first, last, place: place(reader)?, limit })
    }
}

impl BlockPage {
    /// `0 u32 group  4 u32 names  8 u64 stamp_ms  16 u64 nsid, 0 after the last page  24 name  56 the names`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u32(self.group.0);
        out.u32(len32(self.names.len()));
        out.u64(self.stamp_ms);
        put_place(self.next.unwrap_or_default(), out);
        self.names.iter().for_each(|name| out.bytes(&name.0));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<BlockPage, DecodeError> {
        let (group, count) = (GroupId(reader.u32()?), reader.u32()? as usize);
        let stamp_ms = reader.u64()?;
        let next = Some(place(reader)?).filter(|(nsid, _)| nsid.0 != 0);
        if count > reader.left() / 32 {
            return Err(DecodeError::TooMany("names"));
        }
        let names = (0..count).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?;
        Ok(BlockPage { group, stamp_ms, names, next })
    }
}

fn put_place((nsid, name): BlockPlace, out: &mut Vec<u8>) {
    out.u64(nsid.0);
    out.bytes(&name.0);
}

fn place(reader: &mut Reader<'_>) -> Result<BlockPlace, DecodeError> {
    Ok((Nsid(reader.u64()?), BlockHash(reader.array()?)))
}
