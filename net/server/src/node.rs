//! One metaserver: boot, its core threads, its end.
//!
//! ```text
//! lock ─▶ identity, checked and raised ─▶ per core: log recovered ─▶ store opened ─▶ ring, listeners ─▶ loop
//! ```
//! Everything that can refuse to start does so before a port opens.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use base::{CoreId, NodeId, mix64};
use reactor::clock::StampClock;
use reactor::flight::Flight;
use reactor::mmap_disk::MmapDisk;
use reactor::storage::{FileLogReader, LogDir, StorageSender, StorageThread, format_log_dir};
use reactor::system::disk_space;
use reactor::{
    Backend, BackendWish, CacheMemory, Doorbell, Io, Patience, Ring, RingConfig, Sender, inbox, log_selftest,
};
use seglog::{Health, RecoverError, Recovered, SegLog};
use shard::{MachineKind, Shard};
use store::{LsmStore, OpenSettings};
use transport::{Clients, PeerSettings, Peers};
use wire::{PeerHello, ServerHello, WIRE_VERSION};

use crate::admin::{AdminPort, Shown};
use crate::announce::Announcer;
use crate::config::{NodeConfig, Pin, Profile};
use crate::core::{Core, Mail, TAG_CLIENT, TAG_MEMCACHE, TAG_PEER};
use crate::exit::ExitCode;
use crate::flow_runner::FlowRunner;
use crate::forward::Rooms;
use crate::identity::{self, Identity, IdentityError, Lock, LockError};
use crate::memcache::{self, Memcache};
use crate::near_cache::{NearCache, NodeCaches};
use crate::profile::{CoreProfile, Feed, Watch};
use crate::recovery::recover_telling;
use crate::shared::{Failure, Shared};
use crate::stall::StallWatch;

/// Messages waiting in one core's inbox.
const INBOX_MAX: usize = 4096;

/// Completions that a ring of profile `dev` holds.
const SMALL_COMPLETIONS: u32 = 4096;

/// Why a node did not start. Nothing was changed but the incarnation.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory is in use, or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory is another node's, or unreadable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A log cannot be trusted.
    #[error("log of core {core}: {source}")]
    Log {
        /// Whose.
        core: CoreId,
        /// What was found.
        source: RecoverError,
    },
    /// A store cannot be opened.
    #[error("store of core {core}: {source}")]
    Store {
        /// Whose.
        core: CoreId,
        /// What was found.
        source: store::OpenError,
    },
    /// The ring cannot be made.
    #[error(transparent)]
    Ring(#[from] reactor::RingError),
    /// The log cannot be appended to as was asked for.
    #[error(transparent)]
    LogBackend(#[from] reactor::log_selftest::BackendError),
    /// A port cannot be had.
    #[error("could not listen on {address}: {source}; stop what listens there or choose another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

impl StartError {
    /// The exit code that it calls for.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            StartError::Lock(_) => ExitCode::Identity,
            StartError::Identity(error) => error.exit_code(),
            StartError::Log { .. } | StartError::Store { .. } => ExitCode::Data,
            StartError::Ring(_) | StartError::LogBackend(_) | StartError::Listen { .. } | StartError::System { .. } => {
                ExitCode::Unavailable
            }
        }
    }
}

/// A metaserver that runs.
pub struct Node {
    shared: Arc<Shared>,
    senders: Vec<Doorbell>,
    threads: Vec<JoinHandle<()>>,
    storage: Option<StorageThread>,
    announcer: Option<Announcer>,
    flow_runner: Option<FlowRunner>,
    admin: Option<AdminPort>,
    _watch: Watch,
    _stall_watch: StallWatch,
    client_address: SocketAddr,
    memcache_address: Option<SocketAddr>,
    id: NodeId,
    log_backend: Backend,
    /// Goes when the cores have ended.
    _cache_memory: Option<CacheMemory>,
    _lock: Lock,
}

/// What one core thread needs to begin.
struct CoreSeed {
    id: CoreId,
    identity: Identity,
    config: NodeConfig,
    recovered: Recovered,
    log_settings: seglog::Settings,
    shared: Arc<Shared>,
    doorbell: Doorbell,
    inbox: reactor::Inbox<Mail>,
    sender: Sender<Mail>,
    storage: StorageSender,
    stamp_clock: StampClock,
    feed: Feed,
    mailroom: Rooms,
    cache: Option<(cache::Writer, NearCache)>,
}

impl Node {
    /// Starts the node of `config.process.data_dir`; returns when its ports are open.
    pub fn start(config: NodeConfig) -> Result<Node, StartError> {
        let dir = config.process.data_dir.clone();
        let lock = Lock::take(&dir)?;
        let found = Identity::read(&dir)?;
        found.check(&dir, &config)?;
        format_logs(&dir, &found)?;
        let identity = Identity::open_and_raise(&dir)?;
        let shared = Arc::new(Shared::new(&config));
        let cores = config.cluster.cores;
        let mut recovered = Vec::new();
        let mut dirs = Vec::new();
        for core in (0..cores).map(CoreId) {
            recovered.push(recover_log(&dir, &identity, core)?);
            let segment_bytes = identity.segment_bytes;
            dirs.push(LogDir { core, dir: identity::log_dir(&dir, core.0), segment_bytes });
        }
        let mut bells = Vec::new();
        let mut boxes = Vec::new();
        for _ in 0..cores {
            let doorbell = Doorbell::new().map_err(|source| system("could not make an eventfd", source))?;
            let (sender, inbox) = inbox::<Mail>(INBOX_MAX, &doorbell);
            bells.push(doorbell.clone());
            boxes.push((doorbell, sender, inbox));
        }
        let senders: Vec<Sender<Mail>> = boxes.iter().map(|(_, sender, _)| sender.clone()).collect();
        let posts = senders.clone();
        let stopping = shared.clone();
        let on_done = Arc::new(move |core: CoreId, done| {
            // A full inbox: the core is behind, and no completion may be lost. This thread can wait.
            let mut mail = Mail::Storage(done);
            while let Err(back) = posts[usize::from(core.0)].post(mail) {
                if stopping.is_stopping() {
                    return;
                }
                mail = back;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let backend = choose_backend(&dirs, config.process.log_backend)?;
        let storage = StorageThread::start_with(dirs, backend, on_done)
            .map_err(|source| system("could not start the storage thread", source))?;

        let (watch, feeds) =
            Watch::start(cores).map_err(|source| system("could not start the metrics thread", source))?;
        let stall_watch = StallWatch::start(shared.beats.clone())
            .map_err(|source| system("could not start the stall watch", source))?;
        let totals = watch.totals();
        let stamp_clock = stamp_clock();
        let (ready_in, ready) = mpsc::channel();
        let mut threads = Vec::new();
        let mailrooms = Rooms::of_node(&bells);
        let caches = NodeCaches::of(&config, random_seed()?);
        let mut caches_of_cores = caches.cores.into_iter();
        let seeds = boxes.into_iter().enumerate().zip(recovered).zip(feeds).zip(mailrooms);
        for ((((at, (doorbell, sender, inbox)), (settings, recovered)), feed), mailroom) in seeds {
            let seed = CoreSeed {
                id: CoreId(at as u16),
                identity: identity.clone(),
                config: config.clone(),
                recovered,
                log_settings: seglog::Settings { batches_in_flight: config.process.log_batches_in_flight, ..settings },
                shared: shared.clone(),
                doorbell,
                inbox,
                sender,
                storage: storage.sender(),
                stamp_clock,
                feed,
                mailroom,
                cache: caches_of_cores.next(),
            };
            let ready = ready_in.clone();
            let thread = std::thread::Builder::new()
                .name(format!("n{}-core{at}", identity.node))
                .spawn(move || run_core(seed, &ready))
                .map_err(|source| system("could not start a core thread", source))?;
            threads.push(thread);
        }
        drop(ready_in);
        let mut node = Node {
            shared,
            senders: bells,
            threads,
            storage: Some(storage),
            announcer: None,
            flow_runner: None,
            admin: None,
            _watch: watch,
            _stall_watch: stall_watch,
            client_address: SocketAddr::new(config.process.listen, config.process.client_port),
            memcache_address: config.process.memcache_listen,
            id: identity.node,
            log_backend: backend,
            _cache_memory: caches.memory,
            _lock: lock,
        };
        for _ in 0..cores {
            match ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    node.end();
                    return Err(error);
                }
                Err(_) => {
                    node.end();
                    let source = std::io::Error::other("it panicked; the log above says where");
                    return Err(system("a core thread ended while it started", source));
                }
            }
        }
        let shown = Shown { node: node.id, totals, beats: node.shared.beats.clone() };
        node.admin = start_admin(&config, shown);
        if identity.machine == MachineKind::Files {
            node.announcer = Announcer::start(&identity, &config, &node.shared);
            node.flow_runner = FlowRunner::start(identity.node, &config, &node.shared);
        } else {
            tracing::warn!("the machine is {}: this cluster counts commands and holds no files", identity.machine);
        }
        Ok(node)
    }

    /// The shared client port.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where its memcached port listens, if it has one.
    #[must_use]
    pub fn memcache_address(&self) -> Option<SocketAddr> {
        self.memcache_address
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where its admin port listens, if it has one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminPort::address)
    }

    /// How its logs are appended to.
    #[must_use]
    pub fn log_backend(&self) -> Backend {
        self.log_backend
    }

    /// Why the node stopped by itself, if it did: the process must exit with that code.
    #[must_use]
    pub fn failed(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Stops cleanly: what was acknowledged is on disk already; returns when all threads have ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop();
        drop(self.announcer.take());
        drop(self.flow_runner.take());
        drop(self.admin.take());
        self.senders.iter().for_each(Doorbell::ring);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(node = self.id.0, "a core thread had panicked");
            }
        }
        if let Some(storage) = self.storage.take() {
            storage.stop();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// The admin port on loopback. A node that cannot have it serves all the same: what it shows is a help and not a need.
fn start_admin(config: &NodeConfig, shown: Shown) -> Option<AdminPort> {
    let port = config.process.admin_port;
    if port == 0 {
        return None;
    }
    let address = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    AdminPort::start(address, shown)
        .inspect_err(|error| {
            tracing::warn!(%address, %error, "no admin port: stop what listens there or set process.admin_port");
        })
        .ok()
}

/// A core's flight ring. A node that cannot have it serves all the same.
fn open_flight(config: &NodeConfig, node: NodeId, core: CoreId, clock: &StampClock) -> Option<Flight> {
    let bytes = config.process.flight_bytes;
    if bytes == 0 || !base::stages::ON {
        return None;
    }
    let dir = config.process.data_dir.join("flight");
    let opened = std::fs::create_dir_all(&dir)
        .and_then(|()| Flight::open(&dir.join(format!("c{core}.ring")), bytes, node, core, clock));
    opened.inspect_err(|error| tracing::warn!(core = core.0, dir = %dir.display(), %error, "no flight recorder")).ok()
}

/// The clock of the latency profile, calibrated once for all nodes of a process.
fn stamp_clock() -> StampClock {
    static CLOCK: OnceLock<StampClock> = OnceLock::new();
    let clock = *CLOCK.get_or_init(StampClock::new);
    tracing::info!(is_tsc = clock.is_tsc(), "clock of the latency profile");
    clock
}

/// The backend of all logs of the node, which lie on one file system; told once, with the reason.
fn choose_backend(dirs: &[LogDir], wish: BackendWish) -> Result<Backend, StartError> {
    let chosen = log_selftest::choose(dirs.first().expect("a node has a core"), wish)?;
    for trial in &chosen.trials {
        tracing::debug!(%trial, "log self-test");
    }
    if let Some(warning) = &chosen.warning {
        tracing::warn!(backend = %chosen.backend, "log self-test: {warning}");
    }
    tracing::info!(backend = %chosen.backend, wanted = %wish, "log backend chosen: {}", chosen.reason);
    Ok(chosen.backend)
}

fn system(what: &str, source: std::io::Error) -> StartError {
    StartError::System { what: what.to_owned(), source }
}

/// The logs of a directory that never booted; a stop in the middle is made good by the next start.
fn format_logs(dir: &std::path::Path, identity: &Identity) -> Result<(), StartError> {
    if identity.incarnation > 0 {
        return Ok(());
    }
    for core in (0..identity.cores).map(CoreId) {
        let path = identity::log_dir(dir, core.0);
        format_log_dir(&path, &log_settings(identity, core, 0), 2)
            .map_err(|source| system(&format!("could not prepare the log in {}", path.display()), source))?;
    }
    Ok(())
}

fn log_settings(identity: &Identity, core: CoreId, salt_seed: u64) -> seglog::Settings {
    seglog::Settings {
        cluster_id: identity.cluster,
        node_uuid: identity.uuid,
        core,
        cores: identity.cores,
        segment_bytes: identity.segment_bytes,
        log_bytes_max: (identity.segment_bytes * 64).min(4 << 30).max(identity.segment_bytes * 8),
        salt_seed,
        batches_in_flight: 1,
    }
}

fn random_seed() -> Result<u64, StartError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| system("no random bytes", std::io::Error::other(error.to_string())))?;
    Ok(u64::from_le_bytes(seed))
}

fn recover_log(
    dir: &std::path::Path,
    identity: &Identity,
    core: CoreId,
) -> Result<(seglog::Settings, Recovered), StartError> {
    let settings = log_settings(identity, core, random_seed()?);
    let path = identity::log_dir(dir, core.0);
    let reader =
        FileLogReader::open(&path).map_err(|source| system(&format!("could not open {}", path.display()), source))?;
    let recovered = recover_telling(reader, &settings, core).map_err(|source| StartError::Log { core, source })?;
    let report = recovered.report();
    if report.meta_copies < 2 {
        tracing::warn!(
            core = core.0,
            copies = report.meta_copies,
            "the log's meta had fewer than two good copies; they are written again, check the disk"
        );
    }
    warn_of_damage(core, &recovered);
    if report.groups_doubtful > 0 {
        tracing::warn!(
            core = core.0,
            groups = report.groups_doubtful,
            "the log's last frame was cut off while it was written; these groups wait for their leader before they vote"
        );
    }
    Ok((settings, recovered))
}

/// Says what damage the log has shown, group by group: the node starts all the same, and serves what is whole.
fn warn_of_damage(core: CoreId, recovered: &Recovered) {
    let report = recovered.report();
    if report.frames_damaged > 0 {
        tracing::error!(
            core = core.0,
            frames = report.frames_damaged,
            entries = report.entries_faulty,
            "frames of the log were persisted and are damaged; check the disk"
        );
    }
    if let Some(why) = report.untrusted {
        tracing::error!(core = core.0, why, "no group of this core can be trusted; replace this node under a new id");
    }
    for group in recovered.groups() {
        let (id, faulty) = (group.group.0, group.faulty.len());
        match group.health {
            Health::Clean | Health::RecoveringHead => {}
            Health::Faulty => tracing::error!(
                core = core.0,
                group = id,
                entries = faulty,
                first = group.faulty[0].0,
                "entries of this group lost their bytes and are to be fetched from other members"
            ),
            Health::Quarantined => tracing::error!(
                core = core.0,
                group = id,
                "what this group acknowledged or voted here may be lost; replace this node under a new id"
            ),
        }
    }
}

/// The life of a core thread.
fn run_core(seed: CoreSeed, ready: &mpsc::Sender<Result<(), StartError>>) {
    let shared = seed.shared.clone();
    let id = seed.id;
    let core = match boot_core(seed) {
        Ok(core) => core,
        Err(error) => {
            // The receiver is gone only when another core has failed to start already.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.run()));
    match ended {
        Ok(shard) => shard.into_store().close(),
        Err(_) => shared.fail(ExitCode::Bug, format!("core {id} panicked; the log above says where")),
    }
}

fn boot_core(seed: CoreSeed) -> Result<Core, StartError> {
    let CoreSeed { id, identity, config, recovered, log_settings, shared, doorbell, inbox, sender, storage, .. } = seed;
    let (stamp_clock, feed, mailroom, cache) = (seed.stamp_clock, seed.feed, seed.mailroom, seed.cache);
    pin(&config.process.pin, id);
    let dir = &config.process.data_dir;
    // A laptop's rings are small: locked memory is counted for all of a user's rings together.
    let is_small = config.process.profile == Profile::Dev;
    let defaults = RingConfig::default();
    let completions = if is_small { SMALL_COMPLETIONS } else { defaults.completions };
    let mut ring = Ring::new(&RingConfig { completions, ..defaults })?;
    ring.attach_doorbell(&doorbell);

    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        // A full inbox means that the core is about to look anyway.
        let _ = sender.post(Mail::Rang);
    });
    let of_profile = if config.process.profile == Profile::Dev { OpenSettings::dev } else { OpenSettings::new };
    let mut settings = of_profile(dir.join("store"), id, wake);
    settings.memtable_bytes = config.process.memtable_bytes as usize;
    settings.scrub_bytes_per_second = config.process.scrub_bytes_per_second;
    let space = disk_space(dir).map_err(|source| system("could not ask for free disk space", source))?;
    let share = space.total_bytes / 100 * config.process.space_reserve_percent;
    settings.space_reserve_bytes = config.process.space_reserve_bytes.max(share);
    let probed = dir.clone();
    settings.space = Some(Arc::new(move || disk_space(&probed).map(|space| space.free_bytes)));
    let store = LsmStore::open(settings).map_err(|source| StartError::Store { core: id, source })?;

    let mut disk = MmapDisk::new(id, identity::log_dir(dir, id.0), identity.segment_bytes, storage);
    disk.open_recovered(recovered.segments()).map_err(|source| system("could not map the log", source))?;
    let now = ring.now();
    let log = SegLog::start(recovered, log_settings, disk);
    let hash = config.cluster.hash();
    let voters: Vec<NodeId> =
        if identity.joins { Vec::new() } else { config.cluster.nodes.iter().map(|seed| seed.id).collect() };
    let seed_of = |bytes: &[u8; 16]| u64::from_le_bytes(bytes[..8].try_into().expect("16 bytes hold 8"));
    let shard_settings = shard::Settings {
        node: identity.node,
        core: id,
        cores: identity.cores,
        groups: identity.groups,
        incarnation: identity.incarnation,
        seed: mix64(seed_of(&identity.cluster.0) ^ seed_of(&identity.uuid.0) ^ mix64(identity.incarnation)),
        raft: config.cluster.raft_settings(),
        initial: raft::Config::single(&voters),
        trailing_entries: config.process.log_trailing_entries,
        keep: config.cluster.keep(),
        state_hash_every: base::limits::STATE_HASH_EVERY,
        balance: shard::Balancing { is_on: config.process.balance_leaders, ..Default::default() },
        release: meta::Release::THIS,
        machine: identity.machine,
    };
    let mut shard = Shard::new(shard_settings, log, store, now);
    let near = cache.map(|(writer, near)| {
        shard.attach_cache(writer);
        near
    });

    let process = &config.process;
    let client = SocketAddr::new(process.listen, process.client_port);
    let own = SocketAddr::new(process.listen, process.client_port + 1 + id.0);
    let peer = SocketAddr::new(process.listen, process.peer_port + id.0);
    let memcache = process.memcache_listen.map(|address| (TAG_MEMCACHE, address, Patience::CLIENT));
    let ports =
        [(TAG_CLIENT, client, Patience::CLIENT), (TAG_CLIENT, own, Patience::CLIENT), (TAG_PEER, peer, Patience::PEER)];
    for (tag, address, patience) in ports.into_iter().chain(memcache) {
        ring.listen(tag, address, patience).map_err(|source| StartError::Listen { address, source })?;
    }
    let clients = Clients::new(ServerHello {
        version: WIRE_VERSION,
        features: 0,
        cluster_id: identity.cluster,
        node_id: identity.node,
        cores: identity.cores,
        core: id,
        groups: identity.groups,
    });
    let peers = Peers::new(PeerSettings {
        hello: PeerHello {
            version_min: WIRE_VERSION,
            version_max: WIRE_VERSION,
            features: wire::peer_feature::ALL,
            cluster_id: identity.cluster,
            node_uuid: identity.uuid,
            node_id: identity.node,
            incarnation: identity.incarnation,
            core: id,
            cores: identity.cores,
            groups: identity.groups,
            config_hash: hash,
        },
    });
    let settings = memcache::Settings {
        core: id,
        groups: identity.groups,
        listen: process.memcache_listen,
        client_port: process.client_port,
    };
    let memcache = Memcache::new(settings, shared.clone(), now);
    let flight = open_flight(&config, identity.node, id, &stamp_clock);
    let profile = CoreProfile::new(stamp_clock, feed, now).with_flight(flight, identity.incarnation);
    let names = (identity.node, id, identity.cores);
    Ok(Core::new(ring, inbox, names, shard, (clients, memcache, near), peers, (shared, profile, mailroom)))
}

/// Pinning is a help and not a need: a refusal is told once and the core floats.
fn pin(pin: &Pin, core: CoreId) {
    let cpu = match pin {
        Pin::Off => None,
        Pin::List(list) => list.get(usize::from(core.0) % list.len().max(1)).copied(),
        Pin::Auto => match reactor::pin::available() {
            Ok(cpus) if cpus.len() > 2 => cpus.get(usize::from(core.0) % (cpus.len() - 1)).copied(),
            _ => None,
        },
    };
    if let Some(cpu) = cpu
        && let Err(error) = reactor::pin::pin_to(cpu)
    {
        tracing::warn!(core = core.0, cpu, %error, "could not pin a core thread");
    }
}
