//! What a batch must come to by the naive tree: its parts in order, all or nothing where that is wanted.

#![allow(clippy::result_large_err, reason = "an outcome is compared where it is made and goes no further")]

use base::Acct;
use meta::{CommitBatch, Outcome};

use super::tree::{Expected, Tree, has_paths};

/// Blocks and room, of which the tree knows nothing: nothing was changed.
pub(crate) fn is_about_content(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NeedBlocks(_) | Outcome::BadContentHash | Outcome::Quota { .. } | Outcome::Busy { .. })
}

/// Runs a batch of `acct` that is said to have come to `outcome`; that is what decides where blocks or room lack.
///
/// Errors: what the tree says of the first part that came to something else, in words.
pub(crate) fn run(tree: &mut Tree, acct: Acct, batch: &CommitBatch, outcome: &Outcome) -> Result<(), String> {
    if !tree.may_use(acct) {
        return if *outcome == Outcome::NoAccess { Ok(()) } else { Err("NoAccess".to_owned()) };
    }
    let Outcome::Batch { failed, outcomes } = outcome else { return Err("a batch".to_owned()) };
    let Some(failed) = failed.map(|at| at as usize) else {
        if outcomes.len() != batch.parts.len() || batch.atomic && !outcomes.iter().all(Outcome::is_ok) {
            return Err(format!("an outcome of each of {} parts", batch.parts.len()));
        }
        return (0..outcomes.len()).try_for_each(|at| part(tree, acct, batch, at, &outcomes[at]));
    };
    let [told] = &outcomes[..] else { return Err("the outcome of the part that failed".to_owned()) };
    if !batch.atomic || failed >= batch.parts.len() || told.is_ok() {
        return Err("all parts done".to_owned());
    }
    // Those before it were done, and then taken back.
    let mut tried = tree.clone();
    for at in 0..failed {
        match tried.run(acct, &batch.parts[at]) {
            Expected::Applied(..) | Expected::Unchanged(_) | Expected::Unknown => {}
            Expected::Told(told) => return Err(format!("part {at}: {told:?}")),
            Expected::Other(other) => return Err(format!("part {at}: {other:?}")),
        }
    }
    part(&mut tried, acct, batch, failed, told)
}

fn part(tree: &mut Tree, acct: Acct, batch: &CommitBatch, at: usize, told: &Outcome) -> Result<(), String> {
    let command = &batch.parts[at];
    if is_about_content(told) || *told == Outcome::Malformed && !has_paths(command) {
        return Ok(());
    }
    let expected = tree.run(acct, command);
    if expected.is_met_by(told) { Ok(()) } else { Err(format!("part {at}: {expected:?}")) }
}

#[cfg(test)]
mod tests {
    use meta::{At, Command, Mkdir};

    use super::*;

    const OWNER: Acct = Acct(7);

    fn mkdirs(atomic: bool, paths: &[&str]) -> CommitBatch {
        let part = |path: &&str| Command::Mkdir(Mkdir { at: At::path(path), autorename: false });
        CommitBatch { atomic, parts: paths.iter().map(part).collect() }
    }

    const FOLDER: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };

    fn failed(at: u32, outcome: Outcome) -> Outcome {
        Outcome::Batch { failed: Some(at), outcomes: vec![outcome] }
    }

    #[test]
    fn a_batch_that_failed_as_a_whole_leaves_nothing_behind() {
        let mut tree = Tree::new(OWNER);
        run(&mut tree, OWNER, &mkdirs(true, &["/a", "/a", "/b"]), &failed(1, FOLDER)).unwrap();
        assert!(tree.things().is_some_and(|things| things.is_empty()));
        assert!(run(&mut tree, OWNER, &mkdirs(true, &["/a", "/b"]), &failed(1, FOLDER)).is_err());
        assert!(run(&mut tree, OWNER, &mkdirs(true, &["/a", "/a", "/b"]), &failed(2, FOLDER)).is_err());
        assert!(run(&mut tree, OWNER, &mkdirs(false, &["/a", "/a"]), &failed(1, FOLDER)).is_err());
        assert!(run(&mut tree, Acct(8), &mkdirs(false, &["/a"]), &failed(0, FOLDER)).is_err());
        run(&mut tree, Acct(8), &mkdirs(false, &["/a"]), &Outcome::NoAccess).unwrap();
    }

    #[test]
    fn each_part_comes_to_what_it_would_alone() {
        let mut tree = Tree::new(OWNER);
        let parts = |outcomes: &[Outcome]| Outcome::Batch { failed: None, outcomes: outcomes.to_vec() };
        assert!(run(&mut tree.clone(), OWNER, &mkdirs(false, &["/a"]), &parts(&[FOLDER])).is_err());
        assert!(run(&mut tree.clone(), OWNER, &mkdirs(false, &["/a"]), &parts(&[])).is_err());
        assert!(run(&mut tree.clone(), OWNER, &mkdirs(true, &["/a"]), &parts(&[FOLDER])).is_err());
        tree.run(OWNER, &mkdirs(false, &["/a"]).parts[0]);
        let told = parts(&[FOLDER, Outcome::Quota { short_bytes: 1 }]);
        run(&mut tree, OWNER, &mkdirs(false, &["/A", "/b"]), &told).unwrap();
        assert!(tree.things().is_some_and(|things| things.len() == 1));
    }
}
