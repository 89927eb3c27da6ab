//! What a leader finds to be due in the rows of its group, for the steps that nobody asks for (docs/design/metadata.md,
//! "Trimming"). Reads only: where nothing is due, nothing is proposed.

use base::{GroupId, Jid, Nsid};

use crate::keys::{self, after, table};
use crate::overlay::{Source, View};
use crate::store::{Cold, Rows, Store, Want};
use crate::tree::Tree;
use crate::{read, trim};

/// What a look at some rows of blocks, lists, sessions and kept results came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlocksDue {
    /// A row may go, or a sweep was begun and not ended: `BlockSweep` is to be proposed until nothing is left.
    Yes,
    /// None of these rows; there are more behind them.
    NotYet,
    /// None, up to the end.
    No,
}

/// Appends the group's namespaces from `from` on, ascending, `limit` at most.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn namespaces<S: Store>(
    store: &S,
    group: GroupId,
    from: Nsid,
    limit: u32,
    out: &mut Vec<Nsid>,
    wants: &mut Vec<Want>,
) -> Result<(), Cold> {
    let mut rows = Rows::new();
    let range = keys::namespace(from).to_vec()..keys::whole_table(table::NAMESPACE).end;
    View { store, group, wants }.scan(range, limit, &mut rows)?;
    out.extend(rows.iter().map(|(key, _)| Nsid(read::number_at(key, 1))));
    Ok(())
}

/// The first namespace from `from` on in which a purge is pending.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn purge_due<S: Store>(store: &S, group: GroupId, from: Nsid, wants: &mut Vec<Want>) -> Result<Option<Nsid>, Cold> {
    let mut rows = Rows::new();
    let range = keys::purges(from).start..keys::whole_table(table::PURGE).end;
    View { store, group, wants }.scan(range, 1, &mut rows)?;
    Ok(rows.first().map(|(key, _)| Nsid(read::number_at(key, 1))))
}

/// The floor of a `JournalTrim` that has something to do; `None` where none has. Two rows are read where none has.
///
/// Units: `before_ms` in milliseconds since 1970: rows written before then may go.
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn trim_due<S: Store>(
    store: &S,
    group: GroupId,
    nsid: Nsid,
    before_ms: u64,
    wants: &mut Vec<Want>,
) -> Result<Option<Jid>, Cold> {
    let mut view = View { store, group, wants };
    let mut tree = Tree { source: &mut view, nsid };
    let Some(namespace) = tree.namespace()? else { return Ok(None) };
    if namespace.trim < namespace.floor {
        base::mark::hit!("meta.due.trim_goes_on");
        return Ok(Some(namespace.floor));
    }
    if namespace.floor == namespace.head {
        return Ok(None);
    }
    let oldest = tree.journal(namespace.floor.next())?.expect("the journal has every row above its floor");
    if oldest.stamp_ms >= before_ms {
        return Ok(None);
    }
    read::trim_floor(store, group, nsid, before_ms, wants).map(Some)
}

/// Looks at the next rows that a `BlockSweep` at `now_ms` would look at, and moves `position` behind them; it is empty at
/// the beginning. `looked` grows by the rows read: `limit` at most, of each table at the beginning.
///
/// Units: `now_ms` in milliseconds since 1970.
/// Errors: [`Cold`]: prefetch `wants` and ask again.
#[allow(clippy::too_many_arguments)] // the place of a walk, and what it costs
pub fn blocks_due<S: Store>(
    store: &S,
    group: GroupId,
    nsid: Nsid,
    now_ms: u64,
    limit: u32,
    position: &mut Vec<u8>,
    looked: &mut u32,
    wants: &mut Vec<Want>,
) -> Result<BlocksDue, Cold> {
    let mut view = View { store, group, wants };
    let is_first = position.is_empty();
    let mut is_cold = false;
    if is_first {
        match view.has(&keys::block_sweep(nsid)) {
            Ok(true) => {
                base::mark::hit!("meta.due.blocks_go_on");
                return Ok(BlocksDue::Yes);
            }
            Ok(false) => {}
            Err(Cold) => is_cold = true,
        }
    }
    let mut rows = Rows::new();
    for table in trim::SWEPT_TABLES {
        let range = keys::of_namespace(table, nsid);
        if *position >= range.end || (!is_first && rows.len() >= limit as usize) {
            continue;
        }
        let start = if *position < range.start { range.start } else { after(position.clone()) };
        // At the beginning all tables are asked, so that one prefetch is enough for a small namespace.
        let rows_max = if is_first { limit } else { limit - rows.len() as u32 };
        is_cold |= view.scan(start..range.end, rows_max, &mut rows).is_err();
        if is_cold && !is_first {
            break;
        }
    }
    if is_cold {
        return Err(Cold);
    }
    *looked += rows.len() as u32;
    let seen = &rows[..rows.len().min(limit as usize)];
    if seen.iter().any(|(key, value)| trim::is_row_due(key, value, now_ms)) {
        return Ok(BlocksDue::Yes);
    }
    let is_end = rows.len() < limit as usize;
    if let Some((key, _)) = seen.last() {
        position.clone_from(key);
    }
    Ok(if is_end { BlocksDue::No } else { BlocksDue::NotYet })
}
