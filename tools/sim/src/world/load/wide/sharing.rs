//! Members of the shared namespaces, what hangs in the first root, freezes and grants; links.

use base::{Acct, Nsid, Prng};
use client::Operation;
use meta::{
    At, Command, CommitFile, Delete, Freeze, LinkCommand, LinkSettings, LinksOf, MemberPut, MemberRole, MemberState,
    Mkdir, Mount, Query, Step, Transfer,
};
use sha2::{Digest as _, Sha256};

use super::super::{GRANT_BYTES, Load, OWNER};
use super::{GUESTS, Wide, Wish, command, pick, query};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// A step of no flow, or one of a few that meet.
fn step(dice: &mut Prng) -> Step {
    if dice.below(2) == 0 {
        return Step::default();
    }
    Step { flow: 1 << 40 | dice.below(40), step: 1 }
}

impl Load {
    pub(super) fn share(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        let (root, nsid) = (self.namespaces[0], wide.shared[dice.below(2) as usize]);
        let system = |nsid: Nsid, one: Command| (command(Acct(0), nsid, one), Wish::Nothing);
        let guest = GUESTS[dice.below(2) as usize];
        match dice.below(20) {
            0..3 => {
                let roles = [MemberRole::Viewer, MemberRole::Editor];
                let state = if dice.below(2) == 0 { MemberState::Invited } else { MemberState::Joined };
                // The owner too, who may have given it away.
                let acct = if dice.below(8) == 0 { OWNER } else { guest };
                let put = MemberPut { step: step(dice), acct, role: roles[dice.below(2) as usize], state };
                system(nsid, Command::MemberPut(put))
            }
            3 => {
                let acct = if dice.below(6) == 0 { OWNER } else { guest };
                if acct == OWNER && !wide.lost.contains(&nsid) {
                    wide.lost.push(nsid);
                }
                system(nsid, Command::MemberRemove { step: step(dice), acct })
            }
            4 => {
                let (from, to) = if dice.below(2) == 0 { (OWNER, guest) } else { (guest, OWNER) };
                system(nsid, Command::Transfer(Transfer { step: step(dice), from, to, grant_bytes: GRANT_BYTES }))
            }
            5..8 => {
                let path = self.path(0, dice);
                let mount =
                    Mount { step: step(dice), target: nsid, at: At::path(&path), autorename: dice.below(4) > 0 };
                let folder = path.rfind('/').map_or("", |slash| &path[..slash]).to_owned();
                (command(Acct(0), root, Command::Mount(mount)), Wish::Mount(folder))
            }
            8 => system(root, Command::Unmount { step: step(dice), target: nsid }),
            9 => match pick(&wide.folders, dice) {
                Some((nsid, _, node)) => {
                    let freeze = Freeze { flow: 1 + dice.below(2), node };
                    let is_thawed = dice.below(3) == 0;
                    system(nsid, if is_thawed { Command::Thaw(freeze) } else { Command::Freeze(freeze) })
                }
                None => self.folder(0, dice),
            },
            10 => {
                let (bytes, step) = (dice.below(1 << 20), step(dice));
                let is_raise = dice.below(2) == 0;
                system(
                    nsid,
                    match is_raise {
                        true => Command::GrantRaise { step, owner: OWNER, bytes },
                        false => Command::GrantLower { step, bytes },
                    },
                )
            }
            11 => self.folder(0, dice),
            12 => {
                let at = wide.mounted(dice).map_or_else(|| At::path(&self.path(0, dice)), |path| At::path(&path));
                (command(OWNER, root, Command::Delete(Delete { at, parent_rev: None })), Wish::Nothing)
            }
            _ => wide.write_shared(nsid, if dice.below(2) == 0 { OWNER } else { guest }, root, dice),
        }
    }

    /// A folder of a root whose node is wanted.
    fn folder(&mut self, at: usize, dice: &mut Prng) -> (Operation, Wish) {
        let (nsid, path) = (self.namespaces[at], self.path(at, dice));
        let mkdir = Command::Mkdir(Mkdir { at: At::path(&path), autorename: true });
        (command(OWNER, nsid, mkdir), Wish::Folder(nsid, OWNER))
    }

    pub(super) fn link(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        let is_shared = dice.below(2) == 0;
        let nsid = if is_shared { wide.shared[dice.below(2) as usize] } else { self.namespaces[0] };
        let acct = if is_shared && dice.below(2) == 0 { GUESTS[dice.below(2) as usize] } else { OWNER };
        let expires_ms = if dice.below(3) == 0 { self.wall_ms + dice.below(72) * HOUR_MS } else { 0 };
        let settings = LinkSettings { expires_ms, no_download: dice.below(2) == 0, ..LinkSettings::default() };
        let known = pick(&wide.links, dice).unwrap_or((nsid, 1 + dice.below(4)));
        let path = if is_shared { wide.name(dice) } else { self.path(0, dice) };
        let of_links = |nsid, one: LinkCommand| (command(acct, nsid, Command::Link(Box::new(one))), Wish::Link(nsid));
        match dice.below(8) {
            0..3 => of_links(nsid, LinkCommand::Create { at: At::path(&path), settings }),
            3 => of_links(known.0, LinkCommand::Modify { link: known.1, settings }),
            4 => of_links(known.0, LinkCommand::Revoke { link: known.1 }),
            5 => (query(acct, known.0, Query::Link(known.1)), Wish::Nothing),
            6 => {
                let (of, limit) = (LinksOf::Account(acct), dice.below(3) as u32);
                (query(acct, nsid, Query::Links { of, after: 0, limit }), Wish::Nothing)
            }
            _ => {
                let of = LinksOf::Node { at: At::path(&path), above: dice.below(2) == 0 };
                (query(acct, nsid, Query::Links { of, after: 0, limit: 0 }), Wish::Nothing)
            }
        }
    }
}

impl Wide {
    /// A name of a few.
    pub(super) fn name(&mut self, dice: &mut Prng) -> String {
        format!("/thing {}", dice.below(6))
    }

    /// A path that leads into what hangs in the root, as far as is known.
    pub(super) fn mounted(&self, dice: &mut Prng) -> Option<String> {
        pick(&self.mounts, dice).map(|(_, path)| path)
    }

    /// A write or a read in a shared namespace, by its own path or through the mount.
    fn write_shared(&mut self, nsid: Nsid, acct: Acct, root: Nsid, dice: &mut Prng) -> (Operation, Wish) {
        let (mut nsid, mut path) = (nsid, self.name(dice));
        if dice.below(4) == 0 {
            path = format!("{path}/{}", dice.below(3));
        }
        if let Some(mounted) = self.mounted(dice).filter(|_| dice.below(4) == 0) {
            (nsid, path) = (root, mounted + &path);
        }
        let acct = if nsid == root { OWNER } else { acct };
        let at = At::path(&path);
        let made = match dice.below(8) {
            0..3 => Command::Mkdir(Mkdir { at, autorename: dice.below(2) == 0 }),
            3..5 => {
                let content_hash = Sha256::digest([]).into();
                Command::CommitFile(CommitFile {
                    at,
                    autorename: dice.below(2) == 0,
                    content_hash,
                    ..CommitFile::default()
                })
            }
            5 | 6 => Command::Delete(Delete { at, parent_rev: None }),
            _ => return (query(acct, nsid, Query::Lookup(meta::What::At(at))), Wish::Nothing),
        };
        (command(acct, nsid, made), Wish::Nothing)
    }
}
