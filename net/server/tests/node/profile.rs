//! The latency profile of a node that runs: explanations, the admin port, the slowest requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base::stages::{OpClass, Stage};

use super::*;

/// Status line and body of a page.
fn get(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port listens");
    stream.write_all(request.as_bytes()).expect("a request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer is text and ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

pub(crate) fn page(address: SocketAddr, path: &str) -> String {
    let (status, body) = get(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(status, "HTTP/1.1 200 OK", "{path}: {body}");
    body
}

pub(crate) fn value(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("no {series}"))
}

#[test]
fn a_node_tells_where_the_time_of_its_requests_went() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let base = free_ports(9);
    let mut config = config(dir.path(), 1, 1, base);
    config.process.admin_port = base + 8;
    format(&config, 1);
    let node = Node::start(config.clone()).expect("the node starts");
    let admin = node.admin_address().expect("it has an admin port");
    let boot = page(admin, "/metrics");
    assert_eq!(value(&boot, "dropstone_stage_seconds_count{op=\"put\",stage=\"total\"}"), 0);
    let root = make_account(&connect(&config));

    let options = ClientOptions { explain: true, ..ClientOptions::default() };
    let targets = [config.cluster.nodes[0].client.to_string()];
    let client = Client::connect(&targets, options).expect("the node answers");
    let Ok(Answer::Account(account)) = client.query(Acct(0), Nsid(0), Query::Account(AccountKey::Acct(Acct(1)))) else {
        panic!("the account is there")
    };
    assert_eq!(account.root, root);
    let began = Instant::now();
    let mkdir = Command::Mkdir(Mkdir { at: At::path("/explained"), autorename: false });
    assert!(client.command(Acct(1), account.root, mkdir).expect("the node answers").is_ok());
    let took = began.elapsed().as_nanos() as u64;
    let explained = client.take_explained();
    let classes: Vec<OpClass> = explained.iter().map(|one| one.server.class).collect();
    assert_eq!(classes, [OpClass::Get, OpClass::Put], "the session's own request is not the caller's");
    let put = &explained[1];
    assert_eq!((put.server.node, put.server.closed_by, put.server.commands), (NodeId(1), NodeId(1), 1));
    assert_eq!(put.server.stages.len(), 10);
    let log: u64 = put
        .server
        .stages
        .iter()
        .filter(|t| [Stage::LogWrite, Stage::LogSync].contains(&t.stage))
        .map(|t| u64::from(t.ns))
        .sum();
    assert!(log > 0, "{put:?}");
    assert_eq!(put.server.total_ns() + put.net().0, put.service.0.max(put.server.total_ns()));
    assert!(put.total().0 <= took, "{put:?} in {took} ns");
    assert!(client.take_explained().is_empty(), "told once");

    // A core hands over a second at a time, when it turns.
    let wanted = "dropstone_stage_seconds_count{op=\"put\",stage=\"log_sync\"}";
    let metrics = loop {
        let metrics = page(admin, "/metrics");
        if value(&metrics, wanted) >= 4 {
            break metrics;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the second never came");
        std::thread::sleep(Duration::from_millis(50));
    };
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned()).collect()
    };
    assert_eq!(names(&boot), names(&metrics), "the series are the same from boot on");
    assert!(value(&metrics, "dropstone_raft_commit_closed_by_own_disk_total") >= 4);
    assert!(page(admin, "/debug/stages.json?since=boot").contains("\"at_p99\":{\"requests\":"));
    let sums = page(admin, "/debug/sums.json");
    assert!(sums.contains("\"op\":\"put\",\"requests\":") && sums.contains("\"log_sync\":"), "{sums}");
    let slow = page(admin, "/debug/slow.json");
    assert!(slow.contains("\"op\":\"put\"") && slow.contains("\"log_write\":"), "{slow}");
    assert_eq!(page(admin, "/livez"), "ok\n");
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        assert_eq!(get(admin, request).0, status, "{request}");
    }
    assert_eq!(get(admin, "HEAD /livez HTTP/1.1\r\n\r\n"), ("HTTP/1.1 200 OK".to_owned(), String::new()));
    node.stop();
    assert!(TcpStream::connect(admin).is_err(), "the port is free again");
}
