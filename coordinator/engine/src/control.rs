//! Control: what people do to a run that lives, and to its agents (R8, C33). Races are settled here: what is journalled
//! first counts.
//!
//! | run | Pause | Resume | Stop |
//! |---|---|---|---|
//! | running | paused | refused | stopping |
//! | paused | nothing | running | stopping |
//! | stopping | refused | refused | nothing |
//! | returned | refused | refused | ended completed |
//!
//! | agent | StopAgent | RestartAgent | SkipAgent |
//! |---|---|---|---|
//! | waits | ended stopped | refused | ended skipped |
//! | runs | interrupted, then ended stopped | interrupted, then waits for another attempt | refused |
//! | interrupted to restart | interrupted to stop | nothing | refused |
//! | interrupted to stop | nothing | refused | refused |
//! | ended | refused | refused | refused |

use crate::agent::{Agent, AgentState, Interruption};
use crate::command::Refused;
use crate::event::{Event, TaskEnd};
use crate::options::CallRefusal;
use crate::reuse::call_key;
use crate::run::{Batch, Run, null};
use crate::state::Stage;
use crate::workflow::workflow_key;
use skein_common::AgentNumber;
use skein_common::agent::{Cause, Usage};
use skein_common::run::RunStatus;
use skein_common::script::{Call, CallKind};

/// What every pending and later call of a stopped run rejects with (C33).
pub(crate) const RUN_STOPPED: &str = "run stopped";
/// Why an agent has no result, for the record.
const BY_A_PERSON: &str = "by a person";

impl Run {
    /// Agents that run finish and their results are held back; nothing new starts (R8).
    pub(crate) fn pause(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        self.check_controllable()?;
        if self.state.paused { Ok(()) } else { self.record(Event::Paused {}, batch) }
    }

    pub(crate) fn resume(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        self.check_controllable()?;
        if self.state.paused { self.record(Event::Resumed {}, batch) } else { Err(Refused::NotPaused) }
    }

    /// Every pending call rejects, running agents are cancelled, finished results are kept. A script that returned has
    /// its result already: the run completes without what it never awaited.
    pub(crate) fn stop(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stop_requested {
            return Ok(());
        }
        self.record(Event::StopRequested {}, batch)?;
        match self.state.stage {
            Stage::Running => {
                self.reject_open_agents(batch)?;
                self.reject_open_workflows(batch)
            }
            Stage::Returned => self.stop_agents(batch, |_| true),
            Stage::Submitted | Stage::Ended(_) => self.end(RunStatus::Stopped, None, batch),
        }
    }

    fn reject_open_agents(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        for number in self.open_agents(|_| true) {
            self.end_task(number, TaskEnd::RunStopped {}, Usage::default(), Vec::new(), batch)?;
        }
        Ok(())
    }

    fn reject_open_workflows(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        for call in self.state.open_workflows() {
            self.refuse_workflow(call, RUN_STOPPED.to_owned(), batch)?;
        }
        Ok(())
    }

    /// A call of a script that was stopped.
    pub(crate) fn refuse_stopped(&mut self, call: Call, batch: &mut Batch) -> Result<(), Refused> {
        match call.kind {
            CallKind::Timer { delay_ms } => self.record(Event::TimerSet { call: call.id, delay_ms }, batch),
            CallKind::Agent { prompt, options, .. } => {
                let key = call_key(&self.state.spec, &prompt, options.as_deref());
                let refusal = CallRefusal { name: "Error", message: RUN_STOPPED.to_owned() };
                self.refuse(call.id, None, key, refusal, false, batch)
            }
            CallKind::Workflow { target, args } => {
                let key = workflow_key(&target, args.as_deref());
                self.record(Event::WorkflowCalled { call: call.id, key, target }, batch)?;
                self.refuse_workflow(call.id, RUN_STOPPED.to_owned(), batch)
            }
        }
    }

    /// The script of a stopped run is at its end, or its grace is.
    pub(crate) fn end_stopped(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        self.end(RunStatus::Stopped, None, batch)
    }

    pub(crate) fn stop_agent(&mut self, number: AgentNumber, batch: &mut Batch) -> Result<(), Refused> {
        let agent = self.controllable_agent(number)?;
        let (attempts, interrupted) = (agent.attempts, agent.interrupted);
        match agent.state {
            AgentState::Running { .. } if interrupted == Some(Interruption::Stop) => Ok(()),
            AgentState::Running { .. } => {
                let event = Event::AgentInterrupted { agent: number, attempt: attempts, then: Interruption::Stop };
                self.record(event, batch)
            }
            _ => self.end_by_person(number, Cause::Stopped, Usage::default(), batch),
        }
    }

    pub(crate) fn restart_agent(&mut self, number: AgentNumber, batch: &mut Batch) -> Result<(), Refused> {
        let agent = self.controllable_agent(number)?;
        match (&agent.state, agent.interrupted) {
            (AgentState::Running { .. }, Some(Interruption::Stop)) => Err(Refused::AgentEnding { agent: number }),
            (AgentState::Running { .. }, Some(Interruption::Restart)) => Ok(()),
            (AgentState::Running { attempt, .. }, None) => {
                let (attempt, then) = (*attempt, Interruption::Restart);
                self.record(Event::AgentInterrupted { agent: number, attempt, then }, batch)
            }
            _ => Err(Refused::AgentWaits { agent: number }),
        }
    }

    pub(crate) fn skip_agent(&mut self, number: AgentNumber, batch: &mut Batch) -> Result<(), Refused> {
        match self.controllable_agent(number)?.state {
            AgentState::Queued => self.end_by_person(number, Cause::Skipped, Usage::default(), batch),
            _ => Err(Refused::AgentStarted { agent: number }),
        }
    }

    /// The attempt that a person ended is over, however it ended: what it still gave is not used.
    pub(crate) fn interruption_over(
        &mut self,
        number: AgentNumber,
        then: Interruption,
        usage: Usage,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let attempt = self.state.agent(number).ok_or(Refused::NotRunning)?.attempts;
        if then == Interruption::Stop || self.state.stage != Stage::Running {
            return self.end_by_person(number, Cause::Stopped, usage, batch);
        }
        let message = format!("restarted {BY_A_PERSON}");
        let (cause, detail, ours) = (Cause::Interrupted, None, false);
        self.record(Event::AttemptEnded { agent: number, attempt, cause, detail, message, usage, ours }, batch)
    }

    fn end_by_person(
        &mut self,
        number: AgentNumber,
        cause: Cause,
        usage: Usage,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let message = format!("{} {BY_A_PERSON}", cause.name());
        self.end_task(number, null(cause, None, message), usage, Vec::new(), batch)
    }

    fn controllable_agent(&self, number: AgentNumber) -> Result<&Agent, Refused> {
        let agents = self.state.agents.len();
        let agent = self.state.agent(number).ok_or(Refused::NoSuchAgent { agent: number, agents })?;
        if !agent.is_open() {
            return Err(Refused::AgentEnded { agent: number });
        }
        self.check_controllable()?;
        Ok(agent)
    }

    fn check_controllable(&self) -> Result<(), Refused> {
        match self.state.stage {
            Stage::Returned => Err(Refused::Returned),
            Stage::Ended(_) => Err(Refused::Ended),
            Stage::Submitted | Stage::Running if self.state.stop_requested => Err(Refused::Stopping),
            Stage::Submitted | Stage::Running => Ok(()),
        }
    }
}
