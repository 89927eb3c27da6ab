//! A cluster in a process, clients of it as processes, and folders that become equal.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_dropstone");
const TIME_MAX: Duration = Duration::from_secs(90);
/// Ports that one `dev` takes.
const PORTS: u16 = 344;

/// A process that ends with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `dropstone dev`.
pub struct Dev {
    _process: Process,
    data: TempDir,
    target: String,
}

/// The cluster that all tests share, each with a remote folder of its own, until the last of them ends.
pub fn dev() -> Arc<Dev> {
    static SHARED: Mutex<Weak<Dev>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dev) = shared.upgrade() {
        return dev;
    }
    let dev = Arc::new(Dev::start());
    *shared = Arc::downgrade(&dev);
    dev
}

impl Dev {
    /// Starts one and waits until it serves.
    fn start() -> Dev {
        let data = TempDir::new().expect("a directory");
        let port = free_ports();
        let mut command = Command::new(BINARY);
        command.args(["dev", "--nodes", "1", "--cores", "1", "--groups", "4", "--port", &port.to_string(), "--data"]);
        command.arg(data.path().join("data")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process(command.spawn().expect("it starts"));
        let env = data.path().join("data/http/env");
        wait_for("dropstone dev to be up", || {
            assert!(process.0.try_wait().expect("asked").is_none(), "dropstone dev ended");
            env.exists()
        });
        Dev { _process: process, data, target: format!("127.0.0.1:{port}") }
    }

    /// A new folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.data.path().join(name);
        fs::create_dir_all(&path).expect("made");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--target", &self.target]).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// What a command that must succeed prints.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A client that goes on until it is killed.
    pub fn sync(&self, folder: &Path, remote: &str) -> Process {
        let mut command = self.command(&["sync", folder.to_str().expect("UTF-8"), remote]);
        Process(command.stdout(Stdio::null()).spawn().expect("it starts"))
    }
}

/// Everything in a folder but our own, with the content of files.
pub fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // What goes while one looks is looked for again.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let relative = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
            if relative == ".dropstone" {
                continue;
            }
            if path.is_dir() {
                found.insert(relative, None);
                folders.push(path);
            } else {
                found.insert(relative, Some(fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found
}

/// Waits until both folders are equal and hold so many files and folders that pass.
pub fn wait_equal(one: &Path, two: &Path, what: &str, is_done: impl Fn(&BTreeMap<String, Option<Vec<u8>>>) -> bool) {
    wait_for(what, || {
        let tree_of_one = tree(one);
        is_done(&tree_of_one) && tree_of_one == tree(two)
    });
}

/// Waits for it.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TIME_MAX, "waited {TIME_MAX:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_ports() -> u16 {
    let begin = (std::process::id() % 50) as u16 * 400;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let free = (0..50).map(|step| 10_000 + (begin + step * PORTS) % 20_000);
    free.into_iter().find(|base| (*base..base + PORTS).all(is_free)).expect("free ports in a row")
}
