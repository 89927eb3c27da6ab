//! The blocking client of a block server: uploads and reads of whole files, over one connection at a time.
//!
//! A lost connection, a server that restarts, an election behind it: all is repeated, for as long as its patience lasts
//! since the last answer. Repeating is harmless: blocks are put by content, and a commit of what is there already is
//! `Unchanged`.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base::limits::BLOCK_FRAME_BYTES_MAX;
use base::{Acct, BlockHash, GroupId, Jid, Nsid};
use meta::{Command, CommandHeader, CommitFile, Outcome};
use wire::block::{BlockKind, GetBlock, InlineBlock, PutBlock, StoreAndCommit};
use wire::{ClientHello, Frame, FrameClass, FrameReader, FrameWriter, Link, ReplyStatus};

use crate::store::hash_of;

/// How long one keeps trying since the last answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests on their way at once; each may hold a block.
const WINDOW: usize = 4;
/// Rounds of `NeedBlocks` for one file: each lost connection costs one.
const ROUNDS_MAX: u32 = 16;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Longer than the block server waits for a metaserver.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(45);
const READ_BYTES: usize = 256 << 10;

/// Why an upload or a read failed for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockClientError {
    /// The cluster names no block server.
    #[error("no block server on this cluster; start one with `dropstone block`")]
    NoServer,
    /// None answered in time.
    #[error("no block server answered for {} s; tried {servers}; the last said: {last}", waited.as_secs())]
    Unreachable {
        /// Which were tried.
        servers: String,
        /// How long.
        waited: Duration,
        /// What was wrong last.
        last: String,
    },
    /// Understood and refused; the server's words.
    #[error("the block server refused: {0}")]
    Refused(String),
    /// The other side speaks another language or version.
    #[error("the block server does not understand: {0}")]
    Protocol(String),
    /// A block arrived that is not the one named.
    #[error("block {position} arrived with the hash {found} and not {wanted}; ask again, or run a check of the store")]
    Corrupt {
        /// Its place in the file.
        position: u32,
        /// Its name.
        wanted: BlockHash,
        /// What the bytes give.
        found: BlockHash,
    },
    /// The local file could not be read or written.
    #[error("{0}")]
    Local(#[from] io::Error),
    /// The cluster kept asking for blocks, or stayed busy.
    #[error("gave up after {rounds} rounds: the cluster still answers {outcome}; do the servers' clocks agree?")]
    GaveUp {
        /// How many.
        rounds: u32,
        /// What it answers.
        outcome: String,
    },
}

/// Where the blocks of an upload come from.
pub trait BlockSource {
    /// The bytes of the block at `position`; may be asked more than once.
    ///
    /// Errors: of the file, which end the upload.
    fn block(&mut self, position: u32) -> io::Result<Vec<u8>>;
}

impl<F: FnMut(u32) -> io::Result<Vec<u8>>> BlockSource for F {
    fn block(&mut self, position: u32) -> io::Result<Vec<u8>> {
        self(position)
    }
}

/// A client of the block servers of one cluster, for one account. One thread uses it; many threads have one each.
#[derive(Debug)]
pub struct BlockClient {
    servers: Vec<String>,
    acct: Acct,
    patience: Duration,
    /// The server to try next, an index that wraps.
    next_server: usize,
    link: Option<Connected>,
}

#[derive(Debug)]
struct Connected {
    stream: TcpStream,
    reader: FrameReader,
    next_request_id: u64,
}

/// Appends the body of the request for an index.
type Make<'a> = dyn FnMut(u32, &mut Vec<u8>) -> Result<(), BlockClientError> + 'a;
/// Takes the answer for an index.
type Take<'a> = dyn FnMut(u32, &[u8]) -> Result<(), BlockClientError> + 'a;
/// Takes a reply: its request id, status and body.
type Each<'a> = dyn FnMut(u64, ReplyStatus, &[u8]) -> Result<(), Stop> + 'a;

/// Why one try ended early.
enum Stop {
    /// The connection is of no use any more: try again on another; what was answered stays answered.
    Lost(String),
    /// The server is well and cannot do it now: try again after a while. The connection keeps what was delivered on it.
    Later(String),
    Final(BlockClientError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Lost(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within {} s", ANSWER_TIME_MAX.as_secs())
            }
            _ => error.to_string(),
        })
    }
}

impl BlockClient {
    /// A client of `servers` (`host:port`); connects when it is first used.
    #[must_use]
    pub fn new(servers: Vec<String>, acct: Acct) -> BlockClient {
        BlockClient { servers, acct, patience: PATIENCE, next_server: 0, link: None }
    }

    /// Begins with another server than the others of a crowd: `at` is any number, e.g. that of the thread.
    #[must_use]
    pub fn starting_at(mut self, at: usize) -> BlockClient {
        self.next_server = at;
        self
    }

    /// Keeps trying so long since the last answer; 60 s unless told.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> BlockClient {
        self.patience = patience;
        self
    }

    /// Puts a file: commits it, and delivers the blocks that the namespace does not know.
    ///
    /// A file of one block is sent with the commit; a larger one is committed first and then asked for what is missing.
    /// Outcomes that are no success (`Conflict`, `Quota`) are given as they are.
    ///
    /// Errors: [`BlockClientError`].
    pub fn upload(
        &mut self,
        nsid: Nsid,
        commit: &CommitFile,
        content: &mut dyn BlockSource,
    ) -> Result<Outcome, BlockClientError> {
        let mut encoded = Vec::new();
        let header = CommandHeader { acct: self.acct, nsid, ..CommandHeader::default() };
        meta::encode_command(&header, &Command::CommitFile(commit.clone()), &mut encoded);
        let mut inline = (commit.blocks.len() == 1).then_some(0);
        let mut busy_since = None;
        for round in 1.. {
            let outcome = self.commit(nsid, &encoded, inline, content)?;
            if round == ROUNDS_MAX {
                return Err(BlockClientError::GaveUp { rounds: round, outcome: format!("{outcome:?}") });
            }
            match outcome {
                Outcome::NeedBlocks(positions) => {
                    inline = self.deliver(nsid, &commit.blocks, &positions, content)?;
                }
                Outcome::Busy { retry_ms } => {
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.patience {
                        return Err(BlockClientError::GaveUp { rounds: round, outcome: "busy".to_owned() });
                    }
                    sleep(Duration::from_millis(u64::from(retry_ms.clamp(10, 1000))));
                }
                outcome => return Ok(outcome),
            }
        }
        unreachable!("the rounds end at their bound")
    }

    /// Reads the blocks of a revision, in any order; each is checked against its name before `sink` gets it.
    ///
    /// Errors: [`BlockClientError`]; those of `sink` as `Local`.
    pub fn download(
        &mut self,
        nsid: Nsid,
        rev: Jid,
        names: &[BlockHash],
        sink: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), BlockClientError> {
        let count = u32::try_from(names.len()).expect("a blocklist is far below 4 G names");
        self.download_some(nsid, rev, names, (0..count).collect(), sink)
    }

    /// As [`BlockClient::download`], of the blocks at `positions` only, each below `names.len()`.
    ///
    /// Errors: [`BlockClientError`]; those of `sink` as `Local`.
    pub fn download_some(
        &mut self,
        nsid: Nsid,
        rev: Jid,
        names: &[BlockHash],
        positions: VecDeque<u32>,
        sink: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), BlockClientError> {
        let acct = self.acct;
        self.run(
            BlockKind::GetBlock,
            positions,
            &mut |position, out| {
                GetBlock { acct, nsid, rev, position }.encode(out);
                Ok(())
            },
            &mut |position, bytes| {
                let (wanted, found) = (names[position as usize], hash_of(bytes));
                if wanted != found {
                    return Err(BlockClientError::Corrupt { position, wanted, found });
                }
                Ok(sink(position, bytes)?)
            },
        )
    }

    /// Puts the blocks at `positions`; a single one is left to come with the commit, and named.
    fn deliver(
        &mut self,
        nsid: Nsid,
        names: &[BlockHash],
        positions: &[u32],
        content: &mut dyn BlockSource,
    ) -> Result<Option<u32>, BlockClientError> {
        let mut seen = HashSet::new();
        let is_new = |position: &u32| names.get(*position as usize).is_some_and(|name| seen.insert(*name));
        let missing: VecDeque<u32> = positions.iter().copied().filter(is_new).collect();
        if missing.len() <= 1 {
            return Ok(missing.front().copied());
        }
        let acct = self.acct;
        self.run(
            BlockKind::PutBlock,
            missing,
            &mut |position, out| {
                let bytes = content.block(position)?;
                PutBlock { acct, nsid, hash: names[position as usize], bytes: &bytes }.encode(out);
                Ok(())
            },
            &mut |_, _| Ok(()),
        )?;
        Ok(None)
    }

    fn commit(
        &mut self,
        nsid: Nsid,
        commit: &[u8],
        inline: Option<u32>,
        content: &mut dyn BlockSource,
    ) -> Result<Outcome, BlockClientError> {
        let acct = self.acct;
        let mut outcome = None;
        self.run(
            BlockKind::StoreAndCommit,
            VecDeque::from([0]),
            &mut |_, out| {
                let bytes = inline.map(|position| content.block(position)).transpose()?;
                let blocks = inline.zip(bytes.as_deref()).map(|(position, bytes)| InlineBlock { position, bytes });
                StoreAndCommit { acct, nsid, commit, blocks: blocks.into_iter().collect() }.encode(out);
                Ok(())
            },
            &mut |_, bytes| {
                let decoded = Outcome::decode(bytes);
                outcome = Some(decoded.map_err(|error| BlockClientError::Protocol(format!("outcome: {error}")))?);
                Ok(())
            },
        )?;
        Ok(outcome.expect("a run that ends well has taken every answer"))
    }

    /// Sends a request per index of `todo` and takes the answers, a window of them at once, until all are answered.
    fn run(
        &mut self,
        kind: BlockKind,
        mut todo: VecDeque<u32>,
        make: &mut Make<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), BlockClientError> {
        if self.servers.is_empty() {
            return Err(BlockClientError::NoServer);
        }
        let (mut since, mut pause) = (Instant::now(), Duration::from_millis(20));
        while !todo.is_empty() {
            let left = todo.len();
            let last = match self.run_once(kind, &mut todo, make, take) {
                Ok(()) => continue,
                Err(Stop::Final(error)) => {
                    // Answers of this try may still be on their way.
                    self.link = None;
                    return Err(error);
                }
                Err(Stop::Lost(last) | Stop::Later(last)) => last,
            };
            if todo.len() < left {
                (since, pause) = (Instant::now(), Duration::from_millis(20));
            }
            if since.elapsed() >= self.patience {
                let servers = self.servers.join(", ");
                return Err(BlockClientError::Unreachable { servers, waited: since.elapsed(), last });
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Ok(())
    }

    /// One try on one connection. Indexes leave `todo` when they are answered well.
    fn run_once(
        &mut self,
        kind: BlockKind,
        todo: &mut VecDeque<u32>,
        make: &mut Make<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Stop> {
        let mut sent: VecDeque<(u64, u32)> = VecDeque::new();
        let ended = self.exchange(kind, todo, &mut sent, make, take);
        // What has no answer is to be sent again, and a connection that still owes answers is not used again.
        if !sent.is_empty() {
            self.link = None;
            sent.iter().rev().for_each(|(_, index)| todo.push_front(*index));
        }
        if matches!(ended, Err(Stop::Lost(_) | Stop::Final(_))) {
            self.link = None;
        }
        ended
    }

    fn exchange(
        &mut self,
        kind: BlockKind,
        todo: &mut VecDeque<u32>,
        sent: &mut VecDeque<(u64, u32)>,
        make: &mut Make<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Stop> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let server = &self.servers[self.next_server % self.servers.len()];
                self.next_server = self.next_server.wrapping_add(1);
                let connected = connect(server, self.acct).map_err(|error| Stop::Lost(format!("{server}: {error}")))?;
                self.link.insert(connected)
            }
        };
        while !todo.is_empty() || !sent.is_empty() {
            while sent.len() < WINDOW
                && let Some(index) = todo.front().copied()
            {
                let mut body = Vec::new();
                make(index, &mut body).map_err(Stop::Final)?;
                sent.push_back((link.next_request_id, index));
                todo.pop_front();
                link.send(kind, &body)?;
            }
            let mut later: Option<u32> = None;
            let received = link.receive(&mut |request_id, status, body| {
                let Some(at) = sent.iter().position(|(id, _)| *id == request_id) else {
                    return Err(Stop::Lost(format!("an answer to nothing: {}", String::from_utf8_lossy(body))));
                };
                let words = || String::from_utf8_lossy(body).into_owned();
                match status {
                    ReplyStatus::Ok => {
                        let (_, index) = sent[at];
                        take(index, body).map_err(Stop::Final)?;
                        sent.remove(at);
                        Ok(())
                    }
                    ReplyStatus::Refused => Err(Stop::Final(BlockClientError::Refused(words()))),
                    ReplyStatus::Malformed => Err(Stop::Final(BlockClientError::Protocol(words()))),
                    ReplyStatus::Unsupported => {
                        let text = format!("requests of kind {}", kind as u8);
                        Err(Stop::Final(BlockClientError::Protocol(text)))
                    }
                    ReplyStatus::NotLeader
                    | ReplyStatus::Overloaded
                    | ReplyStatus::WrongCore
                    | ReplyStatus::Unavailable => {
                        let words = words();
                        later = sent.remove(at).map(|(_, index)| index);
                        Err(Stop::Later(words))
                    }
                }
            });
            if let Some(index) = later {
                todo.push_front(index);
            }
            received?;
        }
        Ok(())
    }
}

impl Connected {
    fn send(&mut self, kind: BlockKind, body: &[u8]) -> Result<(), Stop> {
        let mut frames = FrameWriter::new(FrameClass::Request, BLOCK_FRAME_BYTES_MAX);
        let pushed = frames.push_request(self.next_request_id, kind as u8, 0, GroupId(0), |out| {
            out.extend_from_slice(body);
        });
        pushed.map_err(|error| Stop::Final(BlockClientError::Protocol(error.to_string())))?;
        self.next_request_id += 1;
        self.stream.write_all(&frames.take(Vec::new()))?;
        Ok(())
    }

    /// Waits for a frame and gives each of its replies to `each`.
    fn receive(&mut self, each: &mut Each<'_>) -> Result<(), Stop> {
        let lost = |error: &dyn std::fmt::Display| Stop::Lost(format!("the connection is garbled: {error}"));
        let mut chunk = vec![0; READ_BYTES];
        loop {
            if let Some(bytes) = self.reader.next_frame().map_err(|error| lost(&error))? {
                let frame = Frame::parse(bytes).map_err(|error| lost(&error))?;
                for reply in frame.replies().map_err(|error| lost(&error))? {
                    let status = reply.reply_status().ok_or_else(|| lost(&"an unknown status"))?;
                    each(reply.request_id, status, reply.body)?;
                }
                return Ok(());
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(Stop::Lost("the block server closed the connection".to_owned())),
                read => self.reader.push(&chunk[..read]),
            }
        }
    }
}

fn connect(server: &str, acct: Acct) -> io::Result<Connected> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(stream) => return greet(stream, acct),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn greet(mut stream: TcpStream, acct: Acct) -> io::Result<Connected> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_read_timeout(Some(CONNECT_TIME_MAX))?;
    // A block server keeps no sessions, so there is no nonce to prove.
    stream.write_all(&ClientHello::new(acct, [0; 16]).encode())?;
    let mut hello = [0; wire::hello::SERVER_HELLO_BYTES];
    stream.read_exact(&mut hello)?;
    wire::ServerHello::parse(&hello).map_err(io::Error::other)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let reader = FrameReader::new(Link::Client, BLOCK_FRAME_BYTES_MAX);
    Ok(Connected { stream, reader, next_request_id: 1 })
}
