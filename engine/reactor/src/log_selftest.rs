//! Which backend the log takes on this file system. Run at boot, on a file that waits in the pool, for about 0.1 s.
//!
//! Each backend makes a few commits of 4 KiB and of 16 KiB, while the device's own counters tell what they cost. A backend
//! fails if the file system refuses it, if the device writes 8 KiB more than the frame per commit, or if it flushes more
//! than once. The counters are those of the whole device: one good round proves a backend, so others' writes only cost
//! rounds; if none is good, the device is too busy to judge anything by them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base::mono::Span;
use memmap2::MmapMut;

use crate::backend::{Backend, BackendWish};
use crate::clock;
use crate::device::{Device, DeviceCounters};
use crate::mmap_disk::{drop_cache, map_window};
use crate::storage::{LogDir, open_buffered, open_durable, open_segment, spare_file};

/// Commits of one round.
const COMMITS: usize = 32;
const ROUNDS_MAX: usize = 3;
/// Sizes of the frames.
const FRAMES: [usize; 2] = [4 << 10, 16 << 10];
/// Where the first frame lies; block 0 is a header's.
const FRAMES_AT: u64 = 4 << 10;
/// Bytes of a file that a test takes.
const TEST_BYTES: u64 = FRAMES_AT + (ROUNDS_MAX * COMMITS * (FRAMES[0] + FRAMES[1])) as u64;
/// What the device may write per commit beyond the frame.
const EXTRA_BYTES_MAX: u64 = 8 << 10;
/// Flushes per commit, in hundredths.
const FLUSHES_MAX: u64 = 120;
/// No further round begins after this time, for one backend.
const TIME_MAX: Span = Span::from_ms(300);
/// A backend is passed over if another commits in less than half its time.
const SLOWER_MAX: u64 = 2;

/// What one backend did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Which.
    pub backend: Backend,
    /// Median time of a commit of 4 KiB. Units: microseconds.
    pub commit_us: u64,
    /// What the device wrote per commit of 4 KiB and of 16 KiB, in the best rounds; `None` if it has no counters.
    pub device_bytes: Option<[u64; 2]>,
    /// Flushes per 100 commits of 4 KiB and of 16 KiB, likewise.
    pub flushes: Option<[u64; 2]>,
}

impl Trial {
    /// The device wrote little more than the frames, and flushed once each; true as well where nothing counts that.
    #[must_use]
    pub fn is_lean(&self) -> bool {
        let bytes = self.device_bytes.unwrap_or_default();
        let fits = |at: usize| bytes[at] <= FRAMES[at] as u64 + EXTRA_BYTES_MAX;
        let flushes = self.flushes.unwrap_or_default();
        fits(0) && fits(1) && flushes.iter().all(|flushes| *flushes <= FLUSHES_MAX)
    }
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} us", self.backend, self.commit_us)?;
        if let Some([small, large]) = self.device_bytes {
            write!(f, ", {small} and {large} device bytes for 4 and 16 KiB")?;
        }
        if let Some([small, large]) = self.flushes {
            write!(f, ", {small} and {large} flushes per 100")?;
        }
        Ok(())
    }
}

/// What was chosen, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The backend to start with.
    pub backend: Backend,
    /// One sentence for the node's log.
    pub reason: String,
    /// What was tried; a backend that the file system refused is not among them.
    pub trials: Vec<Trial>,
    /// What a person should look at, if anything.
    pub warning: Option<String>,
}

/// The backend that was asked for cannot be had here.
#[derive(Debug, thiserror::Error)]
#[error("log backend {backend} does not work in {dir}: {source}; set log_backend to auto, or use another file system")]
pub struct BackendError {
    /// Which.
    pub backend: Backend,
    /// The log's directory.
    pub dir: String,
    /// What the system said.
    pub source: io::Error,
}

/// Chooses for this directory and for all of the same file system: a process tests each file system once, and one at a
/// time, for tests side by side would spoil each other's counts. Blocking; before the core threads start.
///
/// Errors: the one backend that was asked for does not work. With `auto` there is always an answer.
pub fn choose(at: &LogDir, wish: BackendWish) -> Result<Chosen, BackendError> {
    static KNOWN: Mutex<Vec<(u64, BackendWish, Chosen)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = fs::metadata(&at.dir).map_or(0, |found| found.dev());
    let before = known.iter().find(|(of, asked, _)| (*of, *asked) == (device, wish));
    if let Some((.., chosen)) = before {
        return Ok(chosen.clone());
    }
    let chosen = match wish {
        BackendWish::Auto => of_all(at),
        BackendWish::Only(backend) => only(at, backend)?,
    };
    known.push((device, wish, chosen.clone()));
    Ok(chosen)
}

/// Tries one backend on a file of the pool of `at`.
///
/// Errors: the file system refuses it, or any of the system's.
pub fn try_out(at: &LogDir, backend: Backend) -> io::Result<Trial> {
    let path = spare_file(at)?;
    let mut writer = Writer::open(backend, &path)?;
    let device = Device::of(&path)?;
    let until = clock::mono() + TIME_MAX;
    let mut offset = FRAMES_AT;
    let mut took_us = Vec::new();
    let mut best = [None; 2];
    for (at, frame_bytes) in FRAMES.into_iter().enumerate() {
        for _ in 0..ROUNDS_MAX {
            let before = device.counters();
            for _ in 0..COMMITS {
                let began = clock::mono();
                writer.commit(offset, frame_bytes)?;
                offset += frame_bytes as u64;
                if at == 0 {
                    took_us.push(clock::mono().since(began).as_us());
                }
            }
            let cost = device.counters().zip(before).map(|(after, before)| Cost::of(after.since(before)));
            let is_better = |cost: &Cost| best[at].is_none_or(|best: Cost| cost.bytes < best.bytes);
            best[at] = cost.filter(is_better).or(best[at]);
            let is_good = best[at].is_none_or(|best| best.bytes <= frame_bytes as u64 + EXTRA_BYTES_MAX);
            if is_good || clock::mono() > until {
                break;
            }
        }
    }
    took_us.sort_unstable();
    let both = best[0].zip(best[1]);
    Ok(Trial {
        backend,
        commit_us: took_us[took_us.len() / 2],
        device_bytes: both.map(|(small, large)| [small.bytes, large.bytes]),
        flushes: both.and_then(|(small, large)| Some([small.flushes?, large.flushes?])),
    })
}

fn only(at: &LogDir, backend: Backend) -> Result<Chosen, BackendError> {
    match try_out(at, backend) {
        Ok(trial) => {
            let warning = (!trial.is_lean()).then(|| {
                format!("the device does more than the log asks for, or others use it ({trial}); auto might do better")
            });
            Ok(Chosen { backend, reason: format!("it was asked for ({trial})"), trials: vec![trial], warning })
        }
        // Without space for a file to try it on there may still be enough to read what is there.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            let reason = "it was asked for; there is no space to try it".to_owned();
            Ok(Chosen { backend, reason, trials: Vec::new(), warning: None })
        }
        Err(source) => Err(BackendError { backend, dir: at.dir.display().to_string(), source }),
    }
}

fn of_all(at: &LogDir) -> Chosen {
    let mut trials = Vec::new();
    let mut refused = Vec::new();
    for backend in Backend::BY_CHOICE {
        match try_out(at, backend) {
            Ok(trial) => trials.push(trial),
            Err(error) => refused.push(format!("{backend} does not work here: {error}")),
        }
    }
    judge(trials, &refused)
}

/// Chooses among what was tried, in the order of [`Backend::BY_CHOICE`].
fn judge(trials: Vec<Trial>, refused: &[String]) -> Chosen {
    let refusals = if refused.is_empty() { String::new() } else { format!("; {}", refused.join("; ")) };
    let warning = (!refused.is_empty()).then(|| refused.join("; "));
    let lean: Vec<&Trial> = trials.iter().filter(|trial| trial.is_lean()).collect();
    let fastest_us = lean.iter().map(|trial| trial.commit_us).min().unwrap_or_default();
    let is_fast = |trial: &&&Trial| trial.commit_us <= fastest_us * SLOWER_MAX;
    let has_counters = trials.iter().any(|trial| trial.device_bytes.is_some());
    let buffered = trials.iter().find(|trial| trial.backend == Backend::Pwrite);
    let (chosen, why, warning) = match (lean.iter().find(is_fast), buffered, trials.first()) {
        (_, Some(pwrite), _) if !has_counters => {
            (pwrite.backend, format!("this file system has no device of its own to judge by ({pwrite})"), warning)
        }
        (Some(best), ..) => (best.backend, format!("the first by choice that is lean and fast here ({best})"), warning),
        (None, _, Some(first)) => {
            let text = format!("none was lean: the device is too busy to judge, or it amplifies writes ({first})");
            (first.backend, text.clone(), Some(text))
        }
        (None, _, None) => (Backend::Direct, "nothing could be tried".to_owned(), warning),
    };
    Chosen { backend: chosen, reason: format!("{why}{refusals}"), trials, warning }
}

/// Appends as a backend does, without the ring.
enum Writer {
    Durable(File, MmapMut),
    File(File, MmapMut),
    Map(File, MmapMut),
}

impl Writer {
    fn open(backend: Backend, path: &Path) -> io::Result<Writer> {
        // What an earlier trial left in the page cache is no part of this one.
        drop_cache(&open_buffered(path)?);
        let frame = || {
            let mut frame = MmapMut::map_anon(FRAMES[1])?;
            frame.fill(0xA5);
            Ok::<_, io::Error>(frame)
        };
        Ok(match backend {
            Backend::Direct => Writer::Durable(open_durable(path)?, frame()?),
            Backend::Pwrite => Writer::File(open_buffered(path)?, frame()?),
            Backend::Mmap => {
                let file = open_segment(path)?;
                let window = map_window(&file, TEST_BYTES)?;
                Writer::Map(file, window)
            }
        })
    }

    fn commit(&mut self, offset: u64, bytes: usize) -> io::Result<()> {
        match self {
            Writer::Durable(file, frame) => file.write_all_at(&frame[..bytes], offset),
            Writer::File(file, frame) => {
                file.write_all_at(&frame[..bytes], offset)?;
                file.sync_data()
            }
            Writer::Map(file, window) => {
                window[offset as usize..offset as usize + bytes].fill(0xA5);
                file.sync_data()
            }
        }
    }
}

/// What the device did for a round, per commit.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes: u64,
    flushes: Option<u64>,
}

impl Cost {
    fn of(counters: DeviceCounters) -> Cost {
        let per_commit = |count: u64| count / COMMITS as u64;
        Cost { bytes: per_commit(counters.bytes), flushes: counters.flushes.map(|flushes| per_commit(100 * flushes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::CoreId;

    fn trial(backend: Backend, commit_us: u64, bytes: u64) -> Trial {
        Trial { backend, commit_us, device_bytes: Some([bytes, 4 * bytes]), flushes: Some([100, 100]) }
    }

    #[test]
    fn the_first_by_choice_that_is_lean_and_not_much_slower_is_taken() {
        use Backend::{Direct, Mmap, Pwrite};
        let all = |d: (u64, u64), p: (u64, u64), m: (u64, u64)| {
            judge(vec![trial(Direct, d.0, d.1), trial(Pwrite, p.0, p.1), trial(Mmap, m.0, m.1)], &[]).backend
        };
        assert_eq!(all((100, 4200), (90, 4200), (80, 4200)), Direct);
        assert_eq!(all((100, 1 << 20), (90, 4200), (80, 4200)), Pwrite, "direct amplifies");
        assert_eq!(all((500, 4200), (600, 4200), (80, 4200)), Mmap, "both others take more than twice the time");
        let busy = judge(vec![trial(Direct, 100, 1 << 20), trial(Pwrite, 90, 1 << 20)], &[]);
        assert!(busy.backend == Direct && busy.warning.is_some());
        let flushing = Trial { flushes: Some([200, 100]), ..trial(Direct, 100, 4200) };
        assert_eq!(judge(vec![flushing, trial(Pwrite, 100, 4200)], &[]).backend, Pwrite);
    }

    #[test]
    fn without_counters_or_direct_writes_frames_go_through_the_page_cache() {
        let uncounted = |backend| Trial { device_bytes: None, flushes: None, ..trial(backend, 10, 0) };
        let chosen = judge(vec![uncounted(Backend::Direct), uncounted(Backend::Pwrite)], &[]);
        assert_eq!((chosen.backend, chosen.warning), (Backend::Pwrite, None));
        let refused = ["direct does not work here: EINVAL".to_owned()];
        let chosen = judge(vec![trial(Backend::Pwrite, 10, 4200)], &refused);
        assert!(chosen.backend == Backend::Pwrite && chosen.reason.contains("EINVAL") && chosen.warning.is_some());
    }

    #[test]
    fn every_backend_commits_on_this_file_system_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = LogDir { core: CoreId(0), dir: dir.path().join("c0"), segment_bytes: 4 << 20 };
        fs::create_dir_all(at.dir.join("free")).unwrap();
        for backend in [Backend::Pwrite, Backend::Mmap] {
            assert_eq!(try_out(&at, backend).unwrap().backend, backend);
        }
        if let Err(error) = try_out(&at, Backend::Direct) {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "refused for another reason: {error}");
        }
        let chosen = choose(&at, BackendWish::Auto).unwrap();
        assert_eq!(choose(&at, BackendWish::Auto).unwrap(), chosen, "tried once");
        let path = spare_file(&at).unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), at.segment_bytes, "a tested file goes back as it was found");
    }
}
