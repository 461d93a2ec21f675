//! Gates: whoever comes to one waits until it is let pass.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) actor: usize,
    pub(crate) what: &'static str,
}

#[derive(Default)]
pub(crate) struct Gates(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<(Waiting, oneshot::Sender<()>)>,
    /// Who was let pass last. Everybody else waits, so who comes to a gate next is he, in whatever task.
    last: usize,
}

impl Gates {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A gate on the way of the actor that is on its way now.
    pub(crate) async fn pass(&self, what: &'static str) {
        let actor = self.state().last;
        self.pass_as(actor, what).await;
    }

    /// A gate on an actor's way.
    pub(crate) async fn pass_as(&self, actor: usize, what: &'static str) {
        let (pass, passed) = oneshot::channel();
        self.state().waiting.push((Waiting { actor, what }, pass));
        // With the gates themselves gone, nobody is held up.
        passed.await.ok();
    }

    /// Who waits, in the order of their coming.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        self.state().waiting.iter().map(|(waiting, _)| *waiting).collect()
    }

    /// Lets one pass.
    pub(crate) fn release(&self, place: usize) -> Waiting {
        let (waiting, pass) = {
            let mut state = self.state();
            let (waiting, pass) = state.waiting.remove(place);
            state.last = waiting.actor;
            (waiting, pass)
        };
        pass.send(()).ok();
        waiting
    }
}
