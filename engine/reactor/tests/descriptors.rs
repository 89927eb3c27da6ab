//! A process without file descriptors accepts nobody, rests, and accepts again when it has some. Alone in its process,
//! because the limit is the process's.

mod common;

use std::fs::File;
use std::net::TcpStream;

use base::mono::Span;
use common::{Seen, collect, loopback, small, turn};
use reactor::{Io as _, Patience, Ring};

#[test]
fn accepting_rests_without_descriptors_and_goes_on_with_them() {
    let mut ring = Ring::new(&small()).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    rlimit::Resource::NOFILE.set(64, 64).unwrap();
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(files.len() < 64);
    files.pop();
    let _peer = TcpStream::connect(address).unwrap();
    let before = ring.counters().enters;
    let until = ring.now() + Span::from_ms(50);
    while ring.now() < until {
        assert_eq!(turn(&mut ring), []);
    }
    assert!(ring.counters().enters - before < 20, "the core must not spin");
    drop(files);
    let accepted = collect(&mut ring, 1, |seen| matches!(seen, Seen::Accepted(1, _)).then_some(()));
    assert_eq!(accepted.len(), 1);
}
