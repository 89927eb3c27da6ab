//! A turn of a core's shard with the commands and queries of one frame: no sockets, no codec, no clock.

use base::stages::Stamp;
use base::{Jid, mix64};
use meta::{At, DeltaCursor, PutMode, Query, What};
use shard::{Border, Status, Ticket};

use super::core_rig::CoreRig;
use super::machine_rig::{OWNER, STAMP_MS, mkdir, put};
use crate::{Bench, Body, Scale};

/// Turns that one state has frames for.
pub const TURNS: u64 = 128;
/// Requests of a large turn.
pub const REQUESTS: u64 = 64;
/// Groups of a mixed turn.
pub const GROUPS: u32 = 8;
/// Outcomes that a client may not have seen yet: of three turns.
const KEPT: u64 = 3 * REQUESTS;
/// Files in the folder that queries look at.
const FILES: u64 = 20;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let turn = |id, requests, make: fn(Scale) -> Body| Bench::new(id, make).operations(requests).state(TURNS);
    vec![
        turn("shard/turn/put,b=1", 1, |scale| turns(1, 1, puts, scale)).counted(TURNS / 2),
        turn("shard/turn/put,b=64", REQUESTS, |scale| turns(1, REQUESTS, puts, scale)).counted(TURNS / 4),
        turn("shard/turn/mixed,b=64", REQUESTS, |scale| turns(GROUPS, REQUESTS, mixed, scale)).counted(TURNS / 4),
        Bench::new("shard/tick/groups=1k,idle", |scale| idle(scale)).operations(1000).counted(20),
    ]
}

/// One request, encoded.
pub enum Request {
    /// A command, for the group at this place.
    Command(usize, Vec<u8>),
    /// A query, to the namespace at this place.
    Query(usize, Vec<u8>),
}

/// Makes the requests of a turn; told which turn.
pub type Make = fn(&mut CoreRig, u64, u64) -> Vec<Request>;

/// New files of one block, in the first group.
pub fn puts(rig: &mut CoreRig, turn: u64, requests: u64) -> Vec<Request> {
    (0..requests).map(|at| put_at(rig, 0, turn * requests + at)).collect()
}

fn put_at(rig: &mut CoreRig, place: usize, number: u64) -> Request {
    let mut bytes = Vec::new();
    let header = rig.places[place].next_header(KEPT);
    let path = format!("/folder {}/file {number}.txt", mix64(number) % 16);
    meta::encode_command(&header, &put(&path, number, PutMode::Add), &mut bytes);
    Request::Command(place, bytes)
}

/// Half of them puts, the others lookups, listings, deltas and blocklists, by turns over all groups.
pub fn mixed(rig: &mut CoreRig, turn: u64, requests: u64) -> Vec<Request> {
    let request = |at: u64| {
        let (number, place) = (turn * requests + at, (at as usize / 2) % rig.places.len());
        if at.is_multiple_of(2) {
            return put_at(rig, place, number);
        }
        let file = At::path(&format!("/seen/file {}.txt", number % FILES));
        let query = match (at / 2 + turn) % 4 {
            0 => Query::Lookup(What::At(file)),
            1 => Query::ListPage { at: At::path("/seen"), recursive: false, position: Vec::new(), limit: 100 },
            2 => Query::Delta { cursor: DeltaCursor::at(Jid(1)), limit: 20 },
            _ => Query::Blocklist { what: What::At(file), first: 0 },
        };
        let mut bytes = Vec::new();
        query.encode(&mut bytes);
        Request::Query(place, bytes)
    };
    (0..requests).map(request).collect()
}

/// A core that leads so many groups, each with a folder that is looked at, and the requests of its turns.
#[must_use]
pub fn ready(groups: u32, requests: u64, make: Make, scale: Scale) -> (CoreRig, Vec<Vec<Request>>) {
    let mut rig = CoreRig::leading(groups);
    for place in 0..rig.places.len() {
        let files = (0..FILES).map(|at| put(&format!("/seen/file {at}.txt"), at, PutMode::Add));
        for command in std::iter::once(mkdir("/seen")).chain(files) {
            let header = rig.places[place].next_header(KEPT);
            rig.command(rig.places[place].group, header, &command);
        }
    }
    let turns = if scale == Scale::Full { TURNS } else { 8 };
    let requests = (0..turns).map(|turn| make(&mut rig, turn, requests)).collect();
    (rig, requests)
}

/// A turn for each list of requests. Stamps follow from the turn's time, as the simulator's do.
fn turns(groups: u32, requests: u64, make: Make, scale: Scale) -> Body {
    let (mut rig, turns) = ready(groups, requests, make, scale);
    let mut next = 0;
    Box::new(move || {
        let requests = &turns[next % turns.len()];
        next += 1;
        let begun = rig.now.0;
        let stamp = |step: u64| Stamp::at(begun + step * 1000);
        rig.shard.begin_stages(stamp(0));
        rig.begin();
        for (number, request) in (0..).zip(requests) {
            hand_over(&mut rig, number, request);
        }
        rig.hear();
        rig.shard.end_stage(Border::Decode, stamp(1));
        rig.complete();
        rig.shard.end_stage(Border::Admit, stamp(2));
        rig.shard.advance_proposals(rig.now, STAMP_MS);
        rig.shard.end_stage(Border::Propose, stamp(3));
        rig.shard.advance_groups(rig.now);
        rig.shard.end_stage(Border::Apply, stamp(4));
        let told = answers(&mut rig);
        rig.shard.end_stage(Border::Reply, stamp(5));
        rig.leave(|_, _, _, _| ());
        rig.begin_operations();
        told
    })
}

fn hand_over(rig: &mut CoreRig, number: u64, request: &Request) {
    match request {
        Request::Command(place, bytes) => {
            let ticket = Ticket { connection: 1, request: number, kind: 1 };
            rig.shard.handle_command(ticket, rig.places[*place].group, bytes);
        }
        Request::Query(place, bytes) => {
            let ticket = Ticket { connection: 1, request: number, kind: 2 };
            let place = rig.places[*place];
            rig.shard.handle_query(ticket, place.group, OWNER, place.nsid, bytes);
        }
    }
}

/// The bytes of the turn's answers, all of which are good.
fn answers(rig: &mut CoreRig) -> u64 {
    let mut bytes = 0;
    for reply in rig.shard.replies().iter() {
        assert_eq!(reply.status, Status::Ok, "request {}", reply.ticket.request);
        bytes += reply.body.len() as u64;
    }
    rig.shard.replies().clear();
    bytes
}

/// A turn of a core whose groups, all led here, want nothing.
fn idle(scale: Scale) -> Body {
    let mut rig = CoreRig::leading(if scale == Scale::Full { 1000 } else { 10 });
    Box::new(move || {
        rig.begin();
        rig.hear();
        rig.complete();
        rig.shard.advance(rig.now, STAMP_MS);
        let told = answers(&mut rig);
        rig.leave(|_, _, _, _| ());
        rig.begin_operations();
        told
    })
}
