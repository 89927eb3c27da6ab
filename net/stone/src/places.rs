//! From a path argument to a place in a namespace, and back to the caller's path: mounts are followed here.

use base::{Jid, Nsid};
use meta::{Answer, At, Command, Entry, Metadata, NodeKind, Outcome, Query, ROOT, Rev, What};
use serde_json::Value;

use crate::call::Call;
use crate::error::ApiError;
use crate::outcome::lookup_error;
use crate::path::PathArg;

/// A path crosses at most one mount; a mount that moved meanwhile may take a step more.
const MOUNTS_CROSSED_MAX: usize = 3;

/// A place that commands and queries understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The namespace.
    pub nsid: Nsid,
    /// The place in it.
    pub at: At,
}

impl Spot {
    /// The jid of a revision for a command here: one of another namespace is never current, so it is 0.
    #[must_use]
    pub fn jid_of(&self, rev: Rev) -> Jid {
        if rev.nsid == self.nsid { rev.jid } else { Jid(0) }
    }
}

/// Something that is there, with where its namespace hangs for the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is; its path begins in its own namespace.
    pub entry: Entry,
    /// Before that path: empty in the path root itself, and in a namespace that hangs nowhere in it.
    pub prefix: String,
}

impl Found {
    /// Its path from the caller's path root.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}{}", self.prefix, self.entry.path_display)
    }
}

impl Call {
    /// What is at a path, id or revision. `wrap` puts a LookupError into the route's error.
    ///
    /// Errors: the wrapped LookupError, and those of the cluster.
    pub async fn lookup(&self, path: &PathArg, wrap: fn(Value) -> Value) -> Result<Found, ApiError> {
        match self.look(path).await? {
            Ok(found) => Ok(found),
            Err(answer) => Err(lookup_error(&answer).map_or_else(|error| error, |error| ApiError::Route(wrap(error)))),
        }
    }

    /// As [`Call::lookup`]; what is not there is told as the answer.
    ///
    /// Errors: those of the cluster.
    pub async fn look(&self, path: &PathArg) -> Result<Result<Found, Answer>, ApiError> {
        let (mut nsid, mut what) = match path {
            PathArg::Rev(rev) => (rev.nsid, What::Rev(rev.jid)),
            other => {
                let (nsid, at) = other.place(self.base).expect("all but revisions have a place");
                (nsid, What::At(at))
            }
        };
        for _ in 0..MOUNTS_CROSSED_MAX {
            match self.ask(nsid, Query::Lookup(what)).await? {
                Answer::Entry(entry) => return self.found(entry).await.map(Ok),
                Answer::Elsewhere { nsid: target, rest } => {
                    (nsid, what) = (target, What::At(At { node: ROOT, path: rest }));
                }
                other => return Ok(Err(other)),
            }
        }
        Ok(Err(Answer::NotFound))
    }

    /// An entry with its namespace's place.
    ///
    /// Errors: those of the cluster.
    pub async fn found(&self, mut entry: Entry) -> Result<Found, ApiError> {
        let prefix = self.prefix_of(entry.meta.nsid).await?.unwrap_or_default();
        if entry.meta.name.is_empty() && entry.meta.nsid != self.base {
            // The root of a shared folder is named by where it hangs.
            let name = base::names::name_of(&prefix);
            entry.meta.name = if name.is_empty() { entry.meta.nsid.to_string() } else { name.to_owned() };
        }
        Ok(Found { entry, prefix })
    }

    /// Where a namespace hangs in the path root; `None`: nowhere.
    ///
    /// Errors: those of the cluster.
    pub async fn prefix_of(&self, nsid: Nsid) -> Result<Option<String>, ApiError> {
        if nsid == self.base {
            return Ok(Some(String::new()));
        }
        let mut after = Nsid(nsid.0.saturating_sub(1));
        loop {
            match self.ask(self.base, Query::Mounts { after }).await? {
                Answer::Mounts { mounts, next } => {
                    if let Some(place) = mounts.into_iter().find(|place| place.target == nsid) {
                        return Ok(Some(place.path_display));
                    }
                    match next {
                        Some(next) if next < nsid => after = next,
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    /// Executes a command at a path, in whichever namespace it leads to. The path of a mount itself stays in the root.
    ///
    /// Errors: those of the cluster.
    pub async fn command_at(
        &self,
        path: &PathArg,
        make: impl Fn(&Spot) -> Command,
    ) -> Result<(Spot, Outcome), ApiError> {
        let (nsid, at) = path.place(self.base).ok_or_else(|| ApiError::Bad("path: names a revision".to_owned()))?;
        let mut spot = Spot { nsid, at };
        for _ in 0..MOUNTS_CROSSED_MAX {
            match self.command(spot.nsid, make(&spot)).await? {
                Outcome::Elsewhere { nsid, rest } => spot = Spot { nsid, at: At { node: ROOT, path: rest } },
                outcome => return Ok((spot, outcome)),
            }
        }
        Err(ApiError::busy())
    }

    /// Where a path leads: through the mount on its way, if there is one. What is at its end need not be there.
    ///
    /// Errors: those of the cluster.
    pub async fn spot(&self, path: &PathArg) -> Result<Spot, ApiError> {
        let (nsid, at) = path.place(self.base).ok_or_else(|| ApiError::Bad("path: names a revision".to_owned()))?;
        match self.ask(nsid, Query::Lookup(What::At(at.clone()))).await? {
            Answer::Elsewhere { nsid, rest } => Ok(Spot { nsid, at: At { node: ROOT, path: rest } }),
            _ => Ok(Spot { nsid, at }),
        }
    }

    /// What a command has made or changed, with its path of now. `asked`: where it was to be, for what has gone again.
    ///
    /// Errors: those of the cluster.
    pub async fn placed(&self, meta: &Metadata, asked: &Spot) -> Result<Found, ApiError> {
        let told = self.ask(meta.nsid, Query::Lookup(What::At(At::node(meta.node)))).await?;
        let path_display = match told {
            Answer::Entry(entry) if entry.meta.name == meta.name => entry.path_display,
            _ => {
                let parent = asked.at.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                format!("{parent}/{}", meta.name)
            }
        };
        self.found(Entry { path_display, meta: meta.clone() }).await
    }

    /// The namespace that a folder is, if it is a shared one or the mount of one.
    #[must_use]
    pub fn shared_by(&self, entry: &Entry) -> Option<Nsid> {
        match entry.meta.kind {
            NodeKind::Mount => Some(Nsid(entry.meta.size)),
            NodeKind::Folder if entry.meta.node == ROOT && Some(entry.meta.nsid) != self.home() => {
                Some(entry.meta.nsid)
            }
            _ => None,
        }
    }

    fn home(&self) -> Option<Nsid> {
        self.caller.map(|caller| caller.root)
    }
}
