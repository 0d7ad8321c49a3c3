//! Workflow: a `workflow()` call and the script that answers it (C40).
//!
//! | call | WorkflowCalled | ProvideScript | WorkflowStarted |
//! |---|---|---|---|
//! | of a known name or path | loaded at once | refused | begins in the host |
//! | of another name | refused at once | refused | refused |
//! | of a path to be read | open, asks for the file | loaded or refused | refused |

use crate::command::Refused;
use crate::effect::Effect;
use crate::event::Event;
use crate::options::clip_name;
use crate::run::{Batch, Run, externalise};
use crate::state::{CallRecord, RunState, Stage};
use serde::Serialize;
use serde_json::Value;
use skein_common::workflow::WorkflowRef;
use skein_common::{Digest, Payload};

/// Names that a refusal lists.
const NAMES_LISTED: usize = 50;

/// What a key is the SHA-256 of, as RFC 8785 canonical JSON. Version 1.
#[derive(Serialize)]
struct KeyOf<'a> {
    v: u32,
    kind: &'static str,
    target: &'a WorkflowRef,
    args: Option<Value>,
}

/// The key of a `workflow()` call, by which a replay knows it again.
#[must_use]
pub fn workflow_key(target: &WorkflowRef, args: Option<&str>) -> String {
    let args = args.and_then(|json| serde_json::from_str(json).ok());
    let key_of = KeyOf { v: 1, kind: "workflow", target, args };
    let canonical = serde_json_canonicalizer::to_vec(&key_of).unwrap_or_else(|_| target.to_string().into_bytes());
    Digest::of(&canonical).0
}

impl Run {
    /// Journals the call, and answers it at once unless a file has to be read first.
    pub(crate) fn call_workflow(
        &mut self,
        call: u32,
        target: WorkflowRef,
        args: Option<&str>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let (key, known) = (workflow_key(&target, args), self.state.known_source(&target).map(Payload::digest_as_blob));
        self.record(Event::WorkflowCalled { call, key, target: target.clone() }, batch)?;
        match (known, target) {
            (Some(digest), _) => self.loaded(call, digest, None, batch),
            (None, WorkflowRef::Name { name }) => {
                let message = self.state.no_such_workflow(&name);
                self.refuse_workflow(call, message, batch)
            }
            (None, WorkflowRef::Path { .. }) => Ok(()),
        }
    }

    /// A file was read, or could not be. Of two calls that asked for the same one, both get what the first was given.
    pub(crate) fn provide_script(
        &mut self,
        call: u32,
        read: Result<String, String>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        if self.state.stage != Stage::Running {
            return Err(Refused::WrongStage);
        }
        let Some(CallRecord::Workflow { target, open: true, .. }) = self.state.call(call) else {
            return Err(Refused::NotOpen);
        };
        match (self.state.known_source(target).map(Payload::digest_as_blob), read) {
            (Some(digest), _) => self.loaded(call, digest, None, batch),
            (None, Ok(text)) => {
                let digest = Digest::of(text.as_bytes());
                let source = externalise(Payload::text(text), &mut self.large_texts);
                self.loaded(call, digest, Some(source), batch)
            }
            (None, Err(reason)) => {
                let message = format!("workflow({target}): {reason}");
                self.refuse_workflow(call, message, batch)
            }
        }
    }

    fn loaded(&mut self, call: u32, digest: Digest, source: Option<Payload>, batch: &mut Batch) -> Result<(), Refused> {
        let (spent, cap_reached) = (self.state.budget.spent, self.state.cap_reached());
        self.record(Event::WorkflowLoaded { call, digest, source, spent, cap_reached }, batch)
    }

    pub(crate) fn refuse_workflow(&mut self, call: u32, message: String, batch: &mut Batch) -> Result<(), Refused> {
        let (spent, cap_reached) = (self.state.budget.spent, self.state.cap_reached());
        self.record(Event::WorkflowRefused { call, message, spent, cap_reached }, batch)
    }

    /// Gives the agents of a child their group: `▸ name`, and `▸ name #2` when the name has been there before.
    pub(crate) fn start_workflow(&mut self, call: u32, name: &str, batch: &mut Batch) -> Result<(), Refused> {
        let name = clip_name(name);
        let group = match self.state.workflow_names.get(&name) {
            None => format!("▸ {name}"),
            Some(before) => format!("▸ {name} #{}", before + 1),
        };
        self.record(Event::WorkflowStarted { call, name, group }, batch)
    }
}

impl RunState {
    /// The group of the agents of this `workflow()` call.
    pub(crate) fn group_of(&self, workflow: Option<u32>) -> Option<String> {
        match self.call(workflow?) {
            Some(CallRecord::Workflow { group, .. }) => group.clone(),
            _ => None,
        }
    }

    /// The script that answers a `workflow()` call.
    pub(crate) fn workflow_source(&self, call: u32) -> Option<&Payload> {
        match self.call(call) {
            Some(CallRecord::Workflow { target, .. }) => self.known_source(target),
            _ => None,
        }
    }

    fn known_source(&self, target: &WorkflowRef) -> Option<&Payload> {
        let submitted = self.spec.workflows.iter().find(|known| known.target == *target).map(|known| &known.source);
        submitted.or_else(|| match target {
            WorkflowRef::Path { path } => self.scripts_read.get(path),
            WorkflowRef::Name { .. } => None,
        })
    }

    fn no_such_workflow(&self, name: &str) -> String {
        let name_of = |target: &WorkflowRef| match target {
            WorkflowRef::Name { name } => Some(name.clone()),
            WorkflowRef::Path { .. } => None,
        };
        let mut names: Vec<String> = self.spec.workflows.iter().filter_map(|known| name_of(&known.target)).collect();
        if names.is_empty() {
            return format!("workflow('{name}'): no workflow with that name; none is saved");
        }
        let more = names.len().saturating_sub(NAMES_LISTED);
        names.truncate(NAMES_LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("workflow('{name}'): no workflow with that name. Known: {}{more}", names.join(", "))
    }

    /// The calls that wait for a file.
    pub(crate) fn open_workflows(&self) -> Vec<u32> {
        let is_open = |record: &CallRecord| matches!(record, CallRecord::Workflow { open: true, .. });
        (1u32..).zip(&self.calls).filter(|(_, record)| is_open(record)).map(|(call, _)| call).collect()
    }

    /// What a call still needs from outside.
    pub(crate) fn load_workflow(&self, call: u32) -> Option<Effect> {
        match self.call(call) {
            Some(CallRecord::Workflow { target: WorkflowRef::Path { path }, open: true, .. }) => {
                Some(Effect::LoadWorkflow { call, path: path.clone() })
            }
            _ => None,
        }
    }

    pub(crate) fn close_workflow(&mut self, call: u32, source: Option<&Payload>) -> Result<(), String> {
        let target = match self.call_mut(call) {
            Some(CallRecord::Workflow { target, open, .. }) if *open => {
                *open = false;
                target.clone()
            }
            _ => return Err(format!("there is no open workflow() call {call}")),
        };
        if let (WorkflowRef::Path { path }, Some(source)) = (target, source) {
            self.scripts_read.insert(path, source.clone());
        }
        Ok(())
    }

    pub(crate) fn enter_workflow(&mut self, call: u32, name: &str, title: &str) -> Result<(), String> {
        match self.call_mut(call) {
            Some(CallRecord::Workflow { open: false, group, .. }) if group.is_none() => {
                *group = Some(title.to_owned());
            }
            _ => return Err(format!("workflow() call {call} cannot begin")),
        }
        self.counts.workflows_started += 1;
        *self.workflow_names.entry(name.to_owned()).or_default() += 1;
        self.phases.group(title);
        Ok(())
    }

    fn call_mut(&mut self, call: u32) -> Option<&mut CallRecord> {
        let index = usize::try_from(call).ok()?.checked_sub(1)?;
        self.calls.get_mut(index)
    }
}
