//! memcached: independent servers, among which the client divides the keys.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};

use super::process::Account;
use super::{Cluster, dial, free_ports, local};
use crate::codec::memtext::{Answer, take};

/// Memory of one server.
const MEMORY_MIB: u32 = 512;

/// Starts the servers.
pub fn start(cluster: &mut Cluster, program: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(nodes)?;
    for port in first..first + nodes {
        let (port_text, memory) = (port.to_string(), MEMORY_MIB.to_string());
        let mut words = vec!["-l", "127.0.0.1", "-p", &port_text, "-U", "0", "-m", &memory, "-t", "1", "-c", "1024"];
        if Account::is_root()? {
            // It refuses to run as root unless told to.
            words.extend(["-u", "root"]);
        }
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        cluster.spawn(program, &words)?;
        cluster.addresses.push(local(port));
    }
    Ok(())
}

/// Whether all of them answer.
pub fn all(addresses: &[SocketAddr]) -> Result<usize> {
    for address in addresses {
        let mut stream = dial(*address)?;
        stream.write_all(b"version\r\n")?;
        let mut buffer = [0; 256];
        let length = stream.read(&mut buffer)?;
        let is_it = matches!(take(&buffer[..length]), Ok(Some((Answer::Version(_), _))));
        ensure!(is_it, "{address} does not answer as memcached does");
    }
    Ok(0)
}
