//! The few pages that people see: a code, a link, a notice. No script, no cookie, nothing from elsewhere.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use meta::NodeKind;

use crate::sharing::links;
use crate::state::Gateway;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:10vh auto;padding:0 1rem;\
    color-scheme:light dark}code{font-size:1.1rem;overflow-wrap:anywhere}h1{font-size:1.4rem}";
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// A page with a heading; `body` is HTML.
fn page(status: StatusCode, title: &str, body: &str, is_sandboxed: bool) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>{body}</main>",
        title = escape(title)
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let policy = if is_sandboxed { format!("sandbox; {POLICY}") } else { POLICY.to_owned() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("content-security-policy", HeaderValue::from_str(&policy).expect("it is ASCII"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What was refused, and why.
pub fn notice(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, title, &format!("<p>{}</p>", escape(text)), false)
}

/// The code that the user takes to the app.
pub fn code(code: &str) -> Response {
    let body = format!("<p>Enter this code into the app:</p><p><code id=\"code\">{}</code></p>", escape(code));
    page(StatusCode::OK, "Access code", &body, false)
}

/// `GET /s/TOKEN/NAME`: what a link shows.
pub async fn link(gateway: Arc<Gateway>, request: Request) -> Response {
    let token = request.uri().path().split('/').nth(2).unwrap_or_default();
    match links::open(&gateway.stone, token).await {
        Ok(Some(info)) if info.has_password => {
            notice(StatusCode::OK, "Locked", "This link asks for a password, which this page does not take yet.")
        }
        Ok(Some(info)) => {
            let meta = &info.entry.meta;
            let what = match meta.kind {
                NodeKind::File => format!("A file of {} bytes.", meta.size),
                NodeKind::Folder | NodeKind::Mount => "A folder.".to_owned(),
            };
            let name = if meta.name.is_empty() { "Shared folder" } else { &meta.name };
            page(StatusCode::OK, name, &format!("<p>{what}</p>"), true)
        }
        Ok(None) => notice(StatusCode::NOT_FOUND, "Nothing here", "The link is none, or is no more."),
        Err(error) => {
            tracing::warn!(?error, "could not look up a link");
            notice(StatusCode::SERVICE_UNAVAILABLE, "Not now", "The service is not available; try again.")
        }
    }
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_markup() {
        assert_eq!(escape("<img src=x onerror='a'>&\""), "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;");
        let page = notice(StatusCode::OK, "<b>", "<script>");
        assert!(page.headers()["content-security-policy"].to_str().expect("ASCII").contains("default-src 'none'"));
    }
}
