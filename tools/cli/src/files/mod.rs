//! The file commands: put, get, ls, stat, mv, rm, mkdir, history, watch, du. A small client of any cluster.

mod board;
mod change;
mod fail;
mod get;
mod history;
mod local;
mod look;
mod print;
pub(crate) mod progress;
mod put;
mod remote;
mod walk;
mod watch;

use std::process::ExitCode;

use base::Acct;
use clap::Subcommand;

use fail::Fail;

/// What all file commands need to know.
#[derive(Clone, Debug)]
pub struct Global {
    /// `host:port` of metaservers to begin with.
    pub targets: Vec<String>,
    /// Whose files.
    pub acct: Acct,
    /// JSON instead of text.
    pub json: bool,
}

/// Exit codes and output, the same for all file commands.
const HELP: &str = "\
Exit codes: 0 done  1 some not done (each is named)  2 usage  3 not found  4 conflict  5 cluster unreachable
            6 refused (no access, path rules, quota)
With --json each line of stdout is one JSON object; errors stay text, on stderr.";

/// The file commands.
#[derive(Subcommand, Debug)]
pub enum FileCommand {
    /// Put a file, or a folder with all in it.
    ///
    /// Parallel; what is there already with the same content is left alone, so a repeated put is cheap. Symbolic links
    /// and special files are left out. A folder's content goes into REMOTE itself; a file put to a folder goes into it.
    #[command(after_help = HELP)]
    Put(put::PutArgs),
    /// Get a file, or a folder with all in it.
    ///
    /// Parallel; every block and the whole content are checked. Each file appears at once and whole. What is there already
    /// with the same content is left alone; another file is replaced only with --force.
    #[command(after_help = HELP)]
    Get(get::GetArgs),
    /// List a folder.
    #[command(after_help = HELP)]
    Ls(look::LsArgs),
    /// Show all that is known about one file or folder.
    #[command(after_help = HELP)]
    Stat(look::StatArgs),
    /// Count files and bytes per folder.
    #[command(after_help = HELP)]
    Du(look::DuArgs),
    /// Move or rename a file or folder; into TARGET if that is a folder.
    #[command(after_help = HELP)]
    Mv(change::MvArgs),
    /// Remove files, and folders with -r.
    #[command(after_help = HELP)]
    Rm(change::RmArgs),
    /// Make folders.
    #[command(after_help = HELP)]
    Mkdir(change::MkdirArgs),
    /// Show the revisions of a file, newest first, or restore one.
    #[command(after_help = HELP)]
    History(history::HistoryArgs),
    /// Print changes as they are committed, until stopped.
    ///
    /// Woken by the cluster, not polling. Goes on over a change of leader.
    #[command(after_help = HELP)]
    Watch(watch::WatchArgs),
}

/// Runs one command; failures are printed and become the exit code.
///
/// Errors: none of today's; the type is that of all commands.
pub fn run(command: FileCommand, global: &Global) -> Result<ExitCode, anyhow::Error> {
    let done = match command {
        FileCommand::Put(args) => put::run(&args, global),
        FileCommand::Get(args) => get::run(&args, global),
        FileCommand::Ls(args) => look::ls(&args, global),
        FileCommand::Stat(args) => look::stat(&args, global),
        FileCommand::Du(args) => look::du(&args, global),
        FileCommand::Mv(args) => change::mv(&args, global),
        FileCommand::Rm(args) => change::rm(&args, global),
        FileCommand::Mkdir(args) => change::mkdir(&args, global),
        FileCommand::History(args) => history::run(&args, global),
        FileCommand::Watch(args) => watch::run(&args, global),
    };
    Ok(match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads stdout has seen enough, like `head`: no failure.
        Err(Fail { code: fail::Code::OutputClosed, .. }) => ExitCode::SUCCESS,
        Err(fail) => {
            eprintln!("dropstone: {fail}");
            ExitCode::from(fail.code.number())
        }
    })
}
