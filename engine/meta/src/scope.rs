//! Of which folder a reader wants the changes (docs/design/metadata.md, "Delta").

use base::TreeNode;
use base::names::path_key;
use sha2::{Digest, Sha256};

use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::query::{Answer, ROOT};
use crate::tree::{Halt, Tree};

/// A folder as it was when it was listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The folder; 0 is the root.
    pub folder: TreeNode,
    /// [`path_hash`] of the path at which it was listed; elsewhere now, it was moved.
    pub path_hash: [u8; 8],
    /// The reader named it by id: moved, it is `Reset`; else `NotFound`, since nothing is at the reader's path.
    pub is_by_id: bool,
    /// With all below it; else what is in it only.
    pub is_recursive: bool,
}

impl Scope {
    /// The whole namespace.
    #[must_use]
    pub fn whole() -> Scope {
        Scope { folder: ROOT, path_hash: path_hash(""), is_by_id: false, is_recursive: true }
    }
}

/// The first 8 bytes of SHA-256 of a path by its name keys.
#[must_use]
pub fn path_hash(path_display: &str) -> [u8; 8] {
    let hash = Sha256::digest(path_key(path_display).as_bytes());
    hash[..8].try_into().expect("SHA-256 has 32 bytes")
}

/// Which paths are told: the folder's own path is settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ScopePath {
    /// The name keys of the folder with a `/` after it.
    below: String,
    pub is_recursive: bool,
}

impl ScopePath {
    /// Is what is at this path in scope? The folder itself is not.
    pub fn covers(&self, display: &str) -> bool {
        if self.below == "/" && self.is_recursive {
            return true;
        }
        let key = path_key(display);
        key.strip_prefix(&self.below[..]).is_some_and(|rest| self.is_recursive || !rest.contains('/'))
    }
}

/// Where the folder is now; the answer for one that is not where it was.
pub(crate) fn settle<R: Source>(tree: &mut Tree<'_, R>, scope: &Scope) -> Result<Result<ScopePath, Answer>, Halt> {
    let folder = if scope.folder.0 == 0 { ROOT } else { scope.folder };
    let Some(row) = tree.node(folder)? else { return Ok(Err(Answer::NotFound)) };
    if row.kind != NodeKind::Folder {
        return Ok(Err(Answer::NotFolder));
    }
    let path = tree.path_of(folder)?;
    if !path.is_live {
        base::mark::hit!("meta.scope.gone");
        return Ok(Err(Answer::NotFound));
    }
    if path_hash(&path.display) != scope.path_hash {
        base::mark::hit!("meta.scope.moved");
        return Ok(Err(if scope.is_by_id { Answer::Reset } else { Answer::NotFound }));
    }
    Ok(Ok(ScopePath { below: format!("{}/", path_key(&path.display)), is_recursive: scope.is_recursive }))
}
