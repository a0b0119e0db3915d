//! Several workers over what is to be done, which may turn out to be more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Tasks that wait, and how many are being worked on.
struct State<T> {
    waiting: VecDeque<T>,
    active: usize,
}

/// What is to be done.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T: Send> Queue<T> {
    /// Works on all tasks, on so many threads, and on those that are added meanwhile.
    pub fn work_off(
        tasks: impl IntoIterator<Item = T>,
        workers: usize,
        work: impl Fn(T, &Self) + Sync,
    ) {
        let queue = Self {
            state: Mutex::new(State {
                waiting: tasks.into_iter().collect(),
                active: 0,
            }),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(|| {
                    while let Some(task) = queue.next() {
                        let _done = Done(&queue);
                        work(task, &queue);
                    }
                });
            }
        });
    }

    /// Puts tasks before those that wait, in their order: what was begun is ended first.
    pub fn add(&self, tasks: Vec<T>) {
        let mut state = self.lock();
        for task in tasks.into_iter().rev() {
            state.waiting.push_front(task);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next task; none when there are none, and none can come.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.waiting.pop_front() {
                state.active += 1;
                return Some(task);
            }
            if state.active == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a task, also when its worker panics: the others would wait for ever.
struct Done<'a, T: Send>(&'a Queue<T>);

impl<T: Send> Drop for Done<'_, T> {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn tasks_that_turn_up_are_done_as_well() {
        for workers in [1, 4] {
            let seen = Mutex::new(Vec::new());
            Queue::work_off([3_u32, 1], workers, |task, queue| {
                seen.lock().unwrap().push(task);
                if task > 0 {
                    queue.add(vec![task - 1]);
                }
            });
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, [0, 0, 1, 1, 2, 3], "{workers}");
        }
    }

    #[test]
    fn what_was_begun_is_ended_first() {
        let seen = Mutex::new(Vec::new());
        Queue::work_off(["a", "b"], 1, |task, queue| {
            seen.lock().unwrap().push(task);
            if task == "a" {
                queue.add(vec!["a1", "a2"]);
            }
        });
        assert_eq!(seen.into_inner().unwrap(), ["a", "a1", "a2", "b"]);
    }
}
