//! A small seeded generator: the same seed must give the same fleet on every machine and in every version.

/// SplitMix64. Good enough for sample data, and short enough to never change.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator of its own for one host, so that what one host draws does not shift the next one.
    pub(super) fn split(&mut self) -> Self {
        Self::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` up to but not including `high`; `low` when the range is empty.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        if span == 0 {
            return low;
        }
        low.saturating_add_unsigned(self.next() % span)
    }

    /// An index below `length`; 0 when there is nothing to choose from.
    pub(super) fn index(&mut self, length: usize) -> usize {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        usize::try_from(self.between(0, length)).unwrap_or(0)
    }

    /// True in `in_million` of a million cases.
    pub(super) fn chance(&mut self, in_million: i64) -> bool {
        self.between(0, 1_000_000) < in_million
    }

    /// One of `choices`, or `fallback` when there are none.
    pub(super) fn pick<'a>(&mut self, choices: &[&'a str], fallback: &'a str) -> &'a str {
        let index = self.index(choices.len());
        choices.get(index).copied().unwrap_or(fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_known_numbers() {
        let mut random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn an_empty_range_gives_its_start() {
        assert_eq!(Random::new(3).between(5, 5), 5);
        assert_eq!(Random::new(3).index(0), 0);
        assert_eq!(Random::new(3).pick(&[], "none"), "none");
    }
}
