//! A memcached server that looks at nothing: it counts lines, and answers each with the same value. What it costs is the
//! ring, the kernel and the copy; no server on this ring can be cheaper.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use base::mono::Span;
use reactor::{Event, Io, Patience, Ring, RingConfig, SocketId, Wait};

use super::keys::constant;

#[derive(Default)]
struct Link {
    out: Vec<u8>,
    spare: Vec<u8>,
    is_sending: bool,
}

/// Serves until `stop`, on a free port that it prints.
///
/// Errors: there is no ring or no port.
pub fn serve(answer_bytes: usize, stop: &AtomicBool) -> Result<()> {
    let answer = constant(answer_bytes);
    let mut ring = Ring::new(&RingConfig { sockets_max: 4096, ..RingConfig::default() })?;
    let address = ring.listen(0, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Patience::CLIENT)?;
    println!("{address}");
    std::io::stdout().flush()?;
    let mut links: HashMap<SocketId, Link> = HashMap::new();
    let mut ready: Vec<SocketId> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ring.enter(Wait::Until(ring.now() + Span::from_ms(100)));
        while ring.reap(&mut |event| match event {
            Event::Accepted { socket, .. } => drop(links.insert(socket, Link::default())),
            Event::Received { socket, bytes } => {
                let Some(link) = links.get_mut(&socket) else { return };
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                (0..lines).for_each(|_| link.out.extend_from_slice(&answer));
                ready.push(socket);
            }
            Event::Sent { socket, mut buffer } => {
                if let Some(link) = links.get_mut(&socket) {
                    buffer.clear();
                    (link.spare, link.is_sending) = (buffer, false);
                    ready.push(socket);
                }
            }
            Event::Closed { socket, .. } => drop(links.remove(&socket)),
            _ => {}
        }) > 0
        {}
        for socket in ready.drain(..) {
            let Some(link) = links.get_mut(&socket) else { continue };
            if !link.is_sending && !link.out.is_empty() {
                link.is_sending = true;
                let next = std::mem::take(&mut link.spare);
                ring.send(socket, std::mem::replace(&mut link.out, next));
            }
        }
    }
    Ok(())
}
