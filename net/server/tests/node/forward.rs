//! A node of two cores: whatever comes to the wrong one is answered as if it had come to the right one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use base::limits::{MAILBOX_REQUESTS_MAX, MAILBOX_WAITING_MAX, WIRE_FRAME_BYTES_MAX};
use base::{CoreId, GroupId, core_of, group_of};
use client::{CoreStatus, Operation, Reply};
use wire::client::{Watch, put_query_prefix};
use wire::hello::SERVER_HELLO_BYTES;
use wire::{ClientHello, Frame, FrameClass, FrameReader, FrameWriter, Link, ReplyStatus, RequestKind};

use super::*;

const CORES: u16 = 2;
const FOUR_GROUPS: u32 = 4;

fn two_cores(dir: &Path, base: u16) -> NodeConfig {
    let mut config = config(dir, 1, 1, base);
    (config.cluster.cores, config.cluster.groups) = (CORES, FOUR_GROUPS);
    format(&config, 1);
    config
}

/// A client that sends everything to one core.
fn connect_to(config: &NodeConfig, core: u16, explain: bool) -> Client {
    let targets = [config.cluster.nodes[0].client.to_string()];
    let options = ClientOptions { only_core: Some(CoreId(core)), explain, ..ClientOptions::default() };
    Client::connect(&targets, options).expect("the node answers")
}

/// Eight accounts; their roots, with the core that has each.
fn make_accounts(client: &Client) -> Vec<(Acct, Nsid, CoreId)> {
    let roots: Vec<_> = (1..=8)
        .map(|number| {
            let put = Command::AccountPut { name: format!("user {number}") };
            assert!(client.command(Acct(0), Nsid(0), put).expect("the node answers").is_ok());
            let query = Query::Account(AccountKey::Acct(Acct(number)));
            let Ok(Answer::Account(account)) = client.query(Acct(0), Nsid(0), query) else { panic!("it is there") };
            let init = Command::NamespaceInit { owner: Acct(number), kind: NamespaceKind::Root, grant_bytes: 1 << 40 };
            assert!(client.command(Acct(0), account.root, init).expect("the node answers").is_ok());
            (Acct(number), account.root, core_of(group_of(account.root, FOUR_GROUPS), CORES))
        })
        .collect();
    let cores: BTreeSet<CoreId> = roots.iter().map(|(_, _, core)| *core).collect();
    assert_eq!(cores.len(), usize::from(CORES), "both cores have some: {roots:?}");
    roots
}

fn folder(path: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
}

/// Status of a core.
fn status(client: &Client, config: &NodeConfig, core: u16) -> CoreStatus {
    let port = config.process.client_port + 1 + core;
    client.status_of(&format!("127.0.0.1:{port}")).expect("the core answers")
}

#[test]
fn what_was_read_once_is_answered_from_the_cache_on_the_wrong_core_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = two_cores(dir.path(), free_ports(8));
    let node = Node::start(config.clone()).expect("the node starts");
    let client = connect_to(&config, 0, false);
    let roots = make_accounts(&client);
    let (acct, root, _) = *roots.iter().find(|(.., core)| *core == CoreId(1)).expect("core 1 has some");
    let stranger = Acct(if acct == Acct(1) { 2 } else { 1 });
    assert!(client.command(acct, root, folder("/A")).expect("the node answers").is_ok());
    let ask = |acct, query: &Query| client.query(acct, root, query.clone()).expect("the node answers");
    let by_path = Query::Lookup(What::At(At::path("/a")));
    let Answer::Entry(entry) = ask(acct, &by_path) else { panic!("it is there") };
    let by_node = Query::Lookup(What::At(At { node: entry.meta.node, path: String::new() }));
    for query in [&by_path, &by_node, &Query::Head] {
        let answer = ask(acct, query);
        let told = || status(&client, &config, 0).counters;
        // A lease may be late on a busy machine: then the owner answers, the same.
        let is_near = (0..200).any(|_| {
            let before = told();
            (0..10).for_each(|_| assert_eq!(ask(acct, query), answer));
            let after = told();
            after.cache_hits >= before.cache_hits + 10 && after.forwarded == before.forwarded
        });
        assert!(is_near, "{query:?} never came from the cache");
        if *query != Query::Head {
            assert_eq!(ask(stranger, query), Answer::NoAccess);
            assert_eq!(ask(Acct(0), query), answer);
        }
    }
    let Answer::Head(head) = ask(acct, &Query::Head) else { panic!("a head") };
    assert!(client.command(acct, root, folder("/b")).expect("the node answers").is_ok());
    assert_eq!(ask(acct, &Query::Head), Answer::Head(base::Jid(head.0 + 1)));
    let delete = Command::Delete(meta::Delete { at: At::path("/a"), parent_rev: None });
    assert!(client.command(acct, root, delete).expect("the node answers").is_ok());
    assert_eq!([&by_path, &by_node].map(|query| ask(acct, query)), [Answer::NotFound, Answer::NotFound]);
    drop(client);
    node.stop();
}

#[test]
fn a_client_that_sends_everything_to_one_core_gets_right_answers_of_all_groups() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = two_cores(dir.path(), free_ports(8));
    let node = Node::start(config.clone()).expect("the node starts");
    let client = connect_to(&config, 0, true);
    let roots = make_accounts(&client);
    // Names long enough that a listing is large: 1,000 of them are 250 KB.
    let name = |at: usize| format!("/{at:04} {}", "n".repeat(240));
    for (acct, root, core) in &roots {
        let count = if *core == CoreId(1) { 1000 } else { 3 };
        let made: Vec<_> = (0..count)
            .map(|at| client.submit(Operation::Command { acct: *acct, nsid: *root, command: folder(&name(at)) }))
            .collect();
        for outcome in made {
            let Ok(Reply::Outcome(outcome)) = outcome.wait() else { panic!("the node answers") };
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        // A command that is refused is refused with its own words.
        assert!(!client.command(*acct, *root, folder(&name(0))).expect("the node answers").is_ok());
    }
    let direct = connect(&config);
    for (acct, root, core) in &roots {
        let list = || Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 2000 };
        let page = client.query(*acct, *root, list()).expect("the node answers");
        assert_eq!(page, direct.query(*acct, *root, list()).expect("the node answers"));
        let Answer::Page { entries, .. } = page else { panic!("no page") };
        assert_eq!(entries.len(), if *core == CoreId(1) { 1000 } else { 3 });
    }
    let (first, second) = (status(&direct, &config, 0), status(&direct, &config, 1));
    let far = roots.iter().filter(|(.., core)| *core == CoreId(1)).count() as u64;
    assert!(first.counters.forwarded > 1000 * far, "{:?}", first.counters);
    assert_eq!((second.counters.forwarded, first.counters.forward_refused), (0, 0));

    client.take_explained();
    let (acct, root, _) = roots.iter().find(|(.., core)| *core == CoreId(1)).expect("one of core 1");
    let began = Instant::now();
    assert!(client.command(*acct, *root, folder("/explained")).expect("the node answers").is_ok());
    let took = began.elapsed().as_nanos() as u64;
    let [put] = &client.take_explained()[..] else { panic!("one was asked") };
    assert_eq!((put.server.core, put.server.flags & wire::explain::MAILBOX_HOP), (CoreId(1), 4));
    assert_eq!(put.server.total_ns() + put.net().0, put.service.0.max(put.server.total_ns()));
    assert!(put.total().0 <= took, "{put:?} in {took} ns");
    let query = Query::ListPage { at: At::path(""), recursive: false, position: Vec::new(), limit: 1 };
    client.query(*acct, *root, query).expect("the node answers");
    let [list] = &client.take_explained()[..] else { panic!("one was asked") };
    assert_eq!((list.server.core, list.server.flags & wire::explain::MAILBOX_HOP), (CoreId(1), 4));

    // A watch goes to the core that has the head, and hears of what came by the other one.
    let watch = client.watch(*acct, *root, base::Jid(0)).expect("a watch begins");
    let head = watch.next_head().expect("the head of now");
    assert!(client.command(*acct, *root, folder("/watched")).expect("the node answers").is_ok());
    assert!(watch.next_head().expect("the head has moved") > head);
    node.stop();
}

#[test]
fn a_thousand_requests_in_flight_to_the_wrong_core_are_all_answered_and_a_stop_ends_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = two_cores(dir.path(), free_ports(8));
    let node = Node::start(config.clone()).expect("the node starts");
    let roots = make_accounts(&connect(&config));
    // Both ways at once: each client sends to the core that has none of what it wants.
    let clients = [0, 1].map(|core| (connect_to(&config, core, false), CoreId(core)));
    let begin = |round: u32| -> Vec<_> {
        let put = |at: usize| {
            let (client, core) = &clients[at % 2];
            let mut others = roots.iter().filter(|(.., owner)| owner != core).cycle().skip(at / 2);
            let (acct, root, _) = others.next().expect("both cores have some");
            let command = folder(&format!("/{round} {at}"));
            client.submit(Operation::Command { acct: *acct, nsid: *root, command })
        };
        (0..2048).map(put).collect()
    };
    for submitted in begin(0) {
        let Ok(Reply::Outcome(outcome)) = submitted.wait() else { panic!("the node answers") };
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    for core in 0..CORES {
        assert!(status(&clients[0].0, &config, core).counters.forwarded >= 1024);
    }
    // In the middle of as many again the node stops: it does not hang, and what was acknowledged is there afterwards.
    let submitted = begin(1);
    node.stop();
    let done: Vec<bool> =
        submitted.iter().map(|one| matches!(one.wait_for(Duration::ZERO), Some(Ok(Reply::Outcome(_))))).collect();
    let node = Node::start(config.clone()).expect("the node starts again");
    let client = connect(&config);
    let found: BTreeSet<String> = roots.iter().flat_map(|(acct, root, _)| listing(&client, *acct, *root)).collect();
    for (at, _) in done.iter().enumerate().filter(|(_, done)| **done) {
        assert!(found.contains(&format!("/1 {at}")), "/1 {at} was acknowledged");
    }
    drop(clients);
    node.stop();
}

fn listing(client: &Client, acct: Acct, root: Nsid) -> Vec<String> {
    let query = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 2000 };
    match client.query(acct, root, query).expect("the node answers") {
        Answer::Page { entries, .. } => entries.into_iter().map(|entry| entry.path_display).collect(),
        other => panic!("no page: {other:?}"),
    }
}

/// A connection to one core that speaks frames and knows nothing of routes.
struct Raw {
    stream: TcpStream,
    reader: FrameReader,
}

impl Raw {
    fn connect(config: &NodeConfig, core: u16) -> Raw {
        let mut stream = TcpStream::connect(("127.0.0.1", config.process.client_port + 1 + core)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        stream.write_all(&ClientHello::new(Acct(0), [1; 16]).encode()).expect("a hello is taken");
        let mut answer = [0; SERVER_HELLO_BYTES];
        stream.read_exact(&mut answer).expect("and answered");
        Raw { stream, reader: FrameReader::new(Link::Client, WIRE_FRAME_BYTES_MAX) }
    }

    /// Sends one frame.
    fn send(&mut self, fill: impl FnOnce(&mut FrameWriter)) {
        let mut writer = FrameWriter::new(FrameClass::Request, WIRE_FRAME_BYTES_MAX);
        fill(&mut writer);
        self.stream.write_all(&writer.take(Vec::new())).expect("a frame is taken");
    }

    /// Status and body of so many replies, by request.
    fn replies(&mut self, count: usize) -> Vec<(u64, ReplyStatus, Vec<u8>)> {
        let mut replies = Vec::new();
        let mut bytes = vec![0; 64 << 10];
        while replies.len() < count {
            while let Some(frame) = self.reader.next_frame().expect("frames are sound") {
                let frame = Frame::parse(frame).expect("frames are sound");
                replies.extend(frame.replies().expect("replies come").map(|reply| {
                    (reply.request_id, reply.reply_status().expect("a known status"), reply.body.to_vec())
                }));
            }
            if replies.len() < count {
                let read = self.stream.read(&mut bytes).expect("the node answers in time");
                assert!(read > 0, "the node closed after {} replies", replies.len());
                self.reader.push(&bytes[..read]);
            }
        }
        replies
    }
}

fn push_query(writer: &mut FrameWriter, id: u64, acct: Acct, nsid: Nsid) {
    let query = Query::ListPage { at: At::path(""), recursive: false, position: Vec::new(), limit: 1 };
    let body = |out: &mut Vec<u8>| {
        put_query_prefix(out, acct, nsid);
        query.encode(out);
    };
    writer.push_request(id, RequestKind::Query as u8, 0, group_of(nsid, FOUR_GROUPS), body).expect("it fits");
}

#[test]
fn beyond_the_bounds_a_forwarded_request_is_answered_overloaded_and_what_makes_no_sense_malformed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = two_cores(dir.path(), free_ports(8));
    let node = Node::start(config.clone()).expect("the node starts");
    let client = connect(&config);
    let roots = make_accounts(&client);
    let (acct, root, _) = *roots.iter().find(|(.., core)| *core == CoreId(1)).expect("one of core 1");
    let mut raw = Raw::connect(&config, 0);
    // One frame is one turn's: nothing comes back before all of it was looked at.
    let most = MAILBOX_REQUESTS_MAX + MAILBOX_WAITING_MAX;
    raw.send(|writer| (0..3000).for_each(|id| push_query(writer, id, acct, root)));
    let replies = raw.replies(3000);
    let ids: BTreeSet<u64> = replies.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids.len(), 3000, "each is answered once");
    let of = |wanted: ReplyStatus| replies.iter().filter(|(_, status, _)| *status == wanted).count();
    assert_eq!((of(ReplyStatus::Ok), of(ReplyStatus::Overloaded)), (most, 3000 - most));
    let counters = status(&client, &config, 0).counters;
    assert_eq!((counters.forwarded, counters.forward_refused), (most as u64, 3000 - most as u64));

    // The connection goes on; what makes no sense is refused by the owner, in its words, and a watch is sent away.
    let group = group_of(root, FOUR_GROUPS);
    raw.send(|writer| {
        writer.push_request(1, RequestKind::Query as u8, 0, group, |out| out.push(1)).expect("it fits");
        writer.push_request(2, RequestKind::Command as u8, 0, group, |_| ()).expect("it fits");
        writer.push_request(3, RequestKind::Command as u8, 0, GroupId(FOUR_GROUPS + 1), |_| ()).expect("it fits");
        let watch = Watch { nsid: root, acct, since: base::Jid(0) };
        writer.push_request(4, RequestKind::Watch as u8, 0, group, |out| watch.encode(out)).expect("it fits");
        push_query(writer, 5, acct, root);
    });
    let mut replies = raw.replies(5);
    replies.sort_by_key(|(id, ..)| *id);
    let statuses: Vec<ReplyStatus> = replies.iter().map(|(_, status, _)| *status).collect();
    use ReplyStatus::{Malformed, Ok, WrongCore};
    assert_eq!(statuses, [Malformed, Malformed, Malformed, WrongCore, Ok]);
    assert_eq!(replies[0].2, b"query body of 1 bytes is malformed");
    assert_eq!(replies[2].2, b"no such group on this core");
    assert_eq!(replies[3].2, 1u16.to_le_bytes());
    node.stop();
}

#[test]
fn answers_to_a_connection_that_was_cut_are_dropped_and_counted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_ports(9);
    let mut config = two_cores(dir.path(), base);
    config.process.admin_port = base + 8;
    let node = Node::start(config.clone()).expect("the node starts");
    let admin = node.admin_address().expect("it has an admin port");
    let client = connect_to(&config, 0, false);
    let roots = make_accounts(&client);
    let (acct, root, _) = *roots.iter().find(|(.., core)| *core == CoreId(1)).expect("one of core 1");
    let began = Instant::now();
    // Whether an answer finds its connection closed is a matter of microseconds: again until one has.
    loop {
        let mut raw = Raw::connect(&config, 0);
        raw.send(|writer| (0..1000).for_each(|id| push_query(writer, id, acct, root)));
        drop(raw);
        std::thread::sleep(Duration::from_millis(20));
        if profile::value(&profile::page(admin, "/metrics"), "dropstone_replies_lost_total") > 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no answer was lost");
    }
    assert!(client.command(acct, root, folder("/after")).expect("the node answers").is_ok());
    let metrics = profile::page(admin, "/metrics");
    assert!(profile::value(&metrics, "dropstone_forwarded_total") >= 1000, "{metrics}");
    node.stop();
}
