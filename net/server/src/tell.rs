//! What a core tells in the log that takes more than a line of code.

use shard::{StateDiffers, Wrong};

/// Replicas have parted: whoever reads the log must know where, and whom to replace.
pub(crate) fn difference(found: &StateDiffers) {
    let StateDiffers { group, index, own, peer, other, wrong } = *found;
    let what_next = match wrong {
        Wrong::Here => "a majority has the other's state: the group stops here; replace this node under a new id",
        Wrong::There => "a majority has this node's state: that node's group stops; replace it under a new id",
        Wrong::Unknown => "no majority is known to have either state: compare `admin status` of all nodes",
    };
    let (own, other) = (format!("{own:016x}"), format!("{other:016x}"));
    tracing::error!(group = group.0, index = index.0, peer = peer.0, own, other, "replicas differ: {what_next}");
}
