//! Making tokens: an access token is signed here, its refresh token is a row of group 0.

use std::path::Path;

use base::{Acct, Nsid};
use meta::{AccountKey, Answer, Command, Group0Answer, Group0Command, Group0Query, Outcome, Profile, Query, TokenPut};
use stone::keys::SecretError;
use stone::stamp::now_ms;
use stone::token::{ACCESS_TOKEN_S, AccessToken, digest, draw};
use stone::{ApiError, Keys, Metaserver, Secret};

use crate::cluster::Cluster;

/// Tokens that were made for an account.
#[derive(Clone, Debug)]
pub struct Granted {
    /// For calls.
    pub access: String,
    /// For more of those; `None` unless it was asked for.
    pub refresh: Option<String>,
    /// Seconds that the access token lives; `None` is for ever.
    pub expires_in: Option<u64>,
}

/// For whom and what tokens are made.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Whose.
    pub acct: Acct,
    /// Through which app; 0 is none.
    pub app: u64,
    /// What they may.
    pub scopes: u64,
    /// With a refresh token.
    pub is_offline: bool,
    /// The access token never ends by itself.
    pub is_for_ever: bool,
    /// SHA-256 of the code that gave them; zeros for none.
    pub code: [u8; 32],
}

/// Why the operator got no tokens.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// There is no secret to sign with.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The cluster did not make them.
    #[error("could not make tokens for account {acct}: {why}")]
    Refused {
        /// Whose.
        acct: Acct,
        /// The cluster's words.
        why: String,
    },
    /// The process cannot have a runtime.
    #[error("could not start: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Makes tokens for an account, without a code: for the operator's command line and for `dropstone dev`. Blocks.
///
/// Errors: [`GrantError`]: no secret, no such account, or no cluster.
pub fn grant(
    targets: &[String],
    secret_file: &Path,
    acct: Acct,
    scopes: u64,
    is_for_ever: bool,
) -> Result<Granted, GrantError> {
    let keys = Keys::new(&Secret::load(secret_file)?);
    let wish = Wish { acct, app: 0, scopes, is_offline: true, is_for_ever, code: [0; 32] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = Cluster::new(targets.to_vec());
    let made = runtime.block_on(make(&cluster, &keys, &wish));
    made.map_err(|error| {
        let why = match error {
            ApiError::Text(text) | ApiError::Unavailable(text) | ApiError::Internal(text) => text,
            other => format!("{other:?}"),
        };
        GrantError::Refused { acct, why }
    })
}

/// Makes tokens.
///
/// Errors: [`ApiError`]; `invalid_grant` as a text when the code was taken twice.
pub async fn make(meta: &dyn Metaserver, keys: &Keys, wish: &Wish) -> Result<Granted, ApiError> {
    let profile = profile(meta, wish.acct).await?.ok_or(ApiError::Text("no such account".to_owned()))?;
    let access = sign(keys, profile.acct, profile.root, profile.token_gen, wish)?;
    let refresh = match wish.is_offline {
        true => Some(draw().map_err(|error| ApiError::Internal(error.to_string()))?),
        false => None,
    };
    if let Some(refresh) = &refresh {
        let put = TokenPut {
            token: digest(refresh),
            acct: wish.acct,
            app: wish.app,
            scopes: wish.scopes,
            expires_ms: 0,
            code: wish.code,
            access: digest(&access),
        };
        let command = Command::Group0(Box::new(Group0Command::TokenPut(put)));
        match meta.command(Acct(0), Nsid(0), command).await? {
            Outcome::Done => {}
            Outcome::NoAccess | Outcome::NotFound => return Err(ApiError::Text("invalid_grant".to_owned())),
            other => return Err(ApiError::unexpected(&other)),
        }
    }
    Ok(Granted { access, refresh, expires_in: (!wish.is_for_ever).then_some(ACCESS_TOKEN_S) })
}

/// Signs an access token. Errors: the system has no random bytes.
pub fn sign(keys: &Keys, acct: Acct, root: Nsid, token_gen: u32, wish: &Wish) -> Result<String, ApiError> {
    let mut serial = [0; 4];
    getrandom::fill(&mut serial).map_err(|error| ApiError::Internal(error.to_string()))?;
    let expires_s = if wish.is_for_ever { 0 } else { now_ms() / 1000 + ACCESS_TOKEN_S };
    let expires_s = u32::try_from(expires_s).unwrap_or(u32::MAX);
    let (serial, scopes, app) = (u32::from_le_bytes(serial), wish.scopes, wish.app);
    Ok(AccessToken { serial, acct, root, token_gen, expires_s, scopes, app }.text(keys))
}

/// All that is known of an account, as the system sees it.
///
/// Errors: those of the cluster.
pub async fn profile(meta: &dyn Metaserver, acct: Acct) -> Result<Option<Profile>, ApiError> {
    let query = Query::Group0(Group0Query::Profile(AccountKey::Acct(acct)));
    match meta.query(Acct(0), Nsid(0), query).await? {
        Answer::Group0(Group0Answer::Profile(profile)) => Ok(Some(*profile)),
        Answer::NotFound | Answer::NoAccess => Ok(None),
        other => Err(ApiError::unexpected(&other)),
    }
}
