//! The memcached protocol: what becomes of lines, in whatever pieces they come; replies, byte for byte.

use proptest::prelude::*;
use wire::memcache::{
    Decoder, GET_LINE_BYTES_MAX, Item, Keys, LINE_BYTES_MAX, MetaGet, Refusal, Request, Step, put_debug, put_meta_hit,
    put_meta_miss, put_value,
};

/// What comes of bytes that arrive in pieces of at most `piece` bytes: each request as text, then `close` if it closes.
/// Also holds that no more bytes are left than a line may have.
fn told(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut decoder, mut kept, mut told) = (Decoder::default(), Vec::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        kept.extend_from_slice(part);
        loop {
            let (used, step) = decoder.next(&kept);
            assert!(used <= kept.len());
            match step {
                Step::Request(request) => told.push(text(&request)),
                Step::Close => {
                    told.push("close".to_owned());
                    return told;
                }
                Step::More => {
                    kept.drain(..used);
                    assert!(kept.len() <= GET_LINE_BYTES_MAX, "{} bytes are left", kept.len());
                    break;
                }
            }
            assert!(used > 0, "a request without bytes");
            kept.drain(..used);
        }
    }
    told
}

fn text(request: &Request<'_>) -> String {
    let words =
        |keys: &Keys<'_>| -> Vec<String> { keys.map(|key| String::from_utf8_lossy(key).into_owned()).collect() };
    match request {
        Request::Get { keys, has_cas } => {
            format!("{} {}", if *has_cas { "gets" } else { "get" }, words(keys).join(","))
        }
        Request::MetaGet(get) => format!("mg {} {}", String::from_utf8_lossy(get.key), words(&get.flags()).join(",")),
        Request::Debug { key, .. } => format!("me {}", String::from_utf8_lossy(key)),
        Request::Refused(refusal) => refusal.text().to_owned(),
        other => format!("{other:?}"),
    }
}

fn one(line: &str) -> String {
    let mut told = told(format!("{line}\r\n").as_bytes(), usize::MAX);
    assert_eq!(told.len(), 1, "{line:?}: {told:?}");
    told.remove(0)
}

#[test]
fn lines_become_requests() {
    let lines = [
        ("get 1/a", "get 1/a"),
        ("  gets   1/a  2/b%20c ", "gets 1/a,2/b%20c"),
        ("mg 1/a", "mg 1/a "),
        ("mg 1/a v  k Oabc P Lx", "mg 1/a v,k,Oabc,P,Lx"),
        ("mg MS9h b v", "mg MS9h b,v"),
        ("me 1/a", "me 1/a"),
        ("me MS9h b", "me MS9h"),
        ("mn", "MetaNoop"),
        ("mn whatever", "MetaNoop"),
        ("version", "Version"),
        ("quit", "Quit"),
        ("stats", "Stats(General)"),
        ("stats conns", "Stats(Connections)"),
        ("verbosity 1", "Verbosity { is_quiet: false }"),
        ("verbosity 1 noreply", "Verbosity { is_quiet: true }"),
        ("verbosity noreply", "Verbosity { is_quiet: true }"),
        ("flush_all", "FlushAll { is_quiet: false }"),
        ("flush_all 5", "FlushAll { is_quiet: false }"),
        ("flush_all noreply", "FlushAll { is_quiet: true }"),
    ];
    for (line, wanted) in lines {
        assert_eq!(one(line), wanted, "{line:?}");
    }
}

#[test]
fn what_is_wrong_is_told_as_memcached_tells_it() {
    let long = format!("1/{}", "k".repeat(249));
    let line = |rest: &str| format!("{rest} {long}");
    let opaque = format!("mg 1/a O{}", "x".repeat(32));
    let many = format!("mg 1/a {}", "v ".repeat(20));
    let lines = [
        ("", "ERROR"),
        (" ", "ERROR"),
        ("get", "ERROR"),
        ("gets ", "ERROR"),
        ("GET 1/a", "ERROR"),
        ("get\t1/a", "ERROR"),
        ("mg", "ERROR"),
        ("mx", "ERROR"),
        ("verbosity", "ERROR"),
        ("verbosity 1 2 3", "ERROR"),
        ("stats foo", "ERROR"),
        ("flush_all 1 2 3", "ERROR"),
        ("verbosity x", "CLIENT_ERROR bad command line format"),
        ("me", "CLIENT_ERROR bad command line format"),
        ("me !!! b", "CLIENT_ERROR bad command line format"),
        ("me 1/a b c", "CLIENT_ERROR bad command line format"),
        (&line("get 1/a"), "CLIENT_ERROR bad command line format"),
        (&line("mg"), "CLIENT_ERROR bad command line format"),
        (&line("me"), "CLIENT_ERROR bad command line format"),
        ("get 1/a\tb", "CLIENT_ERROR bad command line format"),
        ("mg 1/a v v", "CLIENT_ERROR duplicate flag"),
        ("mg 1/a Z", "CLIENT_ERROR invalid flag"),
        ("mg 1/a Cx", "CLIENT_ERROR bad token in command line format"),
        ("mg !!! b v", "CLIENT_ERROR error decoding key"),
        (&opaque, "CLIENT_ERROR opaque token too long"),
        (&many, "CLIENT_ERROR options flags are too long"),
        ("get a", "CLIENT_ERROR bad key"),
        ("get 1/a 1/b c", "CLIENT_ERROR bad key"),
        ("mg 1/(a) v", "CLIENT_ERROR bad key"),
        ("me a", "CLIENT_ERROR bad key"),
        ("mg YQ== b", "CLIENT_ERROR bad key"),
    ];
    for (line, wanted) in lines {
        assert_eq!(one(line), wanted, "{line:?}");
    }
    assert_eq!(one(&format!("get 1/{}", "k".repeat(248))), format!("get 1/{}", "k".repeat(248)), "250 bytes");
    assert_eq!(one(&format!("mg 1/a O{}", "x".repeat(31))), format!("mg 1/a O{}", "x".repeat(31)));
}

#[test]
fn writes_are_parsed_whole_and_refused() {
    let read_only = "SERVER_ERROR read only";
    let all = [
        ("set a 0 0 3\r\nabc\r\nmn\r\n", vec![read_only, "MetaNoop"]),
        ("cas a 0 0 3 5\r\nabc\r\nmn\r\n", vec![read_only, "MetaNoop"]),
        ("set a 0 0 0\r\n\r\nmn\r\n", vec![read_only, "MetaNoop"]),
        ("append a 0 -1 3 noreply\r\nabc\r\nmn\r\n", vec!["Ignored", "MetaNoop"]),
        ("ms a 3 T0 q\r\nabc\r\nmn\r\n", vec![read_only, "MetaNoop"]),
        // A block with a line in it is no request.
        ("set a 0 0 9\r\nget 1/a\r\n\r\nmn\r\n", vec![read_only, "MetaNoop"]),
        ("set a 0 0 3\r\nabcd\r\nmn\r\n", vec!["CLIENT_ERROR bad data chunk", "ERROR", "MetaNoop"]),
        ("set a x 0 3\r\nabc\r\n", vec!["CLIENT_ERROR bad command line format", "ERROR"]),
        ("set a 0 0 -1\r\nmn\r\n", vec!["CLIENT_ERROR bad command line format", "MetaNoop"]),
        ("set a 0 0 2147483646\r\n", vec!["CLIENT_ERROR bad command line format"]),
        ("set a 0 0\r\nmn\r\n", vec!["ERROR", "MetaNoop"]),
        ("ms a x\r\nms\r\n", vec!["CLIENT_ERROR bad command line format", "ERROR"]),
        (
            "incr a 1\r\nincr a x\r\nincr a\r\ndecr a 1 noreply\r\n",
            vec![read_only, "CLIENT_ERROR bad command line format", "ERROR", "Ignored"],
        ),
        (
            "delete a\r\ndelete a noreply\r\ntouch a 1\r\ntouch a x\r\n",
            vec![read_only, "Ignored", read_only, "CLIENT_ERROR bad command line format"],
        ),
        (
            "gat 1 a\r\ngats 1 a b\r\ngat a\r\nmd a\r\nma a q\r\nmd\r\nshutdown\r\n",
            vec![read_only, read_only, "ERROR", read_only, read_only, "ERROR", read_only],
        ),
        ("mg 1/a T30\r\nmg 1/a v R5\r\nmg 1/a N0 v\r\n", vec![read_only, read_only, read_only]),
    ];
    for (bytes, wanted) in all {
        for piece in [1, 2, 7, usize::MAX] {
            assert_eq!(told(bytes.as_bytes(), piece), wanted, "{bytes:?} in pieces of {piece}");
        }
    }
}

#[test]
fn what_cannot_be_a_request_closes_the_connection() {
    assert_eq!(told(&[0x80, 1, 0, 0], 1), ["close"]);
    assert_eq!(told(b"GET / HTTP/1.1\r\n", 3), ["close"]);
    assert_eq!(told(b"mn\r\n\x80\r\n", 1), ["MetaNoop", "ERROR"], "only the first byte tells");
    for piece in [1, 1000, usize::MAX] {
        assert_eq!(told(&[b'x'; LINE_BYTES_MAX + 2], piece), ["close"]);
        let longest = format!("{}\n", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(told(longest.as_bytes(), piece), ["ERROR"]);
        let get = |bytes: usize| format!("get {}", "1/a ".repeat((bytes - 4) / 4));
        let most = format!("{}\n", get(GET_LINE_BYTES_MAX));
        assert_eq!(told(most.as_bytes(), piece).len(), 1);
        assert!(told(most.as_bytes(), piece)[0].starts_with("get 1/a,1/a"));
        assert_eq!(told(get(GET_LINE_BYTES_MAX + 8).as_bytes(), piece), ["close"]);
    }
}

/// Lines of all kinds, right and wrong, and data blocks.
const MIXED: &[u8] =
    b"get 1/a 2/b\r\ngets 1/a\nmg 1/a v k Oq1\r\nset x 1 2 10\r\n0123456789\r\nmn\r\nset x 1 2 2\r\n012\r\n\
                       \r\nms x 4 q\r\nab\r\n\r\nversion\r\nstats\r\nme 1/a\r\nfoo\r\nverbosity 1 noreply\r\nquit\r\n";

#[test]
fn the_same_requests_come_however_the_bytes_are_split() {
    let whole = told(MIXED, usize::MAX);
    assert_eq!(whole.len(), 15, "{whole:?}");
    for piece in 1..MIXED.len() {
        assert_eq!(told(MIXED, piece), whole, "pieces of {piece}");
    }
    for split in 1..MIXED.len() {
        let (mut decoder, mut kept, mut requests) = (Decoder::default(), Vec::new(), Vec::new());
        for part in [&MIXED[..split], &MIXED[split..]] {
            kept.extend_from_slice(part);
            loop {
                let (used, step) = decoder.next(&kept);
                if let Step::Request(request) = &step {
                    requests.push(text(request));
                }
                let is_more = step == Step::More;
                kept.drain(..used);
                if is_more {
                    break;
                }
            }
        }
        assert_eq!(requests, whole, "split at {split}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_taken_alike_in_any_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..600), piece in 1_usize..50) {
        prop_assert_eq!(told(&bytes, piece), told(&bytes, usize::MAX));
    }

    #[test]
    fn any_words_are_taken_alike_in_any_pieces(
        words in proptest::collection::vec(
            prop_oneof![
                Just("get"), Just("gets"), Just("mg"), Just("ms"), Just("me"), Just("set"), Just("1/a"), Just("1/%20"),
                Just("0"), Just("3"), Just("7"), Just("noreply"), Just("q"), Just("v"), Just("b"), Just("\r\n"),
                Just("\n"), Just("\r"), Just(" "), Just("stats"), Just("delete"), Just("verbosity"), Just("quit"),
            ],
            0..60,
        ),
        piece in 1_usize..9,
    ) {
        let text = words.join(" ");
        prop_assert_eq!(told(text.as_bytes(), piece), told(text.as_bytes(), usize::MAX));
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn replies_are_pinned() {
    let item = Item { flags: 1, cas: 42, is_fetched: true, value: b"{\"a\":1}" };
    assert_eq!(written(|out| put_value(b"1/a", &item, false, out)), "VALUE 1/a 1 7\r\n{\"a\":1}\r\n");
    assert_eq!(written(|out| put_value(b"1/a", &item, true, out)), "VALUE 1/a 1 7 42\r\n{\"a\":1}\r\n");
    let hit = |flags: &str| {
        let get = MetaGet::parse(b"MS9h", flags.as_bytes()).unwrap();
        written(|out| put_meta_hit(&get, &item, out))
    };
    assert_eq!(hit(""), "HD\r\n");
    assert_eq!(hit("q"), "HD\r\n");
    assert_eq!(hit("v"), "VA 7\r\n{\"a\":1}\r\n");
    assert_eq!(hit("s v q k Oabc f t h l c u P Lx"), "VA 7 s7 kMS9h Oabc f1 t-1 h1 l0 c42\r\n{\"a\":1}\r\n");
    assert_eq!(hit("b k s"), "HD kMS9h b s7\r\n");
    assert_eq!(hit("v C42 c"), "HD c42\r\n", "the caller has this version");
    assert_eq!(hit("v C41 c"), "VA 7 c42\r\n{\"a\":1}\r\n");
    let miss = |flags: &str| {
        let get = MetaGet::parse(b"MS9h", flags.as_bytes()).unwrap();
        written(|out| put_meta_miss(&get, out))
    };
    assert_eq!(miss("v s"), "EN\r\n");
    assert_eq!(miss("O1 b k"), "EN O1 kMS9h b\r\n");
    assert_eq!(miss("q v k"), "");
    let debug = |item| written(|out| put_debug(b"1/a", item, out));
    assert_eq!(debug(Some(&item)), "ME 1/a exp=-1 la=0 cas=42 fetch=yes cls=0 size=7\r\n");
    assert_eq!(debug(None), "EN\r\n");
    assert_eq!(Refusal::ReadOnly.text(), "SERVER_ERROR read only");
}
