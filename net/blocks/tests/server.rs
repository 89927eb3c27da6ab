//! The block server from outside, over real sockets, with a stand-in for the cluster behind it.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::limits::{BLOCK_BYTES, BLOCK_FRAME_BYTES_MAX};
use base::{Acct, BlockHash, GroupId, Jid, Nsid, Prng, TreeNode};
use blocks::metaserver::{Metaserver, MetaserverError};
use blocks::store::hash_of;
use blocks::{BlockClient, BlockClientError, BlockConfig, BlockServer};
use meta::{Answer, At, Command, CommitFile, Entry, Metadata, NodeKind, Outcome, PutMode, Query, What};
use wire::block::{BlockKind, GetBlock, InlineBlock, PutBlock, StoreAndCommit};
use wire::{ClientHello, Frame, FrameClass, FrameReader, FrameWriter, Link, ReplyStatus};

const ACCT: Acct = Acct(1);
const NSID: Nsid = Nsid(10_000_000_000);

/// As much of a cluster as a block server sees: which blocks a namespace knows, and which revisions it has.
#[derive(Clone, Default)]
struct FakeCluster(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    known: HashSet<(Nsid, BlockHash)>,
    revisions: BTreeMap<Jid, CommitFile>,
    announced: Vec<(u64, String)>,
    /// So many commands are answered `Unavailable` first.
    fail: u32,
}

impl Metaserver for FakeCluster {
    async fn command(&self, _: Acct, nsid: Nsid, command: Command) -> Result<Outcome, MetaserverError> {
        let mut state = self.0.lock().unwrap();
        match command {
            Command::ServerPut(server) => {
                state.announced.push((server.server, server.address));
                Ok(Outcome::Done)
            }
            Command::StoreAndCommit(_) if state.fail > 0 => {
                state.fail -= 1;
                Err(MetaserverError::Unavailable("an election".to_owned()))
            }
            Command::StoreAndCommit(both) => {
                for part in &both.present {
                    state.known.insert((nsid, both.commit.blocks[part.position as usize]));
                }
                let names = both.commit.blocks.iter().enumerate();
                let missing = names.filter(|(_, name)| !state.known.contains(&(nsid, **name)));
                let missing: Vec<u32> = missing.map(|(position, _)| position as u32).collect();
                if !missing.is_empty() {
                    return Ok(Outcome::NeedBlocks(missing));
                }
                let jid = Jid(state.revisions.len() as u64 + 1);
                let meta = metadata(jid, &both.commit);
                state.revisions.insert(jid, both.commit);
                Ok(Outcome::Applied(meta))
            }
            other => panic!("a block server does not send {other:?}"),
        }
    }

    async fn groups(&self) -> Result<u32, MetaserverError> {
        Ok(1)
    }

    async fn query(&self, acct: Acct, _: Nsid, query: Query) -> Result<Answer, MetaserverError> {
        let Query::Blocklist { what: What::Rev(rev), first } = query else { panic!("unexpected {query:?}") };
        if acct != ACCT {
            return Ok(Answer::NoAccess);
        }
        let state = self.0.lock().unwrap();
        let Some(commit) = state.revisions.get(&rev) else { return Ok(Answer::NotFound) };
        let total = commit.blocks.len() as u32;
        // Two at a time, so that the parts are tested.
        let blocks = commit.blocks.iter().skip(first as usize).take(2).map(|name| (*name, 1)).collect();
        let entry = Entry { path_display: commit.at.path.clone(), meta: metadata(rev, commit) };
        Ok(Answer::Blocklist { entry, first, total, blocks })
    }
}

fn metadata(jid: Jid, commit: &CommitFile) -> Metadata {
    Metadata {
        nsid: NSID,
        node: TreeNode(2),
        parent: TreeNode(1),
        jid,
        rev_jid: jid,
        kind: NodeKind::File,
        name: "file".to_owned(),
        size: commit.size,
        content_hash: commit.content_hash,
        client_mtime_ms: i64::MIN,
        server_mtime_ms: 0,
        modified_by: ACCT,
    }
}

struct World {
    cluster: FakeCluster,
    config: BlockConfig,
    server: Option<BlockServer>,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let config = BlockConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            store: directory.path().join("objects").to_str().unwrap().to_owned(),
            data_dir: directory.path().to_owned(),
            targets: vec!["127.0.0.1:1".to_owned()],
            server_id: 7,
            gc: blocks::GcConfig { enabled: false, ..blocks::GcConfig::default() },
            https: None,
        };
        let cluster = FakeCluster::default();
        let server = blocks::start_with(&config, cluster.clone()).unwrap();
        World { cluster, config, server: Some(server), _directory: directory }
    }

    fn address(&self) -> String {
        self.server.as_ref().unwrap().address().to_string()
    }

    fn client(&self) -> BlockClient {
        BlockClient::new(vec![self.address()], ACCT).with_patience(Duration::from_secs(10))
    }

    fn raw(&self) -> Raw {
        Raw::greet(TcpStream::connect(self.address()).unwrap(), ACCT)
    }

    fn restart(&mut self) {
        self.config.listen = self.server.as_ref().unwrap().address();
        self.server.take().unwrap().stop();
        self.server = Some(blocks::start_with(&self.config, self.cluster.clone()).unwrap());
    }
}

/// A connection that says exactly what the test wants.
struct Raw {
    stream: TcpStream,
    reader: FrameReader,
}

impl Raw {
    fn greet(mut stream: TcpStream, acct: Acct) -> Raw {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&ClientHello::new(acct, [0; 16]).encode()).unwrap();
        stream.read_exact(&mut [0; wire::hello::SERVER_HELLO_BYTES]).unwrap();
        Raw { stream, reader: FrameReader::new(Link::Client, BLOCK_FRAME_BYTES_MAX) }
    }

    fn send(&mut self, id: u64, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.stream.write_all(&request(id, kind, body)).unwrap();
    }

    /// Id, status and body of the next reply; `None` when the server closed.
    fn reply(&mut self) -> Option<(u64, ReplyStatus, Vec<u8>)> {
        loop {
            if let Some(bytes) = self.reader.next_frame().unwrap() {
                let frame = Frame::parse(bytes).unwrap();
                let reply = frame.replies().unwrap().next().unwrap();
                return Some((reply.request_id, reply.reply_status().unwrap(), reply.body.to_vec()));
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.reader.push(&chunk[..read]),
            }
        }
    }

    fn ask(&mut self, kind: BlockKind, body: impl FnOnce(&mut Vec<u8>)) -> (ReplyStatus, Vec<u8>) {
        self.send(9, kind as u8, body);
        let (_, status, body) = self.reply().unwrap();
        (status, body)
    }
}

fn request(id: u64, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frames = FrameWriter::new(FrameClass::Request, 2 * BLOCK_FRAME_BYTES_MAX);
    frames.push_request(id, kind, 0, GroupId(0), body).unwrap();
    frames.take(Vec::new())
}

/// A file of `bytes`, and its blocks.
fn file(bytes: &[u8]) -> (CommitFile, Vec<Vec<u8>>) {
    let parts: Vec<Vec<u8>> = bytes.chunks(BLOCK_BYTES as usize).map(<[u8]>::to_vec).collect();
    let names: Vec<BlockHash> = parts.iter().map(|part| hash_of(part)).collect();
    let joined: Vec<u8> = names.iter().flat_map(|name| name.0).collect();
    let commit = CommitFile {
        at: At::path("/file"),
        mode: PutMode::Overwrite,
        size: bytes.len() as u64,
        content_hash: hash_of(&joined).0,
        blocks: names,
        ..CommitFile::default()
    };
    (commit, parts)
}

fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut prng = Prng::new(seed);
    (0..length.div_ceil(8)).flat_map(|_| prng.next_u64().to_le_bytes()).take(length).collect()
}

fn encoded(commit: &CommitFile) -> Vec<u8> {
    let mut out = Vec::new();
    meta::encode_command(&meta::CommandHeader::default(), &Command::CommitFile(commit.clone()), &mut out);
    out
}

fn upload(client: &mut BlockClient, bytes: &[u8]) -> Result<Outcome, BlockClientError> {
    let (commit, parts) = file(bytes);
    client.upload(NSID, &commit, &mut |position: u32| Ok(parts[position as usize].clone()))
}

fn download(client: &mut BlockClient, outcome: &Outcome, bytes: &[u8]) -> Result<Vec<u8>, BlockClientError> {
    let rev = outcome.metadata().unwrap().rev_jid;
    let mut out = vec![0; bytes.len()];
    client.download(NSID, rev, &file(bytes).0.blocks, &mut |position, block| {
        let at = position as usize * BLOCK_BYTES as usize;
        out[at..at + block.len()].copy_from_slice(block);
        Ok(())
    })?;
    Ok(out)
}

#[test]
fn files_of_no_one_and_many_blocks_come_back_as_they_went() {
    let world = World::new();
    let mut client = world.client();
    for (seed, length) in [(1, 0), (2, 1), (3, 70_000), (4, BLOCK_BYTES as usize), (5, 9 * 1024 * 1024 + 17)] {
        let bytes = random(seed, length);
        let outcome = upload(&mut client, &bytes).unwrap();
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        assert_eq!(download(&mut client, &outcome, &bytes).unwrap(), bytes, "{length} bytes");
    }
}

#[test]
fn a_file_of_equal_blocks_delivers_its_block_once() {
    let world = World::new();
    let bytes = vec![5; 3 * BLOCK_BYTES as usize];
    let mut client = world.client();
    let (commit, parts) = file(&bytes);
    let mut asked = Vec::new();
    let outcome = client.upload(NSID, &commit, &mut |position: u32| {
        asked.push(position);
        Ok(parts[position as usize].clone())
    });
    let outcome = outcome.unwrap();
    assert_eq!(asked, [0]);
    assert_eq!(download(&mut client, &outcome, &bytes).unwrap(), bytes);
}

#[test]
fn a_block_that_is_not_what_its_name_says_is_refused_and_nothing_is_committed() {
    let world = World::new();
    let mut raw = world.raw();
    let put = PutBlock { acct: ACCT, nsid: NSID, hash: hash_of(b"right"), bytes: b"wrong" };
    let (status, text) = raw.ask(BlockKind::PutBlock, |out| put.encode(out));
    assert_eq!(status, ReplyStatus::Refused);
    assert!(String::from_utf8_lossy(&text).contains("has the hash"), "{}", String::from_utf8_lossy(&text));

    let commit = encoded(&file(b"right").0);
    let blocks = vec![InlineBlock { position: 0, bytes: b"wrong" }];
    let both = StoreAndCommit { acct: ACCT, nsid: NSID, commit: &commit, blocks };
    let (status, _) = raw.ask(BlockKind::StoreAndCommit, |out| both.encode(out));
    assert_eq!(status, ReplyStatus::Refused);
    assert!(world.cluster.0.lock().unwrap().revisions.is_empty());

    let blocks = vec![InlineBlock { position: 1, bytes: b"right" }];
    let both = StoreAndCommit { acct: ACCT, nsid: NSID, commit: &commit, blocks };
    let (status, _) = raw.ask(BlockKind::StoreAndCommit, |out| both.encode(out));
    assert_eq!(status, ReplyStatus::Malformed, "beyond the blocklist");
}

#[test]
fn knowing_a_hash_grants_nothing() {
    let world = World::new();
    let bytes = b"a secret of another namespace";
    let mut owner = world.raw();
    let put = PutBlock { acct: ACCT, nsid: NSID, hash: hash_of(bytes), bytes };
    assert_eq!(owner.ask(BlockKind::PutBlock, |out| put.encode(out)).0, ReplyStatus::Ok);
    let commit = encoded(&file(bytes).0);
    let both = StoreAndCommit { acct: ACCT, nsid: NSID, commit: &commit, blocks: Vec::new() };

    let (status, body) = world.raw().ask(BlockKind::StoreAndCommit, |out| both.encode(out));
    assert_eq!((status, Outcome::decode(&body).unwrap()), (ReplyStatus::Ok, Outcome::NeedBlocks(vec![0])));
    let (status, body) = owner.ask(BlockKind::StoreAndCommit, |out| both.encode(out));
    assert_eq!(status, ReplyStatus::Ok);
    assert!(matches!(Outcome::decode(&body).unwrap(), Outcome::Applied(_)), "who delivered it may commit it");
}

#[test]
fn a_connection_speaks_for_the_account_of_its_hello_only() {
    let world = World::new();
    let put = PutBlock { acct: Acct(2), nsid: NSID, hash: hash_of(b"x"), bytes: b"x" };
    assert_eq!(world.raw().ask(BlockKind::PutBlock, |out| put.encode(out)).0, ReplyStatus::Refused);
    let mut system = Raw::greet(TcpStream::connect(world.address()).unwrap(), Acct(0));
    assert_eq!(system.ask(BlockKind::PutBlock, |out| put.encode(out)).0, ReplyStatus::Ok);
}

#[test]
fn a_block_is_read_only_by_a_revision_that_the_account_may_read() {
    let world = World::new();
    let outcome = upload(&mut world.client(), b"mine").unwrap();
    let rev = outcome.metadata().unwrap().rev_jid;
    let get = GetBlock { acct: ACCT, nsid: NSID, rev, position: 0 };
    let mut raw = world.raw();
    assert_eq!(raw.ask(BlockKind::GetBlock, |out| get.encode(out)), (ReplyStatus::Ok, b"mine".to_vec()));
    for bad in [GetBlock { rev: Jid(99), ..get }, GetBlock { position: 1, ..get }] {
        assert_eq!(raw.ask(BlockKind::GetBlock, |out| bad.encode(out)).0, ReplyStatus::Refused);
    }
    let stranger = GetBlock { acct: Acct(2), ..get };
    let mut raw = Raw::greet(TcpStream::connect(world.address()).unwrap(), Acct(2));
    assert_eq!(raw.ask(BlockKind::GetBlock, |out| stranger.encode(out)).0, ReplyStatus::Refused);
}

#[test]
fn a_block_that_rotted_in_the_store_is_never_served() {
    let world = World::new();
    let outcome = upload(&mut world.client(), b"will rot").unwrap();
    let name = hash_of(b"will rot").to_string();
    let path = std::path::Path::new(&world.config.store).join("blocks").join(&name[..2]).join(&name);
    std::fs::write(path, b"has rot.").unwrap();
    let error = download(&mut world.client(), &outcome, b"will rot").unwrap_err().to_string();
    assert!(error.contains("is corrupt in the object store"), "{error}");
    upload(&mut world.client(), b"will rot").unwrap();
    assert_eq!(download(&mut world.client(), &outcome, b"will rot").unwrap(), b"will rot");
}

#[test]
fn a_restart_of_the_server_and_an_election_behind_it_are_invisible() {
    let mut world = World::new();
    let mut client = world.client();
    let bytes = random(6, 2 * BLOCK_BYTES as usize + 1);
    let outcome = upload(&mut client, &bytes).unwrap();
    world.restart();
    assert_eq!(download(&mut client, &outcome, &bytes).unwrap(), bytes);
    world.cluster.0.lock().unwrap().fail = 3;
    let other = random(7, 2 * BLOCK_BYTES as usize + 1);
    world.restart();
    let outcome = upload(&mut client, &other).unwrap();
    assert_eq!(download(&mut client, &outcome, &other).unwrap(), other);
}

#[test]
fn a_server_that_stays_away_is_an_error_that_names_it() {
    let world = World::new();
    let address = world.address();
    world.server.unwrap().stop();
    let mut client = BlockClient::new(vec![address.clone()], ACCT).with_patience(Duration::ZERO);
    let error = upload(&mut client, b"x").unwrap_err();
    assert!(matches!(&error, BlockClientError::Unreachable { servers, .. } if *servers == address), "{error}");
    let mut client = BlockClient::new(Vec::new(), ACCT);
    assert!(matches!(upload(&mut client, b"x"), Err(BlockClientError::NoServer)));
}

#[test]
fn it_announces_itself() {
    let mut world = World::new();
    let address = world.address();
    let cluster = world.cluster.clone();
    // Any answered request, then a stop: by then the announcement, begun at the start, has been made.
    upload(&mut world.client(), b"x").unwrap();
    world.server.take().unwrap().stop();
    assert_eq!(cluster.0.lock().unwrap().announced.first(), Some(&(7, address)));
}

#[test]
fn an_oversized_frame_is_told_and_closes_its_connection_only() {
    let world = World::new();
    let mut other = world.raw();
    let mut raw = world.raw();
    let big = request(1, BlockKind::PutBlock as u8, |out| out.extend(std::iter::repeat_n(0, BLOCK_FRAME_BYTES_MAX)));
    // The server reads the header only; it may close before all is sent.
    let _ = raw.stream.write_all(&big[..4096]);
    let (id, status, text) = raw.reply().unwrap();
    assert_eq!((id, status), (0, ReplyStatus::Malformed));
    assert!(String::from_utf8_lossy(&text).contains("at most"), "{}", String::from_utf8_lossy(&text));
    assert_eq!(raw.reply(), None);
    other.send(5, wire::RequestKind::Ping as u8, |out| out.extend_from_slice(b"there?"));
    assert_eq!(other.reply(), Some((5, ReplyStatus::Ok, b"there?".to_vec())));
}

#[test]
fn unknown_kinds_and_malformed_bodies_are_answered_and_the_connection_goes_on() {
    let world = World::new();
    let mut raw = world.raw();
    raw.send(1, 200, |_| {});
    assert_eq!(raw.reply().unwrap().1, ReplyStatus::Unsupported);
    for kind in [BlockKind::PutBlock, BlockKind::StoreAndCommit, BlockKind::GetBlock] {
        assert_eq!(raw.ask(kind, |out| out.extend_from_slice(b"short")).0, ReplyStatus::Malformed);
    }
    let both = StoreAndCommit { acct: ACCT, nsid: NSID, commit: b"no commit", blocks: Vec::new() };
    assert_eq!(raw.ask(BlockKind::StoreAndCommit, |out| both.encode(out)).0, ReplyStatus::Malformed);
}

#[test]
fn garbage_on_the_port_never_stops_the_server() {
    let world = World::new();
    let mut prng = Prng::new(0xb10c);
    let put = PutBlock { acct: ACCT, nsid: NSID, hash: hash_of(b"x"), bytes: b"x" };
    let good = request(1, BlockKind::PutBlock as u8, |out| put.encode(out));
    for round in 0..1000 {
        let mut stream = TcpStream::connect(world.address()).unwrap();
        let mut bytes = if round % 2 == 0 {
            let length = prng.below(200) as usize;
            random(prng.next_u64(), length)
        } else {
            let mut bytes = ClientHello::new(ACCT, [0; 16]).encode().to_vec();
            bytes.extend_from_slice(&good);
            for _ in 0..=prng.below(4) {
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] = prng.next_u64() as u8;
            }
            bytes
        };
        bytes.truncate(prng.below(bytes.len() as u64 + 1) as usize);
        let _ = stream.write_all(&bytes);
    }
    let mut client = world.client();
    let outcome = upload(&mut client, b"still here").unwrap();
    assert_eq!(download(&mut client, &outcome, b"still here").unwrap(), b"still here");
}

#[test]
fn many_requests_on_one_connection_are_all_answered() {
    let world = World::new();
    let mut raw = world.raw();
    let mut frames = FrameWriter::new(FrameClass::Request, BLOCK_FRAME_BYTES_MAX);
    for id in 0..300_u64 {
        let bytes = id.to_le_bytes();
        let put = PutBlock { acct: ACCT, nsid: NSID, hash: hash_of(&bytes), bytes: &bytes };
        frames.push_request(id, BlockKind::PutBlock as u8, 0, GroupId(0), |out| put.encode(out)).unwrap();
    }
    raw.stream.write_all(&frames.take(Vec::new())).unwrap();
    let mut answered = HashSet::new();
    let mut chunk = [0; 8192];
    while answered.len() < 300 {
        while let Some(bytes) = raw.reader.next_frame().unwrap() {
            for reply in Frame::parse(bytes).unwrap().replies().unwrap() {
                assert_eq!(reply.reply_status(), Some(ReplyStatus::Ok));
                assert!(answered.insert(reply.request_id));
            }
        }
        if answered.len() < 300 {
            let read = raw.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "closed after {} answers", answered.len());
            raw.reader.push(&chunk[..read]);
        }
    }
}
