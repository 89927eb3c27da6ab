//! The hub as a running thing: feeds of all cores of all metaservers, links of edges, questions for heads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::{ClusterId, CoreId, Mono, NodeId};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wire::notify::{Advance, HubKind, Place, parse_namespaces, put_push};
use wire::{Frame, ReplyStatus, RequestKind, ServerHello};

use crate::clock::{Clock, draw_seed};
use crate::cluster::Cluster;
use crate::hub::{Ask, EDGES_MAX, EdgeId, Hub, HubCounts, StreamId};
use crate::link::{LinkError, SILENCE_MAX, Writer, dial, greet};

/// Between two looks at who the metaservers are.
const MAP_EVERY: Duration = Duration::from_secs(2);
const MAP_AGAIN: Duration = Duration::from_millis(250);
/// Between two dials of one core, at most; half of it at least.
const DIAL_EVERY_MS: u64 = 200;
const TICK: Duration = Duration::from_millis(50);
const BEAT: Duration = Duration::from_millis(250);
/// An edge has nothing to say while nobody comes or goes.
const EDGE_SILENCE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What all tasks of a hub share.
pub(crate) struct HubTier {
    place: Place,
    cluster: Arc<Cluster>,
    clock: Clock,
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    hub: Hub,
    /// Wakes the writer of each edge.
    writers: HashMap<EdgeId, Arc<Notify>>,
}

impl HubTier {
    pub(crate) fn new(place: Place, cluster: Arc<Cluster>, runtime: Handle) -> Arc<HubTier> {
        let clock = Clock::new();
        let hub = Hub::new(draw_seed() >> 24, clock.now());
        Arc::new(HubTier { place, cluster, clock, runtime, state: Mutex::new(State { hub, writers: HashMap::new() }) })
    }

    /// Counters; namespaces, edges and streams; groups whose leader is not heard.
    pub(crate) fn figures(&self) -> (HubCounts, (usize, usize, usize), u32) {
        let state = self.state.lock();
        (state.hub.counts(), state.hub.sizes(), state.hub.unsound())
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self: Arc<HubTier>, listener: TcpListener) {
        let tick = async {
            loop {
                tokio::time::sleep(TICK).await;
                // The task of a silent feed sees that for itself.
                self.with(|hub, now| drop(hub.handle_tick(now)));
            }
        };
        let edges = stone::accept(listener, EDGES_MAX * 2, |stream, peer| {
            let tier = Arc::clone(&self);
            async move {
                if let Err(error) = tier.serve_edge(stream).await {
                    tracing::info!(%peer, %error, "the link of an edge ended");
                }
            }
        });
        tokio::join!(tick, edges, Arc::clone(&self).keep_feeds());
    }

    /// Does something with the table, and then all that it wants done.
    fn with<T>(self: &Arc<HubTier>, act: impl FnOnce(&mut Hub, Mono) -> T) -> T {
        let (mut asks, mut state) = (Vec::new(), self.state.lock());
        let now = self.clock.now();
        let done = act(&mut state.hub, now);
        while let Some(edge) = state.hub.poll_woken() {
            state.writers.get(&edge).inspect(|writer| writer.notify_one());
        }
        while let Some(ask) = state.hub.poll_ask() {
            asks.push(ask);
        }
        while let Some(ask) = state.hub.poll_repair(now) {
            asks.push(ask);
        }
        drop(state);
        asks.into_iter().for_each(|ask| self.ask(ask));
        done
    }

    fn ask(self: &Arc<HubTier>, ask: Ask) {
        let tier = Arc::clone(self);
        self.runtime.spawn(async move {
            let head = tier.cluster.head(ask.nsid).await;
            tier.with(|hub, now| hub.handle_head(ask, head, now));
        });
    }

    // Metaservers.

    /// A feed of every core of every metaserver, for ever.
    async fn keep_feeds(self: Arc<HubTier>) {
        let mut feeds: HashMap<StreamId, (String, AbortHandle)> = HashMap::new();
        loop {
            let map = match self.cluster.map().await {
                Ok(map) => map,
                Err(error) => {
                    tracing::debug!(%error, "could not learn who the metaservers are; trying again");
                    tokio::time::sleep(MAP_AGAIN).await;
                    continue;
                }
            };
            self.with(|hub, _| hub.set_groups(map.groups()));
            let mut wanted = HashMap::new();
            for node in &map.nodes {
                for core in (0..map.cores).map(CoreId) {
                    let address = core_address(&node.address, core);
                    wanted.extend(address.map(|address| (StreamId { node: node.id, core }, address)));
                }
            }
            feeds.retain(|stream, (address, task)| {
                let is_kept = wanted.get(stream) == Some(address);
                if !is_kept {
                    task.abort();
                    self.with(|hub, _| hub.handle_stream_lost(*stream));
                }
                is_kept
            });
            for (stream, address) in wanted {
                feeds.entry(stream).or_insert_with(|| {
                    let task = self.runtime.spawn(Arc::clone(&self).keep_feed(stream, address.clone()));
                    (address, task.abort_handle())
                });
            }
            tokio::time::sleep(MAP_EVERY).await;
        }
    }

    async fn keep_feed(self: Arc<HubTier>, stream: StreamId, address: String) {
        loop {
            let Err(error) = self.hear(stream, &address).await;
            self.with(|hub, _| hub.handle_stream_lost(stream));
            tracing::debug!(node = stream.node.0, core = stream.core.0, %error, "the feed of a core ended");
            let wait_ms = DIAL_EVERY_MS / 2 + draw_seed() % (DIAL_EVERY_MS / 2);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    async fn hear(self: &Arc<HubTier>, stream: StreamId, address: &str) -> Result<std::convert::Infallible, LinkError> {
        let (mut reader, mut writer) = dial(address).await?;
        self.with(|hub, now| hub.handle_stream_begun(stream, now));
        writer.request(RequestKind::Feed as u8, |out| self.place.encode(out)).await?;
        loop {
            reader.frame(SILENCE_MAX, |frame| self.take_advances(stream, frame)).await?;
        }
    }

    fn take_advances(self: &Arc<HubTier>, stream: StreamId, frame: Frame<'_>) -> Result<(), LinkError> {
        for reply in frame.replies()? {
            if reply.reply_status() != Some(ReplyStatus::Ok) {
                return Err(LinkError::Refused(reply.text().into_owned()));
            }
            let advance = Advance::parse(reply.body)?;
            if !self.with(|hub, now| hub.handle_advance(stream, advance, now)) {
                return Err(LinkError::Gap);
            }
        }
        Ok(())
    }

    // Edges.

    async fn serve_edge(self: Arc<HubTier>, stream: TcpStream) -> Result<(), LinkError> {
        let (mut reader, mut writer) = greet(stream, &server_hello()).await?;
        let (request_id, place) = reader.frame(SILENCE_MAX, join_of).await?;
        let refuse = if place == self.place { None } else { Some("this hub has another place; see [notify.hub]") };
        let joined = if refuse.is_none() { self.with(|hub, now| hub.handle_join(now)) } else { None };
        let Some(edge) = joined else {
            let why =
                refuse.unwrap_or("this hub has not found the cluster yet, or has too many edges; try another one");
            let refused = writer.reply(request_id, ReplyStatus::Refused, HubKind::Join as u8, |out| {
                out.extend_from_slice(why.as_bytes());
            });
            refused.await?;
            return Err(LinkError::Refused(why.to_owned()));
        };
        let woken = Arc::new(Notify::new());
        self.state.lock().writers.insert(edge, Arc::clone(&woken));
        let read = async {
            loop {
                reader.frame(EDGE_SILENCE_MAX, |frame| self.take_interest(edge, frame)).await?;
            }
        };
        let ended = tokio::select! {
            ended = read => ended,
            ended = self.push(edge, request_id, &woken, &mut writer) => ended,
        };
        self.state.lock().writers.remove(&edge);
        self.with(|hub, _| hub.handle_edge_lost(edge));
        ended
    }

    /// Pushes what is owed as fast as the edge takes it: what moves meanwhile is told with its newest jid.
    async fn push(
        self: &Arc<HubTier>,
        edge: EdgeId,
        request_id: u64,
        woken: &Notify,
        writer: &mut Writer,
    ) -> Result<(), LinkError> {
        let mut heads = Vec::new();
        loop {
            while let Some(push) = self.with(|hub, now| hub.poll_push(edge, now, &mut heads)) {
                let put = |out: &mut Vec<u8>| put_push(out, push.generation, push.seq, push.unsound, &heads);
                writer.reply(request_id, ReplyStatus::Ok, HubKind::Join as u8, put).await?;
            }
            // Without news it is time for a beat.
            let _ = tokio::time::timeout(BEAT, woken.notified()).await;
        }
    }

    fn take_interest(self: &Arc<HubTier>, edge: EdgeId, frame: Frame<'_>) -> Result<(), LinkError> {
        for request in frame.requests()? {
            let kind = HubKind::from_u8(request.kind);
            let namespaces = parse_namespaces(request.body)?;
            match kind {
                Some(HubKind::Interest) => {
                    self.with(|hub, _| namespaces.for_each(|nsid| hub.handle_interest(edge, nsid)));
                }
                Some(HubKind::Drop) => self.with(|hub, _| namespaces.for_each(|nsid| hub.handle_drop(edge, nsid))),
                Some(HubKind::Join) | None => return Err(LinkError::Refused("it asks for what is not there".into())),
            }
        }
        Ok(())
    }
}

/// The first request of an edge.
fn join_of(frame: Frame<'_>) -> Result<(u64, Place), LinkError> {
    let request = frame.requests()?.next().filter(|request| request.kind == HubKind::Join as u8);
    let request = request.ok_or_else(|| LinkError::Refused("it does not begin with Join".to_owned()))?;
    Ok((request.request_id, Place::parse(request.body)?))
}

/// The port of one core: that of the node, and one more for each core (docs/design/wire.md).
fn core_address(address: &str, core: CoreId) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?.checked_add(1)?.checked_add(core.0)?;
    Some(format!("{host}:{port}"))
}

/// A hub is no node; the format wants the counts above zero.
fn server_hello() -> ServerHello {
    ServerHello {
        version: wire::WIRE_VERSION,
        features: 0,
        cluster_id: ClusterId::default(),
        node_id: NodeId(0),
        cores: 1,
        core: CoreId(0),
        groups: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_has_a_port_of_its_own() {
        assert_eq!(core_address("10.0.0.1:7100", CoreId(1)), Some("10.0.0.1:7102".to_owned()));
        assert_eq!(core_address("[::1]:7100", CoreId(0)), Some("[::1]:7101".to_owned()));
        assert_eq!(core_address("10.0.0.1", CoreId(0)), None);
        assert_eq!(core_address("10.0.0.1:65535", CoreId(0)), None);
    }
}
