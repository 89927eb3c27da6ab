//! The rule: which of the own leaderships goes to which peer, if one should (docs/design/raft.md, "Balance").
//!
//! ```text
//!  count   led(me) - led(peer) >= 2, or 1 and the node leads 2 more than the peer's      a group whose move does not turn
//!                                                                                          the loads round
//!  load    load(me) - load(peer) >= max(least gap, a quarter of load(me))                the group nearest to half the gap
//! ```
//! A count move takes two sides nearer to each other and never past; a load move takes at most half of the gap. So each
//! makes the spread smaller, nothing goes back for the reason it came, and there is an end.

use base::NodeId;

/// What one node leads on this core, as this core sees it; what is on its way counts at its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Side {
    pub node: NodeId,
    /// Groups of this core.
    pub led: u32,
    /// Groups of all cores.
    pub led_by_node: u32,
    /// Commands per second of those of this core.
    pub load: u64,
    /// Of `led`, on their way from this core.
    pub coming: u32,
    /// Groups that could not go there, in this look.
    pub refusals: u32,
}

impl Side {
    /// A node that leads nothing.
    pub(crate) fn of(node: NodeId) -> Side {
        Side { node, led: 0, led_by_node: 0, load: 0, coming: 0, refusals: 0 }
    }

    pub(crate) fn gives(&mut self, load: u64) {
        self.led -= 1;
        self.led_by_node = self.led_by_node.saturating_sub(1);
        self.load = self.load.saturating_sub(load);
    }

    pub(crate) fn takes(&mut self, load: u64) {
        self.led += 1;
        self.led_by_node += 1;
        self.load += load;
        self.coming += 1;
    }
}

/// Which group to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// One to even the counts. The nearest to `load_best` of those up to `load_max` is best.
    Count { load_best: u64, load_max: u64 },
    /// One to even the loads, of at least `load_min`; the nearest to `load_max` from below.
    Load { load_min: u64, load_max: u64 },
}

impl Wish {
    /// How well a group of this load would do, less is better; `None`: not at all.
    pub(crate) fn distance(self, load: u64) -> Option<u64> {
        match self {
            Wish::Count { load_best, load_max } => (load <= load_max).then(|| load.abs_diff(load_best)),
            Wish::Load { load_min, load_max } => (load_min <= load && load <= load_max).then(|| load_max - load),
        }
    }
}

/// Should something go from `me` to `peer`? `nodes` is how many nodes may do the same at this time, all with the same
/// peer in view: each takes its share of the gap, so that together they do not overshoot. `gap_min`: loads that differ by
/// less are equal.
pub(crate) fn wish(me: &Side, peer: &Side, nodes: u32, gap_min: u64) -> Option<Wish> {
    let gap = i64::from(me.led) - i64::from(peer.led);
    let node_gap = i64::from(me.led_by_node) - i64::from(peer.led_by_node);
    if gap >= 2 || (gap == 1 && node_gap >= 2) {
        // As it was before what is on its way left.
        let seen = gap + 2 * i64::from(peer.coming);
        let share = (seen / i64::from(nodes.max(2))).max(1);
        return (i64::from(peer.coming) < share).then(|| count_wish(me, peer, gap_min));
    }
    if peer.coming > 0 {
        return None;
    }
    let gap = me.load.saturating_sub(peer.load);
    let least = gap_min.max(me.load / 4);
    (gap >= least && gap > 0).then_some(Wish::Load { load_min: (least / 8).max(1), load_max: gap / 2 })
}

/// Best is half of the gap. What turns the loads round goes only as far as the load rule would not answer, by far, or if it
/// does not matter.
fn count_wish(me: &Side, peer: &Side, gap_min: u64) -> Wish {
    let (larger, smaller) = (me.load.max(peer.load), me.load.min(peer.load));
    let slack = gap_min.max(larger / 4) / 4;
    let load_max = (me.load + slack).saturating_sub(peer.load) / 2;
    let cold = gap_min.max(smaller / 4) / 64;
    Wish::Count { load_best: me.load.saturating_sub(peer.load) / 2, load_max: load_max.max(cold) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(node: u64, led: u32, load: u64) -> Side {
        Side { led, load, led_by_node: led, ..Side::of(NodeId(node)) }
    }

    #[test]
    fn one_more_is_even_unless_the_node_leads_two_more() {
        let (mut me, peer) = (side(1, 3, 0), side(2, 2, 0));
        assert_eq!(wish(&me, &peer, 3, 500), None);
        me.led_by_node = 4;
        assert!(matches!(wish(&me, &peer, 3, 500), Some(Wish::Count { .. })));
        let peer = side(2, 3, 0);
        assert_eq!(wish(&me, &peer, 3, 500), None, "the counts of the core itself come first");
    }

    #[test]
    fn each_of_the_nodes_gives_its_share_of_the_gap() {
        let (mut me, mut peer) = (side(1, 30, 0), side(2, 0, 0));
        let mut given = 0;
        while wish(&me, &peer, 3, 500).is_some() {
            me.gives(0);
            peer.takes(0);
            given += 1;
        }
        assert_eq!(given, 10, "of three nodes two may give ten each, and all have ten or more then");
    }

    #[test]
    fn a_count_does_not_turn_the_loads_round() {
        let Some(wish) = wish(&side(1, 9, 10_000), &side(2, 2, 8_000), 2, 500) else { panic!("seven more") };
        let slack = 10_000 / 4 / 4;
        assert_eq!(wish.distance(1_000), Some(0), "half of the gap is best");
        assert!(wish.distance((2_000 + slack) / 2).is_some() && wish.distance((2_000 + slack) / 2 + 1).is_none());
        let Some(wish) = super::wish(&side(1, 9, 100), &side(2, 2, 8_000), 2, 500) else { panic!("seven more") };
        assert!(wish.distance(0).is_some() && wish.distance(50).is_none(), "only what does not matter");
    }

    #[test]
    fn a_load_move_wants_a_quarter_of_difference_and_takes_at_most_half_of_it() {
        assert_eq!(wish(&side(1, 5, 4_000), &side(2, 5, 3_001), 2, 500), None);
        let Some(wish) = wish(&side(1, 5, 4_000), &side(2, 5, 3_000), 2, 500) else { panic!("a quarter") };
        assert_eq!(wish, Wish::Load { load_min: 125, load_max: 500 });
        assert!(
            wish.distance(500) < wish.distance(400) && wish.distance(501).is_none() && wish.distance(124).is_none()
        );
        assert_eq!(super::wish(&side(1, 5, 499), &side(2, 5, 0), 2, 500), None, "too little to matter");
    }
}
