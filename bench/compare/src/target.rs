//! Who is compared, how it is started, and what its acknowledgement means.

use clap::ValueEnum;

/// A system, and what a file commit is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Target {
    /// Our own: `StoreAndCommit` of a file of one block.
    Dropstone,
    /// One transaction: compare that the file is not there, put its row and the journal's.
    Etcd,
    /// Plain puts of the file's row alone.
    EtcdPut,
    /// A multi that creates the file's node and the journal's, or neither.
    Zookeeper,
    /// One statement, one transaction: insert the file's row if there is none, then the journal's.
    Postgres,
    /// Insert or update of the file's row alone.
    PostgresPut,
    /// Publication of the file's row to a subject that has none; the stream is the journal. Servers as they come: no sync.
    Nats,
    /// The same with servers that sync before they acknowledge.
    NatsSync,
    /// The same as Redis.
    Valkey,
    /// MULTI, SET of the file's row, RPUSH of the journal's, EXEC, then WAIT for one replica.
    Redis,
    /// SET of the file's row alone, then WAIT for one replica.
    RedisSet,
    /// `set` of the file's row: a cache, nothing is durable.
    Memcached,
}

/// The systems that can be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum System {
    /// `dropstone serve`, found beside this program or by --dropstone.
    Dropstone,
    /// `etcd`.
    Etcd,
    /// `java` with ZooKeeper's jar.
    Zookeeper,
    /// `postgres`.
    Postgres,
    /// `nats-server` with JetStream.
    Nats,
    /// `nats-server` 2.10 or newer with `sync_interval: always`.
    NatsSync,
    /// `valkey-server`.
    Valkey,
    /// `redis-server`.
    Redis,
    /// `memcached`.
    Memcached,
}

/// What has happened when a write is acknowledged. Only equal classes are compared without a stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Synced by a quorum of nodes.
    QuorumSynced,
    /// Synced by one node, in the memory of another.
    OneSynced,
    /// In the memory of a quorum of nodes.
    QuorumMemory,
    /// In the memory of one node.
    Memory,
}

/// What an acknowledgement means: the durability row above each result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durability {
    /// The class.
    pub class: Class,
    /// In words.
    pub ack: &'static str,
    /// How the disk comes in.
    pub sync: &'static str,
    /// What a failure costs.
    pub loses: &'static str,
    /// How reads are.
    pub reads: &'static str,
}

impl Durability {
    /// A device that is flushed is part of the promise.
    #[must_use]
    pub fn claims_sync(&self) -> bool {
        matches!(self.class, Class::QuorumSynced | Class::OneSynced)
    }
}

impl System {
    /// The name in lines and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            System::Dropstone => "dropstone",
            System::Etcd => "etcd",
            System::Zookeeper => "zookeeper",
            System::Postgres => "postgres",
            System::Nats => "nats",
            System::NatsSync => "nats-sync",
            System::Valkey => "valkey",
            System::Redis => "redis",
            System::Memcached => "memcached",
        }
    }

    /// The program, and how to get it.
    #[must_use]
    pub const fn program(self) -> (&'static str, &'static str) {
        match self {
            System::Dropstone => ("dropstone", "build it with `cargo build --release`, or name it by --dropstone"),
            System::Etcd => ("etcd", "install Debian package etcd-server"),
            System::Zookeeper => ("java", "install Debian package zookeeper"),
            System::Postgres => ("postgres", "install Debian package postgresql"),
            System::Nats | System::NatsSync => ("nats-server", "install Debian package nats-server"),
            System::Valkey => (
                "valkey-server",
                "install Debian package valkey-server (Debian 13 or newer), or build it from valkey.io and put it into PATH",
            ),
            System::Redis => ("redis-server", "install Debian package redis-server"),
            System::Memcached => ("memcached", "install Debian package memcached"),
        }
    }
}

impl Target {
    /// The name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Target::Dropstone => "dropstone",
            Target::Etcd => "etcd",
            Target::EtcdPut => "etcd-put",
            Target::Zookeeper => "zookeeper",
            Target::Postgres => "postgres",
            Target::PostgresPut => "postgres-put",
            Target::Nats => "nats",
            Target::NatsSync => "nats-sync",
            Target::Valkey => "valkey",
            Target::Redis => "redis",
            Target::RedisSet => "redis-set",
            Target::Memcached => "memcached",
        }
    }

    /// What must run.
    #[must_use]
    pub const fn system(self) -> System {
        match self {
            Target::Dropstone => System::Dropstone,
            Target::Etcd | Target::EtcdPut => System::Etcd,
            Target::Zookeeper => System::Zookeeper,
            Target::Postgres | Target::PostgresPut => System::Postgres,
            Target::Nats => System::Nats,
            Target::NatsSync => System::NatsSync,
            Target::Valkey => System::Valkey,
            Target::Redis | Target::RedisSet => System::Redis,
            Target::Memcached => System::Memcached,
        }
    }

    /// What one operation is, for tables.
    #[must_use]
    pub const fn work(self) -> &'static str {
        match self {
            Target::Dropstone => "file commit: folder and name checked, file, block, quota, journal row",
            Target::Etcd => "transaction: compare that the file is new, put file and journal row",
            Target::EtcdPut => "put of the file's row alone",
            Target::Zookeeper => "multi: create the file's node and the journal's, or neither",
            Target::Postgres => "transaction: insert the file if it is new, and then the journal row",
            Target::PostgresPut => "insert or update of the file's row alone",
            Target::Nats | Target::NatsSync => {
                "publication of the file's row to a subject that has none; the stream is the journal"
            }
            Target::Redis | Target::Valkey => "MULTI: SET file NX, RPUSH journal row; WAIT 1",
            Target::RedisSet => "SET of the file's row alone; WAIT 1",
            Target::Memcached => "set of the file's row alone",
        }
    }

    /// What an acknowledgement means there, as it is started here.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self.system() {
            System::Dropstone => Durability {
                class: Class::QuorumSynced,
                ack: "synced by a quorum of 3, consensus",
                sync: "one write or sync for all commands of a turn",
                loses: "nothing while 2 of 3 disks are left",
                reads: "linearizable, leader's lease",
            },
            System::Etcd => Durability {
                class: Class::QuorumSynced,
                ack: "synced by a quorum of 3, consensus",
                sync: "one for every batch of entries",
                loses: "nothing while 2 of 3 disks are left",
                reads: "linearizable",
            },
            System::Zookeeper => Durability {
                class: Class::QuorumSynced,
                ack: "synced by a quorum of 3, consensus",
                sync: "one for every batch of transactions (forceSync)",
                loses: "nothing while 2 of 3 disks are left",
                reads: "of the server asked, may be stale",
            },
            System::Postgres => Durability {
                class: Class::QuorumSynced,
                ack: "synced by the primary and 1 standby of 2, no consensus",
                sync: "one for all transactions that wait (fsync on, synchronous_commit on)",
                loses: "nothing while 2 of 3 disks are left and whoever fails over takes the standby that is ahead",
                reads: "of the primary",
            },
            System::Nats => Durability {
                class: Class::QuorumMemory,
                ack: "in memory of a quorum of 3, consensus, synced by nobody",
                sync: "by the clock, every few minutes, whatever was acknowledged",
                loses: "what was acknowledged since the last sync, when 2 of 3 machines lose power at once",
                reads: "of the leader",
            },
            System::NatsSync => Durability {
                class: Class::QuorumSynced,
                ack: "synced by a quorum of 3, consensus",
                sync: "one for every batch of messages (sync_interval always)",
                loses: "nothing while 2 of 3 disks are left",
                reads: "of the leader",
            },
            System::Redis | System::Valkey => Durability {
                class: Class::OneSynced,
                ack: "synced by the primary, in memory of 1 replica of 2, no consensus",
                sync: "appendfsync always",
                loses: "what was acknowledged may go with the primary's disk or at a failover",
                reads: "of the primary",
            },
            System::Memcached => Durability {
                class: Class::Memory,
                ack: "in memory of 1 of 3 servers that know nothing of each other",
                sync: "never",
                loses: "everything with the process",
                reads: "of the cache",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for target in Target::value_variants() {
            assert_eq!(target.to_possible_value().expect("a value").get_name(), target.name());
        }
        for system in System::value_variants() {
            assert_eq!(system.to_possible_value().expect("a value").get_name(), system.name());
        }
    }

    #[test]
    fn only_memory_claims_no_sync_and_only_consensus_is_our_class() {
        let claims = |target: Target| target.durability().claims_sync();
        assert!(claims(Target::Dropstone) && claims(Target::Redis) && !claims(Target::Memcached));
        assert!(claims(Target::Postgres) && claims(Target::NatsSync) && !claims(Target::Nats));
        assert_eq!(Target::Etcd.durability().class, Target::Dropstone.durability().class);
        assert_ne!(Target::Nats.durability().class, Target::NatsSync.durability().class);
        assert_ne!(Target::Redis.durability().class, Target::Dropstone.durability().class);
    }
}
