//! The progress bar of long work over bytes: on a terminal only, never with --json.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over bytes, with a count of files beside it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `bytes` in `files`; hidden when stderr is no terminal or `is_hidden`.
    pub fn new(verb: &'static str, files: usize, bytes: u64, is_hidden: bool) -> Progress {
        Progress::of(format!("{verb} {files} files"), bytes, is_hidden)
    }

    /// A bar of `bytes` with these words beside it; hidden likewise.
    pub fn of(words: String, bytes: u64, is_hidden: bool) -> Progress {
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        bar.set_message(words);
        Progress { bar }
    }

    /// Bytes done so far.
    pub fn done(&self) -> u64 {
        self.bar.position()
    }

    /// So many bytes more are done.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Prints a line above the bar, to stderr.
    pub fn note(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Does something that writes to stdout, with the bar out of the way.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
