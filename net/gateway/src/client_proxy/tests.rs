//! A proxy between plain sockets: what it joins, what it refuses, when it lets go.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

/// A server that says its name, then gives back what it gets until the other side ends.
fn echo(name: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let mut back = stream.try_clone().expect("a second handle");
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn proxy_to(servers: Servers, passes_others: bool, limits: Limits) -> ClientProxy {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ClientProxy::start_within(ProxyConfig { listen, servers, passes_others }, limits).expect("a proxy")
}

fn send(proxy: &ClientProxy, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream.write_all(bytes).expect("sent");
    stream
}

/// All that comes back when a CONNECT is followed by `body` and the end.
fn through(proxy: &ClientProxy, authority: &str, body: &str) -> String {
    let stream = &mut send(proxy, format!("CONNECT {authority} HTTP/1.1\r\nHost: x\r\n\r\n{body}").as_bytes());
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer and an end");
    text
}

const JOINED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[test]
fn each_hosted_name_leads_to_its_server_and_streams_go_both_ways() {
    let servers = Servers { api: vec![echo("api")], content: vec![echo("content")], notify: vec![echo("notify")] };
    let proxy = proxy_to(servers, false, Limits::default());
    for (host, name) in HOSTED_NAMES.iter().zip(["api", "content", "notify", "api"]) {
        // What is sent with the head goes on too.
        assert_eq!(through(&proxy, &format!("{host}:443"), "hello"), format!("{JOINED}{name}hello"));
    }
    let large = "x".repeat(3 << 20);
    let text = through(&proxy, "API.dropboxapi.com:443", &large);
    assert_eq!(text.len(), JOINED.len() + "api".len() + large.len());
}

#[test]
fn other_hosts_ports_and_methods_are_refused() {
    let proxy = proxy_to(Servers::one(&echo("all")), false, Limits::default());
    let answer = through(&proxy, "example.com:443", "");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("--pass-others"), "{answer}");
    assert!(through(&proxy, "api.dropboxapi.com:80", "").starts_with("HTTP/1.1 403 "));
    assert!(through(&proxy, "api.dropboxapi.com", "").starts_with("HTTP/1.1 400 "));
    let mut text = String::new();
    send(&proxy, b"GET http://api.dropboxapi.com/ HTTP/1.1\r\n\r\n").read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("Allow: CONNECT"), "{text}");
    let endless = format!("CONNECT a:1 HTTP/1.1\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
    text.clear();
    send(&proxy, endless.as_bytes()).read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[test]
fn other_hosts_are_dialled_when_that_was_asked_for() {
    let other = echo("other");
    let proxy = proxy_to(Servers::one(&echo("ours")), true, Limits::default());
    assert_eq!(through(&proxy, &other, "!"), format!("{JOINED}other!"));
    assert_eq!(through(&proxy, "www.dropbox.com:443", "!"), format!("{JOINED}ours!"));
}

fn nobody() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").to_string()
}

#[test]
fn several_servers_take_turns_and_one_that_is_gone_is_passed_over() {
    let servers = Servers { api: vec![echo("one"), echo("two"), nobody()], ..Servers::one("localhost:1") };
    let proxy = proxy_to(servers, false, Limits::default());
    let names: Vec<String> =
        (0..6).map(|_| through(&proxy, "api.dropboxapi.com:443", "").split_off(JOINED.len())).collect();
    assert_eq!(names, ["one", "two", "one", "one", "two", "one"]);
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_address() {
    let gone = nobody();
    let proxy = proxy_to(Servers::one(&gone), false, Limits::default());
    let answer = through(&proxy, "api.dropboxapi.com:443", "");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(&gone), "{answer}");
}

#[test]
fn a_connection_beyond_the_bound_is_told_and_an_idle_one_gives_its_place_back() {
    let limits = Limits { connections: 1, idle: Duration::from_millis(300) };
    let proxy = proxy_to(Servers::one(&echo("all")), false, limits);
    let mut first = send(&proxy, b"CONNECT api.dropboxapi.com:443 HTTP/1.1\r\n\r\n");
    let mut joined = vec![0; JOINED.len() + 3];
    first.read_exact(&mut joined).expect("joined");
    let mut second = TcpStream::connect(proxy.address()).expect("the proxy listens");
    let mut text = String::new();
    second.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    // The first one says nothing more, and is let go.
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).expect("an end");
    assert!(rest.is_empty());
    let answers = std::iter::repeat_with(|| through(&proxy, "api.dropboxapi.com:443", "?"));
    let joined = answers.take(100).find(|answer| !answer.starts_with("HTTP/1.1 503 "));
    assert_eq!(joined, Some(format!("{JOINED}all?")));
}

#[test]
fn it_listens_on_loopback_alone() {
    let listen = "0.0.0.0:0".parse().expect("an address");
    let config = ProxyConfig { listen, servers: Servers::one("localhost:1"), passes_others: false };
    let error = ClientProxy::start(config.clone()).expect_err("refused");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let first = ClientProxy::start(ProxyConfig { listen, ..config.clone() }).expect("a proxy");
    let error = ClientProxy::start(ProxyConfig { listen: first.address(), ..config }).expect_err("refused");
    assert!(error.to_string().contains("--listen"), "{error}");
}
