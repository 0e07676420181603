//! Who woke the task.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// What a waker stands for: the id of a link, or one of those below. Link ids
/// count up from 0 and never come near.
pub(crate) type Token = u64;
pub(crate) const LISTENER: Token = Token::MAX;
pub(crate) const DATAGRAMS: Token = Token::MAX - 1;
/// The commands are looked at in any case.
pub(crate) const COMMANDS: Token = Token::MAX - 2;
pub(crate) const ALARM: Token = Token::MAX - 3;

/// Collects the tokens whose wakers were woken, each once, and wakes the task
/// for the first of them.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    woken: BTreeSet<Token>,
    /// The task, if it has taken all that was woken before.
    task: Option<Waker>,
}

impl Wakes {
    /// A waker that stands for `token`.
    pub(crate) fn waker(self: &Arc<Self>, token: Token) -> Waker {
        Arc::new(Bell { token, wakes: Arc::clone(self) }).into()
    }

    /// All that were woken since the last call. `task` is woken for the next.
    pub(crate) fn take(&self, task: &Waker) -> BTreeSet<Token> {
        let mut state = self.lock();
        match &mut state.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
        std::mem::take(&mut state.woken)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held, and the state holds at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bell {
    token: Token,
    wakes: Arc<Wakes>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.wakes.lock();
        state.woken.insert(self.token);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_token_is_told_once_and_the_task_woken_once_a_turn() {
        let wakes = Arc::new(Wakes::default());
        let (task, other) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let (a, b) = (wakes.waker(7), wakes.waker(3));
        // Woken before anybody has asked: told by the first question.
        a.wake_by_ref();
        let waker = Waker::from(Arc::clone(&task));
        assert_eq!(wakes.take(&waker), BTreeSet::from([7]));
        (0..1_000).for_each(|_| a.wake_by_ref());
        b.wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(wakes.take(&waker), BTreeSet::from([3, 7]));
        assert_eq!(wakes.take(&waker), BTreeSet::new());
        // The driver may move to another task.
        wakes.take(&Waker::from(Arc::clone(&other)));
        a.wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
    }
}
