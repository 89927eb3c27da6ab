//! The routes of the content host over HTTPS: shapes, errors, ranges, and bodies that come in every way.

mod common;

use std::sync::Arc;

use base::BlockHash;
use base::limits::{BLOCK_BYTES, CONTENT_BODY_BYTES_MAX};
use common::https::Server;
use common::*;
use meta::{At, Command, LinkCommand, LinkSettings, Outcome};
use serde_json::{Value, json};

const BLOCK: usize = BLOCK_BYTES as usize;

fn hex(bytes: &[u8]) -> String {
    BlockHash(content_hash(bytes)).to_string()
}

fn put_arg(path: &str) -> String {
    json!({ "path": path, "mode": { ".tag": "add" }, "autorename": false, "mute": false }).to_string()
}

async fn put(server: &Server, path: &str, bytes: &[u8]) -> Value {
    let answer = server.call("files/upload", &put_arg(path)).send(bytes).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down_with_its_metadata() {
    let world = World::new();
    let server = Server::start(&world).await;
    let bytes = random(1, BLOCK + 100);
    let arg = json!({
        "path": "/D/\u{e9}\u{1f600}.txt", "mode": "add", "content_hash": hex(&bytes),
        "client_modified": "2015-05-12T15:50:38Z",
    });
    // As rclone sends it: raw UTF-8 in the header, and chunked.
    let answer = server.call("files/upload", &arg.to_string()).send_chunked(&bytes, 70_001).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = answer.json();
    assert_eq!(file[".tag"], Value::Null, "a FileMetadata has no tag");
    assert_eq!(file["path_display"], "/D/\u{e9}\u{1f600}.txt");
    assert_eq!(file["path_lower"], "/d/\u{e9}\u{1f600}.txt");
    assert_eq!((&file["size"], &file["content_hash"]), (&json!(bytes.len()), &json!(hex(&bytes))));
    assert_eq!((&file["client_modified"], &file["is_downloadable"]), (&json!("2015-05-12T15:50:38Z"), &json!(true)));
    assert_eq!(answer.header("x-dropbox-request-id").map(str::len), Some(32));

    let (rev, id) = (file["rev"].as_str().unwrap(), file["id"].as_str().unwrap());
    for named in
        ["/d/\u{c9}\u{1f600}.TXT", id, &format!("rev:{rev}"), &format!("ns:{}/D/\u{e9}\u{1f600}.txt", OWNER.home)]
    {
        let answer = server.call("files/download", &json!({ "path": named }).to_string()).send(b"").await;
        assert_eq!(answer.status, 200, "{named}: {}", answer.text());
        assert!(answer.body == bytes, "{named}");
        assert_eq!(answer.result()["rev"], file["rev"]);
        assert!(answer.header("dropbox-api-result").unwrap().is_ascii());
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("content-length"), Some(&bytes.len().to_string()[..]));
        assert_eq!(answer.header("etag"), Some(&format!("\"{rev}\"")[..]));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    }
    let token = server.token(OWNER, stone::scope::ALL);
    let query = format!("arg=%7B%22path%22%3A%22{id}%22%7D&authorization=Bearer%20{token}");
    let answer = server.call("files/download", "").get(&query).send(b"").await;
    assert!(answer.status == 200 && answer.body == bytes, "GET with everything in the URL");
}

#[tokio::test]
async fn each_range_and_condition_has_its_answer() {
    let world = World::new();
    let server = Server::start(&world).await;
    let bytes = random(2, 500);
    let rev = put(&server, "/f", &bytes).await["rev"].as_str().unwrap().to_owned();
    put(&server, "/empty", b"").await;
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut call = server.call("files/download", &json!({ "path": path }).to_string());
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send(b"").await
    };
    let (tag, weak) = (format!("\"{rev}\""), format!("W/\"{rev}\""));
    let parts = [("bytes=5-7", 5..8), ("bytes=0-599", 0..500), ("bytes=490-", 490..500), ("bytes=-3", 497..500)];
    for (range, wanted) in parts {
        let answer = ask("/f", &[("Range", range)]).await;
        assert_eq!((answer.status, &answer.body[..]), (206, &bytes[wanted.clone()]), "{range}");
        let told = format!("bytes {}-{}/500", wanted.start, wanted.end - 1);
        assert_eq!(answer.header("content-range"), Some(&told[..]));
        assert_eq!(answer.result()["size"], 500);
    }
    let beyond = ask("/f", &[("Range", "bytes=500-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */500")));
    let empty = ask("/empty", &[("Range", "bytes=0-5")]).await;
    assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));
    let several = ask("/f", &[("Range", "bytes=0-1,5-6")]).await;
    assert_eq!((several.status, several.body.len()), (200, 500));
    for known in [&tag[..], &weak, "*"] {
        let answer = ask("/f", &[("If-None-Match", known)]).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (304, 0, Some(&tag[..])), "{known}");
    }
    assert_eq!(ask("/f", &[("If-None-Match", "\"other\"")]).await.status, 200);
    assert_eq!(ask("/f", &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")]).await.body.len(), 500);
    assert_eq!(ask("/f", &[("Range", "bytes=0-1"), ("If-Range", &tag)]).await.body.len(), 2);
}

#[tokio::test]
async fn refused_uploads_and_downloads_have_the_errors_of_the_api() {
    let world = World::new();
    let server = Server::start(&world).await;
    put(&server, "/f", b"one").await;
    let upload = async |arg: Value, bytes: &[u8]| server.call("files/upload", &arg.to_string()).send(bytes).await;
    let conflict = upload(json!({ "path": "/F" }), b"two").await;
    assert_eq!(conflict.summary(), "path/conflict/file/");
    let error = conflict.error();
    assert_eq!(error["reason"], json!({ ".tag": "conflict", "conflict": { ".tag": "file" } }), "flattened");
    assert!(error["upload_session_id"].is_string() && error["path"].is_null());
    assert_eq!(upload(json!({ "path": "" }), b"x").await.summary(), "path/conflict/folder/");
    assert_eq!(upload(json!({ "path": "/f/below" }), b"x").await.summary(), "path/conflict/file_ancestor/");
    for bad in ["/a\\b", "a", "/a//../b", "rev:000000000"] {
        assert_eq!(upload(json!({ "path": bad }), b"x").await.summary(), "path/malformed_path/", "{bad}");
    }
    let theirs = upload(json!({ "path": format!("ns:{}/f", STRANGER.home) }), b"x").await;
    assert_eq!(theirs.summary(), "path/no_write_permission/");
    let wrong = upload(json!({ "path": "/g", "content_hash": hex(b"other") }), b"x").await;
    assert_eq!(wrong.summary(), "content_hash_mismatch/");
    for (arg, what) in [
        (json!({}), "path"),
        (json!({ "path": "/g", "mode": "replace" }), "mode"),
        (json!({ "path": "/g", "mode": { ".tag": "update", "update": "xyz" } }), "update"),
        (json!({ "path": "/g", "content_hash": "12" }), "content_hash"),
        (json!({ "path": "/g", "client_modified": "2015-05-12T15:50:38.123Z" }), "client_modified"),
    ] {
        let refused = upload(arg.clone(), b"x").await;
        assert_eq!(refused.status, 400, "{arg}");
        assert!(refused.text().contains(what), "{arg}: {}", refused.text());
        assert!(refused.text().starts_with("Error in call to API function \"files/upload\": "), "{}", refused.text());
    }
    let download = async |arg: Value| server.call("files/download", &arg.to_string()).send(b"").await;
    assert_eq!(download(json!({ "path": "/none" })).await.summary(), "path/not_found/");
    assert_eq!(download(json!({ "path": "/shared" })).await.summary(), "path/not_file/");
    assert_eq!(download(json!({ "path": "no path" })).await.summary(), "path/malformed_path/");
    assert_eq!(download(json!({ "path": format!("ns:{}/f", STRANGER.home) })).await.summary(), "path/not_found/");
    let export = server.call("files/export", &json!({ "path": "/f" }).to_string()).send(b"").await;
    assert_eq!(export.summary(), "non_exportable/");
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/f", "/shared"]);
}

#[tokio::test]
async fn who_may_not_is_told_so_and_nothing_is_stored() {
    let world = World::new();
    let server = Server::start(&world).await;
    let call = || server.call("files/upload", &put_arg("/f"));
    assert_eq!(call().anonymous().send(b"x").await.status, 400);
    let bad = call().header("Authorization", "Bearer sl.x").send(b"x").await;
    assert_eq!((bad.status, &bad.json()["error"][".tag"]), (401, &json!("invalid_access_token")));
    let reader = server.token(OWNER, stone::scope::parse("files.content.read").unwrap());
    let missing = call().header("Authorization", &format!("Bearer {reader}")).send(b"x").await;
    assert_eq!((missing.status, &missing.json()["error"]["required_scope"]), (401, &json!("files.content.write")));
    let elsewhere = server.call("files/get_metadata", "{}").send(b"").await;
    assert_eq!(elsewhere.status, 400);
    assert!(elsewhere.text().contains("api host"), "{}", elsewhere.text());
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/shared"]);
}

#[tokio::test]
async fn a_sender_that_waits_is_told_to_go_on_or_that_it_need_not() {
    let world = World::new();
    let server = Server::start(&world).await;
    let (answer, is_told) = server.call("files/upload", &put_arg("/f")).send_expecting(5, b"bytes").await;
    assert_eq!((answer.status, is_told), (200, true));
    let too_large = CONTENT_BODY_BYTES_MAX as usize + 1;
    for route in ["files/upload", "files/upload_session/start"] {
        let (answer, is_told) = server.call(route, &put_arg("/g")).send_expecting(too_large, b"").await;
        assert_eq!((answer.summary(), is_told), ("payload_too_large/".to_owned(), false), "{route}");
    }
    let (answer, is_told) = server.call("files/upload", r#"{"path":"no path"}"#).send_expecting(5, b"").await;
    assert_eq!((answer.summary(), is_told), ("path/malformed_path/".to_owned(), false));
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_behind() {
    let world = World::new();
    let server = Server::start(&world).await;
    let bytes = random(3, 2 * BLOCK);
    server.call("files/upload", &put_arg("/f")).send_cut_off(2 * BLOCK + 1, &bytes).await;
    let id = start(&server, json!({}), b"").await;
    append(&server, &id, 0, b"whole", false).await;
    let arg = json!({ "cursor": { "session_id": id, "offset": 5 } }).to_string();
    server.call("files/upload_session/append_v2", &arg).send_cut_off(100, b"less").await;
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/shared"]);
    append(&server, &id, 5, b" again", true).await;
    while server.content.uploads().held_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

async fn start(server: &Server, arg: Value, bytes: &[u8]) -> String {
    let answer = server.call("files/upload_session/start", &arg.to_string()).send(bytes).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["session_id"].as_str().unwrap().to_owned()
}

fn append_arg(id: &str, offset: usize, close: bool) -> String {
    json!({ "cursor": { "session_id": id, "offset": offset }, "close": close }).to_string()
}

async fn append(server: &Server, id: &str, offset: usize, bytes: &[u8], close: bool) {
    let call = server.call("files/upload_session/append_v2", &append_arg(id, offset, close));
    let answer = call.send_chunked(bytes, 100_000).await;
    assert_eq!((answer.status, &answer.text()[..]), (200, "null"));
}

fn finish_arg(id: &str, offset: usize, path: &str) -> String {
    json!({ "cursor": { "session_id": id, "offset": offset }, "commit": { "path": path } }).to_string()
}

#[tokio::test]
async fn an_upload_session_goes_from_start_to_file() {
    let world = World::new();
    let server = Server::start(&world).await;
    let bytes = random(4, BLOCK + 200_000);
    let id = start(&server, json!({ "content_hash": hex(&bytes[..10]) }), &bytes[..10]).await;
    assert!(id.starts_with("pid_upload_session:"), "{id}");
    append(&server, &id, 10, &bytes[10..BLOCK], false).await;
    let old = json!({ "session_id": id, "offset": BLOCK }).to_string();
    let answer = server.call("files/upload_session/append", &old).send(&bytes[BLOCK..BLOCK + 100]).await;
    assert_eq!((answer.status, &answer.text()[..]), (200, "null"));
    let call = || server.call("files/upload_session/finish", &finish_arg(&id, BLOCK + 100, "/Big"));
    let first = call().send(&bytes[BLOCK + 100..]).await;
    assert_eq!((first.status, &first.json()["content_hash"]), (200, &json!(hex(&bytes))), "{}", first.text());
    let again = call().send(&bytes[BLOCK + 100..]).await;
    assert_eq!(again.json(), first.json(), "told again");
    let down = server.call("files/download", r#"{"path":"/big"}"#).send(b"").await;
    assert!(down.body == bytes);
}

#[tokio::test]
async fn sessions_are_refused_with_the_errors_of_the_api() {
    let world = World::new();
    let server = Server::start(&world).await;
    put(&server, "/taken", b"there").await;
    let id = start(&server, json!({}), b"12345").await;
    let append =
        async |arg: String, bytes: &[u8]| server.call("files/upload_session/append_v2", &arg).send(bytes).await.error();
    let finish =
        async |arg: String, bytes: &[u8]| server.call("files/upload_session/finish", &arg).send(bytes).await.error();
    let wrong = json!({ ".tag": "incorrect_offset", "correct_offset": 5 });
    assert_eq!(append(append_arg(&id, 3, false), b"x").await, wrong, "flattened");
    assert_eq!(append(append_arg("pid_upload_session:x", 0, false), b"x").await, json!({ ".tag": "not_found" }));
    assert_eq!(append(append_arg(&id, 1 << 41, false), b"x").await, json!({ ".tag": "too_large" }));
    let mismatch = json!({ "cursor": { "session_id": id, "offset": 5 }, "content_hash": hex(b"y") }).to_string();
    assert_eq!(append(mismatch, b"x").await, json!({ ".tag": "content_hash_mismatch" }));
    let lookup = finish(finish_arg(&id, 3, "/f"), b"").await;
    assert_eq!(lookup, json!({ ".tag": "lookup_failed", "lookup_failed": wrong }), "nested");
    let conflict = finish(finish_arg(&id, 5, "/taken"), b"").await;
    let path = json!({ ".tag": "conflict", "conflict": { ".tag": "file" } });
    assert_eq!(conflict, json!({ ".tag": "path", "path": path }), "nested, unlike upload's");
    self::append(&server, &id, 5, b"6", true).await;
    assert_eq!(append(append_arg(&id, 6, false), b"x").await, json!({ ".tag": "closed" }));
    let closed = finish(finish_arg(&id, 6, "/f"), b"x").await;
    assert_eq!(closed["lookup_failed"], json!({ ".tag": "closed" }));

    let concurrent = json!({ "session_type": { ".tag": "concurrent" } });
    let with_data = server.call("files/upload_session/start", &concurrent.to_string()).send(b"x").await;
    assert_eq!(with_data.summary(), "concurrent_session_data_not_allowed/");
    let closing = json!({ "session_type": "concurrent", "close": true }).to_string();
    let closed = server.call("files/upload_session/start", &closing).send(b"").await;
    assert_eq!(closed.summary(), "concurrent_session_close_not_allowed/");
    let id = start(&server, concurrent, b"").await;
    let tag = |tag: &str| json!({ ".tag": tag });
    assert_eq!(append(append_arg(&id, 5, false), b"x").await, tag("concurrent_session_invalid_offset"));
    assert_eq!(append(append_arg(&id, 0, false), b"x").await, tag("concurrent_session_invalid_data_size"));
    self::append(&server, &id, BLOCK, b"end", true).await;
    let end = BLOCK + 3;
    assert_eq!(finish(finish_arg(&id, end, "/f"), b"x").await, tag("concurrent_session_data_not_allowed"));
    assert_eq!(finish(finish_arg(&id, end, "/f"), b"").await, tag("concurrent_session_missing_data"));
}

#[tokio::test]
async fn a_batch_of_sessions_is_started_and_finished() {
    let world = World::new();
    let server = Server::start(&world).await;
    let started = server.call("files/upload_session/start_batch", r#"{"num_sessions":3}"#).send_rpc().await.json();
    let ids: Vec<String> = serde_json::from_value(started["session_ids"].clone()).unwrap();
    append(&server, &ids[0], 0, b"first", true).await;
    append(&server, &ids[1], 0, b"second", true).await;
    append(&server, &ids[2], 0, b"open", false).await;
    let entry =
        |id: &str, offset: usize, path: &str| -> Value { serde_json::from_str(&finish_arg(id, offset, path)).unwrap() };
    let entries = json!({ "entries": [
        entry(&ids[0], 5, "/A"),
        entry(&ids[1], 6, "/shared/b"),
        entry(&ids[2], 4, "/c"),
        entry(&ids[1], 6, "no path"),
    ] });
    for (route, tag) in [("finish_batch_v2", Value::Null), ("finish_batch", json!("complete"))] {
        let route = format!("files/upload_session/{route}");
        let answer = server.call(&route, &entries.to_string()).send_rpc().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        assert_eq!(told[".tag"], tag);
        assert_eq!(
            (&told["entries"][0][".tag"], &told["entries"][0]["path_display"]),
            (&json!("success"), &json!("/A"))
        );
        let shared = &told["entries"][1];
        assert_eq!(shared["sharing_info"]["parent_shared_folder_id"], json!(SHARED.to_string()));
        let open = json!({ ".tag": "lookup_failed", "lookup_failed": { ".tag": "not_closed" } });
        assert_eq!(told["entries"][2], json!({ ".tag": "failure", "failure": open }));
        assert_eq!(told["entries"][3]["failure"]["path"], json!({ ".tag": "malformed_path" }));
    }
    let check = server.call("files/upload_session/finish_batch/check", r#"{"async_job_id":"x"}"#).send_rpc().await;
    assert_eq!(check.summary(), "invalid_async_job_id/");
    let too_many = server.call("files/upload_session/start_batch", r#"{"num_sessions":1001}"#).send_rpc().await;
    assert_eq!(too_many.status, 400);
}

#[tokio::test]
async fn a_conflicted_copy_is_named_after_its_writer() {
    let world = World::new();
    let server = Server::start(&world).await;
    let Outcome::Account { acct, root } =
        world.machine.run(base::Acct(0), base::Nsid(0), Command::AccountPut { name: "ada".to_owned() })
    else {
        panic!("an account")
    };
    let init = Command::NamespaceInit { kind: meta::NamespaceKind::Root, owner: acct, grant_bytes: 1 << 30 };
    world.machine.run(base::Acct(0), root, init);
    let ada = server.token(blocks::content::Caller { acct, home: root }, stone::scope::ALL);
    let upload = async |arg: Value, bytes: &[u8]| {
        let call = server.call("files/upload", &arg.to_string());
        call.header("Authorization", &format!("Bearer {ada}")).send(bytes).await.json()
    };
    upload(json!({ "path": "/f.txt" }), b"one").await;
    let stale = json!({ ".tag": "update", "update": "000000000" });
    let copy = upload(json!({ "path": "/f.txt", "mode": stale, "autorename": true }), b"two").await;
    assert_eq!(copy["name"], "f (ada's conflicted copy).txt");
}

#[tokio::test]
async fn a_link_gives_its_file_to_whoever_has_it() {
    let world = World::new();
    let server = Server::start(&world).await;
    put(&server, "/d/f.txt", b"for all").await;
    let link = |path: &str| {
        let at = At::path(path);
        let create = LinkCommand::Create { at, settings: LinkSettings::default() };
        match world.machine.run(OWNER.acct, OWNER.home, Command::Link(Box::new(create))) {
            Outcome::Made { id } => (id, stone::links::url(&server.stone, OWNER.home, id, "f.txt")),
            other => panic!("{other:?}"),
        }
    };
    let ((number, file), (folder_number, folder)) = (link("/d/f.txt"), link("/d"));
    let stranger = format!("Bearer {}", server.token(STRANGER, stone::scope::ALL));
    let get = async |arg: Value| {
        let call = server.call("sharing/get_shared_link_file", &arg.to_string());
        call.header("Authorization", &stranger).send(b"").await
    };
    let answer = get(json!({ "url": file })).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"for all"[..]), "{}", answer.text());
    let told = answer.result();
    assert_eq!((&told[".tag"], &told["name"], &told["url"]), (&json!("file"), &json!("f.txt"), &json!(file)));
    assert_eq!(told["path_lower"], Value::Null, "where it is, is its owner's business");
    assert_eq!(get(json!({ "url": folder, "path": "/f.txt" })).await.body, b"for all");
    assert_eq!(get(json!({ "url": folder })).await.summary(), "shared_link_is_directory/");
    assert_eq!(get(json!({ "url": file, "path": "/x" })).await.summary(), "shared_link_not_found/");
    assert_eq!(get(json!({ "url": folder, "path": "/none" })).await.summary(), "shared_link_not_found/");
    let password = stone::password::hash_now("sesame").expect("hashed");
    let settings = LinkSettings { password, ..LinkSettings::default() };
    let lock = Command::Link(Box::new(LinkCommand::Modify { link: folder_number, settings }));
    assert_eq!(world.machine.run(OWNER.acct, OWNER.home, lock), Outcome::Done);
    let with = |password: &str| json!({ "url": folder, "path": "/f.txt", "link_password": password });
    assert_eq!(get(with("")).await.summary(), "shared_link_access_denied/");
    assert_eq!(get(with("wrong")).await.summary(), "shared_link_access_denied/");
    assert_eq!(get(with("sesame")).await.body, b"for all");
    let revoke = Command::Link(Box::new(LinkCommand::Revoke { link: number }));
    assert_eq!(world.machine.run(OWNER.acct, OWNER.home, revoke), Outcome::Done);
    assert_eq!(get(json!({ "url": file })).await.summary(), "shared_link_not_found/");
}

#[tokio::test]
async fn a_bad_block_ends_the_connection_before_its_first_byte() {
    let world = World::new();
    let server = Server::start(&world).await;
    let bytes = random(5, 2 * BLOCK);
    put(&server, "/f", &bytes).await;
    let name = blocks::store::hash_of(&bytes[BLOCK..]).to_string();
    std::fs::write(world.directory.path().join("blocks").join(&name[..2]).join(&name), vec![0; BLOCK]).unwrap();
    let answer = server.call("files/download", r#"{"path":"/f"}"#).send(b"").await;
    assert_eq!((answer.status, answer.is_whole), (200, false));
    // What was not sent yet when the connection ended is lost with it.
    assert!(bytes[..BLOCK].starts_with(&answer.body), "some of what is before it, and nothing of it");
}

#[tokio::test]
async fn no_leader_is_a_503_that_asks_to_come_again() {
    let world = World::new();
    let server = Server::start(&world).await;
    world.machine.set_away(true);
    let answer = server.call("files/upload", &put_arg("/f")).send(b"x").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    world.machine.set_away(false);
    put(&server, "/f", b"x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_server_is_a_content_host_where_its_configuration_says_so() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("secret"), "07".repeat(32)).unwrap();
    std::fs::set_permissions(path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let config = blocks::BlockConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        store: world.directory.path().to_str().unwrap().to_owned(),
        data_dir: directory.path().to_owned(),
        targets: vec!["127.0.0.1:1".to_owned()],
        server_id: 7,
        gc: blocks::GcConfig { enabled: false, ..blocks::GcConfig::default() },
        https: Some(blocks::HttpsConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            www: "https://files.example".to_owned(),
            secret_file: path("secret"),
            certificate: path("chain.pem"),
            key: path("key.pem"),
        }),
    };
    let running = blocks::start_all(&config, world.machine.clone(), Arc::new(world.machine.clone())).unwrap();
    let server = Server::attach(&world, running.https_address().unwrap(), &path("chain.pem")).await;
    // It lets nobody in before it has seen what was revoked.
    while server.call("files/download", r#"{"path":"/none"}"#).send(b"").await.status == 503 {
        tokio::task::yield_now().await;
    }
    put(&server, "/f", b"by a server of its own").await;
    assert_eq!(read(&server.content, "/f").await, b"by a server of its own", "another server has the same store");
    let elsewhere = server.call("files/upload_session/start_batch", r#"{"num_sessions":1}"#).send_rpc().await;
    assert!(elsewhere.status == 400 && elsewhere.text().contains("api host"), "{}", elsewhere.text());
    let unsafe_secret = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(path("secret"), unsafe_secret).unwrap();
    let refused = blocks::start_all(&config, world.machine.clone(), Arc::new(world.machine.clone())).unwrap_err();
    assert!(refused.to_string().contains("can be read by others"), "{refused}");
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
}

/// One mebibyte at a time, so that neither side ever has the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 1 GiB up and down"]
async fn memory_stays_flat_for_a_gibibyte() {
    const CALL: usize = 128 << 20;
    let world = World::new();
    let server = Server::start(&world).await;
    let id = start(&server, json!({}), b"").await;
    let zeros = vec![0; CALL];
    for call in 0..8 {
        append(&server, &id, call * CALL, &zeros, false).await;
    }
    let done = server.call("files/upload_session/finish", &finish_arg(&id, 8 * CALL, "/zeros")).send(b"").await;
    assert_eq!((done.status, &done.json()["size"]), (200, &json!(8 * CALL)));
    let plan = server.content.plan(OWNER, OWNER.home, meta::What::At(At::path("/zeros"))).await.unwrap();
    let (size, mut told) = (plan.size(), 0);
    let mut download = server.content.read(OWNER, plan, 0..size);
    while let Some(bytes) = download.next().await {
        told += bytes.unwrap().len() as u64;
    }
    assert_eq!(told, size);
    for memory in [server.content.uploads(), server.content.downloads()] {
        assert!(memory.peak_bytes() <= 4 * BLOCK_BYTES, "{} bytes at once", memory.peak_bytes());
    }
}
