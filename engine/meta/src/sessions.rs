//! Exactly once: sessions, their sequences, and the outcomes kept for retries (docs/design/metadata.md, "Sessions").

use base::limits::{SESSION_INFLIGHT_MAX, SESSIONS_MAX};
use base::{Acct, LogIndex, Sequence, SessionId, mutate};

use crate::command::CommandHeader;
use crate::keys::{self, after, table};
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::{NumberRow, RowValue, SessionRow, SessionsRow};
use crate::store::{Rows, Store};
use crate::tree::Halt;

/// A session that said nothing for so long is removed.
const SESSION_IDLE_MS: u64 = 60 * 60 * 1000;
/// Sessions of one account; acct 0 has no limit of its own.
const ACCOUNT_SESSIONS_MAX: usize = 256;
/// Sessions looked at for idleness whenever one is opened.
const IDLE_LOOKS: u32 = 16;
/// Session rows of one scan.
const SCAN_ROWS: u32 = 2000;

/// What a command's session says of it.
pub(crate) enum Admission {
    /// Go on; keep the outcome in this session.
    Execute(SessionRow),
    /// Go on; nothing is kept.
    Unkept,
    /// It was executed before, or may not be.
    Answer(Outcome),
}

/// Judges the session and sequence of a command.
pub(crate) fn admit<S: Store>(txn: &mut Txn<'_, S>, header: &CommandHeader) -> Result<Admission, Halt> {
    if header.session.0 == 0 {
        // The system's own commands repeat harmlessly.
        let is_system = header.acct == Acct(0);
        return Ok(if is_system { Admission::Unkept } else { Admission::Answer(Outcome::SessionGone) });
    }
    let Some(mut row): Option<SessionRow> = txn.row(&keys::session(header.session))? else {
        base::mark::hit!("meta.session.unknown");
        return Ok(Admission::Answer(Outcome::SessionGone));
    };
    if row.acct != Acct(0) && row.acct != header.acct {
        base::mark::hit!("meta.session.of_another_account");
        return Ok(Admission::Answer(Outcome::SessionGone));
    }
    if header.sequence.0 == 0 {
        return Ok(Admission::Answer(Outcome::Malformed));
    }
    acknowledge(txn, header, &mut row);
    row.last_stamp_ms = txn.stamp_ms;
    match answer_of(txn, header, &row)? {
        Some(answer) => {
            txn.put(keys::session(header.session), &row);
            Ok(Admission::Answer(answer))
        }
        // [`keep`] writes it.
        None => Ok(Admission::Execute(row)),
    }
}

/// The answer to a command that is not to be executed.
fn answer_of<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    row: &SessionRow,
) -> Result<Option<Outcome>, Halt> {
    if header.sequence < row.ack_below {
        base::mark::hit!("meta.session.acknowledged");
        return Ok(Some(Outcome::Acknowledged));
    }
    if header.sequence.0 - row.ack_below.0 >= SESSION_INFLIGHT_MAX {
        base::mark::hit!("meta.session.window_full");
        return Ok(Some(Outcome::TooLarge));
    }
    if mutate!(MUT_18B, header.sequence <= row.high, false) {
        let key = keys::outcome(header.session, header.sequence);
        let kept = txn.with(&key, |value| value.map(<[u8]>::to_vec))?;
        if let Some(kept) = kept {
            base::mark::hit!("meta.session.answered_again");
            return Ok(Some(crate::kept::unpack(txn, &kept)?));
        }
    }
    base::mark::hit!("meta.session.out_of_order", header.sequence <= row.high);
    Ok(None)
}

/// Keeps the outcome of a command that was executed.
pub(crate) fn keep<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    mut row: SessionRow,
    outcome: &Outcome,
    is_attr: bool,
) {
    row.high = row.high.max(header.sequence);
    txn.put(keys::session(header.session), &row);
    let key = keys::outcome(header.session, header.sequence);
    txn.overlay.put(&key, |out| crate::kept::pack_into(header.nsid, outcome, is_attr, out));
}

/// Drops the outcomes that the client needs no more. Never beyond what was executed, so at most
/// `SESSION_INFLIGHT_MAX` of them.
fn acknowledge<S: Store>(txn: &mut Txn<'_, S>, header: &CommandHeader, row: &mut SessionRow) {
    let below = Sequence(header.ack_below.0.min(row.high.0 + 1));
    for sequence in row.ack_below.0.max(1)..below.0 {
        base::mark::hit!("meta.session.outcome_dropped");
        txn.delete(keys::outcome(header.session, Sequence(sequence)));
    }
    row.ack_below = row.ack_below.max(below);
}

/// Opens a session, or finds the one of this nonce.
pub(crate) fn register<S: Store>(
    txn: &mut Txn<'_, S>,
    acct: Acct,
    nonce: &[u8; 16],
    (index, ordinal): (LogIndex, u64),
) -> Result<Outcome, Halt> {
    let nonce_key = keys::nonce(acct, nonce);
    if let Some(NumberRow(number)) = txn.row(&nonce_key)? {
        base::mark::hit!("meta.session.registered_again");
        let session = SessionId(number);
        let mut row: SessionRow = txn.row(&keys::session(session))?.expect("a nonce leads to a session");
        row.last_stamp_ms = txn.stamp_ms;
        txn.put(keys::session(session), &row);
        return Ok(Outcome::Registered { session });
    }
    let mut sessions: SessionsRow = txn.row(&keys::session(SessionId(0)))?.unwrap_or_default();
    remove_idle(txn, &mut sessions)?;
    make_room(txn, acct, &mut sessions)?;
    let session = SessionId(index.0 << 12 | ordinal);
    let row =
        SessionRow { acct, nonce: *nonce, ack_below: Sequence(1), last_stamp_ms: txn.stamp_ms, high: Sequence(0) };
    sessions.count += 1;
    txn.put(nonce_key, &NumberRow(session.0));
    txn.put(keys::session(session), &row);
    txn.put(keys::session(SessionId(0)), &sessions);
    Ok(Outcome::Registered { session })
}

/// Looks at the next few sessions in a circle and removes those that were idle.
fn remove_idle<S: Store>(txn: &mut Txn<'_, S>, sessions: &mut SessionsRow) -> Result<(), Halt> {
    let range = after(keys::session(sessions.looked_at))..keys::whole_table(table::SESSION).end;
    let mut rows = Rows::new();
    txn.scan(range, IDLE_LOOKS, &mut rows)?;
    sessions.looked_at = SessionId(0);
    for (key, value) in &rows {
        let (session, row) = (session_of(key), SessionRow::decode(value));
        if row.last_stamp_ms.saturating_add(SESSION_IDLE_MS) < txn.stamp_ms {
            remove(txn, session, &row, sessions);
        }
        sessions.looked_at = session;
    }
    if rows.len() < IDLE_LOOKS as usize {
        sessions.looked_at = SessionId(0);
    }
    Ok(())
}

/// Removes the session used longest ago where one more would be too many: of the account, then of the group, where
/// those of acct 0 stay.
fn make_room<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, sessions: &mut SessionsRow) -> Result<(), Halt> {
    if acct != Acct(0) {
        let mut nonces = Rows::new();
        txn.scan(keys::nonces(acct), ACCOUNT_SESSIONS_MAX as u32 + 1, &mut nonces)?;
        if nonces.len() >= ACCOUNT_SESSIONS_MAX {
            base::mark::hit!("meta.session.account_full");
            let mut oldest = None;
            for (_, value) in &nonces {
                let session = SessionId(NumberRow::decode(value).0);
                let row: SessionRow = txn.row(&keys::session(session))?.expect("a nonce leads to a session");
                oldest = older(oldest, (row.last_stamp_ms, session, row));
            }
            remove_oldest(txn, oldest, sessions);
        }
    }
    if sessions.count < SESSIONS_MAX as u64 {
        return Ok(());
    }
    let mut oldest = None;
    let end = keys::whole_table(table::SESSION).end;
    let mut start = after(keys::session(SessionId(0)));
    loop {
        let mut rows = Rows::new();
        txn.scan(start.clone()..end.clone(), SCAN_ROWS, &mut rows)?;
        for (key, value) in &rows {
            let row = SessionRow::decode(value);
            if row.acct != Acct(0) {
                oldest = older(oldest, (row.last_stamp_ms, session_of(key), row));
            }
        }
        match rows.last() {
            Some((key, _)) if rows.len() == SCAN_ROWS as usize => start = after(key.clone()),
            _ => break,
        }
    }
    remove_oldest(txn, oldest, sessions);
    Ok(())
}

type Candidate = (u64, SessionId, SessionRow);

fn older(oldest: Option<Candidate>, other: Candidate) -> Option<Candidate> {
    match oldest {
        Some(oldest) if (oldest.0, oldest.1) <= (other.0, other.1) => Some(oldest),
        _ => Some(other),
    }
}

fn remove_oldest<S: Store>(txn: &mut Txn<'_, S>, oldest: Option<Candidate>, sessions: &mut SessionsRow) {
    if let Some((_, session, row)) = oldest {
        remove(txn, session, &row, sessions);
    }
}

fn remove<S: Store>(txn: &mut Txn<'_, S>, session: SessionId, row: &SessionRow, sessions: &mut SessionsRow) {
    for sequence in row.ack_below.0..=row.high.0 {
        txn.delete(keys::outcome(session, Sequence(sequence)));
    }
    txn.delete(keys::session(session));
    txn.delete(keys::nonce(row.acct, &row.nonce));
    sessions.count -= 1;
}

fn session_of(key: &[u8]) -> SessionId {
    SessionId(u64::from_be_bytes(key[1..9].try_into().expect("a session's key is a table and a number")))
}
