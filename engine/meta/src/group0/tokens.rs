//! Apps, the codes that accounts give them, and the tokens they get for these.

use base::Acct;

use super::apply::{next_number, tidy};
use super::record::{CodeRow, CodeState};
use super::{AppInfo, CodePut, CodeTake, TokenInfo, TokenPut, TokenRevoke, accounts, keys};
use crate::keys::{account, table};
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::{AccountRow, RowValue, STATE_ACTIVE};
use crate::store::{Cold, Store};
use crate::tree::Halt;

/// A code is good for so long.
pub(crate) const CODE_MS: u64 = 10 * 60 * 1000;
/// An access token is good for so long.
pub(crate) const ACCESS_TOKEN_MS: u64 = 4 * 60 * 60 * 1000;
/// Bytes of a client id, of an app's name and of a redirect URI, and how many of those an app has.
const CLIENT_ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 255;
const REDIRECT_BYTES_MAX: usize = 2048;
const REDIRECTS_MAX: usize = 16;

pub(crate) fn put_app<S: Store>(txn: &mut Txn<'_, S>, client_id: &str, info: &AppInfo) -> Result<Outcome, Halt> {
    let is_good = (1..=CLIENT_ID_BYTES_MAX).contains(&client_id.len())
        && info.name.len() <= NAME_BYTES_MAX
        && info.redirects.len() <= REDIRECTS_MAX
        && info.redirects.iter().all(|redirect| redirect.len() <= REDIRECT_BYTES_MAX);
    if !is_good {
        return Ok(Outcome::Malformed);
    }
    let key = keys::app(client_id);
    let app = match txn.row::<AppInfo>(&key)? {
        Some(before) => before.app,
        None => next_number(txn, "app")?,
    };
    txn.put(key, &AppInfo { app, ..info.clone() });
    Ok(Outcome::Made { id: app })
}

/// A token of an account that is active and has not voided all its tokens since.
pub(crate) fn is_good<R: Source>(source: &mut R, token: &TokenInfo, now_ms: u64) -> Result<bool, Cold> {
    if token.is_over(now_ms) {
        return Ok(false);
    }
    let row: Option<AccountRow> = source.row(&account(token.acct))?;
    Ok(row.is_some_and(|row| row.state == STATE_ACTIVE && row.token_gen == token.token_gen))
}

fn tidy_tokens<S: Store>(txn: &mut Txn<'_, S>) -> Result<(), Cold> {
    tidy(txn, table::TOKEN, |txn, key, value| {
        if keys::is_generation(key) {
            return Ok(false);
        }
        let token = TokenInfo::decode(value);
        // Who is suspended may come back; a revoked token matters until it ends by itself.
        let row: Option<AccountRow> = txn.row(&account(token.acct))?;
        let is_void = row.is_none_or(|row| row.token_gen != token.token_gen);
        Ok(token.is_over(txn.stamp_ms) || (is_void && key[1] == keys::REFRESH))
    })
}

pub(crate) fn put_token<S: Store>(txn: &mut Txn<'_, S>, put: &TokenPut) -> Result<Outcome, Halt> {
    tidy_tokens(txn)?;
    let Some(row) = accounts::active(txn, put.acct)? else { return Ok(Outcome::NotFound) };
    if put.token == [0; 32] {
        return Ok(Outcome::Malformed);
    }
    if put.code != [0; 32] {
        let key = keys::code(&put.code);
        let Some(mut code) = txn.row::<CodeRow>(&key)? else { return Ok(Outcome::NoAccess) };
        let is_its = (code.info.acct, code.info.app) == (put.acct, put.app) && put.scopes & !code.info.scopes == 0;
        let is_first = code.refresh == [0; 32] || code.refresh == put.token;
        if code.state != CodeState::Taken || !is_its || !is_first {
            return Ok(Outcome::NoAccess);
        }
        (code.refresh, code.access) = (put.token, put.access);
        txn.put(key, &code);
    }
    let token = TokenInfo {
        token_gen: row.token_gen,
        acct: put.acct,
        app: put.app,
        scopes: put.scopes,
        expires_ms: put.expires_ms,
        created_ms: txn.stamp_ms,
    };
    txn.put(keys::token(keys::REFRESH, &put.token), &token);
    Ok(Outcome::Done)
}

pub(crate) fn revoke<S: Store>(txn: &mut Txn<'_, S>, revoke: TokenRevoke) -> Result<Outcome, Halt> {
    tidy_tokens(txn)?;
    match revoke {
        TokenRevoke::Refresh(token) => {
            let key = keys::token(keys::REFRESH, &token);
            if !txn.has(&key)? {
                return Ok(Outcome::NotFound);
            }
            txn.delete(key);
        }
        TokenRevoke::Access { token, acct, expires_ms } => void_access(txn, &token, acct, 0, expires_ms)?,
        TokenRevoke::Account(acct) => {
            let Some(mut row) = txn.row::<AccountRow>(&account(acct))? else { return Ok(Outcome::NotFound) };
            accounts::void_tokens(txn, acct, &mut row);
            txn.put(account(acct), &row);
        }
    }
    Ok(Outcome::Done)
}

/// Servers hear of it with the list of what was revoked, until it ends by itself.
fn void_access<S: Store>(
    txn: &mut Txn<'_, S>,
    token: &[u8; 32],
    acct: Acct,
    app: u64,
    expires_ms: u64,
) -> Result<(), Cold> {
    let key = keys::token(keys::REVOKED, token);
    if !txn.has(&key)? {
        let row = TokenInfo { acct, app, expires_ms, created_ms: txn.stamp_ms, ..TokenInfo::default() };
        txn.put(key, &row);
    }
    Ok(())
}

pub(crate) fn put_code<S: Store>(txn: &mut Txn<'_, S>, put: &CodePut) -> Result<Outcome, Halt> {
    tidy(txn, table::CODE, |txn, _, value| {
        // What it gave may be voided for as long as the access token lives.
        let code = CodeRow::decode(value);
        let keep_ms = if code.state == CodeState::Fresh { 0 } else { ACCESS_TOKEN_MS };
        Ok(code.expires_ms.saturating_add(keep_ms) <= txn.stamp_ms)
    })?;
    if accounts::active(txn, put.info.acct)?.is_none() {
        return Ok(Outcome::NotFound);
    }
    if put.redirect.len() > REDIRECT_BYTES_MAX {
        return Ok(Outcome::Malformed);
    }
    let key = keys::code(&put.code);
    if txn.has(&key)? {
        return Ok(Outcome::Exists { id: put.info.acct.0 });
    }
    let row = CodeRow {
        state: CodeState::Fresh,
        info: put.info.clone(),
        challenge: put.challenge,
        expires_ms: txn.stamp_ms + CODE_MS,
        refresh: [0; 32],
        access: [0; 32],
        redirect: put.redirect.clone(),
    };
    txn.put(key, &row);
    Ok(Outcome::Done)
}

/// Succeeds once. Taken again it gives nothing, and what it gave is void: somebody else has it.
pub(crate) fn take_code<S: Store>(txn: &mut Txn<'_, S>, take: &CodeTake) -> Result<Outcome, Halt> {
    let key = keys::code(&take.code);
    let Some(mut row) = txn.row::<CodeRow>(&key)? else { return Ok(Outcome::NotFound) };
    let is_its = (take.app, &take.redirect, take.challenge) == (row.info.app, &row.redirect, row.challenge);
    if !is_its {
        return Ok(Outcome::NoAccess);
    }
    if row.state != CodeState::Fresh {
        if row.refresh != [0; 32] {
            txn.delete(keys::token(keys::REFRESH, &row.refresh));
        }
        if row.access != [0; 32] {
            let expires_ms = txn.stamp_ms + ACCESS_TOKEN_MS;
            void_access(txn, &row.access, row.info.acct, row.info.app, expires_ms)?;
        }
        row.state = CodeState::Burnt;
        txn.put(key, &row);
        return Ok(Outcome::NotFound);
    }
    if row.expires_ms <= txn.stamp_ms {
        return Ok(Outcome::NotFound);
    }
    row.state = CodeState::Taken;
    txn.put(key, &row);
    Ok(Outcome::Code(Box::new(row.info)))
}
