//! Who waits for which journal: one watch for each namespace, however many wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Jid, Nsid};
use client::HeadWatch;
use parking_lot::Mutex;
use stone::MetaserverError;
use tokio::sync::Notify;

use crate::cluster::Cluster;

/// Those who wait, and what is watched for them.
pub struct Heads {
    cluster: Arc<Cluster>,
    watched: Arc<Mutex<HashMap<Nsid, Watched>>>,
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
        Heads { cluster, watched: Arc::default() }
    }

    /// `notify` is woken as soon as the journal has passed `since`, or when nobody can tell any more.
    ///
    /// Errors: those of the cluster.
    pub async fn wait(&self, nsid: Nsid, since: Jid, notify: &Arc<Notify>) -> Result<Waiter, MetaserverError> {
        let mut id = [0; 8];
        // Two equal ones of one namespace would at worst end each other's wait.
        let _ = getrandom::fill(&mut id);
        let id = u64::from_le_bytes(id);
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
        let waiter = Waiter { watched: Arc::clone(&self.watched), nsid, id };
        if is_new {
            let told = Arc::clone(&self.watched);
            let watch = self.cluster.watch(nsid, since, move |head| tell(&told, nsid, head)).await?;
            // Whoever came meanwhile waits for the same watch; if all have gone it ends here.
            if let Some(entry) = self.watched.lock().get_mut(&nsid) {
                entry.watch = Some(watch);
            }
        }
        Ok(waiter)
    }

    /// Namespaces that are watched.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.watched.lock().len()
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
