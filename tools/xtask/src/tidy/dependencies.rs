//! What the build is made of: packages that must not occur, and those that may occur in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use super::Finding;
use super::layers::room_of_package;

const RULE: &str = "dependency";

/// Packages that must not occur in the default build, with the reason.
const FORBIDDEN: [(&str, &str); 30] = [
    ("openssl", "needs a C library of the system"),
    ("openssl-sys", "needs a C library of the system"),
    ("native-tls", "needs a C library of the system"),
    ("prost-build", "needs protoc"),
    ("protobuf", "nothing here speaks protobuf"),
    ("bindgen", "needs libclang"),
    ("cmake", "needs cmake"),
    ("raft", "the oracle of tools/raft-oracle, a workspace of its own"),
    ("openraft", "the consensus core is our own"),
    ("etcd-client", "a peer, bench/compare only"),
    ("redis", "a peer, bench/compare only"),
    ("async-nats", "a peer, bench/compare only"),
    ("tokio-postgres", "a peer, bench/compare only"),
    ("postgres", "a peer, bench/compare only"),
    ("zookeeper-client", "a peer, bench/compare only"),
    ("memcache", "a peer, bench/compare only"),
    ("rocksdb", "a database of its own with its own log"),
    ("librocksdb-sys", "a database of its own with its own log"),
    ("fjall", "writes a second log"),
    ("redb", "a database of its own with its own log"),
    ("sled", "a database of its own with its own log"),
    ("heed", "a database of its own"),
    ("lmdb", "a database of its own"),
    ("rusqlite", "a database of its own with its own log"),
    ("bincode", "formats are written by hand"),
    ("postcard", "formats are written by hand"),
    ("rkyv", "formats are written by hand"),
    ("tokio-uring", "the event loop is reactor"),
    ("monoio", "the event loop is reactor"),
    ("glommio", "the event loop is reactor"),
];

/// Async runtimes and what needs one.
const ASYNC: [&str; 6] = ["tokio", "hyper", "axum", "reqwest", "async-std", "smol"];

/// The only rooms that may bring an async runtime in; others reach it through them. `client` by a feature.
const ASYNC_ROOMS: [&str; 5] = ["blocks", "client", "gateway", "notify", "stone"];

/// A package of the dependency graph.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// True for a member of the workspace.
    pub is_member: bool,
    /// What its manifest names; of members only.
    pub declared: Vec<Declared>,
    /// Packages it is built with (default features, no dev-dependencies), by name.
    pub resolved: Vec<String>,
}

/// One line of a manifest's dependencies.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The package's name.
    pub name: String,
    /// True for one of this workspace.
    pub is_local: bool,
    /// True under `[dev-dependencies]`.
    pub is_dev: bool,
    /// True for one that only a feature brings in.
    pub is_optional: bool,
}

/// The graph of the workspace at `root`, as cargo resolves it for this machine.
pub fn read(root: &Path) -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .context("could not run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    parse(&serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?)
}

fn parse(metadata: &Value) -> anyhow::Result<Vec<Package>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let mut packages = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let id = text(&package["id"]);
        let is_member = members.contains(&id);
        let declared = list(&package["dependencies"]).into_iter().filter(|_| is_member).map(|dependency| Declared {
            name: text(&dependency["name"]),
            is_local: dependency["path"].is_string(),
            is_dev: dependency["kind"] == "dev",
            is_optional: dependency["optional"] == true,
        });
        let declared = declared.collect();
        packages.insert(id, Package { name: text(&package["name"]), is_member, declared, resolved: Vec::new() });
    }
    let names: BTreeMap<String, String> =
        packages.iter().map(|(id, package)| (id.clone(), package.name.clone())).collect();
    for node in list(&metadata["resolve"]["nodes"]) {
        let is_build = |edge: &&Value| list(&edge["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let edges = list(&node["deps"]);
        let resolved =
            edges.iter().filter(is_build).filter_map(|edge| names.get(&text(&edge["pkg"])).cloned()).collect();
        let package = packages.get_mut(&text(&node["id"])).context("a node without a package in cargo metadata")?;
        package.resolved = resolved;
    }
    Ok(packages.into_values().collect())
}

/// Judges the graph.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let reached = reach(packages, |package| package.is_member, |_| true);
    for (name, reason) in FORBIDDEN {
        if let Some(path) = reached.get(name) {
            let what = format!("{name} must not be in the build: {reason}; it comes by {path}");
            findings.push(Finding::error(RULE, "Cargo.toml", what));
        }
    }
    for package in packages.iter().filter(|package| package.is_member) {
        findings.extend(check_async(package, packages));
    }
    findings
}

/// A member may have an async runtime only by way of a room that is allowed to bring it in.
fn check_async(package: &Package, packages: &[Package]) -> Vec<Finding> {
    let room_is_allowed = |name: &str| room_of_package(name).is_some_and(|room| ASYNC_ROOMS.contains(&room));
    let is_client = room_of_package(&package.name) == Some("client");
    let is_named = |dependency: &&Declared| ASYNC.contains(&dependency.name.as_str());
    let mut ways: BTreeMap<String, String> = BTreeMap::new();
    if is_client {
        // A feature of the client, so that command line and servers build without.
        let always = package.declared.iter().filter(is_named).filter(|named| !named.is_optional && !named.is_dev);
        ways.extend(always.map(|named| (named.name.clone(), "a dependency that is not optional".to_owned())));
    } else if !room_is_allowed(&package.name) {
        let reached = reach(packages, |other| other.name == package.name, |name| !room_is_allowed(name));
        ways.extend(reached.into_iter().filter(|(name, _)| ASYNC.contains(&name.as_str())));
        let named = package.declared.iter().filter(is_named);
        ways.extend(named.map(|named| (named.name.clone(), "its manifest".to_owned())));
    }
    let place = format!("package {}", package.name);
    let rooms = ASYNC_ROOMS.join(" and ");
    let what = |(name, way)| format!("{name} is allowed under {rooms} only; it comes by {way}");
    ways.into_iter().map(what).map(|what| Finding::error(RULE, place.clone(), what)).collect()
}

/// Every package reached from those that `starts` picks, not going through packages that `passes` refuses; with the
/// way there.
fn reach(
    packages: &[Package],
    starts: impl Fn(&Package) -> bool,
    passes: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    // Registry packages can share a name with none of ours: ours begin with dropstone.
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        edges.entry(&package.name).or_default().extend(package.resolved.iter().map(String::as_str));
    }
    let mut reached = BTreeMap::new();
    let mut queue: Vec<(String, String)> = packages
        .iter()
        .filter(|package| starts(package))
        .map(|package| (package.name.clone(), package.name.clone()))
        .collect();
    while let Some((name, path)) = queue.pop() {
        if reached.contains_key(&name) || !passes(&name) {
            continue;
        }
        for next in edges.get(name.as_str()).into_iter().flatten() {
            queue.push(((*next).to_owned(), format!("{path} > {next}")));
        }
        reached.insert(name, path);
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, resolved: &[&str]) -> Package {
        Package { is_member: true, ..outside(name, resolved) }
    }

    fn outside(name: &str, resolved: &[&str]) -> Package {
        let resolved = resolved.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), resolved, ..Package::default() }
    }

    #[test]
    fn a_forbidden_package_is_found_with_the_way_to_it() {
        let graph =
            [member("dropstone-store", &["lsm-tree"]), outside("lsm-tree", &["bindgen"]), outside("bindgen", &[])];
        let found = check(&graph);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("needs libclang; it comes by dropstone-store > lsm-tree > bindgen"));
        for (name, _) in FORBIDDEN {
            assert_eq!(check(&[member("dropstone-store", &[name]), outside(name, &[])]).len(), 1, "{name}");
        }
    }

    #[test]
    fn our_own_raft_is_not_the_published_one() {
        assert!(check(&[member("dropstone-raft", &[]), member("dropstone-shard", &["dropstone-raft"])]).is_empty());
    }

    #[test]
    fn an_async_runtime_comes_through_blocks_only() {
        let tokio = || outside("tokio", &[]);
        let good = [member("dropstone", &["dropstone-blocks"]), member("dropstone-blocks", &["tokio"]), tokio()];
        assert!(check(&good).is_empty());
        let bad = [member("dropstone-server", &["helper"]), outside("helper", &["tokio"]), tokio()];
        assert!(check(&bad)[0].what.contains("dropstone-server > helper > tokio"));
    }

    #[test]
    fn a_manifest_that_names_a_runtime_is_refused_and_the_client_has_it_by_feature_only() {
        let declared = |is_optional| Declared { name: "tokio".to_owned(), is_local: false, is_dev: false, is_optional };
        let with = |name: &str, is_optional| Package { declared: vec![declared(is_optional)], ..member(name, &[]) };
        assert_eq!(check(&[with("dropstone-transport", true)]).len(), 1);
        assert_eq!(check(&[with("dropstone-client", false)]).len(), 1);
        assert!(check(&[with("dropstone-client", true)]).is_empty());
        assert!(check(&[with("dropstone-blocks", false)]).is_empty());
    }

    #[test]
    fn cargo_metadata_is_understood() {
        let json = serde_json::json!({
            "workspace_members": ["a#1"],
            "packages": [
                {"id": "a#1", "name": "dropstone-raft", "dependencies": [
                    {"name": "dropstone-base", "path": "/x", "kind": null, "optional": false},
                    {"name": "proptest", "kind": "dev", "optional": false}]},
                {"id": "b#1", "name": "proptest", "dependencies": [{"name": "z"}]}],
            "resolve": {"nodes": [
                {"id": "a#1", "deps": [{"pkg": "b#1", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "b#1", "deps": []}]},
        });
        let packages = parse(&json).expect("understood");
        assert!(packages[0].is_member && packages[0].declared[0].is_local && packages[0].declared[1].is_dev);
        assert!(packages[0].resolved.is_empty(), "dev-dependencies are not in the build");
        assert!(packages[1].declared.is_empty());
    }
}
