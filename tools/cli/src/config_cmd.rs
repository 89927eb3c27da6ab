//! `dropstone config check | show`: what a configuration file comes to, and where each value is from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use server::config::{Loaded, Profile, settings};

use crate::exit::usage;

/// Check a configuration file, or show what it comes to.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say whether FILE is a valid configuration; errors name file, line and key.
    #[command(after_help = "Example:\n  dropstone config check n1.toml\n\nExit codes: 0 valid, 64 not")]
    Check {
        /// Of a metaserver, or of a block server: one with the table [block].
        file: PathBuf,
    },
    /// Show every value of a metaserver's configuration.
    #[command(after_help = "Examples:\n  dropstone config show --config n1.toml --origin\n  \
                            DROPSTONE_PROCESS__LOG_LEVEL=debug dropstone config show --origin\n  \
                            dropstone config show --help-keys")]
    Show(ShowArgs),
}

/// Arguments of `config show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The file; without it, the defaults and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also where each value came from.
    #[arg(long)]
    origin: bool,
    /// The meaning of each key instead of its value.
    #[arg(long)]
    help_keys: bool,
}

/// Runs it.
pub fn run(command: &ConfigCommand, json: bool) -> Result<ExitCode> {
    match command {
        ConfigCommand::Check { file } => check(file),
        ConfigCommand::Show(args) => show(args, json),
    }
}

fn check(file: &Path) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    if is_of_block_server(&text) {
        let config = blocks::BlockConfig::load(file).map_err(usage)?;
        println!("{}: valid; block server on {}, content in {}", file.display(), config.listen, config.store);
        return Ok(ExitCode::SUCCESS);
    }
    let config = Loaded::read(file, std::env::vars_os()).map_err(usage)?.config;
    let nodes = config.cluster.nodes.len();
    let (groups, cores) = (config.cluster.groups, config.cluster.cores);
    println!(
        "{}: valid; {nodes} nodes, {groups} groups, {cores} cores, hash {:08x}",
        file.display(),
        config.cluster.hash()
    );
    if nodes == 0 {
        println!("note: cluster.nodes is empty, so a node started with it finds no peer");
    }
    Ok(ExitCode::SUCCESS)
}

/// A block server's file has its table and none of a metaserver's.
fn is_of_block_server(text: &str) -> bool {
    let table = text.parse::<toml::Table>().unwrap_or_default();
    table.contains_key("block") && !table.contains_key("cluster") && !table.contains_key("process")
}

fn show(args: &ShowArgs, json: bool) -> Result<ExitCode> {
    if args.help_keys {
        for setting in settings() {
            let default = if setting.default.is_empty() { "none" } else { setting.default };
            println!("{:<30} {} (default {default})", setting.key, setting.meaning);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = match &args.config {
        Some(file) => Loaded::read(file, std::env::vars_os()),
        None => Loaded::parse("", "", std::env::vars_os()),
    };
    let loaded = loaded.map_err(usage)?;
    if json {
        let value = |(key, value, origin): &(&str, String, server::config::Origin)| serde_json::json!({ "key": key, "value": value, "origin": origin.to_string() });
        println!("{}", serde_json::Value::from_iter(loaded.values.iter().map(value)));
        return Ok(ExitCode::SUCCESS);
    }
    for (key, value, origin) in &loaded.values {
        if args.origin {
            println!("{key} = {value}  # {origin}");
        } else {
            println!("{key} = {value}");
        }
    }
    if loaded.config.process.profile == Profile::Dev && args.config.is_some() {
        eprintln!("note: profile dev is meant for a laptop");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_servers_file_is_told_by_its_table() {
        assert!(is_of_block_server("[block]\nlisten = \"127.0.0.1:1\""));
        assert!(!is_of_block_server("[process]\n[block]"));
        assert!(!is_of_block_server("[cluster"));
    }
}
