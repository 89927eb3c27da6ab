//! The simulated disk of one core: files whose 512-byte sectors are durable or not yet, and the operations on their way.
//!
//! ```text
//! submit(Write) ─▶ pending ─▶ complete ─▶ volatile ─▶ a sync that was submitted later completes ─▶ durable
//!                     │                      │
//!                     └──── power cut: each sector by itself, old or new ────▶ durable
//! ```
//! 1. Operations complete out of order, after a latency that the world draws.
//! 2. A sync makes durable every write that was complete when the sync was submitted, nothing later.
//! 3. A power cut keeps any subset of the sectors that are not durable; a kill keeps what was complete.
//! 4. A sync may lie: all read what it covers, and a power cut brings back what lay there before.
//! 5. What is durable may rot, and writes and reads may go astray, where that can be seen: unproven.rs.

mod astray;
mod damage;
mod file;
mod image;
mod platter;
mod reader;
mod sim_disk;
mod unproven;

pub use astray::{Astray, Misread};
pub use damage::Spoil;
pub use platter::OnPlatter;
pub use reader::SimLogReader;
pub use sim_disk::{Cut, SimDisk};
