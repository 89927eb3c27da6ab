//! The members and servers that group 0 knows, read by core 0 from what is applied here, for the whole node.

use base::{NodeId, NodeUuid};
use meta::{Answer, Query};
use shard::{Reply, Status};
use wire::NodeAddress;

use crate::config::Address;
use crate::shared::{Member, Shared};

/// Request kinds of the two reads.
pub(crate) const NODES: u8 = 1;
pub(crate) const SERVERS: u8 = 2;

/// The read of a kind.
pub(crate) fn query(kind: u8) -> Query {
    if kind == NODES { Query::Nodes } else { Query::Servers }
}

/// Takes an answer into the address book. A row that does not parse is skipped and told: it cannot stop the node.
pub(crate) fn learn(shared: &Shared, reply: &Reply<'_>) {
    if reply.status != Status::Ok {
        return;
    }
    match Answer::decode(reply.body) {
        Ok(Answer::Nodes(rows)) => {
            let removed: Vec<NodeId> = rows.iter().filter(|row| row.is_removed).map(|row| row.node).collect();
            let live = rows.iter().filter(|row| !row.is_removed);
            let nodes: Vec<(NodeId, Member)> = live
                .filter_map(|row| {
                    let parse = |text: &str| {
                        text.parse::<Address>()
                            .inspect_err(|error| tracing::warn!(node = row.node.0, %error, "bad address in group 0"))
                            .ok()
                    };
                    let uuid = Some(row.uuid).filter(|uuid| *uuid != NodeUuid::default());
                    Some((
                        row.node,
                        Member { peer: parse(&row.peer_address)?, client: parse(&row.client_address)?, uuid },
                    ))
                })
                .collect();
            shared.learn_members(&nodes, &removed);
        }
        Ok(Answer::Servers(rows)) => {
            let blocks = rows
                .iter()
                .filter(|row| row.role == meta::ServerRole::Block)
                .map(|row| NodeAddress { id: NodeId(row.server), address: row.address.clone() });
            shared.learn_block_servers(blocks.collect());
        }
        Ok(other) => tracing::warn!(?other, "group 0 answered something else than its address book"),
        Err(error) => tracing::warn!(%error, "could not read the address book of group 0"),
    }
}
