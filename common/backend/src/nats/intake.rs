//! What a puller works for.

use super::delivered::Delivered;
use tokio::sync::Notify;

/// Takes what a consumer delivers, and says how much it wants.
pub(super) trait Intake: Send + Sync + 'static {
    /// How many messages may be on their way to here.
    fn room(&self) -> usize;
    /// Tells when there may be more room than before.
    fn changed(&self) -> &Notify;
    /// A message, in the moment it arrives.
    fn arrived(&self, message: Delivered);
    /// Called every second.
    fn beat(&self) {}
}
