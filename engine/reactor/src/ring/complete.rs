//! What each completion means: events for the loop, and the next step of its socket.
#![forbid(unsafe_code)]

use base::limits::REAP_MAX;
use io_uring::cqueue;
use seglog::OpError;

use super::{ACCEPT_REST, NO_SLOT, Ring};
use crate::clock;
use crate::io::Event;
use crate::op::{Kind, Token};
use crate::slots::{Receiving, State};

impl Ring {
    /// Hands over at most `REAP_MAX` completions; returns how many there were, with or without an event.
    pub(super) fn reap_completions(&mut self, each: &mut dyn FnMut(Event<'_>)) -> usize {
        let mut told = 0;
        while let Some((tag, errno)) = self.failed.pop_front() {
            each(Event::ConnectFailed { tag, errno });
            told += 1;
        }
        if std::mem::take(&mut self.has_mail) {
            each(Event::Doorbell);
            told += 1;
        }
        let mut batch = std::mem::take(&mut self.scratch);
        batch.extend(self.uring.completion().take(REAP_MAX));
        told += batch.len();
        for completion in batch.drain(..) {
            self.complete(&completion, each);
        }
        self.scratch = batch;
        self.pool.publish();
        told
    }

    fn complete(&mut self, completion: &cqueue::Entry, each: &mut dyn FnMut(Event<'_>)) {
        self.counters.completions += 1;
        let has_more = cqueue::more(completion.flags());
        if !has_more {
            self.inflight -= 1;
        }
        let result = completion.result();
        let token = Token::unpack(completion.user_data()).expect("the kernel returns the names it was given");
        match token.kind {
            Kind::Accept => self.complete_accept(token.index as usize, result, has_more, each),
            Kind::Recv => self.complete_recv(token, result, completion.flags(), each),
            Kind::Send => self.complete_send(token, result, each),
            Kind::Connect => self.complete_connect(token, result, each),
            Kind::Cancel => self.complete_cancel(token, result),
            Kind::Close => self.complete_close(token, each),
            Kind::Disk => self.complete_disk(token, result, each),
            Kind::Doorbell => self.complete_doorbell(result, each),
        }
    }

    fn complete_accept(&mut self, index: usize, result: i32, has_more: bool, each: &mut dyn FnMut(Event<'_>)) {
        self.listeners[index].is_armed = has_more;
        if result >= 0 {
            match self.slots.insert(Ring::accepted_fd(result), State::Open, 0) {
                Ok(slot) if !self.is_stopping => {
                    self.counters.accepts += 1;
                    self.arm_recv(slot);
                    each(Event::Accepted { tag: self.listeners[index].tag, socket: self.slots.id(slot) });
                }
                Ok(_) => {}
                Err(fd) => {
                    drop(fd);
                    self.counters.refused += 1;
                    self.pause_accept(index);
                }
            }
        } else if matches!(-result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) {
            // The next one would fail as well: rest, so that the core does not spin. `enter` arms it again.
            self.listeners[index].rearm_at = clock::mono() + ACCEPT_REST;
        }
        let listener = &self.listeners[index];
        let is_resting = listener.rearm_at > clock::mono();
        if !listener.is_armed && !listener.is_paused && !is_resting && !self.is_stopping {
            self.arm_accept(index);
        }
    }

    /// Connections wait in the backlog of the kernel until slots are free; `enter` arms the accept again.
    fn pause_accept(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if !listener.is_paused {
            listener.is_paused = true;
            if listener.is_armed {
                self.push_cancel_accept(index);
            }
        }
    }

    fn complete_recv(&mut self, token: Token, result: i32, flags: u32, each: &mut dyn FnMut(Event<'_>)) {
        let buffer = cqueue::buffer_select(flags);
        if let Some(id) = buffer {
            self.pool.take(id);
        }
        let has_more = cqueue::more(flags);
        let mut is_open = false;
        match self.slots.named(token) {
            Some(slot) => {
                is_open = slot.state == State::Open;
                if !has_more {
                    slot.inflight -= 1;
                    slot.receiving = Receiving::Idle;
                }
            }
            None => self.counters.late += 1,
        }
        if let Some(id) = buffer {
            if result > 0 && is_open && !self.is_stopping {
                self.counters.recvs += 1;
                self.counters.bytes_received += u64::from(result.unsigned_abs());
                let bytes = self.pool.bytes(id, result.unsigned_abs());
                each(Event::Received { socket: self.slots.id(token.index), bytes });
            }
            self.pool.put(id);
        }
        if self.slots.named(token).is_none() || self.is_stopping {
            return;
        }
        if is_open {
            match -result {
                0 => self.begin_close(token.index, 0),
                libc::ENOBUFS => {
                    self.counters.no_buffers += 1;
                    let socket = self.slots.id(token.index);
                    let slot = self.slots.at(token.index);
                    if !slot.is_paused && slot.receiving == Receiving::Idle {
                        slot.receiving = Receiving::Starved;
                        self.starved.push(socket);
                    }
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                errno @ 1.. => self.begin_close(token.index, errno),
                _ => {}
            }
        }
        self.settle(token.index);
    }

    fn complete_send(&mut self, token: Token, result: i32, each: &mut dyn FnMut(Event<'_>)) {
        let Some(slot) = self.slots.named(token) else {
            self.counters.late += 1;
            return;
        };
        slot.inflight -= 1;
        let mut buffer = slot.sending.take().expect("the buffer stays until its completion");
        let is_open = slot.state == State::Open;
        if result >= 0 {
            self.counters.sends += 1;
            self.counters.bytes_sent += u64::from(result.unsigned_abs());
        }
        if is_open && !self.is_stopping {
            if usize::try_from(result).is_ok_and(|sent| sent == buffer.len()) {
                buffer.clear();
                each(Event::Sent { socket: self.slots.id(token.index), buffer });
            } else {
                // The kernel sends all (MSG_WAITALL) unless the connection broke in between.
                self.begin_close(token.index, if result < 0 { -result } else { libc::EPIPE });
            }
        }
        self.settle(token.index);
    }

    fn complete_connect(&mut self, token: Token, result: i32, each: &mut dyn FnMut(Event<'_>)) {
        let Some(slot) = self.slots.named(token) else {
            self.counters.late += 1;
            return;
        };
        slot.inflight -= 1;
        slot.address = None;
        let tag = slot.tag;
        if self.is_stopping {
            return;
        }
        if result == 0 {
            slot.state = State::Open;
            slot.is_announced = true;
            each(Event::Connected { tag, socket: self.slots.id(token.index) });
            self.settle(token.index);
        } else {
            slot.state = State::Closing;
            each(Event::ConnectFailed { tag, errno: -result });
            self.settle(token.index);
        }
    }

    fn complete_cancel(&mut self, token: Token, result: i32) {
        if token.index == NO_SLOT {
            return;
        }
        let Some(slot) = self.slots.named(token) else {
            self.counters.late += 1;
            return;
        };
        slot.inflight -= 1;
        if slot.state == State::Closing && slot.inflight > 0 && result < 0 && !self.is_stopping {
            // The operation was just running, so the cancel found it in between; it must not stay.
            self.push_cancel_socket(token.index);
        } else if slot.state == State::Open
            && slot.receiving == Receiving::Cancelling
            && result < 0
            && !self.is_stopping
        {
            // Likewise for a pause, unless it was taken back meanwhile.
            if slot.is_paused {
                self.push_cancel_recv(token.index);
            } else {
                slot.receiving = Receiving::Armed;
            }
        }
        self.settle(token.index);
    }

    fn complete_close(&mut self, token: Token, each: &mut dyn FnMut(Event<'_>)) {
        let Some(slot) = self.slots.named(token) else {
            self.counters.late += 1;
            return;
        };
        slot.inflight -= 1;
        let (errno, is_announced) = (slot.errno, slot.is_announced);
        let socket = self.slots.id(token.index);
        self.slots.release(token.index);
        if is_announced {
            each(Event::Closed { socket, errno });
        }
    }

    fn complete_disk(&mut self, token: Token, result: i32, each: &mut dyn FnMut(Event<'_>)) {
        let op = self.disk[token.index as usize].take().expect("a log operation completes once");
        self.disk_free.push(token.index);
        if token.generation == 1 {
            self.counters.syncs += 1;
        } else {
            self.counters.writes += 1;
        }
        let result = u32::try_from(result).map_err(|_| OpError::Errno(-result));
        each(Event::DiskDone { token: op, result });
    }

    fn complete_doorbell(&mut self, result: i32, each: &mut dyn FnMut(Event<'_>)) {
        if self.is_stopping {
            return;
        }
        assert!(result == 8 || result == -libc::EINTR, "an eventfd is read whole, but the result was {result}");
        self.counters.doorbells += 1;
        self.arm_doorbell();
        each(Event::Doorbell);
    }

    /// The next step of a socket after something of it ended.
    fn settle(&mut self, index: u32) {
        if self.is_stopping {
            return;
        }
        let slot = self.slots.at(index);
        match slot.state {
            State::Open if slot.receiving == Receiving::Idle && !slot.is_paused => self.arm_recv(index),
            State::Closing if slot.inflight == 0 => self.push_close(index),
            _ => {}
        }
    }
}
