//! Passwords of accounts and links: hashes that are dear to guess, and bounds on tries.
//!
//! ```text
//! 0 u8 format=1 (argon2id)   1 u8 passes   2 zero[2]   4 u32 memory KiB   8 salt[16]   24 hash[32]
//! ```
//! The costs stand in each hash, so they can be raised for new ones while old ones are still read.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use meta::PasswordHash;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::keys::same;
use crate::stamp::now_ms;

/// Characters of a password at most; a longer one is never right.
pub const PASSWORD_CHARS_MAX: usize = 256;
const FORMAT: u8 = 1;
const HASH_BYTES: usize = 56;
/// 19 MiB and two passes: the second of the settings that OWASP recommends for argon2id.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u8 = 2;
/// A hash that asks for more was not made here, and would hold a thread for long.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u8 = 16;
/// Hashes made at once for each core, and how many more may wait for that, and how long.
const AT_ONCE_PER_CORE: usize = 2;
const WAITING_MAX: usize = 64;
const WAIT_TIME_MAX: Duration = Duration::from_secs(5);
/// Tries of one address in a window, whatever it tries.
const ADDRESS_TRIES_MAX: u32 = 20;
/// Tries of one account in a window.
pub const ACCOUNT_TRIES_MAX: u32 = 5;
/// Tries of one link in a window: many people may have it.
pub const LINK_TRIES_MAX: u32 = 50;
const WINDOW_MS: u64 = 10 * 60 * 1000;
/// Counters kept. Two names may share one by chance: then both together have the tries of one.
const COUNTERS: usize = 1 << 14;

fn hash_with(password: &str, salt: &[u8], memory_kib: u32, passes: u8) -> Option<[u8; 32]> {
    let params = Params::new(memory_kib, passes.into(), 1, Some(32)).ok()?;
    let mut hash = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

/// What is kept of a password. Takes tens of milliseconds of a core.
///
/// Errors: it is empty or too long, or the system has no random bytes.
pub fn hash_now(password: &str) -> Result<PasswordHash, &'static str> {
    if password.is_empty() || password.chars().count() > PASSWORD_CHARS_MAX {
        return Err("a password has 1 to 256 characters");
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| "the system has no random bytes")?;
    let hash = hash_with(password, &salt, MEMORY_KIB, PASSES).ok_or("the password cannot be hashed")?;
    let mut bytes = vec![FORMAT, PASSES, 0, 0];
    bytes.extend_from_slice(&MEMORY_KIB.to_le_bytes());
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(&hash);
    Ok(PasswordHash(bytes))
}

/// Is it the password of this hash? None is the password of no hash, at the same cost.
fn is_right(kept: &PasswordHash, password: &str) -> bool {
    let bytes = &kept.0[..];
    let memory_kib = bytes.get(4..8).map_or(0, |four| u32::from_le_bytes(four.try_into().expect("four bytes")));
    let well_formed = bytes.len() == HASH_BYTES
        && bytes[0] == FORMAT
        && memory_kib <= MEMORY_KIB_MAX
        && (1..=PASSES_MAX).contains(&bytes[1])
        && password.len() <= 4 * PASSWORD_CHARS_MAX;
    if !well_formed {
        // The answer for somebody who is not there takes as long as that for somebody who is.
        let _ = hash_with("nobody", &[0; 16], MEMORY_KIB, PASSES);
        return false;
    }
    hash_with(password, &bytes[8..24], memory_kib, bytes[1]).is_some_and(|hash| same(&hash, &bytes[24..]))
}

/// What was said of a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the one.
    Right,
    /// It is not.
    Wrong,
    /// It was not looked at: too many tries in ten minutes, or too many at once.
    TooMany,
}

/// What a password opens, and who tries.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// A name of it that is no other's.
    pub name: &'a [u8],
    /// Tries in ten minutes.
    pub tries_max: u32,
    /// From where, if that is known.
    pub address: Option<IpAddr>,
}

/// Judges passwords, some at a time, with bounds on tries. Each process counts for itself.
#[derive(Debug)]
pub struct Guard {
    places: Arc<Semaphore>,
    waiting: Semaphore,
    tries: Mutex<Vec<Counter>>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    since_ms: u64,
    tries: u32,
}

impl Default for Guard {
    fn default() -> Guard {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Guard {
            places: Arc::new(Semaphore::new(AT_ONCE_PER_CORE * cores)),
            waiting: Semaphore::new(WAITING_MAX + AT_ONCE_PER_CORE * cores),
            tries: Mutex::new(vec![Counter::default(); COUNTERS]),
            hasher: RandomState::new(),
        }
    }
}

impl Guard {
    /// Judges a try. Every try counts before it is judged; a right one takes the count of its door back.
    ///
    /// Errors: [`ApiError::Internal`] when a thread is lost.
    pub async fn judge(&self, door: &Door<'_>, kept: &PasswordHash, password: &str) -> Result<Verdict, ApiError> {
        let now_ms = now_ms();
        if !self.may_try(door, now_ms) {
            return Ok(Verdict::TooMany);
        }
        let (kept, password) = (kept.clone(), password.to_owned());
        let Some(judged) = self.aside(move || is_right(&kept, &password)).await? else { return Ok(Verdict::TooMany) };
        if judged {
            self.clear(door);
        }
        Ok(if judged { Verdict::Right } else { Verdict::Wrong })
    }

    /// What is kept of a password, made aside; `None`: too many at once.
    ///
    /// Errors: [`ApiError::Internal`].
    pub async fn hash(&self, password: &str) -> Result<Option<PasswordHash>, ApiError> {
        let password = password.to_owned();
        let made = self.aside(move || hash_now(&password)).await?;
        made.transpose().map_err(|why| ApiError::Internal(why.to_owned()))
    }

    /// Runs what takes a core for long on a thread where nobody waits for it.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>, ApiError> {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Ok(None) };
        let place = tokio::time::timeout(WAIT_TIME_MAX, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Ok(None) };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        done.await.map(Some).map_err(|error| ApiError::Internal(format!("a hash was lost: {error}")))
    }

    fn may_try(&self, door: &Door<'_>, now_ms: u64) -> bool {
        let address = door.address.is_none_or(|address| self.count(&address_name(address), ADDRESS_TRIES_MAX, now_ms));
        // An address beyond its bound takes no tries from the door.
        address && self.count(door.name, door.tries_max, now_ms)
    }

    fn count(&self, name: &[u8], tries_max: u32, now_ms: u64) -> bool {
        let at = self.place_of(name);
        let mut tries = self.tries.lock();
        let counter = &mut tries[at];
        if now_ms.saturating_sub(counter.since_ms) >= WINDOW_MS {
            *counter = Counter { since_ms: now_ms, tries: 0 };
        }
        counter.tries = counter.tries.saturating_add(1);
        counter.tries <= tries_max
    }

    fn clear(&self, door: &Door<'_>) {
        let at = self.place_of(door.name);
        self.tries.lock()[at] = Counter::default();
    }

    fn place_of(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % COUNTERS
    }
}

/// One counter for an IPv4 address, and for a network of IPv6, since whoever has one address has all of it.
fn address_name(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_is_right() {
        let kept = hash_now("correct horse").expect("hashed");
        assert!(kept.0.len() == HASH_BYTES);
        assert!(is_right(&kept, "correct horse"));
        assert!(!is_right(&kept, "correct horsf") && !is_right(&kept, ""));
        assert_ne!(hash_now("correct horse").expect("hashed"), kept, "each has a salt of its own");
        assert!(!is_right(&PasswordHash::default(), "") && !is_right(&PasswordHash(vec![1; HASH_BYTES]), "x"));
        assert!(hash_now("").is_err() && hash_now(&"x".repeat(257)).is_err());
    }

    #[test]
    fn a_hash_is_made_as_it_was_when_the_format_was_set() {
        let hash = hash_with("password", b"somesaltsomesalt", 64, 1).expect("hashed");
        // As the reference implementation makes it: argon2id, version 0x13, one lane.
        let golden = "e793d64ef75d58f503d4631b2b149f7f80127c5f3993d89b1c9b781e51d0b413";
        assert_eq!(crate::ids::hex(&hash), golden);
    }

    #[test]
    fn tries_are_bounded_by_door_and_by_address_and_end_with_the_window() {
        let guard = Guard::default();
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let door = |name: &'static [u8], address| Door { name, tries_max: 5, address };
        assert!((0..5).all(|_| guard.may_try(&door(b"ada", None), 1)));
        assert!(!guard.may_try(&door(b"ada", None), 2));
        guard.clear(&door(b"ada", None));
        assert!(guard.may_try(&door(b"ada", None), 3), "a right one takes the count back");
        let names: [&[u8]; 4] = [b"b", b"c", b"d", b"e"];
        let tried = names.iter().flat_map(|name| std::iter::repeat_n(name, 5));
        assert!(tried.into_iter().all(|name| guard.may_try(&door(name, Some(address)), 4)));
        assert!(!guard.may_try(&door(b"f", Some(address)), 5), "twenty of one address");
        assert!(guard.may_try(&door(b"f", Some("192.0.2.8".parse().expect("an address"))), 5));
        assert!(guard.may_try(&door(b"f", Some(address)), 5 + WINDOW_MS));
        let v6 = |text: &str| address_name(text.parse().expect("an address"));
        assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::9"));
        assert_eq!(v6("::ffff:192.0.2.7"), address_name(address));
    }

    #[tokio::test]
    async fn a_guard_tells_right_from_wrong_and_stops_after_too_many() {
        let guard = Guard::default();
        let kept = guard.hash("secret").await.expect("no thread is lost").expect("a place");
        let door = Door { name: b"link", tries_max: 2, address: None };
        assert_eq!(guard.judge(&door, &kept, "wrong").await, Ok(Verdict::Wrong));
        assert_eq!(guard.judge(&door, &kept, "secret").await, Ok(Verdict::Right));
        assert_eq!(guard.judge(&door, &kept, "wrong").await, Ok(Verdict::Wrong));
        assert_eq!(guard.judge(&door, &kept, "wrong").await, Ok(Verdict::Wrong));
        assert_eq!(guard.judge(&door, &kept, "secret").await, Ok(Verdict::TooMany), "even the right one");
    }
}
