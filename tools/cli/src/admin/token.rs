//! `dropstone admin token` and `admin app`: what clients of the HTTP API show.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use base::{Acct, Nsid};
use clap::Subcommand;
use client::Client;
use meta::{
    AccountKey, Answer, AppInfo, Command, Group0Answer, Group0Command, Group0Query, Outcome, Query, TokenRevoke,
};
use serde_json::json;
use stone::{scope, token};

use crate::cluster::Target;
use crate::files::print;

/// Tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make an access token and a refresh token for an account.
    #[command(after_help = "\
Example:
  dropstone admin token create --of ada --secret /etc/dropstone/secret --scopes 'files.metadata.read files.content.read'

Whoever has them has what they allow. The secret is the file that gateways and block servers share.")]
    Create {
        /// The account: name, e-mail address or number.
        #[arg(long = "of", value_name = "ACCOUNT")]
        of: String,
        /// The cluster's secret.
        #[arg(long, value_name = "FILE", default_value = "dropstone-dev/http/secret")]
        secret: PathBuf,
        /// What they allow, by names with spaces between them [default: everything]
        #[arg(long, value_name = "SCOPES")]
        scopes: Option<String>,
        /// The access token does not end by itself after four hours.
        #[arg(long)]
        no_expiry: bool,
    },
    /// List the refresh tokens: of whom, through which app, what they allow.
    Ls,
    /// Void all tokens of an account.
    Revoke {
        /// The account: name, e-mail address or number.
        #[arg(value_name = "ACCOUNT")]
        of: String,
    },
}

/// Apps.
#[derive(Subcommand, Debug)]
pub enum AppCommand {
    /// Make an app, or change one.
    #[command(after_help = "Example:\n  dropstone admin app add 2jmbq42w7vof78h --name Maestral")]
    Add {
        /// By which it names itself.
        #[arg(value_name = "CLIENT-ID")]
        client_id: String,
        /// As users see it.
        #[arg(long)]
        name: String,
        /// A file with its secret; without one it is a public app, which proves itself by PKCE.
        #[arg(long, value_name = "FILE")]
        secret: Option<PathBuf>,
        /// Where codes may be sent; may be given several times.
        #[arg(long = "redirect", value_name = "URI")]
        redirects: Vec<String>,
        /// What its tokens may allow at most [default: everything]
        #[arg(long, value_name = "SCOPES")]
        scopes: Option<String>,
    },
    /// List the apps.
    Ls,
}

/// Runs `admin token`.
pub fn run(client: &Client, command: &TokenCommand, target: &Target) -> Result<ExitCode> {
    match command {
        TokenCommand::Create { of, secret, scopes, no_expiry } => {
            let (acct, scopes) = (account(client, of)?, scopes_of(scopes.as_deref())?);
            let granted = gateway::grant(&target.targets(), secret, acct, scopes, *no_expiry)?;
            let refresh = granted.refresh.unwrap_or_default();
            if target.json {
                let object = json!({ "access_token": granted.access, "refresh_token": refresh, "account": acct.0 });
                println!("{object}");
            } else {
                println!("access token   {}", granted.access);
                println!("refresh token  {refresh}");
            }
        }
        TokenCommand::Ls => list(client, target.json)?,
        TokenCommand::Revoke { of } => {
            let acct = account(client, of)?;
            group0(client, Group0Command::TokenRevoke(TokenRevoke::Account(acct)))?;
            println!("all tokens of account {acct} are void within a minute");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `admin app`.
pub fn run_app(client: &Client, command: &AppCommand, json: bool) -> Result<ExitCode> {
    match command {
        AppCommand::Add { client_id, name, secret, redirects, scopes } => {
            let secret = match secret {
                Some(path) => token::digest(std::fs::read_to_string(path)?.trim()),
                None => [0; 32],
            };
            let scopes = scopes_of(scopes.as_deref())?;
            let info = AppInfo { app: 0, scopes, secret, name: name.clone(), redirects: redirects.clone() };
            group0(client, Group0Command::AppPut { client_id: client_id.clone(), info })?;
            println!("app {client_id} ({}) may be let in", print::printable(name));
        }
        AppCommand::Ls => list_apps(client, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn scopes_of(names: Option<&str>) -> Result<u64> {
    match names.map(scope::parse) {
        None => Ok(scope::ALL),
        Some(Some(scopes)) => Ok(scopes),
        Some(None) => bail!("a scope is not known; they are: {}", scope::text(scope::ALL)),
    }
}

fn account(client: &Client, text: &str) -> Result<Acct> {
    let key = match text.parse() {
        Ok(number) => AccountKey::Acct(Acct(number)),
        Err(_) => AccountKey::Name(text.to_owned()),
    };
    match client.query(Acct(0), Nsid(0), Query::Group0(Group0Query::Profile(key)))? {
        Answer::Group0(Group0Answer::Profile(profile)) => Ok(profile.acct),
        _ => bail!("no account {text:?} on this cluster; `dropstone account list` shows them all"),
    }
}

fn group0(client: &Client, command: Group0Command) -> Result<()> {
    match client.command(Acct(0), Nsid(0), Command::Group0(Box::new(command)))? {
        outcome if outcome.is_ok() => Ok(()),
        Outcome::Malformed => bail!("a name is too long, or empty"),
        other => bail!("the cluster refused: {other:?}"),
    }
}

fn list(client: &Client, json: bool) -> Result<()> {
    let mut after = [0; 32];
    loop {
        let query = Query::Group0(Group0Query::Tokens { after, limit: 0 });
        let Answer::Group0(Group0Answer::Tokens(tokens)) = client.query(Acct(0), Nsid(0), query)? else {
            bail!("the cluster did not tell its tokens")
        };
        let Some((last, _)) = tokens.last() else { return Ok(()) };
        after = *last;
        for (digest, info) in tokens {
            let (digest, scopes) = (stone::ids::hex(&digest[..8]), scope::text(info.scopes));
            if json {
                let object = json!({ "digest": digest, "account": info.acct.0, "app": info.app, "scopes": scopes,
                    "created_ms": info.created_ms, "expires_ms": info.expires_ms });
                println!("{object}");
            } else {
                let since = print::time(i64::try_from(info.created_ms).unwrap_or(i64::MAX));
                println!("token {digest}  account {}  app {}  since {since} UTC  {scopes}", info.acct, info.app);
            }
        }
    }
}

fn list_apps(client: &Client, json: bool) -> Result<()> {
    let mut after = String::new();
    loop {
        let query = Query::Group0(Group0Query::Apps { after: after.clone(), limit: 0 });
        let Answer::Group0(Group0Answer::Apps(apps)) = client.query(Acct(0), Nsid(0), query)? else {
            bail!("the cluster did not tell its apps")
        };
        let Some((last, _)) = apps.last() else { return Ok(()) };
        after = last.clone();
        for (client_id, info) in apps {
            let kind = if info.secret == [0; 32] { "public" } else { "secret" };
            if json {
                let object = json!({ "client_id": client_id, "app": info.app, "name": info.name, "kind": kind,
                    "scopes": scope::text(info.scopes), "redirects": info.redirects });
                println!("{object}");
            } else {
                let name = print::printable(&info.name);
                println!("app {}  {client_id}  {name}  {kind}  {}", info.app, scope::text(info.scopes));
            }
        }
    }
}
