//! Beside a real memcached that holds the same keys and values: the same bytes are answered alike, however they are split.

use std::process::{Child, Command as Process, Stdio};

use base::Prng;

use super::memcache::{Cluster, Text};
use super::*;

/// Where the package puts it.
const BINARY: &str = "/usr/bin/memcached";

/// A memcached on a port of its own; it ends with this.
struct Memcached {
    child: Child,
    port: u16,
}

impl Memcached {
    /// `None` where there is none.
    fn start() -> Option<Memcached> {
        if !Path::new(BINARY).exists() {
            println!("SKIPPED: no {BINARY} here; the package is memcached");
            return None;
        }
        let port = free_ports(1);
        let mut process = Process::new(BINARY);
        process.args(["-U", "0", "-l", "127.0.0.1", "-p", &port.to_string(), "-u", "nobody"]);
        let child = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let memcached = Memcached { child, port };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "memcached does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(memcached)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Versions, what depends on earlier reads, and what only memcached has classes for: the same in both.
fn normal(told: &str) -> String {
    let mut out = String::new();
    let mut rest = told;
    while let Some((line, after)) = rest.split_once("\r\n") {
        rest = after;
        let words: Vec<&str> = line.split(' ').collect();
        let value_bytes: Option<usize> = match words[..] {
            ["VALUE", _, _, bytes, ..] | ["VA", bytes, ..] => Some(bytes.parse().expect("a number of bytes")),
            _ => None,
        };
        let numbered = |word: &str, letters: &str| {
            let mut chars = word.chars();
            chars.next().is_some_and(|first| letters.contains(first)) && chars.all(|c| c.is_ascii_digit())
        };
        let plain = |(at, word): (usize, &&str)| match words[0] {
            "VALUE" if at == 4 => "CAS".to_owned(),
            "VA" | "HD" if at > 0 && numbered(word, "chl") => format!("{}N", &word[..1]),
            "ME" if at > 1 && !word.starts_with("exp=") => word.split('=').next().expect("a name").to_owned(),
            "VERSION" if at == 1 => "V".to_owned(),
            _ => (*word).to_owned(),
        };
        out += &words.iter().enumerate().map(plain).collect::<Vec<_>>().join(" ");
        out += "\r\n";
        if let Some(bytes) = value_bytes {
            let (value, after) = rest.split_at(bytes);
            out += value;
            rest = after;
        }
    }
    out + rest
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quads = bytes.chunks(3).flat_map(|part| {
        let bits = part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        (0..4).map(
            move |at| if at > part.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]) },
        )
    });
    quads.collect()
}

/// Lines that both answer alike.
struct Lines {
    random: Prng,
    /// As text, and in base64; the last few name nothing.
    keys: Vec<(String, String)>,
}

impl Lines {
    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound as u64) as usize
    }

    fn key(&mut self) -> String {
        let at = self.below(self.keys.len());
        self.keys[at].0.clone()
    }

    fn line(&mut self) -> String {
        let end = if self.below(8) == 0 { "\n" } else { "\r\n" };
        let space = if self.below(6) == 0 { "  " } else { " " };
        let line = match self.below(20) {
            0..=4 => {
                let (name, count) = (["get", "gets"][self.below(2)], 1 + self.below(40));
                let keys: Vec<String> = (0..count).map(|_| self.key()).collect();
                format!("{name}{space}{}", keys.join(space))
            }
            5..=11 => self.meta_get(space),
            12 => format!("me{space}{}", self.key()),
            _ => {
                let long = "k".repeat(251);
                let (key, opaque) = (self.key(), "o".repeat(30 + self.below(4)));
                let fixed = [
                    "mn".to_owned(),
                    "mn x".into(),
                    "mx".into(),
                    "version".into(),
                    "verbosity".into(),
                    "verbosity 1".into(),
                    "verbosity 1 noreply".into(),
                    "verbosity x".into(),
                    "verbosity noreply".into(),
                    "verbosity a b c".into(),
                    "version a b".into(),
                    "verbosity 1 2 3 4".into(),
                    String::new(),
                    " ".into(),
                    "get".into(),
                    "gets ".into(),
                    "mg".into(),
                    "me".into(),
                    "GET 1/a".into(),
                    "foo bar".into(),
                    "set a 0 0".into(),
                    "set a x 0 3\r\nabc".into(),
                    "set a 0 0 -1".into(),
                    "ms a x".into(),
                    "ms a".into(),
                    "incr a".into(),
                    "touch a".into(),
                    "stats foo".into(),
                    "me !!! b".into(),
                    "me a b c".into(),
                    format!("mg {long} v"),
                    format!("me {long}"),
                    format!("mg {key} O{opaque} s"),
                    format!("mg {key} {}", "v ".repeat(25)),
                    format!("set {long} 0 0 3\r\nabc"),
                    "x".into(),
                    "decr".into(),
                ];
                fixed[self.below(fixed.len())].clone()
            }
        };
        format!("{line}{end}")
    }

    fn meta_get(&mut self, space: &str) -> String {
        let at = self.below(self.keys.len());
        let chance = self.below(4);
        let (plain, encoded) = &self.keys[at];
        // Where both forms are one key, memcached tells the form that the key was stored in.
        let is_base64 = chance == 0 && (plain.contains('%') || plain.ends_with("/none"));
        let mut line = format!("mg{space}{}", if is_base64 { encoded } else { plain });
        let flags =
            ["s", "v", "q", "k", "f", "t", "h", "l", "c", "u", "Oq7", "P", "Lx", "s12", "v", "q", "Z", "Cx", "O"];
        let mut wanted: Vec<&str> = is_base64.then_some("b").into_iter().collect();
        // The last of them are mostly wrong.
        let bound = if self.below(5) == 0 { flags.len() } else { 13 };
        for _ in 0..self.below(7) {
            let flag = flags[self.below(bound)];
            if bound > 13 || !wanted.iter().any(|other| other[..1] == flag[..1]) {
                wanted.push(flag);
            }
        }
        let split = self.below(wanted.len() + 1);
        wanted.rotate_left(split);
        wanted.iter().for_each(|flag| line += &format!("{space}{flag}"));
        line
    }
}

/// Sends in pieces, and reads all up to the answer to the last line.
fn told(text: &mut Text, asked: &str, cuts: &[usize]) -> String {
    let (mut writer, asked, cuts) = (text.stream.try_clone().expect("a clone"), asked.to_owned(), cuts.to_vec());
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        let mut from = 0;
        for cut in cuts.into_iter().chain([asked.len()]) {
            writer.write_all(&asked.as_bytes()[from..cut]).expect("bytes are taken");
            from = cut;
        }
    });
    let told = text.read_until("EN k1/last\r\n");
    sending.join().expect("it sends");
    told
}

#[test]
fn the_same_bytes_are_answered_as_memcached_answers_them() {
    let Some(memcached) = Memcached::start() else { return };
    let cluster = Cluster::start(1);
    let (mut ours, mut theirs) = (Text::connect(cluster.port(0)), Text::connect(memcached.port));
    let mut keys = Vec::new();
    for number in 1..=4 {
        let root = cluster.account(number);
        for name in ["a", "b c", "\u{e9}\u{1f600}", "deep/er/est", "100%"] {
            let path = format!("/{name}");
            if number % 2 == 0 {
                cluster.folder(root, &path)
            } else {
                cluster.file(root, &path)
            }
            let mut key = Vec::new();
            wire::memcache::put_key(root, &path, &mut key);
            keys.push((String::from_utf8(key).expect("keys are text"), base64(format!("{root}{path}").as_bytes())));
        }
        keys.push((format!("{root}/none"), base64(format!("{root}/no such").as_bytes())));
    }
    // The same keys and values, with the same flags, twice: the base64 of a name with a space is another key there.
    for (plain, encoded) in &keys {
        let value = ours.ask(&format!("mg {plain} f v\r\n"));
        if value == "EN\r\n" {
            continue;
        }
        let (head, rest) = value.split_once("\r\n").expect("a line");
        let [_, bytes, flags] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{head}") };
        let set = format!("set {plain} {} 0 {bytes}\r\n{rest}", &flags[1..]);
        let again = format!("ms {encoded} {bytes} b F{}\r\n{rest}", &flags[1..]);
        let is_same_key = !plain.contains('%');
        let stored = theirs.ask(&if is_same_key { set } else { set + &again });
        assert_eq!(stored, if is_same_key { "STORED\r\n" } else { "STORED\r\nHD\r\n" });
    }
    let seed = std::env::var("MEMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let rounds = std::env::var("MEMCACHE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(150);
    let mut lines = Lines { random: Prng::new(seed), keys };
    for round in 0..rounds {
        let count = 1 + lines.below(30);
        let asked: String = (0..count).map(|_| lines.line()).collect::<String>() + "mg 1/last k\r\n";
        let mut cuts: Vec<usize> = (0..lines.below(12)).map(|_| lines.below(asked.len())).collect();
        cuts.sort_unstable();
        if round % 10 == 0 {
            cuts = (1..asked.len()).collect();
        }
        let wanted = normal(&told(&mut theirs, &asked, &[]));
        let got = normal(&told(&mut ours, &asked, &cuts));
        for (got, wanted) in got.split("\r\n").zip(wanted.split("\r\n")) {
            assert_eq!(got, wanted, "seed {seed}, round {round}: {asked:?}");
        }
        assert_eq!(got.len(), wanted.len(), "seed {seed}, round {round}: {asked:?}");
    }
    println!("{rounds} rounds answered alike");
    cluster.stop();
}
