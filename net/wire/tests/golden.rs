//! Every format, byte for byte, against `tests/golden/*.hex`. `UPDATE_EXPECT=1` writes them anew; review the difference.

mod common;

use std::fmt::Write as _;
use std::path::Path;

fn check(name: &str, bytes: &[u8]) {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(text, "{:04x} ", line * 16).unwrap();
        chunk.chunks(4).for_each(|word| {
            text.push(' ');
            word.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        });
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("hex");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{name} changed; got\n{text}");
}

#[test]
fn hellos_keep_their_bytes() {
    check("client-hello", &common::client_hello().encode());
    check("server-hello", &common::server_hello().encode());
    check("peer-hello", &common::peer_hello().encode());
}

#[test]
fn client_frames_keep_their_bytes() {
    check("requests", &common::requests());
    check("replies", &common::replies());
}

#[test]
fn bodies_keep_their_bytes() {
    let mut map = Vec::new();
    common::cluster_map().encode(&mut map);
    check("cluster-map", &map);
    let mut status = Vec::new();
    common::core_status().encode(&mut status);
    check("status", &status);
}

#[test]
fn peer_frames_keep_their_bytes() {
    check("peer-frame", &common::peer_frame());
    check("snapshot-frame", &common::snapshot_frame());
    check("state-hash-frame", &common::state_hash_frame());
}
