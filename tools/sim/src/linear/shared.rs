//! What a naive tree knows of others than its owner: members and their rights, what hangs in it, steps of flows that are
//! told again, puts under the id of an upload; and copies.

#![allow(clippy::result_large_err, reason = "an outcome is compared where it is made and goes no further")]

use std::collections::{BTreeMap, btree_map};

use base::names::path_key;
use base::{Acct, Nsid};
use meta::{
    Command, Copy, MemberPut, MemberRole, MemberState, Mount, NamespaceKind, NodeKind, Outcome, SetAttr, Step, Transfer,
};

use super::tree::{Expected, FILE, FOLDER, Judged, Thing, Tree};

/// What was kept is told again for so long at least.
const KEEP_MS: u64 = 8 * 24 * 60 * 60 * 1000;
/// Nodes that one copy may have.
const COPY_NODES_MAX: usize = 1024;

/// A command that came to something, and is not done again.
#[derive(Clone, Debug)]
struct Kept {
    command: Command,
    outcome: Outcome,
    stamp_ms: u64,
}

/// Under what a command is done once, beside its place in a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Once {
    Step(u64, u32),
    Upload(u64, Acct),
}

/// Who may what, and what was done once.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    kind: NamespaceKind,
    pub owner: Acct,
    grant_bytes: u64,
    members: BTreeMap<Acct, (MemberRole, MemberState)>,
    kept: BTreeMap<Once, Kept>,
    /// Whose rights these are nobody can tell any more.
    pub is_lost: bool,
}

impl Shared {
    pub fn new(kind: NamespaceKind, owner: Acct, grant_bytes: u64) -> Shared {
        Shared { kind, owner, grant_bytes, members: BTreeMap::new(), kept: BTreeMap::new(), is_lost: false }
    }

    /// Those of `acct` may change something.
    pub fn may_write(&self, acct: Acct) -> bool {
        let role = match self.members.get(&acct) {
            Some((role, MemberState::Joined)) => Some(*role),
            _ => None,
        };
        acct == Acct(0) || acct == self.owner || matches!(role, Some(MemberRole::Editor | MemberRole::Owner))
    }

    /// Changes of rights and room. None for all other commands.
    pub fn run(&mut self, command: &Command) -> Option<Outcome> {
        Some(match command {
            Command::MemberPut(put) => self.put_member(put),
            Command::MemberRemove { acct, .. } => match self.members.remove(acct) {
                Some(_) => Outcome::Done,
                None => Outcome::NotFound,
            },
            Command::Transfer(transfer) => self.transfer(transfer),
            Command::GrantRaise { owner, .. } if *owner != self.owner => Outcome::RevMismatch,
            Command::GrantRaise { bytes, .. } => {
                self.grant_bytes += bytes;
                Outcome::Done
            }
            // That it is refused for want of room is told as what no tree judges.
            Command::GrantLower { bytes, .. } => {
                self.grant_bytes = self.grant_bytes.saturating_sub(*bytes);
                Outcome::Done
            }
            _ => return None,
        })
    }

    fn put_member(&mut self, put: &MemberPut) -> Outcome {
        if self.kind != NamespaceKind::Shared || put.acct == Acct(0) {
            return Outcome::Malformed;
        }
        if put.acct == self.owner {
            return Outcome::Exists { id: put.acct.0 };
        }
        match (self.members.get_mut(&put.acct), put.state) {
            (None, MemberState::Joined) => return Outcome::NotFound,
            (None, MemberState::Invited) => drop(self.members.insert(put.acct, (put.role, MemberState::Invited))),
            (Some(member), state) => {
                // Who is in stays in.
                let is_in = member.1 == MemberState::Joined || state == MemberState::Joined;
                *member = (put.role, if is_in { MemberState::Joined } else { MemberState::Invited });
            }
        }
        Outcome::Done
    }

    fn transfer(&mut self, transfer: &Transfer) -> Outcome {
        if self.kind != NamespaceKind::Shared {
            return Outcome::Malformed;
        }
        if (self.owner, self.grant_bytes) != (transfer.from, transfer.grant_bytes) {
            return Outcome::RevMismatch;
        }
        if !matches!(self.members.get(&transfer.to), Some((_, MemberState::Joined))) {
            return Outcome::NotFound;
        }
        self.members.remove(&transfer.to);
        self.members.insert(transfer.from, (MemberRole::Editor, MemberState::Joined));
        self.owner = transfer.to;
        Outcome::Done
    }
}

/// Is this done once under something of its own, so that another sending of it may be told an old outcome?
pub(crate) fn may_be_told_again(command: &Command) -> bool {
    once_of(Acct(0), command).is_some() || matches!(command, Command::CopyStep(_))
}

fn step_of(command: &Command) -> Option<Step> {
    match command {
        Command::MemberPut(put) => Some(put.step),
        Command::MemberRemove { step, .. }
        | Command::Unmount { step, .. }
        | Command::GrantRaise { step, .. }
        | Command::GrantLower { step, .. } => Some(*step),
        Command::Transfer(transfer) => Some(transfer.step),
        Command::Mount(mount) => Some(mount.step),
        Command::MountSwap(swap) => Some(swap.step),
        _ => None,
    }
}

fn once_of(acct: Acct, command: &Command) -> Option<Once> {
    if let Some(step) = step_of(command).filter(|step| step.flow != 0) {
        return Some(Once::Step(step.flow, step.step));
    }
    let attested = match command {
        Command::SessionFinish(finish) => return Some(Once::Upload(finish.id.nonce, acct)),
        Command::CommitFile(commit) => &commit.attested,
        Command::StoreAndCommit(both) => &both.commit.attested,
        _ => &None,
    };
    attested.as_ref().map(|attested| Once::Upload(attested.id.nonce, acct))
}

impl Tree {
    /// What a command must come to that was done once already; none for one that was not. `outcome`: what it is said to
    /// have come to, kept from now on.
    pub fn again(&mut self, acct: Acct, command: &Command, outcome: &Outcome, stamp_ms: u64) -> Option<Expected> {
        let once = once_of(acct, command)?;
        // What a put under an id is asked for with another result is the same.
        let asked = match command {
            Command::SessionFinish(finish) => {
                Command::SessionFinish(Box::new(meta::SessionFinish { result: None, ..(**finish).clone() }))
            }
            other => other.clone(),
        };
        let is_kept = match once {
            Once::Upload(..) => matches!(outcome, Outcome::Applied(_) | Outcome::Unchanged(_)),
            Once::Step(..) => {
                let is_swap = matches!(command, Command::MountSwap(_)) && *outcome == Outcome::RevMismatch;
                !matches!(outcome, Outcome::Busy { .. }) && !is_swap
            }
        };
        match self.shared.kept.entry(once) {
            btree_map::Entry::Vacant(place) => {
                if is_kept {
                    place.insert(Kept { command: asked, outcome: outcome.clone(), stamp_ms });
                }
                None
            }
            btree_map::Entry::Occupied(kept) => {
                let kept = kept.get();
                if kept.stamp_ms.saturating_add(KEEP_MS) <= stamp_ms {
                    // It may be forgotten by now, and done anew.
                    self.give_up();
                    self.shared.is_lost = true;
                    return Some(Expected::Unknown);
                }
                let told = if kept.command == asked { kept.outcome.clone() } else { Outcome::NotFound };
                Some(Expected::Told(Box::new(told)))
            }
        }
    }

    /// What hangs here, copies, and what does not change what is there. None for commands of the tree itself.
    pub(super) fn run_shared(&mut self, command: &Command) -> Option<Judged> {
        match command {
            Command::Mount(mount) => Some(self.mount(mount)),
            Command::Unmount { target, .. } => Some(Ok(self.unmount(*target))),
            Command::Copy(copy) if copy.source.node.0 == 0 && copy.target.node.0 == 0 => Some(self.copy(copy)),
            Command::Freeze(_) | Command::Thaw(_) | Command::ListStage(_) | Command::SessionSeal(_) => {
                Some(Ok(Expected::Unknown))
            }
            _ => None,
        }
    }

    /// Nothing of another namespace is on the way.
    pub(super) fn check_here(&self, path: &str) -> Result<(), Outcome> {
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            if let Some(nsid) = self.get(&path[..end]).and_then(Thing::mounted) {
                return Err(Outcome::Elsewhere { nsid, rest: path[end..].to_owned() });
            }
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount) -> Judged {
        if self.shared.kind != NamespaceKind::Root {
            return Err(Outcome::NestedShare);
        }
        let live = self.things().and_then(|things| {
            things.iter().find(|(_, thing)| thing.mounted() == Some(mount.target)).map(|(_, thing)| thing.clone())
        });
        if let Some(there) = live {
            // A new row in the same place.
            return Ok(Expected::Applied(there, self.next_row()));
        }
        let path = &mount.at.path;
        self.check_target(path)?;
        let path = self.target(path, mount.autorename)?;
        self.make_parents(&path);
        let thing = Thing { size: mount.target.0, ..Thing::folder(&path) };
        self.insert(&path, thing.clone());
        Ok(Expected::Applied(thing, self.next_row()))
    }

    /// One whose folder was deleted is known to the machine alone.
    fn unmount(&mut self, target: Nsid) -> Expected {
        let live = self.things().and_then(|things| {
            things.iter().find(|(_, thing)| thing.mounted() == Some(target)).map(|(path, _)| path.clone())
        });
        let Some(path) = live else { return Expected::Unknown };
        self.take_out(&path);
        self.next_row();
        Expected::Other(Outcome::Done)
    }

    /// What an attribute is the tree does not know; that it wrote a row it is told.
    pub fn set_attr(&mut self, acct: Acct, attr: &SetAttr, outcome: &Outcome) -> Expected {
        let find = |tree: &Tree| {
            tree.check_here(&attr.at.path)?;
            if attr.at.path.is_empty() {
                return Err(Outcome::NoAccess);
            }
            tree.get(&attr.at.path).cloned().ok_or(Outcome::NotFound)
        };
        if let Some(known) = self.known_before(acct) {
            return known;
        }
        match find(self) {
            Err(refused) => Expected::Other(refused),
            Ok(thing) if matches!(outcome, Outcome::Unchanged(_)) => Expected::Unchanged(thing),
            Ok(thing) => Expected::Applied(thing, self.next_row()),
        }
    }

    fn copy(&mut self, copy: &Copy) -> Judged {
        let (source, target) = (&copy.source.path, &copy.target.path);
        self.check_here(source)?;
        let from = path_key(source);
        if from.is_empty() {
            return Err(Outcome::IntoItself);
        }
        let thing = self.get(source).cloned().ok_or(Outcome::NotFound)?;
        self.check_target(target)?;
        let is_below = path_key(target).strip_prefix(&from).is_some_and(|rest| rest.starts_with('/'));
        if thing.is_folder && thing.mounted().is_none() && is_below {
            return Err(Outcome::IntoItself);
        }
        let target = match self.get(target) {
            Some(there) if !copy.autorename => return Err(if there.is_folder { FOLDER } else { FILE }),
            Some(_) => self.free(target, ""),
            None => target.clone(),
        };
        let Some(things) = self.things() else { return Ok(Expected::Unknown) };
        let is_in = |path: &str| path.strip_prefix(&from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut all: Vec<(String, Thing)> =
            things.iter().filter(|(path, _)| is_in(path)).map(|(path, thing)| (path.clone(), thing.clone())).collect();
        if all.iter().any(|(_, thing)| thing.mounted().is_some()) {
            return Err(Outcome::NestedShare);
        }
        if all.len() > COPY_NODES_MAX {
            return Err(Outcome::TooLarge);
        }
        // In the order of a listing: name by name.
        all.sort_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
        self.make_parents(&target);
        let mut first = None;
        for (path, thing) in all {
            let jid = self.next_row();
            let into = format!("{target}{}", &path[from.len()..]);
            let mut copied = thing;
            if path == from {
                super::tree::name_of(&target).clone_into(&mut copied.name);
            }
            if !copied.is_folder {
                copied.rev = jid;
                self.note_content(&copied);
            }
            self.insert(&into, copied.clone());
            first.get_or_insert((copied, jid));
        }
        let (thing, jid) = first.expect("the source itself is copied");
        Ok(Expected::Applied(thing, jid))
    }
}

impl Thing {
    /// The namespace that hangs here: the size of a mount is its number.
    pub fn mounted(&self) -> Option<Nsid> {
        (self.is_folder && self.size > 0).then_some(Nsid(self.size))
    }

    pub(super) fn is_folder_of(kind: NodeKind) -> bool {
        kind != NodeKind::File
    }
}

#[cfg(test)]
mod tests {
    use base::Jid;
    use meta::{At, Mkdir};

    use super::*;

    const OWNER: Acct = Acct(7);
    const GUEST: Acct = Acct(8);
    const SYSTEM: Acct = Acct(0);

    fn tree(kind: NamespaceKind) -> Tree {
        Tree::of_kind(kind, OWNER, 100)
    }

    fn mkdir(path: &str) -> Command {
        Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
    }

    fn member(state: MemberState) -> Command {
        let step = Step::default();
        Command::MemberPut(MemberPut { step, acct: GUEST, role: MemberRole::Editor, state })
    }

    fn mount(path: &str, flow: u64) -> Command {
        let step = Step { flow, step: 1 };
        Command::Mount(Mount { step, target: Nsid(9), at: At::path(path), autorename: false })
    }

    fn done(tree: &mut Tree, acct: Acct, command: &Command) -> Option<Jid> {
        match tree.run(acct, command) {
            Expected::Applied(_, jid) => Some(jid),
            Expected::Other(Outcome::Done) => Some(Jid(0)),
            _ => None,
        }
    }

    #[test]
    fn a_member_may_write_from_joining_to_removal() {
        let mut tree = tree(NamespaceKind::Shared);
        assert_eq!(tree.run(GUEST, &mkdir("/a")), Expected::Other(Outcome::NoAccess));
        assert_eq!(tree.run(SYSTEM, &member(MemberState::Joined)), Expected::Other(Outcome::NotFound));
        done(&mut tree, SYSTEM, &member(MemberState::Invited)).unwrap();
        assert_eq!(tree.run(GUEST, &mkdir("/a")), Expected::Other(Outcome::NoAccess));
        done(&mut tree, SYSTEM, &member(MemberState::Joined)).unwrap();
        assert_eq!(done(&mut tree, GUEST, &mkdir("/a")), Some(Jid(1)));
        let step = Step::default();
        let transfer = Command::Transfer(Transfer { step, from: OWNER, to: GUEST, grant_bytes: 100 });
        done(&mut tree, SYSTEM, &transfer).unwrap();
        done(&mut tree, SYSTEM, &Command::MemberRemove { step, acct: OWNER }).unwrap();
        assert_eq!(tree.run(OWNER, &mkdir("/b")), Expected::Other(Outcome::NoAccess));
        assert_eq!(tree.run(SYSTEM, &transfer), Expected::Other(Outcome::RevMismatch));
    }

    #[test]
    fn what_hangs_in_a_root_leads_elsewhere_until_it_is_taken_out() {
        let mut tree = tree(NamespaceKind::Root);
        assert_eq!(done(&mut tree, SYSTEM, &mount("/in/m", 0)), Some(Jid(2)));
        let elsewhere = Outcome::Elsewhere { nsid: Nsid(9), rest: "/x/y".to_owned() };
        assert_eq!(tree.run(OWNER, &mkdir("/in/M/x/y")), Expected::Other(elsewhere));
        assert_eq!(done(&mut tree, SYSTEM, &mount("/other", 0)), Some(Jid(3)), "a new row where it is");
        let copy = Copy { source: At::path("/in"), target: At::path("/copy"), autorename: false };
        assert_eq!(tree.run(OWNER, &Command::Copy(copy)), Expected::Other(Outcome::NestedShare));
        let unmount = Command::Unmount { step: Step::default(), target: Nsid(9) };
        done(&mut tree, SYSTEM, &unmount).unwrap();
        assert_eq!(done(&mut tree, OWNER, &mkdir("/in/M/x/y")), Some(Jid(7)));
        assert!(tree.run(SYSTEM, &unmount).is_met_by(&Outcome::NotFound));
    }

    #[test]
    fn a_copy_has_a_row_for_each_node() {
        let mut tree = tree(NamespaceKind::Root);
        for path in ["/a/x", "/a/x y"] {
            done(&mut tree, OWNER, &mkdir(path)).unwrap();
        }
        let copy =
            |target: &str| Command::Copy(Copy { source: At::path("/a"), target: At::path(target), autorename: false });
        assert_eq!(done(&mut tree, OWNER, &copy("/b/c")), Some(Jid(5)));
        assert_eq!(tree.head(), Some(Jid(7)));
        assert!(tree.things().unwrap().contains_key("/b/c/x y"));
        assert_eq!(tree.run(OWNER, &copy("/a/x/z")), Expected::Other(Outcome::IntoItself));
    }

    #[test]
    fn a_step_is_told_again_and_not_done_again() {
        let mut tree = tree(NamespaceKind::Root);
        let told = Outcome::Done;
        assert_eq!(tree.again(SYSTEM, &mount("/m", 3), &told, 50), None);
        let again = tree.again(SYSTEM, &mount("/m", 3), &told, 60).unwrap();
        assert!(again.is_met_by(&told) && !again.is_met_by(&Outcome::NotFound));
        let other = tree.again(SYSTEM, &mount("/other", 3), &Outcome::NotFound, 60).unwrap();
        assert!(other.is_met_by(&Outcome::NotFound) && !other.is_met_by(&told));
        assert_eq!(tree.again(SYSTEM, &mount("/m", 3), &told, 50 + KEEP_MS), Some(Expected::Unknown));
        assert_eq!(tree.head(), None, "whether it was done anew nobody can tell");
        assert_eq!(tree.run(SYSTEM, &member(MemberState::Joined)), Expected::Unknown, "nor who is in");
    }
}
