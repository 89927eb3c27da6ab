//! The cluster as the file commands see it: one account's root namespace.

use std::time::{Duration, Instant};

use base::mono::Span;
use base::{Acct, Jid, Nsid};
use blocks::BlockClient;
use client::{Client, ClientOptions};
use meta::{AccountKey, Answer, At, Command, Entry, NodeKind, Outcome, Query, What};

use super::fail::{Code, Fail};
use super::{Global, explain};

/// How long a command may take, elections included.
const DEADLINE: Span = Span::from_ms(60_000);
/// How long to wait for a block server to announce itself: it may have been started a moment ago.
const BLOCK_SERVER_WAIT: Duration = Duration::from_secs(10);

/// One account on one cluster.
pub struct Remote {
    /// The connection; callable from many threads at once.
    pub client: Client,
    /// Whose files.
    pub acct: Acct,
    /// The namespace of its root.
    pub nsid: Nsid,
    /// Tell where the time went when all is done, as JSON or for people.
    explain: Option<bool>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(as_json) = self.explain {
            // Whoever closed stderr does not want it.
            let _ = explain::show(&self.client.take_explained(), as_json, &mut std::io::stderr().lock());
        }
    }
}

impl Remote {
    /// Connects, and looks up the account.
    ///
    /// Errors: [`Fail`]: unreachable, or no such account.
    pub fn open(global: &Global) -> Result<Remote, Fail> {
        let options = ClientOptions {
            session_acct: global.acct,
            deadline: DEADLINE,
            explain: global.explain,
            ..ClientOptions::default()
        };
        let client = Client::connect(&global.targets, options)?;
        let explain = global.explain.then_some(global.json);
        let acct = global.acct;
        let nsid = match client.query(acct, Nsid(0), Query::Account(AccountKey::Acct(acct)))? {
            Answer::Account(account) => account.root,
            Answer::NotFound => {
                let text =
                    format!("no account {acct} on this cluster: create one with `dropstone account create NAME`");
                return Err(Fail::new(Code::NotFound, text));
            }
            other => return Err(Fail::of_answer(&format!("account {acct}"), &other)),
        };
        // The lookup of the account is not what was asked for.
        client.take_explained();
        Ok(Remote { client, acct, nsid, explain })
    }

    /// As [`Remote::open`], where a path leads: into a shared folder, if it goes through one. Returns the path there.
    ///
    /// Errors: [`Fail`].
    pub fn open_at(global: &Global, path: String, enters: bool) -> Result<(Remote, String), Fail> {
        Remote::open(global)?.follow(path, enters)
    }

    /// Where a path leads: into the shared folder that it goes through, and there to the rest of it. `enters`: the path of
    /// a shared folder itself leads into it too.
    ///
    /// Errors: [`Fail`].
    pub fn follow(&self, path: String, enters: bool) -> Result<(Remote, String), Fail> {
        let (nsid, path) = match self.query(Query::Lookup(What::At(At::path(&path))))? {
            Answer::Elsewhere { nsid, rest } => (nsid, rest),
            Answer::Entry(entry) if enters && entry.meta.kind == NodeKind::Mount => {
                (Nsid(entry.meta.size), String::new())
            }
            _ => (self.nsid, path),
        };
        // The way there is not what was asked for.
        self.client.take_explained();
        Ok((Remote { client: self.client.clone(), acct: self.acct, nsid, explain: self.explain }, path))
    }

    /// Executes a command; the outcome may be no success.
    ///
    /// Errors: [`Fail`].
    pub fn command(&self, command: Command) -> Result<Outcome, Fail> {
        Ok(self.client.command(self.acct, self.nsid, command)?)
    }

    /// Asks; the answer may be another than hoped.
    ///
    /// Errors: [`Fail`].
    pub fn query(&self, query: Query) -> Result<Answer, Fail> {
        Ok(self.client.query(self.acct, self.nsid, query)?)
    }

    /// What is at a normalised path, or nothing.
    ///
    /// Errors: [`Fail`].
    pub fn lookup(&self, path: &str) -> Result<Option<Entry>, Fail> {
        match self.query(Query::Lookup(What::At(At::path(path))))? {
            Answer::Entry(entry) => Ok(Some(entry)),
            // A file on the way: nothing can be below it.
            Answer::NotFound | Answer::NotFolder => Ok(None),
            other => Err(Fail::of_answer(path, &other)),
        }
    }

    /// Is a folder there?
    ///
    /// Errors: [`Fail`].
    pub fn is_folder(&self, path: &str) -> Result<bool, Fail> {
        Ok(self.lookup(path)?.is_some_and(|entry| entry.meta.kind != NodeKind::File))
    }

    /// What is at a normalised path.
    ///
    /// Errors: [`Fail`], also when nothing is.
    pub fn entry(&self, path: &str) -> Result<Entry, Fail> {
        self.lookup(path)?.ok_or_else(|| Fail::not_found(path))
    }

    /// Gives each entry below a folder to `each`, depth first in the order of names, page by page; the folder itself not.
    ///
    /// Errors: [`Fail`], also those of `each`.
    pub fn list(
        &self,
        path: &str,
        recursive: bool,
        each: &mut dyn FnMut(Entry) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        let mut position = Vec::new();
        loop {
            let query = Query::ListPage { at: At::path(path), recursive, position, limit: 0 };
            match self.query(query)? {
                Answer::Page { entries, next, .. } => {
                    entries.into_iter().try_for_each(&mut *each)?;
                    match next {
                        Some(next) => position = next,
                        None => return Ok(()),
                    }
                }
                other => return Err(Fail::of_answer(path, &other)),
            }
        }
    }

    /// The journal's head.
    ///
    /// Errors: [`Fail`].
    pub fn head(&self) -> Result<Jid, Fail> {
        match self.query(Query::Head)? {
            Answer::Head(head) => Ok(head),
            other => Err(Fail::of_answer("the journal", &other)),
        }
    }

    /// The addresses of the block servers; waits a little for one to announce itself.
    ///
    /// Errors: [`Fail`] when there is none.
    pub fn block_servers(&self) -> Result<Vec<String>, Fail> {
        let since = Instant::now();
        loop {
            let map = self.client.cluster_map()?;
            if !map.block_servers.is_empty() {
                return Ok(map.block_servers.into_iter().map(|server| server.address).collect());
            }
            if since.elapsed() >= BLOCK_SERVER_WAIT {
                return Err(blocks::BlockClientError::NoServer.into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A client of those block servers for worker number `at`.
    pub fn block_client(&self, servers: &[String], at: usize) -> BlockClient {
        BlockClient::new(servers.to_vec(), self.acct).starting_at(at)
    }
}

/// A remote path of the command line in normal form; the root is empty.
///
/// Errors: [`Fail`] with the rule that it breaks.
pub fn parse_path(text: &str) -> Result<String, Fail> {
    match base::names::normalize_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(rule) => Err(Fail::new(Code::Refused, format!("bad remote path {text:?}: {rule}"))),
    }
}

/// The last name of a normalised path; empty for the root.
pub fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The path of the folder that holds `path`; the root's is the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
