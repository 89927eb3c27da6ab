//! `dropstone account`: accounts, each with a root namespace of its own.

use std::process::ExitCode;

use anyhow::Result;
use base::Acct;
use clap::Subcommand;

use crate::cluster::{self, Account, Target};

/// Accounts listed at most; numbers are dense from 1.
const ACCOUNTS_SHOWN_MAX: u64 = 100_000;

/// Make and list accounts.
#[derive(Subcommand, Debug)]
pub enum AccountCommand {
    /// Make an account with an empty tree; the same name again finds the same account.
    #[command(after_help = "Example:\n  dropstone account create ada\n  dropstone ls / --account 1")]
    Create {
        /// Its name, 1 to 255 letters, compared in lower case.
        name: String,
    },
    /// List all accounts.
    Ls,
}

/// Runs it.
pub fn run(command: &AccountCommand, target: &Target) -> Result<ExitCode> {
    let client = target.connect()?;
    match command {
        AccountCommand::Create { name } => {
            let Account { acct, root } = cluster::ensure_account(&client, name)?;
            print(target.json, acct, root, name);
        }
        AccountCommand::Ls => {
            for acct in (1..=ACCOUNTS_SHOWN_MAX).map(Acct) {
                let Some(info) = cluster::find_account(&client, acct)? else { break };
                print(target.json, info.acct, info.root, &info.name);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(json: bool, acct: Acct, root: base::Nsid, name: &str) {
    if json {
        println!("{}", serde_json::json!({ "account": acct.0, "root": root.0, "name": name }));
    } else {
        println!("account {acct}  root {root}  {name}");
    }
}
