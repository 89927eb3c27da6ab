//! One server under gets: so many connections, each with so many gets on their way, and each answer held against the value.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use base::Prng;
use base::mono::Span;
use reactor::device::families_cpu_us;

use super::keys::Keys;
use crate::drivers::sockets::{Heard, Sockets};

/// How long connections may take to come up, and one answer.
const PATIENCE: Span = Span::from_ms(5_000);

/// What one window of load found.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Answers that were right.
    pub gets: u64,
    /// Its length.
    pub seconds: f64,
    /// Of the server's process.
    pub server_cpu_s: f64,
    /// Of this process.
    pub client_cpu_s: f64,
}

impl Window {
    /// Gets a second.
    pub fn rate(&self) -> f64 {
        self.gets as f64 / self.seconds
    }

    /// Gets for each second of the server's processor time.
    pub fn per_server_second(&self) -> f64 {
        self.gets as f64 / self.server_cpu_s
    }

    /// Gets for each second of both processes' time: on loopback a sender pays for the receiver.
    pub fn per_second_of_both(&self) -> f64 {
        self.gets as f64 / (self.server_cpu_s + self.client_cpu_s)
    }
}

/// A server and the connections to it.
pub struct Arm {
    sockets: Sockets,
    links: Vec<Link>,
    pid: u32,
    depth: usize,
    /// Answers are those of their keys; else all are the typical one.
    by_key: bool,
    prng: Prng,
}

/// One connection: the keys whose answers are due, in order.
#[derive(Default)]
struct Link {
    asked: Vec<u32>,
    answered: usize,
}

impl Arm {
    /// Connects.
    pub fn connect(
        address: SocketAddr,
        pid: u32,
        connections: usize,
        depth: usize,
        by_key: bool,
        seed: u64,
    ) -> Result<Arm> {
        let sockets = Sockets::connect(&vec![address; connections], PATIENCE)?;
        let links = (0..connections).map(|_| Link::default()).collect();
        Ok(Arm { sockets, links, pid, depth, by_key, prng: Prng::new(seed) })
    }

    /// Keeps all connections busy for so long, then lets what is on its way end.
    ///
    /// Errors: an answer is not what it must be, or does not come.
    pub fn run(&mut self, keys: &Keys, seconds: f64) -> Result<Window> {
        let cpu = |pid: u32| families_cpu_us(&[pid]) as f64 / 1e6;
        let (server, client) = (cpu(self.pid), cpu(std::process::id()));
        let begun = self.sockets.now();
        let until = begun + Span((seconds * 1e9) as u64);
        let (mut gets, mut wrong) = (0, None);
        for at in 0..self.links.len() {
            self.ask(keys, at);
        }
        let mut busy = self.links.len();
        let mut last = begun;
        while busy > 0 {
            self.sockets.flush();
            self.sockets.enter(self.sockets.now() + Span::from_ms(100));
            let now = self.sockets.now();
            let (before, is_over) = (gets, now >= until);
            let Self { sockets, links, prng, depth, by_key, .. } = self;
            sockets.reap(|at, heard, out| {
                let bytes = match heard {
                    Heard::Bytes(bytes) => bytes,
                    Heard::Closed(why) => {
                        wrong.get_or_insert(why);
                        return Err(());
                    }
                };
                let link = &mut links[at];
                let mut taken = 0;
                while let Some(key) = link.asked.get(link.answered) {
                    let wanted = if *by_key { keys.answer(*key) } else { keys.typical() };
                    let Some(answer) = bytes.get(taken..taken + wanted.len()) else { break };
                    if answer != wanted {
                        let told = String::from_utf8_lossy(&bytes[taken..bytes.len().min(taken + 200)]).into_owned();
                        wrong.get_or_insert(format!("key {} was answered with {told:?}", keys.name(*key)));
                        return Err(());
                    }
                    taken += wanted.len();
                    link.answered += 1;
                }
                if link.answered == link.asked.len() && !link.asked.is_empty() {
                    gets += link.asked.len() as u64;
                    if is_over {
                        link.asked.clear();
                        link.answered = 0;
                        busy -= 1;
                    } else {
                        link.fill(keys, prng, *depth, out);
                    }
                }
                Ok(taken)
            });
            if let Some(why) = wrong {
                bail!("{why}");
            }
            last = if gets > before { now } else { last };
            ensure!(now.since(last).0 < PATIENCE.0, "an answer did not come within 5 s");
        }
        let seconds = self.sockets.now().since(begun).0 as f64 / 1e9;
        let (server, client) = (cpu(self.pid) - server, cpu(std::process::id()) - client);
        Ok(Window { gets, seconds, server_cpu_s: server, client_cpu_s: client })
    }

    fn ask(&mut self, keys: &Keys, at: usize) {
        let Self { sockets, links, prng, depth, .. } = self;
        links[at].fill(keys, prng, *depth, &mut sockets.outs()[at]);
    }
}

impl Link {
    /// Asks for the next keys.
    fn fill(&mut self, keys: &Keys, prng: &mut Prng, depth: usize, out: &mut Vec<u8>) {
        self.asked.clear();
        self.answered = 0;
        for _ in 0..depth {
            let key = keys.draw(prng);
            out.extend_from_slice(keys.request(key));
            self.asked.push(key);
        }
    }
}
