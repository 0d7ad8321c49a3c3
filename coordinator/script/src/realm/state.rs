//! What the globals remember between calls.

use std::cell::RefCell;
use std::collections::BTreeMap;

use boa_engine::JsNativeError;
use boa_engine::builtins::promise::ResolvingFunctions;
use boa_engine::property::PropertyKey;
use boa_engine::{Context, JsObject, JsResult, JsValue, js_string};
use skein_common::script::{Call, CallKind, Op, Outcome, Settlement, Start};

use super::own_function;
use crate::limits::HostLimits;

const LINE_BYTES_MAX: usize = 1 << 20;
const CAP_ERROR: &str = "WorkflowAgentCapError";

/// State and intrinsics of one realm. Handles held from here keep their objects alive.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: RefCell<State>,
    pub(super) intrinsics: Intrinsics,
}

impl Shared {
    pub(super) fn new(intrinsics: Intrinsics) -> Self {
        Self { state: RefCell::default(), intrinsics }
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
}

/// Values that turns change.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) limits: HostLimits,
    pub(super) ops: Vec<Op>,
    pub(super) phase: Option<String>,
    pub(super) now_ms: i64,
    pub(super) spent: u64,
    pub(super) budget_total: Option<u64>,
    /// What `parallel` and `pipeline` throw since the agent cap was reached.
    pub(super) cap_message: Option<String>,
    seed: u64,
    calls: u32,
    logs: u32,
    phases: u32,
    pending: BTreeMap<u32, Pending>,
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

    /// Records a call and returns its number.
    pub(super) fn call(&mut self, kind: CallKind, pending: Pending) -> u32 {
        self.calls += 1;
        self.ops.push(Op::Call(Call { id: self.calls, kind }));
        self.pending.insert(self.calls, pending);
        self.calls
    }

    pub(super) fn clear_timer(&mut self, call: u32) {
        if matches!(self.pending.get(&call), Some(Pending::Timer { .. })) {
            self.pending.remove(&call);
            self.ops.push(Op::ClearTimer { call });
        }
    }

    /// Takes over what a settlement says besides its outcome, and returns whom it is for.
    pub(super) fn settled(&mut self, settlement: &Settlement) -> Option<Pending> {
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

    pub(super) fn enter_phase(&mut self, title: String) {
        let max = self.limits.phases_max;
        if self.phases < max {
            let title = shortened(title);
            self.phase = Some(title.clone());
            self.ops.push(Op::Phase { title });
        } else if self.phases == max {
            self.ops.push(Op::Log { text: format!("phase limit `phases_max` of {max} reached: no more are kept") });
        }
        self.phases = self.phases.saturating_add(1);
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
