//! What the cluster has: a listing, then what has changed since.

use base::names::components;
use meta::{Answer, At, Change, DeltaCursor, DeltaIn, Entry, NodeKind, Query, Scope, What};

use crate::cloud::{Cloud, CloudError};
use crate::remote_tree::{RemoteNode, RemoteTree};

/// Why the feed ends.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// No answer.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The remote folder is not there any more, or no longer for this account.
    #[error("the remote folder is not there any more; nothing here was touched")]
    Gone,
    /// An answer that makes no sense.
    #[error("the cluster answered {0}; client and server may differ in version")]
    Answer(String),
}

/// Follows one folder of the cluster, wherever it is moved.
#[derive(Debug)]
pub struct Feed {
    /// Where it was when it was last listed, from the namespace's root.
    path: String,
}

impl Feed {
    /// Of the tree's root; the tree itself is as it was at its cursor, or empty.
    ///
    /// Errors: [`FeedError`].
    pub fn open(cloud: &dyn Cloud, tree: &RemoteTree) -> Result<Feed, FeedError> {
        Ok(Feed { path: folder_path(cloud, tree)? })
    }

    /// The path of something below the folder, from the namespace's root.
    pub fn absolute(&self, relative: &str) -> String {
        format!("{}{relative}", self.path)
    }

    /// Brings the tree up to now.
    ///
    /// Errors: [`FeedError`]; the tree is then as of its cursor or empty.
    pub fn refresh(&mut self, cloud: &dyn Cloud, tree: &mut RemoteTree) -> Result<(), FeedError> {
        if tree.cursor.since.0 == 0 {
            return self.list(cloud, tree);
        }
        loop {
            match self.page(cloud, tree)? {
                Answer::Delta { changes, cursor, has_more } => {
                    changes.iter().for_each(|change| self.apply(change, tree));
                    tree.cursor = cursor;
                    if has_more {
                        continue;
                    }
                    // Every row was told, so what hangs nowhere was told by rows that somebody trimmed.
                    return if tree.is_whole() { Ok(()) } else { self.list(cloud, tree) };
                }
                // Too old, or the folder is elsewhere now.
                Answer::Reset => return self.list(cloud, tree),
                Answer::NotFound | Answer::NoAccess | Answer::NotFolder => return Err(FeedError::Gone),
                other => return Err(FeedError::Answer(format!("{other:?}"))),
            }
        }
    }

    /// One page of changes.
    pub fn page(&self, cloud: &dyn Cloud, tree: &RemoteTree) -> Result<Answer, FeedError> {
        let path_hash = meta::path_hash(&self.path);
        let scope = Scope { folder: tree.root, path_hash, is_by_id: true, is_recursive: true };
        let delta = DeltaIn { scope, cursor: tree.cursor.clone(), limit: 0, stops_at_mounts: false };
        Ok(cloud.query(Query::DeltaIn(Box::new(delta)))?)
    }

    /// One change; paths are told from the namespace's root.
    pub fn apply(&self, change: &Change, tree: &mut RemoteTree) {
        match change {
            Change::Present(entry) => tree.put(RemoteNode::of(&entry.meta)),
            Change::Deleted { path_display } => {
                if let Some(relative) = self.relative(path_display) {
                    tree.remove_path(&relative);
                }
            }
        }
    }

    /// The path below the folder; `None` for the folder itself and what is elsewhere.
    pub fn relative(&self, path: &str) -> Option<String> {
        let depth = components(&self.path).count();
        let rest: Vec<&str> = components(path).skip(depth).collect();
        (!rest.is_empty()).then(|| format!("/{}", rest.join("/")))
    }

    fn list(&mut self, cloud: &dyn Cloud, tree: &mut RemoteTree) -> Result<(), FeedError> {
        *tree = RemoteTree::new(tree.root);
        self.path = folder_path(cloud, tree)?;
        let (mut position, mut first) = (Vec::new(), None);
        loop {
            let at = At::node(tree.root);
            match cloud.query(Query::ListPage { at, recursive: true, position, limit: 0 })? {
                Answer::Page { entries, next, head } => {
                    first.get_or_insert(head);
                    entries.iter().for_each(|entry| tree.put(RemoteNode::of(&entry.meta)));
                    match next {
                        Some(next) => position = next,
                        None => break,
                    }
                }
                Answer::NotFound | Answer::NoAccess | Answer::NotFolder => return Err(FeedError::Gone),
                other => return Err(FeedError::Answer(format!("{other:?}"))),
            }
        }
        // What changed while the pages were read is told again from the first page's head on.
        tree.cursor = DeltaCursor::at(first.unwrap_or_default());
        match self.page(cloud, tree)? {
            Answer::Delta { changes, cursor, has_more } => {
                changes.iter().for_each(|change| self.apply(change, tree));
                tree.cursor = cursor;
                if has_more { self.refresh(cloud, tree) } else { Ok(()) }
            }
            Answer::Reset => Err(FeedError::Cloud(CloudError::Unreachable(
                "the remote folder was moved while it was listed".to_owned(),
            ))),
            other => Err(FeedError::Answer(format!("{other:?}"))),
        }
    }
}

fn folder_path(cloud: &dyn Cloud, tree: &RemoteTree) -> Result<String, FeedError> {
    match cloud.query(Query::Lookup(What::At(At::node(tree.root))))? {
        Answer::Entry(Entry { path_display, meta }) if meta.kind == NodeKind::Folder => Ok(path_display),
        Answer::Entry(_) | Answer::NotFound | Answer::NoAccess | Answer::NotFolder => Err(FeedError::Gone),
        other => Err(FeedError::Answer(format!("{other:?}"))),
    }
}
