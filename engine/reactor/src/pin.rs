//! Pins a core's thread to a processor.
#![forbid(unsafe_code)]

/// Why a thread could not be pinned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// The list of processors this process may use cannot be read.
    #[error("could not list the processors of this process; leave pinning off")]
    NoList,
    /// The processor asked for is not one of them.
    #[error("processor {cpu} is not available to this process; choose one of {available:?}")]
    NotAvailable {
        /// Asked for.
        cpu: usize,
        /// What there is.
        available: Vec<usize>,
    },
    /// The kernel refused.
    #[error("could not pin this thread to processor {cpu}; leave pinning off")]
    Refused {
        /// Asked for.
        cpu: usize,
    },
}

/// The processors this thread may run on, ascending.
///
/// Errors: [`PinError::NoList`].
pub fn available() -> Result<Vec<usize>, PinError> {
    let cores = core_affinity::get_core_ids().ok_or(PinError::NoList)?;
    Ok(cores.into_iter().map(|core| core.id).collect())
}

/// Pins the calling thread to `cpu`, before it makes its ring.
///
/// Returns the other processors, for [`crate::RingConfig::worker_cpus`]: the workers of a ring inherit the affinity of
/// its thread, and a sync that waits for the processor of its own core costs a scheduler tick. Empty on a machine with
/// one processor.
/// Errors: any [`PinError`]; the thread then runs where it ran before.
pub fn pin_to(cpu: usize) -> Result<Vec<usize>, PinError> {
    let available = available()?;
    if !available.contains(&cpu) {
        return Err(PinError::NotAvailable { cpu, available });
    }
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Err(PinError::Refused { cpu });
    }
    Ok(available.into_iter().filter(|other| *other != cpu).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_processor_left() {
        let handle = std::thread::spawn(|| {
            let all = available().unwrap();
            let others = pin_to(all[0]).unwrap();
            assert_eq!(others.len() + 1, all.len());
            assert_eq!(available().unwrap(), [all[0]]);
        });
        handle.join().unwrap();
    }

    #[test]
    fn a_processor_that_is_not_there_is_named() {
        let error = pin_to(100_000).unwrap_err();
        assert!(error.to_string().contains("processor 100000 is not available"));
    }
}
