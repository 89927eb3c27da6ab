//! Flows: begun here, driven by the cluster, waited for.

use std::time::{Duration, Instant};

use base::{Acct, Nsid};
use meta::{Answer, Command, FlowInfo, FlowPlan, FlowState, Group0Answer, Group0Command, Group0Query, Outcome, Query};
use stone::{ApiError, Stone};

/// The first and the longest pause between two looks.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(250);
/// A flow that takes longer goes on by itself; a call may take 30 s.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Begins a flow.
///
/// Errors: busy while another one of the same account and namespace is open; the outcome's code where it is refused.
pub async fn start(stone: &Stone, plan: &FlowPlan) -> Result<Result<FlowInfo, Outcome>, ApiError> {
    let began = Instant::now();
    loop {
        let command = Command::Group0(Box::new(Group0Command::FlowStart(plan.clone())));
        match stone.meta.command(Acct(0), Nsid(0), command).await? {
            Outcome::Flow(info) => return Ok(Ok(*info)),
            Outcome::Busy { .. } if began.elapsed() < WAIT_MAX / 4 => tokio::time::sleep(LOOK_MAX).await,
            Outcome::Busy { .. } => return Err(ApiError::busy()),
            other => return Ok(Err(other)),
        }
    }
}

/// A flow as it is now.
///
/// Errors: those of the cluster.
pub async fn look(stone: &Stone, flow: u64) -> Result<Option<FlowInfo>, ApiError> {
    match stone.meta.query(Acct(0), Nsid(0), Query::Group0(Group0Query::Flow(flow))).await? {
        Answer::Group0(Group0Answer::Flow(info)) => Ok(Some(*info)),
        Answer::NotFound => Ok(None),
        other => Err(ApiError::unexpected(&other)),
    }
}

/// Waits for its end, or for 20 s: then it is told as it is.
///
/// Errors: those of the cluster.
pub async fn wait(stone: &Stone, mut info: FlowInfo) -> Result<FlowInfo, ApiError> {
    let (began, mut pause) = (Instant::now(), LOOK);
    while matches!(info.state, FlowState::Open | FlowState::Waiting) && began.elapsed() < WAIT_MAX {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
        info = look(stone, info.flow).await?.unwrap_or(info);
    }
    Ok(info)
}

/// Begins a flow and waits for its end.
///
/// Errors: 503 for one that takes longer than 20 s; it goes on.
pub async fn run(stone: &Stone, plan: &FlowPlan) -> Result<FlowInfo, ApiError> {
    let info = match start(stone, plan).await? {
        Ok(info) => wait(stone, info).await?,
        Err(Outcome::NoAccess | Outcome::NotFound) => return Err(ApiError::tag("no_permission")),
        Err(other) => return Err(ApiError::unexpected(&other)),
    };
    match info.state {
        FlowState::Done | FlowState::Failed => Ok(info),
        FlowState::Open | FlowState::Waiting => {
            Err(ApiError::Unavailable(format!("flow {} goes on; ask again", info.flow)))
        }
    }
}

/// The code of the outcome that refused it.
#[must_use]
pub fn refusal(info: &FlowInfo) -> Option<u8> {
    (info.state == FlowState::Failed).then_some(info.code)
}
