//! What every call goes through, before and after its handler, without sockets.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use base::{Acct, Jid, Nsid};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use meta::{Answer, Command, Group0Answer, Group0Query, Outcome, Query};
use serde_json::json;
use stone::token::AccessToken;
use stone::{
    ApiError, Asked, Host, Keys, Metaserver, Needs, Reply, Route, Router, Scope, Secret, Stone, Style, router, unknown,
};

/// Nothing is revoked, and account 5 has the namespaces 7 and 8.
struct Cluster;

impl Metaserver for Cluster {
    fn command(&self, _: Acct, _: Nsid, _: Command) -> Asked<'_, Outcome> {
        Box::pin(async { Ok(Outcome::Done) })
    }

    fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Asked<'_, Answer> {
        Box::pin(async move {
            Ok(match query {
                Query::Group0(Group0Query::Revoked { .. }) => {
                    Answer::Group0(Group0Answer::Revoked { tokens: Vec::new(), generations: Vec::new(), next: None })
                }
                Query::Head if acct == Acct(5) && (nsid == Nsid(7) || nsid == Nsid(8)) => Answer::Head(Jid(1)),
                _ => Answer::NoAccess,
            })
        })
    }
}

const fn echo(name: &'static str, style: Style, needs: Needs, scope: Option<Scope>) -> Route<()> {
    Route {
        name,
        host: Host::Api,
        style,
        needs,
        scope,
        is_long: false,
        handler: |call, ()| {
            Box::pin(async move {
                let text = call.arg.opt_text("text")?.unwrap_or_default();
                let body = call.body.take().collect().await.map_err(|_| ApiError::tag("broken"))?.to_bytes();
                let body = String::from_utf8_lossy(&body).into_owned();
                Ok(Reply::from(json!({ "text": text, "base": call.base.0, "body": body })))
            })
        },
    }
}

static ROUTES: &[Route<()>] = &[
    echo("echo/user", Style::Rpc, Needs::User, Some(Scope::FilesMetadataRead)),
    echo("echo/write", Style::Rpc, Needs::User, Some(Scope::FilesContentWrite)),
    echo("echo/anyone", Style::Rpc, Needs::Nobody, None),
    echo("echo/upload", Style::Upload, Needs::User, None),
    echo("echo/download", Style::Download, Needs::User, None),
    Route {
        name: "fail/busy",
        host: Host::Api,
        style: Style::Rpc,
        needs: Needs::Nobody,
        scope: None,
        is_long: false,
        handler: |_, ()| Box::pin(async { Err(ApiError::busy()) }),
    },
];

static ELSEWHERE: &[(&str, Host)] = &[("files/upload", Host::Content)];

struct Api {
    service: TowerToHyperService<Router>,
    token: String,
}

/// An answer: status, headers, body.
struct Told {
    status: u16,
    headers: axum::http::HeaderMap,
    body: String,
}

async fn api() -> Api {
    let stone = Arc::new(Stone::new(Arc::new(Cluster), Keys::new(&Secret::from_bytes([7; 32])), true, String::new()));
    stone.auth.refresh().await.expect("it is fetched");
    let scopes = 1 << Scope::FilesMetadataRead as u8;
    let token = AccessToken { serial: 1, acct: Acct(5), root: Nsid(7), token_gen: 1, expires_s: 0, scopes, app: 0 };
    let token = token.text(&stone.keys);
    let routes = router(ROUTES, &stone, &()).fallback_service(Router::new().fallback(unknown(ELSEWHERE)));
    Api { service: TowerToHyperService::new(routes), token }
}

impl Api {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &[u8])], body: &str) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.service.call(request.body(Body::from(body.to_owned())).expect("a request")).await;
        let (head, body) = answer.expect("routers do not fail").into_parts();
        let body = String::from_utf8(body.collect().await.expect("a body").to_bytes().to_vec()).expect("text");
        Told { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// A call with the token.
    async fn call(&self, route: &str, headers: &[(&str, &[u8])], body: &str) -> Told {
        let bearer = format!("Bearer {}", self.token);
        let all: Vec<(&str, &[u8])> = headers.iter().copied().chain([("authorization", bearer.as_bytes())]).collect();
        self.send("POST", &format!("/2/{route}"), &all, body).await
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_may_be_read_by_browsers() {
    let api = api().await;
    for (method, path) in [("POST", "/2/echo/user"), ("POST", "/2/none"), ("OPTIONS", "/2/echo/user"), ("GET", "/x")] {
        let told = api.send(method, path, &[], "").await;
        let id = told.headers["x-dropbox-request-id"].to_str().expect("text");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{method} {path}");
        assert_eq!(told.headers["access-control-allow-origin"], "*");
    }
    assert_eq!(api.send("OPTIONS", "/2/echo/user", &[], "").await.status, 200);
}

#[tokio::test]
async fn an_argument_comes_in_a_body_a_header_or_a_url() {
    let api = api().await;
    let json: (&str, &[u8]) = ("content-type", b"application/json");
    let told = api.call("echo/user", &[json], r#"{"text":"a"}"#).await;
    assert_eq!((told.status, told.body.as_str()), (200, r#"{"base":7,"body":"","text":"a"}"#));
    assert_eq!(told.headers[header::CONTENT_TYPE], "application/json", "clients compare the whole of it");
    for void in ["null", ""] {
        assert_eq!(api.call("echo/user", &[], void).await.status, 200);
    }
    let cors: (&str, &[u8]) = ("content-type", b"text/plain; charset=dropbox-cors-hack");
    assert_eq!(api.call("echo/user", &[cors], "null").await.status, 200);
    let other: (&str, &[u8]) = ("content-type", b"text/html");
    assert_eq!(api.call("echo/user", &[other], "null").await.status, 400);
    // Some clients send UTF-8 as it is, others escape it.
    let raw = "{\"text\":\"\u{e9}\"}".as_bytes();
    for arg in [raw, br#"{"text":"\u00e9"}"#] {
        let told = api.call("echo/upload", &[("dropbox-api-arg", arg)], "content").await;
        assert_eq!(told.body, "{\"base\":7,\"body\":\"content\",\"text\":\"\u{e9}\"}");
    }
    assert_eq!(api.call("echo/upload?arg=%7B%22text%22:%22u%22%7D", &[], "").await.status, 200);
    assert_eq!(api.call("echo/upload", &[], "content").await.status, 400);
    let get = format!("/2/echo/download?arg=%7B%7D&authorization=Bearer%20{}", api.token);
    assert_eq!(api.send("GET", &get, &[], "").await.status, 200);
    assert_eq!(api.send("GET", &get.replace("download", "user"), &[], "").await.status, 400);
}

#[tokio::test]
async fn who_may_not_call_is_told_why() {
    let api = api().await;
    let told = api.call("echo/write", &[], "null").await;
    assert_eq!(told.status, 401);
    assert!(told.body.contains(r#""required_scope":"files.content.write""#), "{}", told.body);
    assert_eq!(api.send("POST", "/2/echo/user", &[], "null").await.status, 400);
    let bad: (&str, &[u8]) = ("authorization", b"Bearer x");
    assert_eq!(api.send("POST", "/2/echo/user", &[bad], "null").await.status, 401);
    assert_eq!(api.send("POST", "/2/echo/anyone", &[bad], "null").await.status, 200, "a header is ignored there");
    let team: (&str, &[u8]) = ("dropbox-api-select-user", b"dbmid:x");
    assert_eq!(api.call("echo/user", &[team], "null").await.status, 400);
}

#[tokio::test]
async fn a_path_root_moves_where_paths_begin() {
    let api = api().await;
    let rooted = async |root: serde_json::Value| {
        let root = root.to_string();
        api.call("echo/user", &[("dropbox-api-path-root", root.as_bytes())], "null").await
    };
    assert!(rooted(json!({ ".tag": "namespace_id", "namespace_id": "8" })).await.body.contains("\"base\":8"));
    assert!(rooted(json!({ ".tag": "root", "root": "7" })).await.body.contains("\"base\":7"));
    assert!(rooted(json!({ ".tag": "home" })).await.body.contains("\"base\":7"));
    for root in [json!({ ".tag": "root", "root": "8" }), json!({ ".tag": "namespace_id", "namespace_id": "9" })] {
        assert_eq!(rooted(root).await.status, 422);
    }
    assert_eq!(rooted(json!("home")).await.status, 400);
}

#[tokio::test]
async fn bounds_hold_at_their_edge() {
    let api = api().await;
    let text = |bytes: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(bytes - 11));
    let fits = text(stone::route::ARG_HEADER_MAX);
    assert_eq!(api.call("echo/upload", &[("dropbox-api-arg", fits.as_bytes())], "").await.status, 200);
    let long = text(stone::route::ARG_HEADER_MAX + 1);
    assert_eq!(api.call("echo/upload", &[("dropbox-api-arg", long.as_bytes())], "").await.status, 431);
    let other = "x".repeat(16 << 10);
    assert_eq!(api.call("echo/user", &[("x-other", other.as_bytes())], "null").await.status, 431);
    assert_eq!(api.call("echo/user", &[], &text(stone::route::RPC_BODY_MAX)).await.status, 200);
    assert_eq!(api.call("echo/user", &[], &text(stone::route::RPC_BODY_MAX + 1)).await.status, 413);
    assert_eq!(api.call("echo/user", &[("content-length", b"9000000000")], "null").await.status, 413);
    assert_eq!(api.call("echo/user", &[("content-encoding", b"gzip")], "null").await.status, 415);
}

#[tokio::test]
async fn what_no_table_has_is_unknown_or_elsewhere() {
    let api = api().await;
    let told = api.call("files/nothing", &[], "null").await;
    assert_eq!((told.status, told.body.as_str()), (400, "Unknown API function: \"files/nothing\""));
    let told = api.call("files/upload", &[], "null").await;
    assert!(told.status == 400 && told.body.ends_with("this route is on the content host"), "{}", told.body);
    let busy = api.send("POST", "/2/fail/busy", &[], "").await;
    assert_eq!((busy.status, &busy.headers[header::RETRY_AFTER]), (429, &"1".parse().expect("a header")));
}
