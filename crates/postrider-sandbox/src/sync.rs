//! Locking, and waiting for a condition with a deadline.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// The guard, also after a panic elsewhere: the sandbox keeps plain data that is whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that tells whoever waits that a look is worthwhile.
#[derive(Debug)]
pub(crate) struct Changes(watch::Sender<()>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Changes {
    pub(crate) fn tell(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Whether the condition came true in time.
    pub(crate) async fn wait_until(&self, limit: Duration, condition: impl Fn() -> bool) -> bool {
        let mut changes = self.0.subscribe();
        let wait = async {
            while !condition() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok() || condition()
    }
}
