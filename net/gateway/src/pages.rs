//! Pages without a script: a code, a notice, and the frame that links and sign-in use. No script, nothing from elsewhere.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

const STYLE: &str = include_str!("../web/plain.css");
const LOGO: &str = "<svg class=\"logo\" viewBox=\"0 0 32 32\" aria-hidden=\"true\"><path d=\"M4 20c4-3 8-3 12 0s8 3 12 \
    0v8H4z\"/><path d=\"M16 3l7 8-7 7-7-7z\"/></svg>";
/// Of every page; a page adds what it shows and where its forms go.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// A page to be sent.
pub struct Page<'a> {
    /// What it answers.
    pub status: StatusCode,
    /// The heading, as text.
    pub title: &'a str,
    /// What follows it, as HTML.
    pub body: &'a str,
    /// More of its policy, as `form-action 'self'`; empty for a page that has no form and shows nothing.
    pub policy: &'a str,
    /// As wide as a picture.
    pub is_wide: bool,
}

impl Page<'_> {
    /// As HTTP.
    pub fn send(&self) -> Response {
        let (title, class) = (escape(self.title), if self.is_wide { " class=\"wide\"" } else { "" });
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main{class}>{LOGO}<h1>{title}</h1>{}</main></body></html>",
            self.body
        );
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = self.status;
        let policy = match self.policy {
            "" => format!("{POLICY}; form-action 'none'"),
            more => format!("{more}; {POLICY}"),
        };
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'; sandbox"));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What was refused, and why.
pub fn notice(status: StatusCode, title: &str, text: &str) -> Response {
    Page { status, title, body: &format!("<p>{}</p>", escape(text)), policy: "", is_wide: false }.send()
}

/// The cluster did not answer.
pub fn not_now() -> Response {
    notice(StatusCode::SERVICE_UNAVAILABLE, "Not now", "The service is not available; try again.")
}

/// The code that the user takes to the app.
pub fn code(code: &str) -> Response {
    let body = format!("<p>Enter this code into the app:</p><p><code id=\"code\">{}</code></p>", escape(code));
    Page { status: StatusCode::OK, title: "Access code", body: &body, policy: "", is_wide: false }.send()
}

/// To another address.
pub fn redirect(status: StatusCode, target: &str) -> Option<Response> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(target).ok()?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
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
        let policy = page.headers()["content-security-policy"].to_str().expect("ASCII");
        assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'none'"));
        assert_eq!(page.headers()["x-frame-options"], "DENY");
    }
}
