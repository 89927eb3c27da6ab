//! Results that were asked for as jobs: kept for an hour in this process.
//!
//! The work itself is done before the id is given, so nothing is lost with the process but the telling.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::Acct;
use parking_lot::Mutex;
use stone::ids::{JobKind, job_id, parse_job_id};
use stone::{ApiError, Keys};

const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Results kept, and bytes of them: the oldest go.
const KEPT_MAX: usize = 1000;
const BYTES_MAX: usize = 64 << 20;

/// The results.
#[derive(Default)]
pub struct Jobs {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    number: u64,
    acct: Acct,
    since: Instant,
    result: Vec<u8>,
}

impl Jobs {
    /// Keeps a result, and gives the id by which its account asks for it.
    ///
    /// Errors: the system has no random bytes.
    pub fn keep(&self, keys: &Keys, acct: Acct, result: Vec<u8>) -> Result<String, ApiError> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| ApiError::Internal(error.to_string()))?;
        let number = u64::from_le_bytes(number);
        let mut inner = self.inner.lock();
        inner.bytes += result.len();
        inner.kept.push_back(Kept { number, acct, since: Instant::now(), result });
        while let Some(oldest) = inner.kept.front()
            && (inner.kept.len() > KEPT_MAX || inner.bytes > BYTES_MAX || oldest.since.elapsed() > KEPT_FOR)
        {
            inner.bytes -= oldest.result.len();
            inner.kept.pop_front();
        }
        Ok(job_id(keys, JobKind::Kept, acct, number))
    }

    /// The result of an id, if this process gave it to this account within the hour.
    #[must_use]
    pub fn result(&self, keys: &Keys, acct: Acct, id: &str) -> Option<Vec<u8>> {
        let (JobKind::Kept, number) = parse_job_id(keys, acct, id)? else { return None };
        let inner = self.inner.lock();
        let kept = inner.kept.iter().find(|kept| (kept.number, kept.acct) == (number, acct))?;
        (kept.since.elapsed() <= KEPT_FOR).then(|| kept.result.clone())
    }
}

#[cfg(test)]
mod tests {
    use stone::Secret;

    use super::*;

    #[test]
    fn a_result_is_told_to_its_account_alone_and_the_oldest_go() {
        let (jobs, keys) = (Jobs::default(), Keys::new(&Secret::from_bytes([7; 32])));
        let id = jobs.keep(&keys, Acct(5), b"done".to_vec()).expect("kept");
        assert_eq!(jobs.result(&keys, Acct(5), &id), Some(b"done".to_vec()));
        assert_eq!(jobs.result(&keys, Acct(6), &id), None);
        assert_eq!(jobs.result(&keys, Acct(5), "x"), None);
        for _ in 0..KEPT_MAX {
            jobs.keep(&keys, Acct(5), vec![0; 8]).expect("kept");
        }
        assert_eq!(jobs.result(&keys, Acct(5), &id), None);
        jobs.keep(&keys, Acct(5), vec![0; BYTES_MAX]).expect("kept");
        assert_eq!(jobs.inner.lock().kept.len(), 1, "bytes are bounded too");
    }
}
