//! Nodes that are alike: a state and the same state with their names exchanged need one look, not two.

use base::NodeId;

/// All ways to exchange the names of nodes that are alike; the first leaves them as they are.
#[derive(Clone, Debug)]
pub struct Names {
    /// By way, then by id - 1: the new name.
    ways: Vec<Vec<NodeId>>,
}

impl Names {
    /// Of `count` nodes, ids from 1, of which `alike` may be exchanged.
    #[must_use]
    pub fn new(count: u64, alike: &[NodeId]) -> Names {
        let mut ways = Vec::new();
        for order in orders(alike) {
            let new_name = |id: NodeId| alike.iter().position(|of| *of == id).map_or(id, |at| order[at]);
            ways.push((1..=count).map(NodeId).map(new_name).collect());
        }
        Names { ways }
    }

    /// In how many ways.
    #[must_use]
    pub fn ways(&self) -> usize {
        self.ways.len()
    }

    /// The new name of `id`.
    #[must_use]
    pub fn name(&self, way: usize, id: NodeId) -> NodeId {
        let at = usize::try_from(id.0).expect("a small id").wrapping_sub(1);
        self.ways[way].get(at).copied().unwrap_or(id)
    }
}

/// All orders of `ids`, the given one first.
fn orders(ids: &[NodeId]) -> Vec<Vec<NodeId>> {
    if ids.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |at: usize| {
        let mut rest = ids.to_vec();
        let first = rest.remove(at);
        orders(&rest).into_iter().map(move |order| [vec![first], order].concat())
    };
    (0..ids.len()).flat_map(with_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_alike_have_six_ways_and_the_first_changes_nothing() {
        let names = Names::new(4, &[NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(names.ways(), 6);
        assert!((1..=4).map(NodeId).all(|id| names.name(0, id) == id));
        assert!((0..6).all(|way| names.name(way, NodeId(4)) == NodeId(4)));
        assert_eq!(Names::new(3, &[]).ways(), 1);
    }
}
