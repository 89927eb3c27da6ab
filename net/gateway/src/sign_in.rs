//! `/oauth2/authorize`: the page on which an account signs in and lets an app in.
//!
//! ```text
//! GET ─▶ e-mail and password ─▶ POST ─▶ right? ─▶ "let APP in?" with a ticket ─▶ POST ─▶ code or refusal, to the app
//! ```
//! Nothing is kept between the steps. Each form carries a proof that is bound to the request and to a cookie of this
//! browser, so that no other site can send it; the second one also says who signed in. The cookie signs nobody in.
//! Under `dropstone dev` the one account approves at once.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base::{Acct, Nsid};
use meta::{AccountKey, Answer, Group0Answer, Group0Query, PasswordHash, Profile, Query};
use sha2::{Digest, Sha256};
use stone::form::Form;
use stone::ids::{base64url, from_base64url};
use stone::keys::{Keys, Kind};
use stone::listen::Peer;
use stone::password::{ACCOUNT_TRIES_MAX, Door, Verdict};
use stone::route::read_body;
use stone::stamp::now_ms;
use stone::token::draw;
use stone::{ApiError, Scope};

use crate::oauth::{Asked, Refused, UNAVAILABLE};
use crate::pages::{Page, escape, not_now, notice};
use crate::state::Gateway;

const FORM_BYTES_MAX: usize = 16 << 10;
/// A form that was opened so long ago is shown again.
const FORM_S: u64 = 30 * 60;
const STATE_ACTIVE: u8 = 1;
const COOKIE: &str = "__Host-dropstone-form";
/// Step of a proof: of the form with the password, and of the one that asks for consent.
const STEP_PASSWORD: u8 = 1;
const STEP_CONSENT: u8 = 2;

const SCOPE_WORDS: [(Scope, &str); 9] = [
    (Scope::AccountInfoRead, "See your name and e-mail address"),
    (Scope::AccountInfoWrite, "Change your account's details"),
    (Scope::FilesMetadataRead, "See the names of your files and folders"),
    (Scope::FilesMetadataWrite, "Set tags of your files"),
    (Scope::FilesContentRead, "Read the content of your files"),
    (Scope::FilesContentWrite, "Add, change and delete files and folders"),
    (Scope::FilesPermanentDelete, "Delete files for good"),
    (Scope::SharingRead, "See what you share and with whom"),
    (Scope::SharingWrite, "Share files and change who has access"),
];

/// `GET` and `POST /oauth2/authorize`.
pub async fn authorize(gateway: Arc<Gateway>, request: Request) -> Response {
    match answer(&gateway, request).await {
        Ok(response) => response,
        Err(Refused { error: UNAVAILABLE, text }) => {
            tracing::warn!(error = text, "could not sign anybody in");
            not_now()
        }
        Err(Refused { error, text }) => notice(StatusCode::BAD_REQUEST, error, &text),
    }
}

async fn answer(gateway: &Gateway, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let text = head.uri.query().unwrap_or_default().to_owned();
    let asked = Asked::read(gateway, &Form::parse(&text)).await?;
    if let Some(acct) = gateway.dev {
        return asked.approve(gateway, acct).await;
    }
    let browser = cookie_of(&head.headers);
    let step = Step { gateway, asked: &asked, query: &text };
    if head.method != Method::POST {
        return step.ask_password(browser, StatusCode::OK, "", "");
    }
    let bytes = read_body(&head.headers, body, FORM_BYTES_MAX).await?;
    let form = Form::parse(&String::from_utf8_lossy(&bytes));
    step.take(&head, browser, &form).await
}

/// One request of the sign-in page.
struct Step<'a> {
    gateway: &'a Gateway,
    asked: &'a Asked,
    /// The query as it came: all forms go back to it.
    query: &'a str,
}

impl Step<'_> {
    async fn take(&self, head: &Parts, browser: Option<String>, form: &Form) -> Result<Response, Refused> {
        let proof = form.get("proof").unwrap_or_default();
        let known = browser.as_deref().and_then(|browser| {
            Proof::parse(&self.gateway.stone.keys, proof).filter(|proof| proof.is_of(browser, self.query, now_ms()))
        });
        match known {
            Some(Proof { step: STEP_PASSWORD, .. }) => self.judge(head, browser, form).await,
            Some(Proof { step: STEP_CONSENT, acct, .. }) => match form.get("choice") {
                Some("allow") => self.asked.approve(self.gateway, acct).await,
                _ => self.asked.deny(),
            },
            _ => self.ask_password(
                browser,
                StatusCode::BAD_REQUEST,
                "",
                "This page was open for too long. Sign in again.",
            ),
        }
    }

    async fn judge(&self, head: &Parts, browser: Option<String>, form: &Form) -> Result<Response, Refused> {
        let who = form.get("email").unwrap_or_default().trim();
        let profile = self.profile(who).await?;
        let name = match &profile {
            Some(profile) => [b"acct".as_slice(), &profile.acct.0.to_le_bytes()].concat(),
            None => [b"none".as_slice(), who.to_lowercase().as_bytes()].concat(),
        };
        let address = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
        let door = Door { name: &name, tries_max: ACCOUNT_TRIES_MAX, address };
        let nobody = PasswordHash::default();
        let kept = profile.as_ref().map_or(&nobody, |profile| &profile.password);
        let given = form.get("password").unwrap_or_default();
        match (self.gateway.stone.guard.judge(&door, kept, given).await?, profile) {
            (Verdict::Right, Some(profile)) if profile.state == STATE_ACTIVE => {
                tracing::info!(acct = profile.acct.0, app = self.asked.app.app, "signed in");
                if self.asked.is_own {
                    return self.asked.approve(self.gateway, profile.acct).await;
                }
                self.ask_consent(browser, &profile)
            }
            (Verdict::TooMany, _) => {
                let why = "Too many tries. Wait ten minutes, then try again.";
                self.ask_password(browser, StatusCode::TOO_MANY_REQUESTS, who, why)
            }
            _ => {
                let why = "The e-mail address or the password is not right.";
                self.ask_password(browser, StatusCode::FORBIDDEN, who, why)
            }
        }
    }

    /// Who that is, by e-mail address or name. Errors: the cluster does not answer.
    async fn profile(&self, who: &str) -> Result<Option<Profile>, Refused> {
        if who.is_empty() || who.len() > 255 {
            return Ok(None);
        }
        let query = Query::Group0(Group0Query::Profile(AccountKey::Name(who.to_owned())));
        match self.gateway.stone.meta.query(Acct(0), Nsid(0), query).await? {
            Answer::Group0(Group0Answer::Profile(profile)) => Ok(Some(*profile)),
            Answer::NotFound | Answer::NoAccess | Answer::Malformed => Ok(None),
            other => Err(ApiError::unexpected(&other).into()),
        }
    }

    fn ask_password(
        &self,
        browser: Option<String>,
        status: StatusCode,
        who: &str,
        why: &str,
    ) -> Result<Response, Refused> {
        let why = if why.is_empty() { String::new() } else { format!("<p class=\"bad\" role=\"alert\">{why}</p>") };
        let app = match self.asked.is_own {
            true => String::new(),
            false => format!("<p class=\"dim\">to let <b>{}</b> in</p>", escape(self.asked.app_name())),
        };
        let form = |proof: &str| {
            format!(
                "{app}<form method=\"post\"><input type=\"hidden\" name=\"proof\" value=\"{proof}\">\
                 <label for=\"email\">E-mail address</label><input id=\"email\" name=\"email\" value=\"{}\" required \
                 autocomplete=\"username\" autocapitalize=\"off\" spellcheck=\"false\" {}>\
                 <label for=\"password\">Password</label><input id=\"password\" name=\"password\" type=\"password\" \
                 required autocomplete=\"current-password\" {}>{why}\
                 <div class=\"foot\"><button class=\"primary grow\">Sign in</button></div></form>",
                escape(who),
                if who.is_empty() { "autofocus" } else { "" },
                if who.is_empty() { "" } else { "autofocus" },
            )
        };
        self.page(browser, STEP_PASSWORD, Acct(0), status, "Sign in", &form)
    }

    fn ask_consent(&self, browser: Option<String>, profile: &Profile) -> Result<Response, Refused> {
        let title = format!("Let {} in?", self.asked.app_name());
        let granted = SCOPE_WORDS.iter().filter(|(scope, _)| scope.is_in(self.asked.scopes));
        let words: String = granted.map(|(_, words)| format!("<li>{words}</li>")).collect();
        let who = if profile.email.is_empty() { &profile.name } else { &profile.email };
        let where_to = match self.asked.redirect.split(['?', '#']).next() {
            Some(target) if !target.is_empty() => format!("<p class=\"dim\">Goes back to {}</p>", escape(target)),
            _ => String::new(),
        };
        let form = |proof: &str| {
            format!(
                "<p>You are <b>{}</b>. It may then:</p><ul class=\"scopes\">{words}</ul>{where_to}\
                 <form method=\"post\"><input type=\"hidden\" name=\"proof\" value=\"{proof}\"><div class=\"foot\">\
                 <button class=\"grow\" name=\"choice\" value=\"deny\">Deny</button>\
                 <button class=\"primary grow\" name=\"choice\" value=\"allow\">Allow</button></div></form>",
                escape(who)
            )
        };
        self.page(browser, STEP_CONSENT, profile.acct, StatusCode::OK, &title, &form)
    }

    /// A page with a form that has a proof of this step; a browser that has no cookie gets one.
    fn page(
        &self,
        browser: Option<String>,
        step: u8,
        acct: Acct,
        status: StatusCode,
        title: &str,
        form: &dyn Fn(&str) -> String,
    ) -> Result<Response, Refused> {
        let fresh = match browser {
            Some(_) => None,
            None => Some(draw().map_err(|error| Refused { error: UNAVAILABLE, text: error.to_string() })?),
        };
        let cookie = browser.or_else(|| fresh.clone()).unwrap_or_default();
        let expires_s = u32::try_from(now_ms() / 1000 + FORM_S).unwrap_or(u32::MAX);
        let proof = Proof { step, expires_s, acct, binding: binding(&cookie, self.query) };
        let body = form(&proof.text(&self.gateway.stone.keys));
        let policy = form_policy(&self.asked.redirect);
        let mut response = Page { status, title, body: &body, policy: &policy, is_wide: false }.send();
        if let Some(cookie) = fresh {
            let set = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict");
            if let Ok(value) = HeaderValue::from_str(&set) {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
        }
        Ok(response)
    }
}

/// Where the forms may go: here, and by redirect to the app, which browsers count as the form's way too.
fn form_policy(redirect: &str) -> String {
    let (scheme, rest) = redirect.split_once("://").unwrap_or((redirect.split_once(':').map_or("", |(s, _)| s), ""));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let target = match scheme {
        "http" | "https" => format!("{scheme}://{host}"),
        "" => String::new(),
        other => format!("{other}:"),
    };
    let is_plain = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:/[]_+".contains(&byte));
    if is_plain { format!("form-action 'self' {target}") } else { "form-action 'self'".to_owned() }
}

/// What this browser was given.
fn cookie_of(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE);
    let pairs = all.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let own = pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('=').map(str::to_owned));
    own.into_iter().find(|cookie| (20..=100).contains(&cookie.len()))
}

fn binding(cookie: &str, query: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((cookie.len() as u64).to_le_bytes());
    hasher.update(cookie.as_bytes());
    hasher.update(query.as_bytes());
    hasher.finalize().into()
}

/// That a form came from here, for this request, to this browser.
///
/// ```text
/// base64url of  0 u8 format=1   1 u8 step   2 zero[2]   4 u32 expires_s   8 acct u64   16 binding[32]   48 HMAC[16]
/// ```
struct Proof {
    step: u8,
    expires_s: u32,
    acct: Acct,
    /// SHA-256 of the cookie and the request.
    binding: [u8; 32],
}

impl Proof {
    fn text(&self, keys: &Keys) -> String {
        let mut bytes = vec![1, self.step, 0, 0];
        bytes.extend_from_slice(&self.expires_s.to_le_bytes());
        bytes.extend_from_slice(&self.acct.0.to_le_bytes());
        bytes.extend_from_slice(&self.binding);
        base64url(&keys.seal(Kind::Form, bytes))
    }

    fn parse(keys: &Keys, text: &str) -> Option<Proof> {
        let sealed = from_base64url(text)?;
        let bytes = keys.open(Kind::Form, &sealed)?;
        if bytes.len() != 48 || bytes[0] != 1 {
            return None;
        }
        let expires_s = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let acct = Acct(u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes")));
        Some(Proof { step: bytes[1], expires_s, acct, binding: bytes[16..].try_into().expect("32 bytes") })
    }

    fn is_of(&self, cookie: &str, query: &str, now_ms: u64) -> bool {
        now_ms < u64::from(self.expires_s) * 1000 && self.binding == binding(cookie, query)
    }
}

#[cfg(test)]
mod tests {
    use stone::Secret;

    use super::*;

    #[test]
    fn a_form_is_taken_from_its_browser_for_its_request_and_in_time() {
        let keys = Keys::new(&Secret::from_bytes([7; 32]));
        let made = Proof { step: STEP_CONSENT, expires_s: 10, acct: Acct(5), binding: binding("cookie", "q=1") };
        let text = made.text(&keys);
        let read = Proof::parse(&keys, &text).expect("ours");
        assert_eq!((read.step, read.acct), (STEP_CONSENT, Acct(5)));
        assert!(read.is_of("cookie", "q=1", 9_999));
        assert!(!read.is_of("cookie", "q=1", 10_000), "too late");
        assert!(!read.is_of("other", "q=1", 0) && !read.is_of("cookie", "q=2", 0));
        assert!(Proof::parse(&Keys::new(&Secret::from_bytes([8; 32])), &text).is_none());
        assert_ne!(binding("ab", "c"), binding("a", "bc"));
    }

    #[test]
    fn forms_go_here_and_to_the_app_and_the_policy_holds_nothing_else() {
        assert_eq!(form_policy(""), "form-action 'self' ");
        assert_eq!(form_policy("https://app.example:8443/cb?x"), "form-action 'self' https://app.example:8443");
        assert_eq!(form_policy("com.example.app:/oauth"), "form-action 'self' com.example.app:");
        assert_eq!(form_policy("https://a;script-src *"), "form-action 'self'");
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        let value = "a=1; __Host-dropstone-form=0123456789012345678901234; b=2";
        headers.insert(header::COOKIE, HeaderValue::from_static(value));
        assert_eq!(cookie_of(&headers).as_deref(), Some("0123456789012345678901234"));
        headers.insert(header::COOKIE, HeaderValue::from_static("__Host-dropstone-form=short"));
        assert_eq!(cookie_of(&headers), None);
    }
}
