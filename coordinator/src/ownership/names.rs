//! Names: what the leases of a cluster are called.

use skein_common::ports::Shard;

/// Before the number of a shard.
pub(super) const SHARD_PREFIX: &str = "shard-";
/// Before the name of a node that takes part.
pub(super) const MEMBER_PREFIX: &str = "member-";

/// The lease of a shard.
pub(super) fn shard_name(shard: Shard) -> String {
    format!("{SHARD_PREFIX}{shard:02}")
}

/// The lease by which a node takes part.
pub(super) fn member_name(node: &str) -> String {
    format!("{MEMBER_PREFIX}{node}")
}

/// The shard that a lease of this name is for.
pub(super) fn shard_of_name(name: &str) -> Option<Shard> {
    name.strip_prefix(SHARD_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_shard_leads_back_to_it() {
        for shard in [0, 7, 15, 100, 1023, Shard::MAX] {
            assert_eq!(shard_of_name(&shard_name(shard)), Some(shard));
        }
        assert_eq!(shard_name(3), "shard-03");
        for other in ["shard-", "shard-x", "shard-70000", "member-3"] {
            assert_eq!(shard_of_name(other), None, "{other}");
        }
    }
}
