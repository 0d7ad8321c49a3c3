//! What the engine asks its host: no code from strings, UTC, journal time, and a list of unhandled rejections.

use std::cell::{Cell, RefCell};

use boa_engine::builtins::function::OrdinaryFunction;
use boa_engine::builtins::promise::{OperationType, Promise, PromiseState};
use boa_engine::context::HostHooks;
use boa_engine::context::time::{Clock, JsInstant};
use boa_engine::job::JobCallback;
use boa_engine::object::builtins::JsPromise;
use boa_engine::realm::Realm;
use boa_engine::{Context, JsNativeError, JsObject, JsResult, JsString, JsValue};

use super::BUFFER_BYTES_MAX;

const UNHANDLED_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Hooks {
    unhandled: RefCell<Vec<JsObject<Promise>>>,
    overflowed: Cell<bool>,
}

impl Hooks {
    /// Somebody has read why this promise was rejected.
    pub(super) fn handled(&self, promise: &JsPromise) {
        let promise: &JsObject<Promise> = promise;
        self.unhandled.borrow_mut().retain(|other| !JsObject::equals(other, promise));
    }

    /// The reasons of promises that were rejected and never handled, and whether there were more.
    pub(super) fn take_unhandled(&self) -> (Vec<JsValue>, bool) {
        let promises = std::mem::take(&mut *self.unhandled.borrow_mut());
        let reasons = promises.into_iter().filter_map(|promise| match JsPromise::from(promise).state() {
            PromiseState::Rejected(reason) => Some(reason),
            _ => None,
        });
        (reasons.collect(), self.overflowed.get())
    }
}

impl HostHooks for Hooks {
    /// The engine forgets an error that no script can catch when it ends an async function after an `await`: the
    /// function would never settle. Depth is therefore not counted there; the memory cap and the native stack end
    /// such a recursion. (Instructions are asked for after every turn.)
    fn call_job_callback(
        &self,
        job: &JobCallback,
        this: &JsValue,
        arguments: &[JsValue],
        context: &mut Context,
    ) -> JsResult<JsValue> {
        let callback = job.callback();
        if callback.is::<OrdinaryFunction>() {
            return callback.call(this, arguments, context);
        }
        let limit = context.runtime_limits().recursion_limit();
        context.runtime_limits_mut().set_recursion_limit(usize::MAX);
        let result = callback.call(this, arguments, context);
        context.runtime_limits_mut().set_recursion_limit(limit);
        result
    }

    fn ensure_can_compile_strings(
        &self,
        _realm: Realm,
        _parameters: &[JsString],
        _body: &JsString,
        _direct: bool,
        _context: &mut Context,
    ) -> JsResult<()> {
        Err(JsNativeError::eval().with_message("Code generation from strings disallowed for this context").into())
    }

    fn local_timezone_offset_seconds(&self, _unix_time_seconds: i64) -> i32 {
        0
    }

    fn max_buffer_size(&self, _context: &mut Context) -> u64 {
        BUFFER_BYTES_MAX
    }

    fn promise_rejection_tracker(&self, promise: &JsObject<Promise>, operation: OperationType, _context: &mut Context) {
        let mut unhandled = self.unhandled.borrow_mut();
        match operation {
            OperationType::Reject if unhandled.len() < UNHANDLED_MAX => unhandled.push(promise.clone()),
            OperationType::Reject => self.overflowed.set(true),
            OperationType::Handle => unhandled.retain(|other| !JsObject::equals(other, promise)),
        }
    }
}

/// Stands still during a turn.
#[derive(Debug, Default)]
pub(super) struct JournalClock(Cell<i64>);

impl JournalClock {
    pub(super) fn set(&self, now_ms: i64) {
        self.0.set(now_ms);
    }
}

impl Clock for JournalClock {
    fn now(&self) -> JsInstant {
        let now_ms = u64::try_from(self.0.get()).unwrap_or(0);
        JsInstant::new(now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000)
    }

    fn system_time_millis(&self) -> i64 {
        self.0.get()
    }
}
