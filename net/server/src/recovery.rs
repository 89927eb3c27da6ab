//! Reading a core's log back at start: progress, and what was found, in the node's own log.

use std::io;
use std::time::{Duration, Instant};

use base::CoreId;
use reactor::storage::FileLogReader;
use seglog::format::meta::META_COPIES;
use seglog::{FoundSegment, LogReader, RecoverError, Recovered, Settings};

/// A start that takes longer says so this often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Recovers the log in `reader` and tells how it goes: one line a second while it lasts, and one at its end.
///
/// Errors: [`RecoverError`]; nothing was written.
pub fn recover_telling(reader: FileLogReader, settings: &Settings, core: CoreId) -> Result<Recovered, RecoverError> {
    let began = Instant::now();
    let mut telling = Telling { inner: reader, core, bytes: 0, of: 0, began, told: began };
    telling.of = telling.inner.segments()?.iter().map(|segment| segment.bytes).sum();
    let recovered = seglog::recover(&mut telling, settings)?;
    let report = recovered.report();
    tracing::info!(
        core = core.0,
        frames = report.frames,
        records = report.records,
        mib = telling.bytes >> 20,
        took_ms = began.elapsed().as_millis() as u64,
        "log recovered"
    );
    Ok(recovered)
}

/// Counts what is read.
struct Telling {
    inner: FileLogReader,
    core: CoreId,
    bytes: u64,
    /// Of all segments; a log that has damage is read twice.
    of: u64,
    began: Instant,
    told: Instant,
}

impl Telling {
    fn tell(&mut self) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let (read_mib, of_mib) = (self.bytes >> 20, self.of >> 20);
        let mib_s = (read_mib as f64 / self.began.elapsed().as_secs_f64()) as u64;
        tracing::info!(core = self.core.0, read_mib, of_mib, mib_s, "log recovery goes on");
    }
}

impl LogReader for Telling {
    fn meta(&mut self) -> io::Result<[Option<Vec<u8>>; META_COPIES]> {
        self.inner.meta()
    }

    fn free(&mut self) -> io::Result<u32> {
        self.inner.free()
    }

    fn segments(&mut self) -> io::Result<Vec<FoundSegment>> {
        self.inner.segments()
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(segment_seq, offset, out)?;
        self.bytes += out.len() as u64;
        self.tell();
        Ok(())
    }
}
