//! The commands of group 0, beside `AccountPut`, `ServerPut` and `NodePut` (docs/design/metadata.md, "Group 0").

use base::{Acct, Nsid};

use super::{AlarmInfo, AppInfo, CodeInfo, FlowPlan, TicketInfo};
use crate::password::PasswordHash;

/// A token of an app for an account. Digests are SHA-256.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenPut {
    /// Of the refresh token.
    pub token: [u8; 32],
    /// Whose.
    pub acct: Acct,
    /// Through which app.
    pub app: u64,
    /// What it may.
    pub scopes: u64,
    /// Until when, milliseconds since 1970; 0 is for ever.
    pub expires_ms: u64,
    /// Of the code that gave it, zeros for none. One that was taken twice gives nothing: `NoAccess`.
    pub code: [u8; 32],
    /// Of the access token that went with it, zeros for none: void too if the code is taken again.
    pub access: [u8; 32],
}

/// What becomes void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenRevoke {
    /// A refresh token; `NotFound` if there is none.
    Refresh([u8; 32]),
    /// An access token until it ends by itself.
    Access {
        /// SHA-256 of it.
        token: [u8; 32],
        /// Whose.
        acct: Acct,
        /// When it ends, milliseconds since 1970; 0 is never.
        expires_ms: u64,
    },
    /// All of an account.
    Account(Acct),
}

/// An account gives an app a code, for ten minutes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodePut {
    /// SHA-256 of the code.
    pub code: [u8; 32],
    /// Who, to which app, for what.
    pub info: CodeInfo,
    /// SHA-256 of the verifier (PKCE); zeros where the app shows its secret instead.
    pub challenge: [u8; 32],
    /// Where it is sent; the taker names the same.
    pub redirect: String,
}

/// An app takes its code, once; again, and what it gave is void.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodeTake {
    /// SHA-256 of the code.
    pub code: [u8; 32],
    /// Which app.
    pub app: u64,
    /// SHA-256 of the verifier it showed; zeros if it showed its secret.
    pub challenge: [u8; 32],
    /// Where the code was sent.
    pub redirect: String,
}

/// Sets what is told of an account; `None` leaves a field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccountSet {
    /// Which.
    pub acct: Acct,
    /// Compared in lower case; another account's is `Exists`.
    pub email: Option<String>,
    /// Given name and surname.
    pub names: Option<(String, String)>,
    /// What a server made of the password.
    pub password: Option<PasswordHash>,
    /// Which plan it has; what they are is not the machine's business.
    pub plan: Option<u8>,
    /// Bytes of all its grants, 0 for no limit; less than they are is `Quota`.
    pub allocated: Option<u64>,
    /// It may not come in; its tokens are void.
    pub is_suspended: Option<bool>,
}

/// An account's grant for a namespace becomes another. Sent again it changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrantChange {
    /// Whose.
    pub acct: Acct,
    /// For which namespace.
    pub nsid: Nsid,
    /// What it is now; another one is `RevMismatch`.
    pub before: u64,
    /// What it will be; beyond what is allocated is `Quota`.
    pub bytes: u64,
}

/// A flow's step was done, or refused for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowStep {
    /// Which flow.
    pub flow: u64,
    /// Which step.
    pub step: u32,
    /// 0: it was done. Else the code of the outcome that refused it.
    pub code: u8,
    /// What it told: of a freeze, since when.
    pub value: u64,
}

/// Somebody may join the cluster, for an hour.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TicketPut {
    /// SHA-256 of the ticket.
    pub ticket: [u8; 32],
    /// Who; the machine says until when.
    pub info: TicketInfo,
}

/// A change to what group 0 keeps; the system only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Group0Command {
    /// Makes or changes an app (65): `Made` with its number.
    AppPut {
        /// By which it is named.
        client_id: String,
        /// What it is; the number is the machine's to give.
        info: AppInfo,
    },
    /// Keeps a refresh token (66).
    TokenPut(TokenPut),
    /// Voids tokens (67).
    TokenRevoke(TokenRevoke),
    /// Keeps a code (68).
    CodePut(CodePut),
    /// Takes it (69): `Code`.
    CodeTake(CodeTake),
    /// Begins a flow (70): `Flow`, or `Busy` while another of the same account and namespace is open.
    FlowStart(FlowPlan),
    /// Tells that a step was done (71): `Flow`.
    FlowStep(FlowStep),
    /// Reserves room (72).
    GrantReserve(GrantChange),
    /// Gives room back (73).
    GrantRelease(GrantChange),
    /// From here on the group knows the commands of this level (74); never lower. In every group.
    FeatureRaise {
        /// Which level.
        level: u32,
    },
    /// Something is wrong (75); the time is the machine's.
    AlarmRaise(AlarmInfo),
    /// No more (76).
    AlarmClear(AlarmInfo),
    /// Keeps a ticket (77).
    TicketPut(TicketPut),
    /// Takes it, once (78): `Ticket`.
    TicketTake {
        /// SHA-256 of it.
        ticket: [u8; 32],
    },
    /// Tells more of an account (81).
    AccountSet(AccountSet),
    /// A setting of the whole cluster (82); empty takes it away.
    SettingPut {
        /// Which.
        name: String,
        /// To what.
        value: String,
    },
}

impl Group0Command {
    /// The number in byte 1 of the command.
    #[must_use]
    pub fn kind(&self) -> u8 {
        use Group0Command::*;
        match self {
            AppPut { .. } => 65,
            TokenPut(_) => 66,
            TokenRevoke(_) => 67,
            CodePut(_) => 68,
            CodeTake(_) => 69,
            FlowStart(_) => 70,
            FlowStep(_) => 71,
            GrantReserve(_) => 72,
            GrantRelease(_) => 73,
            FeatureRaise { .. } => 74,
            AlarmRaise(_) => 75,
            AlarmClear(_) => 76,
            TicketPut(_) => 77,
            TicketTake { .. } => 78,
            AccountSet(_) => 81,
            SettingPut { .. } => 82,
        }
    }
}
