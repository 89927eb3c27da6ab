//! Byte buffers on their way, by number, each used by as many as hold it.

use crate::observe::Token;

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Of replies to a client: where each took effect.
    tokens: Vec<(u64, Token)>,
    holders: u32,
}

/// The buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    all: Vec<Buffer>,
    free: Vec<u32>,
}

impl Buffers {
    /// Memory for something to send.
    pub fn spare(&mut self) -> Vec<u8> {
        match self.free.last() {
            Some(number) => std::mem::take(&mut self.all[*number as usize].bytes),
            None => Vec::new(),
        }
    }

    /// Takes bytes in, held once.
    pub fn add(&mut self, bytes: Vec<u8>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(Buffer::default());
            self.all.len() as u32 - 1
        });
        let buffer = &mut self.all[number as usize];
        (buffer.bytes, buffer.holders) = (bytes, 1);
        number
    }

    pub fn hold(&mut self, number: u32) {
        self.all[number as usize].holders += 1;
    }

    pub fn release(&mut self, number: u32) {
        let buffer = &mut self.all[number as usize];
        buffer.holders -= 1;
        if buffer.holders == 0 {
            buffer.tokens.clear();
            self.free.push(number);
        }
    }

    pub fn bytes(&self, number: u32) -> &[u8] {
        &self.all[number as usize].bytes
    }

    pub fn bytes_mut(&mut self, number: u32) -> &mut Vec<u8> {
        &mut self.all[number as usize].bytes
    }

    /// Lends the bytes out while the world works with them; they come back by [`Buffers::put_back`].
    pub fn lend(&mut self, number: u32) -> Vec<u8> {
        std::mem::take(&mut self.all[number as usize].bytes)
    }

    pub fn put_back(&mut self, number: u32, bytes: Vec<u8>) {
        self.all[number as usize].bytes = bytes;
    }

    pub fn tokens_mut(&mut self, number: u32) -> &mut Vec<(u64, Token)> {
        &mut self.all[number as usize].tokens
    }
}
