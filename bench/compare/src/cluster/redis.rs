//! Redis, or Valkey, which takes the same settings: a primary that syncs every write, and replicas in memory.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{Cluster, converse, free_ports, local, text};
use crate::codec::resp::{Value, put_command, take};

/// Starts primary and replicas.
pub fn start(cluster: &mut Cluster, program: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(nodes)?;
    for number in 1..=nodes {
        let (port, dir) = (first + number - 1, text(&cluster.node_dir(number)?)?);
        let port = port.to_string();
        // No snapshots beside the log: they would only cost.
        let mut words = vec!["--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--daemonize", "no"];
        let primary = first.to_string();
        if number == 1 {
            words.extend(["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]);
        } else {
            words.extend(["--appendonly", "no", "--replicaof", "127.0.0.1", &primary]);
        }
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        cluster.spawn(program, &words)?;
        cluster.addresses.push(local(first + number - 1));
    }
    Ok(())
}

/// The primary, once all replicas follow it.
pub fn replicas(addresses: &[SocketAddr]) -> Result<usize> {
    let Value::Text(Some(text)) = ask(addresses[0], &[b"INFO", b"replication"])? else {
        bail!("the primary does not tell of its replicas")
    };
    let online = String::from_utf8_lossy(&text).matches("state=online").count();
    ensure!(online + 1 == addresses.len(), "{online} of {} replicas follow the primary", addresses.len() - 1);
    Ok(0)
}

/// What the primary says of its log.
///
/// Errors: it does not sync each write.
pub fn told(addresses: &[SocketAddr]) -> Result<String> {
    let primary = addresses[0];
    let [log, sync] = [setting(primary, b"appendonly")?, setting(primary, b"appendfsync")?];
    ensure!(log == "yes" && sync == "always", "{primary} runs with appendonly {log}, appendfsync {sync}");
    Ok(format!("appendonly {log}, appendfsync {sync}, {} replicas online", addresses.len() - 1))
}

fn setting(address: SocketAddr, name: &[u8]) -> Result<String> {
    match ask(address, &[b"CONFIG", b"GET", name])? {
        Value::Array(Some(both)) => match both.as_slice() {
            [_, Value::Text(Some(value))] => Ok(String::from_utf8_lossy(value).into_owned()),
            _ => bail!("{address} does not tell its {}", String::from_utf8_lossy(name)),
        },
        _ => bail!("{address} does not tell its settings"),
    }
}

/// Asks one question.
pub fn ask(address: SocketAddr, command: &[&[u8]]) -> Result<Value> {
    let mut out = Vec::new();
    put_command(command, &mut out);
    converse(address, out, |input, _| match take(input)? {
        Some((Value::Error(error), _)) => bail!("{address} answered {error}"),
        Some((value, taken)) => Ok((taken, Some(value))),
        None => Ok((0, None)),
    })
}
