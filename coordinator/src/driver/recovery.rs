//! Taking a run over: fold its journal, run its script again from the recorded results, go on where it stopped.

use super::{Alive, Driver, DriverContext, DriverError, Performer};
use crate::journal::{RunRecord, StoredRun, load_run, load_text};
use skein_common::script::{Loaded, Op, ScriptError, ScriptErrorKind, Start, TurnEnd};
use skein_common::{AgentNumber, AttemptNumber, Epoch, RunId};
use skein_engine::{Command, Cursor, Divergence, Effect, Event, JournalSettlement, ReuseTable, Stage, settlement};
use skein_script::{HostLimits, LoadError as ScriptLoadError};
use std::collections::BTreeMap;
use std::time::Instant;

/// So many recorded settlements are read back at a time, which bounds what is in memory.
const REPLAY_CHUNK: usize = 256;

impl Driver {
    /// Takes the run over under this epoch and brings it to where its journal ends, and beyond: on return every
    /// decision that followed is journalled and performed. Attempts that are not `alive` went down with their owner.
    ///
    /// # Errors
    /// No such run, it has ended, or the journal or the host failed.
    pub async fn open(
        run_id: RunId,
        epoch: Epoch,
        context: DriverContext,
        alive: &Alive,
        performer: &mut dyn Performer,
    ) -> Result<Driver, DriverError> {
        let begun = Instant::now();
        let stored = load_run(context.ports.journal.as_ref(), &run_id).await?;
        if stored.run.state().is_ended() {
            return Err(DriverError::Ended);
        }
        let had_owner = stored.run.state().epoch > 0;
        let StoredRun { run, events, records, last_at_ms } = stored;
        let live = context.metrics.begin_run(&run_id);
        let mut driver = Driver {
            live,
            run_id,
            epoch,
            context,
            run,
            host: None,
            hibernates: false,
            records,
            batches: 0,
            pending: Vec::new(),
            pending_at_ms: last_at_ms,
            ahead_ms: 0,
            unsettled: Vec::new(),
            texts: BTreeMap::new(),
            unstored: Vec::new(),
        };
        driver.load_reusable().await;
        let ran_before = driver.attempts_that_went_down(alive);
        if let Some(refused) = driver.accept(Command::Begin { epoch })? {
            return Err(DriverError::Deposed(refused));
        }
        if driver.run.state().stop_requested && !driver.run.state().is_ended() {
            // The grace of a script that was stopped goes on while it is replayed (C33).
            driver.commit(performer).await?;
            let none = super::Journalled { at_ms: driver.pending_at_ms, events: std::sync::Arc::default() };
            performer.perform(driver.run.state(), &none, vec![Effect::StartGrace]).await;
        }
        if !driver.run.state().is_ended() {
            driver.run_script(&events, performer).await?;
        }
        for (agent, attempt) in ran_before {
            driver.accept(Command::Lose { agent, attempt, ours: true })?;
        }
        driver.pump(performer).await?;
        let standing = driver.run.state().standing_effects();
        let none = super::Journalled { at_ms: driver.pending_at_ms, events: std::sync::Arc::default() };
        performer.perform(driver.run.state(), &none, standing).await;
        if had_owner {
            driver.context.metrics.replayed(events.len());
            driver.context.metrics.taken_over(begun.elapsed());
        }
        Ok(driver)
    }

    /// The parent's results, from which calls beyond the journal may be answered. Without them everything runs live.
    async fn load_reusable(&mut self) {
        let Some(parent) = self.run.state().spec.parent.clone() else { return };
        match load_run(self.context.ports.journal.as_ref(), &parent).await {
            Ok(stored) => {
                let events = stored.events.iter().map(|record| &record.event);
                self.run.set_reusable(ReuseTable::of(stored.run.state(), events));
            }
            Err(error) => tracing::warn!(run_id = %self.run_id, %parent, %error, "nothing is reused"),
        }
    }

    /// What the journal says runs, and nobody answers for any more: it starts again.
    fn attempts_that_went_down(&self, alive: &Alive) -> Vec<(AgentNumber, AttemptNumber)> {
        let running = self.run.state().running.iter().map(|(agent, attempt)| (*agent, *attempt));
        running.filter(|(agent, attempt)| !alive.includes(*agent, *attempt)).collect()
    }

    /// Loads the script and replays it; what it does beyond the journal is decided on.
    pub(super) async fn run_script(
        &mut self,
        events: &[RunRecord],
        performer: &mut dyn Performer,
    ) -> Result<(), DriverError> {
        if self.run.state().stage == Stage::Returned {
            return Ok(());
        }
        let Some(_loaded) = self.load_script().await? else { return Ok(()) };
        let replay = Replay::of(self, events);
        match self.replay(replay, performer).await? {
            Ok(()) => Ok(()),
            Err(divergence) => {
                self.context.metrics.diverged();
                self.host = None;
                self.accept(Command::Abort { kind: "divergence".to_owned(), message: divergence.to_string() })?;
                Ok(())
            }
        }
    }

    /// `None` when the script does not parse: the run has ended then.
    async fn load_script(&mut self) -> Result<Option<Loaded>, DriverError> {
        let script = self.text_of(&self.run.state().spec.script.clone()).await?;
        let recovered = self.run.state().stage != Stage::Submitted;
        let limits = self.limits(recovered);
        let loaded = self.context.hosts.load(&script, &limits).await;
        if let Err(ScriptLoadError::Script(error)) = &loaded {
            self.context.metrics.script_failed(error.kind);
        }
        match loaded {
            Ok((host, loaded)) => {
                self.host = Some(host);
                if !recovered {
                    self.accept(Command::Load { loaded: loaded.clone() })?;
                }
                Ok(Some(loaded))
            }
            Err(ScriptLoadError::Script(error)) if self.is_hosts_fault(&error, recovered) => {
                Err(DriverError::HostLost { reason: error.message })
            }
            Err(ScriptLoadError::Script(error)) => {
                self.accept(Command::Fail { error })?;
                Ok(None)
            }
            Err(error) => Err(DriverError::Host(error)),
        }
    }

    /// A script that ran before does not fail by itself before it is where its journal ends: the host or a busy
    /// machine is at fault, and another host may get further.
    fn is_hosts_fault(&self, error: &ScriptError, recovered: bool) -> bool {
        let by_machine = matches!(error.kind, ScriptErrorKind::Time | ScriptErrorKind::Memory | ScriptErrorKind::Stack);
        self.context.replaces_lost_hosts && (error.kind == ScriptErrorKind::Engine || (recovered && by_machine))
    }

    /// The clock of a turn is doubled in a replay, on a machine that has just lost something (C10).
    fn limits(&self, recovered: bool) -> HostLimits {
        let mut limits = self.context.host_limits.clone();
        if recovered {
            limits.turn_ms = limits.turn_ms.saturating_mul(2);
        }
        limits
    }

    async fn replay(
        &mut self,
        replay: Replay,
        performer: &mut dyn Performer,
    ) -> Result<Result<(), Divergence>, DriverError> {
        let spec = &self.run.state().spec;
        let args = match &spec.args {
            Some(args) => Some(load_text(self.context.ports.blobs.as_ref(), &self.run_id, args).await?),
            None => None,
        };
        let started_at_ms = replay.started_at_ms.unwrap_or(self.pending_at_ms);
        let start = Start { args, seed: spec.seed, now_ms: started_at_ms, budget_total: spec.budget };
        let Some(mut host) = self.host.take() else { return Ok(Ok(())) };
        let mut cursor = Cursor::default();
        let mut new_ops: Vec<Op> = Vec::new();
        let Some(mut end) = self.await_turn(host.start(start), performer).await? else {
            return self.stop_without_script().map(Ok);
        };
        let mut chunks = replay.settlements.chunks(REPLAY_CHUNK);
        loop {
            let is_waiting = matches!(end, TurnEnd::Waiting { .. });
            match cursor.new_ops(self.run.state(), take_ops(&mut end)) {
                Ok(ops) => new_ops.extend(ops),
                Err(divergence) => return Ok(Err(divergence)),
            }
            let Some(chunk) = chunks.next().filter(|_| is_waiting) else { break };
            let mut items = Vec::with_capacity(chunk.len());
            for (now_ms, settlement) in chunk {
                items.push(self.resolve(*now_ms, settlement.clone()).await?);
            }
            let Some(next) = self.await_turn(host.settle(items), performer).await? else {
                return self.stop_without_script().map(Ok);
            };
            end = next;
        }
        let is_complete = cursor.check_complete(self.run.state());
        match (&end, is_complete) {
            (TurnEnd::Failed { error, .. }, complete) => {
                let is_behind = complete.is_err() || chunks.next().is_some();
                if self.is_hosts_fault(error, is_behind) {
                    return Err(DriverError::HostLost { reason: error.message.clone() });
                }
            }
            (_, Err(divergence)) => return Ok(Err(divergence)),
            (_, Ok(())) => {}
        }
        host.set_turn_ms(self.context.host_limits.turn_ms);
        self.host = Some(host);
        // They are older than what the takeover itself decided on.
        self.unsettled.splice(0..0, replay.held_back);
        self.take_turn(with_ops(end, new_ops))?;
        Ok(Ok(()))
    }
}

/// What a fresh host must be told to come to where the journal ends.
struct Replay {
    started_at_ms: Option<i64>,
    settlements: Vec<(i64, JournalSettlement)>,
    /// What the script must not be told yet: the run is paused.
    held_back: Vec<(i64, JournalSettlement)>,
}

impl Replay {
    fn of(driver: &Driver, events: &[RunRecord]) -> Replay {
        let mut replay = Replay { started_at_ms: None, settlements: Vec::new(), held_back: Vec::new() };
        let mut paused = false;
        for RunRecord { at_ms, event } in events {
            match event {
                Event::RunStarted { .. } => replay.started_at_ms = Some(*at_ms),
                Event::Paused {} => paused = true,
                Event::Resumed {} | Event::StopRequested {} => {
                    paused = false;
                    replay.settlements.append(&mut replay.held_back);
                }
                _ => {}
            }
            if let Some(settlement) = settlement(driver.run.state(), event) {
                let told = if paused { &mut replay.held_back } else { &mut replay.settlements };
                told.push((*at_ms, settlement));
            }
        }
        replay
    }
}

fn take_ops(end: &mut TurnEnd) -> Vec<Op> {
    match end {
        TurnEnd::Waiting { ops, .. } | TurnEnd::Done { ops, .. } | TurnEnd::Failed { ops, .. } => std::mem::take(ops),
    }
}

fn with_ops(mut end: TurnEnd, new_ops: Vec<Op>) -> TurnEnd {
    match &mut end {
        TurnEnd::Waiting { ops, .. } | TurnEnd::Done { ops, .. } | TurnEnd::Failed { ops, .. } => *ops = new_ops,
    }
    end
}
