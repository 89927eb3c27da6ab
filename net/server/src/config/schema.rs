//! Every key of the file: its type, defaults, minimum and meaning. One table feeds parsing, help and `config show`.

/// What a key's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number,
    /// A whole number of bytes, or text with a unit: `"64 MiB"`.
    Bytes,
    /// Text.
    Text,
    /// Text with commas, or an array of numbers or texts.
    List,
    /// An array of `{ id, peer, client }`; as text `1=PEER/CLIENT,2=...`.
    Nodes,
}

impl Kind {
    /// What a reader of an error is told to write.
    #[must_use]
    pub fn wanted(self) -> &'static str {
        match self {
            Kind::Number => "a whole number",
            Kind::Bytes => "a number of bytes such as 8388608 or \"8 MiB\"",
            Kind::Text => "text in quotes",
            Kind::List => "text in quotes or an array",
            Kind::Nodes => "an array of { id = 1, peer = \"host:port\", client = \"host:port\" }",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The default as text; empty means none.
    pub default: &'static str,
    /// The default under profile `dev`, where it differs.
    pub dev: Option<&'static str>,
    /// The default under profile `shared`, where it differs.
    pub shared: Option<&'static str>,
    /// Meaning, unit and bounds, one line.
    pub meaning: &'static str,
}

const fn setting(key: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { key, kind, default, dev: None, shared: None, meaning }
}

impl Setting {
    const fn dev(self, default: &'static str) -> Setting {
        Setting { dev: Some(default), ..self }
    }

    const fn shared(self, default: &'static str) -> Setting {
        Setting { shared: Some(default), ..self }
    }

    /// The section, before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }
}

/// All keys, in the order they are shown.
#[must_use]
pub fn settings() -> &'static [Setting] {
    SETTINGS
}

const SETTINGS: &[Setting] = &[
    setting(
        "cluster.id",
        Kind::Text,
        "",
        "the cluster's id, 32 hex digits; if named, a directory of another one is refused",
    ),
    setting("cluster.groups", Kind::Number, "256", "Raft groups, fixed at format; from cores to 65536"),
    setting("cluster.cores", Kind::Number, "2", "cores (shards) of every node, fixed at format; 1 to 64"),
    setting(
        "cluster.machine",
        Kind::Text,
        "files",
        "files, or null: commands are logged, replicated and counted, to measure those alone; fixed at format",
    ),
    setting("cluster.election_ms_min", Kind::Number, "500", "shortest election timeout, ms; at least 3 heartbeats"),
    setting("cluster.election_ms_max", Kind::Number, "1000", "longest election timeout, ms; above election_ms_min"),
    setting("cluster.heartbeat_ms", Kind::Number, "50", "time between heartbeats, ms; at least 5"),
    setting("cluster.lease", Kind::Text, "on", "on or off: reads under a leader's lease, or by a round each"),
    setting(
        "cluster.quiesce_after_s",
        Kind::Number,
        "5",
        "a group that nobody used for so long rests, s; 0 is never, at most 86400",
    ),
    setting(
        "cluster.promote_learners",
        Kind::Text,
        "on",
        "on or off: the leader makes a voter of every learner that has caught up",
    ),
    setting(
        "cluster.doubt_wait_s",
        Kind::Number,
        "30",
        "a doubt about the log's last frame ends so long after a quorum was heard, s; 0 is never, at most 86400",
    ),
    setting(
        "cluster.keep_days",
        Kind::Number,
        "30",
        "replaced revisions, deleted files and cursors are kept so long, days; 1 to 36500",
    ),
    setting(
        "cluster.nodes",
        Kind::Nodes,
        "",
        "members to start from; at least 1, at most 7; not in the cluster's hash",
    ),
    setting("process.node", Kind::Number, "", "this node's id; usually left out, the data directory knows it"),
    setting("process.profile", Kind::Text, "server", "dev, shared or server: a set of defaults"),
    setting("process.data_dir", Kind::Text, "/var/lib/dropstone", "identity, log and store").dev("dropstone-dev"),
    setting(
        "process.listen",
        Kind::Text,
        "127.0.0.1",
        "IP address that all ports bind to; default: the one of this node in cluster.nodes",
    ),
    setting("process.client_port", Kind::Number, "7100", "shared client port; core c also on client_port + 1 + c"),
    setting("process.peer_port", Kind::Number, "7201", "base of the peer ports; core c on peer_port + c"),
    setting(
        "process.admin_port",
        Kind::Number,
        "7300",
        "HTTP on loopback: /metrics, /livez, /debug/stages.json, /debug/slow.json; 0 is none",
    )
    .dev("0"),
    setting(
        "process.flight_bytes",
        Kind::Bytes,
        "16 MiB",
        "flight ring of a core, a file that survives a kill (`dropstone admin flight`); 0 is none",
    )
    .dev("1 MiB"),
    setting(
        "process.segment_bytes",
        Kind::Bytes,
        "64 MiB",
        "log segment, fixed at format; a power of two, 4 MiB to 1 GiB",
    )
    .dev("8 MiB"),
    setting(
        "process.log_backend",
        Kind::Text,
        "auto",
        "how frames reach the log's files: auto (a self-test at start chooses), direct, pwrite or mmap",
    ),
    setting(
        "process.log_batches_in_flight",
        Kind::Number,
        "1",
        "batches of frames on their way to the disk: 1, or 2 to write the next one while one is synced (pwrite and mmap)",
    ),
    setting("process.memtable_bytes", Kind::Bytes, "64 MiB", "memtable of one core before a flush; at least 1 MiB")
        .dev("8 MiB"),
    setting(
        "process.cache_bytes",
        Kind::Bytes,
        "256 MiB",
        "read cache of the node, divided among its cores; 64 MiB to 1 TiB, or 0: none",
    )
    .dev("64 MiB")
    .shared("64 MiB"),
    setting(
        "process.space_reserve_bytes",
        Kind::Bytes,
        "2 GiB",
        "free space of the data's file system below which only deletes are taken; this or the share, what is more",
    )
    .dev("256 MiB"),
    setting("process.space_reserve_percent", Kind::Number, "5", "share of that file system, 0 to 50 percent").dev("0"),
    setting(
        "process.scrub_bytes_per_second",
        Kind::Bytes,
        "16 MiB",
        "what a core reads of its tables to find damage, all of them once a day; 0: none",
    ),
    setting(
        "process.balance_leaders",
        Kind::Text,
        "on",
        "on or off: this node gives leaderships away where it leads more than others",
    ),
    setting(
        "process.log_trailing_entries",
        Kind::Number,
        "10000",
        "entries of a group kept behind its last checkpoint, for slow followers",
    ),
    setting("process.pin", Kind::List, "auto", "auto, off, or the processors of core threads: \"2,3\" or [2, 3]")
        .dev("off")
        .shared("off"),
    setting(
        "memcache.listen",
        Kind::Text,
        "",
        "IP:port of the memcached port, read only; it asks for no password: whoever reaches it reads the metadata of all \
         accounts, so let it be loopback or a closed network; empty is none",
    ),
    setting("process.log_level", Kind::Text, "info", "log filter: error, warn, info, debug, or target=level lists"),
];

/// The setting named `key`.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The nearest of `candidates` to `word`, when it is near enough to be meant. A third of the letters may differ.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; words are at most a few dozen letters (longer ones count as far away).
fn distance(left: &str, right: &str) -> usize {
    const WORD_CHARS_MAX: usize = 64;
    let right: Vec<char> = right.chars().collect();
    if left.chars().count() > WORD_CHARS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
