//! The data-driven cases of etcd-io/raft for quorums and membership, replayed against our arithmetic.
//!
//! The files stay outside the project (`../shared/corpora`, with their licence); a test whose folder is absent says so
//! by name and ends. Where we differ on purpose, a table in the test names the case and gives the reason; a row that no
//! case needs fails the test, and so does a difference without a row.

#[path = "corpora/confchange.rs"]
mod confchange;
#[path = "corpora/quorum.rs"]
mod quorum;
#[path = "corpora/script.rs"]
mod script;

use base::NodeId;
use raft::Config;

/// A configuration with any two halves, made of the bytes of a Config entry: what no change leads to is needed too.
fn config(incoming: &[u64], outgoing: &[u64]) -> Config {
    let ascending = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    let count = |ids: &[u64]| u8::try_from(ids.len()).expect("a few voters");
    let mut bytes = vec![1, u8::from(!outgoing.is_empty()), count(incoming), count(outgoing), 0, 0, 0, 0];
    for id in ascending(incoming).into_iter().chain(ascending(outgoing)) {
        bytes.extend(id.to_le_bytes());
    }
    Config::decode(&bytes).expect("two halves of a few voters")
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}
