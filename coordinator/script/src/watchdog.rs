//! Real time for one turn. Not the runtime's clock: a test that pauses it would end every script at once.

use std::io;
use std::time::Duration;

/// An alarm that is set once.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(crate) fn set(after: Duration) -> io::Result<Self> {
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
        };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // A value of zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) as _ };
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never_again, it_value: value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
        #[expect(deprecated, reason = "sound for an owned descriptor; its successor is an unsafe function")]
        let timer = tokio::io::unix::AsyncFd::with_interest(timer, tokio::io::Interest::READABLE)?;
        Ok(Self { timer })
    }

    pub(crate) async fn rings(&self) {
        // An error of the readiness itself also ends the wait: better a run too few than a hang.
        let _ = self.timer.readable().await;
    }
}

/// An alarm that is set once.
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

    pub(crate) async fn rings(&self) {
        tokio::time::sleep_until(self.at).await;
    }
}
