//! The admin port of a node: HTTP on a thread of its own, never on a core. It answers while cores are stuck.
//!
//! | path | answers |
//! | --- | --- |
//! | `/metrics` | Prometheus text; the set of series is the same from boot on |
//! | `/debug/stages.json` | histograms of every stage since the start, and the mean of the requests near p99 |
//! | `/debug/sums.json` | the sum of every stage since the start |
//! | `/debug/slow.json` | the slowest requests of the last minute |
//! | `/livez` | 200 while every core turns, 503 otherwise |
//!
//! It reads and changes nothing. One connection is served at a time, each for two seconds at most.

mod json;
pub mod metrics;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::NodeId;
use parking_lot::Mutex;

use crate::profile::Totals;
use crate::stall::Beats;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long the head of a request may take to come, and each write of the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the port shows.
pub(crate) struct Shown {
    pub node: NodeId,
    pub totals: Arc<Mutex<Totals>>,
    pub beats: Arc<Beats>,
}

/// The thread; it ends with this value.
pub(crate) struct AdminPort {
    address: SocketAddr,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminPort {
    /// Listens and answers.
    ///
    /// Errors: the address cannot be had, or no thread.
    pub fn start(address: SocketAddr, shown: Shown) -> std::io::Result<AdminPort> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let is_over = is_ending.clone();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                // A client that breaks off, or is too slow, has itself to blame.
                let _ = stream.and_then(|stream| serve(stream, &shown));
            }
        })?;
        Ok(AdminPort { address, is_ending, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminPort {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        // The thread sees it with the next connection, which is this one. Without one it is left to the process's end.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

fn serve(mut stream: TcpStream, shown: &Shown) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let text = |status, body: &str| Answer { status, kind: "text/plain; charset=utf-8", body: format!("{body}\n") };
    let (answer, is_head) = match read_head(&mut stream)? {
        Some((method, path)) if method == "GET" || method == "HEAD" => (answer(&path, shown), method == "HEAD"),
        Some(_) => (text("405 Method Not Allowed", "only GET and HEAD"), false),
        None => (text("400 Bad Request", "not a request of HTTP/1.1, or its head is too large"), false),
    };
    let Answer { status, kind, body } = answer;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if !is_head {
        stream.write_all(body.as_bytes())?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// Method and path without its query; `None` for bytes that are no request.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<(String, String)>> {
    let mut bytes = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut piece = [0; 1024];
        let count = match stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&piece[..count]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default();
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                return Ok(request.method.map(|method| (method.to_owned(), path.to_owned())));
            }
            Ok(httparse::Status::Partial) if count > 0 && bytes.len() < HEAD_BYTES_MAX => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn answer(path: &str, shown: &Shown) -> Answer {
    const JSON: &str = "application/json";
    let ok = |kind, body| Answer { status: "200 OK", kind, body };
    match path {
        "/metrics" => ok("text/plain; version=0.0.4", metrics::text(&shown.totals.lock(), &shown.beats)),
        "/debug/stages.json" => ok(JSON, json::stages(shown.node, &shown.totals.lock()).to_string()),
        "/debug/sums.json" => ok(JSON, json::sums(shown.node, &shown.totals.lock()).to_string()),
        "/debug/slow.json" => ok(JSON, json::slow(shown.node, &shown.totals.lock()).to_string()),
        "/livez" => match shown.beats.silent() {
            None => ok("text/plain; charset=utf-8", "ok\n".to_owned()),
            Some(core) => {
                let body = format!("core {} has not turned for 5 s; see the log\n", core.0);
                Answer { status: "503 Service Unavailable", kind: "text/plain; charset=utf-8", body }
            }
        },
        _ => {
            let body =
                "no such page; there are /metrics, /debug/stages.json, /debug/sums.json, /debug/slow.json and /livez\n";
            Answer { status: "404 Not Found", kind: "text/plain; charset=utf-8", body: body.to_owned() }
        }
    }
}
