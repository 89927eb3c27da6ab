//! Requests forwarded between the cores of a node: each is answered once, whatever comes between, and within the bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::limits::{MAILBOX_BYTES_MAX, MAILBOX_REQUESTS_MAX, MAILBOX_WAITING_MAX};
use base::stages::Stamp;
use base::{CoreId, GroupId, Prng};
use proptest::prelude::*;
use reactor::Doorbell;
use transport::{Asked, Mailroom};
use wire::ReplyStatus;

/// One core: its mailroom, what it holds of others, and what it still waits for.
struct Desk {
    room: Mailroom<u64>,
    /// Place, and what the answer must be.
    held: Vec<(u32, Vec<u8>, u64)>,
    /// By request: what the answer will be.
    open: BTreeMap<u64, Vec<u8>>,
    asked: u64,
    refused: u64,
    answered: u64,
}

fn node(cores: usize) -> Vec<Desk> {
    let doorbells: Vec<Doorbell> = (0..cores).map(|_| Doorbell::new().unwrap()).collect();
    let rooms = Mailroom::of_node(&doorbells);
    let desk = |room| Desk { room, held: Vec::new(), open: BTreeMap::new(), asked: 0, refused: 0, answered: 0 };
    rooms.into_iter().map(desk).collect()
}

/// The owner turns the bytes of a request around, and tells how many they were.
fn turned(body: &[u8]) -> Vec<u8> {
    body.iter().rev().copied().collect()
}

impl Desk {
    fn ask(&mut self, to: usize, body: Vec<u8>) -> bool {
        let request = self.asked + self.refused;
        let asked = Asked { connection: 7, request, kind: 1, group: GroupId(to as u32), begun: Stamp::at(request) };
        let is_taken = self.room.forward(CoreId(to as u16), asked, &body);
        if is_taken {
            self.asked += 1;
            self.open.insert(request, turned(&body));
        } else {
            self.refused += 1;
        }
        is_taken
    }

    fn receive(&mut self) {
        let held = &mut self.held;
        self.room.collect();
        self.room.serve(|incoming| {
            assert_eq!(incoming.kind, 1);
            held.push((incoming.place, turned(incoming.body), incoming.body.len() as u64));
        });
    }

    /// Answers one of those held.
    fn answer(&mut self, which: usize) {
        if !self.held.is_empty() {
            let (place, body, bytes) = self.held.swap_remove(which % self.held.len());
            self.room.answer(place, ReplyStatus::Ok, bytes, |out| out.extend_from_slice(&body));
        }
    }

    fn deliver(&mut self) {
        let Desk { room, open, answered, .. } = self;
        room.deliver(|returned| {
            let body = open.remove(&returned.asked.request).expect("a request is answered once");
            assert_eq!(
                (returned.status, returned.body, *returned.note),
                (ReplyStatus::Ok, &body[..], body.len() as u64)
            );
            assert_eq!(returned.asked.group.0, u32::from(returned.core.0), "by the core that was asked");
            assert_eq!(returned.asked.begun, Stamp::at(returned.asked.request));
            *answered += 1;
        });
    }

    /// A whole turn, in which all that is held is answered.
    fn turn(&mut self) {
        self.receive();
        (0..self.held.len()).for_each(|_| self.answer(0));
        self.deliver();
        self.room.publish();
    }
}

#[test]
fn a_request_and_its_answer_cross_with_bodies_of_any_size() {
    let mut cores = node(2);
    for bytes in [0, 1, 40, 4096, 512 << 10, 2 << 20] {
        assert!(cores[0].ask(1, (0..bytes).map(|at| at as u8).collect()));
        cores[0].room.publish();
        cores[1].turn();
        cores[0].turn();
    }
    assert_eq!((cores[0].answered, cores[0].open.len()), (6, 0));
}

#[test]
fn beyond_the_bounds_a_request_is_not_taken_and_nothing_that_was_is_lost() {
    let mut cores = node(2);
    let most = MAILBOX_REQUESTS_MAX + MAILBOX_WAITING_MAX;
    assert_eq!((0..2 * most).filter(|_| cores[0].ask(1, vec![1; 100])).count(), most);
    cores[0].room.publish();
    cores[1].receive();
    assert_eq!(cores[1].room.held(), MAILBOX_REQUESTS_MAX, "no more than that are let over");
    assert!(!cores[0].ask(1, vec![1; 100]));
    while !cores[0].open.is_empty() {
        cores[1].turn();
        cores[0].turn();
    }
    assert_eq!(cores[0].answered, most as u64);
    assert!(cores[0].ask(1, vec![1; 100]), "there is room again");
}

#[test]
fn bytes_have_a_bound_of_their_own() {
    let mut cores = node(2);
    let each = 1 << 20;
    assert_eq!((0..100).filter(|_| cores[0].ask(1, vec![1; each])).count(), MAILBOX_BYTES_MAX / each);
    while !cores[0].open.is_empty() {
        cores[0].turn();
        cores[1].turn();
    }
    assert_eq!((0..100).filter(|_| cores[0].ask(1, vec![1; each])).count(), MAILBOX_BYTES_MAX / each);
}

#[test]
fn a_core_that_stops_gives_back_what_it_has_no_answer_to_and_later_answers_are_dropped() {
    let mut cores = node(2);
    let asked = MAILBOX_REQUESTS_MAX + 36;
    (0..asked).for_each(|_| assert!(cores[0].ask(1, vec![1])));
    cores[0].room.publish();
    cores[1].receive();
    // Two answers are there when the stop comes, of which one is looked at only afterwards.
    cores[1].answer(0);
    cores[1].room.publish();
    cores[0].receive();
    let (mut sent, mut waiting) = (0, 0);
    cores[0].room.stop(|asked, is_sent| {
        assert_eq!(asked.connection, 7);
        *(if is_sent { &mut sent } else { &mut waiting }) += 1;
    });
    // One answer had made room for one of those that waited.
    assert_eq!((sent, waiting), (MAILBOX_REQUESTS_MAX, asked - MAILBOX_REQUESTS_MAX - 1));
    assert!(!cores[0].ask(1, vec![1]), "nothing is taken any more");
    cores[0].deliver();
    cores[0].room.publish();
    cores[1].turn();
    cores[0].turn();
    assert_eq!(cores[0].answered, 1, "what had come home before the stop");
    assert_eq!(cores[1].room.held(), 0);
}

#[test]
fn what_comes_after_the_mail_was_taken_is_not_served_in_that_turn() {
    let mut cores = node(2);
    assert!(cores[0].ask(1, vec![1]));
    cores[0].room.publish();
    cores[1].room.collect();
    // The turn's time is read here: a lease may end before the next request comes.
    assert!(cores[0].ask(1, vec![2]));
    cores[0].room.publish();
    let mut served = Vec::new();
    cores[1].room.serve(|incoming| served.push(incoming.body.to_vec()));
    assert_eq!(served, [vec![1]]);
    cores[1].room.collect();
    cores[1].room.serve(|incoming| served.push(incoming.body.to_vec()));
    assert_eq!(served, [vec![1], vec![2]]);
}

#[test]
fn nothing_is_allocated_for_a_forwarded_command() {
    let doorbells: Vec<Doorbell> = (0..2).map(|_| Doorbell::new().unwrap()).collect();
    let [mut home, mut owner]: [Mailroom<u64>; 2] =
        Mailroom::of_node(&doorbells).try_into().unwrap_or_else(|_| panic!("two were made"));
    let mut held = Vec::new();
    let body = [7; 300];
    let mut answered = 0u64;
    // Above the credits, so that the waiting places are used too.
    const BURST: u64 = MAILBOX_REQUESTS_MAX as u64 + 200;
    let mut turn = || {
        for request in 0..BURST {
            let asked = Asked { connection: 1, request, kind: 1, group: GroupId(1), begun: Stamp::default() };
            assert!(home.forward(CoreId(1), asked, &body));
        }
        for _ in 0..4 {
            home.publish();
            owner.collect();
            owner.serve(|incoming| held.push(incoming.place));
            held.drain(..).for_each(|place| {
                owner.answer(place, ReplyStatus::Ok, 0, |out| out.extend_from_slice(&body));
            });
            owner.publish();
            home.collect();
            home.serve(|_| panic!("nobody asks this core"));
            home.deliver(|_| answered += 1);
        }
    };
    (0..50).for_each(|_| turn());
    let counted = allocation_counter::measure(|| (0..500).for_each(|_| turn()));
    assert_eq!(answered, 550 * BURST);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn two_cores_that_drown_each_other_in_requests_on_two_threads_answer_all() {
    const EACH: u64 = 50_000;
    // One that has all its answers goes on for the other's sake.
    let satisfied = Arc::new(AtomicUsize::new(0));
    let threads = node(2).into_iter().enumerate().map(|(at, mut desk)| {
        let satisfied = satisfied.clone();
        std::thread::spawn(move || {
            let mut prng = Prng::new(at as u64);
            while satisfied.load(Ordering::Relaxed) < 2 {
                while desk.asked < EACH && desk.ask(1 - at, vec![at as u8; prng.below(200) as usize]) {}
                let before = desk.answered;
                desk.turn();
                if before < EACH && desk.answered == EACH {
                    satisfied.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
            (desk, at)
        })
    });
    let desks: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
    for (desk, at) in desks {
        assert_eq!((desk.answered, desk.open.len()), (EACH, 0), "core {at}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { from: usize, to: usize, count: usize, bytes: usize },
    Receive(usize),
    Answer { core: usize, which: usize, count: usize },
    Deliver(usize),
    Publish(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize, 1..3usize, 1..200usize, 0..400usize).prop_map(|(from, by, count, bytes)| Step::Ask {
            from,
            to: (from + by) % 3,
            count,
            bytes
        }),
        (0..3usize).prop_map(Step::Receive),
        (0..3usize, any::<usize>(), 1..100usize).prop_map(|(core, which, count)| Step::Answer { core, which, count }),
        (0..3usize).prop_map(Step::Deliver),
        (0..3usize).prop_map(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All directions at once, steps of the three cores in any order: a ring is never too full for an answer (that would
    /// panic), every request that was taken is answered once and with its own bytes, and all come to an end.
    #[test]
    fn whatever_the_order_every_request_is_answered_once(steps in prop::collection::vec(step(), 0..300)) {
        let mut cores = node(3);
        for step in steps {
            match step {
                Step::Ask { from, to, count, bytes } => {
                    (0..count).for_each(|at| { cores[from].ask(to, vec![at as u8; bytes]); });
                }
                Step::Receive(core) => cores[core].receive(),
                Step::Answer { core, which, count } => (0..count).for_each(|at| cores[core].answer(which.wrapping_add(at))),
                Step::Deliver(core) => cores[core].deliver(),
                Step::Publish(core) => cores[core].room.publish(),
            }
            for core in &cores {
                prop_assert!(core.room.held() <= 2 * MAILBOX_REQUESTS_MAX);
            }
        }
        for _ in 0..100 {
            cores.iter_mut().for_each(Desk::turn);
        }
        for core in &cores {
            prop_assert_eq!((core.answered, core.open.len(), core.room.held()), (core.asked, 0, 0));
        }
    }
}
