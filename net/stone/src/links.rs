//! Shared links as clients see them: their URLs and their metadata.

use base::Nsid;
use meta::NodeKind;
use serde_json::{Value, json};

use crate::call::Stone;
use crate::error::tagged;
use crate::form::escape;
use crate::ids::{file_id, link_token};
use crate::places::Found;
use crate::stamp;

/// The token of a link's URL: of our host, or the one that clients expect.
#[must_use]
pub fn token_of(www: &str, url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/')?;
    let own = www.split_once("://").map_or(www, |(_, host)| host);
    if host != own && host != "www.dropbox.com" {
        return None;
    }
    let mut parts = path.split(['/', '?', '#']);
    let kind = parts.next()?;
    matches!(kind, "s" | "sh" | "scl").then(|| parts.next().unwrap_or_default().to_owned())
}

/// The URL of a link to something of this name.
#[must_use]
pub fn url(stone: &Stone, nsid: Nsid, link: u64, name: &str) -> String {
    format!("{}/s/{}/{}?dl=0", stone.www, link_token(&stone.keys, nsid, link), escape(name))
}

/// The SharedLinkMetadata of a link. `is_own`: the caller has made it, and is told where what it shows is.
#[must_use]
pub fn metadata(stone: &Stone, (nsid, link): (Nsid, u64), found: &Found, is_own: bool) -> Value {
    let meta = &found.entry.meta;
    let mut told = json!({
        ".tag": if meta.kind == NodeKind::File { "file" } else { "folder" },
        "url": url(stone, nsid, link, &meta.name),
        "id": file_id(meta.nsid, meta.node),
        "name": meta.name,
        "link_permissions": {
            "can_revoke": is_own, "visibility_policies": [], "can_set_expiry": false, "can_remove_expiry": false,
            "allow_download": true, "can_allow_download": is_own, "can_disallow_download": false,
            "allow_comments": true, "team_restricts_comments": false,
            "resolved_visibility": tagged("public"), "requested_visibility": tagged("public"),
            "effective_audience": tagged("public"), "link_access_level": tagged("viewer"),
        },
    });
    if is_own {
        told["path_lower"] = base::names::path_key(&found.path()).into();
    }
    if let Some(rev) = meta.rev() {
        told["client_modified"] = stamp::text(meta.client_mtime().unwrap_or(meta.server_mtime_ms)).into();
        told["server_modified"] = stamp::text(meta.server_mtime_ms).into();
        told["rev"] = rev.to_string().into();
        told["size"] = meta.size.into();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_of_our_host_or_of_the_one_that_clients_expect() {
        let token = |url| token_of("https://localhost:7443", url);
        assert_eq!(token("https://localhost:7443/s/abc/a.txt?dl=0").as_deref(), Some("abc"));
        assert_eq!(token("https://www.dropbox.com/s/abc/a.txt").as_deref(), Some("abc"));
        assert_eq!(token("https://www.dropbox.com/sh/abc?dl=0").as_deref(), Some("abc"));
        assert_eq!(token("https://example.com/s/abc"), None);
        assert_eq!(token("https://localhost:7443/home"), None);
        assert_eq!(token("nonsense"), None);
    }
}
