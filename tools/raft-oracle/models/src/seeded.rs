//! Seeded bugs of the core, in builds with `--cfg mutations`: which plan of the right driver sees which.

use base::mutations::{ALL, switch};

use crate::check::check;
use crate::plan::Plan;
use crate::search::Bounds;

/// Looks for each seeded bug named in `ids` (all, if none is) with `plans`, in order, and tells who saw it. How many
/// were seen.
pub fn hunt(ids: &[&str], plans: &[&Plan], bounds: Bounds) -> usize {
    let mut seen = 0;
    for mutation in ALL.iter().filter(|mutation| ids.is_empty() || ids.contains(&mutation.id)) {
        switch(Some(*mutation));
        let found = plans.iter().find_map(|plan| {
            let report = check(plan, bounds);
            let (rule, path) = report.broken?;
            Some((plan.name, rule, path.len(), report.unique))
        });
        switch(None);
        seen += usize::from(found.is_some());
        match found {
            Some((plan, rule, steps, states)) => {
                println!("{:4} {plan}: {rule}, {steps} steps, {states} states ({})", mutation.id, mutation.what);
            }
            None => println!("{:4} not seen ({})", mutation.id, mutation.what),
        }
    }
    seen
}
