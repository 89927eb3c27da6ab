//! `GET /s/TOKEN/NAME`: what a shared link shows to whoever has it.
//!
//! ```text
//! none, over, revoked ─▶ 404      with a password and without a pass ─▶ asks; the right one ─▶ the page, with a pass
//! file ─▶ name, size, preview, download      folder ─▶ what is in it, page by page, ?path=/below
//! ?dl=1, ?raw=1 ─▶ the content host, which looks at the link and the pass again
//! ```
//! The page is in a sandbox without scripts and without an origin: whatever a name or a file holds, it acts on nothing.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use base::Nsid;
use base::names::name_of;
use meta::{Answer, At, Entry, LinkInfo, NodeKind, Query, What};
use stone::form::{Form, escape as url_escape};
use stone::ids::{base64url, from_base64url, parse_link_token};
use stone::links::{PASS_S, door_name, may_pass, pass};
use stone::listen::Peer;
use stone::password::{Door, LINK_TRIES_MAX, Verdict};
use stone::route::read_body;
use stone::stamp::{self, now_ms};
use stone::{ApiError, PathArg, PathKinds};

use crate::pages::{Page, escape, not_now, notice, redirect};
use crate::state::Gateway;

/// Entries of a page of a folder.
const ENTRIES_MAX: u32 = 500;
const FORM_BYTES_MAX: usize = 8 << 10;
/// A larger picture or text is not shown by itself.
const PICTURE_BYTES_MAX: u64 = 32 << 20;
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// A text below this gets a low frame.
const SHORT_BYTES_MAX: u64 = 600;

/// A link that was found, and how it was asked for.
struct Opened<'a> {
    gateway: &'a Gateway,
    token: &'a str,
    nsid: Nsid,
    info: LinkInfo,
    /// Below the folder that it shows; empty for that itself.
    path: String,
    /// That the password was given; empty where there is none.
    pass: String,
}

/// `GET` and `POST /s/TOKEN/NAME`.
pub async fn link(gateway: Arc<Gateway>, request: Request) -> Response {
    match answer(&gateway, request).await {
        Ok(response) => response,
        Err(ApiError::Status(status, text)) => {
            notice(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), "Not taken", &text)
        }
        Err(error) => {
            tracing::warn!(?error, "could not look up a link");
            not_now()
        }
    }
}

fn nothing() -> Response {
    notice(StatusCode::NOT_FOUND, "Nothing here", "The link is none, or is no more.")
}

async fn answer(gateway: &Gateway, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let query = Form::parse(head.uri.query().unwrap_or_default());
    let token = head.uri.path().split('/').nth(2).unwrap_or_default();
    let Some((nsid, link)) = parse_link_token(&gateway.stone.keys, token) else { return Ok(nothing()) };
    let info = match gateway.stone.meta.query(base::Acct(0), nsid, Query::Link(link)).await? {
        Answer::Link(info) => *info,
        Answer::NotFound | Answer::NoAccess => return Ok(nothing()),
        other => return Err(ApiError::unexpected(&other)),
    };
    if info.settings.members_only {
        let text = "Only members of this folder can open it, with an app that has signed in.";
        return Ok(notice(StatusCode::FORBIDDEN, "For members", text));
    }
    let path = match query.get("path").map(|path| PathArg::parse(path, PathKinds { id: false, rev: false })) {
        None => String::new(),
        Some(Ok(PathArg::Path(path))) if info.entry.meta.kind == NodeKind::Folder => path,
        Some(_) => return Ok(nothing()),
    };
    let given = query.get("pass").unwrap_or_default().to_owned();
    let mut opened = Opened { gateway, token, nsid, info, path, pass: String::new() };
    if opened.info.has_password {
        if head.method == Method::POST {
            let form = read_body(&head.headers, body, FORM_BYTES_MAX).await?;
            let form = Form::parse(&String::from_utf8_lossy(&form));
            let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
            return opened.judge(form.get("password").unwrap_or_default(), peer).await;
        }
        if !may_pass(&gateway.stone.keys, nsid, &opened.info, Some(&given), now_ms()) {
            return Ok(ask(StatusCode::OK, ""));
        }
        opened.pass = given;
    }
    if query.get("dl") == Some("1") || query.get("raw") == Some("1") {
        return Ok(opened.content(query.get("dl") == Some("1")));
    }
    opened.show(query.get("after")).await
}

/// The form that asks for the password; it posts to where it came from.
fn ask(status: StatusCode, why: &str) -> Response {
    let why =
        if why.is_empty() { String::new() } else { format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(why)) };
    let body = format!(
        "<p class=\"dim\">This link has a password.</p><form method=\"post\"><label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" required autofocus autocomplete=\"off\">{why}\
         <div class=\"foot\"><button class=\"primary grow\">Open</button></div></form>"
    );
    let policy = "sandbox allow-forms; form-action 'self'";
    Page { status, title: "Locked", body: &body, policy, is_wide: false }.send()
}

impl Opened<'_> {
    /// A password was sent.
    async fn judge(&self, password: &str, address: Option<std::net::IpAddr>) -> Result<Response, ApiError> {
        let name = door_name(self.nsid, self.info.link);
        let door = Door { name: &name, tries_max: LINK_TRIES_MAX, address };
        let (stone, kept) = (&self.gateway.stone, &self.info.settings.password);
        Ok(match stone.guard.judge(&door, kept, password).await? {
            Verdict::Wrong => ask(StatusCode::FORBIDDEN, "This is not the password."),
            Verdict::TooMany => ask(StatusCode::TOO_MANY_REQUESTS, "Too many tries. Wait ten minutes, then try again."),
            Verdict::Right => {
                let pass = pass(&stone.keys, self.nsid, self.info.link, kept, now_ms() / 1000 + PASS_S);
                let page = Opened { pass, info: self.info.clone(), path: self.path.clone(), ..*self };
                redirect(StatusCode::SEE_OTHER, &page.page_url(&self.path, None)).unwrap_or_else(nothing)
            }
        })
    }

    /// The fields of an address below this link.
    fn fields(&self, path: &str, more: Option<(&str, &str)>) -> String {
        let all = [("path", path), ("pass", &self.pass), more.unwrap_or(("", ""))];
        let some = all.iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<String> = some.map(|(name, value)| format!("{name}={}", url_escape(value))).collect();
        if fields.is_empty() { String::new() } else { format!("?{}", fields.join("&")) }
    }

    fn name(&self) -> &str {
        let name = &self.info.entry.meta.name;
        if name.is_empty() { "Shared folder" } else { name }
    }

    fn page_url(&self, path: &str, after: Option<&str>) -> String {
        let fields = self.fields(path, after.map(|after| ("after", after)));
        format!("/s/{}/{}{fields}", self.token, url_escape(self.name()))
    }

    /// Where the content host gives what is at a path; `None`: there is no such host.
    fn content_url(&self, path: &str, is_saved: bool) -> Option<String> {
        let host = self.gateway.content.as_deref()?;
        let fields = self.fields(path, is_saved.then_some(("dl", "1")));
        Some(format!("{host}/c/{}/{}{fields}", self.token, url_escape(self.name())))
    }

    fn content(&self, is_saved: bool) -> Response {
        if self.info.settings.no_download {
            return notice(
                StatusCode::FORBIDDEN,
                "Not to be saved",
                "Whoever made this link does not let it be saved.",
            );
        }
        let target = self.content_url(&self.path, is_saved);
        target.and_then(|target| redirect(StatusCode::FOUND, &target)).unwrap_or_else(not_now)
    }

    /// What is at the path, with the rights of whoever made the link.
    async fn show(&self, after: Option<&str>) -> Result<Response, ApiError> {
        let at = At { node: self.info.entry.meta.node, path: self.path.clone() };
        let asked =
            self.gateway.stone.meta.query(self.info.acct, self.nsid, Query::Lookup(What::At(at.clone()))).await?;
        let entry = match asked {
            Answer::Entry(entry) => entry,
            _ => return Ok(nothing()),
        };
        match entry.meta.kind {
            NodeKind::File => Ok(self.file(&entry)),
            NodeKind::Folder => self.folder(at, after).await,
            NodeKind::Mount => Ok(nothing()),
        }
    }

    fn file(&self, entry: &Entry) -> Response {
        let meta = &entry.meta;
        let time = stamp::text(meta.server_mtime_ms);
        let told = format!("{} · {}", size(meta.size), time.replace('T', " ").replace('Z', " UTC"));
        let mut body = format!("<p class=\"dim\">{told}</p>");
        let may_have = !self.info.settings.no_download;
        if may_have && let Some(url) = self.content_url(&self.path, false) {
            body.push_str(&preview(&meta.name, meta.size, &url));
        }
        body.push_str("<div class=\"foot\">");
        if may_have && let Some(url) = self.content_url(&self.path, true) {
            body.push_str(&format!("<a class=\"button primary\" href=\"{}\">Download</a>", escape(&url)));
        } else {
            body.push_str("<span class=\"dim\">This link shows, and does not give.</span>");
        }
        body.push_str(&self.up());
        body.push_str("</div>");
        self.page(&meta.name, &body)
    }

    /// A way to the folder above, below what the link shows.
    fn up(&self) -> String {
        let Some((above, _)) = self.path.rsplit_once('/') else { return String::new() };
        format!("<a class=\"button\" href=\"{}\">Folder above</a>", escape(&self.page_url(above, None)))
    }

    async fn folder(&self, at: At, after: Option<&str>) -> Result<Response, ApiError> {
        let position = after.and_then(from_base64url).unwrap_or_default();
        let query = Query::ListPage { at, recursive: false, position, limit: ENTRIES_MAX };
        let (entries, next) = match self.gateway.stone.meta.query(self.info.acct, self.nsid, query).await? {
            Answer::Page { entries, next, .. } => (entries, next),
            _ => return Ok(nothing()),
        };
        let mut body = String::from("<ul class=\"list\">");
        for entry in entries.iter().filter(|entry| entry.meta.kind != NodeKind::Mount) {
            let path = format!("{}/{}", self.path, entry.meta.name);
            let (class, told) = match entry.meta.kind {
                NodeKind::File => ("file", size(entry.meta.size)),
                _ => ("folder", String::new()),
            };
            let (url, name) = (escape(&self.page_url(&path, None)), escape(&entry.meta.name));
            body.push_str(&format!(
                "<li><a class=\"{class}\" href=\"{url}\">{name}</a><span class=\"dim\">{told}</span></li>"
            ));
        }
        body.push_str("</ul>");
        if entries.is_empty() {
            body.push_str("<p class=\"dim\">Nothing is in this folder.</p>");
        }
        body.push_str("<div class=\"foot\">");
        if let Some(next) = next {
            let url = self.page_url(&self.path, Some(&base64url(&next)));
            body.push_str(&format!("<a class=\"button\" href=\"{}\">More</a>", escape(&url)));
        }
        body.push_str(&self.up());
        body.push_str("</div>");
        let name = if self.path.is_empty() { self.name() } else { name_of(&self.path) };
        Ok(self.page(name, &body))
    }

    fn page(&self, title: &str, body: &str) -> Response {
        let host = self.gateway.content.as_deref().unwrap_or_default();
        let policy =
            format!("sandbox allow-downloads; img-src {host}; media-src {host}; frame-src {host}; form-action 'none'");
        Page { status: StatusCode::OK, title, body, policy: &policy, is_wide: true }.send()
    }
}

/// The file itself, where a browser shows its kind and it is not too large.
fn preview(name: &str, bytes: u64, url: &str) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    let (url, name) = (escape(url), escape(name));
    let inside = match &ending[..] {
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "bmp" if bytes <= PICTURE_BYTES_MAX => {
            format!("<img src=\"{url}\" alt=\"{name}\">")
        }
        "mp4" | "webm" | "m4v" => format!("<video controls preload=\"metadata\" src=\"{url}\"></video>"),
        "mp3" | "ogg" | "opus" | "wav" | "m4a" => {
            format!("<audio controls preload=\"metadata\" src=\"{url}\"></audio>")
        }
        "txt" | "md" | "csv" | "json" | "log" | "toml" | "yaml" | "rs" | "py" | "js" | "c" | "h"
            if bytes <= TEXT_BYTES_MAX =>
        {
            let class = if bytes < SHORT_BYTES_MAX { "short" } else { "tall" };
            format!("<iframe sandbox class=\"{class}\" title=\"{name}\" src=\"{url}\"></iframe>")
        }
        _ => return String::new(),
    };
    format!("<div class=\"stage\">{inside}</div>")
}

/// 1536 is "1.5 KB"; units of 1024.
fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut unit = 0;
    while unit + 1 < units.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_of_1024() {
        assert_eq!((size(0), size(1023), size(1024)), ("0 B".into(), "1023 B".into(), "1.0 KB".into()));
        assert_eq!((size(1536), size(5 << 30)), ("1.5 KB".into(), "5.0 GB".into()));
        assert_eq!(size(u64::MAX), "16777215.9 TB");
    }

    #[test]
    fn a_preview_has_no_markup_of_the_name_and_none_of_what_can_act() {
        let shown = preview("\"><script>.png", 10, "/c/t/a?x=1&y=\"2");
        assert!(shown.contains("&quot;&gt;&lt;script&gt;.png") && shown.contains("y=&quot;2"), "{shown}");
        assert_eq!(preview("a.svg", 10, "/"), "");
        assert_eq!(preview("a.html", 10, "/"), "");
        assert_eq!(preview("a.png", PICTURE_BYTES_MAX + 1, "/"), "");
        assert!(preview("a.txt", 10, "/").contains("<iframe sandbox "));
    }
}
