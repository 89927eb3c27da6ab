//! What is told of links.
//!
//! ```text
//! link  0 u64 number   8 u64 acct   16 u64 created_ms   24 u8 flags {1 has a password}   25 zero[7]   32 settings
//!       then the path (u32 length, zero[4], bytes zero-padded to 8) and the metadata
//! ```

use base::{Acct, TreeNode};

use super::{LinkRow, LinkSettings, is_of_member};
use crate::codec::{DecodeError, Put, Reader};
use crate::command::At;
use crate::keys;
use crate::overlay::Source;
use crate::password::PasswordHash;
use crate::query::{Answer, Entry, ROOT};
use crate::query_codec::{blob_text, entry, flag, put_blob, put_entry};
use crate::rows::{NamespaceRow, NumberRow, RowValue};
use crate::store::Rows;
use crate::tree::{Halt, Tree};

/// Whose links, or of what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinksOf {
    /// Those that an account made in the namespace; another's only the owner sees. In order of the nodes.
    Account(Acct),
    /// Those of a node: the asker's own, to the owner everybody's in order of the accounts.
    Node {
        /// Which.
        at: At,
        /// With the asker's own ones of the folders above it, the nearest first; all in one page.
        above: bool,
    },
}

impl LinksOf {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            LinksOf::Account(acct) => {
                out.zero(8);
                out.u64(acct.0);
            }
            LinksOf::Node { at, above } => {
                out.u8(1);
                out.u8(u8::from(*above));
                out.zero(6);
                out.u64(at.node.0);
                put_blob(at.path.as_bytes(), out);
            }
        }
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<LinksOf, DecodeError> {
        let (is_node, above) = (flag(reader)?, flag(reader)?);
        reader.zero(6)?;
        let number = reader.u64()?;
        match (is_node, above) {
            (true, above) => Ok(LinksOf::Node { at: At { node: TreeNode(number), path: blob_text(reader)? }, above }),
            (false, false) => Ok(LinksOf::Account(Acct(number))),
            (false, true) => Err(DecodeError::Field("above")),
        }
    }
}

/// A link as it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// Its number in the namespace.
    pub link: u64,
    /// Whose it is.
    pub acct: Acct,
    /// Since when, milliseconds since 1970.
    pub created_ms: u64,
    /// A password is asked for.
    pub has_password: bool,
    /// Its settings; the password's hash only for the system itself.
    pub settings: LinkSettings,
    /// What it shows, as it is now.
    pub entry: Entry,
}

impl LinkInfo {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        [self.link, self.acct.0, self.created_ms].iter().for_each(|field| out.u64(*field));
        out.u8(u8::from(self.has_password));
        out.zero(7);
        self.settings.encode(out);
        put_entry(&self.entry, out);
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<LinkInfo, DecodeError> {
        let (link, acct, created_ms) = (reader.u64()?, Acct(reader.u64()?), reader.u64()?);
        let has_password = flag(reader)?;
        reader.zero(7)?;
        let settings = LinkSettings::parse(reader)?;
        Ok(LinkInfo { link, acct, created_ms, has_password, settings, entry: entry(reader)? })
    }
}

/// Who asks, of which namespace, and when.
pub(crate) struct Asked<'a> {
    pub asker: Acct,
    pub namespace: &'a NamespaceRow,
    pub now_ms: u64,
}

/// A link by its number. What shows nothing now, or is not the asker's to see, is not found.
pub(crate) fn link<R: Source>(tree: &mut Tree<'_, R>, asked: &Asked<'_>, link: u64) -> Result<Answer, Halt> {
    Ok(info(tree, asked, link)?.map_or(Answer::NotFound, |info| Answer::Link(Box::new(info))))
}

fn info<R: Source>(tree: &mut Tree<'_, R>, asked: &Asked<'_>, link: u64) -> Result<Option<LinkInfo>, Halt> {
    let Some(row) = tree.source.row::<LinkRow>(&keys::link(tree.nsid, link))? else { return Ok(None) };
    let may_see = [Acct(0), row.acct, asked.namespace.owner].contains(&asked.asker);
    if !may_see || row.settings.is_over(asked.now_ms) {
        return Ok(None);
    }
    if !is_of_member(tree.source, tree.nsid, asked.namespace, &row)? {
        return Ok(None);
    }
    let Some(node) = tree.node(row.node)? else { return Ok(None) };
    let path = tree.path_of(row.node)?;
    if !path.is_live {
        return Ok(None);
    }
    let mut settings = row.settings;
    let has_password = settings.password.is_set();
    if asked.asker != Acct(0) {
        settings.password = PasswordHash::default();
    }
    let entry = Entry { path_display: path.display, meta: node.metadata(tree.nsid, row.node) };
    Ok(Some(LinkInfo { link, acct: row.acct, created_ms: row.created_ms, has_password, settings, entry }))
}

/// Links in pages of at most `limit`; one that shows nothing is left out. `after` is `next` of the page before.
pub(crate) fn links<R: Source>(
    tree: &mut Tree<'_, R>,
    asked: &Asked<'_>,
    of: &LinksOf,
    after: u64,
    limit: u32,
) -> Result<Answer, Halt> {
    let sees_all = [Acct(0), asked.namespace.owner].contains(&asked.asker);
    let range = match of {
        LinksOf::Account(acct) if sees_all || *acct == asked.asker => {
            let range = keys::links_of_account(tree.nsid, *acct);
            keys::link_of_account(tree.nsid, *acct, TreeNode(after.saturating_add(1))).to_vec().max(range.start)
                ..range.end
        }
        LinksOf::Account(_) => return Ok(Answer::NoAccess),
        LinksOf::Node { at, above } => {
            let node = tree.find(at)?.node;
            if *above || !sees_all {
                return own_links(tree, asked, node, *above);
            }
            let range = keys::links_of_node(tree.nsid, node);
            keys::link_of_node(tree.nsid, node, Acct(after.saturating_add(1))).to_vec().max(range.start)..range.end
        }
    };
    let mut rows = Rows::new();
    tree.source.scan(range, limit, &mut rows)?;
    let next = rows.last().filter(|_| rows.len() == limit as usize).map(|(key, _)| {
        let tail = key[key.len() - 8..].try_into().expect("both indexes end with a number");
        u64::from_be_bytes(tail)
    });
    let (mut links, mut is_cold) = (Vec::new(), false);
    for (_, value) in &rows {
        match info(tree, asked, NumberRow::decode(value).0) {
            Ok(info) => links.extend(info),
            // All of them are asked, so that one prefetch brings many.
            Err(Halt::Cold) => is_cold = true,
            Err(refused) => return Err(refused),
        }
    }
    if is_cold { Err(Halt::Cold) } else { Ok(Answer::Links { links, next }) }
}

fn own_links<R: Source>(
    tree: &mut Tree<'_, R>,
    asked: &Asked<'_>,
    node: TreeNode,
    above: bool,
) -> Result<Answer, Halt> {
    let mut nodes = vec![node];
    if above {
        nodes.clear();
        tree.walk_up(node, |node, _| {
            nodes.push(node);
            node != ROOT
        })?;
    }
    let mut links = Vec::new();
    for node in nodes {
        let key = keys::link_of_account(tree.nsid, asked.asker, node);
        if let Some(NumberRow(link)) = tree.source.row(&key)? {
            links.extend(info(tree, asked, link)?);
        }
    }
    Ok(Answer::Links { links, next: None })
}
