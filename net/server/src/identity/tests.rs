//! Identity on real directories: format, raise, damage, refusal.

use super::*;
use crate::config::{NodeConfig, Profile};

fn request() -> FormatRequest {
    FormatRequest {
        cluster: ClusterId([0xc1; 16]),
        node: NodeId(7),
        cores: 2,
        groups: 8,
        segment_bytes: 8 << 20,
        joins: false,
        machine: MachineKind::Files,
    }
}

fn formatted() -> (tempfile::TempDir, PathBuf, Identity) {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("node");
    let identity = format(&dir, request()).expect("formatted");
    (temporary, dir, identity)
}

fn change(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(FILE);
    let mut bytes = fs::read(&path).expect("readable");
    change(&mut bytes);
    fs::write(&path, bytes).expect("writable");
}

#[test]
fn format_makes_a_directory_that_boots_count_up_in() {
    let (_keep, dir, identity) = formatted();
    assert_eq!(identity.incarnation, 0);
    assert_ne!(identity.uuid, NodeUuid::default());
    assert!(dir.join("log/c0/free").is_dir() && dir.join("log/c1/free").is_dir() && dir.join("store/c1").is_dir());
    assert_eq!(Identity::read(&dir).expect("read"), identity);
    for boot in 1..=3 {
        assert_eq!(Identity::open_and_raise(&dir).expect("raised").incarnation, boot);
    }
    assert_eq!(Identity::read(&dir).expect("read"), Identity { incarnation: 3, ..identity });
    assert_eq!(fs::metadata(dir.join(FILE)).expect("there").len(), 8192);
}

#[test]
fn format_refuses_anything_that_may_be_data() {
    let (_keep, dir, _) = formatted();
    let message = format(&dir, request()).expect_err("refused").to_string();
    assert!(message.contains("is not empty (it has"), "{message}");
    let (_keep, dir, _) = formatted();
    fs::remove_file(dir.join(FILE)).expect("removed");
    fs::write(dir.join("log/c0/seg-0000000000000001.log"), b"x").expect("written");
    let message = format(&dir, request()).expect_err("refused").to_string();
    assert!(message.contains("\"log\""), "{message}");
}

#[test]
fn format_takes_up_what_a_crash_cut_off_and_allows_a_fresh_mount() {
    let (_keep, dir, _) = formatted();
    fs::rename(dir.join(FILE), dir.join(TEMPORARY)).expect("renamed");
    fs::create_dir(dir.join("lost+found")).expect("made");
    assert!(matches!(Identity::read(&dir), Err(IdentityError::Missing { .. })));
    format(&dir, request()).expect("formatted again");
    Identity::read(&dir).expect("read");
}

#[test]
fn format_refuses_values_out_of_bounds() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let refused = |request| matches!(format(dir.path(), request), Err(FormatError::Invalid { .. }));
    assert!(refused(FormatRequest { node: NodeId(0), ..request() }));
    assert!(refused(FormatRequest { cluster: ClusterId::default(), ..request() }));
    assert!(refused(FormatRequest { cores: 0, ..request() }));
    assert!(refused(FormatRequest { cores: 65, groups: 100, ..request() }));
    assert!(refused(FormatRequest { groups: 1, ..request() }));
    assert!(refused(FormatRequest { segment_bytes: 5 << 20, ..request() }));
    assert!(fs::read_dir(dir.path()).expect("there").next().is_none(), "nothing was written");
}

#[test]
fn one_damaged_copy_is_survived_and_repaired_by_the_next_boot() {
    for copy in 0..2 {
        let (_keep, dir, _) = formatted();
        Identity::open_and_raise(&dir).expect("raised");
        change(&dir, |bytes| bytes[copy * COPY_BYTES + 50] ^= 1);
        assert_eq!(Identity::read(&dir).expect("the other copy").incarnation, 1);
        assert_eq!(Identity::open_and_raise(&dir).expect("raised").incarnation, 2);
        change(&dir, |bytes| bytes[(1 - copy) * COPY_BYTES + 50] ^= 1);
        assert_eq!(Identity::read(&dir).expect("repaired").incarnation, 2);
    }
}

#[test]
fn a_crash_between_the_copies_never_lowers_the_incarnation() {
    let (_keep, dir, identity) = formatted();
    let half = Identity { incarnation: 5, ..identity };
    change(&dir, |bytes| bytes[..COPY_BYTES].copy_from_slice(&encode(&half, 0)));
    assert_eq!(Identity::open_and_raise(&dir).expect("raised").incarnation, 6);
}

#[test]
fn every_flipped_byte_of_both_copies_is_damage_and_never_another_identity() {
    let (_keep, dir, _) = formatted();
    for at in (0..COPY_BYTES).step_by(7).chain([8, 9, 10, 4092, 4095]) {
        change(&dir, |bytes| {
            bytes[at] ^= 0x10;
            bytes[COPY_BYTES + at] ^= 0x10;
        });
        let error = Identity::read(&dir).expect_err("damaged");
        assert!(matches!(error, IdentityError::Damaged { .. }), "byte {at}: {error}");
        change(&dir, |bytes| {
            bytes[at] ^= 0x10;
            bytes[COPY_BYTES + at] ^= 0x10;
        });
    }
    for bytes in [0, 1, 100, COPY_BYTES - 1] {
        change(&dir, |all| all.truncate(bytes));
        assert!(matches!(Identity::read(&dir), Err(IdentityError::Damaged { .. })), "{bytes} bytes");
    }
}

#[test]
fn copies_of_different_nodes_are_damage() {
    let (_keep, dir, identity) = formatted();
    let other = Identity { node: NodeId(8), ..identity };
    change(&dir, |bytes| bytes[COPY_BYTES..].copy_from_slice(&encode(&other, 1)));
    assert!(matches!(Identity::read(&dir), Err(IdentityError::Damaged { .. })));
}

#[test]
fn a_newer_format_is_named_and_not_called_damage() {
    let (_keep, dir, _) = formatted();
    change(&dir, |bytes| {
        for copy in bytes.chunks_exact_mut(COPY_BYTES) {
            put_u16(copy, 8, 2);
            let crc = crc32c(&copy[..CRC_AT]);
            put_u32(copy, CRC_AT, crc);
        }
    });
    let error = Identity::read(&dir).expect_err("newer");
    assert!(error.to_string().contains("has identity format 2, this release knows up to 1"), "{error}");
    assert_eq!(error.exit_code(), crate::exit::ExitCode::Data);
}

#[test]
fn a_directory_of_another_configuration_is_refused() {
    let (_keep, dir, identity) = formatted();
    let mut config = NodeConfig::of_profile(Profile::Dev);
    (config.cluster.groups, config.cluster.cores) = (8, 2);
    identity.check(&dir, &config).expect("fits");
    config.process.node = Some(NodeId(3));
    let message = identity.check(&dir, &config).expect_err("another node").to_string();
    assert!(message.contains("node is 7 there and 3 in the configuration"), "{message}");
    config.process.node = None;
    config.cluster.groups = 9;
    let error = identity.check(&dir, &config).expect_err("other groups");
    assert_eq!(error.exit_code(), crate::exit::ExitCode::Identity);
}

#[test]
fn the_lock_names_its_holder_and_falls_with_it() {
    let (_keep, dir, _) = formatted();
    let lock = Lock::take(&dir).expect("taken");
    let message = Lock::take(&dir).expect_err("held").to_string();
    assert!(message.ends_with(&format!("held by pid {}; stop it first", std::process::id())), "{message}");
    drop(lock);
    Lock::take(&dir).expect("taken again");
}

#[test]
fn the_layout_is_the_documented_one() {
    let identity = Identity {
        cluster: ClusterId(std::array::from_fn(|at| at as u8)),
        node: NodeId(0x0102_0304_0506_0708),
        uuid: NodeUuid(std::array::from_fn(|at| 0xf0 | at as u8)),
        cores: 0x0010,
        groups: 0x0000_0201,
        segment_bytes: 64 << 20,
        incarnation: 0x1122,
        joins: true,
        machine: MachineKind::Files,
    };
    let bytes = encode(&identity, 1);
    let head = "4453494445\
                4e5400010001001000000000010203040506\
                0708090a0b0c0d0e0f\
                f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\
                0807060504030201221100000000000001020000010000000000000400000000";
    let hex: String = bytes[..80].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, head);
    assert!(bytes[80..CRC_AT].iter().all(|byte| *byte == 0));
    assert_eq!(get_u32(&bytes, CRC_AT), Some(GOLDEN_CRC));
    assert!(decode(&bytes, 1).is_ok_and(|read| read == identity));
}
const GOLDEN_CRC: u32 = 449_302_082;

#[test]
fn a_null_machine_is_in_the_identity_and_fits_no_configuration_of_files() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("node");
    let identity = format(&dir, FormatRequest { machine: MachineKind::Null, ..request() }).expect("formatted");
    assert_eq!(encode(&identity, 0)[68], 2, "golden: older releases refuse it");
    assert_eq!(Identity::read(&dir).expect("read"), identity);
    let mut config = NodeConfig::of_profile(Profile::Dev);
    (config.cluster.cores, config.cluster.groups) = (identity.cores, identity.groups);
    config.process.segment_bytes = identity.segment_bytes;
    let message = identity.check(&dir, &config).expect_err("refused").to_string();
    assert!(message.contains("cluster.machine is null there and files in the configuration"), "{message}");
    config.cluster.machine = MachineKind::Null;
    identity.check(&dir, &config).expect("it fits");
}
