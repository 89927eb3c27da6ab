//! What the handlers of the gateway have.

use std::sync::Arc;

use base::Acct;
use stone::Stone;

use crate::jobs::Jobs;

/// The gateway's own state: none that matters to anybody after it is gone, but for results of jobs that were asked for.
pub struct Gateway {
    /// What all roles of the process share.
    pub stone: Arc<Stone>,
    /// Results that are asked for later.
    pub jobs: Jobs,
    /// Where content is, without a slash at the end; `None` where nobody told.
    pub content: Option<String>,
    /// `dropstone dev`: whoever opens the sign-in page is this account, and any app is let in.
    pub dev: Option<Acct>,
}

/// What handlers get.
pub type Shared = Arc<Gateway>;
