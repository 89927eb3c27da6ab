//! What the checks after a run ask of a cluster, through the client library.

use std::sync::Arc;

use base::GroupId;
use client::{Client, ClientError};
use meta::{Answer, At, NodeKind, Query};

use super::Home;
use crate::driver::{Inspection, Inspector, Listed};
use crate::judge::first_8;

/// Why a namespace could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No answer.
    #[error("could not read namespace {namespace} back: {error}")]
    Client {
        /// Which, from 0.
        namespace: u32,
        /// Why.
        error: ClientError,
    },
    /// An answer of another kind.
    #[error("could not read namespace {namespace} back: the cluster answered {answer}")]
    Strange {
        /// Which, from 0.
        namespace: u32,
        /// What came.
        answer: String,
    },
}

/// Asks a null machine for its counts: a namespace is a group.
pub struct CountInspector(pub Client);

impl Inspector for CountInspector {
    type Error = InspectError;

    fn inspect(&mut self, namespace: u32) -> Result<Inspection, InspectError> {
        let head = self.0.null_count(GroupId(namespace)).map_err(|error| InspectError::Client { namespace, error })?;
        Ok(Inspection { head, ..Inspection::default() })
    }
}

/// Looks at the namespaces of a run.
pub struct NativeInspector {
    client: Client,
    homes: Arc<Vec<Home>>,
}

impl NativeInspector {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client, homes: Arc<Vec<Home>>) -> NativeInspector {
        NativeInspector { client, homes }
    }

    fn ask(&self, namespace: u32, query: Query) -> Result<Answer, InspectError> {
        let home = self.homes[namespace as usize];
        self.client.query(home.acct, home.nsid, query).map_err(|error| InspectError::Client { namespace, error })
    }
}

impl Inspector for NativeInspector {
    type Error = InspectError;

    fn inspect(&mut self, namespace: u32) -> Result<Inspection, InspectError> {
        let strange = |answer: &Answer| InspectError::Strange { namespace, answer: format!("{answer:?}") };
        let mut inspection = Inspection::default();
        let mut position = Vec::new();
        loop {
            let query = Query::ListPage { at: At::path(""), recursive: true, position, limit: 0 };
            let (entries, next, head) = match self.ask(namespace, query)? {
                Answer::Page { entries, next, head } => (entries, next, head),
                other => return Err(strange(&other)),
            };
            inspection.head = head.0;
            let files = entries.into_iter().filter(|entry| entry.meta.kind == NodeKind::File);
            inspection.files.extend(files.map(|entry| Listed {
                rev: entry.meta.rev_jid.0,
                size: entry.meta.size,
                content: first_8(&entry.meta.content_hash),
                path: entry.path_display,
            }));
            match next {
                Some(next) => position = next,
                None => break,
            }
        }
        match self.ask(namespace, Query::SpaceUsage)? {
            Answer::SpaceUsage { live_bytes, .. } => inspection.bytes = live_bytes,
            other => return Err(strange(&other)),
        }
        Ok(inspection)
    }
}
