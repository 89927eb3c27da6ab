//! Every order in which a core's falling asleep and a sender's post can meet, under the memory model of C11 (loom).
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p dropstone-reactor --lib models
//! ```

use super::{Doorbell, inbox};
use crate::models::explore;

#[test]
fn no_core_sleeps_over_mail() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (sender, mut inbox) = inbox(2, &doorbell);
        let poster = loom::thread::spawn(move || sender.post(1).unwrap());
        let sleeps = doorbell.fall_asleep();
        poster.join().unwrap();
        assert!(!sleeps || doorbell.rung() == 1, "the core sleeps, and nobody has rung");
        doorbell.wake();
        assert_eq!(inbox.pop(), Some(1));
    });
}

#[test]
fn of_two_senders_one_wakes_the_core_once() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (sender, mut first) = inbox(2, &doorbell);
        let (other, mut second) = inbox(2, &doorbell);
        let posters =
            [loom::thread::spawn(move || sender.post(1).unwrap()), loom::thread::spawn(move || other.post(2).unwrap())];
        let sleeps = doorbell.fall_asleep();
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert!(!sleeps || doorbell.rung() == 1, "{} have rung", doorbell.rung());
        doorbell.wake();
        assert_eq!((first.pop(), second.pop()), (Some(1), Some(2)));
        assert!(!doorbell.has_mail());
    });
}

#[test]
fn mail_of_one_sender_comes_whole_and_in_order_over_two_sleeps() {
    explore(|| {
        let doorbell = Doorbell::new().unwrap();
        let (sender, mut inbox) = inbox(2, &doorbell);
        let poster = loom::thread::spawn(move || (1..3).for_each(|n| sender.post(n).unwrap()));
        let (mut seen, mut heard) = (Vec::new(), 0);
        for _ in 0..2 {
            let sleeps = doorbell.fall_asleep();
            // Whoever sleeps is woken by the bell alone; a bell rung earlier and not heard yet wakes it at once.
            if sleeps && doorbell.rung() == heard {
                break;
            }
            heard = doorbell.rung();
            doorbell.wake();
            seen.extend(std::iter::from_fn(|| inbox.pop()));
        }
        poster.join().unwrap();
        let sleeps = doorbell.fall_asleep();
        assert!(!sleeps || seen.len() == 2 || doorbell.rung() > heard, "the core sleeps, and nobody has rung");
        doorbell.wake();
        seen.extend(std::iter::from_fn(|| inbox.pop()));
        assert_eq!(seen, [1, 2]);
    });
}
