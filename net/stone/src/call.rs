//! One call of a route: who calls, with which argument, from which path root.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::HeaderMap;
use base::{Acct, Nsid};
use meta::feed::FeedCursor;
use meta::{Answer, Command, Outcome, Query};
use serde_json::{Value, json};

use crate::arg::Arg;
use crate::auth::{Authenticator, Caller};
use crate::error::{ApiError, tagged};
use crate::form::Form;
use crate::ids::{BadCursor, parse_cursor};
use crate::keys::Keys;
use crate::metaserver::Metaserver;
use crate::password::Guard;
use crate::path::parse_nsid;

/// What all roles of a process share.
pub struct Stone {
    /// The cluster.
    pub meta: Arc<dyn Metaserver>,
    /// By which ids, tokens and cursors prove themselves.
    pub keys: Arc<Keys>,
    /// Who is let in.
    pub auth: Authenticator,
    /// Judges passwords.
    pub guard: Guard,
    /// Where pages and links are, without a slash at the end: `https://localhost:7443`.
    pub www: String,
}

impl fmt::Debug for Stone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stone").field("www", &self.www).finish_non_exhaustive()
    }
}

impl Stone {
    /// `any_app`: any client id is an app, as in `dropstone dev`.
    #[must_use]
    pub fn new(meta: Arc<dyn Metaserver>, keys: Keys, any_app: bool, www: String) -> Stone {
        let keys = Arc::new(keys);
        let auth = Authenticator::new(Arc::clone(&keys), Arc::clone(&meta), any_app);
        Stone { meta, keys, auth, guard: Guard::default(), www }
    }
}

/// The content of a request, taken once. Calls are shared between threads, which bodies cannot be.
#[derive(Debug, Default)]
pub struct Content(Mutex<Option<Body>>);

impl Content {
    /// It is to be taken.
    #[must_use]
    pub fn new(body: Body) -> Content {
        Content(Mutex::new(Some(body)))
    }

    /// The bytes to come; empty the second time.
    pub fn take(&self) -> Body {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// What the process has.
    pub stone: Arc<Stone>,
    /// Which route, without `/2/`.
    pub route: &'static str,
    /// Of this request; in the log and in the answer.
    pub request_id: String,
    /// Who calls; `None` on routes that ask nobody, and for an app.
    pub caller: Option<Caller>,
    /// The namespace where paths begin: the path root, usually the caller's own root.
    pub base: Nsid,
    /// The argument.
    pub arg: Arg,
    /// The fields of the URL.
    pub query: Form,
    /// All headers.
    pub headers: HeaderMap,
    /// The content that is sent; nothing unless the style is upload.
    pub body: Content,
}

impl Call {
    /// Who calls.
    ///
    /// Errors: [`ApiError::Auth`] where an app calls what needs a user.
    pub fn user(&self) -> Result<Caller, ApiError> {
        self.caller.ok_or(ApiError::Auth("invalid_access_token"))
    }

    /// The account whose rights count. Errors: as [`Call::user`].
    pub fn acct(&self) -> Result<Acct, ApiError> {
        self.user().map(|caller| caller.acct)
    }

    /// The cursor of the argument, whosever it is.
    ///
    /// Errors: 400 for one that nobody here made, `reset` for one of an older key.
    pub fn cursor(&self) -> Result<FeedCursor, ApiError> {
        match parse_cursor(&self.stone.keys, self.arg.text("cursor")?) {
            Ok(cursor) => Ok(cursor),
            Err(BadCursor::Malformed) => Err(self.malformed_cursor()),
            Err(BadCursor::Reset) => Err(ApiError::tag("reset")),
        }
    }

    /// What is told of a cursor that is none.
    #[must_use]
    pub fn malformed_cursor(&self) -> ApiError {
        self.arg.bad("cursor", "Invalid \"cursor\" parameter")
    }

    /// Reads with the caller's rights.
    ///
    /// Errors: those of the cluster.
    pub async fn ask(&self, nsid: Nsid, query: Query) -> Result<Answer, ApiError> {
        Ok(self.stone.meta.query(self.acct()?, nsid, query).await?)
    }

    /// Executes a command with the caller's rights.
    ///
    /// Errors: those of the cluster, and a busy namespace.
    pub async fn command(&self, nsid: Nsid, command: Command) -> Result<Outcome, ApiError> {
        settled(self.stone.meta.command(self.acct()?, nsid, command).await?)
    }

    /// Reads as the system: only what the caller was found to have a right to, or what is nobody's.
    ///
    /// Errors: those of the cluster.
    pub async fn ask_system(&self, nsid: Nsid, query: Query) -> Result<Answer, ApiError> {
        Ok(self.stone.meta.query(Acct(0), nsid, query).await?)
    }

    /// Executes a command as the system. Errors: as [`Call::command`].
    pub async fn command_system(&self, nsid: Nsid, command: Command) -> Result<Outcome, ApiError> {
        settled(self.stone.meta.command(Acct(0), nsid, command).await?)
    }
}

/// Outcomes that no route treats by itself.
fn settled(outcome: Outcome) -> Result<Outcome, ApiError> {
    match outcome {
        Outcome::Busy { .. } => Err(ApiError::busy()),
        Outcome::SessionGone | Outcome::Acknowledged => {
            Err(ApiError::Unavailable(format!("the outcome is in doubt: {outcome:?}")))
        }
        Outcome::Unsupported => Err(ApiError::Unavailable("the cluster does not take this command yet".to_owned())),
        outcome => Ok(outcome),
    }
}

/// The namespace in which a call's paths begin, by its `Dropbox-API-Path-Root`.
///
/// Errors: [`ApiError::PathRoot`] for one that the caller may not name, [`ApiError::Bad`] for no JSON.
pub(crate) async fn path_root(stone: &Stone, caller: &Caller, header: Option<&[u8]>) -> Result<Nsid, ApiError> {
    let Some(header) = header else { return Ok(caller.root) };
    let bad = |what: &str| ApiError::Bad(format!("HTTP header \"Dropbox-API-Path-Root\": {what}"));
    let value: Value = serde_json::from_slice(header).map_err(|_| bad("could not decode input as JSON"))?;
    let named = |field: &str| value[field].as_str().and_then(parse_nsid);
    match value[".tag"].as_str() {
        Some("home") => Ok(caller.root),
        Some("root") => {
            if named("root") == Some(caller.root) {
                return Ok(caller.root);
            }
            let root = caller.root.to_string();
            let info = json!({ ".tag": "user", "root_namespace_id": root, "home_namespace_id": root });
            Err(ApiError::PathRoot(json!({ ".tag": "invalid_root", "invalid_root": info })))
        }
        Some("namespace_id") => {
            let no_permission = || ApiError::PathRoot(tagged("no_permission"));
            let nsid = named("namespace_id").ok_or_else(no_permission)?;
            match stone.meta.query(caller.acct, nsid, Query::Head).await? {
                Answer::Head(_) => Ok(nsid),
                _ => Err(no_permission()),
            }
        }
        _ => Err(bad("expected a PathRoot")),
    }
}
