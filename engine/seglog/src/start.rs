//! Making a recovered log live: a new segment, whose first frame ends every doubt about the tail before it.

use std::collections::VecDeque;

use base::limits::LOG_BLOCK_BYTES;
use base::{Mono, Prng};

use crate::commit::Commit;
use crate::disk::{Disk, Slot};
use crate::format::footer::FooterBuilder;
use crate::format::frame;
use crate::format::meta::META_COPIES;
use crate::gc::Gc;
use crate::group::Health;
use crate::log::{OpenFrame, SegLog, slot_of};
use crate::recover::Recovered;
use crate::scrub::Scrub;
use crate::segment::{Segment, Stage};
use crate::settings::Settings;

impl<D: Disk> SegLog<D> {
    /// Makes a recovered log live. `disk` has every segment of [`Recovered::segments`] open in its slot, for reading.
    ///
    /// The first frame, a tail reset that repeats all terms, votes and doubts, is issued by the first
    /// [`SegLog::handle_turn_end`]. Nothing may be acknowledged, and no port be open, before
    /// [`SegLog::persisted_epoch`] has reached the [`SegLog::open_epoch`] of this moment.
    ///
    /// A `meta` that fewer than all copies say is repeated as it is before another is written: where it stands already
    /// its bytes stay, so a power cut can neither bring back an older one nor leave none.
    #[must_use]
    pub fn start(recovered: Recovered, settings: Settings, disk: D) -> SegLog<D> {
        let segment = |live: &crate::RecoveredSegment| Segment {
            seq: live.segment_seq,
            slot: live.slot,
            salt: 0,
            stage: Stage::Sealed,
            has_file: true,
            has_image: false,
            footer: FooterBuilder::default(),
        };
        let last_frame_seq = recovered.report.last_frame_seq;
        let slots = recovered.live.len() as u32;
        let mut groups = Vec::new();
        let mut fault_changes = Vec::new();
        for log in recovered.logs {
            if !log.faulty.is_empty() {
                base::mark::hit!("seglog.start.faulty_group");
                fault_changes.push(log.group);
            }
            let at = slot_of(log.group, settings.cores);
            groups.resize_with(groups.len().max(at + 1), || None);
            groups[at] = Some(Box::new(log));
        }
        let mut log = SegLog {
            disk,
            groups,
            segments: recovered.live.iter().map(segment).collect::<VecDeque<_>>(),
            active_seq: recovered.next_segment_seq,
            open: OpenFrame {
                frame_seq: recovered.next_frame_seq,
                start: LOG_BLOCK_BYTES as u32,
                flags: frame::FIRST | frame::RESET,
                prev_frame_seq: last_frame_seq,
                ..OpenFrame::default()
            },
            echo: recovered.echo,
            echo_states: recovered.echo_states,
            echo_others: recovered.echo_others,
            is_echoed: false,
            unknown_bits: recovered.unknown_bits,
            last_header_crc: recovered.last_header_crc,
            next_life: recovered.next_life,
            wall_ms: 0,
            now: Mono(0),
            salts: Prng::new(settings.salt_seed),
            commit: Commit::new(
                last_frame_seq,
                recovered.next_frame_seq,
                recovered.meta.meta_seq,
                recovered.free_files,
                slots,
            ),
            gc: Gc::new(recovered.meta.oldest_segment_seq),
            scrub: Scrub::default(),
            fault_changes,
            settings,
        };
        log.begin_segment();
        log.repeat_states();
        log.commit.leftovers = recovered.leftovers;
        if (1..META_COPIES as u32).contains(&recovered.report.meta_copies) {
            base::mark::hit!("seglog.start.meta_repeated");
            log.commit.ask_meta(&recovered.meta);
        }
        log.request_meta();
        log
    }

    fn repeat_states(&mut self) {
        for at in 0..self.groups.len() {
            let Some(log) = &self.groups[at] else { continue };
            let (group, has_state, health) = (log.group, log.has_state(), log.stored_health);
            if has_state {
                base::mark::hit!("seglog.start.state_repeated");
                self.write_hard_state(group);
            }
            if health != Health::Clean {
                base::mark::hit!("seglog.start.health_repeated");
                self.set_health(group, health);
            }
        }
    }

    /// A `meta` of this start is on disk: no copy names the leftovers any more.
    pub(crate) fn retire_leftovers(&mut self) {
        let leftovers = std::mem::take(&mut self.commit.leftovers);
        if !leftovers.is_empty() {
            let slots: Vec<(Slot, u64)> = leftovers.iter().map(|seq| (self.commit.take_slot(), *seq)).collect();
            base::mark::hit!("seglog.start.leftovers_retired");
            let segments = slots.len();
            self.commit.ask_retire(slots, segments, 0);
        }
    }
}
