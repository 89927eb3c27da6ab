//! Who may watch: asked when a watch begins, and taken away with the entry that puts its account out.

use base::{Acct, Jid, Nsid};
use meta::Store;
use seglog::Disk;

use crate::Shard;
use crate::reply::Status;

impl<D: Disk, S: Store> Shard<D, S> {
    /// New watchers hear the head of this moment, or that their account may not read the namespace.
    pub(crate) fn look_for_watchers(&mut self, at: u32, nsid: Nsid) {
        let group = self.groups[at as usize].id;
        let mut wants = Vec::new();
        let head = match meta::query(&self.store, group, Acct(0), nsid, &meta::Query::Head, &mut wants) {
            Ok(meta::Answer::Head(head)) => Some(head),
            // A namespace that does not exist (yet) has an empty journal, and nobody's rights to it are known.
            Ok(_) => return self.wake_watchers(at, nsid, Jid(0)),
            Err(meta::Cold) => None,
        };
        let mut refused = Vec::new();
        let list = self.groups[at as usize].watchers.get(&nsid).map_or(&[][..], Vec::as_slice);
        for watcher in list.iter().filter(|watcher| watcher.told.is_none() && watcher.acct != Acct(0)) {
            if let Ok(meta::Answer::NoAccess) =
                meta::query(&self.store, group, watcher.acct, nsid, &meta::Query::Head, &mut wants)
            {
                refused.push(watcher.acct);
            }
        }
        if !wants.is_empty() {
            return self.fetch_head(at, nsid, &wants);
        }
        for acct in refused {
            base::mark::hit!("shard.watch.no_access");
            self.send_watchers_away(at, nsid, acct, "no access to the namespace");
        }
        self.wake_watchers(at, nsid, head.expect("without it something is wanted"));
    }

    /// The entry just applied put accounts out: whoever watches for them is told, before any later head.
    pub(crate) fn turn_watchers_away(&mut self, at: u32) {
        for which in 0..self.applied.revoked().len() {
            let (nsid, acct) = self.applied.revoked()[which];
            base::mark::hit!("shard.watch.revoked");
            self.send_watchers_away(at, nsid, acct, "access to the namespace was taken away");
        }
    }

    fn send_watchers_away(&mut self, at: u32, nsid: Nsid, acct: Acct, why: &str) {
        let slot = &mut self.groups[at as usize];
        let Some(list) = slot.watchers.get_mut(&nsid) else { return };
        for watcher in list.extract_if(.., |watcher| watcher.acct == acct) {
            self.replies.text(watcher.ticket, slot.id, Status::Refused, why);
        }
        if list.is_empty() {
            slot.watchers.remove(&nsid);
        }
    }
}
