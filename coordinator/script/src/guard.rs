//! Guard: the time of one turn. Looks at a host that does not answer, lets others go first once it has computed for
//! long, and says when its time is over.

use std::io;
use std::time::{Duration, Instant};

use crate::keeper::Process;
use crate::watchdog::Alarm;

/// Turns that end within this time share an alarm, which rings so much later.
const ALARM_SLACK: Duration = Duration::from_millis(1);
/// The first look at a turn that goes on, and the time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A turn that has computed for so long after the first look is no turn of a script that only joins results: its host
/// gives way to all others, or 80 endless loops would slow every run down by as much (C10). Time on a processor, since a
/// short turn takes long beside such loops. The system does not let us take it back.
const COMPUTED_MAX: Duration = Duration::from_millis(50);
/// A host that gives way waits for others, so what counts is what it computes; but not for ever.
const GIVES_WAY_FACTOR: u32 = 6;

/// Guards one turn after the other.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    process: &'a mut Process,
    cap: Duration,
    alarm: Alarm,
    begun: Instant,
    /// What the process had computed at the first look of this turn.
    computed_before: Option<Duration>,
}

impl<'a> Guard<'a> {
    pub(crate) fn begin(process: &'a mut Process, cap: Duration) -> io::Result<Self> {
        let alarm = Alarm::set(LOOK.min(cap) + ALARM_SLACK)?;
        Ok(Self { process, cap, alarm, begun: Instant::now(), computed_before: None })
    }

    /// The next turn begins.
    pub(crate) fn begin_again(&mut self) -> io::Result<()> {
        if self.begun.elapsed() >= ALARM_SLACK {
            self.alarm.set_again(LOOK.min(self.cap) + ALARM_SLACK)?;
            (self.begun, self.computed_before) = (Instant::now(), None);
        }
        Ok(())
    }

    /// Waits until the time of this turn is over. May be dropped and called again.
    pub(crate) async fn expires(&mut self) {
        loop {
            self.alarm.rings().await;
            let left = self.look();
            if left.is_zero() || self.alarm.set_again(left.min(LOOK)).is_err() {
                return;
            }
        }
    }

    /// How much of its time the turn has left.
    fn look(&mut self) -> Duration {
        let elapsed = self.begun.elapsed();
        let Some(computed) = self.process.computed() else { return self.cap.saturating_sub(elapsed) };
        let in_turn = computed.saturating_sub(*self.computed_before.get_or_insert(computed));
        if in_turn >= COMPUTED_MAX && !self.process.gives_way() {
            self.process.give_way();
        }
        if !self.process.gives_way() {
            return self.cap.saturating_sub(elapsed);
        }
        let left_of_wall = (self.cap * GIVES_WAY_FACTOR).saturating_sub(elapsed);
        self.cap.saturating_sub(in_turn).min(left_of_wall)
    }
}
