//! The drivers over real sockets on the loopback, against the scripted cluster.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base::mono::Span;
use base::{Acct, CoreId, Jid, Nsid};
use client::{Client, ClientError, ClientOptions, ClusterMap, ConnectError, Operation};
use common::*;
use meta::{Answer, Outcome, Query};

struct State {
    cluster: Cluster,
    map: ClusterMap,
    links: Vec<(TcpStream, Served)>,
}

/// A one-core node on a port of the system's choice; it serves until the process ends.
#[derive(Clone)]
struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Core 0 listens on the shared port + 1, so this port is also core 0's of the node in the map.
        let map = cluster_map(1, GROUPS, &[(1, format!("127.0.0.1:{}", port - 1))]);
        let state = Arc::new(Mutex::new(State { cluster: Cluster::default(), map, links: Vec::new() }));
        let server = Server { port, state };
        let accepting = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                accepting.serve(stream.unwrap());
            }
        });
        server
    }

    fn serve(&self, mut stream: TcpStream) {
        let index = {
            let mut state = self.state.lock().unwrap();
            state.links.push((stream.try_clone().unwrap(), Served::new(1, CoreId(0))));
            state.links.len() - 1
        };
        let server = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                let mut state = server.state.lock().unwrap();
                let State { cluster, map, links } = &mut *state;
                let answer = links[index].1.serve(cluster, map, &buffer[..bytes]);
                let written = stream.write_all(&answer.bytes);
                if answer.is_closed || written.is_err() {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        change(&mut self.state.lock().unwrap().cluster)
    }

    /// The head moves, and watches hear of it.
    fn advance(&self) {
        let mut state = self.state.lock().unwrap();
        let State { cluster, links, .. } = &mut *state;
        cluster.head += 1;
        for (stream, served) in links {
            let bytes = served.poke(cluster);
            let _ = stream.write_all(&bytes);
        }
    }

    fn targets(&self) -> Vec<String> {
        vec![format!("127.0.0.1:{}", self.port)]
    }

    fn connect(&self) -> Client {
        Client::connect(&self.targets(), ClientOptions::default()).unwrap()
    }
}

#[test]
fn many_threads_share_a_client_and_each_gets_its_own_answers_over_lost_connections() {
    let server = Server::start();
    let client = server.connect();
    let (threads, each) = (8, 100);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (client, server) = (client.clone(), server.clone());
            scope.spawn(move || {
                for i in 0..each {
                    if thread == 0 && i % 10 == 5 {
                        let steps = [Step::LoseReply, Step::Serve, Step::LoseRequest, Step::Unavailable(true)];
                        server.with(|cluster| cluster.script.extend(steps));
                    }
                    let name = format!("t{thread}-{i}");
                    let outcome = client.command(Acct(7), Nsid(HOME.0 + i % 4), mkdir(&name)).unwrap();
                    let Outcome::Exists { id } = outcome else { panic!("{outcome:?}") };
                    let executed = server.with(|cluster| cluster.executed[id as usize - 1].clone());
                    assert_eq!(executed, format!("/{name}"));
                }
            });
        }
    });
    let executed = server.with(|cluster| cluster.executed.clone());
    assert_eq!(executed.len(), threads * each as usize);
    assert_eq!(executed.iter().collect::<BTreeSet<_>>().len(), executed.len());
}

#[test]
fn queries_maps_and_status_are_answered() {
    let server = Server::start();
    let client = server.connect();
    assert_eq!(client.query(Acct(7), HOME, Query::Head), Ok(Answer::Head(Jid(5))));
    assert_eq!(client.cluster_map().unwrap().cores, 1);
    let status = client.status().unwrap();
    assert_eq!((status.len(), status[0].cores.as_ref().unwrap().len()), (1, 1));
    assert!(matches!(client.status_of("127.0.0.1:1"), Err(ClientError::Unreachable { .. })));
}

#[test]
fn operations_left_for_later_travel_together() {
    let server = Server::start();
    let client = server.connect();
    let left: Vec<_> = (0..300)
        .map(|i| client.submit(Operation::Command { acct: Acct(7), nsid: HOME, command: mkdir(&format!("d{i}")) }))
        .collect();
    left.into_iter().for_each(|submitted| drop(submitted.wait().unwrap()));
    assert_eq!(server.with(|cluster| cluster.executed.len()), 300);
}

#[test]
fn a_watch_is_woken_by_each_advance() {
    let server = Server::start();
    let client = server.connect();
    let watch = client.watch(Acct(7), HOME, Jid(4)).unwrap();
    assert_eq!(watch.next_head(), Ok(Jid(5)));
    for head in 6..20 {
        server.advance();
        assert_eq!(watch.next_head(), Ok(Jid(head)));
    }
}

#[test]
fn a_watch_goes_on_after_its_connection_was_lost() {
    let server = Server::start();
    let client = server.connect();
    let watch = client.watch(Acct(7), HOME, Jid(4)).unwrap();
    assert_eq!(watch.next_head(), Ok(Jid(5)));
    for (stream, _) in &server.state.lock().unwrap().links {
        let _ = stream.shutdown(Shutdown::Both);
    }
    server.with(|cluster| cluster.head = 9);
    assert_eq!(watch.next_head(), Ok(Jid(9)));
}

#[test]
fn a_client_that_goes_ends_what_it_left() {
    let server = Server::start();
    let client = server.connect();
    client.command(Acct(7), HOME, mkdir("first")).unwrap();
    server.with(|cluster| cluster.script.push_back(Step::Silence));
    let left = client.submit(Operation::Query { acct: Acct(7), nsid: HOME, query: Query::Head });
    drop(client);
    assert_eq!(left.wait().unwrap_err(), ClientError::Closed);
}

#[test]
fn bad_targets_are_named() {
    let connect = |targets: &[&str]| {
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        let options = ClientOptions { connect_deadline: Span::from_ms(100), ..ClientOptions::default() };
        Client::connect(&targets, options).err().expect("no client comes of this")
    };
    assert!(matches!(connect(&[]), ConnectError::NoTarget));
    for bad in ["localhost", "localhost:", "localhost:http", ":7100", "h:0", "h:99999", "::1:7100"] {
        assert!(matches!(connect(&[bad]), ConnectError::BadTarget { target } if target == bad), "{bad}");
    }
    // Port 1 of the loopback refuses.
    let text = connect(&["127.0.0.1:1"]).to_string();
    assert!(text.starts_with("could not reach the cluster: no answer within 100 ms; tried 127.0.0.1:1 ("), "{text}");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn the_tokio_driver_awaits_many_answers_at_once() {
    let server = Server::start();
    let client = client::AsyncClient::connect(&server.targets(), ClientOptions::default()).await.unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move { client.command(Acct(7), HOME, mkdir(&format!("d{i}"))).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Ok(Outcome::Exists { .. })));
    }
    assert_eq!(client.query(Acct(7), HOME, Query::Head).await, Ok(Answer::Head(Jid(5))));
    assert_eq!(server.with(|cluster| cluster.executed.len()), 50);
}
