//! `files/list_folder/longpoll`: waits until one of the cursor's namespaces goes on.
//!
//! Order matters: first it waits for every namespace, then it looks whether one is beyond the cursor already. So no
//! change is slept past.

use std::sync::Arc;
use std::time::Duration;

use meta::{Answer, Query};
use serde_json::json;
use stone::{ApiError, Call, Reply};
use tokio::sync::Notify;

use super::listing::cursor_of;
use crate::state::Shared;

const TIMEOUT_S: std::ops::RangeInclusive<u64> = 30..=480;
const TIMEOUT_DEFAULT_S: u64 = 30;

/// `files/list_folder/longpoll`.
pub async fn longpoll(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let cursor = cursor_of(&call)?;
    let timeout = call.arg.opt_number("timeout", *TIMEOUT_S.start(), *TIMEOUT_S.end())?.unwrap_or(TIMEOUT_DEFAULT_S);
    // A page that is under way has more to tell.
    if cursor.place.is_some() {
        return Ok(changes(true));
    }
    let notify = Arc::new(Notify::new());
    let mut waiters = Vec::with_capacity(cursor.heads.len());
    for (nsid, jid) in &cursor.heads {
        // The cursor is authentic; its account may have lost the namespace since.
        match gateway.stone.meta.query(cursor.acct, *nsid, Query::Head).await? {
            Answer::Head(_) => waiters.push(gateway.heads.wait(*nsid, *jid, &notify)),
            _ if *nsid == cursor.nsid => return Err(ApiError::tag("reset")),
            _ => {}
        }
    }
    for (nsid, jid) in &cursor.heads {
        if let Answer::Head(head) = gateway.stone.meta.query(cursor.acct, *nsid, Query::Head).await?
            && head > *jid
        {
            return Ok(changes(true));
        }
    }
    let is_woken = tokio::time::timeout(jittered(timeout), notify.notified()).await.is_ok();
    drop(waiters);
    Ok(changes(is_woken))
}

fn changes(has: bool) -> Reply {
    Reply::from(json!({ "changes": has }))
}

/// Up to a tenth longer, so that those who began together do not come back together.
fn jittered(timeout_s: u64) -> Duration {
    let mut drawn = [0; 2];
    // Without random bytes they do come back together.
    let _ = getrandom::fill(&mut drawn);
    let tenth_ms = timeout_s * 100;
    Duration::from_millis(timeout_s * 1000 + tenth_ms * u64::from(u16::from_le_bytes(drawn)) / u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_up_to_a_tenth_longer() {
        for _ in 0..100 {
            let wait = jittered(30);
            assert!(Duration::from_secs(30) <= wait && wait <= Duration::from_secs(33));
        }
    }
}
