//! Metadata as one caller sees it: paths from its path root, what is shared with it, and how far it may go there.

use std::collections::BTreeSet;

use base::{Acct, Nsid};
use meta::render::{Sharing, Style, deleted, metadata};
use meta::{Answer, Change, Entry, Group0Answer, Group0Query, MemberRole, NodeKind, Query};

use crate::call::Call;
use crate::error::ApiError;
use crate::ids::account_id;
use crate::keys::Keys;
use crate::places::Found;

/// Writes metadata for one caller.
#[derive(Debug)]
pub struct Writer<'a> {
    keys: &'a Keys,
    /// What is in another namespace is shared.
    home: Nsid,
    /// The namespaces where the caller only reads.
    read_only: BTreeSet<Nsid>,
}

impl<'a> Writer<'a> {
    /// For the caller of `call`. `has_shared`: something that is in another namespace than its root will be written.
    ///
    /// Errors: those of the cluster.
    pub async fn new(call: &'a Call, has_shared: bool) -> Result<Writer<'a>, ApiError> {
        let (home, acct) = call.caller.map_or((call.base, Acct(0)), |caller| (caller.root, caller.acct));
        let mut read_only = BTreeSet::new();
        let mut after = Nsid(0);
        while has_shared && acct != Acct(0) {
            let query = Query::Group0(Group0Query::Reach { acct, after, limit: 0 });
            let Answer::Group0(Group0Answer::Reach(reach)) = call.ask(Nsid(0), query).await? else { break };
            let Some((last, _)) = reach.last() else { break };
            after = *last;
            let viewed = reach.iter().filter(|(_, info)| info.role == MemberRole::Viewer);
            read_only.extend(viewed.map(|(nsid, _)| *nsid));
        }
        Ok(Writer { keys: &call.stone.keys, home, read_only })
    }

    /// For what was found alone.
    ///
    /// Errors: those of the cluster.
    pub async fn of(call: &'a Call, found: &Found) -> Result<Writer<'a>, ApiError> {
        let is_shared = is_shared(&found.entry, call.caller.map_or(call.base, |caller| caller.root));
        Writer::new(call, is_shared).await
    }

    /// Some of these are not in the caller's root.
    #[must_use]
    pub fn is_needed_for(call: &Call, changes: &[Change]) -> bool {
        let home = call.caller.map_or(call.base, |caller| caller.root);
        changes.iter().any(|change| matches!(change, Change::Present(entry) if is_shared(entry, home)))
    }

    /// Appends what was found. `has_tag`: where the declared type is the union.
    pub fn found(&self, found: &Found, has_tag: bool, out: &mut Vec<u8>) {
        self.entry(&found.entry, &found.prefix, has_tag, out);
    }

    /// What was found, as JSON.
    #[must_use]
    pub fn json(&self, found: &Found, has_tag: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.found(found, has_tag, &mut out);
        out
    }

    /// Appends an entry of the namespace that hangs at `prefix`.
    pub fn entry(&self, entry: &Entry, prefix: &str, has_tag: bool, out: &mut Vec<u8>) {
        let mut style = Style { has_tag, prefix, ..Style::default() };
        if !is_shared(entry, self.home) {
            return metadata(entry, &style, out);
        }
        let folder = if entry.meta.kind == NodeKind::Mount { Nsid(entry.meta.size) } else { entry.meta.nsid };
        let writer = account_id(self.keys, entry.meta.modified_by);
        let modified_by = (entry.meta.modified_by != Acct(0)).then_some(writer.as_str());
        style.sharing = Some(Sharing { folder, is_read_only: self.read_only.contains(&folder), modified_by });
        metadata(entry, &style, out);
    }

    /// Appends a change of a feed, whose paths have their prefix already.
    pub fn change(&self, change: &Change, out: &mut Vec<u8>) {
        match change {
            Change::Present(entry) => self.entry(entry, "", true, out),
            Change::Deleted { path_display } => {
                deleted(path_display, &Style { has_tag: true, ..Style::default() }, out);
            }
        }
    }
}

fn is_shared(entry: &Entry, home: Nsid) -> bool {
    entry.meta.nsid != home || entry.meta.kind == NodeKind::Mount
}
