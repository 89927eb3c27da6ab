//! What always holds of links: both indexes and the nodes' flags say what the links say.

use std::collections::BTreeSet;

use base::{Acct, Nsid, TreeNode};

use super::LinkRow;
use crate::invariants::Violation;
use crate::keys::table;
use crate::rows::{NODE_LINKED, NodeRow, NumberRow, RowValue};
use crate::store::Rows;

/// Checks the links of a group.
///
/// Errors: the first [`Violation`] found.
pub(crate) fn check(rows: &Rows) -> Result<(), Violation> {
    let (mut links, mut of_account, mut of_node) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut nodes = Vec::new();
    for (key, value) in rows {
        let number = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("the key has a number there"));
        match key[0] {
            table::LINK => {
                let row = LinkRow::decode(value);
                links.insert((Nsid(number(1)), row.node, row.acct, number(9)));
            }
            table::LINK_OF_ACCOUNT => {
                of_account.insert((Nsid(number(1)), TreeNode(number(17)), Acct(number(9)), NumberRow::decode(value).0));
            }
            table::LINK_OF_NODE => {
                of_node.insert((Nsid(number(1)), TreeNode(number(9)), Acct(number(17)), NumberRow::decode(value).0));
            }
            table::NODE => nodes.push((Nsid(number(1)), TreeNode(number(9)), NodeRow::decode(value).flags)),
            _ => {}
        }
    }
    let violation = |nsid, what| Err(Violation { invariant: "links", nsid, what });
    if let Some((nsid, node, acct, link)) = links.symmetric_difference(&of_account).next() {
        return violation(*nsid, format!("link {link} of {acct} for node {node} and the index of accounts disagree"));
    }
    if let Some((nsid, node, acct, link)) = links.symmetric_difference(&of_node).next() {
        return violation(*nsid, format!("link {link} of {acct} for node {node} and the index of nodes disagree"));
    }
    let linked: BTreeSet<_> = links.iter().map(|(nsid, node, ..)| (*nsid, *node)).collect();
    for (nsid, node, flags) in nodes {
        if (flags & NODE_LINKED != 0) != linked.contains(&(nsid, node)) {
            return violation(nsid, format!("the flag of node {node} and its links disagree"));
        }
    }
    Ok(())
}
