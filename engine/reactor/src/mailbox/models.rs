//! Every order in which two cores can meet in a mailbox of depth 2, under the memory model of C11 (loom).
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p dropstone-reactor --lib models
//! ```

use super::with_depth;
use crate::inbox::Doorbell;
use crate::models::explore;

#[test]
fn no_core_sleeps_over_a_mailbox_with_mail() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = with_depth(2, &doorbell);
        let sender = loom::thread::spawn(move || {
            outbox.push(1).unwrap();
            outbox.publish();
        });
        let sleeps = doorbell.fall_asleep();
        sender.join().unwrap();
        assert!(!sleeps || doorbell.rung() == 1, "the core sleeps, and nobody has rung");
        doorbell.wake();
        assert_eq!((mailbox.pop(), mailbox.pop()), (Some(1), None));
        assert!(!doorbell.has_mail());
    });
}

#[test]
fn a_message_is_whole_when_it_is_seen() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = with_depth(2, &doorbell);
        let sender = loom::thread::spawn(move || {
            outbox.push(Box::new(1)).unwrap();
            outbox.push(Box::new(2)).unwrap();
            outbox.publish();
        });
        let mut seen: Vec<i32> = std::iter::from_fn(|| mailbox.pop()).map(|message| *message).collect();
        sender.join().unwrap();
        seen.extend(std::iter::from_fn(|| mailbox.pop()).map(|message| *message));
        assert_eq!(seen, [1, 2]);
        assert!(!doorbell.has_mail());
    });
}

#[test]
fn a_place_is_used_again_only_after_it_was_left() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = with_depth(2, &doorbell);
        let sender = loom::thread::spawn(move || {
            let mut sent = 0;
            // Four messages through two places: what does not fit comes back.
            for n in 1..5 {
                if outbox.push(n) == Err(n) {
                    break;
                }
                sent = n;
                outbox.publish();
            }
            sent
        });
        let mut seen = Vec::new();
        (0..2).for_each(|_| seen.extend(std::iter::from_fn(|| mailbox.pop())));
        let sent = sender.join().unwrap();
        seen.extend(std::iter::from_fn(|| mailbox.pop()));
        assert!(sent >= 2);
        assert_eq!(seen, (1..=sent).collect::<Vec<_>>());
    });
}

#[test]
fn a_request_and_its_answer_wake_both_cores() {
    explore(|| {
        let (here, there) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
        let (mut requests, mut incoming) = with_depth(2, &there);
        let (mut answers, mut returned) = with_depth(2, &here);
        let owner = loom::thread::spawn(move || {
            // Whoever sleeps is woken by the bell alone.
            let is_asleep = there.fall_asleep() && there.rung() == 0;
            let mut has_answered = false;
            if !is_asleep {
                there.wake();
                has_answered = incoming.pop().map(|n: u32| answers.push(n + 1).unwrap()).is_some();
                answers.publish();
            }
            (there, is_asleep, has_answered, incoming, answers)
        });
        requests.push(1).unwrap();
        requests.publish();
        let sleeps = here.fall_asleep();
        let (there, is_asleep, has_answered, mut incoming, _answers) = owner.join().unwrap();
        assert!(!is_asleep || there.rung() == 1, "the owner sleeps over a request, and nobody has rung");
        if has_answered {
            assert!(!sleeps || here.rung() == 1, "the asker sleeps over an answer, and nobody has rung");
            assert_eq!(returned.pop(), Some(2));
        } else {
            assert_eq!(incoming.pop(), Some(1), "it is there for the owner's next look");
        }
    });
}
