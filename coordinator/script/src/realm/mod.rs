//! One script's JavaScript realm: the engine with our globals, its job queue and its clock.

mod agent;
mod args;
mod children;
mod console;
mod dates;
mod executor;
mod failure;
mod globals;
mod hooks;
mod json_in;
mod json_out;
mod locale;
mod slots;
mod state;
mod timers;
mod workflow;

use std::path::Path;
use std::rc::Rc;

use boa_engine::builtins::promise::{PromiseState, ResolvingFunctions};
use boa_engine::context::ContextBuilder;
use boa_engine::error::EngineError;
use boa_engine::module::IdleModuleLoader;
use boa_engine::object::builtins::JsPromise;
use boa_engine::{Context, JsError, JsNativeError, JsObject, JsResult, JsString, JsValue, Source};
use skein_common::script::{Outcome, ScriptError, ScriptErrorKind, Settlement, Start, TurnEnd};

use crate::limits::HostLimits;
use crate::prepare::{Lines, Prepared, Wrapped};
use children::Child;
use executor::Executor;
pub(crate) use failure::Frame;
use hooks::{Hooks, JournalClock};
use json_out::Rules;
use state::{Intrinsics, Pending, Realms, Shared, Waiting};

/// The name of the author's file in stacks.
const SCRIPT_NAME: &str = "workflow.js";
const PRELUDE_NAME: &str = "<prelude>";
/// Of the engine's value stack: none, because the engine may forget that error (see [`Hooks`]). Memory ends it.
const VALUE_STACK_MAX: usize = 1 << 40;
const BUFFER_BYTES_MAX: u64 = 64 << 20;

/// A realm with all globals, built once in the zygote and used for one script.
#[derive(Debug)]
pub(crate) struct Realm {
    context: Context,
    executor: Rc<Executor>,
    hooks: Rc<Hooks>,
    clock: Rc<JournalClock>,
    shared: Rc<Shared>,
    realms: Rc<Realms>,
    children: Vec<Child>,
    instructions: u64,
    main: Option<JsPromise>,
    /// What was evaluated, to find the place of an error.
    source: Option<Wrapped>,
}

impl Realm {
    /// The instruction budget can be set only here.
    pub(crate) fn build(instructions: u64) -> JsResult<Self> {
        let executor = Rc::new(Executor::default());
        let hooks = Rc::new(Hooks::default());
        let clock = Rc::new(JournalClock::default());
        let mut context = ContextBuilder::new()
            .job_executor(executor.clone())
            .host_hooks(hooks.clone())
            .clock(clock.clone())
            // The default loader opens files.
            .module_loader(Rc::new(IdleModuleLoader))
            .can_block(false)
            .instructions_remaining(usize::try_from(instructions).unwrap_or(usize::MAX))
            .build()?;
        context.strict(true);
        context.runtime_limits_mut().set_stack_size_limit(VALUE_STACK_MAX);
        let shared = Rc::new(Shared::new(Intrinsics::capture(&mut context)?));
        let realms = Rc::new(Realms::new(shared.clone()));
        context.insert_data(realms.clone());
        globals::install(&mut context, &shared)?;
        let children = Vec::new();
        Ok(Self { context, executor, hooks, clock, shared, realms, children, instructions, main: None, source: None })
    }

    /// The same realm with the caps of one script.
    pub(crate) fn with_limits(self, limits: &HostLimits) -> JsResult<Self> {
        let mut realm = if self.instructions == limits.instructions { self } else { Self::build(limits.instructions)? };
        realm.executor.set_limit(limits.jobs);
        realm.context.runtime_limits_mut().set_recursion_limit(limits.recursion as usize);
        realm.shared.state.borrow_mut().limits = limits.clone();
        Ok(realm)
    }

    /// The first turn.
    pub(crate) fn start(&mut self, prepared: Prepared, start: &Start) -> TurnEnd {
        self.clock.set(start.now_ms);
        self.shared.state.borrow_mut().begin(start);
        let ran = self.evaluate(&prepared.source.program, start);
        self.source = Some(prepared.source);
        self.end_turn(ran)
    }

    fn evaluate(&mut self, program: &str, start: &Start) -> JsResult<()> {
        args::install(start.args.as_deref(), &mut self.context)?;
        globals::install_budget(start.budget_total, &mut self.context)?;
        let value = self.context.eval(Source::from_bytes(program).with_path(Path::new(SCRIPT_NAME)))?;
        let Some(promise) = value.as_object() else {
            return Err(JsNativeError::typ().with_message("the script is not a promise").into());
        };
        self.main = Some(JsPromise::from_object(promise)?);
        self.run_to_rest()
    }

    /// A later turn: one settlement, then the queue to idle and every child that ended is heard.
    pub(crate) fn settle(&mut self, settlement: Settlement) -> TurnEnd {
        self.clock.set(settlement.now_ms);
        let waiting = self.shared.state.borrow_mut().settled(&settlement);
        let ran = match waiting {
            Some(waiting) => self.deliver_to_owner(waiting, settlement),
            // A timer that was cleared in the meantime.
            None => Ok(()),
        };
        let ran = ran.and_then(|()| self.run_to_rest());
        self.end_turn(ran)
    }

    /// Values and errors are made in the realm that called.
    fn deliver_to_owner(&mut self, waiting: Waiting, settlement: Settlement) -> JsResult<()> {
        let Waiting { owner, pending } = waiting;
        let Some(realm) = owner.and_then(|call| self.realms.realm_of(call)) else {
            return self.deliver(pending, settlement);
        };
        let ours = self.context.enter_realm(realm);
        let delivered = self.deliver(pending, settlement);
        self.context.enter_realm(ours);
        delivered
    }

    fn deliver(&mut self, pending: Pending, settlement: Settlement) -> JsResult<()> {
        let Settlement { call, outcome, .. } = settlement;
        match (pending, outcome) {
            (Pending::Timer { callback, arguments }, Outcome::Fired) => {
                callback.call(&JsValue::undefined(), &arguments, &mut self.context)?;
                Ok(())
            }
            // Whatever else happens to a timer, its callback does not run.
            (Pending::Timer { .. }, _) => Ok(()),
            (Pending::Workflow(asked), Outcome::Text { text }) => self.start_child(call, asked, &text),
            (Pending::Workflow(asked), outcome) => self.settle_promise(&asked.resolvers, &asked.called, outcome),
            (Pending::Promise { resolvers, called }, outcome) => self.settle_promise(&resolvers, &called, outcome),
        }
    }

    fn settle_promise(&mut self, resolvers: &ResolvingFunctions, called: &JsObject, outcome: Outcome) -> JsResult<()> {
        let context = &mut self.context;
        let value = match outcome {
            Outcome::Text { text } => JsValue::from(JsString::from(text)),
            Outcome::Json { json } => json_in::read(&json, context)?,
            Outcome::Null => JsValue::null(),
            Outcome::Fired => JsValue::undefined(),
            Outcome::Error { name, message } => {
                let shared = shared(context)?;
                let error = failure::delivered_error(&name, &message, called, &shared, context)?;
                resolvers.reject.call(&JsValue::undefined(), &[error], context)?;
                return Ok(());
            }
        };
        resolvers.resolve.call(&JsValue::undefined(), &[value], context)?;
        Ok(())
    }

    fn end_turn(&mut self, ran: JsResult<()>) -> TurnEnd {
        let end = match ran {
            // The engine may forget this error, and then looks as if it waited.
            _ if self.context.instructions_remaining() == 0 => {
                Err(self.failure(EngineError::NoInstructionsRemain.into()))
            }
            Err(error) => Err(self.failure(error)),
            Ok(()) => match self.main.as_ref().map(JsPromise::state) {
                Some(PromiseState::Pending) => self.waiting(),
                Some(PromiseState::Fulfilled(value)) => self.result(&value),
                Some(PromiseState::Rejected(value)) => Err(self.thrown(&value)),
                None => Err(Lines::bare(ScriptErrorKind::Engine, "the script was settled before it was started")),
            },
        };
        let ops = std::mem::take(&mut self.shared.state.borrow_mut().ops);
        match end {
            Ok(Ended::Waiting { open }) => TurnEnd::Waiting { ops, open },
            Ok(Ended::Done { result, warnings }) => TurnEnd::Done { ops, result, warnings },
            Err(error) => TurnEnd::Failed { ops, error },
        }
    }

    fn waiting(&self) -> Result<Ended, ScriptError> {
        match self.shared.state.borrow().open() {
            0 => Err(Lines::bare(ScriptErrorKind::Stuck, "nothing left to wait for")),
            open => Ok(Ended::Waiting { open }),
        }
    }

    fn result(&mut self, value: &JsValue) -> Result<Ended, ScriptError> {
        if value.as_object().is_some_and(|object| object.is_callable()) {
            return Err(Lines::bare(ScriptErrorKind::Serialization, "workflow result cannot be a function"));
        }
        let rules = Rules::result(self.shared.state.borrow().limits.result_bytes);
        let mut warnings = Vec::new();
        match json_out::write(value, rules, &mut warnings, &self.shared, &mut self.context) {
            Ok(json) => {
                warnings.extend(self.unhandled_rejections());
                Ok(Ended::Done { result: json.unwrap_or_else(|| "null".to_owned()), warnings })
            }
            Err(json_out::Refused::Threw(error)) => Err(self.failure(error)),
            Err(refused) => Err(Lines::bare(refused.kind(), refused.sentence("the result"))),
        }
    }

    fn unhandled_rejections(&mut self) -> Vec<String> {
        let (values, more) = self.hooks.take_unhandled();
        let mut warnings: Vec<_> = values
            .iter()
            .map(|value| format!("unhandled rejection: {}", failure::describe(value, &mut self.context).title()))
            .collect();
        if more {
            warnings.push("more unhandled rejections were not listed".to_owned());
        }
        warnings
    }

    fn failure(&mut self, error: JsError) -> ScriptError {
        if self.executor.is_exhausted() {
            let jobs = self.shared.state.borrow().limits.jobs;
            return Lines::bare(
                ScriptErrorKind::Limit,
                format!("the script ran more promise jobs than its cap `jobs` of {jobs}"),
            );
        }
        if let Some(engine) = error.as_engine() {
            let (kind, message) = failure::engine(engine, &self.shared.state.borrow().limits);
            return self.placed(kind, message, &error.to_string());
        }
        match error.into_opaque(&mut self.context) {
            Ok(value) => self.thrown(&value),
            Err(error) => Lines::bare(ScriptErrorKind::Engine, format!("the interpreter failed: {error}")),
        }
    }

    fn thrown(&mut self, value: &JsValue) -> ScriptError {
        let message = failure::describe(value, &mut self.context).title();
        let stack = failure::stack(value, &self.shared, &mut self.context);
        self.placed(ScriptErrorKind::Thrown, message, &stack)
    }

    fn placed(&self, kind: ScriptErrorKind, message: String, stack: &str) -> ScriptError {
        let mut frames = failure::script_frames(stack, SCRIPT_NAME);
        if let Some(source) = &self.source {
            source.correct(&mut frames, &message);
        }
        let place = frames.iter().find_map(|frame| frame.place);
        let stack = failure::stack_text(&frames);
        ScriptError {
            kind,
            message,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            stack: (!stack.is_empty()).then_some(stack),
            source_line: place.zip(self.source.as_ref()).and_then(|(place, source)| source.lines.line(place.line)),
        }
    }
}

enum Ended {
    Waiting { open: u32 },
    Done { result: String, warnings: Vec<String> },
}

/// The state behind the globals of the current realm.
fn shared(context: &Context) -> JsResult<Rc<Shared>> {
    context
        .get_data::<Rc<Realms>>()
        .map(|realms| realms.of(context.realm()))
        .ok_or_else(|| JsNativeError::error().with_message("the realm has no host state").into())
}

/// A function of the realm from the intrinsics, taken before any script could replace it.
fn own_function(object: &JsObject, name: &str, context: &mut Context) -> JsResult<JsObject> {
    object
        .get(boa_engine::JsString::from(name), context)?
        .as_callable()
        .ok_or_else(|| JsNativeError::typ().with_message(format!("the engine has no {name}")).into())
}
