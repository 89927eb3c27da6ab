//! The HTTP roles beside a cluster, each a process of its own from a configuration file, and an HTTP client for suites.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cluster::{Cluster, binary, free_ports, run_ok, wait_for};

/// Which role, and which one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The api host.
    Gateway(u16),
    /// The content host.
    Content,
    /// The notify host, and the hub behind it.
    Notifier(u16),
}

/// The HTTP roles of one cluster.
pub struct Roles {
    dir: PathBuf,
    targets: String,
    port: u16,
    /// Certificate and key; `None`: HTTP.
    tls: Option<(PathBuf, PathBuf)>,
    running: Vec<(Role, Child)>,
}

/// Ports of each role: gateways, the content host's two, edges, hubs, admin ports.
const PORTS: u16 = 16;

impl Roles {
    /// Makes the secret, and with `is_tls` a certificate of its own for localhost; nothing runs yet.
    pub fn new(cluster: &Cluster, is_tls: bool) -> Result<Roles> {
        let dir = cluster.dir.clone();
        let secret = dir.join("secret");
        fs::write(&secret, "5e".repeat(32))?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o400))?;
        let targets: Vec<String> = cluster.addresses().iter().map(|address| format!("{address:?}")).collect();
        let tls = if is_tls { Some(certificate(&dir)?) } else { None };
        Ok(Roles { dir, targets: targets.join(", "), port: free_ports(PORTS)?, tls, running: Vec::new() })
    }

    /// The file that tokens are made with.
    pub fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// The authority that clients are to trust, where there is TLS.
    pub fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.0.as_path())
    }

    /// `host:port` of a role as clients name it.
    pub fn address(&self, role: Role) -> String {
        let at = match role {
            Role::Gateway(which) => which,
            Role::Content => 4,
            Role::Notifier(which) => 6 + which,
        };
        format!("localhost:{}", self.port + at)
    }

    fn hub(&self, which: u16) -> String {
        format!("127.0.0.1:{}", self.port + 9 + which)
    }

    fn admin(&self, which: u16) -> String {
        format!("127.0.0.1:{}", self.port + 12 + which)
    }

    /// Starts a role and waits until its port answers.
    pub fn start(&mut self, role: Role) -> Result<()> {
        let (name, text) = match role {
            Role::Gateway(which) => ("gateway", self.gateway(which)),
            Role::Content => ("block", self.content()),
            Role::Notifier(which) => ("notify", self.notifier(which)),
        };
        let stem = self.address(role).replace(':', "-");
        let config = self.dir.join(format!("{name}-{stem}.toml"));
        fs::write(&config, text)?;
        let log = File::options().create(true).append(true).open(self.dir.join(format!("{name}-{stem}.log")))?;
        let mut command = Command::new(binary()?);
        command.arg(name).arg("--config").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("could not start `dropstone {name}`"))?;
        self.running.push((role, child));
        let address = self.address(role);
        wait_for(Duration::from_secs(20), || Ok(TcpStream::connect(&address).is_ok().then_some(())))
            .with_context(|| format!("{role:?} does not listen at {address}"))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, role: Role) -> Result<()> {
        let mut child = self.take(role)?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM; how long it took to end, and that it ended with 0.
    pub fn stop(&mut self, role: Role) -> Result<Duration> {
        let mut child = self.take(role)?;
        let began = Instant::now();
        run_ok(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        let status = wait_for(Duration::from_secs(30), || Ok(child.try_wait()?))?;
        ensure!(status.success(), "{role:?} ended with {status} after SIGTERM");
        Ok(began.elapsed())
    }

    fn take(&mut self, role: Role) -> Result<Child> {
        let at = self.running.iter().position(|(running, _)| *running == role);
        Ok(self.running.swap_remove(at.with_context(|| format!("{role:?} does not run"))?).1)
    }

    /// One counter of a notifier.
    pub fn counter(&self, which: u16, name: &str) -> Result<u64> {
        let answer = request(&self.admin(which), "GET", "/metrics", "", "", Duration::from_secs(5))?;
        let full = format!("dropstone_notify_{name} ");
        let line = answer.body.lines().find_map(|line| line.strip_prefix(&full));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in the metrics"))
    }

    /// Waits until a notifier says that it is well.
    pub fn wait_well(&self, which: u16) -> Result<()> {
        let ask = || request(&self.admin(which), "GET", "/readyz", "", "", Duration::from_secs(5));
        wait_for(Duration::from_secs(20), || Ok(ask().is_ok_and(|answer| answer.status == 200).then_some(())))
            .with_context(|| format!("notifier {which} is not well: {:?}", ask().map(|answer| answer.body)))
    }

    fn listen(&self, role: Role) -> String {
        self.address(role).replace("localhost", "127.0.0.1")
    }

    fn shared(&self) -> String {
        let tls = self.tls.as_ref().map_or_else(String::new, |(certificate, key)| {
            format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display())
        });
        format!("secret_file = \"{}\"\n{tls}", self.secret().display())
    }

    fn gateway(&self, which: u16) -> String {
        let listen = self.listen(Role::Gateway(which));
        let www = if self.tls.is_some() { "www = \"https://localhost\"\n" } else { "" };
        let (targets, shared) = (&self.targets, self.shared());
        format!("[gateway]\nlisten = \"{listen}\"\n{www}targets = [ {targets} ]\nserver_id = {}\n{shared}", 10 + which)
    }

    fn content(&self) -> String {
        let (listen, native) = (self.listen(Role::Content), self.port + 5);
        format!(
            "[block]\nlisten = \"127.0.0.1:{native}\"\ndata_dir = \"{}\"\nserver_id = 20\ntargets = [ {} ]\n\
             [block.https]\nlisten = \"{listen}\"\nwww = \"https://localhost\"\n{}",
            self.dir.join("content").display(),
            self.targets,
            self.shared(),
        )
    }

    /// Each one has its own hub first, and the other one's behind it.
    fn notifier(&self, which: u16) -> String {
        format!(
            "[notify]\ntargets = [ {} ]\nadmin_listen = \"{}\"\n[notify.hub]\nlisten = \"{}\"\n[notify.edge]\n\
             listen = \"{}\"\nhubs = [ [\"{}\", \"{}\"] ]\nserver_id = {}\ndrain_s = 1\n{}",
            self.targets,
            self.admin(which),
            self.hub(which),
            self.listen(Role::Notifier(which)),
            self.hub(which),
            self.hub(1 - which),
            30 + which,
            self.shared(),
        )
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A certificate for localhost that signs itself, and its key.
fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("host.pem"), dir.join("host.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    run_ok(&mut command).context("openssl made no certificate")?;
    Ok((certificate, key))
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON in {self:?}"))
    }
}

/// One HTTP/1.1 request on a connection of its own, without TLS.
pub fn request(address: &str, method: &str, path: &str, head: &str, body: &str, limit: Duration) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok(Answer { status, body: body.to_owned() })
}

/// One call of the API.
pub fn call(address: &str, route: &str, token: Option<&str>, arg: &Value, limit: Duration) -> Result<Answer> {
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!("Content-Type: application/json\r\n{bearer}");
    request(address, "POST", &format!("/2/{route}"), &head, &arg.to_string(), limit)
}
