//! Who waits for which journal: one watch for each namespace, however many wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Jid, Nsid};
use client::HeadWatch;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::Cluster;

/// Those who wait, and what is watched for them.
pub struct Heads {
    cluster: Arc<Cluster>,
    watched: Arc<Mutex<HashMap<Nsid, Watched>>>,
    next_id: AtomicU64,
}

struct Watched {
    /// The newest head that was told.
    head: Jid,
    /// `None` while it is being made.
    watch: Option<HeadWatch>,
    waiting: Vec<(u64, Jid, Arc<Notify>)>,
}

/// One who waits, until it is dropped.
pub struct Waiter {
    watched: Arc<Mutex<HashMap<Nsid, Watched>>>,
    nsid: Nsid,
    id: u64,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut watched = self.watched.lock();
        let Some(entry) = watched.get_mut(&self.nsid) else { return };
        entry.waiting.retain(|waiting| waiting.0 != self.id);
        let is_last = entry.waiting.is_empty();
        let gone = if is_last { watched.remove(&self.nsid) } else { None };
        drop(watched);
        // The watch ends outside of the lock that its own callback takes.
        drop(gone);
    }
}

impl Heads {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>) -> Heads {
        Heads { cluster, watched: Arc::default(), next_id: AtomicU64::new(1) }
    }

    /// `notify` is woken as soon as the journal has passed `since`, or when nobody can tell any more. Inside a runtime.
    #[must_use]
    pub fn wait(&self, nsid: Nsid, since: Jid, notify: &Arc<Notify>) -> Waiter {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let is_new = {
            let mut watched = self.watched.lock();
            let is_new = !watched.contains_key(&nsid);
            let entry = watched.entry(nsid).or_insert(Watched { head: since, watch: None, waiting: Vec::new() });
            entry.waiting.push((id, since, Arc::clone(notify)));
            if entry.head > since {
                notify.notify_one();
            }
            is_new
        };
        if is_new {
            // A task of its own: others may wait for this watch when the first one has gone already.
            tokio::spawn(watch(Arc::clone(&self.cluster), Arc::clone(&self.watched), nsid, since));
        }
        Waiter { watched: Arc::clone(&self.watched), nsid, id }
    }
}

/// Makes the watch of a namespace for which somebody waits.
async fn watch(cluster: Arc<Cluster>, watched: Arc<Mutex<HashMap<Nsid, Watched>>>, nsid: Nsid, since: Jid) {
    let told = Arc::clone(&watched);
    match cluster.watch(nsid, since, move |head| tell(&told, nsid, head)).await {
        Ok(watch) => {
            // If all have gone meanwhile, it ends here, outside of the lock.
            let mut watch = Some(watch);
            if let Some(entry) = watched.lock().get_mut(&nsid) {
                std::mem::swap(&mut entry.watch, &mut watch);
            }
            drop(watch);
        }
        Err(error) => {
            tracing::warn!(%nsid, %error, "could not watch a journal; those who wait look for themselves");
            tell(&watched, nsid, None);
        }
    }
}

/// A head was told; `None`: the watch has ended, and everybody looks for himself.
fn tell(watched: &Mutex<HashMap<Nsid, Watched>>, nsid: Nsid, head: Option<Jid>) {
    let mut watched = watched.lock();
    let Some(entry) = watched.get_mut(&nsid) else { return };
    entry.head = head.unwrap_or(Jid(u64::MAX)).max(entry.head);
    let head = entry.head;
    entry.waiting.iter().filter(|(_, since, _)| head > *since).for_each(|(_, _, notify)| notify.notify_one());
}
