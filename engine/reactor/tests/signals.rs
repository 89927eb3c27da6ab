//! Signals reach the stop thread and nobody else. Without the test harness, whose threads run before `main` could block
//! the signals: this binary starts itself as the process to be stopped.
#![allow(clippy::print_stdout, reason = "the child talks to its parent by lines")]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    the_first_signal_asks_for_a_stop(libc::SIGTERM);
    the_first_signal_asks_for_a_stop(libc::SIGINT);
    the_second_signal_ends_the_process_at_once();
    println!("test signals ... ok");
}

/// Stops when asked; hangs while stopping if its parent closes nothing, so that a second signal is needed.
fn child() {
    let stop = reactor::signals::on_stop(|| println!("stopping")).unwrap();
    assert!(!stop.is_asked());
    // A thread started later must not be hit either.
    let core = std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
    println!("ready");
    stop.wait();
    assert!(stop.is_asked());
    if std::env::args().nth(2).as_deref() == Some("hang") {
        core.join().unwrap();
    }
}

fn start(mode: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).args(["child", mode]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    (child, lines)
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: takes no pointers; the child was not waited for yet, so the id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn the_first_signal_asks_for_a_stop(number: i32) {
    let (mut child, _lines) = start("end");
    signal(&child, number);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn the_second_signal_ends_the_process_at_once() {
    let (mut child, mut lines) = start("hang");
    signal(&child, libc::SIGTERM);
    assert_eq!(lines.next().unwrap().unwrap(), "stopping");
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGINT));
}
