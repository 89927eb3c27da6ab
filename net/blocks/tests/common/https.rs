//! A content host over HTTPS, and a client that says exactly what a test wants.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blocks::content::{Caller, Content};
use blocks::http;
use serde_json::Value;
use stone::token::AccessToken;
use stone::{DevCa, Host, Keys, Secret, Stone, listen, scope, unknown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use super::{OWNER, World};

/// What is on no other host.
const ELSEWHERE: &[(&str, Host)] = &[("files/get_metadata", Host::Api)];

pub struct Server {
    pub stone: Arc<Stone>,
    pub content: Content,
    address: SocketAddr,
    connector: TlsConnector,
    task: tokio::task::JoinHandle<()>,
    _ca: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(world: &World) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let ca = DevCa::open(directory.path()).unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap(), Some(ca.tls(&[]).unwrap())).unwrap();
        let address = listener.address();
        let keys = Keys::new(&Secret::from_bytes([7; 32]));
        let www = format!("https://localhost:{}", address.port());
        let stone = Arc::new(Stone::new(Arc::new(world.machine.clone()), keys, true, www));
        stone.auth.refresh().await.unwrap();
        let content = http::content_of(&stone, world.store.clone());
        let router = http::router(&stone, &content)
            .merge(http::api_router(&stone, content.sessions()))
            .fallback_service(unknown(ELSEWHERE));
        let task = tokio::spawn(async move { listener.serve(router).await.unwrap() });
        let connector = connector(&ca.certificate());
        Server { stone, content, address, connector, task, _ca: directory }
    }

    /// One that runs by itself, with the same secret; it shows this certificate.
    pub async fn attach(world: &World, address: SocketAddr, certificate: &Path) -> Server {
        let mut server = Server::start(world).await;
        (server.address, server.connector) = (address, connector(certificate));
        server
    }

    pub fn token(&self, caller: Caller, scopes: u64) -> String {
        let token =
            AccessToken { serial: 1, acct: caller.acct, root: caller.home, token_gen: 0, expires_s: 0, scopes, app: 1 };
        token.text(&self.stone.keys)
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// A call by the owner; `arg` goes where the style of the route has it.
    pub fn call<'a>(&'a self, route: &'a str, arg: &str) -> Call<'a> {
        let token = self.token(OWNER, scope::ALL);
        let headers = vec![("Authorization".to_owned(), format!("Bearer {token}").into_bytes())];
        Call { server: self, method: "POST", path: format!("/2/{route}"), headers, arg: arg.to_owned(), body: vec![] }
    }
}

/// Trusts this certificate alone.
fn connector(certificate: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

pub struct Call<'a> {
    server: &'a Server,
    method: &'static str,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    arg: String,
    body: Vec<u8>,
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// As GET, with everything in the URL.
    pub fn get(mut self, query: &str) -> Self {
        (self.method, self.path) = ("GET", format!("{}?{query}", self.path));
        self.headers.clear();
        self.arg.clear();
        self
    }

    pub fn anonymous(mut self) -> Self {
        self.headers.clear();
        self
    }

    /// The head of the request.
    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        if !self.arg.is_empty() {
            head.extend_from_slice(format!("Dropbox-API-Arg: {}\r\n", self.arg).as_bytes());
        }
        head
    }

    /// With the argument in a header and this content.
    pub async fn send(mut self, body: &[u8]) -> Answer {
        self.body = body.to_vec();
        let mut bytes = self.head();
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        self.exchange(&bytes).await
    }

    /// In chunks, without a length.
    pub async fn send_chunked(self, body: &[u8], chunk: usize) -> Answer {
        let mut bytes = self.head();
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(chunk) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        self.exchange(&bytes).await
    }

    /// As an rpc route has it: the argument is the body.
    pub async fn send_rpc(self) -> Answer {
        let mut bytes = Call { arg: String::new(), ..self }.head();
        let body = self.arg.as_bytes();
        bytes.extend_from_slice(b"Content-Type: application/json\r\n");
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        exchange(self.server, &bytes).await
    }

    /// Part of a body whose whole length was told, and then no more.
    pub async fn send_cut_off(self, told: usize, body: &[u8]) {
        let mut bytes = self.head();
        bytes.extend_from_slice(format!("Content-Length: {told}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(body);
        let mut stream = self.server.connect().await;
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        // Whatever it says, it has seen the end by then.
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
    }

    /// Waits to be told that it may go on. The answer, and whether it was told so.
    pub async fn send_expecting(self, told: usize, body: &[u8]) -> (Answer, bool) {
        let mut bytes = self.head();
        bytes.extend_from_slice(format!("Expect: 100-continue\r\nContent-Length: {told}\r\n\r\n").as_bytes());
        let mut stream = self.server.connect().await;
        stream.write_all(&bytes).await.unwrap();
        let mut line = vec![0; 25];
        stream.read_exact(&mut line).await.unwrap();
        if line != b"HTTP/1.1 100 Continue\r\n\r\n" {
            return (read_answer(&mut stream, line).await, false);
        }
        stream.write_all(body).await.unwrap();
        (read_answer(&mut stream, Vec::new()).await, true)
    }

    async fn exchange(self, bytes: &[u8]) -> Answer {
        exchange(self.server, bytes).await
    }
}

async fn exchange(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    read_answer(&mut stream, Vec::new()).await
}

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// All that the head has promised is there.
    pub is_whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The result of a download.
    pub fn result(&self) -> Value {
        serde_json::from_str(self.header("dropbox-api-result").expect("a download has a result")).unwrap()
    }

    /// The error of a 409.
    pub fn error(&self) -> Value {
        assert_eq!(self.status, 409, "{}", String::from_utf8_lossy(&self.body));
        self.json()["error"].clone()
    }

    /// What the 409 is about, without the dots.
    pub fn summary(&self) -> String {
        assert_eq!(self.status, 409, "{}", String::from_utf8_lossy(&self.body));
        self.json()["error_summary"].as_str().unwrap().trim_end_matches('.').to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

async fn read_answer(stream: &mut TlsStream<TcpStream>, mut bytes: Vec<u8>) -> Answer {
    let mut chunk = vec![0; 64 << 10];
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "no head: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
    };
    let mut body = bytes.split_off(head);
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let told = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
    let length: usize = if status == 304 { 0 } else { told.unwrap_or(0) };
    let mut is_whole = true;
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => {
                is_whole = false;
                break;
            }
            Ok(read) => body.extend_from_slice(&chunk[..read]),
        }
    }
    Answer { status, headers, body, is_whole }
}
