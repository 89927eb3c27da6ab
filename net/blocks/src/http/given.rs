//! Content for whoever has its address, without a token: temporary links, and what shared links show.
//!
//! ```text
//! GET /t/PROOF/NAME                           one revision, by a temporary link
//! GET /c/TOKEN/NAME?path=/below&pass=PASS     what a shared link shows; `pass` where it has a password
//! ```
//! Shown where a browser can do that without harm, and saved with `dl=1`.
//! What is served here is somebody's bytes on our host, so no browser may take it for a page of ours: only kinds that
//! cannot act are shown, never sniffed, in a sandbox, and all else is saved.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use meta::{Answer, At, NodeKind, Query, What};
use stone::form::{Form, escape};
use stone::ids::parse_link_token;
use stone::links::may_pass;
use stone::stamp::now_ms;
use stone::{ApiError, PathArg, PathKinds, Stone, Temporary};

use super::downloads::{Selected, select};
use super::ends;
use crate::content::{Caller, Content, ReadPlan};

const POLICY: &str = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'";

/// Kinds that a browser shows and that cannot act, by the endings of names.
const SHOWN: [(&str, &[&str]); 13] = [
    ("image/png", &["png"]),
    ("image/jpeg", &["jpg", "jpeg"]),
    ("image/gif", &["gif"]),
    ("image/webp", &["webp"]),
    ("image/avif", &["avif"]),
    ("image/bmp", &["bmp"]),
    ("video/mp4", &["mp4", "m4v"]),
    ("video/webm", &["webm"]),
    ("audio/mpeg", &["mp3"]),
    ("audio/ogg", &["ogg", "opus"]),
    ("audio/wav", &["wav"]),
    ("audio/mp4", &["m4a"]),
    (
        "text/plain; charset=utf-8",
        &[
            "txt", "md", "csv", "json", "xml", "html", "css", "js", "ts", "rs", "py", "c", "h", "cpp", "go", "java",
            "sh", "toml", "yaml", "yml", "ini", "log", "tex", "sql",
        ],
    ),
];

/// Why nothing is given.
enum Refused {
    /// It was never given, or may not be read any more: which of them is not told.
    Nothing,
    /// Its time is over.
    Over,
    /// The cluster or the store.
    Failed(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        Refused::Failed(error)
    }
}

/// The routes. Without a fallback.
pub(super) fn routes(stone: &Arc<Stone>, content: &Content) -> Router {
    let (shared_stone, shared_content) = (Arc::clone(stone), content.clone());
    let shared = move |request: Request| {
        let (stone, content) = (Arc::clone(&shared_stone), shared_content.clone());
        let (head, _) = request.into_parts();
        async move { respond(&head, shared(&stone, &content, &head).await) }
    };
    let (stone, content) = (Arc::clone(stone), content.clone());
    let temporary = move |request: Request| {
        let (stone, content) = (Arc::clone(&stone), content.clone());
        // The body is no part of it, and cannot be shared.
        let (head, _) = request.into_parts();
        async move { respond(&head, temporary(&stone, &content, &head).await) }
    };
    Router::new().route("/t/{proof}/{name}", any(temporary)).route("/c/{token}/{name}", any(shared))
}

/// What a temporary link names, as far as its account may still read it.
async fn temporary(stone: &Stone, content: &Content, head: &Parts) -> Result<(Caller, ReadPlan, Content), Refused> {
    let proof = head.uri.path().split('/').nth(2).unwrap_or_default();
    let link = Temporary::parse(&stone.keys, proof).ok_or(Refused::Nothing)?;
    if u64::from(link.expires_s) * 1000 <= now_ms() {
        return Err(Refused::Over);
    }
    let reader = Caller { acct: link.acct, home: link.home };
    let plan = plan(content, reader, link.rev.nsid, What::Rev(link.rev.jid)).await?;
    Ok((reader, plan, content.clone()))
}

/// What a shared link shows, or a file below the folder that it shows, while its maker may read that.
async fn shared(stone: &Stone, content: &Content, head: &Parts) -> Result<(Caller, ReadPlan, Content), Refused> {
    let token = head.uri.path().split('/').nth(2).unwrap_or_default();
    let (nsid, link) = parse_link_token(&stone.keys, token).ok_or(Refused::Nothing)?;
    let asked = stone.meta.query(base::Acct(0), nsid, Query::Link(link)).await;
    let info = match asked.map_err(ApiError::from)? {
        Answer::Link(info) => *info,
        Answer::NotFound | Answer::NoAccess => return Err(Refused::Nothing),
        other => return Err(ApiError::unexpected(&other).into()),
    };
    let query = Form::parse(head.uri.query().unwrap_or_default());
    let is_open = !info.settings.members_only && !info.settings.no_download;
    if !is_open || !may_pass(&stone.keys, nsid, &info, query.get("pass"), now_ms()) {
        return Err(Refused::Nothing);
    }
    let node = info.entry.meta.node;
    let at = match query.get("path").map(|path| PathArg::parse(path, PathKinds { id: false, rev: false })) {
        None => At::node(node),
        Some(Ok(PathArg::Path(path))) if info.entry.meta.kind == NodeKind::Folder => At { node, path },
        Some(_) => return Err(Refused::Nothing),
    };
    let reader = Caller { acct: info.acct, home: base::Nsid(0) };
    let plan = plan(content, reader, nsid, What::At(at)).await?;
    Ok((reader, plan, content.clone()))
}

async fn plan(content: &Content, reader: Caller, nsid: base::Nsid, what: What) -> Result<ReadPlan, Refused> {
    match content.plan(reader, nsid, what).await {
        Ok(plan) => Ok(plan),
        // Errors of the store stay what they are; all others are one.
        Err(error) => Err(ends::read(error).map_or_else(Refused::Failed, |_| Refused::Nothing)),
    }
}

fn respond(head: &Parts, given: Result<(Caller, ReadPlan, Content), Refused>) -> Response {
    if head.method == Method::OPTIONS {
        return finish(Response::new(Body::empty()));
    }
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let outcome = if is_read { given } else { Err(Refused::Nothing) };
    let answer = outcome.and_then(|(reader, plan, content)| {
        let name = plan.entry.meta.name.clone();
        let is_saved = Form::parse(head.uri.query().unwrap_or_default()).get("dl") == Some("1");
        Ok(file(select(&head.headers, &content, reader, plan)?, &name, is_saved))
    });
    finish(answer.unwrap_or_else(|refused| refuse(&refused)))
}

fn file(selected: Selected, name: &str, is_saved: bool) -> Response {
    let mut response = Response::new(selected.body);
    *response.status_mut() = selected.status;
    *response.headers_mut() = selected.headers;
    let kind = shown_as(name).filter(|_| !is_saved);
    let (kind, how) = kind.map_or(("application/octet-stream", "attachment"), |kind| (kind, "inline"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // An escaped name is ASCII.
    if let Ok(value) = HeaderValue::from_str(&format!("{how}; filename*=UTF-8''{}", escape(name))) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The kind under which a file is shown; `None`: it is saved.
fn shown_as(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    SHOWN.iter().find(|(_, endings)| endings.contains(&&ending[..])).map(|(kind, _)| *kind)
}

fn refuse(refused: &Refused) -> Response {
    let (status, text) = match refused {
        Refused::Nothing => (StatusCode::NOT_FOUND, "nothing is here\n"),
        Refused::Over => (StatusCode::GONE, "this link is over; ask for another one\n"),
        Refused::Failed(error) => {
            tracing::warn!(?error, "could not give content");
            (StatusCode::SERVICE_UNAVAILABLE, "the content is not available now; try again\n")
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The rules of all answers. The address is the right, so any page that has it may read what it gives.
fn finish(mut response: Response) -> Response {
    let rules: [(&'static str, &'static str); 8] = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "private, no-cache"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "range, if-none-match, if-range"),
        ("access-control-expose-headers", "content-range, etag, content-length"),
    ];
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_that_cannot_act_are_shown_and_markup_is_text() {
        assert_eq!(shown_as("a.PNG"), Some("image/png"));
        assert_eq!(shown_as("page.html"), Some("text/plain; charset=utf-8"));
        for saved in ["a.svg", "a.pdf", "a.exe", "png", "", "a.", "a.xhtml", "a.swf"] {
            assert_eq!(shown_as(saved), None, "{saved}");
        }
        let acting = ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"];
        assert!(SHOWN.iter().all(|(kind, _)| !acting.contains(kind)));
    }
}
