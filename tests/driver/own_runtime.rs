//! A runtime on threads of its own.

use std::future::Future;

use anyhow::{Context, Result};
use tokio::{runtime::Runtime, task::JoinHandle};

/// A tokio runtime beside the test's own. Dropping it ends what runs on it at once and without a goodbye: connections
/// close and nothing is sent any more, as when a process is killed.
///
/// What keeps the time of requests has one of these too, so that a busy test does not delay it.
pub(crate) struct OwnRuntime {
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    /// Starts `threads` threads called `name`.
    pub(crate) fn new(name: &str, threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(|| format!("no threads for {name}"))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a task on it.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.as_ref().expect("the runtime is there until it is dropped").spawn(task)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed inside another runtime, and a killed process waits for nothing either.
            runtime.shutdown_background();
        }
    }
}
