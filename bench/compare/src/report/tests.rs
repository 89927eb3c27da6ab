//! Tests of what is shown.

use base::Mono;
use load::op::OpKind;
use load::recorder::{Record, Times};

use super::*;
use crate::block::Block;
use crate::drivers::sampled::ReadBack;
use crate::versus::Level;

fn block(rate: u64, service_us: u64) -> Block {
    let mut record = Record::default();
    for at in 0..rate {
        let sent = Mono(at * 1_000);
        let times = Times { intended: sent, permit: sent, sent, replied: Mono(sent.0 + service_us * 1_000) };
        record.histograms.record(OpKind::Put, &times);
    }
    record.counts.achieved = rate;
    Block {
        record,
        seconds: 1.0,
        cpu_us: rate as f64 * 50.0,
        others_cpu: 0.0,
        flushes: Flushes::Counted(rate / 2),
        device_bytes: Some(rate * 100),
        read_back: ReadBack { looked_for: 10, ..ReadBack::default() },
        class: Class::Valid,
        reasons: Vec::new(),
        is_interrupted: false,
    }
}

fn sample(targets: [Target; 2]) -> (Setup, Vec<Comparison>) {
    let setup = Setup {
        command: "dropstone-compare versus".into(),
        mix: "file-commit/1".into(),
        seed: 0x7d1c,
        blocks: [2, 1, 2, 5],
        host: "a machine".into(),
        start_unix_ms: 1,
        is_partial: false,
    };
    let slow = Block { class: Class::AtLeast, reasons: vec!["3 of 10 waited".into()], ..block(2_000, 500) };
    let again = Block { class: Class::Valid, reasons: vec!["4 of 10 waited".into()], ..block(2_000, 500) };
    let pairs = vec![[block(4_000, 250), slow], [block(8_000, 250), again]];
    let versions = ["0.1.0".to_owned(), "3.4.23".to_owned()];
    let told = [String::new(), "fsync on".to_owned()];
    (setup, vec![Comparison { targets, versions, told, is_mixed: false, levels: vec![Level { in_flight: 64, pairs }] }])
}

#[test]
fn every_figure_has_its_durability_row_above_and_its_verdict_beside() {
    let (setup, comparisons) = sample([Target::Dropstone, Target::Etcd]);
    let text = text(&setup, &comparisons);
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{text}"));
    assert!(place("etcd: acknowledged means synced by a quorum of 3") < place("ops/s"));
    assert!(place("etcd says when asked: fsync on\n") < place("ops/s") && !text.contains("dropstone says when asked"));
    assert!(text.contains("6000 flushes of the device in its windows"), "{text}");
    let row = text.lines().find(|line| line.contains("  dropstone  ")).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    let expected = "64 dropstone 6,000 4,000 to 8,000 0.250 0.250 50.0 0.500 100 20 of 20 VALID";
    assert_eq!(cells.join(" "), expected);
    assert!(text.contains("AT-LEAST: etcd, 64 in flight: 3 of 10 waited\n"), "each reason once:\n{text}");
    // 4000 / 2000 and 8000 / 2000: the root of 8.
    assert!(text.contains("dropstone over etcd, 64 in flight: rate 2.83 ["), "{text}");
    assert!(!text.contains("UNLIKE"));
}

#[test]
fn unlike_durability_is_stamped_on_every_form() {
    let (setup, comparisons) = sample([Target::Dropstone, Target::Redis]);
    assert!(text(&setup, &comparisons).contains("64 in flight (UNLIKE)"));
    let page = markdown(&setup, &comparisons);
    assert!(page.contains("- UNLIKE: an acknowledgement means") && page.contains("| 64 | redis | 2,000 |"), "{page}");
    assert_eq!(json(&setup, &comparisons)["comparisons"][0]["unlike"], true);
}

#[test]
fn json_has_both_arms_their_blocks_and_the_ratios() {
    let (setup, comparisons) = sample([Target::Dropstone, Target::Etcd]);
    let json = json(&setup, &comparisons);
    assert_eq!((&json["schema"], &json["seed"]), (&SCHEMA.into(), &"0000000000007d1c".into()));
    let level = &json["comparisons"][0]["levels"][0];
    assert_eq!(level["arms"][1]["verdict"]["class"], "AT-LEAST");
    assert_eq!(level["blocks"][1][0]["rate"], 8000.0);
    let rate = level["ratios"]["rate"]["value"].as_f64().expect("a ratio");
    assert!((rate - 8f64.sqrt()).abs() < 1e-9);
}

#[test]
fn numbers_are_short() {
    assert_eq!([whole(0.4), whole(999.6), whole(1_234_567.0)], ["0", "1,000", "1,234,567"]);
    assert_eq!([three(0.1234), three(1.234), three(12.34), three(123.4)], ["0.123", "1.23", "12.3", "123"]);
}
