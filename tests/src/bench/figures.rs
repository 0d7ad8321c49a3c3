//! Figures: what one run of a workload measured, and what several come to.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One figure of one run; names end in their unit.
pub type Sample = BTreeMap<String, f64>;

/// Over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// What a workload came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub workload: String,
    pub runs: usize,
    pub figures: BTreeMap<String, Spread>,
    /// Each run, as it was.
    pub samples: Vec<Sample>,
}

impl Report {
    #[must_use]
    pub fn of(workload: &str, samples: &[Sample]) -> Report {
        let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, value) in samples.iter().flatten() {
            columns.entry(name.clone()).or_default().push(*value);
        }
        let figures = columns.into_iter().map(|(name, values)| (name, spread(values))).collect();
        Report { workload: workload.to_owned(), runs: samples.len(), figures, samples: samples.to_vec() }
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    Spread { median: quantile(&values, 0.5), min: quantile(&values, 0.0), max: quantile(&values, 1.0) }
}

/// The value below which this share of the sorted values lies; between two of them their mean.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[(place.ceil() as usize).min(last)]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_median_and_both_ends() {
        let samples: Vec<Sample> =
            [3.0, 1.0, 2.0, 10.0].iter().map(|value| Sample::from([("elapsed_ms".to_owned(), *value)])).collect();
        let report = Report::of("w1", &samples);
        assert_eq!(report.figures["elapsed_ms"], Spread { median: 2.5, min: 1.0, max: 10.0 });
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.99), 2.98);
    }
}
