//! The keeping thread: looks after free space, and reads all tables again by and by (the scrub).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::asked::Asked;
use crate::job::Done;
use crate::scrub::Scrub;
use crate::settings::{OpenError, OpenSettings};
use crate::space::Space;
use crate::tree::Tree;
use crate::worker::Outbox;

/// One step: a look at free space, and a second's share of the scrub.
const STEP: Duration = Duration::from_secs(1);

/// Starts the thread; it ends with [`Space::end`].
pub(crate) fn start(
    tree: Arc<Tree>,
    space: Arc<Space>,
    settings: &OpenSettings,
    outbox: Outbox,
    asked: Arc<Asked>,
) -> Result<JoinHandle<()>, OpenError> {
    let mut scrub = Scrub::new(settings.scrub_bytes_per_second, settings.scrub_every);
    std::thread::Builder::new()
        .name(format!("store-c{}-keep", settings.core))
        .spawn(move || {
            while space.sleep(STEP) {
                space.look();
                asked.look();
                for damage in scrub.step(&tree, STEP) {
                    outbox.send(Done::Damaged(damage));
                }
            }
        })
        .map_err(|source| OpenError::Thread { dir: settings.tree_dir(), source })
}
