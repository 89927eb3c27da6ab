//! A cluster of one node that all tests of this file share, and a client of its gateway.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub const BINARY: &str = env!("CARGO_BIN_EXE_dropstone");
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Ports that one `dev` takes.
const PORTS: u16 = 344;

/// `dropstone dev`, until the last test that uses it ends.
pub struct Dev {
    process: Child,
    data: TempDir,
    pub target: String,
    pub url: String,
    agent: Agent,
    token: String,
    pub refresh: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One account's view.
pub struct Api {
    pub dev: Arc<Dev>,
    /// Its token.
    pub token: String,
    /// Its number.
    pub account: String,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    pub request_id: String,
    pub kind: String,
    /// What it sets.
    pub cookie: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The summary of an error, without its dots.
    pub fn summary(&self) -> String {
        let json = self.json();
        json["error_summary"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).trim_end_matches('.').to_owned()
    }
}

/// The shared cluster.
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
    fn start() -> Dev {
        let data = TempDir::new().expect("a directory");
        let port = free_ports();
        let arguments = ["dev", "--nodes", "1", "--cores", "1", "--groups", "4", "--port", &port.to_string(), "--data"];
        let mut command = Command::new(BINARY);
        command.args(arguments).arg(data.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        let env = data.path().join("http/env");
        let began = Instant::now();
        while !env.exists() {
            assert!(process.try_wait().expect("asked").is_none(), "dropstone dev ended");
            assert!(began.elapsed() < START_TIME_MAX, "dropstone dev is not up after {START_TIME_MAX:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = std::fs::read_to_string(&env).expect("written");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
        };
        let agent = agent(&data.path().join("http/ca.pem"));
        let (url, token, refresh) = (value("DROPSTONE_URL"), value("DROPSTONE_TOKEN"), value("DROPBOX_REFRESH_TOKEN"));
        Dev { process, data, target: format!("127.0.0.1:{port}"), url, agent, token, refresh }
    }

    /// A command of the same binary, which must succeed; what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(BINARY).args(arguments).args(["--target", &self.target]).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The account of `dev` itself.
    pub fn owner(self: &Arc<Dev>) -> Api {
        Api { dev: Arc::clone(self), token: self.token.clone(), account: "1".to_owned() }
    }

    /// Another account, with a token for what `scopes` say.
    pub fn account(self: &Arc<Dev>, name: &str, scopes: Option<&str>) -> Api {
        let made: Value = serde_json::from_str(&self.run(&["account", "create", name, "--json"])).expect("JSON");
        let secret = self.data.path().join("http/secret");
        let secret = secret.to_str().expect("UTF-8");
        let mut arguments = vec!["admin", "token", "create", "--of", name, "--secret", secret, "--json"];
        arguments.extend(scopes.iter().flat_map(|scopes| ["--scopes", scopes]));
        let token: Value = serde_json::from_str(&self.run(&arguments)).expect("JSON");
        let token = token["access_token"].as_str().expect("a token").to_owned();
        Api { dev: Arc::clone(self), token, account: made["account"].to_string() }
    }

    /// A request as it is.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(&self.agent, &self.url, method, path, headers, body)
    }

    /// A file of the gateway's own directory.
    pub fn http_file(&self, name: &str) -> PathBuf {
        self.data.path().join("http").join(name)
    }
}

/// A request to any gateway.
pub fn send(agent: &Agent, url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = if method == "GET" {
        agent.run(request.body(()).expect("a request"))
    } else {
        agent.run(request.body(body.to_owned()).expect("a request"))
    }
    .expect("an answer");
    let header =
        |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (request_id, kind) = (header("x-dropbox-request-id"), header("content-type"));
    let (location, cookie) = (header("location"), header("set-cookie"));
    let text = answer.body_mut().read_to_string().expect("a body");
    let text = if location.is_empty() { text } else { location };
    Reply { status: answer.status().as_u16(), text, request_id, kind, cookie }
}

impl Api {
    /// A call of a route.
    pub fn call(&self, route: &str, arg: &str) -> Reply {
        self.call_with(route, arg, &[])
    }

    /// A call with more headers.
    pub fn call_with(&self, route: &str, arg: &str, headers: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let own = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let all: Vec<(&str, &str)> = own.into_iter().chain(headers.iter().copied()).collect();
        self.dev.send("POST", &format!("/2/{route}"), &all, arg)
    }

    /// A call that must succeed.
    pub fn ok(&self, route: &str, arg: &str) -> Value {
        let reply = self.call(route, arg);
        assert_eq!(reply.status, 200, "{route} {arg}: {reply:?}");
        assert_eq!(reply.kind, "application/json", "clients compare the whole of it");
        assert_eq!(reply.request_id.len(), 32);
        reply.json()
    }

    /// The summary of a call that must end in the route's own error.
    pub fn refused(&self, route: &str, arg: &str) -> String {
        let reply = self.call(route, arg);
        assert_eq!(reply.status, 409, "{route} {arg}: {reply:?}");
        reply.summary()
    }

    /// Puts a file with the native client.
    pub fn put(&self, path: &str, content: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        let local = file.path().to_str().expect("UTF-8");
        self.dev.run(&["put", local, path, "--account", &self.account]);
    }
}

/// A client that trusts one authority and follows no redirect.
pub fn agent(authority: &Path) -> Agent {
    let pem = std::fs::read(authority).expect("the authority");
    let certificate = Certificate::from_pem(&pem).expect("a certificate").to_owned();
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(vec![certificate]))).build();
    let config = Agent::config_builder().tls_config(tls).http_status_as_error(false).max_redirects(0).build();
    config.new_agent()
}

/// The first of some free ports.
pub fn free_ports() -> u16 {
    let begin = 10_000 + (std::process::id() % 100) as u16 * 200;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let free = (0..50).map(|step| 10_000 + (begin - 10_000 + step * PORTS) % 20_000);
    free.into_iter().find(|base| (*base..base + PORTS).all(is_free)).expect("free ports in a row")
}
