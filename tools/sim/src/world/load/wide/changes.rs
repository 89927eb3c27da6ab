//! Copies in one command and in steps, attributes; listings with what was deleted, changes of one folder, mounts.

use base::{Jid, Nsid, Prng};
use client::Operation;
use meta::{At, Command, Copy, CopyStep, DeltaCursor, DeltaIn, Query, Scope, SetAttr, What};

use super::super::{Load, OWNER};
use super::{Wide, Wish, command, pick, query};

impl Load {
    pub(super) fn change(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        // Only the last of the roots is copied in steps: whoever checks what paths show cannot tell how far a step went.
        let last = self.namespaces.len() - 1;
        let place = if dice.below(3) == 0 { last } else { dice.below(self.namespaces.len() as u64) as usize };
        let nsid = self.namespaces[place];
        let (source, target) = (self.path(place, dice), self.path(place, dice));
        let autorename = dice.below(2) == 0;
        if place == last {
            return copy_step(wide, nsid, (&source, &target), autorename, dice);
        }
        let made = match dice.below(3) {
            0 => {
                let client_mtime_ms = (dice.below(5) > 0).then(|| dice.below(3) as i64);
                Command::SetAttr(SetAttr { at: At::path(&source), client_mtime_ms })
            }
            _ => Command::Copy(Copy { source: At::path(&source), target: At::path(&target), autorename }),
        };
        (command(OWNER, nsid, made), Wish::Nothing)
    }

    /// Questions that nothing else asks.
    pub(super) fn look(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        let place = dice.below(self.namespaces.len() as u64) as usize;
        let nsid = if dice.below(4) == 0 { wide.shared[dice.below(2) as usize] } else { self.namespaces[place] };
        let path = self.path(place, dice);
        let limit = 1 + dice.below(12) as u32;
        let asked = match dice.below(5) {
            0 | 1 => {
                let at = if dice.below(2) == 0 { At::path("") } else { At::path(&path) };
                Query::ListAll { at, recursive: dice.below(3) > 0, position: Vec::new(), limit }
            }
            2 => Query::Mounts { after: Nsid(0) },
            3 => {
                // A folder where it was, or not; nodes are few.
                let scope = Scope {
                    folder: base::TreeNode(1 + dice.below(12)),
                    path_hash: meta::scope::path_hash(&path),
                    is_by_id: dice.below(2) == 0,
                    is_recursive: dice.below(2) == 0,
                };
                let cursor = DeltaCursor::at(Jid(dice.below(30)));
                Query::DeltaIn(Box::new(DeltaIn { scope, cursor, limit, stops_at_mounts: dice.below(2) == 0 }))
            }
            _ => Query::Lookup(What::At(At::node(base::TreeNode(1 + dice.below(40))))),
        };
        (query(OWNER, nsid, asked), Wish::Nothing)
    }
}

/// The next step of a copy, mostly of one that has begun.
fn copy_step(
    wide: &mut Wide,
    nsid: Nsid,
    (source, target): (&str, &str),
    autorename: bool,
    dice: &mut Prng,
) -> (Operation, Wish) {
    let known = pick(&wide.copies, dice).filter(|_| dice.below(4) > 0);
    let (nsid, step) = known.unwrap_or_else(|| {
        let (id, limit) = (1 << 50 | wide.number(), 1 + dice.below(3) as u32);
        let (source, target) = (At::path(source), At::path(target));
        (nsid, CopyStep { id, source, target, autorename, gives_up: false, limit })
    });
    let gives_up = dice.below(8) == 0;
    let sent = Command::CopyStep(CopyStep { gives_up, ..step.clone() });
    (command(OWNER, nsid, sent), Wish::Copy(nsid, step))
}
