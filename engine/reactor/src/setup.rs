//! Creates the ring: the flags it must have, those it may have, and what to tell a person when the kernel refuses.
#![forbid(unsafe_code)]

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The step that creates the ring.
const CREATE: &str = "io_uring_setup";

/// Why a ring cannot be had. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The administrator has switched io_uring off.
    #[error(
        "io_uring is disabled by the sysctl kernel.io_uring_disabled={value}; set it to 0 (as root: sysctl -w kernel.io_uring_disabled=0){group}",
        group = if *value == 1 { ", or run as a member of the group in kernel.io_uring_group" } else { "" }
    )]
    Disabled {
        /// Of the sysctl: 1 or 2.
        value: u32,
    },
    /// Something between us and the kernel forbids the call.
    #[error(
        "io_uring_setup is not permitted (EPERM) on kernel {kernel}, though kernel.io_uring_disabled does not forbid it: most likely the seccomp profile of a container; allow io_uring_setup, io_uring_enter and io_uring_register in the profile (docker and podman: --security-opt seccomp=PROFILE.json, or seccomp=unconfined to try)"
    )]
    Forbidden {
        /// The kernel's release.
        kernel: String,
    },
    /// The kernel has no io_uring, or hides it.
    #[error(
        "kernel {kernel} has no io_uring (ENOSYS); run Linux 6.1 or later with CONFIG_IO_URING, outside a sandbox that hides it"
    )]
    Missing {
        /// The kernel's release.
        kernel: String,
    },
    /// The kernel is too old.
    #[error(
        "kernel {kernel} refuses the ring flags SINGLE_ISSUER and DEFER_TASKRUN (EINVAL); run Linux 6.1 or later, 6.12 is recommended"
    )]
    TooOld {
        /// The kernel's release.
        kernel: String,
    },
    /// Operations are missing.
    #[error("kernel {kernel} lacks the io_uring operations {missing}; run Linux 6.1 or later, 6.12 is recommended", missing = missing.join(", "))]
    Operations {
        /// The kernel's release.
        kernel: String,
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// Locked memory or memory is used up.
    #[error(
        "no memory for the ring (ENOMEM) on kernel {kernel}: rings count as locked memory; raise the limit (ulimit -l), or run fewer cores"
    )]
    NoMemory {
        /// The kernel's release.
        kernel: String,
    },
    /// Receiving does not do what it should.
    #[error(
        "the self-test of io_uring receives failed on kernel {kernel}: {what}; run Linux 6.1 or later, 6.12 is recommended"
    )]
    SelfTest {
        /// The kernel's release.
        kernel: String,
        /// What was seen.
        what: String,
    },
    /// Anything else.
    #[error("could not set up io_uring on kernel {kernel}: {step}: {source}")]
    Other {
        /// The kernel's release.
        kernel: String,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the machine says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The sysctl, where the kernel has it.
    pub(crate) io_uring_disabled: Option<u32>,
}

impl Machine {
    /// Reads /proc; what cannot be read is unknown.
    pub(crate) fn read() -> Machine {
        let text = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        Machine {
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned()),
            io_uring_disabled: text("/proc/sys/kernel/io_uring_disabled").ok().and_then(|text| text.parse().ok()),
        }
    }

    /// Turns a refusal into what a person should do.
    pub(crate) fn explain(&self, step: &'static str, source: io::Error) -> RingError {
        let kernel = self.kernel.clone();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match self.io_uring_disabled {
                Some(value @ 1..) => RingError::Disabled { value },
                _ => RingError::Forbidden { kernel },
            },
            Some(libc::ENOSYS) => RingError::Missing { kernel },
            Some(libc::EINVAL) if step == CREATE => RingError::TooOld { kernel },
            Some(libc::ENOMEM) => RingError::NoMemory { kernel },
            _ => RingError::Other { kernel, step, source },
        }
    }
}

/// Flags and sizes of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    pub(crate) entries: u32,
    pub(crate) completions: u32,
    /// 6.6: no indirection array.
    pub(crate) no_sqarray: bool,
    /// 5.19: flags of cooperative task work; 5.18: one bad entry does not stop the batch.
    pub(crate) optional: bool,
}

/// Tries flags from the best to the least, and smaller completion queues where memory is short.
///
/// `create` makes a ring; tests inject one that refuses.
pub(crate) fn create<R>(
    entries: u32,
    completions: u32,
    machine: &Machine,
    mut create: impl FnMut(Attempt) -> io::Result<R>,
) -> Result<(R, Attempt), RingError> {
    let mut attempt = Attempt { entries, completions, no_sqarray: true, optional: true };
    loop {
        let error = match create(attempt) {
            Ok(ring) => return Ok((ring, attempt)),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EINVAL) if attempt.no_sqarray => attempt.no_sqarray = false,
            Some(libc::EINVAL) if attempt.optional => attempt.optional = false,
            // Newer kernels (6.18 does) count rings as locked memory; a smaller queue overflows earlier but loses nothing.
            Some(libc::ENOMEM) if attempt.completions >= 4 * attempt.entries.max(256) => attempt.completions /= 4,
            _ => return Err(machine.explain(CREATE, error)),
        }
    }
}

/// Makes the ring of an attempt, on the calling thread, which alone may use it.
pub(crate) fn build(attempt: Attempt) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(attempt.completions).dontfork();
    if attempt.optional {
        builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
    }
    if attempt.no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(attempt.entries)
}

/// The operations a core needs.
const OPERATIONS: [(u8, &str); 9] = [
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
];

/// Asks the kernel for its operations.
///
/// Errors: [`RingError::Operations`] with all that is missing.
pub(crate) fn probe(ring: &IoUring, machine: &Machine) -> Result<(), RingError> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| machine.explain("register probe", error))?;
    missing(machine, |code| probe.is_supported(code))
}

fn missing(machine: &Machine, is_supported: impl Fn(u8) -> bool) -> Result<(), RingError> {
    let missing: Vec<&str> =
        OPERATIONS.iter().filter(|(code, _)| !is_supported(*code)).map(|(_, name)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(RingError::Operations { kernel: machine.kernel.clone(), missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, io_uring_disabled: Option<u32>) -> String {
        let machine = Machine { kernel: "5.15.0".to_owned(), io_uring_disabled };
        let result = create(1024, 16_384, &machine, |_| Err::<(), _>(io::Error::from_raw_os_error(errno)));
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_sysctl_the_seccomp_profile_or_the_kernel() {
        assert!(refused(libc::EPERM, Some(2)).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(refused(libc::EPERM, Some(1)).contains("kernel.io_uring_group"));
        for io_uring_disabled in [Some(0), None] {
            let text = refused(libc::EPERM, io_uring_disabled);
            assert!(text.contains("seccomp profile of a container") && text.contains("io_uring_enter"), "{text}");
        }
        assert!(refused(libc::ENOSYS, None).contains("kernel 5.15.0 has no io_uring"));
        assert!(refused(libc::EINVAL, Some(0)).contains("kernel 5.15.0 refuses the ring flags"));
        assert!(refused(libc::ENOMEM, Some(0)).contains("ulimit -l"));
        assert!(refused(libc::EMFILE, Some(0)).contains("io_uring_setup: Too many open files"));
    }

    #[test]
    fn optional_flags_are_dropped_one_by_one_before_giving_up() {
        let machine = Machine { kernel: String::new(), io_uring_disabled: None };
        let mut seen = Vec::new();
        let result = create(1024, 16_384, &machine, |attempt| {
            seen.push((attempt.no_sqarray, attempt.optional));
            if attempt.optional { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
        });
        assert!(result.is_ok());
        assert_eq!(seen, [(true, true), (false, true), (false, false)]);
    }

    #[test]
    fn short_memory_makes_the_completion_queue_smaller_first() {
        let machine = Machine { kernel: String::new(), io_uring_disabled: None };
        let result = create(1024, 16_384, &machine, |attempt| {
            if attempt.completions > 4096 { Err(io::Error::from_raw_os_error(libc::ENOMEM)) } else { Ok(()) }
        });
        assert_eq!(result.unwrap().1.completions, 4096);
    }

    #[test]
    fn missing_operations_are_listed() {
        let machine = Machine { kernel: "6.0".to_owned(), io_uring_disabled: None };
        let error = missing(&machine, |code| code != opcode::Send::CODE && code != opcode::Fsync::CODE).unwrap_err();
        assert!(error.to_string().contains("lacks the io_uring operations SEND, FSYNC;"));
        assert!(missing(&machine, |_| true).is_ok());
    }
}
