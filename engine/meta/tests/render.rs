//! The JSON of metadata, byte for byte: what the ports give out (`tests/golden/render.txt`).

use base::{Acct, Jid, Nsid, TreeNode};
use meta::render::{self, Sharing, Style};
use meta::{Entry, Metadata, NodeKind};
use proptest::prelude::*;

const DBID: &str = "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc";

fn file() -> Entry {
    let meta = Metadata {
        nsid: Nsid(10_000_000_000),
        node: TreeNode(7),
        parent: TreeNode(2),
        jid: Jid(672),
        rev_jid: Jid(42),
        kind: NodeKind::File,
        name: "Prime_Numbers.txt".to_owned(),
        size: 7212,
        content_hash: [0xab; 32],
        client_mtime_ms: 1_431_445_838_000,
        server_mtime_ms: 1_431_445_839_500,
        modified_by: Acct(3),
    };
    Entry { path_display: "/Homework/math/Prime_Numbers.txt".to_owned(), meta }
}

fn folder(kind: NodeKind, node: u64, path: &str) -> Entry {
    let name = base::names::name_of(path).to_owned();
    let size = if kind == NodeKind::Mount { 10_000_000_017 } else { 0 };
    let client_mtime_ms = i64::MIN;
    let meta = Metadata { kind, name, size, node: TreeNode(node), client_mtime_ms, ..file().meta };
    Entry { path_display: path.to_owned(), meta }
}

fn rendered(entry: &Entry, style: &Style<'_>) -> String {
    let mut out = Vec::new();
    render::metadata(entry, style, &mut out);
    String::from_utf8(out).unwrap()
}

/// Every form, one a line.
fn forms() -> Vec<(&'static str, String)> {
    let tagged = Style { has_tag: true, ..Style::default() };
    let sharing = Sharing { folder: Nsid(10_000_000_017), is_read_only: false, modified_by: Some(DBID) };
    let shared = Style { sharing: Some(sharing), prefix: "/Team Ö", ..tagged };
    let viewed = Style { sharing: Some(Sharing { is_read_only: true, modified_by: None, ..sharing }), ..tagged };
    let no_time = Entry { meta: Metadata { client_mtime_ms: i64::MIN, ..file().meta }, ..file() };
    let odd = folder(NodeKind::Folder, 9, "/ÀÉ \"q\" \u{1}\n\u{1f600}\u{130}\u{3a3}");
    let deleted = |style: &Style<'_>| {
        let mut out = Vec::new();
        render::deleted("/Homework/PI.txt", style, &mut out);
        String::from_utf8(out).unwrap()
    };
    vec![
        ("file", rendered(&file(), &tagged)),
        ("file without tag", rendered(&file(), &Style::default())),
        ("file without the client's time", rendered(&no_time, &tagged)),
        ("file in a shared folder", rendered(&file(), &shared)),
        ("file in a shared folder, read only", rendered(&file(), &viewed)),
        ("folder", rendered(&folder(NodeKind::Folder, 8, "/Homework/math"), &tagged)),
        ("folder in a shared folder", rendered(&folder(NodeKind::Folder, 8, "/Homework/math"), &shared)),
        ("root of a shared folder", rendered(&folder(NodeKind::Folder, 1, ""), &shared)),
        ("root", rendered(&folder(NodeKind::Folder, 1, ""), &tagged)),
        ("mount", rendered(&folder(NodeKind::Mount, 8, "/Team"), &tagged)),
        ("mount, read only", rendered(&folder(NodeKind::Mount, 8, "/Team"), &viewed)),
        ("odd name", rendered(&odd, &tagged)),
        ("odd name in a header", rendered(&odd, &Style { is_ascii: true, ..tagged })),
        ("deleted", deleted(&tagged)),
        ("deleted below a mount", deleted(&shared)),
    ]
}

#[test]
fn every_form_is_pinned() {
    let text: String = forms().iter().map(|(name, json)| format!("{name}: {json}\n")).collect();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the golden directory is writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, wanted) in text.lines().zip(golden.lines()) {
        assert_eq!(line, wanted, "run with UPDATE_EXPECT=1 if the format was meant to change");
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

#[test]
fn every_form_is_a_compact_object_whose_paths_agree() {
    for (name, json) in forms() {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        let display = value["path_display"].as_str().unwrap();
        assert_eq!(value["path_lower"], base::names::path_key(display), "{name}");
        assert!(!json.contains("\": ") && !json.contains("\", \""), "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_is_escaped_as_serde_json_does(text: String) {
        let mut out = Vec::new();
        render::string(&text, false, &mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        let mut ascii = Vec::new();
        render::string(&text, true, &mut ascii);
        prop_assert!(ascii.iter().all(|byte| (0x20..0x7f).contains(byte)));
        prop_assert_eq!(serde_json::from_slice::<String>(&ascii).unwrap(), text);
    }
}

#[test]
fn ascii_and_utf8_say_the_same() {
    let odd = folder(NodeKind::Folder, 9, "/ÀÉ \"q\" \u{7f}\u{1f600}");
    let ascii = rendered(&odd, &Style { is_ascii: true, ..Style::default() });
    let utf8 = rendered(&odd, &Style::default());
    assert!(ascii.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&ascii), parse(&utf8));
}
