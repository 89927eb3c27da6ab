//! Who may watch a namespace, and until when.

use meta::{MemberPut, MemberRole, MemberState, NamespaceKind, Step};

use super::*;

const SHARED: Nsid = Nsid(10_000_000_001);
const OWNER: Acct = Acct(1);
const MEMBER: Acct = Acct(2);
const STRANGER: Acct = Acct(3);

/// A shared namespace with one member.
fn share(world: &mut World) {
    let system = CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, SHARED) };
    let put = |step, state| {
        let step = Step { flow: 1, step };
        Command::MemberPut(MemberPut { step, acct: MEMBER, role: MemberRole::Viewer, state })
    };
    let init = Command::NamespaceInit { owner: OWNER, kind: NamespaceKind::Shared, grant_bytes: 1 << 40 };
    let commands = [init, put(1, MemberState::Invited), put(2, MemberState::Joined)];
    for (command, request) in commands.iter().zip(20..) {
        assert_eq!(world.command(request, system, command), Outcome::Done);
    }
}

/// Watches through a connection of its own; what is told comes under this request.
fn watch(world: &mut World, acct: Acct, request: u64) {
    let group = base::group_of(SHARED, GROUPS);
    let leader = world.leader(group).expect("somebody leads");
    let ticket = Ticket { connection: request, request, kind: 3 };
    world.shard(leader).handle_watch(ticket, group, acct, SHARED);
    world.run(Span::from_ms(20));
}

fn told(world: &mut World, request: u64) -> Option<Status> {
    world.answers.remove(&request).map(|(status, _)| status)
}

#[test]
fn a_watch_ends_with_the_entry_that_puts_its_account_out_and_none_begins_after() {
    let mut world = World::new(11, 10_000);
    begin(&mut world);
    share(&mut world);
    for (acct, request) in [(OWNER, 51), (MEMBER, 52), (STRANGER, 53), (Acct(0), 54)] {
        watch(&mut world, acct, request);
        let wanted = if acct == STRANGER { Status::Refused } else { Status::Ok };
        assert_eq!(told(&mut world, request), Some(wanted), "{acct}");
    }
    let system = CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, SHARED) };
    let remove = Command::MemberRemove { step: Step { flow: 2, step: 1 }, acct: MEMBER };
    assert_eq!(world.command(60, system, &remove), Outcome::Done);
    world.run(Span::from_ms(20));
    assert_eq!(told(&mut world, 52), Some(Status::Refused));
    // The step told again says it again to nobody, and the others go on.
    assert_eq!(world.command(61, system, &remove), Outcome::Done);
    assert!(world.command(62, system, &mkdir("/new")).is_ok());
    world.run(Span::from_ms(20));
    assert_eq!(
        [51, 52, 53, 54].map(|request| told(&mut world, request)),
        [Some(Status::Ok), None, None, Some(Status::Ok)]
    );
    watch(&mut world, MEMBER, 55);
    assert_eq!(told(&mut world, 55), Some(Status::Refused));
}
