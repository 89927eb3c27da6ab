//! Two accounts: nothing of one is reachable by the other, and what is shared is shared.

use gateway::ROUTES;
use serde_json::{Value, json};
use stone::Needs;

use crate::dev::{Api, dev};

/// In every name of the one account; no answer to the other may hold it.
const CANARY: &str = "canary-of-ada";

fn canaries(api: &Api) -> Vec<String> {
    api.put(&format!("/{CANARY}/a.txt"), CANARY);
    api.put(&format!("/{CANARY}/a.txt"), "again");
    let file = api.ok("files/get_metadata", &json!({ "path": format!("/{CANARY}/a.txt") }).to_string());
    let folder = api.ok("files/get_metadata", &json!({ "path": format!("/{CANARY}") }).to_string());
    let root = api.ok("users/get_current_account", "null")["root_info"]["root_namespace_id"].clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rev = text(&file["rev"]);
    let ns = format!("ns:{}", text(&root));
    vec![text(&file["id"]), text(&folder["id"]), format!("rev:{rev}"), format!("{ns}/{CANARY}/a.txt"), ns, rev]
}

#[test]
fn no_route_yields_anything_of_another_account() {
    let dev = dev();
    let (ada, bob) = (dev.account("ada", None), dev.account("bob", None));
    let names = canaries(&ada);
    let listed = ada.ok("files/list_folder", r#"{"path":"","recursive":true}"#);
    let link = json!({ "path": format!("/{CANARY}/a.txt") }).to_string();
    let link = ada.ok("sharing/create_shared_link_with_settings", &link)["url"].clone();
    let job = ada.ok("files/create_folder_batch", &format!(r#"{{"paths":["/{CANARY}/j"],"force_async":true}}"#));
    let account = ada.ok("users/get_current_account", "null")["account_id"].clone();
    let shared = ada.ok("sharing/share_folder", &json!({ "path": format!("/{CANARY}/shared") }).to_string());
    let shared = shared["shared_folder_id"].clone();
    let secrets = json!({ "cursor": listed["cursor"], "async_job_id": job["async_job_id"], "account_id": account });
    let mut calls = 0;
    for route in ROUTES.iter().filter(|route| route.needs != Needs::Nobody && route.needs != Needs::App) {
        if route.name == "auth/token/revoke" {
            continue;
        }
        for name in &names {
            let mut arg = secrets.clone();
            let fields = json!({ "path": name, "from_path": name, "to_path": "/taken", "rev": names[5], "query": "q",
                "paths": [name], "entries": [{ "path": name }], "url": link, "mode": "id",
                "shared_folder_id": shared });
            arg.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            let reply = bob.call(route.name, &arg.to_string());
            calls += 1;
            // A list of revoked links would name nothing: the URL itself was sent along.
            let told = reply.text.replace(&format!("/{CANARY}/a.txt"), "");
            let is_echo = reply.status == 400;
            assert!(is_echo || !told.contains(CANARY), "{} {name}: {reply:?}", route.name);
            assert!(reply.status != 500 && reply.status != 503, "{} {name}: {reply:?}", route.name);
        }
        let root = json!({ ".tag": "namespace_id", "namespace_id": names[4].trim_start_matches("ns:") }).to_string();
        let reply = bob.call_with(route.name, r#"{"path":""}"#, &[("dropbox-api-path-root", &root)]);
        assert_eq!((reply.status, reply.summary().as_str()), (422, "no_permission/"), "{}", route.name);
    }
    assert!(calls > 100);
    // Nothing of it has changed, either.
    let file = ada.ok("files/get_metadata", &json!({ "path": format!("/{CANARY}/a.txt") }).to_string());
    assert_eq!(file["rev"], names[5].as_str());
    assert_eq!(ada.ok("sharing/list_shared_links", "{}")["links"].as_array().expect("links").len(), 1);
    assert_eq!(bob.call("users/get_account", &json!({ "account_id": account }).to_string()).status, 409);
    let unknown = bob.call("files/get_metadata", r#"{"path":"id:AAAAAlQL5AAAAAAAAAAABw"}"#);
    let foreign = bob.call("files/get_metadata", &json!({ "path": names[0] }).to_string());
    assert_eq!(unknown.summary(), foreign.summary(), "no access and not found are one answer");
}

#[test]
fn a_link_shows_its_page_until_it_is_revoked() {
    let api = dev().account("linker", None);
    api.put("/l/<b>.txt", "content");
    let made = api.ok("sharing/create_shared_link_with_settings", r#"{"path":"/l/<b>.txt"}"#);
    assert_eq!((&made[".tag"], &made["size"]), (&json!("file"), &json!(7)));
    let url = made["url"].as_str().expect("a URL");
    let path = url.strip_prefix(&api.dev.url).expect("of this host");
    let page = api.dev.send("GET", path, &[], "");
    assert!(page.status == 200 && page.text.contains("&lt;b&gt;.txt"), "{page:?}");
    let again = api.call("sharing/create_shared_link_with_settings", r#"{"path":"/l/<b>.txt"}"#);
    assert_eq!(again.json()["error"]["shared_link_already_exists"]["metadata"]["url"], url);
    let above = api.ok("sharing/list_shared_links", r#"{"path":"/l/<b>.txt"}"#);
    assert_eq!(above["links"][0]["url"], url);
    assert_eq!(api.ok("sharing/revoke_shared_link", &json!({ "url": url }).to_string()), Value::Null);
    assert_eq!(api.dev.send("GET", path, &[], "").status, 404);
    assert_eq!(api.refused("sharing/revoke_shared_link", &json!({ "url": url }).to_string()), "shared_link_not_found/");
    let malformed = api.refused("sharing/revoke_shared_link", r#"{"url":"https://example.com/s/x"}"#);
    assert_eq!(malformed, "shared_link_malformed/");
}

#[test]
fn a_link_with_a_password_opens_to_the_password_alone() {
    let api = dev().account("locker", None);
    api.put("/vault/in.txt", "the content");
    let create = |settings: Value| json!({ "path": "/vault", "settings": settings }).to_string();
    for (bad, tag) in [
        (json!({ "require_password": true }), "invalid_settings"),
        (json!({ "requested_visibility": "password" }), "invalid_settings"),
        (json!({ "require_password": false, "link_password": "x" }), "invalid_settings"),
        (json!({ "expires": "2001-01-01T00:00:00Z" }), "invalid_settings"),
        (json!({ "requested_visibility": "team_only" }), "not_authorized"),
        (json!({ "access": "editor" }), "not_authorized"),
    ] {
        let told = api.refused("sharing/create_shared_link_with_settings", &create(bad));
        assert_eq!(told, format!("settings_error/{tag}/"));
    }
    let settings =
        json!({ "require_password": true, "link_password": "open sesame", "expires": "2099-01-01T00:00:00Z" });
    let made = api.ok("sharing/create_shared_link_with_settings", &create(settings));
    assert_eq!(made["link_permissions"]["resolved_visibility"][".tag"], "password");
    assert_eq!(
        (&made["expires"], &made["link_permissions"]["require_password"]),
        (&json!("2099-01-01T00:00:00Z"), &json!(true))
    );
    let url = made["url"].as_str().expect("a URL");
    let path = url.strip_prefix(&api.dev.url).expect("of this host");
    let get = |path: &str| api.dev.send("GET", path, &[], "");
    let content = path.replace("/s/", "/c/").replace("?dl=0", "?path=/in.txt");
    let asks = get(path);
    assert!(asks.status == 200 && asks.text.contains("type=\"password\"") && !asks.text.contains("in.txt"), "{asks:?}");
    assert_eq!(get(&content).status, 404, "the content host asks for the pass too");
    assert_eq!(get(&format!("{content}&pass=AAAA")).status, 404);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let open = |password: &str| api.dev.send("POST", path, &form, &format!("password={password}"));
    assert_eq!(open("wrong").status, 403);
    let opened = open("open+sesame");
    assert_eq!(opened.status, 303);
    let page = get(&opened.text);
    assert!(page.status == 200 && page.text.contains("in.txt") && !page.text.contains("<script"), "{page:?}");
    let pass = opened.text.split("pass=").nth(1).expect("a pass");
    let file = get(&format!("{content}&pass={pass}"));
    assert_eq!((file.status, &file.text[..], &file.kind[..]), (200, "the content", "text/plain; charset=utf-8"));
    let saved = get(&format!("{content}&pass={pass}&dl=1"));
    assert_eq!(&saved.kind[..], "application/octet-stream");
    let below = get(&format!("{}?path=/in.txt&pass={pass}&dl=1", path.trim_end_matches("?dl=0")));
    assert!(below.status == 302 && below.text.contains("/c/") && below.text.contains("dl=1"), "{below:?}");
    // The API asks for the password as well; its owner is not asked.
    let stranger = dev().account("stranger to the vault", None);
    let told = |arg: Value| stranger.call("sharing/get_shared_link_metadata", &arg.to_string());
    assert_eq!(told(json!({ "url": url })).summary(), "shared_link_access_denied/");
    let told = told(json!({ "url": url, "link_password": "open sesame", "path": "/in.txt" })).json();
    assert_eq!((&told["name"], &told["path_lower"]), (&json!("in.txt"), &Value::Null));
    api.ok("sharing/get_shared_link_metadata", &json!({ "url": url }).to_string());
    // Another password makes the pass void, none at all opens the page, and a stranger changes nothing.
    let modify = |api: &Api, settings: Value| {
        api.call(
            "sharing/modify_shared_link_settings",
            &json!({ "url": url, "settings": settings, "remove_expiration": true }).to_string(),
        )
    };
    assert_eq!(modify(&stranger, json!({ "require_password": false })).summary(), "shared_link_not_found/");
    let changed = modify(&api, json!({ "link_password": "another" })).json();
    assert!(changed.get("expires").is_none() && changed["link_permissions"]["require_password"] == true, "{changed}");
    assert_eq!(get(&format!("{content}&pass={pass}")).status, 404);
    assert_eq!(modify(&api, json!({ "require_password": false })).status, 200);
    assert_eq!(get(&content).text, "the content");
    assert_eq!(modify(&api, json!({ "allow_download": false })).status, 200);
    assert_eq!((get(&content).status, get(&path.replace("dl=0", "dl=1")).status), (404, 403));
}

#[test]
fn a_link_that_asks_for_a_password_takes_only_so_many_tries() {
    let api = dev().account("patient", None);
    api.put("/tries.txt", "x");
    let arg = r#"{"path":"/tries.txt","settings":{"link_password":"secret"}}"#;
    let made = api.ok("sharing/create_shared_link_with_settings", arg);
    let url = made["url"].clone();
    let call = |password: &str| {
        let arg = json!({ "url": url, "link_password": password }).to_string();
        let stranger = dev().account("guesser", None);
        stranger.call("sharing/get_shared_link_metadata", &arg).status
    };
    let mut wrong = 0;
    while call("guess") == 409 {
        wrong += 1;
        assert!(wrong <= 50, "tries are bounded");
    }
    assert_eq!((wrong, call("secret")), (50, 429), "not even the right one is taken now");
}

#[test]
fn a_temporary_link_gives_one_revision_without_a_token() {
    let api = dev().account("temporary", None);
    api.put("/t/page.html", "<script>alert(1)</script>");
    let told = api.ok("files/get_temporary_link", r#"{"path":"/t/page.html"}"#);
    assert_eq!(told["metadata"]["name"], "page.html");
    let link = told["link"].as_str().expect("a URL").strip_prefix(&api.dev.url).expect("of this host").to_owned();
    api.put("/t/page.html", "newer");
    let shown = api.dev.send("GET", &link, &[], "");
    assert_eq!((shown.status, &shown.text[..]), (200, "<script>alert(1)</script>"));
    assert_eq!(shown.kind, "text/plain; charset=utf-8", "markup of users is no page of ours");
    let part = api.dev.send("GET", &link, &[("range", "bytes=1-6")], "");
    assert_eq!((part.status, &part.text[..]), (206, "script"));
    assert_eq!(api.dev.send("GET", &link.replace("/t/", "/t/A"), &[], "").status, 404);
    assert_eq!(api.refused("files/get_temporary_link", r#"{"path":"/t"}"#), "path/not_file/");
}

#[test]
fn a_shared_folder_is_a_namespace_that_its_members_see() {
    let dev = dev();
    let (owner, guest) = (dev.account("owner", None), dev.account("guest", None));
    owner.put("/team/plan.txt", "plan");
    let shared = owner.ok("sharing/share_folder", r#"{"path":"/team"}"#);
    assert_eq!((&shared[".tag"], &shared["access_type"][".tag"]), (&json!("complete"), &json!("owner")));
    assert_eq!((&shared["name"], &shared["path_lower"]), (&json!("team"), &json!("/team")));
    let nsid = shared["shared_folder_id"].as_str().expect("an id");
    let again = owner.call("sharing/share_folder", r#"{"path":"/team"}"#);
    assert_eq!(again.summary(), "bad_path/already_shared/");
    let root = owner.ok("files/get_metadata", &json!({ "path": format!("ns:{nsid}") }).to_string());
    assert_eq!(
        (&root[".tag"], &root["name"], &root["shared_folder_id"]),
        (&json!("folder"), &json!("team"), &json!(nsid))
    );
    assert_eq!(
        guest.refused("files/list_folder", &json!({ "path": format!("ns:{nsid}") }).to_string()),
        "path/not_found/"
    );
    let id = json!({ "shared_folder_id": nsid }).to_string();
    assert_eq!(guest.ok("sharing/list_folders", "{}"), json!({ "entries": [] }));
    assert_eq!(guest.refused("sharing/get_folder_metadata", &id), "invalid_id/");
    assert_eq!(guest.refused("sharing/mount_folder", &id), "access_error/invalid_id/");
    dev.run(&["share", "/team", "--with", "guest", "--account", &owner.account]);
    let invited = guest.ok("sharing/get_folder_metadata", &id);
    assert_eq!((&invited["name"], &invited["access_type"][".tag"]), (&json!("team"), &json!("editor")));
    assert_eq!(invited["path_lower"], Value::Null, "it hangs nowhere yet");
    assert_eq!(guest.ok("sharing/list_folders", "{}")["entries"][0], invited);
    guest.ok("files/create_folder_v2", r#"{"path":"/team"}"#);
    let mounted = guest.ok("sharing/mount_folder", &id);
    assert_eq!((&mounted["path_display"], &mounted["shared_folder_id"]), (&json!("/team (1)"), &json!(nsid)));
    assert_eq!(guest.refused("sharing/mount_folder", &id), "already_mounted/");
    guest.ok("files/move_v2", r#"{"from_path":"/team (1)","to_path":"/from owner"}"#);
    guest.ok("files/delete_v2", r#"{"path":"/team"}"#);
    let file = guest.ok("files/get_metadata", r#"{"path":"/From Owner/PLAN.txt"}"#);
    assert_eq!(file["path_display"], "/from owner/plan.txt");
    assert_eq!(file["sharing_info"]["parent_shared_folder_id"], nsid);
    let listed = guest.ok("files/list_folder", r#"{"path":"","recursive":true}"#);
    assert_eq!(listed["entries"].as_array().expect("entries").len(), 2);
    let made = guest.ok("files/create_folder_v2", r#"{"path":"/from owner/new/deep"}"#);
    assert_eq!(made["metadata"]["path_display"], "/from owner/new/deep");
    assert_eq!(owner.ok("files/get_metadata", r#"{"path":"/team/new/deep"}"#)["name"], "deep");
    // Between namespaces: a file by its blocks, a folder by a flow of the cluster.
    let moved = guest.ok("files/move_v2", r#"{"from_path":"/from owner/plan.txt","to_path":"/mine.txt"}"#);
    assert_eq!((&moved["metadata"]["path_display"], &moved["metadata"]["size"]), (&json!("/mine.txt"), &json!(4)));
    guest.ok("files/copy_v2", r#"{"from_path":"/mine.txt","to_path":"/from owner/new/back.txt"}"#);
    guest.ok("files/move_v2", r#"{"from_path":"/from owner/new","to_path":"/taken"}"#);
    assert_eq!(guest.ok("files/get_metadata", r#"{"path":"/taken/back.txt"}"#)["size"], 4);
    assert_eq!(owner.refused("files/get_metadata", r#"{"path":"/team/new"}"#), "path/not_found/");
    let owner_id = owner.ok("users/get_current_account", "null")["account_id"].clone();
    let known = guest.ok("users/get_account", &json!({ "account_id": owner_id }).to_string());
    assert_eq!(known["name"]["display_name"], "owner");
}

#[test]
fn shared_folders_are_listed_page_by_page_and_hang_again_where_they_are_mounted() {
    let api = dev().account("sharer", None);
    let ids: Vec<Value> = (0..3)
        .map(|n| api.ok("sharing/share_folder", &format!(r#"{{"path":"/s{n}"}}"#))["shared_folder_id"].clone())
        .collect();
    let mut page = api.ok("sharing/list_folders", r#"{"limit":2}"#);
    let mut seen = page["entries"].as_array().expect("entries").clone();
    assert_eq!(seen.len(), 2);
    while !page["cursor"].is_null() {
        page = api.ok("sharing/list_folders/continue", &json!({ "cursor": page["cursor"] }).to_string());
        seen.extend(page["entries"].as_array().expect("entries").clone());
    }
    let told: Vec<Value> = seen.iter().map(|folder| folder["shared_folder_id"].clone()).collect();
    assert_eq!(told, ids);
    assert_eq!(api.refused("sharing/list_folders/continue", r#"{"cursor":"SFnone"}"#), "invalid_cursor/");
    // A delete of a mount takes it out of the tree; the member stays one.
    api.ok("files/delete_v2", r#"{"path":"/s1"}"#);
    let id = json!({ "shared_folder_id": ids[1] }).to_string();
    assert_eq!(api.ok("sharing/get_folder_metadata", &id)["path_lower"], Value::Null);
    let mounted = api.ok("sharing/mount_folder", &id);
    assert!(mounted["path_lower"].is_string(), "{mounted}");
    assert_eq!(api.ok("sharing/list_received_files", "{}"), json!({ "entries": [] }));
    assert_eq!(api.refused("sharing/list_received_files/continue", r#"{"cursor":"x"}"#), "invalid_cursor/");
}
