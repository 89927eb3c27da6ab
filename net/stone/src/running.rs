//! A role that runs on threads of its own until it is told to stop.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Running work. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Runs `work` on `runtime` until it ends or is stopped, which is a point where it waits. What is in flight then gets
    /// `stop_time_max`.
    ///
    /// Errors: the process cannot have another thread.
    pub fn spawn(
        name: &'static str,
        runtime: Runtime,
        work: impl Future<Output = ()> + Send + 'static,
        stop_time_max: Duration,
    ) -> std::io::Result<Running> {
        let (stop, mut stopped) = watch::channel(false);
        let main = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = work => {}
                    // An error is a dropped handle: a stop as well.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
            runtime.shutdown_timeout(stop_time_max);
        };
        let thread = std::thread::Builder::new().name(format!("{name}-main")).spawn(main)?;
        Ok(Running { name, stop, thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread may have ended already; then nobody listens.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(role = self.name, "the role's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn dropping_it_ends_its_work() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let work = async move {
            let _inner = inner;
            std::future::pending::<()>().await;
        };
        let running =
            Running::spawn("test", runtime.expect("a runtime"), work, Duration::from_secs(1)).expect("a thread");
        drop(running);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
