//! Two folders follow each other through all that users do, and clients that are killed go on.

use std::fs;

use crate::dev::{dev, tree, wait_equal, wait_for};

#[test]
fn two_folders_follow_each_other_through_edits_moves_casings_and_deletions() {
    let dev = dev();
    let (one, two) = (dev.folder("one"), dev.folder("two"));
    fs::create_dir_all(one.join("dir/deep")).unwrap();
    fs::write(one.join("dir/deep/file"), "1").unwrap();
    fs::write(one.join("large"), vec![7; (9 << 20) + 1]).unwrap();
    let mut clients = [dev.sync(&one, "/tree"), dev.sync(&two, "/tree")];
    wait_equal(&one, &two, "the first files", |tree| tree.len() == 4);

    fs::write(two.join("dir/deep/file"), "written there").unwrap();
    wait_equal(&one, &two, "an edit", |tree| tree["dir/deep/file"].as_deref() == Some(b"written there"));

    fs::rename(one.join("dir/deep"), one.join("Moved")).unwrap();
    wait_equal(&one, &two, "a move", |tree| tree.contains_key("Moved/file") && !tree.contains_key("dir/deep"));

    fs::rename(two.join("large"), two.join("LARGE")).unwrap();
    wait_equal(&one, &two, "another casing", |tree| tree.contains_key("LARGE") && !tree.contains_key("large"));

    fs::remove_dir_all(one.join("Moved")).unwrap();
    fs::create_dir_all(two.join("new/folder")).unwrap();
    fs::write(two.join("new/folder/file"), "").unwrap();
    wait_equal(&one, &two, "a deletion", |tree| !tree.contains_key("Moved") && tree.contains_key("new/folder/file"));

    // Clients that are stopped end well; what both sides write meanwhile is kept twice.
    for client in &mut clients {
        std::process::Command::new("kill").arg(client.0.id().to_string()).status().unwrap();
        assert!(client.0.wait().unwrap().success());
    }
    fs::write(one.join("new/folder/file"), "of one").unwrap();
    fs::write(two.join("new/folder/file"), "of two").unwrap();
    for _ in 0..2 {
        for folder in [&one, &two] {
            dev.ok(&["sync", folder.to_str().unwrap(), "/tree", "--once"]);
        }
    }
    assert_eq!(tree(&one), tree(&two));
    let copies: Vec<String> = tree(&one).into_keys().filter(|path| path.contains("conflicted copy")).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    let contents: Vec<Vec<u8>> =
        tree(&one).into_values().flatten().filter(|content| content.starts_with(b"of ")).collect();
    assert!(contents.contains(&b"of one".to_vec()) && contents.contains(&b"of two".to_vec()));
}

#[test]
fn two_thousand_files_arrive_although_clients_are_killed_again_and_again() {
    let dev = dev();
    let (one, two) = (dev.folder("from"), dev.folder("to"));
    for at in 0..2_000 {
        let folder = one.join(format!("folder {}", at % 40));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file {at}")), format!("content {at}")).unwrap();
    }
    for turn in 0..4 {
        let clients = [dev.sync(&one, "/many"), dev.sync(&two, "/many")];
        // Killed in the middle, wherever that is: the more files are there the later.
        wait_for("some files", || tree(&two).len() > turn * 200);
        drop(clients);
    }
    let _clients = [dev.sync(&one, "/many"), dev.sync(&two, "/many")];
    wait_equal(&one, &two, "2,000 files", |tree| tree.len() == 2_040);
    let listed = dev.ok(&["ls", "-R", "--json", "/many"]);
    assert_eq!(listed.lines().count(), 2_040, "no copy was made on the way");
}

#[test]
fn what_cannot_be_done_has_its_exit_code() {
    let dev = dev();
    let folder = dev.folder("folder");
    let path = folder.to_str().unwrap();
    fs::write(folder.join("file"), "1").unwrap();
    let exit = |arguments: &[&str]| dev.run(arguments).status.code();
    let would = dev.ok(&["sync", path, "/", "--dry-run"]);
    assert!(would.contains("put       file"), "{would}");
    assert!(!folder.join(".dropstone").exists(), "nothing was done");
    dev.ok(&["sync", path, "/codes", "--once"]);
    let client = dev.sync(&folder, "/codes");
    wait_for("the lock", || exit(&["sync", path, "/codes", "--once"]) == Some(1));
    drop(client);
    assert_eq!(
        exit(&["sync", path, "/other", "--once"]),
        Some(3),
        "it is synced with another one, and that is not there"
    );
    assert_eq!(exit(&["sync", path, "/codes/file", "--once"]), Some(4));
    assert_eq!(exit(&["sync", path]), Some(2));
    // The remote folder goes: nothing here is deleted for it.
    dev.ok(&["rm", "-r", "/codes"]);
    assert_eq!(exit(&["sync", path, "/codes", "--once"]), Some(3));
    assert!(folder.join("file").exists());
}
