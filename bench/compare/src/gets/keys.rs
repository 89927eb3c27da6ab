//! The keys that are read, and what the answer to each must be, byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base::mono::Span;
use base::{Mono, Nsid, Prng};
use load::arrivals::Arrival;
use load::drivers::native::{Home, populate};
use load::keys::Keys as Draw;
use load::mix::Mix;
use load::source::{Source, StreamSettings};
use reactor::clock;
use wire::memcache::put_key;

use crate::cluster::{Cluster, native};

/// What is there to be read.
pub const MIX: &str = include_str!("../../gets.toml");
const SEED: u64 = 1;
/// How keys are drawn: a few are read often.
const DRAW: Draw = Draw::Zipf { theta: 0.99, scramble: true };
/// Longer keys are left out: memcached takes none.
const KEY_BYTES_MAX: usize = 250;
const PATIENCE: Duration = Duration::from_secs(20);
/// Leadership that has not moved for so long rests.
const REST: Duration = Duration::from_secs(3);

/// Keys of one node.
pub struct Keys {
    /// `get KEY\r\n` and `VALUE KEY FLAGS LENGTH\r\n...\r\nEND\r\n` of each.
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which of them answers for all of a server that looks at nothing.
    typical: Vec<u8>,
    /// Namespaces that the node leads.
    pub led: usize,
    /// Of all.
    pub namespaces: usize,
}

impl Keys {
    /// Fills a cluster, and learns what the node that leads most namespaces answers for theirs. Returns that node's place.
    ///
    /// Errors: the cluster cannot be filled, or a key has no value.
    pub fn fill(cluster: &Cluster, stop: &AtomicBool) -> Result<(Keys, usize)> {
        let client = native::connect(&cluster.addresses)?;
        let mix = Arc::new(Mix::parse("gets.toml", MIX).expect("a test parses it"));
        let stream =
            StreamSettings { mix, seed: SEED, arrival: Arrival::Const, rate: 1.0, duration: Span::from_ms(1_000) };
        let run = format!("gets-{:x}", clock::wall_ms());
        let homes = populate(&client, &stream, &run, &clock::wall_ms, stop, |_, _| {})?;
        let source = Source::new(&stream, Mono(0), (0, 1));
        let leaders = settled(cluster, &homes, stop)?;
        let led_by =
            |node: usize| leaders.iter().enumerate().filter(move |(_, leader)| **leader == Some(node)).map(|led| led.0);
        let node = (0..cluster.processes.len()).max_by_key(|node| led_by(*node).count()).context("no node")?;
        let mut port = Port::connect(cluster.memcache(node))?;
        let mut lines = Vec::new();
        for at in led_by(node) {
            let tree = source.tree(at as u32);
            let mut path = String::new();
            for file in tree.live() {
                tree.path(tree.file(file).place, &mut path);
                let mut key = Vec::new();
                put_key(homes[at].nsid, &path, &mut key);
                if key.len() <= KEY_BYTES_MAX {
                    let answer = port.get(&key)?;
                    lines.push(([b"get ", &key[..], b"\r\n"].concat(), answer));
                }
            }
        }
        ensure!(!lines.is_empty(), "no namespace is led by a node yet");
        let bytes: usize = lines.iter().map(|(_, answer)| answer.len()).sum();
        let typical = constant(bytes / lines.len());
        let (led, namespaces) = (led_by(node).count(), homes.len());
        Ok((Keys { lines, typical, led, namespaces }, node))
    }

    /// Puts the same values under the same keys and flags into a memcached.
    ///
    /// Errors: it does not take them, or gives something else back.
    pub fn copy_to(&self, address: SocketAddr) -> Result<()> {
        let mut port = Port::connect(address)?;
        for (request, answer) in &self.lines {
            // `VALUE KEY FLAGS LENGTH` becomes `set KEY FLAGS 0 LENGTH`.
            let end = answer.iter().position(|byte| *byte == b'\r').context("a line")?;
            let head = std::str::from_utf8(&answer[..end])?;
            let [_, key, flags, length] = head.split(' ').collect::<Vec<_>>()[..] else { bail!("{head:?}") };
            let body = &answer[end + 2..answer.len() - b"END\r\n".len()];
            port.write(&[format!("set {key} {flags} 0 {length}\r\n").as_bytes(), body].concat())?;
            ensure!(port.line()? == b"STORED\r\n", "memcached does not take {key}");
            ensure!(port.get(&request[4..request.len() - 2])? == *answer, "memcached gives something else for {key}");
        }
        Ok(())
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of an answer in the mean.
    pub fn bytes_mean(&self) -> f64 {
        self.lines.iter().map(|(_, answer)| answer.len()).sum::<usize>() as f64 / self.count().max(1) as f64
    }

    /// An answer as long as they are in the mean.
    pub fn typical(&self) -> &[u8] {
        &self.typical
    }

    /// Draws one.
    pub fn draw(&self, prng: &mut Prng) -> u32 {
        DRAW.draw(0, prng.next_u64(), self.lines.len() as u64) as u32
    }

    /// The request for a key.
    pub fn request(&self, key: u32) -> &[u8] {
        &self.lines[key as usize].0
    }

    /// What must be answered.
    pub fn answer(&self, key: u32) -> &[u8] {
        &self.lines[key as usize].1
    }

    /// The request as text.
    pub fn name(&self, key: u32) -> String {
        String::from_utf8_lossy(self.request(key)).trim().to_owned()
    }
}

/// By namespace, the place of the node that answers for it, once leadership rests: nodes that have just begun hand groups
/// to each other.
fn settled(cluster: &Cluster, homes: &[Home], stop: &AtomicBool) -> Result<Vec<Option<usize>>> {
    let mut ports: Vec<Port> =
        (0..cluster.processes.len()).map(|node| Port::connect(cluster.memcache(node))).collect::<Result<_>>()?;
    // The root of a namespace is a folder, so whoever may answer does.
    let mut ask = || homes.iter().map(|home| leader(&mut ports, home.nsid)).collect::<Result<Vec<_>>>();
    let begun = Instant::now();
    let (mut leaders, mut since) = (ask()?, begun);
    while since.elapsed() < REST && !stop.load(Ordering::Relaxed) {
        ensure!(begun.elapsed() < PATIENCE, "groups change their leaders all the time; is the machine overloaded?");
        std::thread::sleep(Duration::from_millis(200));
        let now = ask()?;
        if now != leaders || now.contains(&None) {
            since = Instant::now();
        }
        leaders = now;
    }
    Ok(leaders)
}

/// The place of the node that answers for a namespace; `None` while nobody does.
fn leader(ports: &mut [Port], nsid: Nsid) -> Result<Option<usize>> {
    let mut request = b"mg ".to_vec();
    put_key(nsid, "", &mut request);
    request.extend_from_slice(b"\r\n");
    for (node, port) in ports.iter_mut().enumerate() {
        port.write(&request)?;
        if port.line()?.starts_with(b"HD") {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// An answer of so many bytes in all, the same for every key.
pub fn constant(bytes: usize) -> Vec<u8> {
    let around = |length: usize| format!("VALUE null 0 {length}\r\n").len() + b"\r\nEND\r\n".len();
    let mut length = bytes.saturating_sub(around(bytes));
    while length + around(length) < bytes {
        length += 1;
    }
    [format!("VALUE null 0 {length}\r\n").into_bytes(), vec![b'x'; length], b"\r\nEND\r\n".to_vec()].concat()
}

/// A blocking connection, for what is not measured.
struct Port {
    stream: BufReader<TcpStream>,
}

impl Port {
    fn connect(address: SocketAddr) -> Result<Port> {
        let stream = TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Port { stream: BufReader::new(stream) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// The whole answer to a get that must hit; asked again while the server says that it cannot answer yet.
    fn get(&mut self, key: &[u8]) -> Result<Vec<u8>> {
        let begun = Instant::now();
        loop {
            self.write(&[b"get ", key, b"\r\n"].concat())?;
            let head = self.line()?;
            if !head.starts_with(b"SERVER_ERROR") || begun.elapsed() > PATIENCE {
                return self.value(key, head);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The rest of an answer that began with a line.
    fn value(&mut self, key: &[u8], mut answer: Vec<u8>) -> Result<Vec<u8>> {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let length = text.trim_end().rsplit(' ').next().and_then(|length| length.parse::<usize>().ok());
        let length = length.filter(|_| text.starts_with("VALUE "));
        let key = String::from_utf8_lossy(key);
        let length = length.with_context(|| format!("key {key} was answered with {text:?}"))?;
        let head = answer.len();
        answer.resize(head + length + b"\r\nEND\r\n".len(), 0);
        self.stream.read_exact(&mut answer[head..])?;
        ensure!(answer.ends_with(b"\r\nEND\r\n"), "the value of {key} has no end");
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_well_formed_and_a_constant_answer_has_the_bytes_asked_for() {
        Mix::parse("gets.toml", MIX).expect("well formed");
        for bytes in [60, 115, 134, 400, 1_034] {
            let answer = constant(bytes);
            assert!((bytes..bytes + 2).contains(&answer.len()), "{bytes}: {}", answer.len());
            assert!(answer.starts_with(b"VALUE null 0 ") && answer.ends_with(b"x\r\nEND\r\n"));
        }
    }
}
