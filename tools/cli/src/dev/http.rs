//! The HTTP side of `dropstone dev`: a gateway and a notifier over HTTPS with a certificate of its own, a token, and `dropstone env`,
//! which tells unmodified clients where all that is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use blocks::BlockStore;
use clap::{Args, ValueEnum};
use gateway::{GatewayConfig, GatewayServer, Granted, Hosts, Tls, client_proxy};
use notify::{EdgeConfig, HubConfig, Notifier, NotifyConfig};
use serde_json::json;

use super::DATA_DEFAULT;
use super::layout::Layout;
use crate::cluster::Account;
use crate::exit::exit;
use crate::ports::PortPlan;

/// What `dropstone env` prints: a name and a value a line.
const ENV: &str = "env";
/// Our authority beside those of the system.
const BUNDLE: &str = "bundle.pem";
const SECRET: &str = "secret";
/// The variable that is there when the certificate has the names of the hosted service.
pub const HOSTED_NAMES: &str = "DROPSTONE_HOSTED_NAMES";
/// Its number among the servers of the cluster; the block server is 1.
const SERVER_ID: u64 = 2;
/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Print the variables by which unmodified clients find the cluster of `dropstone dev`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  eval \"$(dropstone env)\"
  python3 -c 'import os, dropbox; print(dropbox.Dropbox(os.environ[\"DROPSTONE_TOKEN\"]).users_get_current_account().email)'

  eval \"$(dropstone env --client rclone)\"
  dropstone client-proxy &
  rclone lsf dropstone:

The Python SDK and what is built on it read DROPBOX_API_HOST and its like when they are imported. REQUESTS_CA_BUNDLE,
SSL_CERT_FILE and NODE_EXTRA_CA_CERTS name a file with the system's authorities and that of this cluster.
rclone knows no host but those of the hosted service: with --client rclone it gets the address of `dropstone client-proxy`
as HTTPS_PROXY, and a remote of the name \"dropstone\". `dropstone dev` must have been started with --hosted-names.
DROPSTONE_TOKEN is an access token of the account \"dev\" that does not end; DROPBOX_REFRESH_TOKEN gives others.
They are made anew whenever `dropstone dev` starts, and whoever has them has all files of that account.")]
pub struct EnvArgs {
    /// The data directory of `dropstone dev`.
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// What this client wants beside.
    #[arg(long, value_name = "NAME")]
    client: Option<EnvClient>,
    /// Where `dropstone client-proxy` listens.
    #[arg(long, value_name = "HOST:PORT", default_value_t = crate::client_proxy::LISTEN_DEFAULT)]
    proxy: SocketAddr,
}

/// A client that needs more than the variables that all get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EnvClient {
    /// The proxy, and a remote of the name "dropstone".
    Rclone,
}

/// Runs `dropstone env`.
pub fn env(args: &EnvArgs) -> Result<ExitCode> {
    let mut variables = variables(&args.data)?;
    if args.client == Some(EnvClient::Rclone) {
        variables.extend(for_rclone(args, &variables)?);
    }
    for (name, value) in variables {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What `dropstone dev` wrote for clients, by name.
pub fn variables(data: &Path) -> Result<BTreeMap<String, String>> {
    let path = data.join("http").join(ENV);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("could not read {}; start `dropstone dev` first, or name its --data", path.display())
    })?;
    let split = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables: Option<BTreeMap<_, _>> = text.lines().map(split).collect();
    variables.with_context(|| format!("{} is damaged; start `dropstone dev` anew", path.display()))
}

/// rclone's remote "dropstone", whose token it never refreshes, and the way to it.
fn for_rclone(args: &EnvArgs, variables: &BTreeMap<String, String>) -> Result<[(String, String); 3]> {
    if !variables.contains_key(HOSTED_NAMES) {
        bail!("{}", without_hosted_names(&args.data));
    }
    let token = variables.get("DROPSTONE_TOKEN").context("there is no token; start `dropstone dev` anew")?;
    let token = json!({ "access_token": token, "token_type": "bearer", "expiry": "0001-01-01T00:00:00Z" });
    Ok([
        ("HTTPS_PROXY".to_owned(), format!("http://{}", args.proxy)),
        ("RCLONE_CONFIG_DROPSTONE_TYPE".to_owned(), "dropbox".to_owned()),
        ("RCLONE_CONFIG_DROPSTONE_TOKEN".to_owned(), token.to_string()),
    ])
}

/// The certificate has not the names that clients ask for.
pub fn without_hosted_names(data: &Path) -> String {
    format!(
        "the cluster in {} shows no certificate for the names that rclone asks for; start it with \
         `dropstone dev --hosted-names`",
        data.display()
    )
}

/// A gateway and a notifier that run; they end with this value.
pub struct Http {
    server: GatewayServer,
    /// After the gateway: who waits there is woken by its end.
    _notifier: Notifier,
    granted: Granted,
    dir: PathBuf,
    is_hosted: bool,
}

/// Starts the notifier, and the gateway with the routes of all hosts, makes tokens for the account, and writes what `dropstone env` prints.
/// `store`: where the block server keeps content; this process puts and reads it there too.
/// `is_hosted`: its certificate has the names of the hosted service too, for `dropstone client-proxy`.
pub fn start(
    layout: &Layout,
    plan: PortPlan,
    targets: &[String],
    account: Account,
    store: &str,
    is_hosted: bool,
) -> Result<Http> {
    let dir = layout.http_dir();
    fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let names = if is_hosted { client_proxy::HOSTED_NAMES.map(str::to_owned).to_vec() } else { Vec::new() };
    let config = GatewayConfig {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.gateway()),
        www: None,
        content: None,
        targets: targets.to_vec(),
        server_id: SERVER_ID,
        secret_file: dir.join(SECRET),
        tls: Tls::Dev { dir: dir.clone(), names },
        hubs: Vec::new(),
        dev: Some(account.acct),
    };
    let store = BlockStore::open(store)?;
    let notifier = start_notifier(plan, targets)?;
    let more = |stone: &_| blocks::http::all_routes(stone, store).merge(notifier.routes(stone));
    let server =
        gateway::start(&config, Hosts::All, more).map_err(|error| exit(crate::gateway::code_of(&error), error))?;
    let granted = gateway::grant(targets, &config.secret_file, account.acct, stone::scope::ALL, true)?;
    let http = Http { server, _notifier: notifier, granted, dir, is_hosted };
    http.write_bundle()?;
    http.write_env()?;
    Ok(http)
}

/// A hub on a port of its own, and an edge whose routes go into the gateway's port.
fn start_notifier(plan: PortPlan, targets: &[String]) -> Result<Notifier> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.hub());
    let config = NotifyConfig {
        targets: targets.to_vec(),
        admin_listen: None,
        hub: Some(HubConfig { listen: address, place: 0, places: 1 }),
        edge: Some(EdgeConfig::inside(address.to_string())),
    };
    notify::start(&config).map_err(|error| exit(crate::notify::code_of(&error), error))
}

impl Http {
    /// What the banner tells of it.
    pub fn text(&self) -> String {
        let port = self.server.address().port();
        format!(
            "  gateway       https://localhost:{port}, a web page and the API\n  token         {}",
            self.granted.access
        )
    }

    fn bundle(&self) -> PathBuf {
        self.dir.join(BUNDLE)
    }

    /// A bundle with our authority alone would break all other https of whoever uses it.
    fn write_bundle(&self) -> Result<()> {
        let mut bundle = SYSTEM_BUNDLES.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
        if bundle.last().is_some_and(|byte| *byte != b'\n') {
            bundle.push(b'\n');
        }
        bundle.extend(fs::read(self.dir.join("ca.pem")).context("could not read the certificate authority")?);
        replace(&self.bundle(), &bundle, 0o644)
    }

    fn write_env(&self) -> Result<()> {
        let host = format!("localhost:{}", self.server.address().port());
        let bundle = fs::canonicalize(self.bundle())?;
        let bundle = bundle.to_str().context("the data directory's path is not UTF-8")?;
        let refresh = self.granted.refresh.as_deref().unwrap_or_default();
        let mut text = String::new();
        let hosts = ["DROPBOX_API_HOST", "DROPBOX_API_CONTENT_HOST", "DROPBOX_API_NOTIFY_HOST", "DROPBOX_WEB_HOST"];
        let hosts = hosts.map(|name| (name, host.as_str()));
        let bundles = ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"].map(|name| (name, bundle));
        let tokens = [("DROPSTONE_TOKEN", self.granted.access.as_str()), ("DROPBOX_REFRESH_TOKEN", refresh)];
        let url = format!("https://{host}");
        for (name, value) in hosts.into_iter().chain(bundles).chain(tokens).chain([("DROPSTONE_URL", url.as_str())]) {
            text.push_str(&format!("{name}={value}\n"));
        }
        if self.is_hosted {
            text.push_str(&format!("{HOSTED_NAMES}=yes\n"));
        }
        replace(&self.dir.join(ENV), text.as_bytes(), 0o600)
    }
}

/// Writes a file anew, so that a reader finds the old one or the new one.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let new = path.with_extension("new");
    // One that a start left which was cut off.
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path).with_context(|| format!("could not write {}", path.display()))
}
