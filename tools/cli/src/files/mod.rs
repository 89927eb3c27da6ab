//! The file commands: put, get, ls, stat, mv, rm, mkdir, history, watch, du; and those of shared folders and links. A
//! small client of any cluster.

mod across;
mod board;
mod change;
mod explain;
pub(crate) mod fail;
pub(crate) mod flow;
mod get;
mod history;
mod links;
mod look;
pub(crate) mod print;
pub(crate) mod progress;
mod put;
mod remote;
mod share;
mod sync;
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
    /// Tell where the time went.
    pub explain: bool,
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
    /// Keep a local folder and a remote one equal, both ways, until stopped.
    ///
    /// Whatever changes on one side comes to the other at once: woken by kernel and cluster, not polling. What both sides
    /// wrote is kept twice, one of them as a conflicted copy. It may be killed at any moment; the next start goes on.
    #[command(after_help = sync::HELP)]
    Sync(sync::SyncArgs),
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
    ///
    /// Out of a shared folder, or into one, it is copied and then taken away where it was: no version is lost on the way, a
    /// crash leaves it in both places at most, and its history stays behind.
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
    /// Share a folder with other accounts.
    ///
    /// Its content is copied into a namespace of its own while it stays readable and, but for a moment, writable; then the
    /// namespace takes its place. A crash on the way leaves it as it was, or is made good by the cluster.
    #[command(after_help = HELP)]
    Share(share::ShareArgs),
    /// Join a shared folder that one was invited to.
    #[command(after_help = HELP)]
    Accept(share::AcceptArgs),
    /// Take members out of a shared folder; it stays with its owner, with all in it.
    #[command(after_help = HELP)]
    Unshare(share::UnshareArgs),
    /// Leave a shared folder.
    #[command(after_help = HELP)]
    Leave(share::SharedArgs),
    /// Give a shared folder to one of its members, who pays for it from then on.
    #[command(after_help = HELP)]
    Transfer(share::TransferArgs),
    /// Show who has a shared folder.
    #[command(after_help = HELP)]
    Members(share::SharedArgs),
    /// List, make or remove links to files and folders.
    #[command(after_help = HELP)]
    Links(links::LinksArgs),
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
        FileCommand::Sync(args) => sync::run(&args, global),
        FileCommand::Ls(args) => look::ls(&args, global),
        FileCommand::Stat(args) => look::stat(&args, global),
        FileCommand::Du(args) => look::du(&args, global),
        FileCommand::Mv(args) => change::mv(&args, global),
        FileCommand::Rm(args) => change::rm(&args, global),
        FileCommand::Mkdir(args) => change::mkdir(&args, global),
        FileCommand::History(args) => history::run(&args, global),
        FileCommand::Share(args) => share::share(&args, global),
        FileCommand::Accept(args) => share::accept(&args, global),
        FileCommand::Unshare(args) => share::unshare(&args, global),
        FileCommand::Leave(args) => share::leave(&args, global),
        FileCommand::Transfer(args) => share::transfer(&args, global),
        FileCommand::Members(args) => share::members(&args, global),
        FileCommand::Links(args) => links::run(&args, global),
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
