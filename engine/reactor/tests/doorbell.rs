//! Threads that are no cores post mail and wake the core out of its wait.

mod common;

use std::thread;

use base::Mono;
use common::{Seen, reap, small};
use reactor::{Doorbell, Io as _, Ring, Wait, inbox};

#[test]
fn ten_thousand_wakes_of_a_sleeping_core_are_all_heard() {
    let mut ring = Ring::new(&small()).unwrap();
    let doorbell = Doorbell::new().unwrap();
    let (sender, mut inbox) = inbox(4, &doorbell);
    ring.attach_doorbell(&doorbell);
    let (answer, answered) = std::sync::mpsc::channel();
    let asker = thread::spawn(move || {
        for n in 0..10_000u32 {
            sender.post(n).unwrap();
            assert_eq!(answered.recv().unwrap(), n);
        }
    });
    let mut expected = 0;
    let mut bells = 0;
    while expected < 10_000 {
        // Without a deadline: a lost wake-up would hang the test.
        ring.enter(Wait::Until(Mono::MAX));
        bells += reap(&mut ring).iter().filter(|seen| **seen == Seen::Doorbell).count();
        while let Some(n) = inbox.pop() {
            assert_eq!(n, expected);
            answer.send(n).unwrap();
            expected += 1;
        }
    }
    asker.join().unwrap();
    assert!(bells >= 1);
    println!("{} rings, {} enters for 10,000 messages", doorbell.rung(), ring.counters().enters);
}

#[test]
fn mail_of_four_busy_senders_arrives_whole_and_in_order_of_each() {
    const EACH: u32 = 20_000;
    let mut ring = Ring::new(&small()).unwrap();
    let doorbell = Doorbell::new().unwrap();
    let (sender, mut first) = inbox(64, &doorbell);
    let (other, mut second) = inbox(64, &doorbell);
    ring.attach_doorbell(&doorbell);
    let posters: Vec<_> = (0..4usize)
        .map(|who| {
            let sender = if who < 2 { sender.clone() } else { other.clone() };
            thread::spawn(move || {
                for n in 0..EACH {
                    let mut message = (who, n);
                    while let Err(back) = sender.post(message) {
                        message = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    while next.iter().any(|count| *count < EACH) {
        ring.enter(Wait::Until(Mono::MAX));
        reap(&mut ring);
        // One queue only half of the time: the bell must still know of the other.
        while let Some((who, n)) = first.pop() {
            assert_eq!(n, next[who]);
            next[who] += 1;
        }
        if let Some((who, n)) = second.pop() {
            assert_eq!(n, next[who]);
            next[who] += 1;
        }
    }
    posters.into_iter().for_each(|poster| poster.join().unwrap());
    assert!(!doorbell.has_mail());
}
