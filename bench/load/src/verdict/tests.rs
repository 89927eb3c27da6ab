//! Each cause alone makes the verdict that the table says.

use base::{Mono, Span};

use super::*;
use crate::driver::Breakdown;
use crate::judge::{ErrorKind, ViolationKind};
use crate::op::OpKind;
use crate::recorder::Times;

/// 10,000 operations in 10 s of 2 ms each, all sound.
fn sound() -> Record {
    let mut record = Record::default();
    for k in 0..10_000u64 {
        let due = Mono(k * 1_000_000);
        let times = Times { intended: due, permit: due, sent: due, replied: Mono(due.0 + 2_000_000 + k * 10) };
        record.histograms.record(OpKind::Put, &times);
        record.counts.in_flight_ns += 2_000_000 + u128::from(k) * 10;
    }
    (record.counts.achieved, record.counts.offered) = (10_000, 10_000);
    record
}

fn evidence(total: &Record) -> Evidence<'_> {
    Evidence {
        total,
        seconds: 10.0,
        offered_rate: Some(1000.0),
        busy_max: 0.3,
        is_steady: true,
        unsent: 0,
        unanswered: 0,
        errors_max: 0.0001,
        violations_after: 0,
        host: HostFacts::default(),
    }
}

fn expect(evidence: &Evidence<'_>, class: Class, code: &str) {
    let verdict = Verdict::of(evidence);
    assert_eq!(verdict.class, class, "{:?}", verdict.reasons);
    assert_eq!(verdict.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>(), [code]);
}

#[test]
fn a_sound_run_is_valid() {
    let total = sound();
    assert_eq!(Verdict::of(&evidence(&total)), Verdict { class: Class::Valid, reasons: vec![] });
}

#[test]
fn each_cause_alone_makes_its_class() {
    let total = sound();
    let sound = evidence(&total);
    expect(&Evidence { busy_max: 0.9, ..sound }, Class::AtLeast, "generator_busy");
    expect(&Evidence { is_steady: false, ..sound }, Class::Invalid, "not_steady");
    expect(&Evidence { unsent: 3, ..sound }, Class::Invalid, "not_drained");
    expect(&Evidence { violations_after: 1, ..sound }, Class::Invalid, "wrong_answers");
    expect(&Evidence { offered_rate: Some(1100.0), ..sound }, Class::AtLeast, "not_achieved");
    let host = HostFacts { steal_percent: Some(3.0), ..HostFacts::default() };
    expect(&Evidence { host, ..sound }, Class::Invalid, "steal");
    let host = HostFacts { psi_cpu_percent: Some(30.0), is_shared: true, ..HostFacts::default() };
    expect(&Evidence { host, ..sound }, Class::AtLeast, "psi_cpu");
}

#[test]
fn counts_make_their_classes() {
    let with = |change: &dyn Fn(&mut Record)| {
        let mut total = sound();
        change(&mut total);
        total
    };
    let skipped = with(&|total| total.counts.skipped = 1);
    expect(&evidence(&skipped), Class::AtLeast, "skipped");
    let failed = with(&|total| total.counts.errors = [(ErrorKind::Strange, 5)].into());
    expect(&evidence(&failed), Class::Invalid, "errors");
    let wrong = with(&|total| total.counts.violations = [(ViolationKind::StaleRead, 1)].into());
    expect(&evidence(&wrong), Class::Invalid, "wrong_answers");
    // R7.
    let crowded = with(&|total| total.counts.in_flight_ns *= 2);
    expect(&evidence(&crowded), Class::Invalid, "littles_law");
    let mut few = Record::default();
    let at = Mono(5);
    few.histograms.record(OpKind::Put, &Times { intended: at, permit: at, sent: at, replied: Mono(9) });
    few.counts.achieved = 10_000;
    expect(&evidence(&few), Class::Invalid, "too_few");
}

#[test]
fn a_peak_at_the_scheduler_tick_is_seen() {
    let mut total = sound();
    for k in 0..200u64 {
        let due = Mono(k);
        let times = Times { intended: due, permit: due, sent: due, replied: Mono(k + 4_000_000) };
        total.histograms.record(OpKind::Put, &times);
        total.counts.in_flight_ns += 4_000_000;
    }
    expect(&evidence(&total), Class::AtLeast, "tick");
}

#[test]
fn time_that_nobody_accounts_for_is_a_reason_and_leaves_the_class() {
    let total = sound();
    let sample = |net: u64| {
        let times = Times { intended: Mono(0), permit: Mono(0), sent: Mono(0), replied: Mono(1000) };
        let breakdown = Breakdown { net: Span(net), stages: vec![("quorum", Span(500))], ..Breakdown::default() };
        Sample { kind: OpKind::Put, times, breakdown }
    };
    let mut verdict = Verdict::of(&evidence(&total));
    verdict.note_unattributed(&[sample(495), sample(500)]);
    assert_eq!(verdict.reasons, []);
    verdict.note_unattributed(&[sample(300)]);
    assert_eq!((verdict.class, verdict.reasons[0].code, verdict.reasons[0].value), (Class::Valid, "unattributed", 0.2));
}

#[test]
fn reasons_are_words_with_their_numbers() {
    let total = sound();
    let verdict = Verdict::of(&Evidence { busy_max: 0.912, ..evidence(&total) });
    let told = verdict.reasons[0].to_string();
    assert_eq!(told, "a generator core was busy 0.912 of a second; at most 0.850: use more --cores");
}
