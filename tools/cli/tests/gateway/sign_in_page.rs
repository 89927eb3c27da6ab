//! The sign-in page of a gateway that is not `dev`'s: passwords, consent, and what a form must show.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stone::form::{Form, escape};
use stone::ids::base64url;
use stone::token::digest;
use tempfile::TempDir;
use ureq::Agent;

use crate::dev::{BINARY, Dev, Reply, agent, dev, free_ports, send};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-0123456789";
const CALLBACK: &str = "https://app.example/cb";

/// A gateway as a process of its own, over the cluster of `dev`.
struct Gateway {
    process: Child,
    agent: Agent,
    url: String,
    _dir: TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    fn start(dev: &Dev) -> Gateway {
        let dir = TempDir::new().expect("a directory");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (dir.path().join("leaf.pem"), dir.path().join("leaf.key"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let port = free_ports();
        let url = format!("https://localhost:{port}");
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:{port}\"\nwww = {url:?}\ncontent = {:?}\ntargets = [{:?}]\nserver_id = 77\n\
             secret_file = {:?}\ncertificate = {certificate:?}\nkey = {key:?}\n",
            dev.url,
            dev.target,
            dev.http_file("secret"),
        );
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new(BINARY);
        command.args(["gateway", "--log", "error", "--config"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("it starts");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "the gateway does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Gateway { process, agent: agent(&certificate), url, _dir: dir }
    }

    fn get(&self, path: &str) -> Reply {
        send(&self.agent, &self.url, "GET", path, &[], "")
    }

    fn post(&self, path: &str, cookie: &str, body: &str) -> Reply {
        send(&self.agent, &self.url, "POST", path, &[FORM, ("cookie", cookie)], body)
    }
}

/// The proof in the form of a page.
fn proof(page: &Reply) -> String {
    let rest = page.text.split("name=\"proof\" value=\"").nth(1);
    rest.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no form: {page:?}")).to_owned()
}

fn cookie(page: &Reply) -> String {
    assert!(page.cookie.contains("Secure; HttpOnly; SameSite=Strict"), "{page:?}");
    page.cookie.split(';').next().expect("a cookie").to_owned()
}

fn query(client: &str) -> String {
    let challenge = base64url(&digest(VERIFIER));
    format!(
        "/oauth2/authorize?response_type=code&client_id={client}&redirect_uri={}&state=s1&code_challenge={challenge}\
         &code_challenge_method=S256&token_access_type=offline&scope=files.metadata.read%20account_info.read",
        escape(CALLBACK)
    )
}

fn with_password(dev: &Arc<Dev>, name: &str, email: &str, password: &str) {
    dev.account(name, None);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{password}\n")).expect("written");
    let file = file.path().to_str().expect("UTF-8");
    dev.run(&["account", "set", name, "--email", email, "--password-file", file]);
}

#[test]
fn an_account_signs_in_and_lets_an_app_in_or_not() {
    let dev = dev();
    with_password(&dev, "signer", "signer@example.com", "a long password");
    dev.run(&["admin", "app", "add", "the-app", "--name", "The <App>", "--redirect", CALLBACK]);
    let gateway = Gateway::start(&dev);
    assert_eq!(gateway.get(&query("no-app")).status, 400);
    assert_eq!(gateway.get(&query("the-app").replace("app.example", "evil.example")).status, 400);
    let path = query("the-app");
    let page = gateway.get(&path);
    assert!(page.status == 200 && page.text.contains("The &lt;App&gt;") && !page.text.contains("<script"), "{page:?}");
    let (browser, first) = (cookie(&page), proof(&page));
    let sign_in = |browser: &str, proof: &str, email: &str, password: &str| {
        let body = format!("proof={proof}&email={}&password={}", escape(email), escape(password));
        gateway.post(&path, browser, &body)
    };
    let unknown = sign_in(&browser, &first, "nobody@example.com", "x");
    let wrong = sign_in(&browser, &first, "signer@example.com", "x");
    assert_eq!((unknown.status, wrong.status), (403, 403));
    let words = |page: &Reply| {
        page.text.split("role=\"alert\">").nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned)
    };
    assert_eq!(words(&unknown), words(&wrong), "who has an account is not told");
    // Another site has neither this browser's cookie nor its proof.
    assert_eq!(sign_in("", &first, "signer@example.com", "a long password").status, 400);
    assert_eq!(sign_in(&browser, "AAAA", "signer@example.com", "a long password").status, 400);
    let other = cookie(&gateway.get(&path));
    assert_eq!(sign_in(&other, &first, "signer@example.com", "a long password").status, 400);
    let consent = sign_in(&browser, &first, "Signer@Example.com", "a long password");
    assert!(consent.status == 200 && consent.text.contains("See the names of your files"), "{consent:?}");
    assert!(!consent.text.contains("Read the content"), "only what was asked for");
    let ticket = proof(&consent);
    let choose =
        |path: &str, proof: &str, choice: &str| gateway.post(path, &browser, &format!("proof={proof}&choice={choice}"));
    // A proof of the first form is no consent, and a ticket is for its own request.
    assert_ne!(choose(&path, &first, "allow").status, 302);
    assert_eq!(choose(&path.replace("state=s1", "state=s2"), &ticket, "allow").status, 400);
    let denied = choose(&path, &ticket, "deny");
    assert!(denied.status == 302 && denied.text.contains("error=access_denied") && denied.text.contains("state=s1"));
    let allowed = choose(&path, &ticket, "allow");
    let (target, fields) = allowed.text.split_once('?').expect("a redirect");
    let fields = Form::parse(fields);
    assert_eq!((allowed.status, target, fields.get("state")), (302, CALLBACK, Some("s1")));
    let body = format!(
        "grant_type=authorization_code&client_id=the-app&code_verifier={VERIFIER}&redirect_uri={}&code={}",
        escape(CALLBACK),
        fields.get("code").expect("a code")
    );
    let granted = gateway.post("/oauth2/token", "", &body).json();
    assert_eq!(granted["scope"], "account_info.read files.metadata.read");
    assert!(granted["refresh_token"].is_string(), "{granted}");
    let bearer = format!("Bearer {}", granted["access_token"].as_str().expect("a token"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let account = send(&gateway.agent, &gateway.url, "POST", "/2/users/get_current_account", &headers, "null");
    assert_eq!(account.json()["email"], json!("signer@example.com"));
}

#[test]
fn the_web_page_is_an_app_of_its_own_that_needs_no_consent() {
    let dev = dev();
    with_password(&dev, "pager", "pager@example.com", "another password");
    let gateway = Gateway::start(&dev);
    let page = send(&gateway.agent, &gateway.url, "GET", "/", &[], "");
    assert!(page.status == 200 && page.text.contains(&format!("content=\"{}\"", dev.url)), "{page:?}");
    let own = format!("{}/", gateway.url);
    let path = query("dropstone-web").replace(&escape(CALLBACK), &escape(&own));
    let page = gateway.get(&path);
    let body = format!("proof={}&email=pager@example.com&password=another%20password", proof(&page));
    let sent = gateway.post(&path, &cookie(&page), &body);
    assert!(sent.status == 302 && sent.text.starts_with(&format!("{own}?code=")), "{sent:?}");
    assert_eq!(gateway.get(&query("dropstone-web")).status, 400, "its code goes nowhere else");
}

#[test]
fn five_wrong_passwords_close_an_account_to_tries_and_a_suspended_one_does_not_come_in() {
    let dev = dev();
    with_password(&dev, "guessed", "guessed@example.com", "right");
    with_password(&dev, "suspended", "suspended@example.com", "right");
    let gateway = Gateway::start(&dev);
    let path = query("dropstone-web").replace(&escape(CALLBACK), &escape(&format!("{}/", gateway.url)));
    let page = gateway.get(&path);
    let (browser, proof) = (cookie(&page), proof(&page));
    let try_with = |email: &str, password: &str| {
        gateway.post(&path, &browser, &format!("proof={proof}&email={email}&password={password}")).status
    };
    assert_eq!(try_with("suspended@example.com", "right"), 302);
    dev.run(&["account", "set", "suspended", "--suspend"]);
    assert_eq!(try_with("suspended@example.com", "right"), 403);
    assert!((0..5).all(|_| try_with("guessed@example.com", "wrong") == 403));
    assert_eq!(try_with("guessed@example.com", "right"), 429, "not even the right one is taken now");
    let tries = (0..20).map(|n| try_with(&format!("nobody{n}@example.com"), "x"));
    assert!(tries.into_iter().any(|status| status == 429), "one address has tries for few accounts");
}
