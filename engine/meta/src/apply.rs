//! Applies committed entries: executes their commands and writes all rows of an entry at once.

use base::{Acct, GroupId, mutate};
use xxhash_rust::xxh3::Xxh3;

use crate::access::{Access, access};
use crate::applied::{Applied, EntryKind, EntryRef};
use crate::batch::RowBatch;
use crate::codec::{DecodeError, Reader};
use crate::command::{Command, CommandHeader};
use crate::command_codec::{decode_command, decode_header};
use crate::editor::Editor;
use crate::feature::{LEVEL_BORN, Release};
use crate::keys;
use crate::outcome::Outcome;
use crate::overlay::{Overlay, Source, Txn, View};
use crate::payload::Commands;
use crate::rows::NamespaceRow;
use crate::sessions::{self, Admission};
use crate::store::{Cold, Machine, Store, Want};
use crate::tree::Halt;
use crate::{files, flows, system, trim};

/// Applies entries; holds nothing between them but buffers.
pub struct Applier {
    overlay: Overlay,
    batch: RowBatch,
    wants: Vec<Want>,
    level_of: fn(u8) -> Option<u32>,
}

impl Default for Applier {
    fn default() -> Applier {
        Applier::of_release(Release::THIS)
    }
}

impl Applier {
    /// One that has applied nothing yet; which group and store comes with each entry.
    #[must_use]
    pub fn new() -> Applier {
        Applier::default()
    }

    /// One of a release that may know other kinds of commands, or from other levels on, than this one does.
    #[must_use]
    pub fn of_release(release: Release) -> Applier {
        let Release { level_of, .. } = release;
        Applier { overlay: Overlay::default(), batch: RowBatch::default(), wants: Vec::new(), level_of }
    }

    /// Executes one entry and writes its rows with the machine row. Outcomes and news are added to `applied`.
    ///
    /// Shape: entries of a group come in order without gaps; one out of order is a bug of the caller and panics.
    /// Errors: [`Cold`]: nothing was written and `applied` is as it was; prefetch [`Applier::wants`] and call again.
    pub fn apply<S: Store>(
        &mut self,
        store: &mut S,
        group: GroupId,
        entry: EntryRef<'_>,
        applied: &mut Applied,
    ) -> Result<(), Cold> {
        let mut machine = store.machine(group).cloned().unwrap_or_default();
        assert!(
            mutate!(MUT_21B, entry.index == machine.applied_index.next(), true),
            "group {group}: entry {} after {}",
            entry.index,
            machine.applied_index
        );
        self.overlay.clear();
        self.wants.clear();
        match entry.kind {
            EntryKind::Commands => self.run_commands(&*store, group, entry, &mut machine, applied)?,
            EntryKind::Noop => {}
            EntryKind::Config => {
                base::mark::hit!("meta.apply.config");
                machine.config_index = entry.index;
                machine.config = entry.payload.to_vec();
            }
        }
        self.overlay.drain_into(&mut self.batch);
        machine.applied_index = entry.index;
        machine.applied_term = entry.term;
        machine.applied_crc = entry.crc;
        machine.state_hash = roll_state_hash(machine.state_hash, &self.batch);
        store.write(group, &self.batch, &machine);
        Ok(())
    }

    /// The rows that the last entry changed.
    #[must_use]
    pub fn batch(&self) -> &RowBatch {
        &self.batch
    }

    /// What the last [`Cold`] try wanted.
    #[must_use]
    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    fn run_commands<S: Store>(
        &mut self,
        store: &S,
        group: GroupId,
        entry: EntryRef<'_>,
        machine: &mut Machine,
        applied: &mut Applied,
    ) -> Result<(), Cold> {
        let commands = Commands::parse(entry.payload);
        machine.stamp_ms = machine.stamp_ms.max(commands.stamp_ms());
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut news = Vec::new();
        let mut is_cold = false;
        for (bytes, ordinal) in commands.zip(0u64..) {
            let view = View { store, group, wants: &mut self.wants };
            let mut txn = Txn { view, overlay: &mut self.overlay, stamp_ms: machine.stamp_ms, level_of: self.level_of };
            let mark = txn.overlay.mark();
            match run_command(&mut txn, bytes, (entry, ordinal), &mut news) {
                Ok(outcome) => {
                    if mutate!(MUT_32A, false, !outcome.is_ok()) {
                        self.overlay.clear();
                    }
                    outcomes.push(outcome);
                }
                // The others go on, so that one prefetch brings what all of them want; nothing of it is written.
                Err(Cold) => {
                    base::mark::hit!("meta.apply.cold");
                    self.overlay.rollback(mark);
                    is_cold = true;
                }
            }
        }
        if is_cold {
            self.overlay.clear();
            return Err(Cold);
        }
        for outcome in &outcomes {
            applied.push_outcome(|out| outcome.encode(out));
        }
        for news in news {
            match news {
                News::Head(nsid, jid) => applied.note_advance(nsid, jid),
                News::Detached(nsid) => applied.note_sweep(nsid),
                News::Revoked(nsid, acct) => applied.note_revoked(nsid, acct),
            }
        }
        Ok(())
    }
}

/// What others should hear of.
enum News {
    Head(base::Nsid, base::Jid),
    Detached(base::Nsid),
    Revoked(base::Nsid, Acct),
}

/// Is the command of a kind that the group's level knows? One that is not is answered as by the release before, which
/// does not know the kind: nothing of it is looked at. What has no header is refused elsewhere.
fn is_known<S: Store>(txn: &mut Txn<'_, S>, bytes: &[u8]) -> Result<bool, Cold> {
    let Ok((_, kind, _)) = decode_header(&mut Reader::new(bytes)) else { return Ok(true) };
    match (txn.level_of)(kind) {
        Some(needed) if needed <= LEVEL_BORN => Ok(true),
        Some(needed) => Ok(needed <= crate::group0::level(txn)?),
        None => Ok(false),
    }
}

/// Runs one command, through its session.
fn run_command<S: Store>(
    txn: &mut Txn<'_, S>,
    bytes: Option<&[u8]>,
    (entry, ordinal): (EntryRef<'_>, u64),
    news: &mut Vec<News>,
) -> Result<Outcome, Cold> {
    if let Some(bytes) = bytes
        && !is_known(txn, bytes)?
    {
        return Ok(Outcome::Unsupported);
    }
    let (header, command) = match bytes.map(decode_command) {
        Some(Ok(decoded)) => decoded,
        Some(Err(DecodeError::Kind { what: "command", .. })) => return Ok(Outcome::Unsupported),
        Some(Err(_)) | None => return Ok(Outcome::Malformed),
    };
    let result = match &command {
        Command::Register { nonce } if header.session.0 == 0 => {
            sessions::register(txn, header.acct, nonce, (entry.index, ordinal))
        }
        Command::Register { .. } => Ok(Outcome::Malformed),
        _ => run_in_session(txn, &header, &command, news),
    };
    match result {
        Ok(outcome) | Err(Halt::With(outcome)) => Ok(outcome),
        Err(Halt::Cold) => Err(Cold),
    }
}

fn run_in_session<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    command: &Command,
    news: &mut Vec<News>,
) -> Result<Outcome, Halt> {
    let session = match sessions::admit(txn, header)? {
        Admission::Answer(outcome) => return Ok(outcome),
        Admission::Execute(row) => Some(row),
        Admission::Unkept => None,
    };
    let mark = txn.overlay.mark();
    // Only servers have sessions of account 0, in which they speak for others.
    let is_server = session.as_ref().is_none_or(|row| row.acct == Acct(0));
    let outcome = match execute(txn, (header, is_server), command, news) {
        Err(Halt::With(outcome)) => {
            base::mark::hit!("meta.apply.rolled_back");
            txn.overlay.rollback(mark);
            outcome
        }
        result => result?,
    };
    base::mark::hit!("meta.outcome.unchanged", matches!(outcome, Outcome::Unchanged(_)));
    base::mark::hit!("meta.outcome.conflict_file", matches!(outcome, Outcome::Conflict { file: true, .. }));
    base::mark::hit!("meta.outcome.conflict_folder", matches!(outcome, Outcome::Conflict { folder: true, .. }));
    base::mark::hit!("meta.outcome.conflict_ancestor", outcome == crate::tree::CONFLICT_ANCESTOR);
    base::mark::hit!("meta.outcome.need_blocks", matches!(outcome, Outcome::NeedBlocks(_)));
    base::mark::hit!("meta.outcome.quota", matches!(outcome, Outcome::Quota { .. }));
    base::mark::hit!("meta.outcome.not_found", outcome == Outcome::NotFound);
    base::mark::hit!("meta.outcome.no_access", outcome == Outcome::NoAccess);
    base::mark::hit!("meta.outcome.too_large", outcome == Outcome::TooLarge);
    base::mark::hit!("meta.outcome.into_itself", outcome == Outcome::IntoItself);
    base::mark::hit!("meta.outcome.rev_mismatch", outcome == Outcome::RevMismatch);
    base::mark::hit!("meta.outcome.invalid_rev", outcome == Outcome::InvalidRev);
    base::mark::hit!("meta.outcome.busy_sweeping", matches!(outcome, Outcome::Busy { .. }));
    base::mark::hit!("meta.outcome.bad_content_hash", outcome == Outcome::BadContentHash);
    base::mark::hit!("meta.outcome.exists", matches!(outcome, Outcome::Exists { .. }));
    base::mark::hit!("meta.outcome.batch_done", matches!(outcome, Outcome::Batch { failed: None, .. }));
    base::mark::hit!("meta.outcome.batch_failed", matches!(outcome, Outcome::Batch { failed: Some(_), .. }));
    base::mark::hit!("meta.outcome.malformed", outcome == Outcome::Malformed);
    if let Some(row) = session {
        sessions::keep(txn, header, row, &outcome, matches!(command, Command::SetAttr(_)));
    }
    Ok(outcome)
}

fn execute<S: Store>(
    txn: &mut Txn<'_, S>,
    (header, is_server): (&CommandHeader, bool),
    command: &Command,
    news: &mut Vec<News>,
) -> Result<Outcome, Halt> {
    let is_of_system = matches!(
        command,
        Command::NamespaceInit { .. } | Command::AccountPut { .. } | Command::ServerPut(_) | Command::NodePut(_)
    );
    if is_of_system {
        return system::execute(txn, header, command);
    }
    if let Command::Group0(command) = command {
        return crate::group0::execute(txn, header, command);
    }
    if let Command::Link(link) = command {
        return crate::links::execute(txn, header, link);
    }
    let namespace = writable(txn, header)?;
    let mut editor = Editor::new(txn, header.nsid, header.acct, namespace);
    editor.is_server = is_server;
    let outcome = match command {
        Command::Sweep { .. } | Command::JournalTrim { .. } | Command::Purge { .. } | Command::BlockSweep { .. }
            if header.acct != Acct(0) =>
        {
            return Ok(Outcome::NoAccess);
        }
        _ if flows::step_of(command).is_some() && header.acct != Acct(0) => return Ok(Outcome::NoAccess),
        Command::Sweep { limit } => system::sweep(&mut editor, *limit)?,
        Command::JournalTrim { floor } => trim::trim_journal(&mut editor, *floor)?,
        Command::Purge { limit } => trim::purge(&mut editor, *limit)?,
        Command::BlockSweep { limit } => trim::sweep_blocks(&mut editor, *limit)?,
        _ => match flows::step_of(command) {
            Some(step) => flows::execute(&mut editor, command, step)?,
            None => files::execute(&mut editor, command)?,
        },
    };
    if editor.namespace != namespace {
        if editor.namespace.head != namespace.head {
            news.push(News::Head(header.nsid, editor.namespace.head));
        }
        if editor.has_detached {
            news.push(News::Detached(header.nsid));
        }
        news.extend(editor.revoked.map(|acct| News::Revoked(header.nsid, acct)));
        editor.finish();
    }
    Ok(outcome)
}

/// The namespace row, if the command's account may write there.
fn writable<S: Store>(txn: &mut Txn<'_, S>, header: &CommandHeader) -> Result<NamespaceRow, Halt> {
    let Some(row) = txn.row(&keys::namespace(header.nsid))? else {
        return Err(if header.acct == Acct(0) { Outcome::NotFound } else { Outcome::NoAccess }.into());
    };
    match access(txn, header.nsid, &row, header.acct)? {
        Access::Write => Ok(row),
        Access::Read | Access::Nothing => Err(Outcome::NoAccess.into()),
    }
}

/// xxh3-64 over the hash before and the rows in the shape of [`RowBatch`]. A batch without rows changes nothing.
fn roll_state_hash(before: u64, batch: &RowBatch) -> u64 {
    if batch.is_empty() {
        return before;
    }
    let mut hash = Xxh3::new();
    hash.update(&before.to_le_bytes());
    hash.update(batch.bytes());
    hash.digest()
}
