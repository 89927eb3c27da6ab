//! Sign-in for apps: the sign-in page gives a code (`sign_in`), `POST /oauth2/token` takes it.
//!
//! A code is bound to its app, its redirect URI and its PKCE challenge, and is taken once; taken again, what it gave is
//! void.

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

pub(crate) const UNAVAILABLE: &str = "temporarily_unavailable";

/// The web page's name among apps.
const OWN_CLIENT_ID: &str = "dropstone-web";

/// An error of OAuth.
pub(crate) struct Refused {
    pub(crate) error: &'static str,
    pub(crate) text: String,
}

pub(crate) fn refused<T>(error: &'static str, text: &str) -> Result<T, Refused> {
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

/// What an app asks for on the sign-in page, checked.
pub(crate) struct Asked {
    /// Which app.
    pub(crate) app: AppInfo,
    /// The page of this gateway itself: nobody is asked whether it may.
    pub(crate) is_own: bool,
    /// Where the code is sent; empty: the user carries it.
    pub(crate) redirect: String,
    /// Sent back with it.
    state: Option<String>,
    challenge: [u8; 32],
    /// What it may then.
    pub(crate) scopes: u64,
    is_offline: bool,
}

impl Asked {
    /// Reads the query of the sign-in page. Errors: what an app does wrong; never sent to an address that is not its own.
    pub(crate) async fn read(gateway: &Gateway, query: &Form) -> Result<Asked, Refused> {
        if query.get("response_type") != Some("code") {
            return refused("unsupported_response_type", "response_type must be code");
        }
        let Some(client_id) = query.get("client_id") else { return refused("invalid_request", "client_id is missing") };
        let is_own = client_id == OWN_CLIENT_ID;
        let app = if is_own { own_app(gateway).await? } else { gateway.stone.auth.app(client_id, None).await? };
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
        Ok(Asked {
            is_own,
            redirect: redirect.to_owned(),
            state: query.get("state").map(str::to_owned),
            challenge,
            scopes: wanted & app.scopes,
            is_offline: query.get("token_access_type") == Some("offline"),
            app,
        })
    }

    /// The account lets the app in: the app gets its code.
    pub(crate) async fn approve(&self, gateway: &Gateway, acct: Acct) -> Result<Response, Refused> {
        let info = CodeInfo { acct, app: self.app.app, scopes: self.scopes, is_offline: self.is_offline };
        let code = draw().map_err(|error| Refused { error: UNAVAILABLE, text: error.to_string() })?;
        let put = CodePut { code: digest(&code), info, challenge: self.challenge, redirect: self.redirect.clone() };
        match command(gateway, Group0Command::CodePut(put)).await? {
            Outcome::Done => {}
            other => return refused(UNAVAILABLE, &format!("unexpected outcome {other:?}")),
        }
        if self.redirect.is_empty() { Ok(pages::code(&code)) } else { self.send_back(&format!("code={code}")) }
    }

    /// The account does not.
    pub(crate) fn deny(&self) -> Result<Response, Refused> {
        if self.redirect.is_empty() {
            let text = format!("{} was not let in. You can close this page.", self.app_name());
            return Ok(pages::notice(StatusCode::OK, "Not let in", &text));
        }
        self.send_back("error=access_denied&error_description=The+user+chose+not+to+give+access")
    }

    /// As users know the app.
    pub(crate) fn app_name(&self) -> &str {
        if self.app.name.is_empty() { "An app without a name" } else { &self.app.name }
    }

    fn send_back(&self, fields: &str) -> Result<Response, Refused> {
        let mut target = self.redirect.clone();
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(fields);
        if let Some(state) = &self.state {
            target.push_str(&format!("&state={}", escape(state)));
        }
        let bad = || Refused { error: "invalid_request", text: "bad redirect_uri".to_owned() };
        pages::redirect(StatusCode::FOUND, &target).ok_or_else(bad)
    }
}

/// The web page as an app. Its row is made when it is first asked for, so that nobody has to.
async fn own_app(gateway: &Gateway) -> Result<AppInfo, Refused> {
    let redirect = format!("{}/", gateway.stone.www);
    match gateway.stone.auth.app(OWN_CLIENT_ID, None).await {
        Ok(app) if app.redirects.contains(&redirect) || gateway.dev.is_some() => return Ok(app),
        // Errors beside a missing row come again below.
        _ => {}
    }
    let info =
        AppInfo { scopes: scope::ALL, name: "Dropstone".to_owned(), redirects: vec![redirect], ..AppInfo::default() };
    let put = Group0Command::AppPut { client_id: OWN_CLIENT_ID.to_owned(), info: info.clone() };
    match command(gateway, put).await? {
        Outcome::Made { id } => Ok(AppInfo { app: id, ..info }),
        other => refused(UNAVAILABLE, &format!("unexpected outcome {other:?}")),
    }
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
