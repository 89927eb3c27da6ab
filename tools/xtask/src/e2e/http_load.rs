//! The HTTP API under weight: hundreds of writers in one namespace, a listing of a million entries, a file of 10 GiB.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::{Acct, Nsid};
use client::{Client, ClientOptions, Operation, Reply};
use meta::{At, Command as MetaCommand, CommitBatch, CommitFile, Outcome};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::cluster::{binary, free_ports, wait_for};

/// Ports that one `dev` takes.
const PORTS: u16 = 344;
/// Files of one writer.
const FILES: usize = 16;
/// Folders of the listing, and files in each.
const FOLDERS: usize = 1_000;
/// Bytes of a block.
const BLOCK_BYTES: usize = 4 << 20;
/// GiB of the large file; `DROPSTONE_LARGE_GIB` sets another number. So many of its blocks are unlike each other, that the
/// disk need not hold all of it.
const LARGE_GIB: usize = 10;
const BLOCKS_OF_GIB: usize = 256;
const BLOCKS_UNLIKE: usize = 32;
/// Blocks of one request.
const PART_BLOCKS: usize = 32;
/// What a file of any size may cost in memory.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-http-load-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(dir: &Path) -> Result<()> {
    let dev = Dev::start(dir)?;
    for writers in [64, 256] {
        write_at_once(&dev, writers)?;
    }
    large_file(&dev)?;
    list_all(&dev)
}

/// `dropstone dev` of one node.
struct Dev {
    process: Child,
    target: String,
    url: String,
    token: String,
    authority: PathBuf,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself; the suite has failed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Dev {
    fn start(dir: &Path) -> Result<Dev> {
        let (data, port) = (dir.join("data"), free_ports(PORTS)?);
        let mut command = Command::new(binary()?);
        command.args(["dev", "--nodes", "1", "--port", &port.to_string(), "--data"]).arg(&data);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start dev")?;
        let env = data.join("http/env");
        wait_for(Duration::from_secs(60), || {
            if let Some(status) = process.try_wait()? {
                bail!("dev ended by itself: {status}");
            }
            Ok(env.exists().then_some(()))
        })?;
        let text = std::fs::read_to_string(&env)?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(str::to_owned).with_context(|| format!("{name} is not among what dev tells"))
        };
        let (url, token) = (value("DROPSTONE_URL")?, value("DROPSTONE_TOKEN")?);
        Ok(Dev { process, target: format!("127.0.0.1:{port}"), url, token, authority: data.join("http/ca.pem") })
    }

    /// A client with connections of its own.
    fn api(&self) -> Result<Api> {
        let pem = std::fs::read(&self.authority)?;
        let certificate = Certificate::from_pem(&pem)?.to_owned();
        let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(vec![certificate]))).build();
        let config = Agent::config_builder().tls_config(tls).http_status_as_error(false).build();
        Ok(Api { agent: config.new_agent(), url: self.url.clone(), token: self.token.clone() })
    }

    /// Bytes of memory that the process has now.
    fn resident(&self) -> Result<u64> {
        resident(self.process.id())
    }
}

fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

struct Api {
    agent: Agent,
    url: String,
    token: String,
}

impl Api {
    fn request(&self, route: &str) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        self.agent.post(format!("{}/2/{route}", self.url)).header("authorization", format!("Bearer {}", self.token))
    }

    /// A route that takes JSON: status and body.
    fn call(&self, route: &str, arg: &Value) -> Result<(u16, String)> {
        let mut answer = self.request(route).header("content-type", "application/json").send(arg.to_string())?;
        Ok((answer.status().as_u16(), answer.body_mut().with_config().limit(64 << 20).read_to_string()?))
    }

    fn ok(&self, route: &str, arg: &Value) -> Result<Value> {
        let (status, text) = self.call(route, arg)?;
        ensure!(status == 200, "{route} {arg} was answered with {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// A route that takes content.
    fn send(&self, route: &str, arg: &Value, body: impl ureq::AsSendBody) -> Result<(u16, String)> {
        let request = self.request(route).header("dropbox-api-arg", arg.to_string());
        let mut answer = request.header("content-type", "application/octet-stream").send(body)?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    fn sent(&self, route: &str, arg: &Value, body: impl ureq::AsSendBody) -> Result<Value> {
        let (status, text) = self.send(route, arg, body)?;
        ensure!(status == 200, "{route} {arg} was answered with {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// What a file of a writer holds.
fn content(writer: usize, file: usize) -> Vec<u8> {
    let length = 1 + (writer * 977 + file * 7919) % 20_000;
    (0..length).map(|at| (at * 31 + writer * 7 + file) as u8).collect()
}

/// So many clients put files into one folder, each one after the other: no 429, and none is lost.
fn write_at_once(dev: &Dev, writers: usize) -> Result<()> {
    let folder = format!("/writers-{writers}");
    let begun = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let work = |writer: usize| {
            let (api, folder) = (dev.api()?, &folder);
            for file in 0..FILES {
                let arg = json!({"path": format!("{folder}/{writer}-{file}"), "mode": "add"});
                api.sent("files/upload", &arg, &content(writer, file)[..])?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || work(writer))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a writer does not panic"))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let api = dev.api()?;
    let mut seen = HashMap::new();
    let mut page = api.ok("files/list_folder", &json!({"path": folder}))?;
    loop {
        for entry in page["entries"].as_array().context("entries")? {
            let name = entry["name"].as_str().context("a name")?.to_owned();
            seen.insert(name, entry["content_hash"].as_str().context("a hash")?.to_owned());
        }
        if page["has_more"] != true {
            break;
        }
        page = api.ok("files/list_folder/continue", &json!({"cursor": page["cursor"]}))?;
    }
    ensure!(seen.len() == writers * FILES, "{} of {} files are listed", seen.len(), writers * FILES);
    for writer in 0..writers {
        for file in 0..FILES {
            let wanted = hex(&content_hash([content(writer, file).as_slice()].into_iter()));
            let found = seen.get(&format!("{writer}-{file}"));
            ensure!(found == Some(&wanted), "file {writer}-{file} has hash {found:?}, not {wanted}");
        }
    }
    let rate = (writers * FILES) as f64 / seconds;
    println!("  {writers} writers: {} files in one folder, {rate:.0} files/s, none refused, none lost", seen.len());
    Ok(())
}

/// The content hash of the API: of the hashes of blocks.
fn content_hash<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut all = Sha256::new();
    blocks.for_each(|block| all.update(Sha256::digest(block)));
    all.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The blocks of the large file, those that are unlike.
fn unlike() -> Vec<Vec<u8>> {
    let word = |block: usize, at: usize| base::mix64((block << 32 | at) as u64).to_le_bytes();
    (0..BLOCKS_UNLIKE).map(|block| (0..BLOCK_BYTES / 8).flat_map(|at| word(block, at)).collect()).collect()
}

/// Blocks one after the other, from `at` on; after `ends` it fails, as a client does that goes away.
struct Blocks<'a> {
    unlike: &'a [Vec<u8>],
    at: usize,
    until: usize,
    fails: bool,
}

impl Read for Blocks<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.until {
            return if self.fails { Err(std::io::Error::other("the client goes away")) } else { Ok(0) };
        }
        let block = &self.unlike[self.at / BLOCK_BYTES % BLOCKS_UNLIKE];
        let from = self.at % BLOCK_BYTES;
        let count = out.len().min(BLOCK_BYTES - from).min(self.until - self.at);
        out[..count].copy_from_slice(&block[from..from + count]);
        self.at += count;
        Ok(count)
    }
}

/// A large file goes up, is interrupted, goes on, comes down, and memory stays flat.
fn large_file(dev: &Dev) -> Result<()> {
    let gib = std::env::var("DROPSTONE_LARGE_GIB").ok().map(|text| text.parse()).transpose();
    let gib = gib.context("DROPSTONE_LARGE_GIB is a number")?.unwrap_or(LARGE_GIB);
    let (api, unlike) = (dev.api()?, unlike());
    let before = dev.resident()?;
    let (highest, is_over, pid) = (AtomicU64::new(before), AtomicBool::new(false), dev.process.id());
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // The process may have ended; what is asked of it then fails.
                highest.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let outcome = up_and_down(&api, &unlike, gib);
        is_over.store(true, Ordering::Relaxed);
        outcome
    })?;
    let growth = highest.load(Ordering::Relaxed).saturating_sub(before);
    println!("  {gib} GiB: memory grew by {} MiB at most, from {} MiB", growth >> 20, before >> 20);
    ensure!(growth <= GROWTH_BYTES_MAX, "a large file is held in memory");
    Ok(())
}

fn up_and_down(api: &Api, unlike: &[Vec<u8>], gib: usize) -> Result<()> {
    let blocks = gib * BLOCKS_OF_GIB;
    let total = blocks * BLOCK_BYTES;
    let begun = Instant::now();
    let session = api.sent("files/upload_session/start", &json!({"close": false}), ureq::SendBody::none())?;
    let session = session["session_id"].as_str().context("a session")?.to_owned();
    let part = PART_BLOCKS * BLOCK_BYTES;
    let append = |at: usize| json!({"cursor": {"session_id": session, "offset": at}});
    let mut at = 0;
    while at < total {
        let until = (at + part).min(total);
        if at == 2 * part {
            // Half of a part comes, and then the connection ends.
            let mut broken = Blocks { unlike, at, until: at + part / 2, fails: true };
            let sent =
                api.send("files/upload_session/append_v2", &append(at), ureq::SendBody::from_reader(&mut broken));
            ensure!(sent.is_err(), "a body that broke off was answered with {sent:?}");
            // Another offset is told where to go on.
            let (status, text) = api.send("files/upload_session/append_v2", &append(at + 1), ureq::SendBody::none())?;
            ensure!(status == 409 && text.contains("incorrect_offset"), "a wrong offset: {status} {text}");
            let told: Value = serde_json::from_str(&text)?;
            let told = told["error"]["correct_offset"].as_u64().context("a correct offset")? as usize;
            ensure!(told <= at + part / 2 && told.is_multiple_of(BLOCK_BYTES) && told >= at, "goes on at {told}");
            at = told;
        }
        let mut body = Blocks { unlike, at, until, fails: false };
        api.sent("files/upload_session/append_v2", &append(at), ureq::SendBody::from_reader(&mut body))?;
        at = until;
    }
    let wanted = hex(&content_hash((0..blocks).map(|block| unlike[block % BLOCKS_UNLIKE].as_slice())));
    let mut commit = append(total);
    commit["commit"] = json!({"path": "/large"});
    commit["content_hash"] = Value::String(hex(&content_hash([b"".as_slice()].into_iter())));
    let (status, text) = api.send("files/upload_session/finish", &commit, ureq::SendBody::none())?;
    ensure!(status == 409 && text.contains("content_hash_mismatch"), "a wrong hash: {status} {text}");
    let (status, _) = api.call("files/get_metadata", &json!({"path": "/large"}))?;
    ensure!(status == 409, "a refused file is there");
    if let Some(fields) = commit.as_object_mut() {
        fields.remove("content_hash");
    }
    let file = api.sent("files/upload_session/finish", &commit, ureq::SendBody::none())?;
    ensure!(file["size"] == total && file["content_hash"] == wanted.as_str(), "the file is {file}, not {wanted}");
    let up = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let arg = json!({"path": "/large"});
    let mut answer = api.request("files/download").header("dropbox-api-arg", arg.to_string()).send_empty()?;
    ensure!(answer.status() == 200, "the download was answered with {}", answer.status());
    let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut block = vec![0; BLOCK_BYTES];
    for number in 0..blocks {
        body.read_exact(&mut block)?;
        ensure!(block == unlike[number % BLOCKS_UNLIKE], "block {number} came back changed");
    }
    ensure!(body.read(&mut block)? == 0, "more came down than went up");
    let down = begun.elapsed().as_secs_f64();
    let rate = |seconds: f64| total as f64 / seconds / (1 << 20) as f64;
    println!(
        "  {gib} GiB: up at {:.0} MiB/s, interrupted once; down at {:.0} MiB/s, each byte the same",
        rate(up),
        rate(down)
    );
    Ok(())
}

/// A first recursive listing of a million files.
fn list_all(dev: &Dev) -> Result<()> {
    let api = dev.api()?;
    let me = api.ok("users/get_current_account", &Value::Null)?;
    let root: u64 = me["root_info"]["root_namespace_id"].as_str().context("a root")?.parse()?;
    fill(dev, Acct(1), Nsid(root))?;
    let (begun, cpu) = (Instant::now(), cpu_seconds(dev.process.id())?);
    let (mut count, mut pages, mut bytes) = (0, 0, 0);
    let (mut status, mut text) =
        api.call("files/list_folder", &json!({"path": "/million", "recursive": true, "limit": 2000}))?;
    loop {
        ensure!(status == 200, "page {pages} was answered with {status}: {text}");
        // Entries are counted, not made: the client shall not be what is measured.
        count += text.matches("\".tag\":").count();
        (pages, bytes) = (pages + 1, bytes + text.len());
        let tail: Value =
            serde_json::from_str(&format!("{{{}", &text[text.rfind("\"cursor\"").context("a cursor")?..]))?;
        if tail["has_more"] != true {
            break;
        }
        (status, text) = api.call("files/list_folder/continue", &json!({"cursor": tail["cursor"]}))?;
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(dev.process.id())? - cpu);
    // The files and their folders.
    let wanted = FOLDERS * FOLDERS + FOLDERS;
    ensure!(count == wanted, "{count} entries were listed, not {wanted}");
    println!(
        "  listing: {count} entries in {pages} pages, {} MiB, {:.0} entries/s; {:.0} entries a second of dev's processor",
        bytes >> 20,
        count as f64 / seconds,
        count as f64 / cpu
    );
    Ok(())
}

/// Empty files come by the native client, in batches; their folders come with them.
fn fill(dev: &Dev, acct: Acct, nsid: Nsid) -> Result<()> {
    let client = Client::connect(std::slice::from_ref(&dev.target), ClientOptions::default())?;
    let hash: [u8; 32] = Sha256::digest(b"").into();
    let mut waiting = std::collections::VecDeque::new();
    for folder in 0..FOLDERS {
        let file = |file| {
            let at = At::path(&format!("/million/{folder:04}/file-{file:04}.txt"));
            MetaCommand::CommitFile(CommitFile { at, content_hash: hash, ..CommitFile::default() })
        };
        for first in (0..FOLDERS).step_by(250) {
            let parts = (first..first + 250).map(file).collect();
            let command = MetaCommand::CommitBatch(CommitBatch { atomic: true, parts });
            waiting.push_back(client.submit(Operation::Command { acct, nsid, command }));
            if waiting.len() >= 16 {
                await_one(&mut waiting)?;
            }
        }
    }
    while !waiting.is_empty() {
        await_one(&mut waiting)?;
    }
    Ok(())
}

fn await_one(waiting: &mut std::collections::VecDeque<client::Submitted>) -> Result<()> {
    let Some(submitted) = waiting.pop_front() else { return Ok(()) };
    match submitted.wait()? {
        Reply::Outcome(Outcome::Batch { failed: None, .. }) => Ok(()),
        other => bail!("a batch of files was answered with {other:?}"),
    }
}

/// Processor time of a process. Units: seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let cpu = reactor::device::families_cpu_us(&[pid]);
    Ok(cpu as f64 / 1e6)
}
