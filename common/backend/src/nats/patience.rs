//! How long to try again, and how soon.

use super::api::ApiError;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Tries that may still be made. The waits between them double, up to a bound, and are random below that, so that those
/// who lost the same server do not come back together.
#[derive(Debug)]
pub struct Patience {
    until: Instant,
    bound: Duration,
}

impl Patience {
    /// Tries for so long.
    #[must_use]
    pub fn of(limit: Duration) -> Patience {
        Patience { until: Instant::now() + limit, bound: FIRST_WAIT }
    }

    /// Waits until the next try is due; `false` when there is no more.
    pub async fn wait(&mut self) -> bool {
        if Instant::now() + self.bound > self.until {
            return false;
        }
        tokio::time::sleep(self.bound.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.bound = (self.bound * 2).min(LAST_WAIT);
        true
    }

    /// Tries what may be done twice until it is done, as long as trying again may help.
    ///
    /// # Errors
    /// That of the last try.
    pub async fn until_done<T, F>(&mut self, trying: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        loop {
            match trying().await {
                Err(error) if error.may_pass() && self.wait().await => {}
                outcome => return outcome,
            }
        }
    }
}
