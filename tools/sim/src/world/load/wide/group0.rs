//! What group 0 keeps: accounts, apps, tokens, codes, tickets, alarms, settings, grants, servers and nodes.

use base::{Acct, NodeId, NodeUuid, Nsid, Prng};
use client::Operation;
use meta::{
    AccountKey, AccountSet, AlarmInfo, AppInfo, CodeInfo, CodePut, CodeTake, Command, GrantChange, Group0Command,
    Group0Query, NodePut, PasswordHash, Query, ServerPut, ServerRole, TicketInfo, TicketPut, TokenPut, TokenRevoke,
};

use super::{Wide, command, keep, pick, query};

const HOUR_MS: u64 = 60 * 60 * 1000;
/// Of each thing there are so few that they meet.
const FEW: u64 = 5;

/// A digest of a few.
fn digest(dice: &mut Prng) -> [u8; 32] {
    [1 + dice.below(FEW) as u8; 32]
}

fn name(what: &str, dice: &mut Prng) -> String {
    format!("{what} {}", dice.below(FEW))
}

impl Wide {
    /// An account of a few, some of which are not there.
    fn account(&self, dice: &mut Prng) -> Acct {
        pick(&self.accounts, dice).map_or(Acct(1 + dice.below(4)), |(acct, _)| acct)
    }

    /// A change to what group 0 keeps.
    pub(super) fn group0(&mut self, wall_ms: u64, dice: &mut Prng) -> Operation {
        let group0 = |one: Group0Command| command(Acct(0), Nsid(0), Command::Group0(Box::new(one)));
        let acct = self.account(dice);
        let expires_ms = if dice.below(2) == 0 { 0 } else { wall_ms + dice.below(4) * HOUR_MS };
        match dice.below(16) {
            0 => command(Acct(0), Nsid(0), Command::AccountPut { name: name("account", dice) }),
            1 | 2 => group0(Group0Command::AccountSet(account_set(acct, dice))),
            3 => {
                let redirects = (0..dice.below(3)).map(|n| format!("https://app/{n}")).collect();
                let secret = if dice.below(2) == 0 { [0; 32] } else { digest(dice) };
                let info = AppInfo { app: 0, scopes: dice.below(16), secret, name: name("App", dice), redirects };
                group0(Group0Command::AppPut { client_id: name("client", dice), info })
            }
            4 | 5 => {
                let code = if dice.below(2) == 0 { [0; 32] } else { digest(dice) };
                let (token, access, app) = (digest(dice), digest(dice), 1 + dice.below(FEW));
                let put = TokenPut { token, acct, app, scopes: dice.below(16), expires_ms, code, access };
                group0(Group0Command::TokenPut(put))
            }
            6 => group0(Group0Command::TokenRevoke(match dice.below(3) {
                0 => TokenRevoke::Refresh(digest(dice)),
                1 => TokenRevoke::Access { token: digest(dice), acct, expires_ms },
                _ => TokenRevoke::Account(acct),
            })),
            7 => {
                let info =
                    CodeInfo { acct, app: 1 + dice.below(FEW), scopes: dice.below(16), is_offline: dice.below(2) == 0 };
                let (code, challenge, redirect) = (digest(dice), digest(dice), "https://app/0".to_owned());
                let put = CodePut { code, info, challenge, redirect };
                keep(&mut self.codes, put.clone());
                group0(Group0Command::CodePut(put))
            }
            8 => {
                let known = pick(&self.codes, dice).unwrap_or_default();
                let challenge = if dice.below(8) == 0 { [9; 32] } else { known.challenge };
                let CodePut { code, info, redirect, .. } = known;
                group0(Group0Command::CodeTake(CodeTake { code, app: info.app, challenge, redirect }))
            }
            9 => {
                let node = NodeId(2_000 + dice.below(FEW));
                let info = TicketInfo { node, expires_ms: 0, peer_address: format!("n{}:7000", node.0) };
                group0(Group0Command::TicketPut(TicketPut { ticket: digest(dice), info }))
            }
            10 => group0(Group0Command::TicketTake { ticket: digest(dice) }),
            11 => {
                let (node, text) = (NodeId(dice.below(3)), "free some space".to_owned());
                let alarm = AlarmInfo { raised_ms: 0, node, name: name("alarm", dice), text };
                let is_raised = dice.below(2) == 0;
                group0(if is_raised { Group0Command::AlarmRaise(alarm) } else { Group0Command::AlarmClear(alarm) })
            }
            12 => {
                let value = if dice.below(3) == 0 { String::new() } else { name("value", dice) };
                group0(Group0Command::SettingPut { name: name("setting", dice), value })
            }
            13 => {
                let nsid = pick(&self.made, dice).map_or(Nsid(10_000_000_000 + dice.below(4)), |(nsid, _)| nsid);
                let (before, bytes) = (dice.below(3) << 20, dice.below(3) << 20);
                let change = GrantChange { acct, nsid, before, bytes };
                let is_less = bytes < before || dice.below(8) == 0;
                group0(if is_less { Group0Command::GrantRelease(change) } else { Group0Command::GrantReserve(change) })
            }
            14 => {
                let roles = [ServerRole::Block, ServerRole::Notify, ServerRole::Gateway];
                let role = roles[dice.below(3) as usize];
                let server = ServerPut { server: 1 + dice.below(FEW), role, address: name("host", dice) };
                command(Acct(0), Nsid(0), Command::ServerPut(server))
            }
            _ if dice.below(3) == 0 => {
                // In any group.
                let nsid = self.shared[dice.below(2) as usize];
                let raise = Group0Command::FeatureRaise { level: meta::feature::LEVEL_BORN };
                command(Acct(0), nsid, Command::Group0(Box::new(raise)))
            }
            _ => {
                let node = NodeId(1_000 + dice.below(FEW));
                let put = NodePut {
                    node,
                    uuid: NodeUuid([1 + dice.below(2) as u8; 16]),
                    peer_address: format!("n{}:7000", node.0),
                    client_address: format!("n{}:7001", node.0),
                    is_removed: dice.below(8) == 0,
                };
                command(Acct(0), Nsid(0), Command::NodePut(put))
            }
        }
    }

    /// What group 0 is asked: by the system, by an account of itself, or of another one.
    pub(super) fn ask_group0(&mut self, dice: &mut Prng) -> Operation {
        let acct = self.account(dice);
        let asker = if dice.below(4) == 0 { self.account(dice) } else { Acct(0) };
        let limit = dice.below(4) as u32;
        let nsid = pick(&self.made, dice).map_or(Nsid(10_000_000_000 + dice.below(4)), |(nsid, _)| nsid);
        let key = if dice.below(2) == 0 { AccountKey::Acct(acct) } else { AccountKey::Name(name("account", dice)) };
        let group0 = match dice.below(14) {
            0 => Group0Query::Profile(key),
            1 => Group0Query::App(name("client", dice)),
            2 => Group0Query::Apps { after: String::new(), limit },
            3 => Group0Query::Token(digest(dice)),
            4 => Group0Query::Tokens { after: [dice.below(FEW) as u8; 32], limit },
            5 => Group0Query::Revoked { after: Vec::new(), limit },
            6 => Group0Query::Reach { acct, after: Nsid(0), limit },
            7 => Group0Query::Grants { acct, after: Nsid(0), limit },
            8 => Group0Query::Flow(1 + dice.below(self.next + 1)),
            9 => Group0Query::Flows { after: dice.below(4), limit },
            10 => Group0Query::Cluster,
            11 => Group0Query::Directory(nsid),
            12 => return query(asker, Nsid(0), Query::Account(key)),
            _ => return query(asker, Nsid(0), if dice.below(2) == 0 { Query::Servers } else { Query::Nodes }),
        };
        query(asker, Nsid(0), Query::Group0(group0))
    }
}

fn account_set(acct: Acct, dice: &mut Prng) -> AccountSet {
    let mut set = AccountSet { acct, ..AccountSet::default() };
    match dice.below(6) {
        0 | 1 => set.email = Some(if dice.below(3) == 0 { String::new() } else { name("mail", dice) + "@example.org" }),
        2 => set.names = Some((name("Given", dice), name("Sur", dice))),
        3 => set.password = Some(PasswordHash(vec![dice.below(250) as u8; 40])),
        4 => set.allocated = Some(dice.below(3) << 40),
        _ => set.is_suspended = Some(dice.below(4) == 0),
    }
    set.plan = (dice.below(2) == 0).then(|| dice.below(3) as u8);
    set
}
