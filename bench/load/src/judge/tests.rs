//! What is right, what is a race and what no order explains.

use super::*;
use crate::tree::{Place, TOP};

const CONTENTS: fn() -> Contents = || Contents::new(1);

fn op(kind: OpKind, file: FileId, index: u64) -> Op {
    Op { kind, file, index, writer: Writer::op(index), size: 10, ..Op::default() }
}

/// A tree with one file that operation 1 put at row 5.
fn with_file() -> (Tree, FileId) {
    let mut tree = Tree::default();
    let file = tree.add_file(Place { folder: TOP, name: 1 });
    let put = begin(&mut tree, &op(OpKind::Put, file, 1));
    assert_eq!(end(&mut tree, CONTENTS(), &put, Answer::Applied { jid: 5, rev: 5 }), Judgement::Right);
    (tree, file)
}

fn read(rev: u64, writer: u64) -> Answer {
    Answer::File { rev, size: 10, content: first_8(&CONTENTS().hash(Writer(writer), 10)) }
}

fn stat(tree: &mut Tree, file: FileId, answer: Answer) -> Judgement {
    let stat = begin(tree, &op(OpKind::Stat, file, 2));
    end(tree, CONTENTS(), &stat, answer)
}

#[test]
fn reads_are_held_against_what_was_acknowledged_before() {
    let (mut tree, file) = with_file();
    assert_eq!(stat(&mut tree, file, read(5, 1)), Judgement::Right);
    assert_eq!(stat(&mut tree, file, read(4, 1)), Judgement::Violation(ViolationKind::StaleRead));
    assert_eq!(stat(&mut tree, file, read(5, 2)), Judgement::Violation(ViolationKind::WrongContent));
    assert_eq!(stat(&mut tree, file, read(6, 1)), Judgement::Violation(ViolationKind::Phantom));
    let gone = Answer::Refused(Refusal::NotFound);
    assert_eq!(stat(&mut tree, file, gone), Judgement::Violation(ViolationKind::Missing));
}

#[test]
fn what_an_overlapping_write_explains_is_no_violation() {
    let (mut tree, file) = with_file();
    let put = begin(&mut tree, &op(OpKind::Put, file, 3));
    assert_eq!(stat(&mut tree, file, read(9, 3)), Judgement::Right, "the put was seen before its answer");
    assert_eq!(stat(&mut tree, file, read(5, 1)), Judgement::Violation(ViolationKind::StaleRead), "9 was read before");
    assert_eq!(end(&mut tree, CONTENTS(), &put, Answer::Applied { jid: 9, rev: 9 }), Judgement::Right);
    assert_eq!(stat(&mut tree, file, read(9, 3)), Judgement::Right);
    // Deleted while a read was on its way.
    let late = begin(&mut tree, &op(OpKind::Stat, file, 4));
    tree.remove_file(file);
    let delete = begin(&mut tree, &op(OpKind::Delete, file, 5));
    assert_eq!(end(&mut tree, CONTENTS(), &late, Answer::Refused(Refusal::NotFound)), Judgement::Raced);
    assert_eq!(end(&mut tree, CONTENTS(), &delete, Answer::Applied { jid: 12, rev: 0 }), Judgement::Right);
}

#[test]
fn a_write_whose_outcome_is_not_known_makes_its_file_unsure_for_ever() {
    let (mut tree, file) = with_file();
    let put = begin(&mut tree, &op(OpKind::Put, file, 3));
    let unknown = end(&mut tree, CONTENTS(), &put, Answer::Failed(Failure::Unknown));
    assert_eq!(unknown, Judgement::Error(ErrorKind::Failed(Failure::Unknown)));
    assert_eq!(stat(&mut tree, file, read(5, 1)), Judgement::Right);
    assert_eq!(stat(&mut tree, file, read(8, 3)), Judgement::Right);
    assert_eq!(stat(&mut tree, file, read(5, 1)), Judgement::Violation(ViolationKind::StaleRead));
}

#[test]
fn the_journal_never_goes_back() {
    let (mut tree, _) = with_file();
    let head = begin(&mut tree, &op(OpKind::Head, FileId::NONE, 2));
    assert_eq!(end(&mut tree, CONTENTS(), &head, Answer::Head(4)), Judgement::Violation(ViolationKind::HeadWentBack));
    assert_eq!(end(&mut tree, CONTENTS(), &head, Answer::Head(7)), Judgement::Right);
    let mkdir = begin(&mut tree, &op(OpKind::Mkdir, FileId::NONE, 3));
    let again = end(&mut tree, CONTENTS(), &mkdir, Answer::Applied { jid: 7, rev: 0 });
    assert_eq!(again, Judgement::Violation(ViolationKind::JidTwice));
}

#[test]
fn a_batch_has_a_row_for_each_part() {
    for (jid, expected) in [(12, Judgement::Right), (11, Judgement::Violation(ViolationKind::TornBatch))] {
        let mut tree = Tree::default();
        let first = tree.add_file(Place { folder: TOP, name: 1 });
        tree.add_file(Place { folder: TOP, name: 2 });
        tree.add_file(Place { folder: TOP, name: 3 });
        let batch = begin(&mut tree, &Op { count: 3, ..op(OpKind::PutBatch, first, 1) });
        assert_eq!(end(&mut tree, CONTENTS(), &batch, Answer::Applied { jid, rev: 10 }), expected);
    }
}

#[test]
fn a_no_that_nothing_explains_is_an_error() {
    let (mut tree, file) = with_file();
    let put = begin(&mut tree, &op(OpKind::Put, file, 3));
    let quota = end(&mut tree, CONTENTS(), &put, Answer::Refused(Refusal::Quota));
    assert_eq!(quota, Judgement::Error(ErrorKind::Refused(Refusal::Quota)));
    let conflict = begin(&mut tree, &op(OpKind::Put, file, 4));
    let conflict = end(&mut tree, CONTENTS(), &conflict, Answer::Refused(Refusal::Conflict));
    assert_eq!(conflict, Judgement::Error(ErrorKind::Refused(Refusal::Conflict)));
    assert_eq!(stat(&mut tree, file, Answer::Head(9)), Judgement::Error(ErrorKind::Strange));
}

#[test]
fn a_put_that_overlaps_a_move_of_its_file_leaves_nothing_sure() {
    let (mut tree, file) = with_file();
    let put = begin(&mut tree, &op(OpKind::Put, file, 3));
    tree.move_file(file, Place { folder: TOP, name: 9 });
    let moved = begin(&mut tree, &op(OpKind::Move, file, 4));
    // The move came first, so the put made another file at the old place.
    end(&mut tree, CONTENTS(), &put, Answer::Applied { jid: 9, rev: 9 });
    end(&mut tree, CONTENTS(), &moved, Answer::Applied { jid: 8, rev: 8 });
    assert_eq!(stat(&mut tree, file, read(8, 1)), Judgement::Right);
    assert_eq!(stat(&mut tree, file, Answer::Refused(Refusal::NotFound)), Judgement::Raced);
}

#[test]
fn a_read_that_a_whole_put_overtook_may_tell_what_was_before() {
    let (mut tree, file) = with_file();
    let late = begin(&mut tree, &op(OpKind::Stat, file, 2));
    let put = begin(&mut tree, &op(OpKind::Put, file, 3));
    end(&mut tree, CONTENTS(), &put, Answer::Applied { jid: 9, rev: 9 });
    assert_eq!(end(&mut tree, CONTENTS(), &late, read(5, 1)), Judgement::Right);
    assert_eq!(stat(&mut tree, file, read(5, 1)), Judgement::Violation(ViolationKind::StaleRead));
}
