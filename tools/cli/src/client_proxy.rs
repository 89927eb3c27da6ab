//! `dropstone client-proxy`: the way of clients that know no host but those of the hosted service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use gateway::client_proxy::{ClientProxy, HOSTED_NAMES, ProxyConfig, ProxyError, Servers};
use server::exit::ExitCode as Code;

use crate::dev;
use crate::exit::{exit, usage};
use crate::stop;

/// Where it listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3129);

/// Run a proxy for clients that cannot change their host, as rclone, until SIGTERM or SIGINT.
///
/// It is an HTTP CONNECT proxy on this machine: connections to api, content and notify.dropboxapi.com and to
/// www.dropbox.com, port 443, go to servers of ours, all others are refused. TLS goes through it untouched, so those
/// servers must show a certificate for these names, and the client must trust its authority.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, with rclone:
  dropstone dev --hosted-names                    in one terminal
  dropstone client-proxy                          in another
  eval \"$(dropstone env --client rclone)\"         in a third
  rclone copy photos dropstone:photos

Against servers of their own:
  dropstone client-proxy --gateway a.example.com:443,b.example.com:443 --content blocks.example.com:443
  HTTPS_PROXY=http://127.0.0.1:3129 SSL_CERT_FILE=ca.pem rclone lsf remote:

Exit codes: 0 clean stop, 64 usage, 69 address in use")]
pub struct ClientProxyArgs {
    /// Where it listens; loopback, since it asks nobody who they are.
    #[arg(long, value_name = "HOST:PORT", default_value_t = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// The gateways, by turns and past those that are gone [default: that of `dropstone dev`]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = parse_server)]
    gateway: Vec<String>,
    /// The HTTPS ports of the block servers [default: the gateway, which serves all hosts under `dropstone dev`]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = parse_server)]
    content: Vec<String>,
    /// The notifiers [default: the gateways]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = parse_server)]
    notify: Vec<String>,
    /// The data directory of `dropstone dev`.
    #[arg(long, value_name = "DIR", default_value = dev::DATA_DEFAULT, conflicts_with = "gateway")]
    data: PathBuf,
    /// Dial any other host as asked, for a client that needs those too.
    #[arg(long)]
    pass_others: bool,
    /// The log filter.
    #[arg(long, value_name = "FILTER", default_value = "warn", env = "DROPSTONE_LOG")]
    log: String,
}

/// Runs it.
pub fn run(args: &ClientProxyArgs) -> Result<ExitCode> {
    let api = if args.gateway.is_empty() { vec![of_dev(&args.data)?] } else { args.gateway.clone() };
    let or_api = |servers: &Vec<String>| if servers.is_empty() { api.clone() } else { servers.clone() };
    let servers = Servers { content: or_api(&args.content), notify: or_api(&args.notify), api };
    let stopping = stop::begin(&args.log)?;
    let config = ProxyConfig { listen: args.listen, servers: servers.clone(), passes_others: args.pass_others };
    let proxy = ClientProxy::start(config).map_err(|error| exit(code_of(&error), error))?;
    println!(
        "dropstone client-proxy: on {}, for {} to {}",
        proxy.address(),
        HOSTED_NAMES.join(", "),
        servers.api.join(", ")
    );
    println!("clients want:");
    if !args.gateway.is_empty() {
        println!("  HTTPS_PROXY=http://{}", proxy.address());
        println!("  SSL_CERT_FILE=<a file with the authority of the servers' certificate>");
    } else {
        let data = args.data.display();
        println!("  eval \"$(dropstone env --client rclone --data '{data}' --proxy {})\"", proxy.address());
        println!("  rclone lsf dropstone:");
    }
    println!("Ctrl-C stops it");
    stopping.wait();
    drop(proxy);
    Ok(ExitCode::SUCCESS)
}

/// The gateway of `dropstone dev`, if its certificate will do.
fn of_dev(data: &std::path::Path) -> Result<String> {
    let told = "no gateway is named: use --gateway HOST:PORT, or the --data of `dropstone dev`";
    let variables = dev::variables(data).context(told).map_err(|error| usage(format!("{error:#}")))?;
    if !variables.contains_key(dev::HOSTED_NAMES) {
        return Err(usage(dev::without_hosted_names(data)));
    }
    variables.get("DROPBOX_API_HOST").cloned().context("`dropstone dev` has told no gateway; start it anew")
}

fn parse_server(text: &str) -> Result<String, String> {
    let is_good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if is_good { Ok(text.to_owned()) } else { Err("is not host:port, as in localhost:7443".to_owned()) }
}

fn code_of(error: &ProxyError) -> Code {
    match error {
        ProxyError::NotLoopback(_) => Code::Usage,
        ProxyError::Port { .. } | ProxyError::Threads(_) => Code::Unavailable,
    }
}
