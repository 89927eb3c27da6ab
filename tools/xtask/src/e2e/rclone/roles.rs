//! rclone against servers of their own: three metaservers, two gateways, two content hosts, and each of them is killed
//! while a tree goes there and comes back.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::cluster::{Cluster, Shape, binary, free_ports, run_ok, wait_for};
use super::tree::Tree;
use super::{MANY, Rclone, Running, remote, start_proxy};

/// What is copied.
const FILES: usize = 500;
/// A server is down so long, and all are up twice as long before the next one goes.
const DOWN: Duration = Duration::from_millis(1_500);
/// What must have been killed in each direction, for the run to show anything: one of each kind.
const KILLS_MIN: usize = 3;
/// The names that clients ask for.
const NAMES: &str = "DNS:localhost,IP:127.0.0.1,DNS:api.dropboxapi.com,DNS:content.dropboxapi.com,\
                     DNS:notify.dropboxapi.com,DNS:www.dropbox.com";

/// Runs it.
pub fn run() -> Result<()> {
    if !super::is_installed("rclone-kills", "rclone", "version")
        || !super::is_installed("rclone-kills", "openssl", "version")
    {
        return Ok(());
    }
    let mut cluster = Cluster::start("rclone-kills", Shape::default())?;
    let dir = cluster.dir.clone();
    let mut servers = Servers::start(&cluster)?;
    let more = ["--gateway", &servers.of(GATEWAYS), "--content", &servers.of(CONTENT)].map(str::to_owned);
    let (_proxy, address) = start_proxy(&more)?;
    let mut variables = remote(&token(&cluster, &dir)?, &address);
    variables.push(("SSL_CERT_FILE".to_owned(), utf8(&dir.join("ca.pem"))?.to_owned()));
    let rclone = Rclone::new(&dir, variables)?;
    let tree = Tree::make(&dir.join("tree"), FILES)?;
    let to = [&["copy", "tree", "dropstone:tree", "--create-empty-src-dirs"], &MANY[..]].concat();
    let kills = disturbed(&rclone, &to, &mut cluster, &mut servers)?;
    rclone.check()?;
    println!("  {} files went there while {kills} servers were killed", tree.files()?.len());
    let back = [&["copy", "dropstone:tree", "back", "--create-empty-src-dirs"], &MANY[..]].concat();
    let kills = disturbed(&rclone, &back, &mut cluster, &mut servers)?;
    tree.compare(&dir.join("back"))?;
    println!("  and came back byte for byte while {kills} were");
    cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(30))?;
    drop(servers);
    cluster.finish();
    Ok(())
}

/// Runs rclone, with the second tries that it makes by itself, and kills server after server until it ends well.
fn disturbed(rclone: &Rclone, arguments: &[&str], cluster: &mut Cluster, servers: &mut Servers) -> Result<usize> {
    let log = rclone.dir.join(format!("{}.log", arguments[1].replace(':', "-")));
    let mut command = rclone.patient(arguments)?;
    let mut running = Running(command.stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?);
    let mut kills = 0;
    loop {
        let down = disturb(kills, cluster, servers)?;
        let ended = running.0.try_wait()?;
        std::thread::sleep(DOWN);
        mend(down, cluster, servers)?;
        if let Some(status) = ended {
            let text = fs::read_to_string(&log)?;
            let words: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
            ensure!(status.success(), "rclone {}: {status}: {}", arguments.join(" "), words.join("\n"));
            ensure!(kills >= KILLS_MIN, "it ended after {kills} kills, {KILLS_MIN} were wanted");
            return Ok(kills);
        }
        kills += 1;
        std::thread::sleep(2 * DOWN);
    }
}

/// What is down.
enum Down {
    Metaserver(u64),
    Server(usize),
}

/// Each kind in turn: a gateway, a content host, the leader of the account's tree.
fn disturb(turn: usize, cluster: &mut Cluster, servers: &mut Servers) -> Result<Down> {
    let (kind, which) = (turn % 3, turn / 3 % 2);
    Ok(match kind {
        0 => servers.kill(GATEWAYS[which])?,
        1 => servers.kill(CONTENT[which])?,
        _ => {
            let leader = wait_for(Duration::from_secs(20), || Ok(cluster.leader_of_root().ok()))?;
            cluster.kill_node(leader)?;
            Down::Metaserver(leader)
        }
    })
}

fn mend(down: Down, cluster: &mut Cluster, servers: &mut Servers) -> Result<()> {
    match down {
        Down::Metaserver(node) => cluster.start_node(node),
        Down::Server(at) => servers.run(at),
    }
}

const GATEWAYS: [usize; 2] = [0, 1];
const CONTENT: [usize; 2] = [2, 3];

/// The servers beside the metaservers.
struct Servers(Vec<Server>);

struct Server {
    role: &'static str,
    config: PathBuf,
    log: PathBuf,
    /// Where clients reach it.
    address: String,
    child: Option<Child>,
}

impl Servers {
    /// Two of each, over one secret, one certificate and one object store.
    fn start(cluster: &Cluster) -> Result<Servers> {
        let dir = &cluster.dir;
        certificate(dir)?;
        fs::write(dir.join("secret"), "0123456789abcdef".repeat(4))?;
        fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o400))?;
        let first = free_ports(8)?;
        let targets: Vec<String> = cluster.addresses().iter().map(|address| format!("{address:?}")).collect();
        let targets = targets.join(", ");
        let files = |name: &str| dir.join(name).display().to_string();
        let shown = format!(
            "secret_file = {:?}\ncertificate = {:?}\nkey = {:?}\n",
            files("secret"),
            files("leaf.pem"),
            files("leaf.key")
        );
        let mut servers = Servers(Vec::new());
        for at in 0..GATEWAYS.len() + CONTENT.len() {
            let (port, id) = (first + 2 * at as u16, at + 10);
            let text = if at < GATEWAYS.len() {
                format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\ntargets = [ {targets} ]\nserver_id = {id}\n{shown}")
            } else {
                format!(
                    "[block]\nlisten = \"127.0.0.1:{}\"\ndata_dir = {:?}\nstore = {:?}\ntargets = [ {targets} ]\n\
                     server_id = {id}\n\n[block.https]\nlisten = \"127.0.0.1:{port}\"\n\
                     www = \"https://127.0.0.1:{first}\"\n{shown}",
                    port + 1,
                    files(&format!("content{at}")),
                    files("objects"),
                )
            };
            let role = if at < GATEWAYS.len() { "gateway" } else { "block" };
            let (config, log) = (dir.join(format!("{role}{at}.toml")), dir.join(format!("{role}{at}.log")));
            fs::write(&config, text)?;
            servers.0.push(Server { role, config, log, address: format!("127.0.0.1:{port}"), child: None });
        }
        for at in 0..servers.0.len() {
            servers.run(at)?;
            servers.wait_for(at)?;
        }
        Ok(servers)
    }

    fn run(&mut self, at: usize) -> Result<()> {
        let server = &mut self.0[at];
        let log = File::options().create(true).append(true).open(&server.log)?;
        let mut command = Command::new(binary()?);
        command.arg(server.role).arg("--config").arg(&server.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        server.child = Some(command.spawn().with_context(|| format!("could not start `dropstone {}`", server.role))?);
        Ok(())
    }

    fn wait_for(&mut self, at: usize) -> Result<()> {
        let server = &mut self.0[at];
        wait_for(Duration::from_secs(30), || Ok(TcpStream::connect(&server.address).ok()))
            .map(drop)
            .with_context(|| fs::read_to_string(&server.log).unwrap_or_default())
    }

    fn kill(&mut self, at: usize) -> Result<Down> {
        let mut child = self.0[at].child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(Down::Server(at))
    }

    /// Addresses, as client-proxy wants them.
    fn of(&self, which: [usize; 2]) -> String {
        which.map(|at| self.0[at].address.clone()).join(",")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.0.iter_mut().filter_map(|server| server.child.as_mut()) {
            // It may have ended by itself; the suite has failed then.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An authority and a leaf for the names that clients ask for.
fn certificate(dir: &Path) -> Result<()> {
    let openssl =
        |arguments: &str| run_ok(Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir)).map(drop);
    fs::write(dir.join("leaf.ext"), format!("subjectAltName={NAMES}\nextendedKeyUsage=serverAuth\n"))?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=suite"))?;
    openssl(&format!("req -new {key} -keyout leaf.key -out leaf.csr -subj /CN=leaf"))?;
    openssl("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem")
}

/// An access token of the cluster's account.
fn token(cluster: &Cluster, dir: &Path) -> Result<String> {
    let secret = dir.join("secret");
    let text = cluster.ok(&["admin", "token", "create", "--of", "tester", "--secret", utf8(&secret)?, "--json"])?;
    let made: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    Ok(made["access_token"].as_str().context("no token")?.to_owned())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("the path is not UTF-8")
}
