//! The mixes that ship, and the errors of those that people write.

use super::*;

const GOOD: &str = r#"format = 1
name = "mine"
version = 1
[population]
namespaces = 3
files_per_namespace = { dist = "const", value = 10 }
[draw]
namespace = { dist = "uniform" }
path = { dist = "latest" }
file = { dist = "const", value = 0 }
[op]
put = { weight = 40.0, update_fraction = 0.25 }
stat = { weight = 60.0 }
"#;

fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Mix::parse("my.toml", &GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn every_built_in_mix_parses_and_is_called_as_it_is_named() {
    for ((name, _), mix) in BUILT_IN.iter().zip(Mix::all_built_in()) {
        assert_eq!(*name, mix.name);
        assert!(!mix.about.is_empty() && mix.version > 0, "{name}");
    }
    assert_eq!(Mix::all_built_in().count(), BUILT_IN.len());
    assert!(Mix::built_in("no such").is_none());
}

#[test]
fn mistakes_are_told_with_file_line_and_field() {
    for (from, to, expected) in [
        ("weight = 60.0", "weight = 59.0", "my.toml:11: op: weights sum to 99.00, not to 100.00"),
        ("stat =", "sata =", "my.toml:13: op.sata: no such operation; known are put,"),
        ("namespaces = 3", "namespaces = 0", "my.toml:5: population.namespaces must be from 1"),
        ("namespaces = 3", "nmespaces = 3", "unknown field `nmespaces`"),
        ("namespaces = 3", "namespaces = \"x\"", "my.toml:5: invalid type"),
        ("\"uniform\"", "\"unifrom\"", "my.toml:8: draw.namespace: no distribution \"unifrom\"; known are zipf"),
        ("\"uniform\"", "\"uniform\", theta = 1.0", "my.toml:8: draw.namespace.theta: uniform has no theta"),
        ("format = 1", "format = 2", "my.toml:1: format = 2 is newer than this binary"),
        (
            "stat = { weight = 60.0",
            "stat = { weight = 60.0, update_fraction = 0.1",
            "my.toml:13: op.stat.update_fraction",
        ),
        ("update_fraction = 0.25", "update_fraction = 2.5", "my.toml:12: op.put.update_fraction must be"),
        ("value = 0", "value = 99999999999", "my.toml:10: draw.file: numbers must be"),
        ("version = 1", "version = 1\nrequires = [\"etcd\"]", "my.toml:4: requires: there is no driver \"etcd\""),
    ] {
        let told = error(from, to);
        assert!(told.contains(expected), "{to}: {told}");
    }
}

#[test]
fn kinds_come_as_often_as_their_weights_say() {
    let mix = Mix::parse("my.toml", GOOD).unwrap();
    let draws = crate::stream::Draws::new(9, crate::stream::Stream::Op);
    let puts = (0..100_000).filter(|k| mix.kind(draws.bits(*k)) == OpKind::Put).count();
    assert!((39_500..40_500).contains(&puts), "{puts}");
    assert_eq!(mix.kind(u64::MAX), OpKind::Stat);
    let updates = (0..100_000).filter(|k| mix.is_update(draws.bits(*k))).count();
    assert!((24_500..25_500).contains(&updates), "{updates}");
    assert_eq!(mix.write_share(), 0.4);
}

#[test]
fn the_spotify_mix_writes_as_much_as_was_published() {
    let mix = Mix::built_in("spotify").unwrap();
    assert!((mix.write_share() - 0.0526).abs() < 1e-9, "{}", mix.write_share());
}

#[test]
fn scaling_changes_the_number_of_namespaces_alone() {
    let mix = Mix::parse("my.toml", GOOD).unwrap();
    assert_eq!(mix.clone().scaled(10.0).population.namespaces, 30);
    assert_eq!(mix.scaled(0.001).population.namespaces, 1);
}
