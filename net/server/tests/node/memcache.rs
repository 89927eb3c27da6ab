//! The memcached port of three nodes with two cores each: what the native client wrote is read from each of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use base::{GroupId, group_of};
use meta::{CommitFile, Delete, Move, PutMode};

use super::*;

const CORES: u16 = 2;
const FOUR_GROUPS: u32 = 4;
/// From a node's client port to its memcached port.
const MEMCACHE_OFFSET: u16 = 7;

pub struct Cluster {
    pub configs: Vec<NodeConfig>,
    pub nodes: Vec<Option<Node>>,
    pub client: Client,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub fn start(count: u64) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = free_ports(24);
        let configs: Vec<NodeConfig> = (1..=count)
            .map(|id| {
                let mut config = config(dir.path(), id, count, base);
                (config.cluster.cores, config.cluster.groups) = (CORES, FOUR_GROUPS);
                // Leaders stay where a test puts them.
                config.process.balance_leaders = false;
                let port = config.process.client_port + MEMCACHE_OFFSET;
                config.process.memcache_listen = Some(([127, 0, 0, 1], port).into());
                let request = FormatRequest {
                    cluster: ClusterId([5; 16]),
                    node: NodeId(id),
                    cores: CORES,
                    groups: FOUR_GROUPS,
                    segment_bytes: SEGMENT_BYTES,
                    joins: false,
                    machine: identity::MachineKind::Files,
                };
                identity::format(&config.process.data_dir, request).expect("the directory is fresh");
                config
            })
            .collect();
        let nodes = configs.iter().map(|config| Some(Node::start(config.clone()).expect("the node starts"))).collect();
        let client = connect(&configs[0]);
        wait_until("every group has a leader", || {
            client.cluster_map().is_ok_and(|map| map.leaders.iter().all(Option::is_some))
        });
        Cluster { configs, nodes, client, _dir: dir }
    }

    /// The port of a node, from 0.
    pub fn port(&self, node: usize) -> u16 {
        self.configs[node].process.memcache_listen.expect("it has one").port()
    }

    /// An account; its root.
    pub fn account(&self, number: u64) -> Nsid {
        let put = Command::AccountPut { name: format!("user {number}") };
        assert!(self.client.command(Acct(0), Nsid(0), put).expect("the cluster answers").is_ok());
        let query = Query::Account(AccountKey::Acct(Acct(number)));
        let Ok(Answer::Account(account)) = self.client.query(Acct(0), Nsid(0), query) else { panic!("it is there") };
        let init = Command::NamespaceInit { owner: Acct(number), kind: NamespaceKind::Root, grant_bytes: 1 << 40 };
        assert!(self.client.command(Acct(0), account.root, init).expect("the cluster answers").is_ok());
        account.root
    }

    fn run(&self, root: Nsid, command: Command) {
        let outcome = self.client.command(Acct(0), root, command).expect("the cluster answers");
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    pub fn folder(&self, root: Nsid, path: &str) {
        self.run(root, Command::Mkdir(Mkdir { at: At::path(path), autorename: false }));
    }

    /// An empty file.
    pub fn file(&self, root: Nsid, path: &str) {
        let mut content_hash = [0; 32];
        let hex = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (byte, digits) in content_hash.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).expect("hex"), 16).expect("hex");
        }
        let put = CommitFile {
            at: At::path(path),
            mode: PutMode::Overwrite,
            autorename: false,
            strict: false,
            label: String::new(),
            size: 0,
            client_mtime_ms: Some(1_431_445_838_000),
            content_hash,
            blocks: Vec::new(),
            attested: None,
        };
        self.run(root, Command::CommitFile(put));
    }

    /// Hands the lead of a namespace's group to a node, from 0, and waits until all know.
    pub fn lead(&self, root: Nsid, node: usize) {
        let group = group_of(root, FOUR_GROUPS);
        let target = NodeId(node as u64 + 1);
        wait_until("the node takes the lead", || {
            let leads = self.leader(group) == Some(target);
            if !leads {
                // Refused while it has not caught up: again.
                let _ = self.client.transfer_leader(group, target);
            }
            leads
        });
    }

    /// Who leads, if all running nodes say the same.
    fn leader(&self, group: GroupId) -> Option<NodeId> {
        let running = self.configs.iter().zip(&self.nodes).filter(|(_, node)| node.is_some());
        let mut said = running.map(|(config, _)| {
            let core = config.process.client_port + 1 + group.0 as u16 % CORES;
            let status = self.client.status_of(&format!("127.0.0.1:{core}")).ok()?;
            status.groups.iter().find(|status| status.group == group)?.leader
        });
        let first = said.next()??;
        said.all(|other| other == Some(first)).then_some(first)
    }

    pub fn stop(mut self) {
        drop(self.client);
        self.nodes.iter_mut().filter_map(Option::take).for_each(Node::stop);
    }
}

/// A connection that speaks memcached's text.
pub struct Text {
    pub stream: TcpStream,
    kept: Vec<u8>,
}

impl Text {
    pub fn connect(port: u16) -> Text {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Text { stream, kept: Vec::new() }
    }

    /// One whose connection a certain core has.
    fn connect_to(port: u16, core: u16) -> Text {
        for _ in 0..200 {
            let mut text = Text::connect(port);
            if text.core() == core {
                return text;
            }
        }
        panic!("the system never chose core {core}");
    }

    /// The core that has the connection: it alone is listed there if it is the last one made.
    fn core(&mut self) -> u16 {
        let stats = self.until("stats conns\r\n", "END\r\n");
        let line = stats.lines().rev().find(|line| line.contains(":core ")).expect("it lists this one");
        line.rsplit(' ').next().expect("a number").parse().expect("a number")
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("bytes are taken");
    }

    /// Reads up to and with this end.
    pub fn read_until(&mut self, end: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.kept.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.kept.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.kept, rest)).expect("replies are text");
            }
            let read = self.stream.read(&mut bytes).expect("it answers in time");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.kept));
            self.kept.extend_from_slice(&bytes[..read]);
        }
    }

    /// Sends, and reads up to this end.
    fn until(&mut self, text: &str, end: &str) -> String {
        self.send(text);
        self.read_until(end)
    }

    /// Sends, and reads all that comes before the answer to an `mn` behind it.
    pub fn ask(&mut self, text: &str) -> String {
        let told = self.until(&format!("{text}mn\r\n"), "MN\r\n");
        told.strip_suffix("MN\r\n").expect("it ends so").to_owned()
    }

    /// All until the other side closes.
    pub fn rest(mut self) -> String {
        self.stream.read_to_end(&mut self.kept).expect("it closes in time");
        String::from_utf8(self.kept).expect("replies are text")
    }
}

/// Waits until a key is answered with something else than an error: a leader that is new has to commit first.
fn settle(text: &mut Text, key: &str) {
    wait_until("the key is served", || !text.ask(&format!("get {key}\r\n")).starts_with("SERVER_ERROR"));
}

/// Asks again and again. Tries are counted and not time, of which a busy machine may take any.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// The value and the version of a `gets` of one key.
fn value(told: &str) -> (serde_json::Value, u32, u64) {
    let (head, rest) = told.split_once("\r\n").unwrap_or_else(|| panic!("no line: {told:?}"));
    let words: Vec<&str> = head.split(' ').collect();
    let [_, _, flags, bytes, cas] = words[..] else { panic!("no VALUE: {told:?}") };
    let bytes: usize = bytes.parse().expect("a number");
    assert_eq!(&rest[bytes..], "\r\nEND\r\n");
    let json = serde_json::from_str(&rest[..bytes]).expect("JSON");
    (json, flags.parse().expect("a number"), cas.parse().expect("a number"))
}

#[test]
fn every_core_of_the_leader_tells_what_was_written_and_every_other_node_where_to_ask() {
    let cluster = Cluster::start(3);
    let roots: Vec<Nsid> = (1..=6).map(|number| cluster.account(number)).collect();
    for root in &roots {
        cluster.folder(*root, "/Photos");
        cluster.file(*root, "/Photos/a b.JPG");
    }
    for (at, root) in roots.iter().enumerate() {
        let leader = at % 3;
        cluster.lead(*root, leader);
        let key = format!("{root}/photos/A%20b.jpg");
        for core in 0..CORES {
            let mut text = Text::connect_to(cluster.port(leader), core);
            settle(&mut text, &key);
            let (json, flags, cas) = value(&text.ask(&format!("gets {key}\r\n")));
            assert_eq!((flags, &json[".tag"], &json["name"]), (1, &"file".into(), &"a b.JPG".into()));
            assert_eq!(
                (&json["path_lower"], &json["path_display"]),
                (&"/photos/a b.jpg".into(), &"/Photos/a b.JPG".into())
            );
            assert_eq!((&json["client_modified"], &json["size"]), (&"2015-05-12T15:50:38Z".into(), &0.into()));
            let (folder, flags, _) = value(&text.ask(&format!("gets {root}/PHOTOS\r\n")));
            assert_eq!((flags, &folder[".tag"], &folder["name"]), (2, &"folder".into(), &"Photos".into()));
            let (own, flags, _) = value(&text.ask(&format!("gets {root}/\r\n")));
            assert_eq!((flags, &own["path_display"]), (2, &"".into()));
            // The same by the meta protocol, plain and in base64; and what is not there.
            let got = text.ask(&format!("mg {key} k f c s t Oq1\r\n"));
            let size = json.to_string().len();
            assert_eq!(got, format!("HD k{key} f1 c{cas} s{size} t-1 Oq1\r\n"));
            assert_eq!(text.ask(&format!("mg {key} v C{cas}\r\n")), "HD\r\n");
            let with_value = text.ask(&format!("mg {key} v C{}\r\n", cas + 1));
            assert!(with_value.starts_with(&format!("VA {size}\r\n{{\".tag\":\"file\"")), "{with_value}");
            assert_eq!(text.ask(&format!("me {key}\r\n")).split(' ').next(), Some("ME"));
            let absent = format!("get {root}/none\r\nmg {root}/photos/a%20b.jpg/x v k\r\nmg {key}x q\r\nme {key}x\r\n");
            let told = text.ask(&absent);
            assert_eq!(told, format!("END\r\nEN k{root}/photos/a%20b.jpg/x\r\nEN\r\n"));
        }
        for other in (0..3).filter(|other| *other != leader) {
            let told =
                Text::connect(cluster.port(other)).ask(&format!("get {root}/ {root}/photos\r\nmg {key} q v\r\n"));
            let line = format!("SERVER_ERROR not leader 127.0.0.1:{}\r\n", cluster.port(leader));
            assert_eq!(told, line.repeat(2), "errors show, however quiet it is asked to be");
        }
    }
    cluster.stop();
}

/// A cluster of one node with an account whose group is core 1's and one whose group is core 0's.
fn one_node() -> (Cluster, [Nsid; 2]) {
    let cluster = Cluster::start(1);
    let mut roots = [None; 2];
    for number in 1.. {
        let root = cluster.account(number);
        roots[group_of(root, FOUR_GROUPS).0 as usize % 2].get_or_insert(root);
        if let [Some(even), Some(odd)] = roots {
            return (cluster, [even, odd]);
        }
    }
    unreachable!("some account is of each core")
}

#[test]
fn a_change_is_seen_as_soon_as_it_is_acknowledged_and_versions_never_run_back() {
    let (cluster, roots) = one_node();
    let mut texts = [0, 1].map(|core| Text::connect_to(cluster.port(0), core));
    for root in roots {
        let mut newest = 0;
        for round in 0..10 {
            cluster.file(root, "/a/b/c");
            for text in &mut texts {
                let (json, _, cas) = value(&text.ask(&format!("gets {root}/a/b/c\r\n")));
                assert_eq!(json["path_display"], "/a/b/c");
                assert!(cas >= newest, "{cas} after {newest}");
                newest = cas;
            }
            // A folder above it moves: the path is another, and so is the version of what is there.
            let target = format!("/moved {round}");
            cluster.run(
                root,
                Command::Move(Move { source: At::path("/a"), target: At::path(&target), autorename: false }),
            );
            for text in &mut texts {
                assert_eq!(text.ask(&format!("get {root}/a/b/c\r\n")), "END\r\n");
                let (json, _, cas) = value(&text.ask(&format!("gets {root}/moved%20{round}/b/c\r\n")));
                assert_eq!(json["path_lower"], format!("{target}/b/c"));
                assert!(cas >= newest, "{cas} after {newest}");
                newest = cas;
            }
            cluster.run(root, Command::Delete(Delete { at: At::path(&target), parent_rev: None }));
            for text in &mut texts {
                assert_eq!(text.ask(&format!("mg {root}/moved%20{round}/b/c v\r\n")), "EN\r\n");
            }
        }
    }
    cluster.stop();
}

/// A number of `stats`, of all cores of the node.
fn stat(text: &mut Text, name: &str) -> u64 {
    let stats = text.until("stats\r\n", "END\r\n");
    let found = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    found.unwrap_or_else(|| panic!("no {name}: {stats}")).parse().expect("a number")
}

#[test]
fn what_was_read_once_is_answered_from_the_cache_on_every_core_until_it_changes() {
    let (cluster, roots) = one_node();
    let mut texts = [0, 1].map(|core| Text::connect_to(cluster.port(0), core));
    for root in roots {
        cluster.file(root, "/A/b");
        let line = format!("get {root}/a/b {root}/none\r\n");
        let told = texts[0].ask(&line);
        assert!(told.contains("\"path_display\":\"/A/b\"") && told.ends_with("}\r\nEND\r\n"), "{told}");
        for text in &mut texts {
            // A lease may be late on a busy machine: then the owner answers, the same.
            wait_until("twenty keys in a row are answered here", || {
                let before = stat(text, "cache_hits");
                (0..10).for_each(|_| assert_eq!(text.ask(&line), told));
                stat(text, "cache_hits") >= before + 20
            });
            let pipelined = line.repeat(40);
            assert_eq!(text.ask(&pipelined), told.repeat(40));
            assert!(text.ask(&format!("mg {root}/a/b h k\r\n")).starts_with("HD h1 k"), "it was used before");
        }
        let (_, _, before) = value(&texts[0].ask(&format!("gets {root}/a/b\r\n")));
        cluster.run(root, Command::Delete(Delete { at: At::path("/a/b"), parent_rev: None }));
        texts.iter_mut().for_each(|text| assert_eq!(text.ask(&line), "END\r\n"));
        cluster.file(root, "/a/B");
        for text in &mut texts {
            let (_, _, cas) = value(&text.ask(&format!("gets {root}/a/b\r\n")));
            assert!(cas > before, "{cas} after {before}");
        }
        cluster.file(root, "/none");
        texts.iter_mut().for_each(|text| assert!(text.ask(&line).contains("/none\"")));
    }
    assert!(stat(&mut texts[0], "curr_items") >= 2 && stat(&mut texts[0], "bytes") > 200);
    assert_eq!((stat(&mut texts[0], "limit_maxbytes"), stat(&mut texts[0], "evictions")), (64 << 20, 0));
    cluster.stop();
}

#[test]
fn a_node_without_a_cache_answers_all_the_same() {
    let mut cluster = Cluster::start(1);
    let root = cluster.account(1);
    cluster.file(root, "/a");
    let mut config = cluster.configs[0].clone();
    config.process.cache_bytes = 0;
    cluster.nodes[0].take().expect("it runs").stop();
    cluster.nodes[0] = Some(Node::start(config).expect("the node starts"));
    let mut text = Text::connect(cluster.port(0));
    settle(&mut text, &format!("{root}/a"));
    for _ in 0..3 {
        assert!(text.ask(&format!("get {root}/a\r\n")).starts_with("VALUE "));
    }
    assert_eq!(["limit_maxbytes", "cache_hits", "curr_items"].map(|name| stat(&mut text, name)), [0; 3]);
    cluster.stop();
}

#[test]
fn replies_come_in_the_order_of_the_requests_however_their_bytes_are_split() {
    let (cluster, [even, odd]) = one_node();
    for root in [even, odd] {
        (0..20).for_each(|at| cluster.folder(root, &format!("/{at:02}")));
    }
    // Keys of both cores, of nothing, and replies that are known at once, all in one stream.
    let mut text = Text::connect_to(cluster.port(0), 0);
    let mut asked = String::new();
    for at in 0..20 {
        asked += &format!("get {odd}/{at:02} {even}/none {even}/{at:02}\r\nversion\r\nmg {odd}/{at:02} s k O{at}\r\n");
        asked += &format!("foo\r\nset x 0 0 4\r\nget \r\nme {even}/none\r\nmg {odd}/none q\r\nverbosity 1\r\n");
    }
    let whole = text.ask(&asked);
    let mut at = 0;
    let mut lines = whole.lines().filter(|line| !line.starts_with('{'));
    while let Some(line) = lines.next() {
        assert_eq!(line, format!("VALUE {odd}/{at:02} 2 {}", line.rsplit(' ').next().unwrap()));
        let rest: Vec<&str> = lines.by_ref().take(8).collect();
        assert!(rest[0].starts_with(&format!("VALUE {even}/{at:02} 2 ")), "{rest:?}");
        assert_eq!((rest[1], &rest[2][..8]), ("END", "VERSION "));
        assert!(rest[3].starts_with("HD s") && rest[3].ends_with(&format!(" k{odd}/{at:02} O{at}")), "{rest:?}");
        assert_eq!(rest[4..], ["ERROR", "SERVER_ERROR read only", "EN", "OK"]);
        at += 1;
    }
    assert_eq!(at, 20);
    for core in 0..CORES {
        let mut text = Text::connect_to(cluster.port(0), core);
        for piece in [1, 2, 3, 7, 1000] {
            let (mut writer, sent) = (text.stream.try_clone().expect("a clone"), asked.clone() + "mn\r\n");
            let sending = std::thread::spawn(move || {
                sent.as_bytes().chunks(piece).for_each(|part| writer.write_all(part).expect("bytes are taken"));
            });
            assert_eq!(text.read_until("MN\r\n").strip_suffix("MN\r\n"), Some(&whole[..]), "pieces of {piece}");
            sending.join().expect("it sends");
        }
    }
    cluster.stop();
}

#[test]
fn a_client_that_asks_without_reading_is_held_and_not_forgotten() {
    let (cluster, [even, odd]) = one_node();
    cluster.folder(even, "/a");
    cluster.folder(odd, "/a");
    // Far more than may be in flight: what is beyond the bounds waits unread, and all of it is answered in order.
    let count = 20_000;
    let asked: String =
        (0..count).map(|at| format!("mg {}/a s O{at}\r\n", if at % 3 == 0 { odd } else { even })).collect();
    let mut text = Text::connect(cluster.port(0));
    let mut writer = text.stream.try_clone().expect("a clone");
    let sending = std::thread::spawn(move || writer.write_all((asked + "mn\r\n").as_bytes()).expect("bytes are taken"));
    let told = text.read_until("MN\r\n");
    sending.join().expect("it sends");
    for (at, line) in told.lines().take(count).enumerate() {
        assert!(line.starts_with("HD s") && line.ends_with(&format!(" O{at}")), "{at}: {line}");
    }
    assert_eq!(told.lines().count(), count + 1);
    // A line of get as long as may be: more keys than are looked up at a time.
    let key = format!("{odd}/a ");
    let keys = (wire::memcache::GET_LINE_BYTES_MAX - 4) / key.len();
    let told = text.ask(&format!("get {}\r\n", key.repeat(keys)));
    assert_eq!(told.matches("VALUE ").count(), keys);
    assert!(told.ends_with("}\r\nEND\r\n"));
    // Twenty of them at once, with few answers: more bytes of keys than are held for one connection.
    let absent = format!("{odd}/none ").repeat((wire::memcache::GET_LINE_BYTES_MAX - 4) / 17);
    let asked = format!("get {absent}{odd}/a\r\n").repeat(20);
    let mut writer = text.stream.try_clone().expect("a clone");
    let sending = std::thread::spawn(move || writer.write_all((asked + "mn\r\n").as_bytes()).expect("bytes are taken"));
    let told = text.read_until("MN\r\n");
    sending.join().expect("it sends");
    assert_eq!((told.matches("VALUE ").count(), told.matches("\r\nEND\r\n").count()), (20, 20));
    cluster.stop();
}

#[test]
fn what_is_wrong_or_not_served_is_told_and_what_cannot_be_spoken_to_is_closed() {
    let (cluster, [even, odd]) = one_node();
    cluster.folder(even, "/a");
    let port = cluster.port(0);
    let mut text = Text::connect(port);
    let lines = [
        (format!("get {even}/a {odd}/(x)\r\n"), "CLIENT_ERROR bad key\r\n"),
        (format!("get {even}/a {even}/b/\r\n"), "CLIENT_ERROR bad key\r\n"),
        (format!("get {even}/{}\r\n", "k".repeat(250)), "CLIENT_ERROR bad command line format\r\n"),
        (format!("mg {even}/a T30 v\r\n"), "SERVER_ERROR read only\r\n"),
        (format!("set {even}/a 0 0 5\r\nhello\r\n"), "SERVER_ERROR read only\r\n"),
        (format!("set {even}/a 0 0 5 noreply\r\nhello\r\n"), ""),
        ("flush_all\r\n".to_owned(), "OK\r\n"),
        ("stats reset\r\n".to_owned(), "RESET\r\n"),
        ("stats items\r\n".to_owned(), "END\r\n"),
        ("get\r\n".to_owned(), "ERROR\r\n"),
        // A namespace that nobody has, and one that is no account's: nothing is there.
        ("get 99999999999/x 0/x\r\n".to_owned(), "END\r\n"),
    ];
    for (asked, wanted) in lines {
        assert_eq!(text.ask(&asked), wanted, "{asked}");
    }
    text.ask(&format!("get {even}/a {even}/b\r\nmg {odd}/c\r\n"));
    let stats = text.until("stats\r\n", "END\r\n");
    let stat = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {stats}")).to_owned()
    };
    assert_eq!((stat("cmd_get"), stat("get_hits"), stat("get_misses")), ("5".into(), "1".into(), "4".into()));
    assert_eq!((stat("pid"), stat("threads")), (std::process::id().to_string(), CORES.to_string()));
    assert!(stat("time").parse::<u64>().expect("a number") > 1_700_000_000);
    assert_eq!(stat("curr_connections"), "1");
    assert!(text.until("stats settings\r\n", "END\r\n").contains(&format!("STAT tcpport {port}\r\n")));

    let closed = |bytes: &[u8]| {
        let mut text = Text::connect(port);
        text.stream.write_all(bytes).expect("bytes are taken");
        text.rest()
    };
    let key = format!("{even}/none");
    assert_eq!(closed(format!("get {key}\r\nquit\r\nget {key}\r\n").as_bytes()), "END\r\n", "quit ends it");
    assert_eq!(closed(&[0x80, 0, 0, 0]), "");
    assert_eq!(closed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
    assert_eq!(closed(&[b'x'; 3000]), "");
    cluster.stop();
}

#[test]
fn what_cannot_be_confirmed_is_an_error_and_never_a_miss() {
    let mut cluster = Cluster::start(3);
    let (root, other) = (cluster.account(1), (2..20).map(|number| cluster.account(number)));
    let group = group_of(root, FOUR_GROUPS);
    let other = { other }.find(|other| group_of(*other, FOUR_GROUPS) != group).expect("one is of another group");
    cluster.folder(root, "/a");
    cluster.folder(other, "/a");
    cluster.lead(root, 0);
    cluster.lead(other, 1);
    // One key of another leader: the whole command is refused, with no value.
    let mut text = Text::connect(cluster.port(0));
    settle(&mut text, &format!("{root}/a"));
    let line = format!("SERVER_ERROR not leader 127.0.0.1:{}\r\n", cluster.port(1));
    assert_eq!(text.ask(&format!("get {root}/a {other}/a {root}/a\r\n")), line);
    // The lead moves, and each reply is right for its time: a value, or an error.
    cluster.lead(root, 2);
    let mut there = Text::connect(cluster.port(2));
    settle(&mut there, &format!("{root}/a"));
    let line = format!("SERVER_ERROR not leader 127.0.0.1:{}\r\n", cluster.port(2));
    assert_eq!(text.ask(&format!("get {root}/a\r\n")), line);

    // Two of three stop: within seconds nothing is served, and nothing that is there is said to be absent.
    drop(text);
    for node in [0, 1] {
        cluster.nodes[node].take().expect("it runs").stop();
    }
    let mut refused = 0;
    wait_until("a node alone refuses", || {
        let told = there.ask(&format!("mg {root}/a s\r\nget {root}/a\r\n"));
        let is_value = |line: &str| line.starts_with("HD ") || line.starts_with("VALUE ");
        let is_error = |line: &str| ["SERVER_ERROR no quorum", "SERVER_ERROR no leader"].contains(&line);
        let first = told.lines().next().expect("a line");
        assert!(is_value(first) || is_error(first) || first.starts_with("SERVER_ERROR not leader"), "{told}");
        assert!(!told.starts_with("EN") && !told.contains("\r\nEND\r\nEND"), "{told}");
        refused += u32::from(is_error(first));
        refused == 3
    });
    // And it stops with its connections open.
    cluster.stop();
    assert!(there.rest().is_empty());
}
