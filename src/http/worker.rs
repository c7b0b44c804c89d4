//! What the connections of one thread share: settings, memory, the date, and how far its end has come.

use std::{cell::Cell, future::Future, pin::Pin, rc::Rc, sync::Arc, task::Context};

use tokio::sync::{Notify, futures::OwnedNotified};

use super::{date::Date, memory::Memory, settings::Settings, tasks::Tasks};

/// How far a worker's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// No new work.
    Stopping,
    /// What is still under way is broken off.
    Cut,
}

/// One thread's own.
pub(super) struct Worker {
    pub settings: Arc<Settings>,
    pub tasks: Tasks,
    pub memory: Memory,
    pub date: Date,
    phase: Cell<Phase>,
    changed: Arc<Notify>,
}

impl Worker {
    /// A running worker; it follows its tasks' orders to end. To be made inside a `LocalSet`.
    pub fn new(settings: Arc<Settings>, tasks: Tasks) -> Rc<Self> {
        let worker = Rc::new(Self {
            settings,
            tasks: tasks.clone(),
            memory: Memory::default(),
            date: Date::default(),
            phase: Cell::new(Phase::Running),
            changed: Arc::default(),
        });
        let following = Rc::clone(&worker);
        tasks.upstreams.spawn_local(async move {
            following.tasks.stopping.cancelled().await;
            following.goes_on_to(Phase::Stopping);
            following.tasks.cut.cancelled().await;
            following.goes_on_to(Phase::Cut);
        });
        worker
    }

    fn goes_on_to(&self, phase: Phase) {
        self.phase.set(phase);
        self.changed.notify_waiters();
    }

    /// Whether no new work is wanted.
    pub fn is_stopping(&self) -> bool {
        self.phase.get() != Phase::Running
    }

    /// Wakes a task when the phase changes.
    pub fn news(self: &Rc<Self>) -> News {
        News {
            worker: Rc::clone(self),
            heard: None,
            change: Box::pin(Arc::clone(&self.changed).notified_owned()),
        }
    }
}

/// One task's ear for the worker's phase.
pub(super) struct News {
    worker: Rc<Worker>,
    heard: Option<Phase>,
    change: Pin<Box<OwnedNotified>>,
}

impl News {
    /// The phase; the task is woken when another begins. A task that has asked once is registered: asking costs nothing.
    pub fn hear(&mut self, cx: &mut Context<'_>) -> Phase {
        let phase = self.worker.phase.get();
        if self.heard != Some(phase) {
            self.heard = Some(phase);
            self.change = Box::pin(Arc::clone(&self.worker.changed).notified_owned());
            // All on one thread: no change can come between the look and this.
            let _ = self.change.as_mut().poll(cx);
        }
        phase
    }
}
