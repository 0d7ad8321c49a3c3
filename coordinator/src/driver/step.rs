//! One turn of the loop: decide, settle, decide, append, perform.

use super::{Driver, DriverError, Journalled, Performer};
use crate::journal::{LoadError, append, load_text};
use bytes::Bytes;
use skein_common::Payload;
use skein_common::ports::{BlobError, Lease};
use skein_common::script::{Op, Outcome, ScriptErrorKind, Settlement, TurnEnd};
use skein_engine::{Command, Event, JournalOutcome, JournalSettlement, Refused, effects, encode_records, settlement};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settling goes on for so many turns before what arrived meanwhile has its say.
const TURNS_PER_STEP: u32 = 64;
/// A batch of so many events is appended even if the script is not at rest.
const PENDING_EVENTS_MAX: usize = 4096;
/// A script turn longer than this lets what had arrived be appended first.
const TURN_BEFORE_APPEND: Duration = Duration::from_millis(5);

impl Driver {
    /// Takes commands through the whole loop; gives back, for each, why it changed nothing if it did not.
    ///
    /// # Errors
    /// The journal or the host failed: this driver is of no more use.
    pub async fn step(
        &mut self,
        commands: Vec<Command>,
        performer: &mut dyn Performer,
    ) -> Result<Vec<Option<Refused>>, DriverError> {
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let command = self.with_its_text(command).await?;
            answers.push(self.accept(command)?);
        }
        self.pump(performer).await?;
        Ok(answers)
    }

    /// Decides on one command; a refusal is an answer, a contradiction is the end of this driver.
    pub(super) fn accept(&mut self, command: Command) -> Result<Option<Refused>, DriverError> {
        let now_ms = self.now_ms();
        match self.run.accept(command, now_ms) {
            Ok(events) => {
                self.note(events, now_ms);
                Ok(None)
            }
            Err(contradiction @ Refused::Contradiction { .. }) => Err(contradiction.into()),
            Err(refused) => {
                tracing::debug!(run_id = %self.run_id, %refused, "command refused");
                Ok(Some(refused))
            }
        }
    }

    /// All events of a pending batch share one time: the one that goes into its record. It never goes back, and a
    /// clock that does neither stops it: a script that waits for `now()` to come somewhere would wait for that long.
    fn now_ms(&mut self) -> i64 {
        if self.pending.is_empty() {
            let clock_ms = self.context.clock.now_ms().saturating_add(self.ahead_ms);
            self.ahead_ms += self.pending_at_ms.saturating_sub(clock_ms).max(0);
            self.pending_at_ms = self.pending_at_ms.max(clock_ms);
        }
        self.pending_at_ms
    }

    fn note(&mut self, events: Vec<Event>, now_ms: i64) {
        let state = self.run.state();
        let settled = events.iter().filter_map(|event| settlement(state, event));
        self.unsettled.extend(settled.map(|settlement| (now_ms, settlement)));
        self.pending.extend(events);
        for large in self.run.take_large_texts() {
            self.unstored.push(large.digest.clone());
            self.texts.insert(large.digest, large.text);
        }
    }

    /// Whether the script still has to be told something: another step follows at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.unsettled.is_empty() && self.may_settle()
    }

    /// Settles and decides until the script is at rest, or had many turns; then appends and performs.
    pub(super) async fn pump(&mut self, performer: &mut dyn Performer) -> Result<(), DriverError> {
        let mut turns = 0;
        while self.is_busy() && turns < TURNS_PER_STEP {
            turns += 1;
            if self.hibernates {
                self.wake(performer).await?;
                continue;
            }
            if self.pending.len() > PENDING_EVENTS_MAX {
                self.commit(performer).await?;
            }
            let items = self.take_settlements().await?;
            let Some(mut host) = self.host.take() else { break };
            match self.await_turn(host.settle(items), performer).await? {
                Some(end) => {
                    self.host = Some(host);
                    self.take_turn(end)?;
                }
                None => self.stop_without_script()?,
            }
        }
        if !self.script_listens() {
            self.unsettled.clear();
        }
        self.commit(performer).await
    }

    /// Waits for a turn of the script; when it is a long one, what is pending does not wait with it. `None` when the run
    /// is to be stopped and the script does not come to rest.
    pub(super) async fn await_turn(
        &mut self,
        turn: impl Future<Output = TurnEnd>,
        performer: &mut dyn Performer,
    ) -> Result<Option<TurnEnd>, DriverError> {
        let begun = Instant::now();
        let mut turn = std::pin::pin!(turn);
        let end = match tokio::time::timeout(TURN_BEFORE_APPEND, &mut turn).await {
            Ok(end) => Some(end),
            Err(_slow) => {
                self.commit(performer).await?;
                tokio::select! {
                    end = turn => Some(end),
                    () = performer.script_is_overdue() => None,
                }
            }
        };
        self.context.metrics.turned(end.as_ref(), begun.elapsed());
        Ok(end)
    }

    /// The script went with its host, in the middle of a turn; whatever else it would have done never happened (C33).
    pub(super) fn stop_without_script(&mut self) -> Result<(), DriverError> {
        self.accept(Command::Stop)?;
        self.accept(Command::EndGrace)?;
        Ok(())
    }

    /// Settlements behind an open pause are kept back (R8).
    fn may_settle(&self) -> bool {
        self.script_listens() && !self.run.state().paused
    }

    fn script_listens(&self) -> bool {
        (self.host.is_some() || self.hibernates) && self.run.state().stage == skein_engine::Stage::Running
    }

    /// What a turn of the script asks of the engine.
    pub(super) fn take_turn(&mut self, end: TurnEnd) -> Result<(), DriverError> {
        match end {
            TurnEnd::Waiting { ops, .. } => {
                self.operate(ops)?;
                // A stopped script that waits for nothing more has had its say.
                if self.run.state().stop_requested && self.unsettled.is_empty() && !self.run.state().has_open_timer() {
                    self.accept(Command::EndGrace)?;
                }
                Ok(())
            }
            TurnEnd::Done { ops, result, warnings } => {
                self.host = None;
                self.operate(ops)?;
                self.accept(Command::Return { result, warnings })?;
                Ok(())
            }
            TurnEnd::Failed { error, .. }
                if error.kind == ScriptErrorKind::Engine && self.context.replaces_lost_hosts =>
            {
                Err(DriverError::HostLost { reason: error.message })
            }
            TurnEnd::Failed { ops, error } => {
                self.host = None;
                self.operate(ops)?;
                self.accept(Command::Fail { error })?;
                Ok(())
            }
        }
    }

    fn operate(&mut self, ops: Vec<Op>) -> Result<(), DriverError> {
        if !ops.is_empty() {
            self.accept(Command::Operate { ops })?;
        }
        Ok(())
    }

    async fn take_settlements(&mut self) -> Result<Vec<Settlement>, DriverError> {
        let mut items = Vec::with_capacity(self.unsettled.len());
        for (now_ms, settlement) in std::mem::take(&mut self.unsettled) {
            items.push(self.resolve(now_ms, settlement).await?);
        }
        Ok(items)
    }

    /// The settlement with its value in place.
    pub(super) async fn resolve(&self, now_ms: i64, settlement: JournalSettlement) -> Result<Settlement, DriverError> {
        let outcome = match settlement.outcome {
            JournalOutcome::Plain(outcome) => outcome,
            JournalOutcome::Value(payload) => {
                let known = payload.digest().and_then(|digest| self.texts.get(digest)).cloned();
                let text = match known {
                    Some(text) => text,
                    None => self.text_of_value(&payload).await?,
                };
                if payload.is_json() { Outcome::Json { json: text } } else { Outcome::Text { text } }
            }
        };
        let (call, spent, cap_reached) = (settlement.call, settlement.spent, settlement.cap_reached);
        Ok(Settlement { call, outcome, now_ms, spent, cap_reached })
    }

    /// A result may still be where it came from: in the blobs of the parent run.
    async fn text_of_value(&self, payload: &Payload) -> Result<String, DriverError> {
        let parent = self.run.state().spec.parent.as_ref();
        match (self.text_of(payload).await, parent) {
            (Err(DriverError::Load(LoadError::Blob(BlobError::Missing { .. }))), Some(parent)) => {
                Ok(load_text(self.context.ports.blobs.as_ref(), parent, payload).await?)
            }
            (own, _) => own,
        }
    }

    pub(super) async fn text_of(&self, payload: &Payload) -> Result<String, DriverError> {
        Ok(load_text(self.context.ports.blobs.as_ref(), &self.run_id, payload).await?)
    }

    /// All at once, so that they share a flush.
    async fn store_large_texts(&mut self) -> Result<(), DriverError> {
        let unstored = std::mem::take(&mut self.unstored);
        let texts = unstored.iter().filter_map(|digest| self.texts.get(digest));
        let puts = texts.map(|text| self.context.ports.blobs.put(&self.run_id, Bytes::from(text.clone())));
        futures::future::try_join_all(puts).await?;
        Ok(())
    }

    /// A reused result belongs to this run too, which may outlive its parent.
    async fn copy_reused_blobs(&self) -> Result<(), DriverError> {
        let Some(parent) = &self.run.state().spec.parent else { return Ok(()) };
        let blobs = self.context.ports.blobs.as_ref();
        for event in &self.pending {
            let Event::AgentReused { value, .. } = event else { continue };
            let Some(digest) = value.digest() else { continue };
            blobs.put(&self.run_id, blobs.get(parent, digest).await?).await?;
        }
        Ok(())
    }

    /// Where owners change, an append may have taken longer than this process is certain to be one. Asks nobody: leases
    /// of runs are kept by who owns their shard.
    async fn check_ours(&self) -> Result<(), DriverError> {
        let ports = &self.context.ports;
        if ports.shards.is_none() {
            return Ok(());
        }
        let lease = Lease { name: self.run_id.to_string(), epoch: self.epoch };
        ports.leases.renew(&lease).await.map_err(|_| DriverError::NotOurs)
    }

    /// Appends what is pending, large texts first, and performs what follows from it.
    pub(super) async fn commit(&mut self, performer: &mut dyn Performer) -> Result<(), DriverError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.store_large_texts().await?;
        self.copy_reused_blobs().await?;
        let events = std::mem::take(&mut self.pending);
        let at_ms = self.pending_at_ms;
        let records = encode_records(self.epoch, self.batches, at_ms, &events)?;
        let records = records.into_iter().map(Bytes::from).collect();
        let begun = Instant::now();
        self.records = append(self.context.ports.journal.as_ref(), &self.run_id, self.records, records).await?;
        self.batches += 1;
        self.check_ours().await?;
        if self.unsettled.is_empty() {
            self.texts.clear();
        }
        let state = self.run.state();
        self.context.metrics.journalled(state, &events, at_ms, begun.elapsed(), &mut self.live);
        let todo = events.iter().flat_map(|event| effects(state, event, at_ms)).collect();
        performer.perform(state, &Journalled { at_ms, events: Arc::new(events) }, todo).await;
        Ok(())
    }
}
