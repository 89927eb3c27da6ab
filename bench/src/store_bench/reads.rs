//! Reads of the store as the shard does them: keys and ranges are read ahead by the reading thread, a few requests at a time,
//! and then taken from memory on the core.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use base::Prng;
use meta::{Row, Rows, Store, StoreEvent, Want};
use reactor::device::Usage;

use super::arms::{Arm, GROUP, Ours};
use super::load::{DIRENT, key, value};
use super::rest;

/// Keys of a request.
const KEYS: usize = 64;
/// Entries of a page of a listing.
const PAGE: u32 = 1000;
/// Requests that are under way.
const IN_FLIGHT: usize = 4;
/// Rows of a batch while the tree is filled.
const BATCH: u64 = 1000;
/// The table of the rows.
const TABLE: u8 = 0x11;

/// So many a second, by the clock and by processor time of the process.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// By the clock.
    pub per_s: f64,
    /// By processor time.
    pub per_cpu_s: f64,
}

/// A tree of rows as names in a folder are, at rest.
pub struct Filled {
    ours: Ours,
    rows: u64,
    dice: Prng,
    token: u64,
}

impl Filled {
    /// Fills a new store in this directory; without `flush` what was written last stays in the memtable.
    ///
    /// # Errors
    /// It does not open, or fails.
    pub fn make(dir: &Path, rows: u64, flush: bool) -> Result<Filled> {
        std::fs::create_dir_all(dir)?;
        let mut ours = Ours::open(dir)?;
        for first in (0..rows).step_by(BATCH as usize) {
            let paths = first..rows.min(first + BATCH);
            let row = |path| (key(TABLE, DIRENT.0, path), Some(value(DIRENT.1, path)));
            let mut rows: Vec<_> = paths.map(row).collect();
            rows.sort_by(|one, other| one.0.cmp(&other.0));
            ours.apply(&rows.into_iter().collect())?;
        }
        if flush {
            ours.flush()?;
            rest(&mut ours)?;
        }
        Ok(Filled { ours, rows, dice: Prng::new(2), token: 0 })
    }

    /// One that is there already, with so many rows.
    ///
    /// # Errors
    /// It does not open.
    pub fn reopen(dir: &Path, rows: u64) -> Result<Filled> {
        Ok(Filled { ours: Ours::open(dir)?, rows, dice: Prng::new(2), token: 0 })
    }

    fn random_key(&mut self) -> Vec<u8> {
        key(TABLE, DIRENT.0, self.dice.below(self.rows))
    }

    /// Random rows, all of which are there, read ahead and then taken.
    ///
    /// # Errors
    /// The store failed, or had no row.
    pub fn lookups(&mut self, count: u64) -> Result<Rate> {
        let mut asked: VecDeque<(u64, Vec<Vec<u8>>)> = VecDeque::new();
        let meter = Meter::begin();
        let mut done = 0;
        while done < count {
            while asked.len() < IN_FLIGHT {
                let keys: Vec<_> = (0..KEYS).map(|_| self.random_key()).collect();
                let wants: Vec<_> = keys.iter().cloned().map(Want::Key).collect();
                self.token += 1;
                self.ours.store.prefetch(self.token, GROUP, &wants);
                asked.push_back((self.token, keys));
            }
            let token = self.wait_for_a_prefetch()?;
            let at = asked.iter().position(|(asked, _)| *asked == token);
            let Some((_, keys)) = at.and_then(|at| asked.remove(at)) else { continue };
            for key in &keys {
                ensure!(
                    matches!(self.ours.store.get(GROUP, key), Row::Hit(_)),
                    "a row that was read ahead is not there"
                );
            }
            self.ours.store.release(token);
            done += KEYS as u64;
        }
        let rate = meter.end(done);
        // What is under way still is let go.
        asked.into_iter().for_each(|(token, _)| self.ours.store.release(token));
        Ok(rate)
    }

    /// Random rows that are in memory.
    ///
    /// # Errors
    /// A row is not there.
    pub fn lookups_in_memory(&mut self, count: u64) -> Result<Rate> {
        let keys: Vec<_> = (0..1 << 16).map(|_| self.random_key()).collect();
        let meter = Meter::begin();
        for at in 0..count as usize {
            let row = self.ours.store.get(GROUP, &keys[at % keys.len()]);
            ensure!(matches!(row, Row::Hit(_)), "a row of the memtable is not there");
        }
        Ok(meter.end(count))
    }

    /// Listings: pages that follow each other from a random row on.
    ///
    /// # Errors
    /// The store failed, or had no rows.
    pub fn listing(&mut self, count: u64) -> Result<Rate> {
        let end = vec![TABLE + 1];
        let mut page = Rows::new();
        let meter = Meter::begin();
        let (mut done, mut start) = (0, vec![TABLE]);
        while done < count {
            let keys = start.clone()..end.clone();
            self.token += 1;
            self.ours.store.prefetch(self.token, GROUP, &[Want::Range { keys: keys.clone(), rows_max: PAGE }]);
            while self.wait_for_a_prefetch()? != self.token {}
            page.clear();
            let found = self.ours.store.scan(GROUP, &keys.start..&keys.end, PAGE, &mut page);
            ensure!(found.is_ok(), "a range that was read ahead is not there");
            self.ours.store.release(self.token);
            done += page.len() as u64;
            start = match page.last() {
                Some((last, _)) if page.len() == PAGE as usize => [last.as_slice(), &[0]].concat(),
                _ => vec![TABLE],
            };
        }
        Ok(meter.end(done))
    }

    fn wait_for_a_prefetch(&mut self) -> Result<u64> {
        loop {
            match self.ours.next_event()? {
                StoreEvent::Prefetched { token } => return Ok(token),
                event => self.ours.see(event)?,
            }
        }
    }

    /// Ends its threads.
    ///
    /// # Errors
    /// The store failed.
    pub fn close(self) -> Result<()> {
        self.ours.close()
    }
}

struct Meter {
    began: Instant,
    before: Usage,
}

impl Meter {
    fn begin() -> Meter {
        Meter { began: Instant::now(), before: Usage::now() }
    }

    fn end(&self, count: u64) -> Rate {
        let cpu_s = Usage::now().since(self.before).process_ms as f64 / 1000.0;
        Rate { per_s: count as f64 / self.began.elapsed().as_secs_f64(), per_cpu_s: count as f64 / cpu_s }
    }
}
