//! Mail from threads that are not cores: a bounded queue into a core, and a doorbell that wakes it from its ring.
//!
//! ```text
//!  core, before an idle enter                 sender
//!    sleeping.store(1)                          pending += 1; push
//!    fence(SeqCst)                              fence(SeqCst)
//!    pending > 0: sleeping.store(0), no wait    sleeping == 1 and swap(0) == 1: write the eventfd
//!    else enter; sleeping.store(0)
//! ```
//! Of the two fences one side sees the other: the core finds the mail or the sender rings (docs/design/reactor.md, Inbox).
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use base::mutate;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use crate::system;

/// What wakes one core. Clones are the same bell; the core gives one to its ring (`Ring::attach_doorbell`).
#[derive(Clone, Debug)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    /// 1 while the core waits in its ring, or is about to.
    sleeping: CachePadded<AtomicU32>,
    /// Messages in all inboxes and mailboxes of this bell. Invariant: never less than what can be taken from them.
    pending: CachePadded<AtomicUsize>,
    /// Times that a sender had to make the system call.
    rung: AtomicU64,
    eventfd: File,
}

impl Doorbell {
    /// A bell of its own eventfd.
    ///
    /// Errors: the process has no file descriptor left.
    pub fn new() -> io::Result<Doorbell> {
        let bell = Bell {
            sleeping: CachePadded::new(AtomicU32::new(0)),
            pending: CachePadded::new(AtomicUsize::new(0)),
            rung: AtomicU64::new(0),
            eventfd: File::from(system::eventfd()?),
        };
        Ok(Doorbell { bell: Arc::new(bell) })
    }

    /// Wakes the core if it sleeps, mail or not. The caller made its reason visible before (any store).
    pub fn ring(&self) {
        mutate!(MUT_40B, fence(Ordering::SeqCst), ());
        let sleeps = self.bell.sleeping.load(Ordering::Relaxed) == 1;
        if sleeps && self.bell.sleeping.swap(0, Ordering::AcqRel) == 1 {
            self.bell.rung.fetch_add(1, Ordering::Relaxed);
            // Adding 1 to an eventfd fails only at 2^64 - 1, which swap(0) above keeps far away.
            (&self.bell.eventfd).write_all(&1u64.to_ne_bytes()).expect("an eventfd takes an increment");
        }
    }

    /// How often a sender had to ring, since start.
    #[must_use]
    pub fn rung(&self) -> u64 {
        self.bell.rung.load(Ordering::Relaxed)
    }

    /// True if a message waits in any inbox or mailbox of this bell.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.bell.pending.load(Ordering::Acquire) > 0
    }

    /// The core is about to wait: true if it may. `wake` follows in either case.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.bell.sleeping.store(1, Ordering::Relaxed);
        mutate!(MUT_40B, fence(Ordering::SeqCst), ());
        mutate!(MUT_40C, !self.has_mail(), true)
    }

    /// The core is awake and looks into its inboxes by itself.
    pub(crate) fn wake(&self) {
        self.bell.sleeping.store(0, Ordering::Relaxed);
    }

    /// Messages of a mailbox are about to be told.
    pub(crate) fn expect_mail(&self, count: usize) {
        self.bell.pending.fetch_add(count, Ordering::Relaxed);
    }

    /// Messages of a mailbox were taken.
    pub(crate) fn took_mail(&self, count: usize) {
        self.bell.pending.fetch_sub(count, Ordering::Relaxed);
    }

    /// The eventfd; the ring keeps one read on it.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.bell.eventfd.as_raw_fd()
    }
}

/// The receiving end, owned by the core.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Arc<ArrayQueue<T>>,
    doorbell: Doorbell,
}

/// A sending end; clone it for every thread that posts.
#[derive(Debug)]
pub struct Sender<T> {
    queue: Arc<ArrayQueue<T>>,
    doorbell: Doorbell,
}

/// A queue of at most `capacity` messages (not 0) into the core that owns `doorbell`. A core may have several.
#[must_use]
pub fn inbox<T: Send>(capacity: usize, doorbell: &Doorbell) -> (Sender<T>, Inbox<T>) {
    let queue = Arc::new(ArrayQueue::new(capacity));
    let sender = Sender { queue: Arc::clone(&queue), doorbell: doorbell.clone() };
    (sender, Inbox { queue, doorbell: doorbell.clone() })
}

impl<T> Inbox<T> {
    /// The oldest message. Never waits.
    pub fn pop(&mut self) -> Option<T> {
        let message = self.queue.pop()?;
        self.doorbell.bell.pending.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    /// True if `pop` would find nothing now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> Drop for Inbox<T> {
    /// Mail that nobody will read must not keep the core awake.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<T> Sender<T> {
    /// Puts a message into the queue and wakes the core if it sleeps. Never waits.
    ///
    /// Errors: the message comes back if the queue is full; try later or tell the asker `Overloaded`.
    pub fn post(&self, message: T) -> Result<(), T> {
        mutate!(MUT_40D, (), self.doorbell.ring());
        // Before the push, so that the count is never below what the queue holds.
        self.doorbell.bell.pending.fetch_add(1, Ordering::Relaxed);
        if let Err(message) = self.queue.push(message) {
            self.doorbell.bell.pending.fetch_sub(1, Ordering::Relaxed);
            return Err(message);
        }
        mutate!(MUT_40D, self.doorbell.ring(), ());
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { queue: Arc::clone(&self.queue), doorbell: self.doorbell.clone() }
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_in_the_order_of_one_sender() {
        let doorbell = Doorbell::new().unwrap();
        let (sender, mut inbox) = inbox(4, &doorbell);
        for n in 0..4 {
            sender.post(n).unwrap();
        }
        assert_eq!(sender.post(4), Err(4));
        assert!(doorbell.has_mail());
        assert_eq!(std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(!doorbell.has_mail());
    }

    #[test]
    fn only_a_sleeping_core_is_rung_and_only_once() {
        let doorbell = Doorbell::new().unwrap();
        let (sender, mut inbox) = inbox(8, &doorbell);
        sender.post(1).unwrap();
        assert_eq!(doorbell.rung(), 0);
        assert!(!doorbell.fall_asleep(), "mail waits, so the core must not");
        doorbell.wake();
        inbox.pop().unwrap();
        assert!(doorbell.fall_asleep());
        sender.post(2).unwrap();
        sender.post(3).unwrap();
        assert_eq!(doorbell.rung(), 1);
        doorbell.wake();
    }

    #[test]
    fn a_dropped_inbox_keeps_no_core_awake() {
        let doorbell = Doorbell::new().unwrap();
        let (sender, inbox) = inbox(8, &doorbell);
        sender.post(1).unwrap();
        drop(inbox);
        assert!(!doorbell.has_mail());
    }
}
