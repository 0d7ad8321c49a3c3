//! The backend on real servers: the conformance suite, and what only this backend has.

mod connecting;
mod identity;
mod joining;
mod lasting;
mod lease_traps;
mod lossy;
mod messages;
mod permissions;
mod replicated;
mod world;

use world::NatsWorld;

crate::conformance_suite!(NatsWorld::fresh);

/// All that it promises, within its contracts at their worst.
mod under_faults {
    use super::NatsWorld;

    crate::conformance_suite!(NatsWorld::fresh_with_faults);
}

/// A server for development only.
mod on_an_old_server {
    use super::NatsWorld;

    crate::conformance_suite!(NatsWorld::fresh_on_old);
}
