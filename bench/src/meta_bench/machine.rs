//! One group of one namespace: entries are applied and questions asked as a shard does, what is cold is read ahead.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use base::record::EntryKind;
use base::{Acct, LogIndex, Nsid, Sequence, SessionId, Term};
use meta::{
    Answer, Applied, Applier, Command, CommandHeader, EntryRef, NamespaceKind, Outcome, Query, Store as _, StoreEvent,
    Want,
};

use crate::store_bench::arms::{Arm as _, GROUP, Ours};
use crate::store_bench::rest;

const NSID: Nsid = Nsid(10_000_000_001);
const OWNER: Acct = Acct(5);
/// When everything happens. Units: milliseconds since 1970.
const STAMP_MS: u64 = 1_800_000_000_000;

/// See the file's head.
pub struct Machine {
    ours: Ours,
    applier: Applier,
    applied: Applied,
    builder: meta::payload::Builder,
    index: LogIndex,
    session: SessionId,
    sequence: u64,
    token: u64,
}

impl Machine {
    /// A new one in this directory, with a namespace and a session of its owner.
    ///
    /// # Errors
    /// The store does not open, or fails.
    pub fn open(dir: &Path) -> Result<Machine> {
        std::fs::create_dir_all(dir)?;
        let mut machine = Machine::reopen(dir)?;
        let system = CommandHeader { nsid: NSID, ..CommandHeader::default() };
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
        machine.entry(&[(system, init)])?;
        let owner = CommandHeader { acct: OWNER, ..CommandHeader::default() };
        machine.entry(&[(owner, Command::Register { nonce: [9; 16] })])?;
        let session = machine.applied.outcomes().next().map(Outcome::decode);
        let Some(Ok(Outcome::Registered { session })) = session else { bail!("no session was given") };
        machine.session = session;
        Ok(machine)
    }

    /// One that is there already, to be asked.
    ///
    /// # Errors
    /// The store does not open.
    pub fn reopen(dir: &Path) -> Result<Machine> {
        Ok(Machine {
            ours: Ours::open(dir)?,
            applier: Applier::new(),
            applied: Applied::default(),
            builder: meta::payload::Builder::default(),
            index: LogIndex(0),
            session: SessionId(0),
            sequence: 0,
            token: 0,
        })
    }

    /// The owner's commands, as one entry; each must be done.
    ///
    /// # Errors
    /// One is refused; the store failed.
    pub fn apply(&mut self, commands: &[Command]) -> Result<()> {
        let mut headed = Vec::with_capacity(commands.len());
        for command in commands {
            self.sequence += 1;
            let sequence = Sequence(self.sequence);
            let header =
                CommandHeader { session: self.session, sequence, ack_below: sequence, acct: OWNER, nsid: NSID };
            headed.push((header, command.clone()));
        }
        self.entry(&headed)
    }

    fn entry(&mut self, commands: &[(CommandHeader, Command)]) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        self.builder.clear();
        for (header, command) in commands {
            let mut bytes = Vec::new();
            meta::encode_command(header, command, &mut bytes);
            self.builder.push(&bytes);
        }
        self.index = self.index.next();
        let payload = self.builder.finish(STAMP_MS);
        let entry =
            EntryRef { index: self.index, term: Term(1), crc: self.index.0 as u32, kind: EntryKind::Commands, payload };
        self.applied.clear();
        self.ours.make_room()?;
        let first = self.token + 1;
        while self.applier.apply(&mut self.ours.store, GROUP, entry, &mut self.applied).is_err() {
            self.token += 1;
            read_ahead(&mut self.ours, self.token, self.applier.wants())?;
        }
        (first..=self.token).for_each(|token| self.ours.store.release(token));
        for (outcome, (_, command)) in self.applied.outcomes().zip(commands) {
            let outcome = Outcome::decode(outcome)?;
            ensure!(outcome.is_ok(), "{command:?} was answered {outcome:?}");
        }
        self.ours.tend()
    }

    /// The owner's question.
    ///
    /// # Errors
    /// The store failed.
    pub fn ask(&mut self, query: &Query) -> Result<Answer> {
        let first = self.token + 1;
        let mut wants = Vec::new();
        let answer = loop {
            wants.clear();
            match meta::query(&self.ours.store, GROUP, OWNER, NSID, query, &mut wants) {
                Ok(answer) => break answer,
                Err(meta::Cold) => {
                    self.token += 1;
                    read_ahead(&mut self.ours, self.token, &wants)?;
                }
            }
        };
        (first..=self.token).for_each(|token| self.ours.store.release(token));
        Ok(answer)
    }

    /// Waits until all is in tables and nothing is compacted any more.
    ///
    /// # Errors
    /// The store failed.
    pub fn rest(&mut self) -> Result<()> {
        self.ours.flush()?;
        rest(&mut self.ours)
    }

    /// Ends its threads.
    ///
    /// # Errors
    /// The store failed.
    pub fn close(self) -> Result<()> {
        self.ours.close()
    }
}

/// Brings what is wanted into memory.
fn read_ahead(ours: &mut Ours, token: u64, wants: &[Want]) -> Result<()> {
    ensure!(!wants.is_empty(), "rows are cold and none is wanted");
    ours.store.prefetch(token, GROUP, wants);
    loop {
        match ours.next_event()? {
            StoreEvent::Prefetched { token: done } if done == token => return Ok(()),
            event => ours.see(event)?,
        }
    }
}
