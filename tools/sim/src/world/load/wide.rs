//! Everything else that clients and servers may ask for, in a share of the runs: what group 0 keeps, flows between
//! namespaces, members and mounts, links, copies, uploads that end elsewhere, feeds. All of it is drawn from a stream of
//! its own, so that other runs stay as they are.
//!
//! What is asked next follows from what was answered, as with [`super::rare`]; what was answered is kept for a while and
//! asked again too: a server that did not hear, or has an old row.

mod changes;
mod flows;
mod group0;
mod readers;
mod sharing;
mod uploads;

use base::{Acct, Nsid, Prng, TreeNode};
use client::Operation;
use meta::{Answer, CodePut, Command, CopyStep, FlowInfo, FlowStep, NamespaceKind, Outcome, Query};

use super::known::{keep, pick};
use super::{Effect, GRANT_BYTES, Load, OWNER};
use crate::draw::{Stream, prng};

/// One run of so many asks for everything.
const ONE_IN: u64 = 4;
/// In such a run one operation of so many is one of these.
const SHARE: u64 = 3;
/// Members of the shared namespaces beside their owner.
const GUESTS: [Acct; 2] = [Acct(7), Acct(8)];

/// What is known beside the tree.
pub(in crate::world) struct Wide {
    /// Shared namespaces, which may hang in the first root.
    shared: [Nsid; 2],
    /// What comes next is told apart by this.
    next: u64,
    /// Shared namespaces that were asked for.
    founded: usize,
    /// Where a mount hung when it was told: the namespace and its path.
    mounts: Vec<(Nsid, String)>,
    folders: Vec<(Nsid, Acct, TreeNode)>,
    links: Vec<(Nsid, u64)>,
    copies: Vec<(Nsid, CopyStep)>,
    uploads: Vec<uploads::Upload>,
    flows: Vec<FlowInfo>,
    tells: Vec<FlowStep>,
    /// Accounts with their roots, and namespaces that flows shared with their owners.
    accounts: Vec<(Acct, Nsid)>,
    made: Vec<(Nsid, Acct)>,
    codes: Vec<CodePut>,
    pub readers: Vec<readers::Reader>,
    /// The owner of the roots was, or may have been, taken out of these: who reads them through a mount may be behind.
    lost: Vec<Nsid>,
}

/// What the answer of an operation is for.
#[derive(Clone, Debug)]
pub(in crate::world) enum Wish {
    /// Nothing is learnt from it.
    Nothing,
    /// A folder in a namespace, made by an account.
    Folder(Nsid, Acct),
    Mount(String),
    Link(Nsid),
    Copy(Nsid, CopyStep),
    Upload(u64, uploads::Call),
    Flow,
    Step(Box<FlowInfo>),
    Account,
    Reader(usize),
}

/// Does the run of this seed ask for everything?
pub(super) fn draw(seed: u64) -> bool {
    prng(seed, Stream::Wide, 1 << 40, 0).below(ONE_IN) == 0
}

fn command(acct: Acct, nsid: Nsid, command: Command) -> Operation {
    Operation::Command { acct, nsid, command }
}

fn query(acct: Acct, nsid: Nsid, query: Query) -> Operation {
    Operation::Query { acct, nsid, query }
}

impl Wide {
    /// `first`: a number from which on no namespace of the load is.
    pub fn new(first: u64, groups: u32) -> Wide {
        // In two groups, where there are two.
        let group = |nsid: u64| base::group_of(Nsid(nsid), groups);
        let other = (first + 1..).find(|nsid| groups == 1 || group(*nsid) != group(first)).unwrap_or(first + 1);
        Wide {
            shared: [Nsid(first), Nsid(other)],
            next: 0,
            founded: 0,
            mounts: Vec::new(),
            folders: Vec::new(),
            links: Vec::new(),
            copies: Vec::new(),
            uploads: Vec::new(),
            flows: Vec::new(),
            tells: Vec::new(),
            accounts: Vec::new(),
            made: Vec::new(),
            codes: Vec::new(),
            readers: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Load {
    /// Is the next operation of a client one of these? Then which.
    pub(in crate::world) fn wide(&mut self, seed: u64, client: u64, number: u64) -> Option<(Operation, Effect)> {
        let mut wide = self.wide.take()?;
        let mut dice = prng(seed, Stream::Wide, client, number);
        let drawn = (dice.below(SHARE) == 0).then(|| self.draw_wide(&mut wide, &mut dice));
        self.wide = Some(wide);
        let (operation, wish) = drawn?;
        Some((operation, Effect::Wide(wish)))
    }

    fn draw_wide(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        // Again now and then: nobody may have heard of it.
        if wide.founded < wide.shared.len() || dice.below(64) == 0 {
            let (nsid, kind) = (wide.shared[wide.founded % wide.shared.len()], NamespaceKind::Shared);
            wide.founded += 1;
            let init = Command::NamespaceInit { kind, owner: OWNER, grant_bytes: GRANT_BYTES };
            return (command(Acct(0), nsid, init), Wish::Nothing);
        }
        match dice.below(16) {
            0..3 => {
                let operation = wide.group0(self.wall_ms, dice);
                let is_account = matches!(&operation, Operation::Command { command: Command::AccountPut { .. }, .. });
                (operation, if is_account { Wish::Account } else { Wish::Nothing })
            }
            3 => (wide.ask_group0(dice), Wish::Nothing),
            4..6 => wide.flow(dice),
            6..9 => self.share(wide, dice),
            9 => self.link(wide, dice),
            10 | 11 => self.change(wide, dice),
            12 | 13 => self.upload_elsewhere(wide, dice),
            14 => self.look(wide, dice),
            _ => wide.read(self.namespaces[0], dice),
        }
    }

    /// A write was answered.
    pub(in crate::world) fn note_outcome(&mut self, effect: &Effect, outcome: &Outcome) {
        let (Some(wide), Effect::Wide(wish)) = (&mut self.wide, effect) else { return };
        match (wish, outcome) {
            (Wish::Folder(nsid, acct), Outcome::Applied(meta)) => keep(&mut wide.folders, (*nsid, *acct, meta.node)),
            (Wish::Mount(folder), Outcome::Applied(meta)) => {
                keep(&mut wide.mounts, (Nsid(meta.size), format!("{folder}/{}", meta.name)));
            }
            (Wish::Link(nsid), Outcome::Made { id } | Outcome::Exists { id }) => keep(&mut wide.links, (*nsid, *id)),
            (Wish::Copy(nsid, step), Outcome::Swept { has_more: true, .. }) => {
                keep(&mut wide.copies, (*nsid, step.clone()));
            }
            (Wish::Upload(nonce, call), outcome) => wide.note_upload(*nonce, call, outcome),
            (Wish::Flow, Outcome::Flow(info)) => wide.note_flow(info),
            (Wish::Step(info), outcome) => wide.note_step(info, outcome),
            (Wish::Account, Outcome::Account { acct, root }) => keep(&mut wide.accounts, (*acct, *root)),
            _ => {}
        }
    }

    /// A query was answered.
    pub(super) fn note_wide_answer(&mut self, wish: &Wish, answer: &Answer) {
        let Some(wide) = &mut self.wide else { return };
        match wish {
            Wish::Reader(at) => wide.readers[*at].tell(answer.clone()),
            Wish::Flow => {
                if let Answer::Group0(meta::Group0Answer::Flow(info)) = answer {
                    wide.note_flow(info);
                }
            }
            _ => {}
        }
    }

    /// An operation ended, whether it was answered or not.
    pub(in crate::world) fn note_wide_end(&mut self, effect: &Effect) {
        if let (Some(wide), Effect::Wide(Wish::Reader(at))) = (&mut self.wide, effect) {
            wide.readers[*at].is_asking = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_share_of_the_seeds_asks_for_everything() {
        let count = (0..1000).filter(|seed| draw(*seed)).count();
        assert!((200..300).contains(&count), "{count} of 1000");
    }

    #[test]
    fn every_kind_of_command_is_drawn_sooner_or_later() {
        let seed = (0..).find(|seed| draw(*seed)).expect("one of four is");
        let mut load = Load::new(seed, 3, false, true);
        let mut kinds = BTreeSet::new();
        for number in 0..40_000 {
            if let Some((Operation::Command { command, .. }, effect)) = load.wide(seed, 1, number) {
                kinds.insert(command.kind());
                // What makes others possible.
                let meta = meta::Metadata {
                    nsid: Nsid(1),
                    node: TreeNode(2),
                    parent: meta::ROOT,
                    jid: base::Jid(1),
                    rev_jid: base::Jid(1),
                    kind: meta::NodeKind::Folder,
                    name: "n".to_owned(),
                    size: 7,
                    content_hash: [0; 32],
                    client_mtime_ms: 0,
                    server_mtime_ms: 0,
                    modified_by: OWNER,
                };
                let outcome = match &effect {
                    Effect::Wide(Wish::Upload(..)) if number % 2 == 0 => {
                        Outcome::Elsewhere { nsid: Nsid(7), rest: "/x".to_owned() }
                    }
                    Effect::Wide(Wish::Link(_)) => Outcome::Made { id: 3 },
                    Effect::Wide(Wish::Account) => Outcome::Account { acct: Acct(9), root: Nsid(9) },
                    _ => Outcome::Applied(meta),
                };
                load.note_outcome(&effect, &outcome);
                load.note_wide_end(&effect);
            }
        }
        let wanted = [
            6, 8, 10, 11, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 40, 64, 65, 66, 67, 68, 69, 70,
            72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82,
        ];
        let missing: Vec<u8> = wanted.into_iter().filter(|kind| !kinds.contains(kind)).collect();
        assert_eq!(missing, Vec::<u8>::new(), "{kinds:?}");
    }
}
