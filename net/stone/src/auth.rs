//! Who calls: tokens are checked by their proof, and against the list of what was revoked.
//!
//! The list is fetched every 5 s. While the last one is older than 60 s nobody is let in: it is better to serve nobody
//! than somebody who was locked out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base::{Acct, Nsid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::{Answer, AppInfo, Group0Answer, Group0Query, Query};

use crate::error::ApiError;
use crate::form::Form;
use crate::keys::{Keys, same};
use crate::metaserver::{Metaserver, MetaserverError};
use crate::token::{self, AccessToken};

/// The time between two looks at what was revoked.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// After a failed one.
const REFRESH_AGAIN: Duration = Duration::from_millis(250);
/// A list older than this lets nobody in.
const LIST_AGE_MAX: Duration = Duration::from_secs(60);

/// Who calls, by a token that is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The account.
    pub acct: Acct,
    /// Its root namespace.
    pub root: Nsid,
    /// What the token may.
    pub scopes: u64,
    /// Through which app.
    pub app: u64,
    /// By which group 0 knows the token.
    pub digest: [u8; 32],
    /// When it ends, seconds since 1970; 0 is never.
    pub expires_s: u32,
}

/// What a caller shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A token.
    Bearer(String),
    /// An app's key and secret.
    Basic {
        /// Its client id.
        key: String,
        /// Empty for a public one.
        secret: String,
    },
    /// Something else.
    Unreadable,
}

impl Credentials {
    /// From the header, else from `authorization=` in the query.
    #[must_use]
    pub fn read(headers: &HeaderMap, query: &Form) -> Credentials {
        let text = match headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().unwrap_or("?"),
            None => match query.get("authorization") {
                Some(text) => text,
                None => return Credentials::None,
            },
        };
        match text.split_once(' ') {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => Credentials::Bearer(token.trim().to_owned()),
            Some((kind, pair)) if kind.eq_ignore_ascii_case("basic") => basic(pair.trim()),
            _ => Credentials::Unreadable,
        }
    }
}

fn basic(text: &str) -> Credentials {
    let pair = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((key, secret)) => Credentials::Basic { key: key.to_owned(), secret: secret.to_owned() },
        None => Credentials::Unreadable,
    }
}

/// What was revoked, as of some moment.
#[derive(Default)]
struct Revoked {
    as_of: Option<Instant>,
    tokens: HashSet<[u8; 32]>,
    generations: HashMap<Acct, u32>,
    /// Revoked here, a moment ago: a list that was fetched meanwhile may not have them yet.
    own: HashMap<[u8; 32], Instant>,
}

/// Checks tokens and apps.
pub struct Authenticator {
    keys: Arc<Keys>,
    meta: Arc<dyn Metaserver>,
    revoked: RwLock<Revoked>,
    /// Any client id is an app: `dropstone dev`.
    any_app: bool,
}

impl Authenticator {
    /// It lets nobody in before the first [`Authenticator::refresh`].
    #[must_use]
    pub fn new(keys: Arc<Keys>, meta: Arc<dyn Metaserver>, any_app: bool) -> Authenticator {
        Authenticator { keys, meta, revoked: RwLock::default(), any_app }
    }

    /// Keeps the list fresh until it is dropped.
    pub async fn keep_fresh(&self) {
        let mut is_told = false;
        loop {
            let refreshed = self.refresh().await;
            match &refreshed {
                Ok(()) => is_told = false,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "could not fetch what was revoked; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(if refreshed.is_ok() { REFRESH_EVERY } else { REFRESH_AGAIN }).await;
        }
    }

    /// Fetches the list.
    ///
    /// Errors: [`MetaserverError`]; the old list stays.
    pub async fn refresh(&self) -> Result<(), MetaserverError> {
        let began = Instant::now();
        let (mut all, mut revoked, mut after) = (HashSet::new(), HashMap::new(), Vec::new());
        loop {
            let query = Query::Group0(Group0Query::Revoked { after, limit: 0 });
            match self.meta.query(Acct(0), Nsid(0), query).await? {
                Answer::Group0(Group0Answer::Revoked { tokens, generations, next }) => {
                    all.extend(tokens);
                    revoked.extend(generations);
                    match next {
                        Some(next) => after = next,
                        None => break,
                    }
                }
                other => {
                    let text = format!("unexpected answer to what was revoked: {other:?}");
                    return Err(MetaserverError::Unavailable(text));
                }
            }
        }
        let mut state = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        (state.tokens, state.generations, state.as_of) = (all, revoked, Some(began));
        state.own.retain(|_, since| since.elapsed() < LIST_AGE_MAX);
        Ok(())
    }

    /// How old the list is; `None` before the first.
    #[must_use]
    pub fn list_age(&self) -> Option<Duration> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).as_of.map(|as_of| as_of.elapsed())
    }

    /// From here on this token is refused here, whatever the list says.
    pub fn note_revoked(&self, digest: [u8; 32]) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).own.insert(digest, Instant::now());
    }

    /// Whose token it is.
    ///
    /// Errors: [`ApiError::Auth`], and [`ApiError::Unavailable`] while the list is too old.
    pub fn user(&self, text: &str) -> Result<Caller, ApiError> {
        let token = AccessToken::parse(&self.keys, text).ok_or(ApiError::Auth("invalid_access_token"))?;
        let digest = token::digest(text);
        let state = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        if state.as_of.is_none_or(|as_of| as_of.elapsed() > LIST_AGE_MAX) {
            return Err(ApiError::Unavailable("the list of what was revoked is too old".to_owned()));
        }
        let is_old = state.generations.get(&token.acct).is_some_and(|good| *good != token.token_gen);
        if is_old || state.tokens.contains(&digest) || state.own.contains_key(&digest) {
            return Err(ApiError::Auth("invalid_access_token"));
        }
        if token.expires_s != 0 && u64::from(token.expires_s) * 1000 <= crate::stamp::now_ms() {
            return Err(ApiError::Auth("expired_access_token"));
        }
        let AccessToken { acct, root, scopes, app, expires_s, .. } = token;
        Ok(Caller { acct, root, scopes, app, digest, expires_s })
    }

    /// The app of a key and secret. A public one has no secret, and shows none.
    ///
    /// Errors: [`ApiError::Text`] for an app or secret that is not known, and those of the cluster.
    pub async fn app(&self, key: &str, secret: Option<&str>) -> Result<AppInfo, ApiError> {
        let wrong = || ApiError::Text("invalid_client: Invalid client_id or client_secret".to_owned());
        let query = Query::Group0(Group0Query::App(key.to_owned()));
        let app = match self.meta.query(Acct(0), Nsid(0), query).await? {
            Answer::Group0(Group0Answer::App(app)) => app,
            _ if self.any_app => AppInfo { scopes: crate::scope::ALL, ..AppInfo::default() },
            Answer::NotFound | Answer::NoAccess => return Err(wrong()),
            other => return Err(ApiError::unexpected(&other)),
        };
        let shown = secret.filter(|secret| !secret.is_empty()).map(token::digest);
        let is_right = match shown {
            Some(digest) if app.secret != [0; 32] => same(&digest, &app.secret),
            Some(_) => self.any_app,
            None => true,
        };
        if is_right { Ok(app) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use meta::{Command, Outcome};

    use super::*;
    use crate::keys::Secret;
    use crate::metaserver::Asked;

    /// A group 0 with a list of what was revoked.
    #[derive(Default)]
    struct List(Mutex<Lists>);

    #[derive(Clone, Default)]
    struct Lists {
        tokens: Vec<[u8; 32]>,
        generations: Vec<(Acct, u32)>,
    }

    impl Metaserver for List {
        fn command(&self, _: Acct, _: Nsid, _: Command) -> Asked<'_, Outcome> {
            Box::pin(async { Ok(Outcome::Done) })
        }

        fn query(&self, _: Acct, _: Nsid, query: Query) -> Asked<'_, Answer> {
            let Lists { tokens, generations } = self.0.lock().expect("no panics").clone();
            Box::pin(async move {
                match query {
                    Query::Group0(Group0Query::Revoked { .. }) => {
                        Ok(Answer::Group0(Group0Answer::Revoked { tokens, generations, next: None }))
                    }
                    _ => Ok(Answer::NotFound),
                }
            })
        }
    }

    fn token(expires_s: u32) -> AccessToken {
        AccessToken { serial: 1, acct: Acct(5), root: Nsid(7), token_gen: 1, expires_s, scopes: 3, app: 0 }
    }

    #[tokio::test]
    async fn nobody_comes_in_before_the_list_is_known_and_nobody_who_is_on_it() {
        let keys = Arc::new(Keys::new(&Secret::from_bytes([7; 32])));
        let list = Arc::new(List::default());
        let auth = Authenticator::new(keys.clone(), list.clone(), false);
        let text = token(0).text(&keys);
        assert!(matches!(auth.user(&text), Err(ApiError::Unavailable(_))));
        auth.refresh().await.expect("it is fetched");
        assert_eq!(auth.user(&text).map(|caller| (caller.acct, caller.root)), Ok((Acct(5), Nsid(7))));
        assert_eq!(auth.user("sl.x"), Err(ApiError::Auth("invalid_access_token")));
        assert_eq!(auth.user(&token(1).text(&keys)), Err(ApiError::Auth("expired_access_token")));
        list.0.lock().expect("no panics").tokens.push(token::digest(&text));
        auth.refresh().await.expect("it is fetched");
        assert_eq!(auth.user(&text), Err(ApiError::Auth("invalid_access_token")));
        *list.0.lock().expect("no panics") = Lists { tokens: Vec::new(), generations: vec![(Acct(5), 2)] };
        auth.refresh().await.expect("it is fetched");
        assert_eq!(auth.user(&text), Err(ApiError::Auth("invalid_access_token")), "of an older generation");
    }

    #[tokio::test]
    async fn what_was_revoked_here_stays_so_until_the_list_has_it() {
        let keys = Arc::new(Keys::new(&Secret::from_bytes([7; 32])));
        let auth = Authenticator::new(keys.clone(), Arc::new(List::default()), false);
        auth.refresh().await.expect("it is fetched");
        let text = token(0).text(&keys);
        auth.note_revoked(token::digest(&text));
        auth.refresh().await.expect("it is fetched");
        assert_eq!(auth.user(&text), Err(ApiError::Auth("invalid_access_token")));
        assert!(auth.app("any", None).await.is_err(), "apps are rows of group 0");
    }

    #[test]
    fn credentials_are_read_from_header_and_query() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            Credentials::read(&headers, &Form::default())
        };
        assert_eq!(read("Bearer abc"), Credentials::Bearer("abc".to_owned()));
        assert_eq!(read("Basic YTpi"), Credentials::Basic { key: "a".to_owned(), secret: "b".to_owned() });
        assert_eq!(read("Digest x"), Credentials::Unreadable);
        assert_eq!(read("Basic ***"), Credentials::Unreadable);
        let query = Form::parse("authorization=Bearer%20abc");
        assert_eq!(Credentials::read(&HeaderMap::new(), &query), Credentials::Bearer("abc".to_owned()));
        assert_eq!(Credentials::read(&HeaderMap::new(), &Form::default()), Credentials::None);
    }
}
