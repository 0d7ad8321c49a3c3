//! Hibernation: a script that waits for long may lose its host. The next settlement finds another one, which is
//! replayed to where the script is, as after a crash.

use super::{Driver, DriverError, Performer};
use crate::journal::load_run;
use skein_common::config::CoordinatorSettings;
use skein_engine::Stage;
use std::time::Duration;

/// When a script loses its host.
#[derive(Debug, Clone, Copy)]
pub struct HibernationRule {
    /// It has waited for so long.
    pub after: Duration,
    /// And there are more hosts than this.
    pub hosts_max: usize,
}

impl HibernationRule {
    #[must_use]
    pub fn of(settings: &CoordinatorSettings) -> HibernationRule {
        HibernationRule { after: Duration::from_millis(settings.hibernate_after_ms), hosts_max: settings.hosts_max }
    }
}

impl Driver {
    /// How long the script may wait before [`Driver::hibernate_if_crowded`]; `None` when there is no host to lose.
    #[must_use]
    pub fn may_hibernate_after(&self) -> Option<Duration> {
        self.host.is_some().then_some(self.context.hibernation.after)
    }

    /// Gives the host back if there are too many of them.
    pub fn hibernate_if_crowded(&mut self) {
        if self.context.hosts.live() > self.context.hibernation.hosts_max {
            self.hibernate();
        }
    }

    /// Gives the host of a script that waits back.
    pub fn hibernate(&mut self) {
        let waits = self.run.state().stage == Stage::Running && !self.is_busy() && self.pending.is_empty();
        if waits && self.host.take().is_some() {
            self.hibernates = true;
            tracing::debug!(run_id = %self.run_id, "script hibernates");
        }
    }

    /// Finds a host again and brings it to where the journal ends: what was to be settled is settled by the replay.
    pub(super) async fn wake(&mut self, performer: &mut dyn Performer) -> Result<(), DriverError> {
        self.hibernates = false;
        self.commit(performer).await?;
        self.unsettled.clear();
        let stored = load_run(self.context.ports.journal.as_ref(), &self.run_id).await?;
        self.context.metrics.replayed(stored.events.len());
        self.run_script(&stored.events, performer).await
    }
}
