//! Ownership: which runs come to this process, where several coordinators share them.
//!
//! All runs are spread over a fixed number of shards. A process owns a shard while it holds the lease of that name; the
//! runs of the shard are then taken and given back inside the process, without asking anybody. What is written carries
//! the fence: the epoch of a run grows with each owner, and a process whose lease may have ended appends nothing.

mod back_off;
mod balance;
mod fenced_journal;
mod holdings;
mod names;
mod shard_loop;
mod shard_owner;
mod sharded_leases;
mod taking_up;
mod terms;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub(crate) use holdings::Holdings;
pub(crate) use shard_loop::{RunsOfShards, ShardLoop};
pub(crate) use shard_owner::ShardOwner;
pub(crate) use taking_up::TakingUp;
#[cfg(test)]
pub(crate) use terms::Terms;
