//! Two cores on two threads, each with its ring, send each other mail and wake each other out of their waits.

mod common;

use std::thread;

use base::Mono;
use common::{reap, small};
use reactor::{Doorbell, Io as _, Mailbox, Outbox, Ring, Wait, mailbox};

/// Both directions between two cores, and the bells.
fn pair<T: Send>() -> [(Doorbell, Outbox<T>, Mailbox<T>); 2] {
    let (here, there) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
    let (to_there, from_here) = mailbox(&there);
    let (to_here, from_there) = mailbox(&here);
    [(here, to_there, from_there), (there, to_here, from_here)]
}

/// Waits without a deadline: a lost wake-up would hang the test.
fn wait(ring: &mut Ring) {
    ring.enter(Wait::Until(Mono::MAX));
    reap(ring);
}

#[test]
fn ten_thousand_requests_wake_a_sleeping_core_and_their_answers_wake_the_asker() {
    let [asker, owner] = pair::<u32>();
    let answering = thread::spawn(move || {
        let (doorbell, mut outbox, mut mailbox) = owner;
        let mut ring = Ring::new(&small()).unwrap();
        ring.attach_doorbell(&doorbell);
        let mut seen = 0;
        while seen < 10_000 {
            wait(&mut ring);
            while let Some(n) = mailbox.pop() {
                assert_eq!(n, seen);
                seen += 1;
                outbox.push(n + 1).unwrap();
            }
            outbox.publish();
        }
        doorbell.rung()
    });
    let (doorbell, mut outbox, mut mailbox) = asker;
    let mut ring = Ring::new(&small()).unwrap();
    ring.attach_doorbell(&doorbell);
    for n in 0..10_000 {
        outbox.push(n).unwrap();
        outbox.publish();
        let answer = loop {
            if let Some(answer) = mailbox.pop() {
                break answer;
            }
            wait(&mut ring);
        };
        assert_eq!(answer, n + 1);
    }
    let rung = answering.join().unwrap();
    println!("{rung} rings to the owner, {} back, for 10,000 requests", doorbell.rung());
}

#[test]
fn two_busy_cores_lose_nothing_and_keep_the_order() {
    const EACH: u64 = 200_000;
    let cores = pair::<Box<u64>>().map(|(doorbell, mut outbox, mut mailbox)| {
        thread::spawn(move || {
            let mut ring = Ring::new(&small()).unwrap();
            ring.attach_doorbell(&doorbell);
            let (mut sent, mut seen) = (0, 0);
            while sent < EACH || seen < EACH {
                while sent < EACH && outbox.push(Box::new(sent)).is_ok() {
                    sent += 1;
                }
                outbox.publish();
                while let Some(message) = mailbox.pop() {
                    assert_eq!(*message, seen);
                    seen += 1;
                }
                // A full ring has no bell for its sender: it looks again. Else only mail can be missing.
                match sent < EACH {
                    true => thread::yield_now(),
                    false if seen < EACH => wait(&mut ring),
                    false => {}
                }
            }
        })
    });
    cores.into_iter().for_each(|core| core.join().unwrap());
}
