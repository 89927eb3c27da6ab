//! Pinned bytes of what goes from one namespace to another: commands, questions, answers, and the row it leaves.

use base::{Acct, BlockHash, Jid, Nsid, TreeNode};

use super::*;
use crate::command::{Command, CommandHeader, MemberRole, MemberState};
use crate::command_codec::{decode_command, encode_command};
use crate::delta::Expansion;
use crate::golden;
use crate::keys;
use crate::query::{Answer, Query};
use crate::rows::RowValue;

fn listing() -> CarryPlace {
    CarryPlace::Listing { head: Jid(0x33), position: "a/b".to_owned() }
}

fn changes() -> CarryPlace {
    let expansion = Expansion { is_deleted: true, root: TreeNode(7), position: b"a".to_vec() };
    CarryPlace::Changes(DeltaCursor { since: Jid(0x34), expansion: Some(expansion) })
}

fn items() -> Vec<CarriedItem> {
    let file = CarriedFile {
        rev: Jid(0x32),
        size: 0x40_0005,
        client_mtime_ms: -2,
        content_hash: [0xcc; 32],
        blocks: vec![BlockHash([0xb1; 32]), BlockHash([0xb2; 32])],
    };
    let item = |path: &str, what| CarriedItem { path: path.to_owned(), what };
    vec![item("/gone", Carried::Deleted), item("/A", Carried::Folder), item("/A/b.txt", Carried::File(file))]
}

fn commands() -> Vec<Command> {
    let end = |how| Command::ImportEnd(Box::new(ImportEnd { step: Step { flow: 0x99, step: 4 }, how }));
    let import =
        Import { flow: 0x99, part: 3, is_hidden: true, acct: Acct(5), read_ms: 0x44, place: changes(), items: items() };
    let at = At { node: TreeNode(7), path: "/to".to_owned() };
    vec![
        Command::Import(Box::new(import)),
        end(ImportEndHow::Stay),
        end(ImportEndHow::Attach { at, autorename: true, acct: Acct(5) }),
        end(ImportEndHow::GiveUp),
    ]
}

#[test]
fn commands_have_the_pinned_bytes() {
    let header = CommandHeader { acct: Acct(0), nsid: Nsid(10_000_000_001), ..CommandHeader::default() };
    let mut lines = Vec::new();
    for command in commands() {
        let mut bytes = Vec::new();
        encode_command(&header, &command, &mut bytes);
        lines.push((format!("command {}", command.kind()), bytes.clone()));
        assert_eq!(decode_command(&bytes), Ok((header, command)));
        // Cut off anywhere it is refused, never read as another.
        (0..bytes.len()).for_each(|end| assert!(decode_command(&bytes[..end]).is_err()));
    }
    golden::check("across-commands", &lines);
}

#[test]
fn questions_and_answers_have_the_pinned_bytes() {
    let mut lines = Vec::new();
    let export = |place| Query::Export(Box::new(Export { node: TreeNode(7), place, limit: 9 }));
    for query in [export(listing()), export(changes()), Query::Import(0x99), Query::Members { after: Acct(5) }] {
        let mut bytes = Vec::new();
        query.encode(&mut bytes);
        lines.push((format!("query {}", query.kind()), bytes.clone()));
        assert_eq!(Query::decode(&bytes), Ok(query));
    }
    let page = ExportPage { items: items(), next: listing(), has_more: true, behind: 6 };
    let info = ImportInfo { parts: 3, is_ended: true, place: listing() };
    let (role, state) = (MemberRole::Viewer, MemberState::Invited);
    let member = MemberInfo { acct: Acct(5), role, state, invited_ms: 0x44 };
    for answer in [Answer::Export(page), Answer::Import(info), Answer::Members(vec![member])] {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        lines.push((format!("answer {}", answer.kind()), bytes.clone()));
        assert_eq!(Answer::decode(&bytes), Ok(answer));
    }
    golden::check("across-queries", &lines);
}

#[test]
fn the_row_of_an_import_has_the_pinned_bytes() {
    let row = ImportRow { is_ended: true, base: TreeNode(7), parts: 3, touched_ms: 0x44, place: changes() };
    assert_eq!(ImportRow::decode(&row.to_bytes()), row);
    let lines = [
        ("import".to_owned(), row.to_bytes()),
        ("key of import".to_owned(), keys::import(Nsid(10_000_000_001), 0x99).to_vec()),
    ];
    golden::check("across-rows", &lines);
}
