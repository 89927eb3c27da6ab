//! Routes: a table of rows, and what every call goes through before and after its handler.
//!
//! ```text
//! request ─▶ id ─▶ bounds of the head ─▶ who calls ─▶ scope ─▶ argument ─▶ path root ─▶ handler ─▶ answer, id, CORS
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use base::Nsid;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::arg::Arg;
use crate::auth::{Caller, Credentials};
use crate::call::{Call, Content, Stone, path_root};
use crate::error::ApiError;
use crate::form::Form;
use crate::ids::hex;
use crate::reply::Reply;
use crate::scope::Scope;

/// The body of an rpc call at most.
pub const RPC_BODY_MAX: usize = 8 << 20;
/// An argument in a header or URL at most.
pub const ARG_HEADER_MAX: usize = 64 << 10;
/// All other headers together at most.
const HEADERS_MAX: usize = 16 << 10;
/// A call without content takes so long at most; so does the arrival of its argument.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// On which host a route is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// `api`: the gateway.
    Api,
    /// `content`: the block server.
    Content,
    /// `notify`: the notifier.
    Notify,
}

impl Host {
    fn name(self) -> &'static str {
        match self {
            Host::Api => "api",
            Host::Content => "content",
            Host::Notify => "notify",
        }
    }
}

/// Where argument and content travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Both in bodies, as JSON.
    Rpc,
    /// The argument in a header, content in the request's body.
    Upload,
    /// The argument in a header, content in the answer's body.
    Download,
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// An account, by token.
    User,
    /// An account, or an app by key and secret.
    UserOrApp,
    /// An app by key and secret.
    App,
    /// Nobody is asked; a header that is sent all the same is ignored.
    Nobody,
}

/// What a route does.
pub type Handler<S> = fn(Call, S) -> Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// A row of a role's table.
pub struct Route<S> {
    /// Without `/2/`.
    pub name: &'static str,
    /// Where it is.
    pub host: Host,
    /// How.
    pub style: Style,
    /// For whom.
    pub needs: Needs,
    /// What a token must allow.
    pub scope: Option<Scope>,
    /// It may take longer than 30 s.
    pub is_long: bool,
    /// What it does.
    pub handler: Handler<S>,
}

/// The routes of a table, with the state that their handlers get. Without a fallback, so that tables can be merged.
pub fn router<S: Clone + Send + Sync + 'static>(routes: &'static [Route<S>], stone: &Arc<Stone>, state: &S) -> Router {
    routes.iter().fold(Router::new(), |router, route| {
        let (stone, state) = (Arc::clone(stone), state.clone());
        let handler = move |request: Request| serve(route, Arc::clone(&stone), state.clone(), request);
        router.route(&format!("/2/{}", route.name), any(handler))
    })
}

/// What answers whatever no table has. `elsewhere`: routes of other roles, which are named with their host.
pub fn unknown(elsewhere: &'static [(&'static str, Host)]) -> axum::routing::MethodRouter {
    any(move |request: Request| async move {
        let (request_id, dots) = draw_id();
        let path = request.uri().path();
        let name = path.strip_prefix("/2/").unwrap_or(path);
        if request.method() == Method::OPTIONS {
            return finish(Response::new(Body::empty()), &request_id);
        }
        let error = match elsewhere.iter().find(|(known, _)| *known == name) {
            Some((_, host)) => ApiError::Bad(format!("this route is on the {} host", host.name())),
            None => ApiError::Text(format!("Unknown API function: \"{}\"", printable(name))),
        };
        finish(refuse(&error, name, dots), &request_id)
    })
}

fn printable(name: &str) -> String {
    name.chars().take(200).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

async fn serve<S: Clone + Send + Sync + 'static>(
    route: &'static Route<S>,
    stone: Arc<Stone>,
    state: S,
    request: Request,
) -> Response {
    let (began, (request_id, dots)) = (Instant::now(), draw_id());
    if request.method() == Method::OPTIONS {
        return finish(Response::new(Body::empty()), &request_id);
    }
    let mut caller = None;
    let outcome = match admit(route, stone, request, &request_id, &mut caller).await {
        Ok(call) => handle(route, call, state).await,
        Err(error) => Err(error),
    };
    let acct = caller.map(|caller: Caller| caller.acct.0);
    let response = match outcome {
        Ok(reply) => reply.into_response(),
        Err(error) => {
            match &error {
                ApiError::Internal(text) => {
                    tracing::error!(request_id, route = route.name, acct, error = text, "a bug")
                }
                ApiError::Unavailable(text) => {
                    tracing::warn!(request_id, route = route.name, acct, error = text, "not available");
                }
                _ => {}
            }
            refuse(&error, route.name, dots)
        }
    };
    let (status, us) = (response.status().as_u16(), began.elapsed().as_micros());
    tracing::debug!(request_id, route = route.name, acct, status, us, "answered");
    finish(response, &request_id)
}

async fn handle<S>(route: &'static Route<S>, call: Call, state: S) -> Result<Reply, ApiError> {
    let answer = (route.handler)(call, state);
    if route.is_long || route.style != Style::Rpc {
        return answer.await;
    }
    let late = |_| ApiError::Unavailable(format!("no answer within {CALL_TIME_MAX:?}"));
    tokio::time::timeout(CALL_TIME_MAX, answer).await.map_err(late)?
}

/// All checks that routes have in common; the cheapest first.
async fn admit<S>(
    route: &'static Route<S>,
    stone: Arc<Stone>,
    request: Request,
    request_id: &str,
    caller: &mut Option<Caller>,
) -> Result<Call, ApiError> {
    let (head, body) = request.into_parts();
    let is_get = head.method == Method::GET && route.style == Style::Download;
    if head.method != Method::POST && !is_get {
        return Err(ApiError::Bad(format!("your request has method {}; use POST", head.method)));
    }
    check_head(&head.headers)?;
    let query = Form::parse(head.uri.query().unwrap_or_default());
    *caller = who(route.needs, &stone, &head.headers, &query).await?;
    if let (Some(caller), Some(scope)) = (&caller, route.scope)
        && !scope.is_in(caller.scopes)
    {
        return Err(ApiError::MissingScope(scope));
    }
    let (arg, body) = match route.style {
        Style::Rpc => (rpc_arg(&head.headers, &query, body).await?, Content::default()),
        Style::Upload | Style::Download => (header_arg(&head.headers, &query)?, Content::new(body)),
    };
    let base = match &caller {
        Some(caller) => {
            let header = head.headers.get("dropbox-api-path-root").map(HeaderValue::as_bytes);
            path_root(&stone, caller, header).await?
        }
        None => Nsid(0),
    };
    let (request_id, headers, caller) = (request_id.to_owned(), head.headers, *caller);
    Ok(Call { stone, route: route.name, request_id, caller, base, arg, query, headers, body })
}

fn check_head(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_arg = |name: &HeaderName| name == "dropbox-api-arg";
    let others = headers.iter().filter(|(name, _)| !is_arg(name));
    let bytes: usize = others.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADERS_MAX || headers.get("dropbox-api-arg").is_some_and(|arg| arg.len() > ARG_HEADER_MAX) {
        return Err(ApiError::Status(431, "the request's head is too large".to_owned()));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ApiError::Status(415, "compressed requests are not taken".to_owned()));
    }
    if headers.contains_key("dropbox-api-select-user") || headers.contains_key("dropbox-api-select-admin") {
        return Err(ApiError::Bad(
            "Dropbox-API-Select-User and -Admin belong to teams, which do not exist here".into(),
        ));
    }
    Ok(())
}

async fn who(needs: Needs, stone: &Stone, headers: &HeaderMap, query: &Form) -> Result<Option<Caller>, ApiError> {
    if needs == Needs::Nobody {
        return Ok(None);
    }
    let credentials = Credentials::read(headers, query);
    let wants_app = matches!(needs, Needs::App | Needs::UserOrApp);
    match credentials {
        Credentials::Bearer(token) if needs != Needs::App => stone.auth.user(&token).map(Some),
        Credentials::Basic { key, secret } if wants_app => stone.auth.app(&key, Some(&secret)).await.map(|_| None),
        Credentials::None => Err(ApiError::Bad(
            "must provide HTTP header \"Authorization\" or URL parameter \"authorization\"".to_owned(),
        )),
        Credentials::Unreadable => Err(ApiError::Bad(
            "invalid authorization value in HTTP header \"Authorization\": expected \"Bearer <token>\"".to_owned(),
        )),
        _ => Err(ApiError::Bad("this route takes another kind of authorization".to_owned())),
    }
}

async fn rpc_arg(headers: &HeaderMap, query: &Form, body: Body) -> Result<Arg, ApiError> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or("?").to_ascii_lowercase();
        let mime = kind.split(';').next().unwrap_or_default().trim();
        // Browsers send text/plain, so as not to ask first.
        if mime != "application/json" && !kind.contains("dropbox-cors-hack") {
            let what = format!("bad HTTP \"Content-Type\" header: \"{}\"", printable(&kind));
            return Err(ApiError::Bad(format!("{what}; expecting \"application/json\"")));
        }
    }
    let bytes = read_body(headers, body, RPC_BODY_MAX).await?;
    match query.get("arg") {
        Some(arg) if bytes.is_empty() => Arg::parse(arg.as_bytes()),
        _ => Arg::parse(&bytes),
    }
}

/// A body of at most `max` bytes, within 30 s. One that says it is longer is not read.
///
/// Errors: 413, 408, and [`ApiError::Bad`] for one that breaks off.
pub async fn read_body(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::Status(413, format!("the body is larger than {max} bytes"));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(CALL_TIME_MAX, Limited::new(body, max).collect());
    match collected.await.map_err(|_| ApiError::Status(408, "the body did not arrive in time".to_owned()))? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(_) => Err(ApiError::Bad("the body broke off".to_owned())),
    }
}

/// Header bytes may be raw UTF-8: some clients do not escape.
fn header_arg(headers: &HeaderMap, query: &Form) -> Result<Arg, ApiError> {
    match (headers.get("dropbox-api-arg"), query.get("arg")) {
        (Some(header), _) => Arg::parse(header.as_bytes()),
        (None, Some(arg)) if arg.len() > ARG_HEADER_MAX => {
            Err(ApiError::Status(431, "the argument in the URL is too large".to_owned()))
        }
        (None, Some(arg)) => Arg::parse(arg.as_bytes()),
        (None, None) => {
            Err(ApiError::Bad("must provide HTTP header \"Dropbox-API-Arg\" or URL parameter \"arg\"".to_owned()))
        }
    }
}

/// 32 hex digits, and how many dots end a summary.
fn draw_id() -> (String, u8) {
    let mut bytes = [0; 16];
    // Without random bytes the id is zeros, which harms nobody.
    let _ = getrandom::fill(&mut bytes);
    (hex(&bytes), bytes[0] & 3)
}

/// An error as HTTP.
pub(crate) fn refuse(error: &ApiError, route: &str, dots: u8) -> Response {
    let (body, is_json) = error.body(route, dots);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    match error {
        ApiError::TooMany { retry_after, .. } => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
        }
        ApiError::Unavailable(_) => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        _ => {}
    }
    response
}

/// What every answer has. No cookie authenticates here, so whoever asks from a browser may read the answer.
fn finish(mut response: Response, request_id: &str) -> Response {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-dropbox-request-id", id);
    }
    let fixed = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, PUT, OPTIONS"),
        (
            "access-control-allow-headers",
            "authorization, content-type, dropbox-api-arg, dropbox-api-path-root, dropbox-api-select-user, range, \
             if-none-match, if-range",
        ),
        ("access-control-expose-headers", "dropbox-api-result, x-dropbox-request-id, content-range, etag, retry-after"),
        ("access-control-max-age", "86400"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
