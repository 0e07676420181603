//! Where what is wrong is written down, and whoever waits is woken.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::check::{Check, Violation};

/// A value that machines on other threads and the scenario both look at.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// What a thread left behind when it panicked is still worth looking at.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The violations of one scenario.
#[derive(Debug, Default)]
pub(crate) struct Board {
    violations: Mutex<Vec<Violation>>,
    bell: Condvar,
}

impl Board {
    /// Writes down a violation; of each rule and node only the first.
    pub(crate) fn blame(&self, check: Check, node: Option<usize>, what: impl Into<String>) {
        let mut all = self.lock();
        if !all.iter().any(|v| v.check == check && v.node == node) {
            all.push(Violation { check, node, what: what.into() });
        }
        self.bell.notify_all();
    }

    /// Something happened: whoever waits should look again.
    pub(crate) fn ring(&self) {
        self.bell.notify_all();
    }

    /// Waits until the bell rings, but no longer than this. A ring between the
    /// caller's look and its wait is missed, so the limit is to be short.
    pub(crate) fn wait(&self, limit: Duration) {
        drop(self.bell.wait_timeout(self.lock(), limit));
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().clone()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
