//! Drives the flows between namespaces (docs/design/metadata.md, "Flows"). Control plane: threads with the ordinary
//! client, beside the cores.
//!
//! ```text
//!  this node leads group 0? ──▶ its open flows ──▶ a thread for each, a few at once ──▶ steps, to the leaders of groups
//! ```
//! The node that leads group 0 drives them all, those of a leader before it too. Nothing of it is kept here: rows say how
//! far each flow is, so what one node leaves the next one goes on with, and two that drive the same flow are harmless.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::{Acct, GroupId, LogIndex, NodeId, Nsid, Span};
use client::{Client, ClientError, ClientOptions, Operation, Reply};
use meta::driver::{Ask, Drive};
use meta::{Answer, FlowInfo, FlowPlan, FlowState, Group0Answer, Group0Query, Outcome, Query};
use reactor::clock::wall_ms;

use crate::config::NodeConfig;
use crate::shared::Shared;

/// How often the thread looks whether there may be something to do; two atomics are read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Open flows are asked for this often, even if nothing seems to have changed.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Flows driven at once.
const FLOWS_AT_ONCE: usize = 8;
/// Of those, flows that copy or empty folders: they leave room for short ones.
const LONG_AT_ONCE: usize = 4;
/// Pages of open flows read at once, 2000 each.
const PAGES_MAX: u32 = 8;
/// What one command or question may take before it is sent again.
const PATIENCE: Span = Span::from_ms(10_000);
/// The first and the longest wait after a step that could not be sent.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A flow is left alone for so long after the cluster could not read, or refused, what it wants.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// A flow that did not come on for so long is told of.
const STUCK: Duration = Duration::from_secs(60);

/// The thread that looks for flows; it ends, with those that drive them, with this value.
pub(crate) struct FlowRunner {
    thread: Option<JoinHandle<()>>,
}

impl FlowRunner {
    /// Starts it. `None` when no thread can be had: the flows of this node's turns as leader then wait for another's.
    pub fn start(node: NodeId, config: &NodeConfig, shared: &Arc<Shared>) -> Option<FlowRunner> {
        let targets: Vec<String> = config.cluster.nodes.iter().map(|seed| seed.client.to_string()).collect();
        let around = Around { node, shared: shared.clone() };
        let thread = std::thread::Builder::new()
            .name("flows".to_owned())
            .spawn(move || Runner::new(around, targets).run())
            .inspect_err(|error| tracing::warn!(%error, "could not start the thread that drives flows"))
            .ok()?;
        Some(FlowRunner { thread: Some(thread) })
    }
}

impl Drop for FlowRunner {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that drives flows had panicked");
        }
    }
}

/// What a thread must know of its node.
#[derive(Clone)]
struct Around {
    node: NodeId,
    shared: Arc<Shared>,
}

impl Around {
    fn leads(&self) -> bool {
        !self.shared.is_stopping() && self.shared.leads(self.node, GroupId(0))
    }

    /// Sleeps; false when this node does not lead any more.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.leads() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        false
    }
}

/// A flow that is being driven.
struct Worker {
    flow: u64,
    is_long: bool,
    /// True: it wants something that the cluster does not take.
    thread: JoinHandle<bool>,
}

struct Runner {
    around: Around,
    targets: Vec<String>,
    client: Option<Client>,
    workers: Vec<Worker>,
    /// Flows that are left alone until then.
    resting: HashMap<u64, Instant>,
    /// Group 0 as it was when its flows were asked for, and when.
    asked: Option<(LogIndex, Instant)>,
}

impl Runner {
    fn new(around: Around, targets: Vec<String>) -> Runner {
        Runner { around, targets, client: None, workers: Vec::new(), resting: HashMap::new(), asked: None }
    }

    fn run(mut self) {
        while !self.around.shared.is_stopping() {
            std::thread::sleep(LOOK_EVERY);
            let has_ended = self.reap();
            if !self.around.leads() {
                // Whoever leads next asks anew.
                (self.asked, self.client) = (None, None);
                continue;
            }
            let applied = self.around.shared.applied_0();
            let is_new =
                self.asked.is_none_or(|(index, when)| has_ended || index != applied || when.elapsed() >= ASK_EVERY);
            if is_new && self.look().is_some() {
                self.asked = Some((applied, Instant::now()));
            }
        }
        for worker in self.workers {
            // They see the stop within one look.
            let _ = worker.thread.join();
        }
    }

    /// Takes leave of threads that have ended; true when there were some.
    fn reap(&mut self) -> bool {
        let (ended, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.workers).into_iter().partition(|worker| worker.thread.is_finished());
        self.workers = left;
        let has_ended = !ended.is_empty();
        for worker in ended {
            // One that panicked is as good as refused: its panic was printed where it happened.
            if worker.thread.join().unwrap_or(true) {
                self.resting.insert(worker.flow, Instant::now() + GIVEN_UP);
            }
        }
        self.resting.retain(|_, until| Instant::now() < *until);
        has_ended
    }

    /// Asks for the open flows, and drives as many as there is room for. `None`: it could not be asked.
    fn look(&mut self) -> Option<()> {
        if self.client.is_none() {
            let options = ClientOptions {
                deadline: PATIENCE,
                connect_deadline: Span::from_ms(1_000),
                ..ClientOptions::default()
            };
            let connected = Client::connect(&self.targets, options);
            self.client = connected.inspect_err(|error| tracing::debug!(%error, "no client for flows yet")).ok();
        }
        let client = self.client.clone()?;
        let mut after = 0;
        for _ in 0..PAGES_MAX {
            let question = Query::Group0(Group0Query::Flows { after, limit: 0 });
            let asked = Operation::Query { acct: Acct(0), nsid: Nsid(0), query: question };
            let Some(Ok(Reply::Answer(Answer::Group0(Group0Answer::Flows(flows))))) = ask(&self.around, &client, asked)
            else {
                return None;
            };
            let Some(last) = flows.last() else { break };
            after = last.flow;
            flows.into_iter().for_each(|info| self.take(info, &client));
            if self.workers.len() >= FLOWS_AT_ONCE {
                break;
            }
        }
        Some(())
    }

    /// Drives a flow, if there is room.
    fn take(&mut self, info: FlowInfo, client: &Client) {
        let is_driven = self.workers.iter().any(|worker| worker.flow == info.flow);
        if info.state != FlowState::Open || is_driven || self.resting.contains_key(&info.flow) {
            return;
        }
        let is_long =
            matches!(info.plan, FlowPlan::Share { .. } | FlowPlan::MoveAcross { .. } | FlowPlan::AccountEnd { .. });
        let long = self.workers.iter().filter(|worker| worker.is_long).count();
        if self.workers.len() >= FLOWS_AT_ONCE || (is_long && long >= LONG_AT_ONCE) {
            return;
        }
        let (flow, around, client) = (info.flow, self.around.clone(), client.clone());
        let driven =
            std::thread::Builder::new().name(format!("flow-{flow}")).spawn(move || drive(around, client, info));
        match driven {
            Ok(thread) => self.workers.push(Worker { flow, is_long, thread }),
            Err(error) => tracing::warn!(%error, flow, "could not start a thread that drives a flow"),
        }
    }
}

/// Leaves an operation and waits for its end; `None` when this node does not lead any more.
fn ask(around: &Around, client: &Client, operation: Operation) -> Option<Result<Reply, ClientError>> {
    let left = client.submit(operation);
    while around.leads() {
        if let Some(end) = left.wait_for(LOOK_EVERY) {
            return Some(end);
        }
    }
    None
}

/// Drives a flow to its end, or for as long as this node leads. True: the cluster does not take what it wants.
fn drive(around: Around, client: Client, info: FlowInfo) -> bool {
    let flow = info.flow;
    let mut drive = Drive::new(info);
    let mut retry = RETRY;
    let mut step = (drive.info().step, Instant::now());
    tracing::debug!(flow, plan = ?drive.info().plan, step = step.0, "driving a flow");
    loop {
        if drive.info().step != step.0 {
            step = (drive.info().step, Instant::now());
        }
        let operation = match drive.ask(wall_ms()) {
            None => {
                let FlowInfo { state, code, .. } = drive.info();
                tracing::info!(flow, ?state, code, "a flow has come to its end here");
                return false;
            }
            Some(Ask::Pause { ms }) => match around.sleep(Duration::from_millis(u64::from(ms))) {
                true => continue,
                false => return false,
            },
            Some(Ask::Command { nsid, command }) => Operation::Command { acct: Acct(0), nsid, command },
            Some(Ask::Query { nsid, query }) => Operation::Query { acct: Acct(0), nsid, query },
        };
        let error = match ask(&around, &client, operation) {
            None => return false,
            Some(Ok(reply)) => {
                retry = RETRY;
                match reply {
                    Reply::Outcome(Outcome::Unsupported) => {
                        return refused(flow, step.0, "a node is older than the flow");
                    }
                    Reply::Outcome(outcome) => drive.hear_outcome(&outcome),
                    Reply::Answer(answer) => drive.hear_answer(&answer),
                    _ => return refused(flow, step.0, "an answer of another kind"),
                }
                continue;
            }
            Some(Err(error)) => error,
        };
        if is_for_good(&error) {
            return refused(flow, step.0, &error.to_string());
        }
        if step.1.elapsed() >= STUCK {
            tracing::warn!(flow, step = step.0, %error, "a flow does not come on; is a group without a leader?");
            step.1 = Instant::now();
        }
        if !around.sleep(retry) {
            return false;
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// Sending it again would come to the same.
fn is_for_good(error: &ClientError) -> bool {
    use ClientError::*;
    matches!(error, Malformed { .. } | Refused { .. } | Unsupported { .. } | Undecodable { .. } | TooLarge { .. })
}

fn refused(flow: u64, step: u32, reason: &str) -> bool {
    tracing::error!(flow, step, reason, "a flow cannot go on; look at it with `dropstone flow show`");
    true
}
