//! What hangs in a root, in the plainest way: an entry of the tree that leads elsewhere.

use base::names::path_key;
use base::{Acct, Nsid};
use meta::*;

use super::{Judged, Naive, last_name};

impl Naive {
    /// The first mount above the end of a path: where it leads, with what is left of the path.
    fn crossing(&self, path: &str) -> Option<Outcome> {
        let ends = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| at);
        for end in ends {
            let there = self.tree.get(&path_key(&path[..end]));
            if let Some(mount) = there.filter(|there| there.kind == NodeKind::Mount) {
                return Some(Outcome::Elsewhere { nsid: Nsid(mount.size), rest: path[end..].to_owned() });
            }
        }
        None
    }

    /// Nothing of another namespace is on the way.
    pub(super) fn check_here(&self, path: &str) -> Result<(), Outcome> {
        self.crossing(path).map_or(Ok(()), Err)
    }

    pub(super) fn mount(&mut self, acct: Acct, mount: &Mount) -> Judged {
        if !self.is_root {
            return Err(Outcome::NestedShare);
        }
        let live = self.tree.iter().find(|(_, it)| self.mounts.get(&mount.target) == Some(&it.node));
        if let Some((path, there)) = live.map(|(path, it)| (path.clone(), it.clone())) {
            self.check_thawed_above(&path)?;
            // A new row in the same place.
            let jid = self.row();
            let meta = self.mount_meta(acct, mount.target, Metadata { jid, rev_jid: jid, ..there });
            self.tree.insert(path, meta.clone());
            return Ok(Outcome::Applied(meta));
        }
        let mut path = self.path_of(&mount.at)?;
        self.check_target(&path)?;
        self.check_thawed_above(&path)?;
        if let Some(there) = self.get(&path) {
            if !mount.autorename {
                return Err(if there.kind == NodeKind::File { super::FILE_THERE } else { super::FOLDER_THERE });
            }
            path = self.free_path(&path, "");
        }
        self.make_parents(acct, &path);
        let (parent, node, jid) = (self.parent_node(&path), self.new_node(), self.row());
        let name = last_name(&path).to_owned();
        let blank = Metadata { node, parent, jid, rev_jid: jid, name, ..self.blank() };
        let meta = self.mount_meta(acct, mount.target, blank);
        self.mounts.insert(mount.target, node);
        self.place(&path, meta.clone());
        Ok(Outcome::Applied(meta))
    }

    fn blank(&self) -> Metadata {
        Metadata {
            nsid: self.nsid,
            node: ROOT,
            parent: ROOT,
            jid: base::Jid(0),
            rev_jid: base::Jid(0),
            kind: NodeKind::Mount,
            name: String::new(),
            size: 0,
            content_hash: [0; 32],
            client_mtime_ms: i64::MIN,
            server_mtime_ms: 0,
            modified_by: Acct(0),
        }
    }

    fn mount_meta(&self, acct: Acct, target: Nsid, meta: Metadata) -> Metadata {
        let (server_mtime_ms, client_mtime_ms) = (self.now_ms as i64, i64::MIN);
        Metadata { kind: NodeKind::Mount, size: target.0, modified_by: acct, server_mtime_ms, client_mtime_ms, ..meta }
    }

    pub(super) fn unmount(&mut self, target: Nsid) -> Judged {
        let Some(node) = self.mounts.remove(&target) else { return Err(Outcome::NotFound) };
        let live = self.tree.iter().find(|(_, it)| it.node == node).map(|(path, it)| (path.clone(), it.clone()));
        if let Some((path, there)) = live {
            self.row();
            self.tree.remove(&path);
            self.graves.remove(&(there.parent, base::names::name_key(&there.name)));
        }
        Ok(Outcome::Done)
    }
}
