//! The balancers of several nodes, from any start, until nothing moves.

use super::*;

const ROUND: Span = Span::from_ms(50);
/// Seeds of the longer tests.
const SEEDS: u64 = 24;

/// A leadership on its way: it arrives at `due`, or, if it does not arrive, is given up then.
struct Move {
    due: Mono,
    at: usize,
    to: usize,
    arrives: bool,
}

/// Balancers of one core of each node, without consensus: what is given arrives after a while, and the others see it later
/// still.
struct World {
    now: Mono,
    prng: Prng,
    balances: Vec<Balance>,
    /// Who leads each group.
    leaders: Vec<usize>,
    /// Commands per second of each.
    loads: Vec<usize>,
    moving: Vec<Move>,
    /// Becomes known: when, to whom, the group, its leader.
    news: Vec<(Mono, usize, usize, usize)>,
    /// One move in so many is not taken over; 0 none.
    losses: u64,
    moves: usize,
}

fn node(seat: usize) -> NodeId {
    NodeId(seat as u64 + 1)
}

impl World {
    /// `leading` nodes lead everything at first, as after restarts.
    fn new(seed: u64, (nodes, leading): (usize, u64), loads: Vec<usize>) -> World {
        let mut prng = Prng::new(seed);
        let (now, groups) = (Mono(1_000_000_000), loads.len());
        let balance = |seat: usize| Balance::new(Balancing::default(), groups, seed * 31 + seat as u64, now);
        let mut balances: Vec<Balance> = (0..nodes).map(balance).collect();
        let leaders: Vec<usize> = (0..groups).map(|_| prng.below(leading) as usize).collect();
        for (at, leader) in (0..).zip(&leaders) {
            balances.iter_mut().for_each(|balance| balance.note_leader(at, node(*leader), now));
        }
        World { now, prng, balances, leaders, loads, moving: Vec::new(), news: Vec::new(), losses: 0, moves: 0 }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Span::from_ms(seconds * 1_000);
        while self.now < end {
            self.round();
        }
    }

    fn round(&mut self) {
        let second = self.now.0 / 1_000_000_000;
        self.now = self.now + ROUND;
        let now = self.now;
        if now.0 / 1_000_000_000 > second {
            for (at, load) in (0..).zip(&self.loads) {
                self.balances.iter_mut().for_each(|balance| balance.note_applied(at, *load, 0, now));
            }
        }
        let (arrived, moving) = std::mem::take(&mut self.moving).into_iter().partition(|moved| moved.due <= now);
        self.moving = moving;
        for Move { at, to, arrives, .. } in arrived {
            if arrives {
                // Whoever votes for another leads no more.
                let from = std::mem::replace(&mut self.leaders[at], to);
                self.balances[from].note_leader(at as u32, NodeId(0), now);
                for seat in 0..self.balances.len() {
                    self.news.push((now + Span(self.prng.below(100_000_000)), seat, at, to));
                }
            }
        }
        let (known, news) = std::mem::take(&mut self.news).into_iter().partition(|(due, ..)| *due <= now);
        self.news = news;
        for (_, seat, at, leader) in known {
            let told: &mut Balance = &mut self.balances[seat];
            told.note_leader(at as u32, node(leader), now);
        }
        (0..self.balances.len())
            .filter(|seat| self.balances[*seat].deadline() <= now)
            .collect::<Vec<_>>()
            .iter()
            .for_each(|seat| self.look(*seat));
    }

    fn look(&mut self, seat: usize) {
        let now = self.now;
        let nodes = self.balances.len();
        let World { balances, moving, .. } = self;
        let balance = &mut balances[seat];
        balance.begin_look(node(seat), |at| moving.iter().any(|moved| moved.at == at as usize), now);
        balance.tally(node(seat), (0..nodes).filter(|peer| *peer != seat).map(node));
        if !balance.is_wanted(now) {
            return;
        }
        let mut has_wish = true;
        for _ in 0..TRIES_PER_LOOK {
            let give = match balance.next(now) {
                Next::Give(give) => give,
                Next::NotNow => break,
                Next::Nothing => {
                    has_wish = false;
                    break;
                }
            };
            // As raft refuses while it does not lead, or hands over already.
            let is_open = moving.iter().any(|moved| moved.at == give.at as usize);
            if self.leaders[give.at as usize] != seat || is_open {
                balance.note_refused(&give, now);
                continue;
            }
            let to = balance.sides[give.to].node.0 as usize - 1;
            balance.begin(&give, now);
            let arrives = self.losses == 0 || !self.prng.one_in(self.losses);
            let takes = if arrives { Span(1_000_000 + self.prng.below(50_000_000)) } else { Span::from_ms(1_000) };
            moving.push(Move { due: now + takes, at: give.at as usize, to, arrives });
            self.moves += 1;
        }
        balance.plan(has_wish || balance.sides.len() < nodes, now);
    }

    fn led(&self) -> Vec<(usize, usize)> {
        let mut led = vec![(0, 0); self.balances.len()];
        for (leader, load) in self.leaders.iter().zip(&self.loads) {
            led[*leader].0 += 1;
            led[*leader].1 += load;
        }
        led
    }

    fn spread(&self) -> usize {
        let counts = self.led().into_iter().map(|(count, _)| count);
        counts.clone().max().unwrap() - counts.min().unwrap()
    }
}

#[test]
fn from_any_start_idle_leaders_become_even_in_no_more_moves_than_needed_and_then_nothing_moves() {
    for seed in 0..4 * SEEDS {
        let mut prng = Prng::new(seed);
        let (nodes, groups) = (2 + prng.below(6) as usize, 1 + prng.below(200) as usize);
        let leading = 1 + prng.below(nodes as u64);
        let mut world = World::new(seed, (nodes, leading), vec![0; groups]);
        let even = groups / nodes;
        let surplus: usize = world.led().iter().map(|(count, _)| count.saturating_sub(even)).sum();
        world.run(60);
        assert!(world.spread() <= 1, "seed {seed}: {:?}", world.led());
        assert!(world.moves <= surplus + surplus / 4 + nodes, "seed {seed}: {} moves for {surplus}", world.moves);
        let moves = world.moves;
        world.run(120);
        assert_eq!(world.moves, moves, "seed {seed}: it goes on");
        let is_silent = world.balances.iter().all(|balance| balance.deadline() == Mono::MAX);
        assert!(is_silent, "seed {seed}: an idle, even cluster is looked at");
    }
}

#[test]
fn hundreds_of_leaders_a_second_leave_a_node_that_has_them_all() {
    let mut world = World::new(7, (3, 1), vec![0; 600]);
    world.run(6);
    let before = world.moves;
    world.run(2);
    assert!(world.moves - before >= 200, "{} in two seconds", world.moves - before);
    world.run(10);
    assert_eq!(world.led(), [(200, 0), (200, 0), (200, 0)]);
}

#[test]
fn moves_that_are_not_taken_over_are_tried_again_and_it_ends_even() {
    for seed in 0..20 {
        let mut world = World::new(seed, (3, 1), vec![0; 60]);
        world.losses = 4;
        world.run(400);
        assert!(world.spread() <= 1, "seed {seed}: {:?}", world.led());
    }
}

#[test]
fn unequal_loads_become_even_too_and_then_nothing_moves() {
    for seed in 0..SEEDS {
        let mut prng = Prng::new(seed);
        let (nodes, groups) = (2 + prng.below(4) as usize, 4 + prng.below(60) as usize);
        // A few hot ones, some warm ones, most of them idle; or all alike.
        let kind = prng.below(3);
        let load = |prng: &mut Prng| match (kind, prng.below(10)) {
            (0, 0) => prng.below(20_000) as usize,
            (0, 1..4) => prng.below(500) as usize,
            (0, _) => 0,
            (1, _) => prng.below(3_000) as usize,
            _ => 800,
        };
        let loads: Vec<usize> = (0..groups).map(|_| load(&mut prng)).collect();
        let leading = 1 + prng.below(nodes as u64);
        let mut world = World::new(seed, (nodes, leading), loads);
        world.run(500);
        let (moves, led) = (world.moves, world.led());
        assert!(moves <= 4 * groups, "seed {seed}: {moves} moves of {groups} groups");
        world.run(200);
        assert_eq!(world.moves, moves, "seed {seed}: {led:?} does not stay");
        for (from, to) in (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))) {
            let gap = led[from].1.saturating_sub(led[to].1);
            let least = 500.max(led[from].1 / 4);
            let fits = |at: &usize| world.leaders[*at] == from && (least / 8..=gap / 2).contains(&world.loads[*at]);
            let is_even = gap <= least + least / 20 || !(0..groups).any(|at| fits(&at));
            assert!(is_even, "seed {seed}: {led:?}, and a group would even node {from} and {to}");
        }
    }
}

#[test]
fn a_hot_group_is_exchanged_for_a_cold_one_and_counts_stay_even() {
    let mut loads = vec![0; 30];
    // The three that are hot have one leader.
    let mut world = World::new(3, (3, 3), loads.clone());
    world.run(30);
    let hot: Vec<usize> = (0..30).filter(|at| world.leaders[*at] == 0).take(3).collect();
    hot.iter().for_each(|at| loads[*at] = 4_000);
    world.loads = loads;
    world.run(200);
    assert_eq!(world.led(), [(10, 4_000), (10, 4_000), (10, 4_000)]);
}

#[test]
fn one_group_with_all_the_load_stays_where_it_is() {
    let mut world = World::new(5, (3, 3), vec![0; 12]);
    world.run(30);
    let moves = world.moves;
    world.loads[4] = 30_000;
    world.run(300);
    assert_eq!(world.moves, moves, "whoever leads it has the load: moving it helps nobody");
}

#[test]
fn nothing_moves_in_the_first_seconds_unless_somebody_asks() {
    let mut world = World::new(9, (3, 1), vec![0; 9]);
    world.run(4);
    assert_eq!(world.moves, 0);
    let now = world.now;
    world.balances.iter_mut().for_each(|balance| balance.ask(now));
    world.run(2);
    assert_eq!(world.spread(), 0);
}

#[test]
fn a_core_evens_the_nodes_where_its_own_counts_allow_it() {
    let settings = Balancing::default();
    let now = Mono(100_000_000_000);
    let mut balance = Balance::new(settings, 3, 1, Mono(0));
    for (at, leader) in [(0, 1), (1, 1), (2, 2)] {
        balance.note_leader(at, NodeId(leader), Mono(0));
    }
    balance.begin_look(NodeId(1), |_| false, now);
    balance.tally(NodeId(1), [NodeId(2)].into_iter());
    assert!(matches!(balance.next(now), Next::Nothing), "one more is even enough");
    balance.by_node = vec![(NodeId(1), 7), (NodeId(2), 5)];
    balance.tally(NodeId(1), [NodeId(2)].into_iter());
    let Next::Give(give) = balance.next(now) else { panic!("the node leads two more than the other") };
    balance.begin(&give, now);
    assert!(matches!(balance.next(now), Next::Nothing), "six and six");
}

#[test]
fn a_peer_that_votes_in_no_group_keeps_nobody_else_from_getting_some() {
    let now = Mono(100_000_000_000);
    let mut balance = Balance::new(Balancing::default(), 6, 1, Mono(0));
    (0..6).for_each(|at| balance.note_leader(at, NodeId(1), Mono(0)));
    balance.begin_look(NodeId(1), |_| false, now);
    balance.tally(NodeId(1), [NodeId(2), NodeId(3)].into_iter());
    let mut given = 0;
    loop {
        match balance.next(now) {
            Next::Give(give) if balance.sides[give.to].node == NodeId(2) => balance.note_refused(&give, now),
            Next::Give(give) => {
                balance.begin(&give, now);
                given += 1;
            }
            Next::NotNow | Next::Nothing => break,
        }
    }
    assert_eq!(given, 2, "a third of the gap");
}
