//! The edge as a running thing: links to the hubs, those who wait, questions when no hub can tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Jid, Mono, Nsid};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use wire::notify::{HubKind, Place, Push, put_namespaces};
use wire::{Frame, ReplyStatus};

use crate::clock::{Clock, draw_seed};
use crate::cluster::Cluster;
use crate::edge::{Edge, EdgeCounts, LinkId, Overloaded, WatcherId};
use crate::link::{LinkError, SILENCE_MAX, Writer, dial};

const TICK: Duration = Duration::from_millis(50);
/// Watchers woken under one lock.
const WAKES_MAX: usize = 256;
/// A stop that is not in a hurry wakes those who wait in so many portions.
const DRAIN_STEPS: u32 = 50;

/// One who waits: told once, and dropped without a word when nobody can tell any more.
type Sleeper = oneshot::Sender<()>;

/// What all tasks of an edge share.
pub(crate) struct EdgeTier {
    /// `host:port` of the hubs of each place, in order of preference.
    hubs: Vec<Vec<String>>,
    cluster: Arc<Cluster>,
    clock: Clock,
    runtime: Handle,
    edge: Mutex<Edge<Sleeper>>,
    /// Wakes the writer of each link.
    writers: Mutex<HashMap<LinkId, Arc<Notify>>>,
    is_draining: AtomicBool,
}

/// One who waits, until it is dropped.
pub(crate) struct Waiting {
    tier: Arc<EdgeTier>,
    id: WatcherId,
    /// Told when a journal has moved.
    pub(crate) woken: oneshot::Receiver<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let now = self.tier.clock.now();
        // It may have been woken.
        drop(self.tier.edge.lock().unsubscribe(self.id, now));
    }
}

impl EdgeTier {
    pub(crate) fn new(
        hubs: Vec<Vec<String>>,
        watchers_max: usize,
        cluster: Arc<Cluster>,
        runtime: Handle,
    ) -> Arc<EdgeTier> {
        let clock = Clock::new();
        let addresses: Vec<usize> = hubs.iter().map(Vec::len).collect();
        let edge = Mutex::new(Edge::new(&addresses, watchers_max, draw_seed(), clock.now()));
        let (writers, is_draining) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(EdgeTier { hubs, cluster, clock, runtime, edge, writers, is_draining })
    }

    /// Counters; watchers and namespaces; places that a hub tells of, out of so many.
    pub(crate) fn figures(&self) -> (EdgeCounts, (usize, usize), (usize, usize)) {
        let edge = self.edge.lock();
        (edge.counts(), edge.sizes(), (edge.sound_places(), self.hubs.len()))
    }

    /// It stops soon: nobody is to wait here any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Waits for these journals.
    ///
    /// Errors: [`Overloaded`].
    pub(crate) fn wait(self: &Arc<EdgeTier>, cursor: &[(Nsid, Jid)]) -> Result<Waiting, Overloaded> {
        let (sender, woken) = oneshot::channel();
        let id = self.with(|edge, now| edge.subscribe(cursor, sender, now))?;
        Ok(Waiting { tier: Arc::clone(self), id, woken })
    }

    /// A head that was learnt otherwise.
    pub(crate) fn note_head(self: &Arc<EdgeTier>, nsid: Nsid, head: Jid) {
        self.with(|edge, _| edge.note_head(nsid, Some(head)));
    }

    /// Wakes all that wait, spread over `span`, so that they do not come back together. They find another edge.
    pub(crate) fn drain(&self, span: Duration) {
        self.is_draining.store(true, Ordering::Relaxed);
        for step in (1..=DRAIN_STEPS).rev() {
            let waiting = self.edge.lock().sizes().0;
            if waiting == 0 {
                return;
            }
            for _ in 0..waiting.div_ceil(step as usize) {
                let sleeper = self.edge.lock().poll_any(self.clock.now());
                sleeper.map(|sleeper| sleeper.send(()));
            }
            std::thread::sleep(span / DRAIN_STEPS);
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self: Arc<EdgeTier>) {
        loop {
            // The task of a link that is to be closed sees that for itself.
            self.with(|edge, now| drop(edge.handle_tick(now)));
            tokio::time::sleep(TICK).await;
        }
    }

    /// Does something with the table, and then all that it wants done.
    fn with<T>(self: &Arc<EdgeTier>, act: impl FnOnce(&mut Edge<Sleeper>, Mono) -> T) -> T {
        let (mut asks, mut dials, mut woken) = (Vec::new(), Vec::new(), Vec::new());
        let mut edge = self.edge.lock();
        let now = self.clock.now();
        let done = act(&mut edge, now);
        while let Some(ask) = edge.poll_ask() {
            asks.push(ask);
        }
        while let Some(dial) = edge.poll_dial(now) {
            dials.push(dial);
        }
        edge.places_with_interest().for_each(|link| self.wake_writer(link));
        woken.extend(std::iter::from_fn(|| edge.poll_wake(now)).take(WAKES_MAX));
        drop(edge);
        asks.into_iter().for_each(|nsid| self.ask(nsid));
        for (link, address) in dials {
            self.runtime.spawn(Arc::clone(self).keep_link(link, address));
        }
        while !woken.is_empty() {
            // Whoever has gone meanwhile hears nothing.
            for sleeper in woken.drain(..) {
                let _ = sleeper.send(());
            }
            let mut edge = self.edge.lock();
            woken.extend(std::iter::from_fn(|| edge.poll_wake(now)).take(WAKES_MAX));
        }
        done
    }

    fn wake_writer(&self, link: LinkId) {
        self.writers.lock().get(&link).inspect(|writer| writer.notify_one());
    }

    fn ask(self: &Arc<EdgeTier>, nsid: Nsid) {
        let tier = Arc::clone(self);
        self.runtime.spawn(async move {
            let head = tier.cluster.head(nsid).await;
            tier.with(|edge, _| edge.handle_head(nsid, head));
        });
    }

    // Hubs.

    async fn keep_link(self: Arc<EdgeTier>, link: LinkId, address: usize) {
        let address = &self.hubs[usize::from(link.place)][address];
        let ended = self.hear(link, address).await;
        self.writers.lock().remove(&link);
        self.with(|edge, now| edge.handle_lost(link, now));
        if let Err(error) = ended {
            tracing::info!(place = link.place, hub = %address, %error, "the link to a hub ended");
        }
    }

    async fn hear(self: &Arc<EdgeTier>, link: LinkId, address: &str) -> Result<(), LinkError> {
        let (mut reader, mut writer) = dial(address).await?;
        let place = Place { place: link.place, places: self.hubs.len() as u16 };
        writer.request(HubKind::Join as u8, |out| place.encode(out)).await?;
        // The first push says that the hub has taken it.
        let woken = Arc::new(Notify::new());
        let mut is_first = true;
        let read = async {
            loop {
                reader.frame(SILENCE_MAX, |frame| self.take_pushes(link, frame, &mut is_first, &woken)).await?;
            }
        };
        tokio::select! {
            ended = read => ended,
            ended = self.tell_interest(link, &woken, &mut writer) => ended,
        }
    }

    fn take_pushes(
        self: &Arc<EdgeTier>,
        link: LinkId,
        frame: Frame<'_>,
        is_first: &mut bool,
        woken: &Arc<Notify>,
    ) -> Result<(), LinkError> {
        for reply in frame.replies()? {
            if reply.reply_status() != Some(ReplyStatus::Ok) {
                return Err(LinkError::Refused(reply.text().into_owned()));
            }
            let push = Push::parse(reply.body)?;
            if std::mem::take(is_first) {
                self.writers.lock().insert(link, Arc::clone(woken));
                self.with(|edge, now| edge.handle_connected(link, now));
            }
            if !self.with(|edge, now| edge.handle_push(link, push, now)) {
                return Err(LinkError::Gap);
            }
        }
        Ok(())
    }

    async fn tell_interest(
        self: &Arc<EdgeTier>,
        link: LinkId,
        woken: &Notify,
        writer: &mut Writer,
    ) -> Result<(), LinkError> {
        let (mut adds, mut drops) = (Vec::new(), Vec::new());
        loop {
            woken.notified().await;
            while self.with(|edge, now| edge.poll_interest(link, &mut adds, &mut drops, now)) {
                for (kind, namespaces) in [(HubKind::Interest, &adds), (HubKind::Drop, &drops)] {
                    if !namespaces.is_empty() {
                        writer.request(kind as u8, |out| put_namespaces(out, namespaces)).await?;
                    }
                }
            }
        }
    }
}
