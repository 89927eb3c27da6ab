//! Checks after a run against a null machine: each acknowledged command has a count of its own, and the group's count
//! covers them all.

use crate::driver::Inspector;
use crate::generator::Ack;
use crate::judge::ViolationKind;

use super::Checks;

/// Checks all groups. `heads`: their counts before the first operation; `acks` of all cores, with the count as `jid` and
/// the group as `namespace`.
///
/// A command has no session, but one in doubt is not sent again: what was counted lies between what was acknowledged and
/// that with what is in doubt.
///
/// Errors: the inspector's; the check is then not done.
pub fn check_counts<I: Inspector>(heads: &[u64], mut acks: Vec<Ack>, inspector: &mut I) -> Result<Checks, I::Error> {
    acks.sort_unstable_by_key(|ack| (ack.namespace, ack.in_doubt, ack.jid));
    let mut checks = Checks::default();
    let mut rest = acks.as_slice();
    for (before, group) in heads.iter().zip(0u32..) {
        let count = rest.partition_point(|ack| ack.namespace == group);
        let (own, after) = rest.split_at(count);
        rest = after;
        let (sure, doubtful) = own.split_at(own.partition_point(|ack| !ack.in_doubt));
        let head = inspector.inspect(group)?.head;
        check_group(group, (*before, head), sure, doubtful.len() as u64, &mut checks);
    }
    Ok(checks)
}

fn check_group(group: u32, (before, head): (u64, u64), sure: &[Ack], doubtful: u64, checks: &mut Checks) {
    checks.namespaces += 1;
    checks.acks += sure.len() as u64;
    checks.in_doubt += doubtful;
    for ack in sure.iter().filter(|ack| ack.jid <= before || ack.jid > head) {
        let detail = format!("operation {} was acknowledged as number {} of {head}", ack.index, ack.jid);
        checks.add(ViolationKind::LostAck, group, detail);
    }
    for pair in sure.windows(2).filter(|pair| pair[0].jid == pair[1].jid) {
        let (one, other, jid) = (pair[0].index, pair[1].index, pair[0].jid);
        let detail = format!("operations {one} and {other} were both acknowledged as number {jid}");
        checks.add(ViolationKind::JidTwice, group, detail);
    }
    let (counted, acked) = (head.saturating_sub(before), sure.len() as u64);
    if counted > acked + doubtful {
        let extra = counted - acked - doubtful;
        let detail =
            format!("{counted} were counted of {acked} acknowledged and {doubtful} in doubt: {extra} too many");
        checks.add(ViolationKind::DoubledWrite, group, detail);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::driver::Inspection;

    struct Counts(Vec<u64>);

    impl Inspector for Counts {
        type Error = Infallible;

        fn inspect(&mut self, namespace: u32) -> Result<Inspection, Infallible> {
            Ok(Inspection { head: self.0[namespace as usize], ..Inspection::default() })
        }
    }

    fn ack(index: u64, namespace: u32, jid: u64) -> Ack {
        Ack { index, namespace, jid, rows: 1, in_doubt: jid == 0 }
    }

    fn checked(counts: &[u64], acks: &[Ack]) -> Checks {
        let Ok(checks) = check_counts(&[5, 0], acks.to_vec(), &mut Counts(counts.to_vec()));
        checks
    }

    #[test]
    fn counts_that_cover_what_was_acknowledged_are_right() {
        let acks = [ack(0, 0, 7), ack(1, 1, 1), ack(2, 0, 6), ack(3, 0, 0)];
        for counts in [[7, 1], [8, 1]] {
            let checks = checked(&counts, &acks);
            assert_eq!((checks.acks, checks.in_doubt, checks.namespaces, checks.violations_in_all), (3, 1, 2, 0));
        }
    }

    #[test]
    fn a_count_below_an_acknowledgement_is_a_loss_and_one_told_twice_or_beyond_all_is_wrong() {
        let kinds = |counts: &[u64], acks: &[Ack]| {
            checked(counts, acks).violations.iter().map(|violation| violation.kind).collect::<Vec<_>>()
        };
        let acks = [ack(0, 0, 6), ack(1, 0, 7)];
        assert_eq!(kinds(&[6, 0], &acks), [ViolationKind::LostAck]);
        assert_eq!(kinds(&[7, 0], &[ack(0, 0, 5), ack(1, 0, 7)]), [ViolationKind::LostAck], "it was there before");
        assert_eq!(kinds(&[7, 0], &[ack(0, 0, 7), ack(1, 0, 7)]), [ViolationKind::JidTwice]);
        assert_eq!(kinds(&[9, 0], &acks), [ViolationKind::DoubledWrite]);
    }
}
