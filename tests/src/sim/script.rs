//! A model of a script: a Rust future in the place of the interpreter, polled after every settlement.

use super::models;
use async_trait::async_trait;
use skein_backend::faulty::Random;
use skein_common::script::{
    Call, CallKind, Loaded, Op, Outcome, ScriptError, ScriptErrorKind, Settlement, Start, TurnEnd,
};
use skein_coordinator::driver::{Script, Scripts};
use skein_script::{HostLimits, LoadError};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a model gives back: JSON text, or the message it throws.
pub type Returned = Result<String, String>;
type Body = Pin<Box<dyn Future<Output = Returned> + Send>>;

/// The globals of a model.
#[derive(Debug, Clone, Default)]
pub struct Globals(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    made: u32,
    settled: BTreeMap<u32, Outcome>,
    ops: Vec<Op>,
}

impl Globals {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, kind: CallKind) -> u32 {
        let mut calls = self.calls();
        calls.made += 1;
        let id = calls.made;
        calls.ops.push(Op::Call(Call { id, kind }));
        id
    }

    /// `agent(prompt, options)`; called at once, awaited or not.
    pub fn agent(&self, prompt: &str, options: Option<&str>) -> impl Future<Output = Outcome> + use<> {
        let options = options.map(str::to_owned);
        let (prompt, phase, workflow) = (prompt.to_owned(), None, None);
        let kind = CallKind::Agent { prompt, options, options_not_object: false, phase, workflow };
        self.settlement(self.call(kind))
    }

    /// `setTimeout`, and its call for `clear`.
    pub fn timer(&self, delay_ms: u64) -> (u32, impl Future<Output = Outcome> + use<>) {
        let id = self.call(CallKind::Timer { delay_ms });
        (id, self.settlement(id))
    }

    pub fn clear(&self, call: u32) {
        self.calls().ops.push(Op::ClearTimer { call });
    }

    pub fn log(&self, text: &str) {
        self.calls().ops.push(Op::Log { text: text.to_owned() });
    }

    pub fn phase(&self, title: &str) {
        self.calls().ops.push(Op::Phase { title: title.to_owned() });
    }

    fn settlement(&self, id: u32) -> impl Future<Output = Outcome> + use<> {
        let globals = self.clone();
        std::future::poll_fn(move |_| match globals.calls().settled.get(&id) {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => Poll::Pending,
        })
    }
}

/// All of them, polled in their order each time.
pub async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send>>>) -> Vec<T> {
    let mut futures = futures;
    let mut values: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, value) in futures.iter_mut().zip(&mut values) {
            if value.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *value = Some(ready);
            }
        }
        if values.iter().all(Option::is_some) {
            Poll::Ready(values.drain(..).flatten().collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

/// The calls that were settled, in the order in which the newest script heard of them.
pub type Heard = Arc<Mutex<Vec<u32>>>;

/// Longer than the driver waits for a turn before it appends what had arrived; real time.
const SLOW_TURN: std::time::Duration = std::time::Duration::from_millis(8);

/// Turns of a world, counted over all its lives, that do not go as usual.
#[derive(Debug, Default)]
pub struct OddTurns {
    slow_at: Option<u32>,
    lost_at: Option<u32>,
    turns: AtomicU32,
    met: AtomicU32,
}

impl OddTurns {
    /// In few worlds, since a slow turn takes real time.
    pub fn draw(random: &mut Random) -> OddTurns {
        let mut one_of = |of| {
            let turn = u32::try_from(random.below(12)).unwrap_or(0);
            (random.below(of) == 0).then_some(turn)
        };
        OddTurns { slow_at: one_of(8), lost_at: one_of(6), ..OddTurns::default() }
    }

    pub fn loses_a_host(&self) -> bool {
        self.lost_at.is_some()
    }

    /// How many there were.
    pub fn met(&self) -> u32 {
        self.met.load(Ordering::SeqCst)
    }

    /// Takes the time of a slow turn; whether the host is lost.
    async fn take(&self) -> bool {
        let turn = Some(self.turns.fetch_add(1, Ordering::SeqCst));
        if turn == self.slow_at {
            self.met.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(SLOW_TURN).await;
        }
        if turn == self.lost_at {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        turn == self.lost_at
    }
}

/// Loads models by name: the script's text is the name.
#[derive(Debug, Clone, Default)]
pub struct Models {
    pub heard: Heard,
    /// Mutant: of two settlements the later comes first.
    pub reorders: bool,
    pub odd: Arc<OddTurns>,
}

#[async_trait]
impl Scripts for Models {
    async fn load(&self, source: &str, _: &HostLimits) -> Result<(Box<dyn Script>, Loaded), LoadError> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let globals = Globals::default();
        let Some(body) = models::body(source, globals.clone()) else {
            return Err(failure(ScriptErrorKind::Syntax, format!("there is no model {source}")).into());
        };
        let model = ModelScript { globals, body, heard: self.heard.clone(), odd: self.odd.clone() };
        let script: Box<dyn Script> = if self.reorders { Box::new(Reordering(model)) } else { Box::new(model) };
        Ok((script, Loaded::default()))
    }

    /// Who hibernates is the owner's choice.
    fn live(&self) -> usize {
        0
    }
}

struct ModelScript {
    globals: Globals,
    body: Body,
    heard: Heard,
    odd: Arc<OddTurns>,
}

impl ModelScript {
    fn poll(&mut self) -> TurnEnd {
        let poll = self.body.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let mut calls = self.globals.calls();
        let ops = std::mem::take(&mut calls.ops);
        match poll {
            Poll::Ready(Ok(result)) => TurnEnd::Done { ops, result, warnings: Vec::new() },
            Poll::Ready(Err(message)) => TurnEnd::Failed { ops, error: failure(ScriptErrorKind::Thrown, message) },
            Poll::Pending => {
                let open = calls.made.saturating_sub(u32::try_from(calls.settled.len()).unwrap_or(0));
                TurnEnd::Waiting { ops, open }
            }
        }
    }
}

#[async_trait]
impl Script for ModelScript {
    async fn start(&mut self, _: Start) -> TurnEnd {
        self.poll()
    }

    async fn settle(&mut self, items: Vec<Settlement>) -> TurnEnd {
        if self.odd.take().await {
            let error = failure(ScriptErrorKind::Engine, String::from("the host is gone"));
            return TurnEnd::Failed { ops: Vec::new(), error };
        }
        let mut all_ops = Vec::new();
        for settlement in items {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(settlement.call);
            self.globals.calls().settled.insert(settlement.call, settlement.outcome);
            match self.poll() {
                TurnEnd::Waiting { ops, .. } => all_ops.extend(ops),
                TurnEnd::Done { ops, result, warnings } => {
                    all_ops.extend(ops);
                    return TurnEnd::Done { ops: all_ops, result, warnings };
                }
                TurnEnd::Failed { ops, error } => {
                    all_ops.extend(ops);
                    return TurnEnd::Failed { ops: all_ops, error };
                }
            }
        }
        TurnEnd::Waiting { ops: all_ops, open: 1 }
    }

    fn set_turn_ms(&mut self, _: u64) {}
}

/// Mutant: hands settlements on in another order than the journal's.
struct Reordering(ModelScript);

#[async_trait]
impl Script for Reordering {
    async fn start(&mut self, start: Start) -> TurnEnd {
        self.0.start(start).await
    }

    async fn settle(&mut self, mut items: Vec<Settlement>) -> TurnEnd {
        items.reverse();
        self.0.settle(items).await
    }

    fn set_turn_ms(&mut self, _: u64) {}
}

fn failure(kind: ScriptErrorKind, message: String) -> ScriptError {
    ScriptError { kind, message, line: None, column: None, stack: None, source_line: None }
}
