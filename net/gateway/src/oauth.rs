//! Sign-in for apps: `GET /oauth2/authorize` gives a code, `POST /oauth2/token` takes it.
//!
//! A code is bound to its app, its redirect URI and its PKCE challenge, and is taken once; taken again, what it gave is
//! void. Under `dropstone dev` the one account approves at once.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base::{Acct, Nsid};
use meta::{
    Answer, AppInfo, CodeInfo, CodePut, CodeTake, Command, Group0Answer, Group0Command, Group0Query, Outcome, Query,
};
use serde_json::{Value, json};
use stone::auth::Credentials;
use stone::form::{Form, escape};
use stone::ids::{account_id, from_base64url};
use stone::route::read_body;
use stone::token::{digest, draw};
use stone::{ApiError, scope};

use crate::pages;
use crate::state::Gateway;
use crate::tokens::{Wish, make, sign};

const FORM_BYTES_MAX: usize = 64 << 10;

/// `GET /oauth2/authorize`.
pub async fn authorize(gateway: Arc<Gateway>, request: Request) -> Response {
    let query = Form::parse(request.uri().query().unwrap_or_default());
    match approve(&gateway, &query).await {
        Ok(response) => response,
        Err(Refused { error, text }) => pages::notice(StatusCode::BAD_REQUEST, error, &text),
    }
}

/// `POST /oauth2/token` and `/1/oauth2/token`. Fields come in a form, or in the URL with an empty body.
pub async fn token(gateway: Arc<Gateway>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answer = match read_body(&head.headers, body, FORM_BYTES_MAX).await {
        Ok(bytes) => {
            let form = Form::parse(&String::from_utf8_lossy(&bytes));
            let fields = form.and(Form::parse(head.uri.query().unwrap_or_default()));
            exchange(&gateway, &head.headers, &fields).await
        }
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(value) => respond(StatusCode::OK, &value),
        Err(Refused { error: UNAVAILABLE, text }) => {
            tracing::warn!(error = text, "could not answer for tokens");
            let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "temporarily_unavailable" }));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
            response
        }
        Err(Refused { error, text }) => {
            respond(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": text }))
        }
    }
}

const UNAVAILABLE: &str = "temporarily_unavailable";

/// An error of OAuth.
struct Refused {
    error: &'static str,
    text: String,
}

fn refused<T>(error: &'static str, text: &str) -> Result<T, Refused> {
    Err(Refused { error, text: text.to_owned() })
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        match error {
            ApiError::Text(text) if text == "invalid_grant" => {
                Refused { error: "invalid_grant", text: "code doesn't exist or has expired".to_owned() }
            }
            ApiError::Text(text) if text.starts_with("invalid_client") => {
                Refused { error: "invalid_client: Invalid client_id or client_secret", text }
            }
            ApiError::Unavailable(text) => Refused { error: UNAVAILABLE, text },
            ApiError::TooMany { .. } => Refused { error: UNAVAILABLE, text: "too much is asked at once".to_owned() },
            other => Refused { error: "invalid_request", text: format!("{other:?}") },
        }
    }
}

impl From<stone::MetaserverError> for Refused {
    fn from(error: stone::MetaserverError) -> Refused {
        ApiError::from(error).into()
    }
}

fn respond(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    response
}

/// Signs in, and sends the app its code.
async fn approve(gateway: &Gateway, query: &Form) -> Result<Response, Refused> {
    if query.get("response_type") != Some("code") {
        return refused("unsupported_response_type", "response_type must be code");
    }
    let Some(client_id) = query.get("client_id") else { return refused("invalid_request", "client_id is missing") };
    let app = gateway.stone.auth.app(client_id, None).await?;
    let redirect = query.get("redirect_uri").unwrap_or_default();
    if !redirect.is_empty() && !may_redirect(gateway, &app, redirect) {
        return refused("invalid_request", "redirect_uri is not one of the app's");
    }
    let challenge = match (query.get("code_challenge"), query.get("code_challenge_method").unwrap_or("plain")) {
        (None, _) => [0; 32],
        (Some(challenge), "S256") => match from_base64url(challenge).and_then(|bytes| bytes.try_into().ok()) {
            Some(challenge) => challenge,
            None => return refused("invalid_request", "code_challenge is no SHA-256"),
        },
        (Some(verifier), "plain") => digest(verifier),
        _ => return refused("invalid_request", "code_challenge_method must be S256 or plain"),
    };
    let Some(wanted) = query.get("scope").map_or(Some(app.scopes), scope::parse) else {
        return refused("invalid_scope", "a scope is not known");
    };
    let Some(acct) = gateway.dev else {
        let text = "This gateway signs nobody in. Ask its operator for a token (dropstone admin token create).";
        return refused("access_denied", text);
    };
    let is_offline = query.get("token_access_type") == Some("offline");
    let info = CodeInfo { acct, app: app.app, scopes: wanted & app.scopes, is_offline };
    let code = draw().map_err(|error| Refused { error: UNAVAILABLE, text: error.to_string() })?;
    let put = CodePut { code: digest(&code), info, challenge, redirect: redirect.to_owned() };
    match command(gateway, Group0Command::CodePut(put)).await? {
        Outcome::Done => {}
        other => return refused(UNAVAILABLE, &format!("unexpected outcome {other:?}")),
    }
    if redirect.is_empty() {
        return Ok(pages::code(&code));
    }
    let mut target = redirect.to_owned();
    target.push(if redirect.contains('?') { '&' } else { '?' });
    target.push_str(&format!("code={code}"));
    if let Some(state) = query.get("state") {
        target.push_str(&format!("&state={}", escape(state)));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let Ok(target) = HeaderValue::from_str(&target) else { return refused("invalid_request", "bad redirect_uri") };
    response.headers_mut().insert(header::LOCATION, target);
    Ok(response)
}

/// An exact match; under `dev` any address of this machine will do too.
fn may_redirect(gateway: &Gateway, app: &AppInfo, redirect: &str) -> bool {
    let is_own = ["http://localhost", "http://127.0.0.1", "https://localhost"]
        .iter()
        .any(|own| redirect.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
    app.redirects.iter().any(|known| known == redirect) || (gateway.dev.is_some() && is_own)
}

async fn exchange(gateway: &Gateway, headers: &HeaderMap, fields: &Form) -> Result<Value, Refused> {
    let (id, secret) = match Credentials::read(headers, &Form::default()) {
        Credentials::Basic { key, secret } => (key, Some(secret)),
        _ => match fields.get("client_id") {
            Some(id) => (id.to_owned(), fields.get("client_secret").map(str::to_owned)),
            None => return refused("invalid_request", "No auth function available for given request"),
        },
    };
    let app = gateway.stone.auth.app(&id, secret.as_deref()).await?;
    let has_secret = secret.is_some_and(|secret| !secret.is_empty());
    match fields.get("grant_type") {
        Some("authorization_code") => take_code(gateway, &app, has_secret, fields).await,
        Some("refresh_token") => refresh(gateway, &app, fields).await,
        _ => refused("unsupported_grant_type", "grant_type must be authorization_code or refresh_token"),
    }
}

async fn take_code(gateway: &Gateway, app: &AppInfo, has_secret: bool, fields: &Form) -> Result<Value, Refused> {
    let Some(code) = fields.get("code") else { return refused("invalid_request", "code is missing") };
    let challenge = match fields.get("code_verifier") {
        Some(verifier) => digest(verifier),
        None if has_secret => [0; 32],
        None => return refused("invalid_request", "code_verifier or client_secret is missing"),
    };
    let redirect = fields.get("redirect_uri").unwrap_or_default().to_owned();
    let take = CodeTake { code: digest(code), app: app.app, challenge, redirect };
    let info = match command(gateway, Group0Command::CodeTake(take)).await? {
        Outcome::Code(info) => *info,
        Outcome::NotFound | Outcome::NoAccess => {
            return refused("invalid_grant", "code doesn't exist or has expired");
        }
        other => return refused(UNAVAILABLE, &format!("unexpected outcome {other:?}")),
    };
    let CodeInfo { acct, app, scopes, is_offline } = info;
    let wish = Wish { acct, app, scopes, is_offline, is_for_ever: false, code: digest(code) };
    let stone = &gateway.stone;
    let granted = make(&*stone.meta, &stone.keys, &wish).await?;
    let mut answer = json!({
        "access_token": granted.access,
        "token_type": "bearer",
        "expires_in": granted.expires_in,
        "scope": scope::text(scopes),
        "uid": acct.to_string(),
        "account_id": account_id(&stone.keys, acct),
    });
    if let Some(refresh) = granted.refresh {
        answer["refresh_token"] = refresh.into();
    }
    Ok(answer)
}

async fn refresh(gateway: &Gateway, app: &AppInfo, fields: &Form) -> Result<Value, Refused> {
    let Some(text) = fields.get("refresh_token") else { return refused("invalid_request", "refresh_token is missing") };
    let stone = &gateway.stone;
    let query = Query::Group0(Group0Query::Token(digest(text)));
    let (info, root) = match stone.meta.query(Acct(0), Nsid(0), query).await? {
        Answer::Group0(Group0Answer::Token { info, root }) => (info, root),
        Answer::NotFound => return refused("invalid_grant", "refresh token is invalid or revoked"),
        other => return refused(UNAVAILABLE, &format!("unexpected answer {other:?}")),
    };
    // One that the operator made is of no app, and any may use it.
    if info.app != 0 && info.app != app.app {
        return refused("invalid_grant", "refresh token is invalid or revoked");
    }
    let scopes = match fields.get("scope").map(scope::parse) {
        None => info.scopes,
        Some(Some(scopes)) if scopes & !info.scopes == 0 => scopes,
        Some(_) => return refused("invalid_scope", "a scope is not among those of the refresh token"),
    };
    let wish = Wish { acct: info.acct, app: info.app, scopes, is_offline: false, is_for_ever: false, code: [0; 32] };
    let access = sign(&stone.keys, info.acct, root, info.token_gen, &wish)?;
    Ok(json!({
        "access_token": access,
        "token_type": "bearer",
        "expires_in": stone::token::ACCESS_TOKEN_S,
    }))
}

async fn command(gateway: &Gateway, command: Group0Command) -> Result<Outcome, Refused> {
    Ok(gateway.stone.meta.command(Acct(0), Nsid(0), Command::Group0(Box::new(command))).await?)
}
