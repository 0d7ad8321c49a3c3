//! Scripts that the run's own script started with `workflow()` (C40): each in a realm of its own, all on one job queue.
//!
//! Only JSON text passes between the realms, so that neither holds a function of the other.

use std::path::Path;
use std::rc::Rc;

use boa_engine::builtins::promise::{PromiseState, ResolvingFunctions};
use boa_engine::object::builtins::JsPromise;
use boa_engine::realm::Realm as JsRealm;
use boa_engine::{JsError, JsNativeError, JsObject, JsResult, JsValue, Source};
use skein_common::script::{Op, ScriptError, ScriptErrorKind};
use skein_common::workflow::WorkflowRef;

use super::failure::{self, Described};
use super::json_out::{self, Refused, Rules};
use super::slots::{CAP_ERROR, OF_THE_SCRIPT, STOPPED};
use super::state::{Asked, Intrinsics, Shared};
use super::{Realm, args, globals, json_in};
use crate::prepare::{Lines, Prepared, Wrapped, prepare_untrusted};

/// A script that was started and has not ended.
#[derive(Debug)]
pub(super) struct Child {
    call: u32,
    name: String,
    /// What the engine calls its file.
    file: String,
    realm: JsRealm,
    shared: Rc<Shared>,
    source: Wrapped,
    main: JsPromise,
    resolvers: ResolvingFunctions,
    called: JsObject,
}

/// Why `workflow()` rejects.
struct Thrown {
    error: Described,
    /// Line and column in the child's file.
    place: Option<(u32, u32)>,
}

impl Thrown {
    fn new(name: &str, message: String) -> Self {
        Self { error: Described { name: Some(name.to_owned()), message }, place: None }
    }
}

impl Realm {
    /// Runs the script that a `workflow()` call was settled with, up to its first await.
    pub(super) fn start_child(&mut self, call: u32, asked: Asked, source: &str) -> JsResult<()> {
        let bytes_max = self.shared.state.borrow().limits.source_bytes;
        let prepared = if source.len() as u64 > bytes_max {
            let message =
                format!("the script has {} bytes, more than the cap `source_bytes` of {bytes_max}", source.len());
            Err(Lines::bare(ScriptErrorKind::Limit, message))
        } else {
            prepare_untrusted(source)
        };
        let Asked { target, args, resolvers, called } = asked;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let name = match &target {
                    WorkflowRef::Name { name } => name,
                    WorkflowRef::Path { path } => path,
                };
                return self.reject(name, does_not_parse(&target, &error), &resolvers, &called);
            }
        };
        let name = match target {
            WorkflowRef::Name { name } => name,
            WorkflowRef::Path { .. } => prepared.loaded.meta.name.clone(),
        };
        self.announce(call, &name, &prepared.loaded.warnings);
        let realm = self.context.create_realm()?;
        let ours = self.context.enter_realm(realm.clone());
        let begun = self.begin_child(call, &name, &realm, &prepared, args.as_deref());
        self.context.enter_realm(ours);
        let (shared, main, file) = begun?;
        let source = prepared.source;
        self.children.push(Child { call, name, file, realm, shared, source, main, resolvers, called });
        Ok(())
    }

    fn announce(&self, call: u32, name: &str, warnings: &[String]) {
        let mut state = self.shared.state.borrow_mut();
        state.ops.push(Op::WorkflowStarted { call, name: name.to_owned() });
        state.log(format!("▸ {name} started"));
        state.ops.extend(warnings.iter().map(|text| Op::Warning { text: format!("[{name}] {text}") }));
    }

    /// In the child's realm, which is the current one.
    fn begin_child(
        &mut self,
        call: u32,
        name: &str,
        realm: &JsRealm,
        prepared: &Prepared,
        args: Option<&str>,
    ) -> JsResult<(Rc<Shared>, JsPromise, String)> {
        let context = &mut self.context;
        let shared = Rc::new(self.shared.of_child(call, name.to_owned(), Intrinsics::capture(context)?));
        self.realms.add(realm.clone(), shared.clone());
        globals::install(context, &shared)?;
        args::install(args, context)?;
        let budget_total = self.shared.state.borrow().budget_total;
        globals::install_budget(budget_total, context)?;
        let file = format!("child-{call}.js");
        let value = context.eval(Source::from_bytes(&prepared.source.program).with_path(Path::new(&file)))?;
        let Some(promise) = value.as_object() else {
            return Err(JsNativeError::typ().with_message("the script is not a promise").into());
        };
        Ok((shared, JsPromise::from_object(promise)?, file))
    }

    /// Runs the job queue until it is empty and no child has ended unnoticed.
    pub(super) fn run_to_rest(&mut self) -> JsResult<()> {
        loop {
            self.context.run_jobs()?;
            let is_over = |child: &Child| !matches!(child.main.state(), PromiseState::Pending);
            let Some(index) = self.children.iter().position(is_over) else { break };
            let child = self.children.remove(index);
            self.end_child(&child)?;
        }
        let state = self.shared.state.borrow();
        // Nothing else holds functions of a child: without a call that may settle, nothing of it runs again.
        self.realms.retain(|call| self.children.iter().any(|child| child.call == call) || state.waits_in(call));
        Ok(())
    }

    fn end_child(&mut self, child: &Child) -> JsResult<()> {
        let ours = self.context.enter_realm(child.realm.clone());
        let came_to = match child.main.state() {
            PromiseState::Rejected(value) => {
                self.hooks.handled(&child.main);
                Ok(Err(self.thrown_by(child, &value)))
            }
            PromiseState::Fulfilled(value) => self.result_of(child, &value),
            PromiseState::Pending => Ok(Ok(None)),
        };
        self.context.enter_realm(ours);
        match came_to? {
            Ok(json) => {
                let value = match json {
                    Some(json) => json_in::read(&json, &mut self.context)?,
                    None => JsValue::null(),
                };
                self.shared.state.borrow_mut().log(format!("▸ {} done", child.name));
                child.resolvers.resolve.call(&JsValue::undefined(), &[value], &mut self.context)?;
                Ok(())
            }
            Err(thrown) => self.reject(&child.name, thrown, &child.resolvers, &child.called),
        }
    }

    /// The result as JSON text (C11), which is read again in the realm of the caller.
    fn result_of(&mut self, child: &Child, value: &JsValue) -> JsResult<Result<Option<String>, Thrown>> {
        if value.as_object().is_some_and(|object| object.is_callable()) {
            return Ok(Err(Thrown::new("TypeError", "workflow result cannot be a function".to_owned())));
        }
        let rules = Rules::result(child.shared.state.borrow().limits.result_bytes);
        let mut warnings = Vec::new();
        let written = json_out::write(value, rules, &mut warnings, &child.shared, &mut self.context);
        let warnings = warnings.into_iter().map(|text| Op::Warning { text: child.shared.named(&text) });
        self.shared.state.borrow_mut().ops.extend(warnings);
        match written {
            Ok(json) => Ok(Ok(json)),
            Err(Refused::Threw(error)) if error.as_engine().is_some() => Err(error),
            Err(Refused::Threw(error)) => {
                let value = JsError::into_opaque(error, &mut self.context)?;
                Ok(Err(self.thrown_by(child, &value)))
            }
            Err(refused) => {
                let name = if refused.kind() == ScriptErrorKind::Limit { "RangeError" } else { "TypeError" };
                Ok(Err(Thrown::new(name, refused.sentence("the result"))))
            }
        }
    }

    fn thrown_by(&mut self, child: &Child, value: &JsValue) -> Thrown {
        let error = failure::describe(value, &mut self.context);
        let stack = failure::stack(value, &child.shared, &mut self.context);
        let mut frames = failure::script_frames(&stack, &child.file);
        child.source.correct(&mut frames, &error.title());
        let place = frames.iter().find_map(|frame| frame.place).map(|place| (place.line, place.column));
        Thrown { error, place }
    }

    /// Rejects the promise of `workflow()` and keeps the failure for the record: its place is in the child's file, of
    /// which the error in the caller's realm knows nothing.
    fn reject(
        &mut self,
        name: &str,
        thrown: Thrown,
        resolvers: &ResolvingFunctions,
        called: &JsObject,
    ) -> JsResult<()> {
        let Thrown { error, place } = thrown;
        let kind = error.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("Error");
        if error.message != STOPPED {
            let at = place.map(|(line, column)| format!(" at {line}:{column}")).unwrap_or_default();
            let failed = Op::SlotFailed {
                place: format!("▸ {name}"),
                message: format!("{}{at}", error.title()),
                script_error: OF_THE_SCRIPT.contains(&kind),
                refused: kind == CAP_ERROR || error.message.starts_with("budget exhausted"),
            };
            self.shared.state.borrow_mut().ops.push(failed);
        }
        let value = failure::delivered_error(kind, &error.message, called, &self.shared, &mut self.context)?;
        resolvers.reject.call(&JsValue::undefined(), &[value], &mut self.context)?;
        Ok(())
    }
}

fn does_not_parse(target: &WorkflowRef, error: &ScriptError) -> Thrown {
    let name = match error.kind {
        ScriptErrorKind::Syntax | ScriptErrorKind::Meta => "SyntaxError",
        ScriptErrorKind::Limit => "RangeError",
        _ => "Error",
    };
    let message = error.message.strip_prefix("SyntaxError: ").unwrap_or(&error.message);
    let place = error.line.zip(error.column);
    let at = place.map(|(line, column)| format!(" at {line}:{column}")).unwrap_or_default();
    Thrown::new(name, format!("workflow({target}): {message}{at}"))
}
