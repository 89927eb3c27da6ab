//! Files and folders: shapes, errors, listings, changes, history.

use serde_json::{Value, json};

use crate::dev::{Api, dev};

fn names(page: &Value) -> Vec<String> {
    let entry = |entry: &Value| {
        let (tag, path) = (entry[".tag"].as_str().expect("a tag"), entry["path_display"].as_str().expect("a path"));
        format!("{tag} {path}")
    };
    page["entries"].as_array().expect("entries").iter().map(entry).collect()
}

/// All pages from a cursor on, and the cursor after them.
fn follow(api: &Api, mut cursor: String) -> (Vec<String>, String) {
    let mut all = Vec::new();
    loop {
        let page = api.ok("files/list_folder/continue", &json!({ "cursor": cursor }).to_string());
        all.extend(names(&page));
        cursor = page["cursor"].as_str().expect("a cursor").to_owned();
        if page["has_more"] == false {
            return (all, cursor);
        }
    }
}

#[test]
fn an_account_tells_who_it_is_and_what_it_holds() {
    let api = dev().account("who", None);
    let account = api.ok("users/get_current_account", "null");
    let id = account["account_id"].as_str().expect("an id");
    assert!(id.starts_with("dbid:") && id.len() == 40, "{id}");
    assert_eq!(account["name"]["display_name"], "who");
    assert_eq!(account["root_info"]["root_namespace_id"], account["root_info"]["home_namespace_id"]);
    assert_eq!(api.ok("users/get_account", &json!({ "account_id": id }).to_string())["is_teammate"], false);
    let usage = api.ok("users/get_space_usage", "null");
    assert_eq!((&usage["used"], &usage["allocation"][".tag"]), (&json!(0), &json!("individual")));
    assert_eq!(api.ok("check/user", r#"{"query":"x"}"#), json!({ "result": "x" }));
}

#[test]
fn folders_are_made_moved_copied_and_deleted() {
    let api = dev().account("folders", None);
    let made = api.ok("files/create_folder_v2", r#"{"path":"/A/b/C"}"#);
    let folder = &made["metadata"];
    assert_eq!((&folder["name"], &folder["path_lower"]), (&json!("C"), &json!("/a/b/c")));
    assert!(folder.get(".tag").is_none() && folder["id"].as_str().expect("an id").len() == 25);
    assert_eq!(api.refused("files/create_folder_v2", r#"{"path":"/a/B/c"}"#), "path/conflict/folder/");
    let renamed = api.ok("files/create_folder_v2", r#"{"path":"/a/b/c","autorename":true}"#);
    assert_eq!(renamed["metadata"]["path_display"], "/A/b/c (1)");
    assert_eq!(api.refused("files/create_folder_v2", r#"{"path":"/a\\b"}"#), "path/malformed_path/");
    let moved = api.ok("files/move_v2", r#"{"from_path":"/a/b/c","to_path":"/A/b/D"}"#);
    assert_eq!((&moved["metadata"][".tag"], &moved["metadata"]["id"]), (&json!("folder"), &folder["id"]));
    let recased = api.ok("files/move_v2", r#"{"from_path":"/a/b/d","to_path":"/A/b/d"}"#);
    assert_eq!(recased["metadata"]["name"], "d");
    assert_eq!(api.refused("files/move_v2", r#"{"from_path":"/none","to_path":"/x"}"#), "from_lookup/not_found/");
    let into_itself = api.refused("files/move_v2", r#"{"from_path":"/a","to_path":"/a/b/x"}"#);
    assert_eq!(into_itself, "cant_move_folder_into_itself/");
    let taken = api.refused("files/copy_v2", r#"{"from_path":"/a/b/d","to_path":"/a/b/c (1)"}"#);
    assert_eq!(taken, "to/conflict/folder/");
    api.ok("files/copy_v2", r#"{"from_path":"/a","to_path":"/copy"}"#);
    let deleted = api.ok("files/delete_v2", r#"{"path":"/copy/B"}"#);
    assert_eq!(
        (&deleted["metadata"][".tag"], &deleted["metadata"]["path_display"]),
        (&json!("folder"), &json!("/copy/b"))
    );
    assert_eq!(api.refused("files/delete_v2", r#"{"path":"/copy/B"}"#), "path_lookup/not_found/");
    let by_id = api.ok("files/get_metadata", &json!({ "path": folder["id"] }).to_string());
    assert_eq!(by_id["path_display"], "/A/b/d");
    assert_eq!(api.refused("files/get_metadata", r#"{"path":"/copy/b"}"#), "path/not_found/");
    let dead = api.ok("files/get_metadata", r#"{"path":"/copy/b","include_deleted":true}"#);
    assert_eq!(dead, json!({ ".tag": "deleted", "name": "b", "path_lower": "/copy/b", "path_display": "/copy/b" }));
    let dead = api.ok("files/get_metadata", r#"{"path":"/copy/b/d","include_deleted":true}"#);
    assert_eq!(dead[".tag"], "deleted", "what was in it too");
    let never = r#"{"path":"/copy/x","include_deleted":true}"#;
    assert_eq!(api.refused("files/get_metadata", never), "path/not_found/");
}

#[test]
fn files_have_revisions_and_come_back() {
    let api = dev().account("revisions", None);
    api.put("/dir/a.txt", "one");
    let first = api.ok("files/get_metadata", r#"{"path":"/DIR/a.TXT"}"#);
    assert_eq!((&first[".tag"], &first["size"], &first["is_downloadable"]), (&json!("file"), &json!(3), &json!(true)));
    assert_eq!(first["server_modified"].as_str().expect("a time").len(), 20);
    assert_eq!(first["content_hash"].as_str().expect("a hash").len(), 64);
    api.put("/dir/a.txt", "three");
    let revisions = api.ok("files/list_revisions", r#"{"path":"/dir/a.txt"}"#);
    let sizes: Vec<&Value> = revisions["entries"].as_array().expect("entries").iter().map(|e| &e["size"]).collect();
    assert_eq!((sizes, &revisions["is_deleted"]), (vec![&json!(5), &json!(3)], &json!(false)));
    let stale = json!({ "path": "/dir/a.txt", "parent_rev": first["rev"] }).to_string();
    assert_eq!(api.refused("files/delete_v2", &stale), "path_write/conflict/file/");
    api.ok("files/delete_v2", r#"{"path":"/dir/a.txt"}"#);
    let revisions = api.ok("files/list_revisions", r#"{"path":"/dir/a.txt"}"#);
    assert_eq!(revisions["is_deleted"], true);
    assert!(revisions["server_deleted"].is_string());
    let restored = api.ok("files/restore", &json!({ "path": "/dir/a.txt", "rev": first["rev"] }).to_string());
    assert_eq!((&restored["size"], &restored["id"]), (&json!(3), &first["id"]));
    assert_eq!(api.refused("files/restore", r#"{"path":"/dir/a.txt","rev":"123456789abc"}"#), "path_lookup/not_found/");
    assert_eq!(api.refused("files/list_revisions", r#"{"path":"/dir"}"#), "path/not_file/");
    assert_eq!(api.refused("files/get_metadata", r#"{"path":"/dir/a.txt/b"}"#), "path/not_found/");
    let rev = format!("rev:{}", restored["rev"].as_str().expect("a rev"));
    assert_eq!(api.ok("files/get_metadata", &json!({ "path": rev }).to_string())["rev"], restored["rev"]);
    assert_eq!(api.ok("users/get_space_usage", "null")["used"], 3);
}

#[test]
fn a_listing_and_then_its_cursor_tell_all_there_is_and_what_changes() {
    let api = dev().account("listings", None);
    let paths: Vec<String> = (0..25).map(|n| format!("/d{}/f{n}", n % 5)).collect();
    let batch = api.ok("files/create_folder_batch", &json!({ "paths": paths }).to_string());
    assert_eq!(batch[".tag"], "complete");
    let entries = batch["entries"].as_array().expect("entries");
    assert!(entries.len() == 25 && entries.iter().all(|entry| entry[".tag"] == "success"));
    assert_eq!(entries[7]["metadata"]["path_display"], "/d2/f7");
    let page = api.ok("files/list_folder", r#"{"path":"","recursive":true,"limit":7}"#);
    assert_eq!((names(&page).len(), &page["has_more"]), (7, &json!(true)));
    let mut all = names(&page);
    let (rest, cursor) = follow(&api, page["cursor"].as_str().expect("a cursor").to_owned());
    all.extend(rest);
    assert_eq!(all.len(), 30);
    assert_eq!(names(&api.ok("files/list_folder", r#"{"path":""}"#)).len(), 5, "children alone");
    assert_eq!(names(&api.ok("files/list_folder", r#"{"path":"/D1"}"#)).len(), 5);
    api.ok("files/create_folder_v2", r#"{"path":"/new"}"#);
    let gone = json!({ "entries": [{ "path": "/d0/f0" }, { "path": "/nothing" }, { "path": "/d1" }] }).to_string();
    let gone = api.ok("files/delete_batch", &gone);
    let tags: Vec<&Value> = gone["entries"].as_array().expect("entries").iter().map(|entry| &entry[".tag"]).collect();
    assert_eq!(tags, ["success", "failure", "success"]);
    assert_eq!(gone["entries"][1]["failure"]["path_lookup"][".tag"], "not_found");
    let (changes, cursor) = follow(&api, cursor);
    assert!(
        changes.contains(&"folder /new".to_owned()) && changes.contains(&"deleted /d0/f0".to_owned()),
        "{changes:?}"
    );
    assert_eq!(follow(&api, cursor.clone()).0, Vec::<String>::new());
    let latest = api.ok("files/list_folder/get_latest_cursor", r#"{"path":"","recursive":true}"#);
    assert_eq!(follow(&api, latest["cursor"].as_str().expect("a cursor").to_owned()).0, Vec::<String>::new());
    assert_eq!(api.refused("files/list_folder", r#"{"path":"/none"}"#), "path/not_found/");
    let job = api.ok("files/create_folder_batch", r#"{"paths":["/j1","/bad\\"],"force_async":true}"#);
    let checked =
        api.ok("files/create_folder_batch/check", &json!({ "async_job_id": job["async_job_id"] }).to_string());
    assert_eq!(checked["entries"][1]["failure"]["path"][".tag"], "malformed_path");
}

#[test]
fn a_longpoll_wakes_with_the_first_change() {
    let api = dev().account("longpoll", None);
    let latest = api.ok("files/list_folder/get_latest_cursor", r#"{"path":"","recursive":true}"#);
    let arg = json!({ "cursor": latest["cursor"], "timeout": 30 }).to_string();
    let wait = |arg: String| {
        let dev = api.dev.clone();
        std::thread::spawn(move || {
            let json = [("content-type", "application/json")];
            dev.send("POST", "/2/files/list_folder/longpoll", &json, &arg).json()
        })
    };
    let waiting = wait(arg.clone());
    api.ok("files/create_folder_v2", r#"{"path":"/wake"}"#);
    assert_eq!(waiting.join().expect("an answer"), json!({ "changes": true }));
    // The head is beyond the cursor already.
    assert_eq!(wait(arg).join().expect("an answer"), json!({ "changes": true }));
    let bad = api.dev.send("POST", "/2/files/list_folder/longpoll", &[], r#"{"cursor":"AAx"}"#);
    assert_eq!(bad.status, 400);
    let short = json!({ "cursor": latest["cursor"], "timeout": 3 }).to_string();
    assert_eq!(api.dev.send("POST", "/2/files/list_folder/longpoll", &[], &short).status, 400);
}

#[test]
fn what_is_wrong_with_a_call_is_told() {
    let api = dev().account("wrong", None);
    let text = |route, arg| {
        let reply = api.call(route, arg);
        assert_eq!(reply.status, 400, "{reply:?}");
        reply.text
    };
    assert_eq!(text("files/nothing", "{}"), "Unknown API function: \"files/nothing\"");
    let root = text("files/get_metadata", r#"{"path":""}"#);
    assert!(root.ends_with("request body: path: The root folder is unsupported."), "{root}");
    assert!(text("files/get_metadata", "{").contains("could not decode input as JSON"));
    assert!(text("files/get_metadata", "{}").contains("missing required field 'path'"));
    assert!(text("files/list_folder/continue", r#"{"cursor":"AAabc"}"#).contains("cursor"));
    assert!(text("files/list_folder", r#"{"path":"","limit":2001}"#).contains("limit"));
    let stranger = api.dev.send("POST", "/2/users/get_current_account", &[], "null");
    assert_eq!(stranger.status, 400);
    let forged = [("authorization", "Bearer sl.AAAA")];
    let forged = api.dev.send("POST", "/2/users/get_current_account", &forged, "null");
    assert_eq!((forged.status, forged.summary().as_str()), (401, "invalid_access_token/"));
    assert_eq!(api.dev.send("GET", "/", &[], "").status, 200);
}

#[test]
fn a_path_root_is_the_own_root_or_a_namespace_that_one_is_in() {
    let api = dev().account("roots", None);
    api.ok("files/create_folder_v2", r#"{"path":"/x"}"#);
    let account = api.ok("users/get_current_account", "null");
    let root = account["root_info"]["root_namespace_id"].as_str().expect("a root").to_owned();
    let list = |header: Value| {
        api.call_with("files/list_folder", r#"{"path":""}"#, &[("dropbox-api-path-root", &header.to_string())])
    };
    assert_eq!(names(&list(json!({ ".tag": "root", "root": root })).json()), ["folder /x"]);
    assert_eq!(names(&list(json!({ ".tag": "namespace_id", "namespace_id": root })).json()), ["folder /x"]);
    let wrong = list(json!({ ".tag": "root", "root": "1234567890" }));
    assert_eq!((wrong.status, wrong.summary().as_str()), (422, "invalid_root/"));
    let unknown = list(json!({ ".tag": "namespace_id", "namespace_id": "1234567890" }));
    assert_eq!((unknown.status, unknown.summary().as_str()), (422, "no_permission/"));
    let by_ns = api.ok("files/get_metadata", &json!({ "path": format!("ns:{root}/x") }).to_string());
    assert_eq!(by_ns["path_display"], "/x");
}
