//! Debian's rclone, unmodified, through `dropstone client-proxy` against `dropstone dev`: a real tree of thousands of
//! files goes there, is changed, and comes back byte for byte.

mod roles;
mod tree;

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::cluster::{binary, free_ports, wait_for};
use super::sdk::keep_apart;
use super::served::Served;
pub use roles::run as run_kills;
use tree::Tree;

/// What is copied: at least so many files.
const FILES_MIN: usize = 2_000;
/// Enough for a batch to be one of many files.
const MANY: [&str; 4] = ["--transfers", "16", "--checkers", "16"];

/// What rclone does with the tree and beside it.
type Flow = fn(&Rclone, &Tree, &Served) -> Result<()>;

/// Runs it; says so by name where rclone is not installed.
pub fn run() -> Result<()> {
    if !is_installed("rclone", "rclone", "version") {
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-rclone-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let outcome = drive(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

/// Tells a program's version; where it is not there, that the suite is left out.
fn is_installed(suite: &str, program: &str, version: &str) -> bool {
    let output = Command::new(program).arg(version).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        println!("  SKIPPED {suite}: {program} is not installed here");
        return false;
    };
    println!("  {}", String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default());
    true
}

fn drive(dir: &Path) -> Result<()> {
    let served = Served::start(dir, &["--hosted-names"])?;
    let data = served.data.to_str().context("the path is not UTF-8")?;
    let (proxy, address) = start_proxy(&["--data".to_owned(), data.to_owned()])?;
    let rclone = Rclone::new(dir, served.variables(&["--client", "rclone", "--proxy", &address])?)?;
    let tree = Tree::make(&dir.join("tree"), FILES_MIN)?;
    println!("  a tree of {} files, {} MiB", tree.files()?.len(), tree.bytes()? >> 20);
    let flows: [(&str, Flow); 9] = [
        ("copy, check", copy_and_check),
        ("sync after changes, check", sync_after_changes),
        ("copy back", copy_back),
        ("lists and sizes", lists_and_sizes),
        ("single files and folders", single_files),
        ("links, shared folders, shared files", links_and_shares),
        ("two ways", two_ways),
        ("a change is noticed", change_is_noticed),
        ("names, streams, tokens, purge", the_rest),
    ];
    for (name, flow) in flows {
        let began = Instant::now();
        flow(&rclone, &tree, &served).with_context(|| format!("flow {name:?}; dev said: {}", served.last_words()))?;
        println!("  flow {name}: {:.1} s", began.elapsed().as_secs_f64());
    }
    drop(proxy);
    served.check_covered("rclone")
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; what needed it has failed then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The proxy, told with `arguments` where it leads, and where it listens.
fn start_proxy(arguments: &[String]) -> Result<(Running, String)> {
    let address = format!("127.0.0.1:{}", free_ports(1)?);
    let mut command = Command::new(binary()?);
    command.args(["client-proxy", "--log", "error", "--listen", &address]).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start client-proxy")?;
    let mut proxy = Running(child);
    wait_for(Duration::from_secs(20), || {
        if let Some(status) = proxy.0.try_wait()? {
            bail!("client-proxy ended by itself: {status}");
        }
        Ok(TcpStream::connect(&address).ok())
    })?;
    Ok((proxy, address))
}

/// What makes a remote "dropstone" of a token that is never refreshed, through a proxy.
fn remote(token: &str, proxy: &str) -> Vec<(String, String)> {
    let token = json!({ "access_token": token, "token_type": "bearer", "expiry": "0001-01-01T00:00:00Z" });
    let variables = [
        ("HTTPS_PROXY", format!("http://{proxy}")),
        ("RCLONE_CONFIG_DROPSTONE_TYPE", "dropbox".to_owned()),
        ("RCLONE_CONFIG_DROPSTONE_TOKEN", token.to_string()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// rclone with the remote "dropstone".
struct Rclone {
    dir: PathBuf,
    variables: Vec<(String, String)>,
}

impl Rclone {
    fn new(dir: &Path, variables: Vec<(String, String)>) -> Result<Rclone> {
        // An empty file: without one each run says that it is missing.
        std::fs::write(dir.join("rclone.conf"), "")?;
        Ok(Rclone { dir: dir.to_owned(), variables })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.patient(arguments)?;
        // No second try of the whole: an error is one of the server's.
        command.args(["--retries", "1"]);
        Ok(command)
    }

    /// As its users run it: it tries again by itself.
    fn patient(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("rclone");
        command.args(arguments).current_dir(&self.dir);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("RCLONE_CONFIG", self.dir.join("rclone.conf")).stdin(Stdio::null());
        keep_apart(&mut command, &self.dir)?;
        Ok(command)
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)?.output().context("could not run rclone")
    }

    /// A run that must succeed; what it printed.
    fn ok(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.both(arguments)?.0)
    }

    /// As `ok`, with what it logged.
    fn both(&self, arguments: &[&str]) -> Result<(String, String)> {
        let output = self.output(arguments)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let log = text(&output.stderr);
        ensure!(output.status.success(), "rclone {}: {}: {log}", arguments.join(" "), output.status);
        Ok((text(&output.stdout), log))
    }

    /// With content on its standard input.
    fn fed(&self, arguments: &[&str], content: &[u8]) -> Result<()> {
        let mut child = self.command(arguments)?.stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(content)?;
        ensure!(child.wait()?.success(), "rclone {}", arguments.join(" "));
        Ok(())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ok(arguments)?;
        serde_json::from_str(&text).with_context(|| format!("rclone {}: no JSON: {text}", arguments.join(" ")))
    }

    /// `check` finds every file on both sides, with one content hash.
    fn check(&self) -> Result<()> {
        let mut arguments = vec!["check", "tree", "dropstone:tree"];
        arguments.extend(MANY);
        let (_, log) = self.both(&arguments)?;
        ensure!(log.contains(": 0 differences found"), "check: {log}");
        ensure!(!log.contains("hashes could not be checked"), "check compared no hashes: {log}");
        Ok(())
    }
}

fn copy_and_check(rclone: &Rclone, _: &Tree, _: &Served) -> Result<()> {
    let mut copy = vec!["copy", "tree", "dropstone:tree", "--create-empty-src-dirs", "-v"];
    copy.extend(MANY);
    rclone.ok(&copy)?;
    rclone.check()?;
    let (_, log) = rclone.both(&copy)?;
    ensure!(log.contains("There was nothing to transfer"), "a second copy sent something: {log}");
    Ok(())
}

fn sync_after_changes(rclone: &Rclone, tree: &Tree, _: &Served) -> Result<()> {
    let sync = |how: &str| {
        let mut sync = vec!["sync", "tree", "dropstone:tree", "--create-empty-src-dirs", how];
        sync.extend(MANY);
        rclone.ok(&sync)
    };
    tree.change()?;
    sync("--track-renames")?;
    rclone.check()?;
    // A file takes a folder's name only once that is gone.
    tree.swap()?;
    sync("--delete-before")?;
    rclone.check()
}

fn copy_back(rclone: &Rclone, tree: &Tree, _: &Served) -> Result<()> {
    let mut copy = vec!["copy", "dropstone:tree", "back", "--create-empty-src-dirs"];
    copy.extend(MANY);
    rclone.ok(&copy)?;
    tree.compare(&rclone.dir.join("back"))
}

fn lists_and_sizes(rclone: &Rclone, tree: &Tree, _: &Served) -> Result<()> {
    let listed = rclone.ok(&["lsf", "-R", "dropstone:tree"])?;
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    ensure!(listed == tree.listing()?, "lsf -R lists another tree");
    let lines = rclone.ok(&["lsl", "dropstone:tree"])?.lines().count();
    ensure!(lines == tree.files()?.len(), "lsl has {lines} lines");
    let size = rclone.json(&["size", "--json", "dropstone:tree"])?;
    ensure!((&size["count"], &size["bytes"]) == (&json!(tree.files()?.len()), &json!(tree.bytes()?)), "size: {size}");
    let about = rclone.json(&["about", "--json", "dropstone:"])?;
    ensure!(about["used"].as_u64() >= Some(tree.bytes()?) && about["free"].is_u64(), "about: {about}");
    let sums = |remote: &str| -> Result<Vec<String>> {
        let text = rclone.ok(&["hashsum", "dropbox", remote])?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines)
    };
    ensure!(sums("tree/odd/sizes")? == sums("dropstone:tree/odd/sizes")?, "hashes differ");
    Ok(())
}

fn single_files(rclone: &Rclone, _: &Tree, _: &Served) -> Result<()> {
    let content = b"0123456789abcdef".repeat(70_000);
    rclone.fed(&["rcat", "dropstone:single/a.bin"], &content)?;
    let cat = |more: &[&str]| rclone.ok(&[&["cat"], more].concat()).map(String::into_bytes);
    ensure!(cat(&["dropstone:single/a.bin"])? == content, "cat gave another content");
    let part = cat(&["dropstone:single/a.bin", "--offset", "100003", "--count", "12"])?;
    ensure!(part == content[100_003..100_015], "a range is another one");
    rclone.ok(&["copyto", "dropstone:single/a.bin", "dropstone:single/b.bin"])?;
    rclone.ok(&["moveto", "dropstone:single/a.bin", "dropstone:single/sub/A.bin"])?;
    // A change of case alone.
    rclone.ok(&["moveto", "dropstone:single/sub", "dropstone:single/moved"])?;
    rclone.ok(&["mkdir", "dropstone:single/empty"])?;
    ensure!(rclone.ok(&["lsf", "-R", "dropstone:single"])? == "b.bin\nempty/\nmoved/\nmoved/A.bin\n", "another tree");
    ensure!(!rclone.output(&["rmdir", "dropstone:single/moved"])?.status.success(), "rmdir took a full folder");
    rclone.ok(&["rmdir", "dropstone:single/empty"])?;
    rclone.ok(&["deletefile", "dropstone:single/b.bin"])?;
    ensure!(rclone.ok(&["lsf", "-R", "dropstone:single"])? == "moved/\nmoved/A.bin\n", "another tree");
    ensure!(!rclone.output(&["cat", "dropstone:single/b.bin"])?.status.success(), "a deleted file was read");
    Ok(())
}

fn links_and_shares(rclone: &Rclone, _: &Tree, served: &Served) -> Result<()> {
    rclone.fed(&["rcat", "dropstone:linked/file.txt"], b"linked")?;
    let link = rclone.ok(&["link", "dropstone:linked/file.txt"])?;
    ensure!(link.starts_with("https://") && link.contains("/s/"), "no link: {link}");
    ensure!(rclone.ok(&["link", "dropstone:linked/file.txt"])? == link, "a second link of one file");
    ensure!(rclone.ok(&["link", "dropstone:linked"])? != link, "the folder has the link of its file");
    served.run(&["share", "/linked"])?;
    let shared = rclone.ok(&["lsf", "--dropbox-shared-folders", "dropstone:"])?;
    ensure!(shared == "linked/\n", "shared folders: {shared}");
    let inside = rclone.ok(&["lsf", "--dropbox-shared-folders", "dropstone:linked"])?;
    ensure!(inside == "file.txt\n", "in the shared folder: {inside}");
    let files = rclone.ok(&["lsf", "--dropbox-shared-files", "dropstone:"])?;
    ensure!(files.is_empty(), "shared files: {files}");
    Ok(())
}

fn two_ways(rclone: &Rclone, _: &Tree, _: &Served) -> Result<()> {
    let left = rclone.dir.join("left");
    std::fs::create_dir_all(&left)?;
    std::fs::write(left.join("one"), "1")?;
    rclone.ok(&["mkdir", "dropstone:both"])?;
    rclone.ok(&["bisync", "left", "dropstone:both", "--resync"])?;
    rclone.fed(&["rcat", "dropstone:both/two"], b"2")?;
    std::fs::write(left.join("three"), "3")?;
    std::fs::remove_file(left.join("one"))?;
    rclone.ok(&["bisync", "left", "dropstone:both", "--force"])?;
    for side in ["left", "dropstone:both"] {
        let listed = rclone.ok(&["lsf", side])?;
        ensure!(listed == "three\ntwo\n", "{side} has {listed:?}");
    }
    Ok(())
}

/// Its longpoll goes to the host `notify` without a token.
fn change_is_noticed(rclone: &Rclone, _: &Tree, _: &Served) -> Result<()> {
    let log = rclone.dir.join("notice.log");
    let mut command = rclone.command(&["test", "changenotify", "dropstone:", "--poll-interval", "1s"])?;
    let _watching = Running(command.stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).spawn()?);
    let said = |word: &str| {
        wait_for(Duration::from_secs(60), || Ok(std::fs::read_to_string(&log)?.contains(word).then_some(())))
            .with_context(|| {
                format!("rclone did not say {word:?}: {}", std::fs::read_to_string(&log).unwrap_or_default())
            })
    };
    said("Waiting for changes")?;
    // Only what comes after its first look counts, so changes are made until one is seen.
    for number in 0.. {
        rclone.ok(&["mkdir", &format!("dropstone:noticed {number}")])?;
        let seen =
            wait_for(Duration::from_secs(3), || Ok(std::fs::read_to_string(&log)?.contains("noticed ").then_some(())));
        if seen.is_ok() {
            break;
        }
        ensure!(number < 10, "no change was noticed: {}", std::fs::read_to_string(&log)?);
    }
    Ok(())
}

fn the_rest(rclone: &Rclone, _: &Tree, _: &Served) -> Result<()> {
    let told = rclone.ok(&["test", "info", "dropstone:info", "--check-normalization", "--check-streaming"])?;
    for line in ["canReadRenormalized   = true", "canStream = true"] {
        ensure!(told.contains(line), "test info does not say {line:?}: {told}");
    }
    // A token that has ended is refreshed at the host `api`.
    let refresh = rclone.variables.iter().find(|(name, _)| name == "DROPBOX_REFRESH_TOKEN").context("no token")?;
    let token = json!({ "access_token": "old", "token_type": "bearer", "refresh_token": refresh.1,
        "expiry": "2020-01-01T00:00:00Z" });
    let config = rclone.dir.join("old.conf");
    std::fs::write(&config, format!("[old]\ntype = dropbox\ntoken = {token}\n"))?;
    let config = config.to_str().context("the path is not UTF-8")?;
    ensure!(rclone.ok(&["--config", config, "lsf", "old:"])?.contains("tree/"), "another account");
    for folder in ["tree", "info", "single"] {
        rclone.ok(&["purge", &format!("dropstone:{folder}")])?;
    }
    let left = rclone.ok(&["lsf", "dropstone:"])?;
    ensure!(!left.contains("tree/"), "purge has left {left}");
    Ok(())
}
