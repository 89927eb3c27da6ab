//! etcd: three members with default settings, and who leads.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Cluster, converse, free_ports, local, text};
use crate::codec::etcd::{Answer, STATUS, read_status};
use crate::codec::http2::{Reply, Session};

/// Starts the members.
pub fn start(cluster: &mut Cluster, program: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(2 * nodes)?;
    let peer = |number: u16| format!("http://127.0.0.1:{}", first + nodes + number - 1);
    let members: Vec<String> = (1..=nodes).map(|number| format!("n{number}={}", peer(number))).collect();
    for number in 1..=nodes {
        let client = format!("http://127.0.0.1:{}", first + number - 1);
        let dir = cluster.node_dir(number)?;
        let arguments = [
            ("--name", format!("n{number}")),
            ("--data-dir", text(&dir)?),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer(number)),
            ("--initial-advertise-peer-urls", peer(number)),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--initial-cluster-token", "dropstone-compare".to_owned()),
            ("--log-level", "warn".to_owned()),
        ];
        let arguments: Vec<String> = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        cluster.spawn(program, &arguments)?;
        cluster.addresses.push(local(first + number - 1));
    }
    Ok(())
}

/// The place of the member that leads, once all agree on it.
pub fn leader(addresses: &[SocketAddr]) -> Result<usize> {
    let answers = addresses.iter().map(|address| status(*address)).collect::<Result<Vec<Answer>>>()?;
    let leader = answers.first().map_or(0, |answer| answer.leader);
    ensure!(leader != 0 && answers.iter().all(|answer| answer.leader == leader), "its members know no leader yet");
    answers.iter().position(|answer| answer.member == leader).context("the leader is none of its members")
}

/// What a member says of itself.
pub fn status(address: SocketAddr) -> Result<Answer> {
    let mut out = Vec::new();
    let mut session = Session::new(&address.to_string(), &mut out);
    session.call(STATUS, &[], &mut out).expect("a fresh connection takes a call");
    converse(address, out, |input, out| {
        let mut told = None;
        let taken = session.receive(input, out, |_, reply| {
            told = Some(match reply {
                Reply::Message(message) => read_status(message).map_err(anyhow::Error::new),
                Reply::Refused | Reply::Reset => Err(anyhow::anyhow!("{address} refused to tell its status")),
            });
        })?;
        Ok((taken, told.transpose()?))
    })
}
