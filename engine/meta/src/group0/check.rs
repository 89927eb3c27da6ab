//! What always holds of group 0's rows: I8 for what is allocated, and that rows which name each other agree.

use std::collections::BTreeMap;

use base::names::name_key;
use base::{Acct, Nsid};

use super::record::{FlowOfRow, ReachInfo};
use super::{FlowInfo, FlowState};
use crate::command::MemberRole;
use crate::invariants::Violation;
use crate::keys::table;
use crate::rows::*;
use crate::store::Rows;

#[derive(Default)]
struct Everything {
    accounts: BTreeMap<Acct, AccountRow>,
    names: BTreeMap<String, Acct>,
    directory: BTreeMap<Nsid, DirectoryRow>,
    reach: BTreeMap<(Acct, Nsid), ReachInfo>,
    grants: BTreeMap<(Acct, Nsid), u64>,
    flows: BTreeMap<u64, FlowInfo>,
    flows_of: BTreeMap<(Acct, Nsid), FlowOfRow>,
}

/// Checks what group 0 keeps; other groups have no such rows.
///
/// Errors: the first [`Violation`] found.
pub(crate) fn check(rows: &Rows) -> Result<(), Violation> {
    let all = read(rows);
    all.grants_are_allocated()?;
    all.names_lead_to_accounts()?;
    all.owners_reach_what_they_own()?;
    all.flows_hold_what_they_work_on()
}

fn read(rows: &Rows) -> Everything {
    let mut all = Everything::default();
    for (key, value) in rows {
        let number = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("the key has a number there"));
        match key[0] {
            table::ACCOUNT => drop(all.accounts.insert(Acct(number(1)), AccountRow::decode(value))),
            table::ACCOUNT_NAME => {
                let name = String::from_utf8(key[1..].to_vec()).expect("name keys are UTF-8");
                all.names.insert(name, Acct(NumberRow::decode(value).0));
            }
            table::DIRECTORY => drop(all.directory.insert(Nsid(number(1)), DirectoryRow::decode(value))),
            table::REACH => drop(all.reach.insert((Acct(number(1)), Nsid(number(9))), ReachInfo::decode(value))),
            table::GRANT => drop(all.grants.insert((Acct(number(1)), Nsid(number(9))), NumberRow::decode(value).0)),
            table::FLOW => drop(all.flows.insert(number(1), FlowInfo::decode(value))),
            table::FLOW_OF => {
                all.flows_of.insert((Acct(number(1)), Nsid(number(9))), FlowOfRow::decode(value));
            }
            _ => {}
        }
    }
    all
}

fn ensure(holds: bool, invariant: &'static str, nsid: Nsid, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, nsid, what: what() }) }
}

impl Everything {
    /// I8.
    fn grants_are_allocated(&self) -> Result<(), Violation> {
        for (acct, row) in &self.accounts {
            let grants = self.grants.range((*acct, Nsid(0))..=(*acct, Nsid(u64::MAX)));
            let sum: u64 = grants.map(|(_, bytes)| bytes).sum();
            let (counted, allocated) = (row.profile.granted, row.allocated);
            ensure(sum == counted, "I8", row.root, || format!("{acct} has granted {sum}, counted {counted}"))?;
            let is_within = allocated == 0 || sum <= allocated;
            ensure(is_within, "I8", row.root, || format!("{acct} has granted {sum} of {allocated}"))?;
        }
        for (acct, nsid) in self.grants.keys() {
            ensure(self.accounts.contains_key(acct), "I8", *nsid, || {
                format!("a grant of {acct}, which is no account")
            })?;
        }
        Ok(())
    }

    fn names_lead_to_accounts(&self) -> Result<(), Violation> {
        for (name, acct) in &self.names {
            let row = self.accounts.get(acct);
            let is_its = row.is_some_and(|row| [name_key(&row.name), name_key(&row.profile.email)].contains(name));
            ensure(is_its, "accounts", Nsid(0), || format!("{acct} is not called {name:?}"))?;
        }
        for (acct, row) in &self.accounts {
            for name in [&row.name, &row.profile.email].into_iter().filter(|name| !name.is_empty()) {
                let found = self.names.get(&name_key(name));
                ensure(found == Some(acct), "accounts", row.root, || {
                    format!("{name:?} leads to {found:?}, not {acct}")
                })?;
            }
        }
        Ok(())
    }

    fn owners_reach_what_they_own(&self) -> Result<(), Violation> {
        for ((acct, nsid), reach) in &self.reach {
            let owner = self.directory.get(nsid).map(|row| row.owner);
            let is_owner = reach.role == MemberRole::Owner;
            ensure((owner == Some(*acct)) == is_owner, "reach", *nsid, || {
                format!("{acct} reaches it as {:?}, and {owner:?} owns it", reach.role)
            })?;
        }
        Ok(())
    }

    fn flows_hold_what_they_work_on(&self) -> Result<(), Violation> {
        for (flow, info) in &self.flows {
            for (acct, nsid) in info.holds() {
                let row = self.flows_of.get(&(acct, nsid)).copied().unwrap_or_default();
                let is_held = match info.state {
                    FlowState::Open => row.open == *flow,
                    FlowState::Waiting => row.waiting == *flow,
                    FlowState::Done | FlowState::Failed => false,
                };
                ensure(is_held, "flows", nsid, || format!("flow {flow} does not hold it for {acct}: {row:?}"))?;
            }
        }
        for ((acct, nsid), row) in &self.flows_of {
            let is_known = |flow: u64| self.flows.contains_key(&flow);
            let is_right = is_known(row.open) && (row.waiting == 0 || is_known(row.waiting));
            ensure(is_right, "flows", *nsid, || format!("{row:?} of {acct} names a flow that is not open"))?;
        }
        Ok(())
    }
}
