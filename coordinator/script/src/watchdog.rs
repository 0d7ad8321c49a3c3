//! Real time for one turn. Not the runtime's clock: a test that pauses it would end every script at once.
//! One alarm serves several turns in a row, since a timer of the system costs more than a short turn.

use std::io;
use std::time::Duration;

/// An alarm that rings once, unless it is set again before.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(crate) fn set(after: Duration) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        arm(&timer, after)?;
        #[expect(deprecated, reason = "sound for an owned descriptor; its successor is an unsafe function")]
        let timer = tokio::io::unix::AsyncFd::with_interest(timer, tokio::io::Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// It rings after this time from now on, whatever it was set to.
    pub(crate) fn set_again(&mut self, after: Duration) -> io::Result<()> {
        arm(&self.timer, after)
    }

    pub(crate) async fn rings(&self) {
        // An error of the readiness itself also ends the wait: better a run too few than a hang.
        while let Ok(mut ready) = self.timer.readable().await {
            // Readiness from before it was set again is none: the timer then has nothing to read.
            match rustix::io::read(&self.timer, &mut [0; 8]) {
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                _ => return,
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn arm(timer: impl std::os::fd::AsFd, after: Duration) -> io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    // A value of zero would disarm it.
    let after = after.max(Duration::from_nanos(1));
    let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) as _ };
    let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
    let setting = Itimerspec { it_interval: never_again, it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(())
}

/// An alarm that rings once, unless it is set again before.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct Alarm {
    at: tokio::time::Instant,
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn set(after: Duration) -> io::Result<Self> {
        Ok(Self { at: tokio::time::Instant::now() + after })
    }

    pub(crate) fn set_again(&mut self, after: Duration) -> io::Result<()> {
        self.at = tokio::time::Instant::now() + after;
        Ok(())
    }

    pub(crate) async fn rings(&self) {
        tokio::time::sleep_until(self.at).await;
    }
}
