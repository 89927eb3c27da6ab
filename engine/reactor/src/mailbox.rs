//! Mail from one core to another: a ring of one sender and one receiver, told in batches, heard by the doorbell.
//!
//! ```text
//!  sender                                    receiver
//!    push: place[tail] = message               pop: message = place[head]
//!    after 16, and once a turn:                nothing known is left, or 16 are taken:
//!      pending += n                              head.store(Release)
//!      tail.store(Release)                       pending -= n
//!      fence(SeqCst)                             tail.load(Acquire)
//!      receiver sleeps: ring its bell
//! ```
//! Each side has a copy of the other's index and reads it anew only when the ring looks full or empty. How a core falls
//! asleep without missing mail is the doorbell's (`inbox.rs`): `pending` there counts what was told here too. Nothing
//! allocates, waits or takes a lock; a message is moved, so what it owns travels with it.

#[cfg(not(loom))]
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

use base::limits::{MAILBOX_BATCH_MAX, MAILBOX_DEPTH_MAX};
use base::mutate;
use crossbeam::utils::CachePadded;
#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::inbox::Doorbell;

const _: () = assert!(MAILBOX_DEPTH_MAX.is_power_of_two());

/// What both ends share.
struct Shared<T> {
    /// Messages taken since the start, as the receiver has told.
    head: CachePadded<AtomicUsize>,
    /// Messages put in since the start, as the sender has told. Invariant: at most a ring's depth ahead of `head`.
    tail: CachePadded<AtomicUsize>,
    /// A power of two of them. Those from `head` to `tail` hold messages.
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a place is touched by one end at a time: by the sender from when `head` has passed it until `tail` has, by the
// receiver from then on. Both indices are stored with Release and loaded with Acquire, and each end is one value that is
// not cloned and works through `&mut`. Messages move between threads, so they must be `Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn place(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.places[index & (self.places.len() - 1)]
    }

    /// Puts a message into the place of `index`, which is the sender's now.
    fn put(&self, index: usize, message: T) {
        let put = |place: *mut MaybeUninit<T>| {
            // SAFETY: the pointer is the cell's own, and the caller has seen that `head` left this place behind, so that
            // the receiver does not look at it until `tail` passes it.
            unsafe { (*place).write(message) };
        };
        #[cfg(loom)]
        self.place(index).with_mut(put);
        #[cfg(not(loom))]
        put(self.place(index).get());
    }

    /// Takes the message out of the place of `index`, which is the receiver's now and is not read again.
    fn take(&self, index: usize) -> T {
        let take = |place: *mut MaybeUninit<T>| {
            // SAFETY: the pointer is the cell's own, and the caller has seen that `tail` passed this place: it was written
            // then, and the sender does not touch it until `head` passes it, which is once for each message.
            unsafe { (*place).assume_init_read() }
        };
        #[cfg(loom)]
        return self.place(index).with_mut(take);
        #[cfg(not(loom))]
        take(self.place(index).get())
    }
}

impl<T> Drop for Shared<T> {
    /// Messages that nobody took. Both ends have told all that they did when they were dropped.
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        (0..tail.wrapping_sub(head)).for_each(|at| drop(self.take(head.wrapping_add(at))));
    }
}

/// The sending end. It belongs to one core.
pub struct Outbox<T> {
    shared: Arc<Shared<T>>,
    /// The receiver's.
    doorbell: Doorbell,
    /// Messages put in. Invariant: told <= tail <= head_seen + depth.
    tail: usize,
    /// Of those, the ones that the receiver can see.
    told: usize,
    /// The receiver's index when it was last read.
    head_seen: usize,
}

/// The receiving end. It belongs to the core that has the doorbell.
pub struct Mailbox<T> {
    shared: Arc<Shared<T>>,
    doorbell: Doorbell,
    /// Messages taken. Invariant: told <= head <= tail_seen.
    head: usize,
    /// Of those, the ones whose places the sender may use again.
    told: usize,
    /// The sender's index when it was last read.
    tail_seen: usize,
}

/// A ring of `MAILBOX_DEPTH_MAX` messages into the core that owns `doorbell`, from one other core.
#[must_use]
pub fn mailbox<T: Send>(doorbell: &Doorbell) -> (Outbox<T>, Mailbox<T>) {
    with_depth(MAILBOX_DEPTH_MAX, doorbell)
}

/// A ring of `depth` messages, a power of two.
fn with_depth<T: Send>(depth: usize, doorbell: &Doorbell) -> (Outbox<T>, Mailbox<T>) {
    assert!(depth.is_power_of_two(), "an index is masked");
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        places: (0..depth).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let outbox = Outbox { shared: shared.clone(), doorbell: doorbell.clone(), tail: 0, told: 0, head_seen: 0 };
    (outbox, Mailbox { shared, doorbell: doorbell.clone(), head: 0, told: 0, tail_seen: 0 })
}

impl<T> Outbox<T> {
    /// Puts a message in. The receiver sees it after the next [`Outbox::publish`] at the latest. Never waits.
    ///
    /// Errors: the message comes back if the ring is full.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.shared.places.len() {
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == self.shared.places.len() {
                return Err(message);
            }
        }
        self.shared.put(self.tail, message);
        self.tail = self.tail.wrapping_add(1);
        if self.tail.wrapping_sub(self.told) >= MAILBOX_BATCH_MAX {
            self.publish();
        }
        Ok(())
    }

    /// Lets the receiver see what was put in, and wakes it if it sleeps. Once at the end of a turn; without mail it does
    /// nothing.
    pub fn publish(&mut self) {
        let count = self.tail.wrapping_sub(self.told);
        if count == 0 {
            return;
        }
        mutate!(MUT_40E, (), self.doorbell.ring());
        // Before the tail, so that the count is never below what can be seen.
        self.doorbell.expect_mail(count);
        self.shared.tail.store(self.tail, mutate!(MUT_40F, Ordering::Release, Ordering::Relaxed));
        self.told = self.tail;
        mutate!(MUT_40E, self.doorbell.ring(), ());
    }
}

impl<T> Mailbox<T> {
    /// The oldest message that was told. Never waits.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.give_back();
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let message = self.shared.take(self.head);
        self.head = self.head.wrapping_add(1);
        // A caller that does not go on to the end must not keep the sender out.
        if self.head.wrapping_sub(self.told) >= MAILBOX_BATCH_MAX {
            self.give_back();
        }
        Some(message)
    }

    /// Lets the sender use the places of what was taken.
    fn give_back(&mut self) {
        let count = self.head.wrapping_sub(self.told);
        if count > 0 {
            self.shared.head.store(self.head, Ordering::Release);
            self.told = self.head;
            self.doorbell.took_mail(count);
        }
    }
}

impl<T> Drop for Outbox<T> {
    /// What was put in can still be taken.
    fn drop(&mut self) {
        self.publish();
    }
}

impl<T> Drop for Mailbox<T> {
    /// Mail that nobody will read must not keep the core awake.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<T> std::fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("tail", &self.tail).field("told", &self.told).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("head", &self.head).field("tail_seen", &self.tail_seen).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_are_seen_once_told_and_leave_in_order() {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = mailbox(&doorbell);
        (0..3).for_each(|n| outbox.push(n).unwrap());
        assert_eq!(mailbox.pop(), None, "nothing was told yet");
        assert!(!doorbell.has_mail());
        outbox.publish();
        assert!(doorbell.has_mail());
        assert_eq!(std::iter::from_fn(|| mailbox.pop()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!doorbell.has_mail());
    }

    #[test]
    fn a_batch_is_told_without_being_asked() {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = mailbox(&doorbell);
        (0..MAILBOX_BATCH_MAX + 1).for_each(|n| outbox.push(n).unwrap());
        assert_eq!(std::iter::from_fn(|| mailbox.pop()).count(), MAILBOX_BATCH_MAX);
    }

    #[test]
    fn a_full_ring_gives_the_message_back_until_there_is_room() {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = with_depth(2, &doorbell);
        // Over and over, so that indices pass the depth many times.
        for n in 0..100 {
            outbox.push(n).unwrap();
            outbox.push(n + 1).unwrap();
            assert_eq!(outbox.push(n + 2), Err(n + 2));
            outbox.publish();
            assert_eq!((mailbox.pop(), mailbox.pop(), mailbox.pop()), (Some(n), Some(n + 1), None));
        }
    }

    #[test]
    fn a_sleeping_receiver_is_rung_once_for_a_batch() {
        let doorbell = Doorbell::new().unwrap();
        let (mut outbox, mut mailbox) = mailbox(&doorbell);
        assert!(doorbell.fall_asleep());
        (0..5).for_each(|n| outbox.push(n).unwrap());
        assert_eq!(doorbell.rung(), 0);
        outbox.publish();
        outbox.push(5).unwrap();
        outbox.publish();
        assert_eq!(doorbell.rung(), 1);
        doorbell.wake();
        assert!(!doorbell.fall_asleep(), "mail waits");
        assert_eq!(std::iter::from_fn(|| mailbox.pop()).count(), 6);
        assert!(doorbell.fall_asleep());
    }

    #[test]
    fn what_nobody_took_is_dropped_with_the_ring_told_or_not() {
        let counted = Arc::new(());
        let doorbell = Doorbell::new().unwrap();
        for drops_receiver_first in [false, true] {
            let (mut outbox, mut mailbox) = mailbox(&doorbell);
            (0..5).for_each(|_| outbox.push(counted.clone()).unwrap());
            outbox.publish();
            drop(mailbox.pop());
            (0..2).for_each(|_| outbox.push(counted.clone()).unwrap());
            assert_eq!(Arc::strong_count(&counted), 7);
            if drops_receiver_first {
                drop(mailbox);
                drop(outbox);
            } else {
                drop(outbox);
                drop(mailbox);
                assert!(!doorbell.has_mail(), "a dropped mailbox keeps no core awake");
            }
            assert_eq!(Arc::strong_count(&counted), 1);
        }
    }
}
