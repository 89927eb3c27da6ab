//! `users/*`, `check/*` and `auth/token/revoke`.

use base::{Acct, Nsid};
use meta::{Answer, Command, Group0Answer, Group0Command, Group0Query, Outcome, Profile, Query, TokenRevoke};
use serde_json::{Value, json};
use stone::error::tagged;
use stone::ids::{account_id, parse_account_id};
use stone::{ApiError, Call, Reply};

use crate::state::Shared;
use crate::tokens::profile;

/// What is told as allocated where nothing limits an account: a number that all clients can read.
const UNLIMITED_BYTES: u64 = 1 << 50;
const QUERY_CHARS_MAX: usize = 500;

/// `users/get_current_account`.
pub async fn get_current_account(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let caller = call.user()?;
    let mut account = account(&call, &own_profile(&call).await?);
    let root = caller.root.to_string();
    let more = json!({
        "country": "US",
        "locale": "en",
        "referral_link": format!("{}/r", call.stone.www),
        "is_paired": false,
        // A basic account could not lock its links: clients go by this.
        "account_type": tagged("pro"),
        "root_info": { ".tag": "user", "root_namespace_id": root, "home_namespace_id": root },
    });
    merge(&mut account, more);
    Ok(Reply::from(account))
}

/// `users/get_account`: oneself, and those with whom one shares.
pub async fn get_account(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let no_account = || ApiError::tag("no_account");
    let text = call.arg.text("account_id")?;
    if text.chars().count() != stone::ids::ACCOUNT_ID_CHARS {
        return Err(call.arg.bad("account_id", "must be 40 characters"));
    }
    let acct = parse_account_id(&call.stone.keys, text).ok_or_else(no_account)?;
    if acct != call.acct()? && !shares_with(&call, acct).await? {
        return Err(no_account());
    }
    let profile = profile(&*call.stone.meta, acct).await?.ok_or_else(no_account)?;
    let mut account = account(&call, &profile);
    account["is_teammate"] = false.into();
    Ok(Reply::from(account))
}

async fn own_profile(call: &Call) -> Result<Profile, ApiError> {
    // The token outlived its account.
    profile(&*call.stone.meta, call.acct()?).await?.ok_or(ApiError::Auth("invalid_access_token"))
}

/// They are in one namespace, both of them.
async fn shares_with(call: &Call, other: Acct) -> Result<bool, ApiError> {
    let (acct, mut after) = (call.acct()?, Nsid(0));
    loop {
        let query = Query::Group0(Group0Query::Reach { acct, after, limit: 0 });
        let Answer::Group0(Group0Answer::Reach(reach)) = call.ask(Nsid(0), query).await? else { return Ok(false) };
        let Some((last, _)) = reach.last() else { return Ok(false) };
        after = *last;
        for (nsid, _) in reach {
            // A question with the caller's rights: who is only invited learns of nobody.
            let members = call.ask(nsid, Query::Members { after: Acct(other.0.saturating_sub(1)) }).await?;
            let Answer::Members(members) = members else { continue };
            if members.iter().any(|member| member.acct == other) {
                return Ok(true);
            }
            let directory = call.ask_system(Nsid(0), Query::Group0(Group0Query::Directory(nsid))).await?;
            if matches!(directory, Answer::Group0(Group0Answer::Directory { owner, .. }) if owner == other) {
                return Ok(true);
            }
        }
    }
}

/// The fields that all accounts have.
fn account(call: &Call, profile: &Profile) -> Value {
    let display = display_name(profile);
    let given = if profile.given.is_empty() { &profile.name } else { &profile.given };
    let initials = display.split_whitespace().filter_map(|word| word.chars().next()).take(2);
    json!({
        "account_id": account_id(&call.stone.keys, profile.acct),
        "name": {
            "given_name": given,
            "surname": profile.surname,
            "familiar_name": given,
            "display_name": display,
            "abbreviated_name": initials.flat_map(char::to_uppercase).collect::<String>(),
        },
        "email": profile.email,
        "email_verified": !profile.email.is_empty(),
        "disabled": profile.state != 1,
    })
}

/// The name that people see: given name and surname, else the account's own name.
#[must_use]
pub fn display_name(profile: &Profile) -> String {
    let both = format!("{} {}", profile.given, profile.surname);
    if both.trim().is_empty() { profile.name.clone() } else { both.trim().to_owned() }
}

fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (value, more) {
        fields.extend(more);
    }
}

/// `users/get_space_usage`: what its namespaces hold, its own and those that it shares out.
pub async fn get_space_usage(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let caller = call.user()?;
    let profile = own_profile(&call).await?;
    let (mut owned, mut after) = (vec![caller.root], Nsid(0));
    loop {
        let query = Query::Group0(Group0Query::Grants { acct: caller.acct, after, limit: 0 });
        let Answer::Group0(Group0Answer::Grants(grants)) = call.ask(Nsid(0), query).await? else { break };
        let Some((last, _)) = grants.last() else { break };
        after = *last;
        owned.extend(grants.iter().map(|(nsid, _)| *nsid).filter(|nsid| *nsid != caller.root));
    }
    let (mut used, mut granted) = (0u64, 0u64);
    for nsid in owned {
        if let Answer::SpaceUsage { live_bytes, grant_bytes, .. } = call.ask(nsid, Query::SpaceUsage).await? {
            used = used.saturating_add(live_bytes);
            granted = granted.saturating_add(grant_bytes);
        }
    }
    let allocated = if profile.allocated == 0 { granted } else { profile.allocated };
    let allocation = json!({ ".tag": "individual", "allocated": allocated.min(UNLIMITED_BYTES) });
    Ok(Reply::from(json!({ "used": used, "allocation": allocation })))
}

/// `check/user` and `check/app`: the text comes back.
pub async fn check(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let query = call.arg.opt_text("query")?.unwrap_or_default();
    if query.chars().count() > QUERY_CHARS_MAX {
        return Err(call.arg.bad("query", "must be at most 500 characters"));
    }
    Ok(Reply::from(json!({ "result": query })))
}

/// `auth/token/revoke`: the token of this very call is good no more.
pub async fn revoke(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let caller = call.user()?;
    let (token, acct, expires_ms) = (caller.digest, caller.acct, u64::from(caller.expires_s) * 1000);
    let revoke = Group0Command::TokenRevoke(TokenRevoke::Access { token, acct, expires_ms });
    match call.command_system(Nsid(0), Command::Group0(Box::new(revoke))).await? {
        Outcome::Done => {
            gateway.stone.auth.note_revoked(token);
            Ok(Reply::null())
        }
        other => Err(ApiError::unexpected(&other)),
    }
}
