//! What is asked of group 0, beside accounts by name, servers and nodes, and what it tells.

use base::{Acct, Nsid};

use super::{AlarmInfo, AppInfo, FlowInfo, ReachInfo, TokenInfo};
use crate::metadata::NamespaceKind;
use crate::password::PasswordHash;
use crate::query::AccountKey;

/// A question to group 0. The system may ask all of them, an account what is about itself. Lists come in pages: `after`
/// is the last of the page before, or nothing; a limit of 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Group0Query {
    /// All that is known of an account (32), by number, name or e-mail.
    Profile(AccountKey),
    /// An app by its client id (33).
    App(String),
    /// The apps, in order of their client ids (34).
    Apps {
        /// The last client id of the page before.
        after: String,
        /// At most.
        limit: u32,
    },
    /// What a refresh token is good for (35), by its SHA-256.
    Token([u8; 32]),
    /// The refresh tokens (36).
    Tokens {
        /// The last one of the page before; zeros for the first page.
        after: [u8; 32],
        /// At most.
        limit: u32,
    },
    /// What was revoked (37): access tokens, then accounts with the generation of the tokens that are good.
    Revoked {
        /// `next` of the page before; empty for the first page.
        after: Vec<u8>,
        /// At most.
        limit: u32,
    },
    /// The shared namespaces that an account may reach (38).
    Reach {
        /// Whose.
        acct: Acct,
        /// The last one of the page before.
        after: Nsid,
        /// At most.
        limit: u32,
    },
    /// An account's grants (39).
    Grants {
        /// Whose.
        acct: Acct,
        /// The last one of the page before.
        after: Nsid,
        /// At most.
        limit: u32,
    },
    /// A flow (40), for eight days after it ended too.
    Flow(u64),
    /// The flows that are open or wait, oldest first (41).
    Flows {
        /// The last one of the page before.
        after: u64,
        /// At most.
        limit: u32,
    },
    /// Feature level, alarms and settings (42).
    Cluster,
    /// Whose a namespace is (43).
    Directory(Nsid),
}

/// What is known of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// Its number.
    pub acct: Acct,
    /// Its root namespace.
    pub root: Nsid,
    /// 1 active, 2 being made, 3 suspended.
    pub state: u8,
    /// What a server knows it by.
    pub plan: u8,
    /// The generation of its tokens that is good.
    pub token_gen: u32,
    /// Bytes that its grants may be at most; 0 while nothing limits them.
    pub allocated: u64,
    /// Bytes of its grants.
    pub granted: u64,
    /// Since when, milliseconds since 1970.
    pub created_ms: u64,
    /// Its name.
    pub name: String,
    /// Its e-mail address; may be empty.
    pub email: String,
    /// Given name; may be empty.
    pub given: String,
    /// Surname; may be empty.
    pub surname: String,
    /// Its password's hash; only for the system itself.
    pub password: PasswordHash,
}

/// What group 0 tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Group0Answer {
    /// Of Profile (40).
    Profile(Box<Profile>),
    /// Of App (41).
    App(AppInfo),
    /// Of Apps (42), with their client ids.
    Apps(Vec<(String, AppInfo)>),
    /// Of Token (43), with the root of its account.
    Token {
        /// What it is good for.
        info: TokenInfo,
        /// Of its account.
        root: Nsid,
    },
    /// Of Tokens (44), by SHA-256; those that are void too, until they are dropped.
    Tokens(Vec<([u8; 32], TokenInfo)>),
    /// Of Revoked (45).
    Revoked {
        /// SHA-256 of access tokens.
        tokens: Vec<[u8; 32]>,
        /// Only tokens of this generation are good.
        generations: Vec<(Acct, u32)>,
        /// Position of the next page; `None` after the last.
        next: Option<Vec<u8>>,
    },
    /// Of Reach (46).
    Reach(Vec<(Nsid, ReachInfo)>),
    /// Of Grants (47).
    Grants(Vec<(Nsid, u64)>),
    /// Of Flow (48).
    Flow(Box<FlowInfo>),
    /// Of Flows (49).
    Flows(Vec<FlowInfo>),
    /// Of Cluster (50).
    Cluster {
        /// Of group 0; commands above it are not sent.
        level: u32,
        /// Those that are on.
        alarms: Vec<AlarmInfo>,
        /// Name and value.
        settings: Vec<(String, String)>,
    },
    /// Of Directory (51).
    Directory {
        /// What it is.
        kind: NamespaceKind,
        /// 1 in use, 2 being made, 4 given up.
        state: u8,
        /// Whose.
        owner: Acct,
    },
}
