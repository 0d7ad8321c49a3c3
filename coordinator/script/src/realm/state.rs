//! What the globals remember between calls: of the whole run, and of each realm in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use boa_engine::JsNativeError;
use boa_engine::builtins::promise::ResolvingFunctions;
use boa_engine::property::PropertyKey;
use boa_engine::realm::Realm;
use boa_engine::{Context, JsObject, JsResult, JsValue, js_string};
use skein_common::script::{Call, CallKind, Op, Outcome, Settlement, Start};
use skein_common::workflow::WorkflowRef;

use super::own_function;
use crate::limits::HostLimits;

const LINE_BYTES_MAX: usize = 1 << 20;
const CAP_ERROR: &str = "WorkflowAgentCapError";

/// Whose realm it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The run's own script.
    Run,
    /// The script that a `workflow()` call started (C40).
    Child { call: u32, name: String },
}

impl Owner {
    /// The `workflow()` call; `None` for the run's own script.
    pub(super) fn call(&self) -> Option<u32> {
        match self {
            Self::Run => None,
            Self::Child { call, .. } => Some(*call),
        }
    }
}

/// State of the run, and what one realm has for itself. Handles held from here keep their objects alive.
#[derive(Debug)]
pub(super) struct Shared {
    /// One for all realms of the run.
    pub(super) state: Rc<RefCell<State>>,
    pub(super) intrinsics: Intrinsics,
    pub(super) owner: Owner,
    phase: RefCell<Option<String>>,
}

impl Shared {
    pub(super) fn new(intrinsics: Intrinsics) -> Self {
        Self { state: Rc::default(), intrinsics, owner: Owner::Run, phase: RefCell::default() }
    }

    /// Another realm of the same run.
    pub(super) fn of_child(&self, call: u32, name: String, intrinsics: Intrinsics) -> Self {
        Self { state: self.state.clone(), intrinsics, owner: Owner::Child { call, name }, phase: RefCell::default() }
    }

    pub(super) fn phase(&self) -> Option<String> {
        self.phase.borrow().clone()
    }

    /// Records a call of this realm and returns its number.
    pub(super) fn call(&self, kind: CallKind, pending: Pending) -> u32 {
        self.state.borrow_mut().call(kind, self.owner.call(), pending)
    }

    pub(super) fn clear_timer(&self, call: u32) {
        self.state.borrow_mut().clear_timer(call, self.owner.call());
    }

    pub(super) fn log(&self, text: &str) {
        let line = self.named(text);
        self.state.borrow_mut().log(line);
    }

    /// What people read of a child begins with its name.
    pub(super) fn named(&self, text: &str) -> String {
        match &self.owner {
            Owner::Run => text.to_owned(),
            Owner::Child { name, .. } => format!("[{name}] {text}"),
        }
    }

    /// The phases of a child are its own: people see its agents in one group.
    pub(super) fn enter_phase(&self, title: String) {
        let mut state = self.state.borrow_mut();
        if let Some(title) = state.admit_phase(title) {
            if self.owner == Owner::Run {
                state.ops.push(Op::Phase { title: title.clone() });
            }
            self.phase.replace(Some(title));
        }
    }
}

/// All realms of a run, for the globals to find their own.
#[derive(Debug)]
pub(super) struct Realms {
    run: Rc<Shared>,
    children: RefCell<Vec<(Realm, Rc<Shared>)>>,
}

impl Realms {
    pub(super) fn new(run: Rc<Shared>) -> Self {
        Self { run, children: RefCell::default() }
    }

    pub(super) fn of(&self, realm: &Realm) -> Rc<Shared> {
        let children = self.children.borrow();
        let child = children.iter().find(|(known, _)| known == realm).map(|(_, shared)| shared);
        child.unwrap_or(&self.run).clone()
    }

    pub(super) fn realm_of(&self, call: u32) -> Option<Realm> {
        let children = self.children.borrow();
        children.iter().find(|(_, shared)| shared.owner.call() == Some(call)).map(|(realm, _)| realm.clone())
    }

    pub(super) fn add(&self, realm: Realm, shared: Rc<Shared>) {
        self.children.borrow_mut().push((realm, shared));
    }

    /// Forgets children of which nothing can run any more.
    pub(super) fn retain(&self, can_run: impl Fn(u32) -> bool) {
        self.children.borrow_mut().retain(|(_, shared)| shared.owner.call().is_some_and(&can_run));
    }
}

/// Engine functions that the host itself uses, taken before a script could replace them (C9).
#[derive(Debug)]
pub(super) struct Intrinsics {
    pub(super) is_array: JsObject,
    pub(super) object_keys: JsObject,
    pub(super) error_stack: JsObject,
    /// Of the prelude: remembers an error as delivered by the host.
    pub(super) mark_delivered: RefCell<Option<JsObject>>,
}

impl Intrinsics {
    pub(super) fn capture(context: &mut Context) -> JsResult<Self> {
        let constructors = context.intrinsics().constructors();
        let (array, object) = (constructors.array().constructor(), constructors.object().constructor());
        let error_prototype = constructors.error().prototype();
        let stack = error_prototype.borrow().properties().get(&PropertyKey::from(js_string!("stack")));
        let error_stack = stack
            .as_ref()
            .and_then(|descriptor| descriptor.get())
            .and_then(JsValue::as_callable)
            .ok_or_else(|| JsNativeError::typ().with_message("the engine has no error stacks"))?;
        Ok(Self {
            is_array: own_function(&array, "isArray", context)?,
            object_keys: own_function(&object, "keys", context)?,
            error_stack,
            mark_delivered: RefCell::default(),
        })
    }
}

/// A call that waits for its settlement.
#[derive(Debug)]
pub(super) enum Pending {
    Promise {
        resolvers: ResolvingFunctions,
        /// Has the stack of the call.
        called: JsObject,
    },
    Timer {
        callback: JsObject,
        arguments: Vec<JsValue>,
    },
    Workflow(Asked),
}

/// A `workflow()` call.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: WorkflowRef,
    /// JSON text; `None` is `undefined`.
    pub(super) args: Option<String>,
    pub(super) resolvers: ResolvingFunctions,
    /// Has the stack of the call.
    pub(super) called: JsObject,
}

/// A call and whose it is.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owner: Option<u32>,
    pub(super) pending: Pending,
}

/// Values that turns change.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) limits: HostLimits,
    pub(super) ops: Vec<Op>,
    pub(super) now_ms: i64,
    pub(super) spent: u64,
    pub(super) budget_total: Option<u64>,
    /// What `parallel` and `pipeline` throw since the agent cap was reached.
    pub(super) cap_message: Option<String>,
    seed: u64,
    calls: u32,
    logs: u32,
    phases: u32,
    workflows: u32,
    pending: BTreeMap<u32, Waiting>,
}

impl State {
    pub(super) fn begin(&mut self, start: &Start) {
        self.now_ms = start.now_ms;
        self.seed = start.seed;
        self.budget_total = start.budget_total;
    }

    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.pending.len()).unwrap_or(u32::MAX)
    }

    /// Whether calls of this child wait for their settlement.
    pub(super) fn waits_in(&self, child: u32) -> bool {
        self.pending.values().any(|waiting| waiting.owner == Some(child))
    }

    fn call(&mut self, kind: CallKind, owner: Option<u32>, pending: Pending) -> u32 {
        self.calls += 1;
        self.ops.push(Op::Call(Call { id: self.calls, kind }));
        self.pending.insert(self.calls, Waiting { owner, pending });
        self.calls
    }

    /// A realm clears its own timers only.
    fn clear_timer(&mut self, call: u32, owner: Option<u32>) {
        let waiting = self.pending.get(&call).filter(|waiting| waiting.owner == owner);
        if matches!(waiting, Some(Waiting { pending: Pending::Timer { .. }, .. })) {
            self.pending.remove(&call);
            self.ops.push(Op::ClearTimer { call });
        }
    }

    /// Takes over what a settlement says besides its outcome, and returns whom it is for.
    pub(super) fn settled(&mut self, settlement: &Settlement) -> Option<Waiting> {
        self.now_ms = settlement.now_ms;
        self.spent = settlement.spent;
        if settlement.cap_reached {
            let refusal = match &settlement.outcome {
                Outcome::Error { name, message } if name == CAP_ERROR => Some(message.clone()),
                _ => None,
            };
            match (&mut self.cap_message, refusal) {
                (message, Some(refusal)) => *message = Some(refusal),
                (message @ None, None) => *message = Some("Workflow agent() call cap reached.".to_owned()),
                (Some(_), None) => {}
            }
        }
        self.pending.remove(&settlement.call)
    }

    pub(super) fn log(&mut self, text: String) {
        let max = self.limits.logs_max;
        if self.logs < max {
            self.ops.push(Op::Log { text: shortened(text) });
        } else if self.logs == max {
            self.ops.push(Op::Log { text: format!("log limit `logs_max` of {max} lines reached: no more are kept") });
        }
        self.logs = self.logs.saturating_add(1);
    }

    /// The title as it is kept, or `None` beyond the cap.
    fn admit_phase(&mut self, title: String) -> Option<String> {
        let max = self.limits.phases_max;
        let admitted = (self.phases < max).then(|| shortened(title));
        if self.phases == max {
            self.ops.push(Op::Log { text: format!("phase limit `phases_max` of {max} reached: no more are kept") });
        }
        self.phases = self.phases.saturating_add(1);
        admitted
    }

    /// Counts a `workflow()` call; the error of the first beyond the cap, and of every later one.
    pub(super) fn admit_workflow(&mut self) -> JsResult<()> {
        let max = self.limits.workflows_max;
        if self.workflows >= max {
            let message = format!("workflow() call cap `workflows_max` of {max} reached");
            return Err(JsNativeError::error().with_message(message).into());
        }
        self.workflows += 1;
        Ok(())
    }

    /// The next number in [0, 1) of the run's own sequence (splitmix64).
    pub(super) fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        text.push('…');
    }
    text
}
