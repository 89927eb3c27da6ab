//! Shared links as clients see them: their URLs, their metadata, and the proof that a password was given.
//!
//! ```text
//! pass = base64url of   0 u8 format=1   1 zero[3]   4 u32 expires_s   8 nsid u64   16 link u64
//!                      24 u8[8] of the SHA-256 of the password's hash   32 HMAC[16]
//! ```
//! A pass is good for an hour, for one link, and while that has the password which was given.

use base::Nsid;
use meta::{LinkInfo, NodeKind, PasswordHash};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::call::Stone;
use crate::error::tagged;
use crate::form::escape;
use crate::ids::{base64url, file_id, from_base64url, link_token};
use crate::keys::{Keys, Kind};
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

/// Seconds that a pass is good.
pub const PASS_S: u64 = 60 * 60;
const PASS_FORMAT: u8 = 1;
const PASS_BYTES: usize = 32;

/// The proof that the password of a link was given; `expires_s` in seconds since 1970.
#[must_use]
pub fn pass(keys: &Keys, nsid: Nsid, link: u64, password: &PasswordHash, expires_s: u64) -> String {
    let expires_s = u32::try_from(expires_s).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(PASS_BYTES + 16);
    bytes.extend_from_slice(&[PASS_FORMAT, 0, 0, 0]);
    bytes.extend_from_slice(&expires_s.to_le_bytes());
    bytes.extend_from_slice(&nsid.0.to_le_bytes());
    bytes.extend_from_slice(&link.to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&password.0)[..8]);
    base64url(&keys.seal(Kind::Pass, bytes))
}

/// Whoever shows this text may see what the link shows: it has no password, or the text is a pass of it.
#[must_use]
pub fn may_pass(keys: &Keys, nsid: Nsid, info: &LinkInfo, text: Option<&str>, now_ms: u64) -> bool {
    if !info.has_password {
        return true;
    }
    let Some(sealed) = text.and_then(from_base64url) else { return false };
    let Some(bytes) = keys.open(Kind::Pass, &sealed) else { return false };
    if bytes.len() != PASS_BYTES {
        return false;
    }
    let expires_s = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
    let is_of = |at: usize, number: u64| bytes[at..at + 8] == number.to_le_bytes();
    now_ms < u64::from(expires_s) * 1000
        && bytes[..4] == [PASS_FORMAT, 0, 0, 0]
        && is_of(8, nsid.0)
        && is_of(16, info.link)
        && bytes[24..] == Sha256::digest(&info.settings.password.0)[..8]
}

/// The name of a link as a door that a password opens.
#[must_use]
pub fn door_name(nsid: Nsid, link: u64) -> Vec<u8> {
    [b"link".as_slice(), &nsid.0.to_le_bytes(), &link.to_le_bytes()].concat()
}

/// The SharedLinkMetadata of a link. `is_own`: the caller has made it, and is told where what it shows is.
#[must_use]
pub fn metadata(stone: &Stone, nsid: Nsid, info: &LinkInfo, found: &Found, is_own: bool) -> Value {
    let (meta, settings) = (&found.entry.meta, &info.settings);
    let visibility = tagged(if info.has_password { "password" } else { "public" });
    let audience = tagged(if settings.members_only { "no_one" } else { "public" });
    let allows = !settings.no_download;
    let mut told = json!({
        ".tag": if meta.kind == NodeKind::File { "file" } else { "folder" },
        "url": url(stone, nsid, info.link, &meta.name),
        "id": file_id(meta.nsid, meta.node),
        "name": meta.name,
        "link_permissions": {
            "can_revoke": is_own, "visibility_policies": [], "can_set_expiry": is_own, "can_remove_expiry": is_own,
            "allow_download": allows, "can_allow_download": is_own, "can_disallow_download": is_own,
            "allow_comments": true, "team_restricts_comments": false,
            "resolved_visibility": visibility, "requested_visibility": visibility,
            "effective_audience": audience, "link_access_level": tagged("viewer"),
            "require_password": info.has_password, "can_set_password": is_own, "can_remove_password": is_own,
        },
    });
    if settings.expires_ms != 0 {
        told["expires"] = stamp::text(i64::try_from(settings.expires_ms).unwrap_or(i64::MAX)).into();
    }
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

    fn folder() -> meta::Metadata {
        meta::Metadata {
            nsid: Nsid(3),
            node: base::TreeNode(1),
            parent: base::TreeNode(1),
            jid: base::Jid(1),
            rev_jid: base::Jid(1),
            kind: NodeKind::Folder,
            name: String::new(),
            size: 0,
            content_hash: [0; 32],
            client_mtime_ms: 0,
            server_mtime_ms: 0,
            modified_by: base::Acct(1),
        }
    }

    #[test]
    fn a_pass_opens_one_link_while_it_has_the_password_that_was_given() {
        let keys = Keys::new(&crate::keys::Secret::from_bytes([7; 32]));
        let (nsid, password) = (Nsid(3), PasswordHash(b"hash".to_vec()));
        let info = |link, password: &PasswordHash| LinkInfo {
            link,
            acct: base::Acct(1),
            created_ms: 0,
            has_password: password.is_set(),
            settings: meta::LinkSettings { password: password.clone(), ..meta::LinkSettings::default() },
            entry: meta::Entry { path_display: String::new(), meta: folder() },
        };
        let text = pass(&keys, nsid, 5, &password, 100);
        let may = |nsid, info: &LinkInfo, now_ms| may_pass(&keys, nsid, info, Some(&text), now_ms);
        assert!(may(nsid, &info(5, &password), 99_999));
        assert!(!may(nsid, &info(5, &password), 100_000), "its time is over");
        assert!(!may(nsid, &info(6, &password), 0) && !may(Nsid(4), &info(5, &password), 0));
        assert!(!may(nsid, &info(5, &PasswordHash(b"other".to_vec())), 0), "the password is another one now");
        assert!(!may_pass(&keys, nsid, &info(5, &password), None, 0));
        assert!(!may_pass(&keys, nsid, &info(5, &password), Some("AAAA"), 0));
        assert!(may_pass(&keys, nsid, &info(5, &PasswordHash::default()), None, 0), "it has no password");
    }

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
