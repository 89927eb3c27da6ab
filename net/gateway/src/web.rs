//! The web page: files of `web/` as they are, and the rules under which a browser runs them.
//!
//! Everything comes from here and nothing is made at build time. A script of anybody else's does not run: the policy
//! names this host alone, and `require-trusted-types-for` forbids to make markup of text. What the page may do is what
//! its token allows; no cookie is set, so no other site can act for who is signed in.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use stone::ids::hex;
use stone::token::digest;

/// A file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A module, by its name.
macro_rules! module {
    ($name:literal) => {
        Asset { path: concat!("/web/", $name), kind: SCRIPT, text: include_str!(concat!("../web/", $name)) }
    };
}

const ASSETS: [Asset; 13] = [
    module!("api.js"),
    module!("app.js"),
    module!("dialogs.js"),
    module!("dom.js"),
    module!("grid.js"),
    module!("hash.js"),
    module!("listing.js"),
    module!("panel.js"),
    module!("session.js"),
    module!("transfers.js"),
    module!("words.js"),
    Asset { path: "/web/app.css", kind: "text/css; charset=utf-8", text: include_str!("../web/app.css") },
    Asset { path: "/web/icon.svg", kind: "image/svg+xml", text: include_str!("../web/icon.svg") },
];
const PAGE: &str = include_str!("../web/index.html");
/// Where the page has the content host's name.
const CONTENT_PLACE: &str = "{CONTENT_HOST}";

/// The page and its files. `content`: where content goes and comes from; `None`: where the page comes from.
pub fn pages(content: Option<&str>) -> Router {
    let content = content.unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' {content}; media-src {content}; \
         connect-src 'self' {content}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let page = PAGE.replace(CONTENT_PLACE, content);
    let mut router = Router::new().route("/", file("text/html; charset=utf-8", page, &policy));
    for asset in ASSETS {
        router = router.route(asset.path, file(asset.kind, asset.text.to_owned(), &policy));
    }
    router
}

/// One file, with an ETag: a browser asks each time, and gets it again only when it is another.
fn file(kind: &'static str, text: String, policy: &HeaderValue) -> axum::routing::MethodRouter {
    let tag = format!("\"{}\"", hex(&digest(&text)[..12]));
    let tag = HeaderValue::from_str(&tag).expect("hex is ASCII");
    let (text, policy) = (bytes::Bytes::from(text), policy.clone());
    get(move |request: Request| {
        let is_known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
        let body = if is_known { Body::empty() } else { Body::from(text.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        rules(response.headers_mut(), &policy);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().insert(header::ETAG, tag.clone());
        async { response }
    })
}

fn rules(headers: &mut HeaderMap, policy: &HeaderValue) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_and_its_modules_name_is_served() {
        let mut named = Vec::new();
        let sources = ASSETS.iter().map(|asset| asset.text).chain([PAGE]);
        for quoted in sources.flat_map(|text| text.split('"')) {
            if let Some(module) = quoted.strip_prefix("./") {
                named.push(format!("/web/{module}"));
            } else if quoted.starts_with("/web/") {
                named.push(quoted.to_owned());
            }
        }
        assert!(named.len() > 10);
        for name in named {
            assert!(ASSETS.iter().any(|asset| asset.path == name), "{name} is named and not served");
        }
    }

    #[test]
    fn no_module_makes_markup_of_text_or_names_another_host() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            let begin = asset.text.lines().next().unwrap_or_default();
            assert!(begin.starts_with("// "), "{}: its first line tells what it is for", asset.path);
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"] {
                let code = asset.text.lines().filter(|line| !line.trim_start().starts_with(['/', '*']));
                assert!(code.into_iter().all(|line| !line.contains(forbidden)), "{}: {forbidden}", asset.path);
            }
        }
        let text = PAGE.replace("https://", "");
        assert_eq!(text, PAGE, "nothing comes from elsewhere");
        assert!(!PAGE.contains("style=") && !PAGE.contains("onclick="), "the policy would refuse it");
    }
}
