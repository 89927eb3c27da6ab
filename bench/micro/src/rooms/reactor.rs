//! The hands of a core: clocks, the system call of a turn, mail. The sockets' benches come with those of the whole loop.

use std::hint::black_box;

use base::stages::Stamp;
use reactor::clock::{self, StampClock};
use reactor::{Doorbell, Io as _, Ring, RingConfig, Wait, inbox};

use crate::{Bench, Body, each};

const MANY: u64 = 64;

/// The benches of this room. No twins: what they cost is the kernel's and the processor's.
#[must_use]
pub fn benches() -> Vec<Bench> {
    vec![
        Bench::new("reactor/clock/now", |_| now()).operations(MANY),
        Bench::new("reactor/clock/stamp", |_| stamp()).operations(MANY),
        Bench::new("reactor/enter/empty", |_| enter()),
        Bench::new("reactor/mailbox/one", |_| mailbox()).operations(MANY).counted(2000),
    ]
}

/// How often the clock went back: never.
fn now() -> Body {
    let mut last = clock::mono();
    each(MANY, move |_| {
        let now = black_box(clock::mono());
        u64::from(std::mem::replace(&mut last, now) > now)
    })
}

fn stamp() -> Body {
    let clock = StampClock::new();
    let mut last = Stamp::default();
    each(MANY, move |_| {
        let now = black_box(clock.stamp());
        u64::from(std::mem::replace(&mut last, now) > now)
    })
}

/// A turn's system call with nothing to submit and nothing to wait for.
fn enter() -> Body {
    let mut ring = Ring::new(&RingConfig::default()).expect("the kernel gives a ring");
    let mut told = 0;
    Box::new(move || {
        ring.enter(Wait::No);
        ring.reap(&mut |_| told += 1);
        told
    })
}

/// One message into a core that is awake, and out.
fn mailbox() -> Body {
    let doorbell = Doorbell::new().expect("there is a descriptor left");
    let (sender, mut inbox) = inbox(1024, &doorbell);
    each(MANY, move |at| {
        sender.post(black_box(at)).expect("it is emptied each time");
        inbox.pop().expect("it was just posted")
    })
}
