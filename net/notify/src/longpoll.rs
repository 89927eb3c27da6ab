//! `files/list_folder/longpoll`: waits until one of the cursor's namespaces goes on.

use std::sync::Arc;
use std::time::Duration;

use base::{Jid, Nsid};
use meta::feed::FeedCursor;
use meta::{Answer, Query};
use serde_json::json;
use stone::{ApiError, Call, Host, Needs, Reply, Route, Style};
use tokio::time::timeout;

use crate::clock::draw_seed;
use crate::edge_tier::EdgeTier;

const TIMEOUT_S: std::ops::RangeInclusive<u64> = 30..=480;
const TIMEOUT_DEFAULT_S: u64 = 30;
/// Rights are not waited for longer: while nobody leads, they are those of the moment when the cursor was made.
const RIGHTS_TIME_MAX: Duration = Duration::from_secs(2);
/// Who finds no place comes back after so many seconds.
const BACKOFF_S: std::ops::Range<u64> = 10..60;
const BACKOFF_DRAIN_S: u64 = 2;

/// What the handler needs.
#[derive(Clone)]
pub(crate) struct Longpoll {
    pub(crate) tier: Arc<EdgeTier>,
    /// Percent by which a wait may be longer than it was asked for.
    pub(crate) jitter_percent: u64,
}

/// The routes of the notify host.
pub(crate) static ROUTES: &[Route<Longpoll>] = &[Route {
    name: "files/list_folder/longpoll",
    host: Host::Notify,
    style: Style::Rpc,
    needs: Needs::Nobody,
    scope: None,
    is_long: true,
    handler: |call, state| Box::pin(longpoll(call, state)),
}];

/// Names of the routes of the notify host.
pub fn route_names() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.name)
}

async fn longpoll(call: Call, state: Longpoll) -> Result<Reply, ApiError> {
    let cursor = call.cursor()?;
    let seconds = call.arg.opt_number("timeout", *TIMEOUT_S.start(), *TIMEOUT_S.end())?.unwrap_or(TIMEOUT_DEFAULT_S);
    // A page that is under way has more to tell.
    if cursor.place.is_some() {
        return Ok(changes(true));
    }
    let Some(known) = readable(&call, &cursor, &state.tier).await? else { return Ok(changes(true)) };
    if state.tier.is_draining() {
        // A spurious wake-up is allowed; the next edge tells whether there is something.
        return Ok(Reply::from(json!({ "changes": true, "backoff": BACKOFF_DRAIN_S })));
    }
    // Nothing is slept past between the look above and this: a namespace that is new here is told by its hub as it is
    // then, and one that is not has been told of all along.
    let Ok(mut waiting) = state.tier.wait(&known) else {
        let backoff = BACKOFF_S.start + draw_seed() % (BACKOFF_S.end - BACKOFF_S.start);
        return Ok(Reply::from(json!({ "changes": false, "backoff": backoff })));
    };
    let woken = timeout(jittered(seconds, state.jitter_percent), &mut waiting.woken).await;
    // A sender that is gone is an edge that stops.
    Ok(changes(woken.is_ok()))
}

/// The namespaces of the cursor that its account may still read; `None`: one of them is beyond the cursor.
///
/// Errors: `reset` when the cursor's own namespace is not readable any more.
async fn readable(
    call: &Call,
    cursor: &FeedCursor,
    tier: &Arc<EdgeTier>,
) -> Result<Option<Vec<(Nsid, Jid)>>, ApiError> {
    let mut known = Vec::with_capacity(cursor.heads.len());
    for (nsid, jid) in &cursor.heads {
        let asked = timeout(RIGHTS_TIME_MAX, call.stone.meta.query(cursor.acct, *nsid, Query::Head)).await;
        match asked {
            Ok(Ok(Answer::Head(head))) => {
                tier.note_head(*nsid, head);
                if head > *jid {
                    return Ok(None);
                }
                known.push((*nsid, *jid));
            }
            Ok(Ok(_)) if *nsid == cursor.nsid => return Err(ApiError::tag("reset")),
            // A shared folder that it has lost since.
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => known.push((*nsid, *jid)),
        }
    }
    Ok(Some(known))
}

fn changes(has: bool) -> Reply {
    Reply::from(json!({ "changes": has }))
}

/// A little longer, so that those who began together do not come back together.
fn jittered(seconds: u64, percent: u64) -> Duration {
    let longest_ms = seconds * 10 * percent;
    Duration::from_millis(seconds * 1000 + draw_seed() % (longest_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_up_to_a_tenth_longer() {
        for _ in 0..100 {
            let wait = jittered(30, 10);
            assert!(Duration::from_secs(30) <= wait && wait <= Duration::from_secs(33));
        }
        assert_eq!(jittered(30, 0), Duration::from_secs(30));
    }
}
