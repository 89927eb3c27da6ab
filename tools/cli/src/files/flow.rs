//! Flows as commands start them: begun, then waited for; who drives them is the cluster.

use std::time::{Duration, Instant};

use base::{Acct, Nsid};
use client::Client;
use meta::{
    AccountKey, Answer, Command, FlowInfo, FlowPlan, FlowState, Group0Answer, Group0Command, Group0Query, Outcome,
    Query,
};

use super::Global;
use super::fail::{Code, Fail};

/// The first and the longest pause between two looks at a flow.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long to try while another flow of the same account and namespace is open.
const BUSY_WAIT: Duration = Duration::from_secs(60);

/// A client that speaks for the system: flows are its own.
pub struct System {
    pub client: Client,
}

impl System {
    /// Connects.
    ///
    /// Errors: [`Fail`].
    pub fn open(global: &Global) -> Result<System, Fail> {
        Ok(System { client: Client::connect(&global.targets, client::ClientOptions::default())? })
    }

    /// Begins a flow; waits while another one of the same account and namespace is open.
    ///
    /// Errors: [`Fail`], which names `what`.
    pub fn start(&self, what: &str, plan: &FlowPlan) -> Result<FlowInfo, Fail> {
        let began = Instant::now();
        loop {
            let command = Command::Group0(Box::new(Group0Command::FlowStart(plan.clone())));
            match self.client.command(Acct(0), Nsid(0), command)? {
                Outcome::Flow(info) => return Ok(*info),
                Outcome::Busy { .. } if began.elapsed() < BUSY_WAIT => std::thread::sleep(LOOK_MAX),
                Outcome::Busy { .. } => {
                    let text = format!("{what}: another flow of it is open; see `dropstone flow list`");
                    return Err(Fail::new(Code::Failed, text));
                }
                other => return Err(Fail::of_outcome(what, &other)),
            }
        }
    }

    /// Waits for its end.
    ///
    /// Errors: [`Fail`] when it was refused; what it had made is taken back then.
    pub fn wait(&self, what: &str, flow: u64) -> Result<FlowInfo, Fail> {
        let mut pause = LOOK;
        loop {
            let info = self.flow(flow)?.ok_or_else(|| Fail::new(Code::NotFound, format!("flow {flow}: not known")))?;
            match info.state {
                FlowState::Done => return Ok(info),
                FlowState::Failed => return Err(Fail::of_code(what, info.code)),
                FlowState::Open | FlowState::Waiting => {}
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Begins it and waits.
    ///
    /// Errors: [`Fail`].
    pub fn run(&self, what: &str, plan: &FlowPlan) -> Result<FlowInfo, Fail> {
        let info = self.start(what, plan)?;
        self.wait(what, info.flow)
    }

    /// A flow, if it is known still.
    ///
    /// Errors: [`Fail`].
    pub fn flow(&self, flow: u64) -> Result<Option<FlowInfo>, Fail> {
        match self.ask(Group0Query::Flow(flow))? {
            Some(Group0Answer::Flow(info)) => Ok(Some(*info)),
            _ => Ok(None),
        }
    }

    /// Asks group 0; `None` for what is not there.
    ///
    /// Errors: [`Fail`].
    pub fn ask(&self, question: Group0Query) -> Result<Option<Group0Answer>, Fail> {
        match self.client.query(Acct(0), Nsid(0), Query::Group0(question))? {
            Answer::Group0(answer) => Ok(Some(answer)),
            Answer::NotFound | Answer::NoAccess => Ok(None),
            other => Err(Fail::of_answer("group 0", &other)),
        }
    }

    /// The account of a number or a name, with its name.
    ///
    /// Errors: [`Fail`] when there is none.
    pub fn account(&self, text: &str) -> Result<(Acct, String), Fail> {
        let key = match text.parse() {
            Ok(number) => AccountKey::Acct(Acct(number)),
            Err(_) => AccountKey::Name(text.to_owned()),
        };
        match self.client.query(Acct(0), Nsid(0), Query::Account(key))? {
            Answer::Account(info) => Ok((info.acct, info.name)),
            Answer::NotFound | Answer::Malformed => {
                let text = format!("no account {text:?} on this cluster; `dropstone account list` shows them all");
                Err(Fail::new(Code::NotFound, text))
            }
            other => Err(Fail::of_answer(text, &other)),
        }
    }

    /// Whose a namespace is.
    ///
    /// Errors: [`Fail`].
    pub fn owner(&self, nsid: Nsid) -> Result<Acct, Fail> {
        match self.ask(Group0Query::Directory(nsid))? {
            Some(Group0Answer::Directory { owner, .. }) => Ok(owner),
            _ => Err(Fail::new(Code::NotFound, format!("namespace {nsid}: not known"))),
        }
    }
}
