//! Group 0 in the plainest way: maps, sums that are recounted, flows that are looked for.

use std::collections::BTreeMap;

use base::names::{name_key, normalize_name};
use base::{Acct, Nsid};
use meta::*;

const MINUTE_MS: u64 = 60 * 1000;
const ACTIVE: u8 = 1;
const BUILDING: u8 = 2;
const SUSPENDED: u8 = 3;
const DEAD: u8 = 4;

/// What is known of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    pub kind: NamespaceKind,
    pub state: u8,
    pub owner: Acct,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Code {
    put: CodePut,
    is_taken: bool,
    is_burnt: bool,
    expires_ms: u64,
    refresh: [u8; 32],
    access: [u8; 32],
}

/// What group 0 keeps.
#[derive(Clone)]
pub struct Group0 {
    pub now_ms: u64,
    pub accounts: BTreeMap<Acct, Profile>,
    pub directory: BTreeMap<Nsid, Listed>,
    pub grants: BTreeMap<(Acct, Nsid), u64>,
    pub reach: BTreeMap<(Acct, Nsid), ReachInfo>,
    pub apps: BTreeMap<String, AppInfo>,
    pub tokens: BTreeMap<[u8; 32], TokenInfo>,
    /// Access tokens that are void, and until when; none where that depends on whether a row was dropped already.
    pub revoked: BTreeMap<[u8; 32], Option<u64>>,
    pub generations: BTreeMap<Acct, u32>,
    codes: BTreeMap<[u8; 32], Code>,
    pub flows: BTreeMap<u64, FlowInfo>,
    pub alarms: BTreeMap<(String, u64), AlarmInfo>,
    pub settings: BTreeMap<String, String>,
    tickets: BTreeMap<[u8; 32], TicketInfo>,
    pub servers: BTreeMap<u64, ServerInfo>,
    pub nodes: BTreeMap<u64, NodeInfo>,
    next_acct: u64,
    next_nsid: u64,
    next_app: u64,
}

type Judged = Result<Outcome, Outcome>;

impl Group0 {
    pub fn new() -> Group0 {
        Group0 {
            now_ms: 0,
            accounts: BTreeMap::new(),
            directory: BTreeMap::new(),
            grants: BTreeMap::new(),
            reach: BTreeMap::new(),
            apps: BTreeMap::new(),
            tokens: BTreeMap::new(),
            revoked: BTreeMap::new(),
            generations: BTreeMap::new(),
            codes: BTreeMap::new(),
            flows: BTreeMap::new(),
            alarms: BTreeMap::new(),
            settings: BTreeMap::new(),
            tickets: BTreeMap::new(),
            servers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_acct: 1,
            next_nsid: 10_000_000_000,
            next_app: 1,
        }
    }

    /// Runs a command of `acct`. `told`: what the machine came to, where a row may have been dropped already or not.
    pub fn run(&mut self, acct: Acct, command: &Command, told: &Outcome) -> Outcome {
        if acct != Acct(0) {
            return Outcome::NoAccess;
        }
        let before = self.clone();
        let judged = match command {
            Command::AccountPut { name } => self.account_put(name),
            Command::ServerPut(put) => self.server_put(put),
            Command::NodePut(put) => self.node_put(put),
            Command::Group0(command) => self.run_one(command, told),
            other => panic!("the model does not know {other:?}"),
        };
        judged.unwrap_or_else(|refused| {
            *self = before;
            refused
        })
    }

    fn run_one(&mut self, command: &Group0Command, told: &Outcome) -> Judged {
        match command {
            Group0Command::AppPut { client_id, info } => {
                if client_id.is_empty() {
                    return Err(Outcome::Malformed);
                }
                let known = self.apps.get(client_id).map(|known| known.app);
                let app = known.unwrap_or(self.next_app);
                self.next_app += u64::from(known.is_none());
                self.apps.insert(client_id.clone(), AppInfo { app, ..info.clone() });
                Ok(Outcome::Made { id: app })
            }
            Group0Command::AccountSet(set) => self.account_set(set),
            Group0Command::TokenPut(put) => self.token_put(put),
            Group0Command::TokenRevoke(revoke) => self.token_revoke(*revoke, told),
            Group0Command::CodePut(put) => self.code_put(put),
            Group0Command::CodeTake(take) => self.code_take(take),
            Group0Command::GrantReserve(change) if change.bytes < change.before => Err(Outcome::Malformed),
            Group0Command::GrantRelease(change) if change.bytes > change.before => Err(Outcome::Malformed),
            Group0Command::GrantReserve(change) | Group0Command::GrantRelease(change) => {
                let now = self.grant(change.acct, change.nsid);
                if now != change.bytes {
                    if now != change.before {
                        return Err(Outcome::RevMismatch);
                    }
                    // What is being made is not there yet, and what ends is as good as gone.
                    let state = self.accounts.get(&change.acct).map(|profile| profile.state);
                    if state == Some(BUILDING) || state == Some(DEAD) {
                        return Err(Outcome::NotFound);
                    }
                    self.set_grant(change.acct, change.nsid, change.bytes)?;
                }
                Ok(Outcome::Done)
            }
            // There is one level.
            Group0Command::FeatureRaise { level: 0 } => Err(Outcome::Exists { id: 1 }),
            Group0Command::FeatureRaise { .. } => Ok(Outcome::Done),
            Group0Command::AlarmRaise(alarm) => {
                let key = (alarm.name.clone(), alarm.node.0);
                let raised_ms = self.alarms.get(&key).map_or(self.now_ms, |known| known.raised_ms);
                self.alarms.insert(key, AlarmInfo { raised_ms, ..alarm.clone() });
                Ok(Outcome::Done)
            }
            Group0Command::AlarmClear(alarm) => {
                let was = self.alarms.remove(&(alarm.name.clone(), alarm.node.0));
                was.map(|_| Outcome::Done).ok_or(Outcome::NotFound)
            }
            Group0Command::SettingPut { name, value } => {
                match value.is_empty() {
                    true => drop(self.settings.remove(name)),
                    false => drop(self.settings.insert(name.clone(), value.clone())),
                }
                Ok(Outcome::Done)
            }
            Group0Command::TicketPut(put) => {
                let expires_ms = self.now_ms + 60 * MINUTE_MS;
                self.tickets.insert(put.ticket, TicketInfo { expires_ms, ..put.info.clone() });
                Ok(Outcome::Done)
            }
            Group0Command::TicketTake { ticket } => match self.tickets.get(ticket).cloned() {
                Some(info) if info.expires_ms > self.now_ms => {
                    self.tickets.remove(ticket);
                    Ok(Outcome::Ticket(Box::new(info)))
                }
                _ => Err(Outcome::NotFound),
            },
            Group0Command::FlowStart(plan) => self.flow_start(plan),
            Group0Command::FlowStep(step) => self.flow_step(*step),
        }
    }

    // ---- accounts ----

    fn called(&self, name: &str) -> Option<Acct> {
        let key = name_key(name);
        let is_its = |profile: &Profile| {
            name_key(&profile.name) == key || (!profile.email.is_empty() && name_key(&profile.email) == key)
        };
        self.accounts.values().find(|profile| is_its(profile)).map(|profile| profile.acct)
    }

    fn new_account(&mut self, name: &str, allocated: u64, state: u8) -> (Acct, Nsid) {
        let (acct, root) = (Acct(self.next_acct), Nsid(self.next_nsid));
        (self.next_acct, self.next_nsid) = (acct.0 + 1, root.0 + 1);
        let (name, created_ms) = (name.to_owned(), self.now_ms);
        let profile = Profile { acct, root, state, allocated, created_ms, name, ..Profile::default() };
        self.accounts.insert(acct, profile);
        self.directory.insert(root, Listed { kind: NamespaceKind::Root, state, owner: acct });
        (acct, root)
    }

    fn account_put(&mut self, name: &str) -> Judged {
        let name = normalize_name(name).map_err(|_| Outcome::Malformed)?;
        let (acct, root) = match self.called(&name) {
            Some(acct) => (acct, self.accounts[&acct].root),
            None => self.new_account(&name, 0, ACTIVE),
        };
        Ok(Outcome::Account { acct, root })
    }

    fn account_set(&mut self, set: &AccountSet) -> Judged {
        let granted = self.granted(set.acct);
        let owner = set.email.as_ref().filter(|email| !email.is_empty()).and_then(|email| self.called(email));
        let profile = self.accounts.get_mut(&set.acct).ok_or(Outcome::NotFound)?;
        if let Some(allocated) = set.allocated {
            if allocated != 0 && allocated < granted {
                return Err(Outcome::Quota { short_bytes: granted - allocated });
            }
            profile.allocated = allocated;
        }
        if let Some((given, surname)) = &set.names {
            (profile.given, profile.surname) = (given.clone(), surname.clone());
        }
        if let Some(email) = &set.email {
            if !email.is_empty() && email.matches('@').count() != 1 {
                return Err(Outcome::Malformed);
            }
            if let Some(other) = owner.filter(|owner| *owner != set.acct) {
                return Err(Outcome::Exists { id: other.0 });
            }
            profile.email.clone_from(email);
        }
        if let Some(password) = &set.password {
            profile.password = password.clone();
        }
        profile.plan = set.plan.unwrap_or(profile.plan);
        let is_suspended_now = set.is_suspended == Some(true) && profile.state == ACTIVE;
        match set.is_suspended {
            Some(true) if is_suspended_now => profile.state = SUSPENDED,
            Some(false) if profile.state == SUSPENDED => profile.state = ACTIVE,
            _ => {}
        }
        if is_suspended_now {
            self.void_tokens(set.acct);
        }
        Ok(Outcome::Done)
    }

    fn is_active(&self, acct: Acct) -> bool {
        self.accounts.get(&acct).is_some_and(|profile| profile.state == ACTIVE)
    }

    fn server_put(&mut self, put: &ServerPut) -> Judged {
        let ServerPut { server, role, ref address } = *put;
        let info = ServerInfo { server, role, last_seen_ms: self.now_ms, address: address.clone() };
        self.servers.insert(server, info);
        Ok(Outcome::Done)
    }

    fn node_put(&mut self, put: &NodePut) -> Judged {
        let known = self.nodes.get(&put.node.0);
        if known.is_some_and(|known| known.uuid != put.uuid) {
            return Err(Outcome::Exists { id: put.node.0 });
        }
        let info = NodeInfo {
            node: put.node,
            uuid: put.uuid,
            is_removed: put.is_removed || known.is_some_and(|known| known.is_removed),
            peer_address: put.peer_address.clone(),
            client_address: put.client_address.clone(),
        };
        self.nodes.insert(put.node.0, info);
        Ok(Outcome::Done)
    }

    // ---- grants ----

    pub fn grant(&self, acct: Acct, nsid: Nsid) -> u64 {
        self.grants.get(&(acct, nsid)).copied().unwrap_or(0)
    }

    pub fn granted(&self, acct: Acct) -> u64 {
        self.grants.iter().filter(|((of, _), _)| *of == acct).map(|(_, bytes)| bytes).sum()
    }

    fn set_grant(&mut self, acct: Acct, nsid: Nsid, bytes: u64) -> Result<(), Outcome> {
        let (before, granted) = (self.grant(acct, nsid), self.granted(acct));
        let allocated = self.accounts.get(&acct).ok_or(Outcome::NotFound)?.allocated;
        let sum = granted - before + bytes;
        if bytes > before && allocated != 0 && sum > allocated {
            return Err(Outcome::Quota { short_bytes: sum - allocated });
        }
        self.grants.remove(&(acct, nsid));
        if bytes > 0 {
            self.grants.insert((acct, nsid), bytes);
        }
        Ok(())
    }

    // ---- tokens and codes ----

    fn void_tokens(&mut self, acct: Acct) {
        let profile = self.accounts.get_mut(&acct).expect("it was just there");
        profile.token_gen += 1;
        self.generations.insert(acct, profile.token_gen);
    }

    /// What a refresh token is good for now.
    pub fn good_token(&self, token: &[u8; 32]) -> Option<&TokenInfo> {
        let info = self.tokens.get(token)?;
        let is_over = info.expires_ms != 0 && info.expires_ms <= self.now_ms;
        let profile = self.accounts.get(&info.acct)?;
        (!is_over && profile.state == ACTIVE && profile.token_gen == info.token_gen).then_some(info)
    }

    fn token_put(&mut self, put: &TokenPut) -> Judged {
        if !self.is_active(put.acct) {
            return Err(Outcome::NotFound);
        }
        if put.code != [0; 32] {
            let code = self.codes.get_mut(&put.code).ok_or(Outcome::NoAccess)?;
            let info = &code.put.info;
            let is_its = (info.acct, info.app) == (put.acct, put.app) && put.scopes | info.scopes == info.scopes;
            let is_first = code.refresh == [0; 32] || code.refresh == put.token;
            if !code.is_taken || code.is_burnt || !is_its || !is_first {
                return Err(Outcome::NoAccess);
            }
            (code.refresh, code.access) = (put.token, put.access);
        }
        let TokenPut { token, acct, app, scopes, expires_ms, .. } = *put;
        let token_gen = self.accounts[&acct].token_gen;
        let info = TokenInfo { token_gen, acct, app, scopes, expires_ms, created_ms: self.now_ms };
        self.tokens.insert(token, info);
        Ok(Outcome::Done)
    }

    fn token_revoke(&mut self, revoke: TokenRevoke, told: &Outcome) -> Judged {
        match revoke {
            TokenRevoke::Refresh(token) => {
                let is_good = self.good_token(&token).is_some();
                match self.tokens.remove(&token) {
                    None => return Err(Outcome::NotFound),
                    // What is void may be dropped already.
                    Some(_) if !is_good && *told == Outcome::NotFound => return Ok(Outcome::NotFound),
                    Some(_) => {}
                }
            }
            TokenRevoke::Access { token, expires_ms, .. } => self.void_access(token, expires_ms),
            TokenRevoke::Account(acct) => {
                if !self.accounts.contains_key(&acct) {
                    return Err(Outcome::NotFound);
                }
                self.void_tokens(acct);
            }
        }
        Ok(Outcome::Done)
    }

    fn void_access(&mut self, token: [u8; 32], expires_ms: u64) {
        let now_ms = self.now_ms;
        let is_over = |expires_ms: u64| expires_ms != 0 && expires_ms <= now_ms;
        let known = self.revoked.entry(token).or_insert(Some(expires_ms));
        if known.is_some_and(is_over) {
            *known = None;
        }
    }

    fn code_put(&mut self, put: &CodePut) -> Judged {
        // There are so few that all of them are looked at; what they gave may be voided for four hours more.
        let now_ms = self.now_ms;
        let keep = |code: &Code| code.expires_ms + if code.is_taken { 240 * MINUTE_MS } else { 0 };
        self.codes.retain(|_, code| keep(code) > now_ms);
        if !self.is_active(put.info.acct) {
            return Ok(Outcome::NotFound);
        }
        if self.codes.contains_key(&put.code) {
            return Ok(Outcome::Exists { id: put.info.acct.0 });
        }
        let (refresh, access) = ([0; 32], [0; 32]);
        let expires_ms = now_ms + 10 * MINUTE_MS;
        let code = Code { put: put.clone(), is_taken: false, is_burnt: false, expires_ms, refresh, access };
        self.codes.insert(put.code, code);
        Ok(Outcome::Done)
    }

    fn code_take(&mut self, take: &CodeTake) -> Judged {
        let code = self.codes.get_mut(&take.code).ok_or(Outcome::NotFound)?;
        let CodePut { info, challenge, redirect, .. } = code.put.clone();
        if (take.app, take.challenge, &take.redirect) != (info.app, challenge, &redirect) {
            return Err(Outcome::NoAccess);
        }
        if code.is_taken {
            code.is_burnt = true;
            let (refresh, access) = (code.refresh, code.access);
            self.tokens.remove(&refresh);
            if access != [0; 32] {
                self.void_access(access, self.now_ms + 240 * MINUTE_MS);
            }
            return Ok(Outcome::NotFound);
        }
        if code.expires_ms <= self.now_ms {
            return Err(Outcome::NotFound);
        }
        code.is_taken = true;
        Ok(Outcome::Code(Box::new(info)))
    }

    // ---- flows ----

    /// The flow that is open, or waits, for an account and namespace.
    fn flow_of(&self, acct: Acct, nsid: Nsid, state: FlowState) -> Option<&FlowInfo> {
        let holds = |info: &FlowInfo| match info.plan {
            FlowPlan::Transfer { nsid: of, from, to } => of == nsid && [from, to].contains(&acct),
            FlowPlan::MoveAcross { .. } => false,
            _ => (info.acct, info.nsid) == (acct, nsid),
        };
        self.flows.values().find(|info| info.state == state && holds(info))
    }

    fn flow_start(&mut self, plan: &FlowPlan) -> Judged {
        let flow = self.flows.len() as u64 + 1;
        let mut info = FlowInfo {
            flow,
            state: FlowState::Open,
            step: 1,
            code: 0,
            touched_ms: self.now_ms,
            acct: Acct(0),
            nsid: Nsid(0),
            root: Nsid(0),
            since_ms: 0,
            bytes: 0,
            role: MemberRole::Viewer,
            plan: plan.clone(),
        };
        match *plan {
            FlowPlan::Account { ref name, allocated, grant_bytes } => {
                let name = normalize_name(name).map_err(|_| Outcome::Malformed)?;
                if let Some(acct) = self.called(&name) {
                    return Err(Outcome::Exists { id: acct.0 });
                }
                (info.acct, info.root) = self.new_account(&name, allocated, BUILDING);
                (info.nsid, info.bytes) = (info.root, grant_bytes);
                self.set_grant(info.acct, info.root, grant_bytes)?;
            }
            FlowPlan::Share { owner, grant_bytes, .. } => {
                if !self.is_active(owner) {
                    return Err(Outcome::NotFound);
                }
                let nsid = Nsid(self.next_nsid);
                self.next_nsid += 1;
                (info.acct, info.root, info.nsid) = (owner, self.accounts[&owner].root, nsid);
                (info.bytes, info.role) = (grant_bytes, MemberRole::Owner);
                self.directory.insert(nsid, Listed { kind: NamespaceKind::Shared, state: BUILDING, owner });
                self.set_grant(owner, nsid, grant_bytes)?;
            }
            FlowPlan::MoveAcross { acct, from, to, .. } => {
                if from == to {
                    return Err(Outcome::Malformed);
                }
                if !self.is_active(acct) {
                    return Err(Outcome::NotFound);
                }
                for nsid in [from, to] {
                    let listed = self.directory.get(&nsid).filter(|listed| listed.state == ACTIVE);
                    let owner = listed.ok_or(Outcome::NotFound)?.owner;
                    let reach = self.reach.get(&(acct, nsid));
                    let is_invited = reach.is_none_or(|reach| reach.state == ReachState::Invited);
                    let is_reader = reach.is_none_or(|reach| reach.role == MemberRole::Viewer);
                    if owner != acct && (is_invited || is_reader) {
                        return Err(Outcome::NoAccess);
                    }
                }
                (info.acct, info.root, info.nsid) = (acct, from, to);
            }
            FlowPlan::AccountEnd { acct } => {
                let (state, root) = self.accounts.get(&acct).map(|it| (it.state, it.root)).ok_or(Outcome::NotFound)?;
                (info.acct, info.root, info.nsid) = (acct, root, root);
                let is_at_work = |flow: &FlowInfo| match flow.plan {
                    _ if flow.state != FlowState::Open => false,
                    FlowPlan::Transfer { from, to, .. } => [from, to].contains(&acct),
                    FlowPlan::MoveAcross { .. } => false,
                    _ => flow.acct == acct,
                };
                if state == BUILDING || self.flows.values().any(is_at_work) {
                    return Err(Outcome::Busy { retry_ms: 1000 });
                }
                if let Some((_, nsid)) = self.reach.keys().find(|(of, _)| *of == acct) {
                    return Err(Outcome::Exists { id: nsid.0 });
                }
                if let Some((_, nsid)) = self.grants.keys().find(|(of, nsid)| *of == acct && *nsid != root) {
                    return Err(Outcome::Exists { id: nsid.0 });
                }
                self.accounts.get_mut(&acct).expect("it was just there").state = DEAD;
                self.void_tokens(acct);
            }
            FlowPlan::AddMember { nsid, acct, .. }
            | FlowPlan::Mount { nsid, acct, .. }
            | FlowPlan::Unmount { nsid, acct }
            | FlowPlan::RemoveMember { nsid, acct }
            | FlowPlan::Transfer { nsid, from: acct, .. }
            | FlowPlan::Grant { nsid, acct, .. } => {
                (info.nsid, info.acct) = (nsid, acct);
                info.root = self.accounts.get(&acct).ok_or(Outcome::NotFound)?.root;
                let heir = if let FlowPlan::Transfer { to, .. } = *plan { to } else { acct };
                for of in [acct, heir] {
                    let Some(open) = self.flow_of(of, nsid, FlowState::Open).cloned() else { continue };
                    if !matches!(plan, FlowPlan::RemoveMember { .. }) {
                        return Err(Outcome::Busy { retry_ms: 1000 });
                    }
                    // It comes next; what removes already, or waits to, is told.
                    if matches!(open.plan, FlowPlan::RemoveMember { .. }) {
                        return Ok(Outcome::Flow(Box::new(open)));
                    }
                    if let Some(waiting) = self.flow_of(acct, nsid, FlowState::Waiting) {
                        return Ok(Outcome::Flow(Box::new(waiting.clone())));
                    }
                    info.state = FlowState::Waiting;
                    self.flows.insert(flow, info.clone());
                    return Ok(Outcome::Flow(Box::new(info)));
                }
                self.begin_here(&mut info)?;
            }
        }
        self.flows.insert(flow, info.clone());
        Ok(Outcome::Flow(Box::new(info)))
    }

    fn begin_here(&mut self, info: &mut FlowInfo) -> Result<(), Outcome> {
        let (nsid, acct) = (info.nsid, info.acct);
        let listed = self.directory.get(&nsid).copied().filter(|listed| listed.state == ACTIVE);
        let listed = listed.ok_or(Outcome::NotFound)?;
        let is_grant = matches!(info.plan, FlowPlan::Grant { .. });
        if !is_grant && listed.kind != NamespaceKind::Shared {
            return Err(Outcome::NotFound);
        }
        let reach = self.reach.get(&(acct, nsid)).copied();
        match info.plan {
            FlowPlan::AddMember { role, .. } => {
                if listed.owner == acct {
                    return Err(Outcome::Exists { id: acct.0 });
                }
                if role == MemberRole::Owner {
                    return Err(Outcome::Malformed);
                }
                if !self.is_active(acct) {
                    return Err(Outcome::NotFound);
                }
                info.role = role;
            }
            FlowPlan::RemoveMember { .. } if listed.owner == acct => return Err(Outcome::Malformed),
            FlowPlan::Mount { .. } | FlowPlan::Unmount { .. } | FlowPlan::RemoveMember { .. } => {
                info.role = reach.ok_or(Outcome::NotFound)?.role;
            }
            FlowPlan::Transfer { from, to, .. } => {
                let is_in = self.reach.get(&(to, nsid)).is_some_and(|reach| reach.state != ReachState::Invited);
                if listed.owner != from || from == to || !is_in || !self.is_active(to) {
                    return Err(Outcome::NotFound);
                }
                (info.role, info.bytes) = (MemberRole::Owner, self.grant(from, nsid));
                self.set_grant(to, nsid, info.bytes)?;
            }
            FlowPlan::Grant { is_raise, bytes, .. } => {
                if listed.owner != acct {
                    return Err(Outcome::NotFound);
                }
                (info.role, info.bytes) = (MemberRole::Owner, bytes);
                let before = self.grant(acct, nsid);
                if is_raise {
                    self.set_grant(acct, nsid, before + bytes)?;
                } else if bytes > before {
                    return Err(Outcome::RevMismatch);
                }
            }
            FlowPlan::Account { .. }
            | FlowPlan::Share { .. }
            | FlowPlan::MoveAcross { .. }
            | FlowPlan::AccountEnd { .. } => unreachable!("they begin elsewhere"),
        }
        Ok(())
    }

    fn flow_step(&mut self, told: FlowStep) -> Judged {
        let mut info = self.flows.get(&told.flow).cloned().ok_or(Outcome::NotFound)?;
        let is_ended = matches!(info.state, FlowState::Done | FlowState::Failed);
        if !is_ended && (info.state == FlowState::Waiting || told.step > info.step) {
            return Err(Outcome::Malformed);
        }
        if is_ended || told.step < info.step {
            return Ok(Outcome::Flow(Box::new(info)));
        }
        info.touched_ms = self.now_ms;
        // Which step freezes, and which take back what was made: after that one was refused, and at most.
        let (freeze, undo, last) = match (&info.plan, info.step) {
            (FlowPlan::Share { .. }, 1) => (3, None, 103),
            (FlowPlan::Share { .. }, _) => (3, Some(101), 103),
            (FlowPlan::MoveAcross { .. }, 5..) => (2, Some(102), 102),
            (FlowPlan::MoveAcross { .. }, _) => (2, Some(101), 102),
            _ => (0, None, 0),
        };
        if info.code != 0 {
            info.step += 1;
            if info.step > last {
                self.give_back(&info)?;
                let code = info.code;
                return Ok(self.end(info, FlowState::Failed, code));
            }
        } else if freeze > 0 && [freeze + 1, freeze + 2].contains(&info.step) && told.code == 18 {
            // It thawed before all of it was copied.
            info.step = freeze;
        } else if let (1.., Some(first)) = (told.code, undo) {
            (info.code, info.step) = (told.code, first);
        } else if told.code != 0 {
            self.give_back(&info)?;
            return Ok(self.end(info, FlowState::Failed, told.code));
        } else if info.step < info.plan.steps() {
            match info.plan {
                FlowPlan::Mount { .. } => {
                    let reach = ReachInfo { role: info.role, state: ReachState::Joined };
                    self.reach.insert((info.acct, info.nsid), reach);
                }
                _ if info.step == freeze => info.since_ms = told.value,
                _ => {}
            }
            info.step += 1;
        } else {
            self.bring_about(&info)?;
            return Ok(self.end(info, FlowState::Done, 0));
        }
        self.flows.insert(info.flow, info.clone());
        Ok(Outcome::Flow(Box::new(info)))
    }

    fn bring_about(&mut self, info: &FlowInfo) -> Result<(), Outcome> {
        let (acct, nsid) = (info.acct, info.nsid);
        let state = self.reach.get(&(acct, nsid)).map(|reach| reach.state);
        let mut reach = |acct: Acct, role: MemberRole, state: ReachState| {
            self.reach.insert((acct, nsid), ReachInfo { role, state });
        };
        match info.plan {
            FlowPlan::Account { .. } => {
                self.accounts.get_mut(&acct).expect("the flow made it").state = ACTIVE;
                self.directory.get_mut(&nsid).expect("the flow made it").state = ACTIVE;
            }
            FlowPlan::Share { .. } => {
                reach(acct, MemberRole::Owner, ReachState::Mounted);
                self.directory.get_mut(&nsid).expect("the flow made it").state = ACTIVE;
            }
            FlowPlan::AddMember { .. } => reach(acct, info.role, state.unwrap_or(ReachState::Invited)),
            FlowPlan::Mount { .. } => reach(acct, info.role, ReachState::Mounted),
            FlowPlan::Unmount { .. } => {
                let is_invited = state == Some(ReachState::Invited);
                reach(acct, info.role, if is_invited { ReachState::Invited } else { ReachState::Joined });
            }
            FlowPlan::RemoveMember { .. } => drop(self.reach.remove(&(acct, nsid))),
            FlowPlan::MoveAcross { .. } => {}
            FlowPlan::AccountEnd { .. } => {
                self.accounts.remove(&acct);
                self.grants.remove(&(acct, nsid));
                self.directory.get_mut(&nsid).expect("it was the root").state = DEAD;
            }
            FlowPlan::Transfer { from, to, .. } => {
                let heir = self.reach.get(&(to, nsid)).map_or(ReachState::Joined, |reach| reach.state);
                let before = ReachInfo { role: MemberRole::Editor, state: state.unwrap_or(ReachState::Joined) };
                self.reach.insert((from, nsid), before);
                self.reach.insert((to, nsid), ReachInfo { role: MemberRole::Owner, state: heir });
                self.directory.get_mut(&nsid).expect("it is there").owner = to;
                self.set_grant(from, nsid, 0)?;
            }
            FlowPlan::Grant { is_raise: true, .. } => {}
            FlowPlan::Grant { bytes, .. } => {
                self.set_grant(acct, nsid, self.grant(acct, nsid).saturating_sub(bytes))?
            }
        }
        Ok(())
    }

    fn give_back(&mut self, info: &FlowInfo) -> Result<(), Outcome> {
        let (acct, nsid) = (info.acct, info.nsid);
        match info.plan {
            // Nothing of it stays.
            FlowPlan::Account { .. } => {
                self.accounts.remove(&acct);
                self.grants.retain(|(of, _), _| *of != acct);
                self.directory.get_mut(&nsid).expect("the flow made it").state = DEAD;
            }
            FlowPlan::Share { .. } => {
                self.set_grant(acct, nsid, 0)?;
                self.directory.get_mut(&nsid).expect("the flow made it").state = DEAD;
            }
            FlowPlan::AccountEnd { .. } => {
                self.accounts.get_mut(&acct).expect("it is there to the end").state = SUSPENDED;
            }
            FlowPlan::Transfer { to, .. } => self.set_grant(to, nsid, 0)?,
            FlowPlan::Grant { is_raise: true, bytes, .. } => {
                self.set_grant(acct, nsid, self.grant(acct, nsid).saturating_sub(bytes))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, info: FlowInfo, state: FlowState, code: u8) -> Outcome {
        let ended = FlowInfo { state, code, touched_ms: self.now_ms, ..info };
        self.flows.insert(ended.flow, ended.clone());
        let of = match ended.plan {
            FlowPlan::Transfer { from, to, .. } => vec![from, to],
            FlowPlan::MoveAcross { .. } => Vec::new(),
            _ => vec![ended.acct],
        };
        for acct in of {
            let Some(waiting) = self.flow_of(acct, ended.nsid, FlowState::Waiting).cloned() else { continue };
            let next = FlowInfo { state: FlowState::Open, touched_ms: self.now_ms, ..waiting };
            // An owner is not removed.
            let is_owner = self.directory.get(&ended.nsid).is_some_and(|listed| listed.owner == acct);
            match is_owner {
                true => drop(self.end(next, FlowState::Failed, Outcome::Malformed.code())),
                false => drop(self.flows.insert(next.flow, next)),
            }
        }
        Outcome::Flow(Box::new(ended))
    }
}
