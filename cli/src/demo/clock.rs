//! Times of the sample fleet. The incident has a fixed date, so nothing here asks the machine for the time.

/// Milliseconds since midnight of 2026-11-20; the day before is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// End of the window that the workflow looks at: the "now" of the fleet.
pub(super) const NOW: Moment = Moment::at(3, 0, 0);
/// Start of the window: the last hour.
pub(super) const WINDOW_START: Moment = Moment::at(2, 0, 0);
/// The logs begin before the window, so that reading all of a file gives a wrong answer.
pub(super) const LOG_START: Moment = Moment::at(0, 30, 0);

impl Moment {
    pub(super) const fn at(hour: i64, minute: i64, second: i64) -> Self {
        Self(((hour * 60 + minute) * 60 + second) * 1000)
    }

    pub(super) const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0 + ms)
    }

    pub(super) const fn plus_s(self, seconds: i64) -> Self {
        self.plus_ms(seconds * 1000)
    }

    pub(super) const fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// `20/Nov/2026:02:47:23 +0800`, as in an access log of nginx.
    pub(super) fn access(self) -> String {
        format!("{}/Nov/2026:{} +0800", self.day(), self.time())
    }

    /// `2026/11/20 02:47:23`, as in an error log of nginx.
    pub(super) fn error(self) -> String {
        format!("2026/11/{} {}", self.day(), self.time())
    }

    /// `2026-11-20 02:47:23.000`, as in the log of a service.
    pub(super) fn log(self) -> String {
        format!("2026-11-{} {}.{:03}", self.day(), self.time(), self.0.rem_euclid(1000))
    }

    /// `2026-11-20T02:47:23.000`.
    pub(super) fn iso(self) -> String {
        format!("2026-11-{}T{}.{:03}", self.day(), self.time(), self.0.rem_euclid(1000))
    }

    /// `2026-11-20T02:47:23`.
    pub(super) fn iso_seconds(self) -> String {
        format!("2026-11-{}T{}", self.day(), self.time())
    }

    /// Seconds since the virtual machine started, as a garbage collector log counts them.
    pub(super) fn uptime(self) -> String {
        let ms = self.ms_since(LOG_START) + DAY_MS;
        format!("{}.{:03}s", ms / 1000, ms % 1000)
    }

    fn day(self) -> i64 {
        20 + self.0.div_euclid(DAY_MS)
    }

    fn time(self) -> String {
        let seconds = self.0.rem_euclid(DAY_MS) / 1000;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_the_same_in_every_log() {
        let moment = Moment::at(2, 47, 23).plus_ms(45);
        assert_eq!(moment.access(), "20/Nov/2026:02:47:23 +0800");
        assert_eq!(moment.error(), "2026/11/20 02:47:23");
        assert_eq!(moment.log(), "2026-11-20 02:47:23.045");
        assert_eq!(moment.iso(), "2026-11-20T02:47:23.045");
        assert_eq!(moment.iso_seconds(), "2026-11-20T02:47:23");
        assert_eq!(Moment::at(0, 0, 0).plus_s(-1).error(), "2026/11/19 23:59:59");
    }
}
