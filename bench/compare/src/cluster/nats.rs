//! NATS: three servers with JetStream, a stream of three replicas in files, which is a key-value bucket, and who leads it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Cluster, converse, free_ports, local, read_out, text};
use crate::codec::nats::{CONNECT, Message, PONG, put_publish, put_subscribe, take};
use crate::drivers::nats::{STREAM, SUBJECTS};
use crate::target::System;

/// The first version that can sync before it acknowledges.
const SYNCS_SINCE: [u32; 2] = [2, 10];
/// Code of "stream not found".
const NO_STREAM: u64 = 10_059;

/// Whether a server of this version can be told to sync each write.
pub fn can_sync(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= SYNCS_SINCE
}

/// Starts the servers. Ports: clients, then routes between servers, then what they tell of themselves.
pub fn start(cluster: &mut Cluster, program: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(3 * nodes)?;
    let routes: Vec<String> = (0..nodes).map(|at| format!("\"nats://127.0.0.1:{}\"", first + nodes + at)).collect();
    let sync = if cluster.system == System::NatsSync { "sync_interval: always" } else { "" };
    for number in 1..=nodes {
        let (dir, port) = (cluster.node_dir(number)?, first + number - 1);
        let config = dir.join("nats.conf");
        let store = Value::from(text(&dir)?);
        // A server alone has no peers to elect a leader with.
        let peers = if nodes == 1 {
            String::new()
        } else {
            let routes = routes.join(", ");
            format!("cluster {{ name: compare, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n", port + nodes)
        };
        let settings = format!(
            "server_name: n{number}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{}\"\n\
             jetstream {{ store_dir: {store}\n {sync}\n }}\n{peers}",
            port + 2 * nodes,
        );
        std::fs::write(&config, settings).with_context(|| format!("could not write {}", config.display()))?;
        cluster.spawn(program, &["-c".to_owned(), text(&config)?])?;
        cluster.addresses.push(local(port));
    }
    Ok(())
}

/// The place of the server that leads the stream, which is made if it is not there, once all replicas are there.
pub fn leader(addresses: &[SocketAddr]) -> Result<usize> {
    let nodes = addresses.len();
    let mut told = request(addresses[0], &format!("$JS.API.STREAM.INFO.{STREAM}"), "")?;
    if told["error"]["err_code"] == NO_STREAM {
        told = request(addresses[0], &format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream(nodes).to_string())?;
    }
    if let Some(why) = told["error"]["description"].as_str() {
        bail!("it answered {why}");
    }
    if nodes == 1 {
        return Ok(0);
    }
    let group = &told["cluster"];
    let replicas = group["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let current = replicas.iter().filter(|replica| replica["current"] == true && replica["offline"] != true).count();
    ensure!(current + 1 == nodes, "{current} of {} replicas of the stream are there", nodes - 1);
    let leader = group["leader"].as_str().context("the stream has no leader yet")?;
    (1..=nodes).position(|number| leader == format!("n{number}")).context("its leader is none of the servers")
}

/// A bucket of the key-value store, as its clients make one: the newest value of each key.
fn stream(nodes: usize) -> Value {
    json!({
        "name": STREAM,
        "subjects": [format!("{SUBJECTS}>")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": nodes,
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msg_size": -1,
        "max_age": 0,
        "max_consumers": -1,
        "duplicate_window": 120_000_000_000u64,
        "allow_rollup_hdrs": true,
        "deny_delete": true,
        "allow_direct": true,
    })
}

/// What the servers say of the stream and of their syncs.
///
/// Errors: the stream is not what was asked for, or a server that was to sync each write does not.
pub fn told(addresses: &[SocketAddr], system: System) -> Result<String> {
    let info = request(addresses[0], &format!("$JS.API.STREAM.INFO.{STREAM}"), "")?;
    let (storage, replicas) = (&info["config"]["storage"], &info["config"]["num_replicas"]);
    ensure!(storage == "file" && *replicas == addresses.len(), "the stream has {replicas} replicas in {storage}");
    let mut sync = String::new();
    for address in addresses {
        let port = address.port() + 2 * addresses.len() as u16;
        let config = &about(local(port))?["jetstream"]["config"];
        let interval = config["sync_interval"].as_u64().map(|ns| format!("{} s", ns / 1_000_000_000));
        sync = match (config["sync_always"].as_bool(), interval) {
            (Some(true), _) => "sync_interval always".to_owned(),
            (_, Some(interval)) => format!("sync_interval {interval}"),
            (_, None) => "sync_interval not told: this version has a fixed one, of minutes".to_owned(),
        };
        let is_always = sync.ends_with("always");
        ensure!(is_always == (system == System::NatsSync), "{address} runs with {sync}: it was told otherwise");
    }
    Ok(format!("stream of {replicas} replicas, storage file, {sync}"))
}

/// What a server tells over HTTP.
fn about(address: SocketAddr) -> Result<Value> {
    let told = read_out(address, b"GET /varz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let (_, body) = told.split_once("\r\n\r\n").with_context(|| format!("{address} does not answer as HTTP does"))?;
    serde_json::from_str(body).with_context(|| format!("{address} does not answer in JSON"))
}

/// Asks one question of a subject.
fn request(address: SocketAddr, subject: &str, payload: &str) -> Result<Value> {
    let mut out = CONNECT.to_vec();
    put_subscribe("_INBOX.ask", &mut out);
    put_publish(&[subject.as_bytes()], b"_INBOX.ask", b"", payload.as_bytes(), &mut out);
    converse(address, out, |input, out| {
        let mut at = 0;
        while let Some((message, taken)) = take(&input[at..])? {
            at += taken;
            match message {
                Message::Other => {}
                Message::Ping => out.extend_from_slice(PONG),
                Message::Error(why) => bail!("{address} answered {why}"),
                Message::Delivery { status: Some(status), .. } => bail!("{address} has nobody for {subject}: {status}"),
                Message::Delivery { payload, .. } => {
                    let told = serde_json::from_slice(payload);
                    return Ok((at, Some(told.with_context(|| format!("{address} does not answer in JSON"))?)));
                }
            }
        }
        Ok((at, None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_2_10_cannot_sync_each_write() {
        assert_eq!(
            ["2.9.10", "2.10.0", "2.15.1", "3.0.0-dev", "of an"].map(can_sync),
            [false, true, true, true, false]
        );
    }
}
