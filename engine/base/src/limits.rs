//! Every bound of the engine, by room. A queue, batch, retry or loop that is not bounded here is a defect.

// Log (docs/design/log.md).
/// One block of the log: the unit of padding and of scanning.
pub const LOG_BLOCK_BYTES: usize = 4096;
/// The usual size of a segment; a power of two, fixed at format.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The smallest segment: an entry of the largest size, its echo and a footer must fit.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// The largest frame, unless half a segment is less.
pub const FRAME_BYTES_MAX: u32 = 4 << 20;
/// Records in one frame.
pub const FRAME_RECORDS_MAX: u32 = 4096;
/// Terms and votes in one frame.
pub const STATE_SLOTS_MAX: usize = 8;
/// Prepared segments kept ready.
pub const SEGMENTS_FREE_MIN: usize = 3;
/// Unsynced bytes of a core, beyond which nothing more is taken.
pub const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

// Raft (docs/design/raft.md).
/// Bytes of commands in one entry, beyond which the next entry opens.
pub const ENTRY_BYTES_SOFT: usize = 256 << 10;
/// Commands in one entry.
pub const ENTRY_COMMANDS_MAX: u16 = 4096;
/// The largest payload of an entry.
pub const ENTRY_BYTES_MAX: usize = (1 << 20) - 4096;
/// AppendEntries bodies: the next message opens beyond this.
pub const APPEND_BYTES_SOFT: u32 = 256 << 10;
/// Messages in flight to one follower of one group.
pub const INFLIGHTS_MAX: usize = 64;
/// Bytes in flight to one follower of one group; one message may overshoot.
pub const INFLIGHT_BYTES_MAX: u32 = 4 << 20;
/// Uncommitted bytes of one group at its leader.
pub const UNCOMMITTED_BYTES_MAX: u64 = 16 << 20;
/// Committed but unapplied bytes of one group.
pub const UNAPPLIED_BYTES_MAX: u64 = 16 << 20;
/// Reads waiting in one group.
pub const READS_WAITING_MAX: usize = 65_536;
/// Entries that a follower may be behind its leader and still serve reads.
pub const FOLLOWER_LAG_MAX: u64 = 100;
/// Uncommitted bytes of all groups that a core leads.
pub const UNCOMMITTED_CORE_BYTES_MAX: u64 = 256 << 20;
/// Entries that a learner may lack when it becomes a voter.
pub const LEARNER_LAG_ENTRIES_MAX: u64 = 1024;
/// And bytes.
pub const LEARNER_LAG_BYTES_MAX: u32 = 4 << 20;
/// Voters in each half of a configuration.
pub const VOTERS_MAX: usize = 7;
/// Members of a group in all.
pub const MEMBERS_MAX: usize = 10;
/// Entries kept behind the last checkpoint for slow followers.
pub const TRAILING_ENTRIES: u64 = 10_000;
/// Replicas compare the hashes of their states behind each entry whose index is a multiple of this.
pub const STATE_HASH_EVERY: u64 = 4096;
/// Body bytes of one snapshot part.
pub const SNAPSHOT_PART_BYTES_MAX: usize = (1 << 20) - 4096;
/// Snapshot parts in flight.
pub const SNAPSHOT_WINDOW: u32 = 4;

/// Bytes per second of outgoing snapshots of one core.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 100 << 20;
/// Incoming snapshots of one core at a time; more are refused.
pub const SNAPSHOTS_INCOMING_MAX: usize = 2;
/// Elections that a core starts per second: after a power cut, or when a node with many idle groups is gone.
pub const ELECTIONS_PER_SECOND: u64 = 1000;

// Wire.
/// The largest frame on any native link, client or peer.
pub const WIRE_FRAME_BYTES_MAX: usize = 2 << 20;
/// Requests of one connection in flight.
pub const CONNECTION_REQUESTS_MAX: usize = 1024;
/// Bytes queued towards one connection, beyond which it is closed.
pub const OUT_BUFFER_BYTES_MAX: usize = 4 << 20;

// Metadata (docs/design/metadata.md 14).
/// The size of every block of a file but the last.
pub const BLOCK_BYTES: u64 = 4 << 20;
/// Blocks of one file: 2^41 - 2^22 bytes.
pub const FILE_BLOCKS_MAX: u64 = (1 << 19) - 1;
/// Block names in one command.
pub const COMMAND_BLOCKS_MAX: usize = 1024;
/// One encoded command.
pub const COMMAND_BYTES_MAX: usize = 512 << 10;
/// Bytes of a normalised path.
pub const PATH_BYTES_MAX: usize = 8192;
/// Components of a path.
pub const DEPTH_MAX: usize = 256;
/// Code points of one name.
pub const NAME_CHARS_MAX: usize = 255;
/// Bytes of one name key.
pub const NAME_BYTES_MAX: usize = 960;
/// Tries of autorename before the conflict stands.
pub const AUTORENAME_TRIES_MAX: u32 = 1000;
/// Members of a namespace, its owner included.
pub const MEMBERS_PER_NAMESPACE_MAX: usize = 1000;
/// Namespaces mounted in one root.
pub const MOUNTS_MAX: usize = 1000;
/// Rows one command may touch.
pub const ROWS_PER_COMMAND_MAX: usize = 8192;
/// Entries of a listing page.
pub const LIST_PAGE_MAX: u32 = 2000;
/// Journal rows one Delta reads.
pub const DELTA_ROWS_MAX: u32 = 20_000;
/// Hashes in one `HasBlocks`.
pub const HAS_BLOCKS_MAX: usize = 4096;
/// Commands of one session in flight.
pub const SESSION_INFLIGHT_MAX: u64 = 1024;
/// Sessions kept in one group.
pub const SESSIONS_MAX: usize = 65_536;

// Store (docs/design/store.md).
/// The longest store key.
pub const KEY_BYTES_MAX: usize = 1280;
/// The longest store value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Outgoing snapshots of one core at a time; each pins its view of the tree.
pub const STORE_PINS_MAX: usize = 64;
/// Runs of the first level beyond which nothing more is proposed until compaction has caught up.
pub const L0_RUNS_MAX: usize = 24;
/// And beyond which less and less is proposed: twice as many as are merged at a time.
pub const L0_RUNS_SLOW: usize = 16;
/// Parts of incoming snapshots that wait for the store, beyond which their senders are not told to go on.
pub const SNAPSHOT_PARTS_WAITING_MAX: usize = 8;

// Server (docs/design/operations.md 3, 4).
/// Raft groups of a cluster.
pub const GROUPS_MAX: u32 = 65_536;
/// Cores of a node, so that the port ranges never meet.
pub const CORES_MAX: u16 = 64;
/// The largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

// Reactor (docs/design/reactor.md).
/// Completions handed over in one `reap`.
pub const REAP_MAX: usize = 256;
/// Slots of a core's submission queue; what does not fit waits for an extra enter, which is counted.
pub const RING_ENTRIES: u32 = 1024;
/// Slots of a core's completion queue.
pub const RING_COMPLETIONS: u32 = 16_384;
/// Receive buffers of a core; a power of two.
pub const RECV_BUFFERS: u16 = 512;
/// Bytes of one receive buffer.
pub const RECV_BUFFER_BYTES: u32 = 16 << 10;
/// Connections of one core, unless its configuration says less.
pub const SOCKETS_MAX: u32 = 16_384;
/// Connections that may wait to be accepted on one listener.
pub const LISTEN_BACKLOG_MAX: i32 = 1024;

/// Messages in the ring of one core to another; a power of two. Each is a pointer, so a ring has 8 KiB.
pub const MAILBOX_DEPTH_MAX: usize = 1024;
/// Messages after which a sender tells the receiver of them, if its turn does not end before.
pub const MAILBOX_BATCH_MAX: usize = 16;
/// Requests of one core to another that are not answered: as many as come while a commit waits for the disk. Half the
/// depth, so that a ring has room for answers as well.
pub const MAILBOX_REQUESTS_MAX: usize = 512;
/// Requests of one core to another that wait for those to be answered.
pub const MAILBOX_WAITING_MAX: usize = 1024;
/// Bytes of requests of one core to another, waiting and not answered. Above the largest frame.
pub const MAILBOX_BYTES_MAX: usize = 16 << 20;
/// Memory that a message's buffer keeps when its message is over.
pub const PARCEL_KEPT_BYTES: usize = 16 << 10;

// Memcached port (docs/design/memcache.md).
/// Commands of one connection that are not answered; more are not read.
pub const MEMCACHE_COMMANDS_MAX: usize = 1024;
/// Bytes of keys of one connection's commands that are not answered, beyond which none are read from it.
pub const MEMCACHE_ASKED_BYTES_SOFT: usize = 256 << 10;
/// Keys of one connection that are looked up at a time; more wait in their command.
pub const MEMCACHE_LOOKUPS_MAX: usize = 256;
/// Bytes that wait to be sent to one connection, beyond which none are read from it.
pub const MEMCACHE_OUT_BYTES_SOFT: usize = 256 << 10;
/// Bytes of one connection's answers, sent and not, beyond which a command is refused.
pub const MEMCACHE_OUT_BYTES_MAX: usize = 4 << 20;
/// Commands that a core keeps the memory of.
pub const MEMCACHE_COMMANDS_KEPT: usize = 4096;
/// And how much of each.
pub const MEMCACHE_COMMAND_KEPT_BYTES: usize = 8 << 10;

// Block server (docs/design/blocks.md).
/// The largest frame on a link of a block server: one block, its commit and room for headers.
pub const BLOCK_FRAME_BYTES_MAX: usize = 6 << 20;
/// Requests of one connection that a block server works on at once; more wait unread in the socket.
pub const BLOCK_REQUESTS_MAX: usize = 64;
/// Bytes of requests and replies that one connection of a block server holds.
pub const BLOCK_CONNECTION_BYTES_MAX: usize = 32 << 20;
/// Bytes of requests, and as many again of replies, that a block server holds over all connections.
pub const BLOCK_MEMORY_BYTES_MAX: usize = 256 << 20;
/// Connections of a block server.
pub const BLOCK_CONNECTIONS_MAX: usize = 512;
/// Blocks whose delivery one connection of a block server remembers.
pub const BLOCKS_DELIVERED_MAX: usize = 4096;
/// Blocklists that one connection of a block server remembers.
pub const BLOCKLISTS_CACHED_MAX: usize = 16;
/// Blocks that one call of the content host holds in memory.
pub const BLOCKS_IN_FLIGHT_MAX: usize = 4;
/// The body of one call of the content host.
pub const CONTENT_BODY_BYTES_MAX: u64 = 150 << 20;
/// Entries of one batch of finishes, and sessions that one call starts.
pub const FINISH_BATCH_MAX: usize = 1000;

// Read cache (docs/design/cache.md).
/// Bytes of a cached key; answers of longer paths are not cached. As in the store.
pub const CACHE_KEY_BYTES_MAX: usize = 1280;
/// Stripes of a group, of which the first is of rows; a power of two. A model under loom has as few of all
/// this as it can.
pub const CACHE_STRIPES: usize = if cfg!(loom) { 4 } else { 1024 };
/// Times that a reader looks at a bucket that changes meanwhile; then it is a miss.
pub const CACHE_TRIES_MAX: usize = if cfg!(loom) { 1 } else { 3 };
/// Keys that are read at once.
pub const CACHE_BATCH_MAX: usize = 32;

// Client library (docs/design/wire.md).
/// The largest frame that a client sends.
pub const CLIENT_FRAME_BYTES_MAX: usize = 1 << 20;
/// Requests that one client library keeps, in flight and waiting.
pub const CLIENT_REQUESTS_MAX: usize = 65_536;

// Answers of the metadata machine (docs/design/metadata.md, "Queries").
/// Bytes of one answer, beyond which a page ends; one entry may overshoot. Well below `WIRE_FRAME_BYTES_MAX`.
pub const ANSWER_BYTES_SOFT: usize = 1 << 20;
/// Bytes of a position inside a listing: what is below a longer path is left out.
pub const POSITION_BYTES_MAX: usize = 24 << 10;
/// Revisions in one answer.
pub const REVISIONS_MAX: u32 = 100;
/// Block names in one answer.
pub const BLOCKLIST_ANSWER_MAX: u32 = 8192;
/// Namespaces that one page of a group's blocks looks into.
pub const SCAN_NAMESPACES_MAX: usize = 64;
