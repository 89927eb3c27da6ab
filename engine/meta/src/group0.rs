//! What group 0 keeps for the whole cluster: accounts, apps, tokens, codes, grants, reach, flows between namespaces,
//! alarms and settings (docs/design/metadata.md, "Group 0"). The system alone changes it.

mod accounts;
mod apply;
mod check;
mod cluster;
mod codec;
mod command;
mod flow;
mod flow_codec;
mod flows;
#[cfg(test)]
mod goldens;
mod grants;
mod keys;
mod query;
mod query_codec;
mod read;
mod record;
mod tokens;

pub(crate) use self::accounts::new_account;
pub(crate) use self::apply::execute;
pub(crate) use self::check::check;
pub(crate) use self::cluster::level;
pub use self::command::{
    AccountSet, CodePut, CodeTake, FlowStep, GrantChange, Group0Command, TicketPut, TokenPut, TokenRevoke,
};
pub use self::flow::{FlowInfo, FlowPlan, FlowState};
pub use self::query::{Group0Answer, Group0Query, Profile};
pub(crate) use self::read::answer;
pub(crate) use self::record::Record;
pub use self::record::{AlarmInfo, AppInfo, CodeInfo, ReachInfo, ReachState, TicketInfo, TokenInfo};
