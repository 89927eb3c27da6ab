//! Which commands a node takes although its disk has no room left.

use crate::codec::Reader;
use crate::command_codec::decode_header;

/// May this command pass while free space is below the reserve? Those that remove something, that end what began, and the
/// few bounded rows without which nobody could connect to ask for it. A command that is not framed passes: it is refused
/// where it is looked at.
#[must_use]
pub fn may_pass(command: &[u8]) -> bool {
    let Ok((_, kind, _)) = decode_header(&mut Reader::new(command)) else { return true };
    match kind {
        // Delete; MemberRemove, Unmount, Thaw, GrantLower.
        4 | 17 | 21 | 23 | 28 => true,
        // JournalTrim, Sweep, Purge, BlockSweep.
        29..=32 => true,
        // Register, ServerPut, NodePut.
        33 | 79 | 80 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, Jid, Nsid, Sequence, SessionId};

    use super::*;
    use crate::{At, Command, CommandHeader, Delete, Mkdir, encode_command};

    #[test]
    fn what_removes_passes_and_what_adds_does_not() {
        let at = || At::path("/a");
        let passes = |command: &Command| {
            let (session, sequence) = (SessionId(1), Sequence(1));
            let header = CommandHeader { session, sequence, ack_below: sequence, acct: Acct(1), nsid: Nsid(1) };
            let mut bytes = Vec::new();
            encode_command(&header, command, &mut bytes);
            may_pass(&bytes)
        };
        assert!(passes(&Command::Delete(Delete { at: at(), parent_rev: None })));
        assert!(passes(&Command::Sweep { limit: 1 }) && passes(&Command::Purge { limit: 1 }));
        assert!(passes(&Command::JournalTrim { floor: Jid(1) }));
        assert!(passes(&Command::Register { nonce: [0; 16] }));
        assert!(!passes(&Command::Mkdir(Mkdir { at: at(), autorename: false })));
        assert!(!passes(&Command::AccountPut { name: "a".to_owned() }));
        assert!(may_pass(b"no command"));
    }
}
