//! What each answer does: entries to the page, positions and heads to the cursor, and which step comes next.
//!
//! The changes of the folder's own namespace are told to their end before those of what hangs in it: then every mount is
//! told where it hangs now. A mount keeps the head it has when it is told again, so that nothing that went in it
//! meanwhile is missed; one that is told for the first time gets the head as of its listing.

use base::limits::POSITION_BYTES_MAX;
use base::names::path_key;
use base::{Jid, Nsid};

use super::driver::{Feed, Inside, Step};
use super::{End, FeedPage, Place, PlaceKind};
use crate::delta::DeltaCursor;
use crate::metadata::NodeKind;
use crate::query::{Change, ROOT};

impl Feed {
    fn page(&mut self, has_more: bool) -> Step {
        let changes = std::mem::take(&mut self.entries.changes);
        Step::End(End::Page(FeedPage { changes, cursor: self.cursor.clone(), has_more }))
    }

    /// Where the mounts are is known, as far as it is needed.
    pub(super) fn with_mounts(&mut self) -> Step {
        if self.is_latest {
            let targets = self.mounts.keys().map(|target| (*target, Jid(0)));
            self.cursor.heads.extend(targets);
            return self.heads_from(1);
        }
        let Some(place) = self.cursor.place.clone() else { return self.work() };
        if place.nsid != self.cursor.nsid {
            return self.enter_mounted(place);
        }
        self.position.clone_from(&place.position);
        match place.kind {
            PlaceKind::Paging => self.enter_place(&self.display.clone()),
            PlaceKind::Expanding if !self.mounts.is_empty() && !place.position.is_empty() => Step::PlaceRoot,
            PlaceKind::Expanding | PlaceKind::ExpandingDeleted => self.work(),
        }
    }

    pub(super) fn heads_from(&mut self, at: usize) -> Step {
        if at < self.cursor.heads.len() { Step::Heads(at) } else { self.page(false) }
    }

    pub(super) fn take_head(&mut self, at: usize, head: Jid) -> Step {
        if at > 0 {
            self.cursor.heads[at].1 = head;
            return self.heads_from(at + 1);
        }
        self.cursor.heads.push((self.cursor.nsid, head));
        // What is mounted after this head has a row.
        if self.has_mounts() { Step::Mounts(Nsid(0)) } else { self.page(false) }
    }

    /// Goes on in a subtree that begins at `display`, maybe inside what hangs in it.
    pub(super) fn enter_place(&mut self, display: &str) -> Step {
        let below = format!("{}/", path_key(display));
        let crossing = self.mounts.iter().find_map(|(target, path)| {
            let key = path_key(path);
            let mount = key.strip_prefix(&below)?;
            let rest = self.position.strip_prefix(mount)?;
            let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
            Some(Inside { target: *target, position: rest.to_owned(), mount: Some(mount.to_owned()) })
        });
        let Some(inside) = crossing else { return self.work() };
        base::mark::hit!("meta.feed.resumed_inside");
        self.position.clone_from(inside.mount.as_ref().expect("it was just found"));
        if inside.position.is_empty() || self.is_followed(inside.target) { Step::Inside(inside) } else { self.work() }
    }

    /// Goes on in what hangs in the folder; what does not hang there any more is passed by.
    fn enter_mounted(&mut self, place: Place) -> Step {
        if !self.mounts.contains_key(&place.nsid) {
            self.cursor.place = None;
            return self.work();
        }
        if place.node == ROOT {
            return Step::Inside(Inside { target: place.nsid, position: place.position, mount: None });
        }
        let at = self.cursor.heads.iter().position(|(nsid, _)| *nsid == place.nsid);
        let Some(at) = at else { return Step::End(End::Malformed) };
        self.is_out_of_order = true;
        Step::Delta(at)
    }

    fn is_followed(&self, target: Nsid) -> bool {
        self.cursor.heads.iter().any(|(nsid, _)| *nsid == target)
    }

    /// The next step in the folder's own namespace.
    pub(super) fn work(&mut self) -> Step {
        if self.entries.is_full() {
            return self.page(true);
        }
        if self.cursor.heads.is_empty() && self.cursor.place.is_none() {
            let (nsid, node) = (self.cursor.nsid, self.cursor.folder);
            self.cursor.place = Some(Place { kind: PlaceKind::Paging, nsid, node, position: String::new() });
        }
        let is_paging = self.cursor.place.as_ref().is_some_and(|place| place.kind == PlaceKind::Paging);
        if is_paging { Step::Paging } else { Step::Delta(0) }
    }

    /// A mount was told: what hangs there comes next.
    fn begin_inside(&mut self, target: Nsid, mount: Option<String>) -> Step {
        if self.entries.is_full() {
            return self.page(true);
        }
        Step::Inside(Inside { target, position: String::new(), mount })
    }

    pub(super) fn take_inside(
        &mut self,
        mut inside: Inside,
        changes: Vec<Change>,
        next: Option<Vec<u8>>,
        head: Jid,
    ) -> Step {
        let Some(display) = self.mounts.get(&inside.target) else { return Step::End(End::Malformed) };
        let prefix = format!("{}{display}", self.prefix);
        if inside.position.is_empty() && !self.is_followed(inside.target) {
            let at = self.cursor.heads.iter().skip(1).filter(|(nsid, _)| *nsid < inside.target).count();
            self.cursor.heads.insert(1 + at, (inside.target, head));
        }
        for change in changes {
            path_key(path_of(&change)).trim_start_matches('/').clone_into(&mut inside.position);
            self.push_mounted(&prefix, change);
        }
        let is_end = next.is_none();
        if let Some(next) = next {
            let Ok(next) = String::from_utf8(next) else { return Step::End(End::Malformed) };
            inside.position = next;
        }
        match (&inside.mount, &mut self.cursor.place) {
            (Some(mount), Some(place)) if inside.position.is_empty() => place.position.clone_from(mount),
            (Some(mount), Some(place)) => place.position = format!("{mount}/{}", inside.position),
            _ => {
                let (kind, nsid, position) = (PlaceKind::Expanding, inside.target, inside.position.clone());
                self.cursor.place = Some(Place { kind, nsid, node: ROOT, position });
            }
        }
        match is_end {
            true => self.leave(inside),
            false if self.entries.is_full() => self.page(true),
            false => Step::Inside(inside),
        }
    }

    /// All that hangs in a mount was told, or is not to be seen: goes on after the mount.
    pub(super) fn leave(&mut self, inside: Inside) -> Step {
        if inside.mount.is_none() {
            self.cursor.place = None;
        }
        self.work()
    }

    /// What hangs there is not followed any more.
    pub(super) fn lose(&mut self, target: Nsid) {
        let own = self.cursor.nsid;
        self.cursor.heads.retain(|(nsid, _)| *nsid == own || *nsid != target);
        if self.cursor.place.as_ref().is_some_and(|place| place.nsid == target && target != own) {
            self.cursor.place = None;
        }
    }

    pub(super) fn take_page(&mut self, changes: Vec<Change>, next: Option<Vec<u8>>, head: Jid) -> Step {
        if self.cursor.heads.is_empty() {
            self.cursor.heads.push((self.cursor.nsid, head));
        }
        for change in changes {
            let mount = mount_of(&change);
            if mount.is_some() && !self.cursor.has_mounted {
                continue;
            }
            let path = path_of(&change).to_owned();
            self.entries.push(&self.prefix, change);
            if let Some(target) = mount.filter(|_| self.has_mounts()) {
                let key = path_key(&path);
                let position = key.get(path_key(&self.display).len() + 1..).unwrap_or_default();
                self.go_to(position.to_owned());
                self.mounts.insert(target, path);
                return self.begin_inside(target, Some(self.position.clone()));
            }
        }
        match next.map(String::from_utf8) {
            Some(Ok(next)) => {
                self.go_to(next);
                self.work()
            }
            Some(Err(_)) => Step::End(End::Malformed),
            None => {
                self.cursor.place = None;
                self.page(false)
            }
        }
    }

    fn go_to(&mut self, position: String) {
        if let Some(place) = &mut self.cursor.place {
            place.position.clone_from(&position);
        }
        self.position = position;
    }

    /// Changes of the folder's own namespace.
    pub(super) fn take_own(&mut self, changes: Vec<Change>, cursor: DeltaCursor, has_more: bool) -> Step {
        let Some(place) = self.place_of(self.cursor.nsid, &cursor) else { return Step::End(End::Malformed) };
        self.cursor.heads[0].1 = cursor.since;
        self.cursor.place = place;
        self.position = self.cursor.place.as_ref().map(|place| place.position.clone()).unwrap_or_default();
        let is_empty = changes.is_empty();
        let mut last_mount = None;
        for mut change in changes {
            if !self.cursor.has_mounted && mount_of(&change).is_some() {
                // For this reader nothing is there; a folder may have been.
                change = Change::Deleted { path_display: path_of(&change).to_owned() };
            }
            let mount = mount_of(&change);
            self.note_gone(&change);
            last_mount = mount.filter(|_| self.has_mounts());
            if let Some(target) = last_mount {
                self.mounts.insert(target, path_of(&change).to_owned());
            }
            self.entries.push(&self.prefix, change);
        }
        if let Some(target) = last_mount {
            base::mark::hit!("meta.feed.mount_told");
            if self.cursor.place.is_some() {
                return self.begin_inside(target, Some(self.position.clone()));
            }
            let (kind, position) = (PlaceKind::Expanding, String::new());
            self.cursor.place = Some(Place { kind, nsid: target, node: ROOT, position });
            return self.begin_inside(target, None);
        }
        match has_more {
            // Many rows that tell nothing here: others may go on first.
            true if is_empty => self.page(true),
            true => self.work(),
            false => self.delta_at(1),
        }
    }

    /// The next of what hangs there; what hangs there no more was told as deleted.
    pub(super) fn delta_at(&mut self, at: usize) -> Step {
        while let Some((target, _)) = self.cursor.heads.get(at).copied() {
            if self.mounts.contains_key(&target) {
                return if self.entries.is_full() { self.page(true) } else { Step::Delta(at) };
            }
            base::mark::hit!("meta.feed.mount_dropped");
            self.lose(target);
        }
        self.page(false)
    }

    pub(super) fn take_mounted(
        &mut self,
        at: usize,
        changes: Vec<Change>,
        cursor: DeltaCursor,
        has_more: bool,
    ) -> Step {
        let (target, _) = self.cursor.heads[at];
        let Some(display) = self.mounts.get(&target) else { return Step::End(End::Malformed) };
        let prefix = format!("{}{display}", self.prefix);
        let Some(place) = self.place_of(target, &cursor) else { return Step::End(End::Malformed) };
        self.cursor.heads[at].1 = cursor.since;
        self.cursor.place = place;
        let is_stalled = changes.is_empty() && has_more;
        changes.into_iter().for_each(|change| self.push_mounted(&prefix, change));
        if is_stalled || (has_more && self.entries.is_full()) {
            return self.page(true);
        }
        if self.is_out_of_order && self.cursor.place.is_none() {
            self.is_out_of_order = false;
            return self.work();
        }
        if has_more { Step::Delta(at) } else { self.delta_at(at + 1) }
    }

    /// The subtree under way after a page of changes; `None` for a position that is no text.
    fn place_of(&self, nsid: Nsid, cursor: &DeltaCursor) -> Option<Option<Place>> {
        let Some(expansion) = &cursor.expansion else { return Some(None) };
        let kind = if expansion.is_deleted { PlaceKind::ExpandingDeleted } else { PlaceKind::Expanding };
        let position = String::from_utf8(expansion.position.clone()).ok()?;
        Some(Some(Place { kind, nsid, node: expansion.root, position }))
    }

    /// Adds what is in a mounted namespace, if its path is not too long there.
    fn push_mounted(&mut self, prefix: &str, change: Change) {
        if prefix.len() + path_of(&change).len() <= POSITION_BYTES_MAX {
            self.entries.push(prefix, change);
        }
    }

    /// What hung at or below a path that something else took, or nothing, hangs there no more.
    fn note_gone(&mut self, change: &Change) {
        let path = path_key(path_of(change));
        let keeps_children = matches!(change, Change::Present(entry) if entry.meta.kind != NodeKind::File);
        let below = format!("{path}/");
        let is_gone = |at: &str| at == path || (!keeps_children && at.starts_with(&below));
        let gone: Vec<Nsid> = self
            .mounts
            .iter()
            .filter(|(target, at)| is_gone(&path_key(at)) && mount_of(change) != Some(**target))
            .map(|(target, _)| *target)
            .collect();
        for target in gone {
            self.mounts.remove(&target);
            self.lose(target);
        }
    }
}

fn path_of(change: &Change) -> &str {
    match change {
        Change::Present(entry) => &entry.path_display,
        Change::Deleted { path_display } => path_display,
    }
}

/// The namespace that hangs where something was told.
fn mount_of(change: &Change) -> Option<Nsid> {
    match change {
        Change::Present(entry) if entry.meta.kind == NodeKind::Mount => Some(Nsid(entry.meta.size)),
        _ => None,
    }
}
