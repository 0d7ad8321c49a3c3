//! The clock of deadlines that a keeper keeps, and its alarm.
//!
//! It goes on while the machine is suspended, as the clock of an owner elsewhere does: an attempt of a machine that
//! slept over its deadline is somebody else's by now, and must not go on when the machine wakes.

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::time::Instant;

/// The time since this machine was started; all its processes see the same.
pub(super) fn since_boot() -> Duration {
    // It has not been negative since the machine was started.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// A moment that deadlines count from: by the clock of timers here, and by that of keepers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub instant: Instant,
    /// See [`since_boot`].
    pub since_boot: Duration,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Moment {
        Moment { instant: Instant::now(), since_boot: since_boot() }
    }
}

/// Becomes readable when a time has come, also at once when the machine wakes after it.
#[derive(Debug)]
pub(super) struct Alarm {
    pub(super) descriptor: OwnedFd,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Alarm { descriptor: timerfd_create(TimerfdClockId::Boottime, flags)? })
    }

    /// Sets it to this time since boot, or to none; what it was set to before does not count.
    pub(super) fn set(&self, at: Option<Duration>) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would be never.
        let at = at.map(|at| Timespec::try_from(at.max(Duration::from_nanos(1))));
        let it_value = at.transpose().map_err(io::Error::other)?.unwrap_or(never);
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: never, it_value })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    /// Whether it rings: now, or ever.
    fn rings(alarm: &Alarm, wait: Option<&Timespec>) -> bool {
        poll(&mut [PollFd::new(&alarm.descriptor, PollFlags::IN)], wait).expect("polls") == 1
    }

    #[test]
    fn an_alarm_rings_when_its_time_comes_and_not_when_it_was_put_off() {
        let alarm = Alarm::new().expect("an alarm");
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        alarm.set(Some(since_boot() + Duration::from_millis(20))).expect("sets");
        assert!(rings(&alarm, None));
        alarm.set(Some(since_boot() + Duration::from_secs(86_400))).expect("sets");
        assert!(!rings(&alarm, Some(&at_once)), "put off");
        alarm.set(Some(Duration::ZERO)).expect("sets");
        assert!(rings(&alarm, None), "its time is over");
        alarm.set(None).expect("sets");
        assert!(!rings(&alarm, Some(&at_once)), "no time is set");
    }
}
