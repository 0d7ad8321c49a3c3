//! Metrics: the registry of one process, what both of its sides count, and names that a label may have.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};
use prometheus::{Registry, TextEncoder};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus::Error as MetricsError;

/// What the label of a name says that is not among the allowed ones.
pub const OTHER: &str = "other";
/// And of no name at all.
pub const NONE: &str = "none";

/// The metrics of one process, each registered once. Clones share them.
#[derive(Clone, Default)]
pub struct Meters {
    registry: Registry,
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl Meters {
    /// Adds what collects itself.
    ///
    /// # Errors
    /// Another one has its name.
    pub fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricsError> {
        self.registry.register(Box::new(collector.clone()))?;
        let names = collector.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(collector)
    }

    /// # Errors
    /// The name is taken.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.register(IntCounter::new(name, help)?)
    }

    /// # Errors
    /// The name is taken.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// `buckets` are upper bounds, in the unit of the name.
    ///
    /// # Errors
    /// The name is taken.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    /// # Errors
    /// The name is taken.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }

    /// What the program is: always 1, with its version and the commit that it was built from.
    ///
    /// # Errors
    /// It was said already.
    pub fn say_build(&self, version: &str, commit: &str) -> Result<(), MetricsError> {
        let opts =
            Opts::new("skein_build_info", "The program that runs: its version and the commit it was built from.");
        let info = self.register(IntGaugeVec::new(opts, &["version", "commit"])?)?;
        info.with_label_values(&[version, commit]).set(1);
        Ok(())
    }

    /// Everything that is registered, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// All of it as it stands, in the text format of Prometheus.
    ///
    /// # Errors
    /// A family of metrics contradicts itself; none of ours does.
    pub fn text(&self) -> Result<String, MetricsError> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").field("names", &self.names()).finish_non_exhaustive()
    }
}

/// A message that nobody waits for (any more), by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// A worker asked for an attempt that it must not start.
    Claim,
    /// A worker runs an attempt that is over or another's.
    Heartbeat,
    /// The end of an attempt that is over, or with the wrong token.
    Result,
    /// An owner spoke to a worker that has heard of a newer one.
    Owner,
}

impl Stale {
    pub const ALL: [Stale; 4] = [Stale::Claim, Stale::Heartbeat, Stale::Result, Stale::Owner];

    /// The label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stale::Claim => "claim",
            Stale::Heartbeat => "heartbeat",
            Stale::Result => "result",
            Stale::Owner => "owner",
        }
    }
}

/// What coordinators and workers both count of the messages between them.
#[derive(Debug, Clone)]
pub struct Deliveries {
    stale: IntCounterVec,
    again: IntCounter,
}

impl Deliveries {
    /// # Errors
    /// They are registered already.
    pub fn register(meters: &Meters) -> Result<Deliveries, MetricsError> {
        let help = "Messages between coordinators and workers that matched no attempt, or came from an owner that was \
                    replaced: dropped. By the kind of message.";
        let stale = meters.counters("skein_stale_answers_total", help, &["kind"])?;
        for kind in Stale::ALL {
            stale.with_label_values(&[kind.name()]);
        }
        let help = "Tasks and results that were delivered again to a process that had them already.";
        Ok(Deliveries { stale, again: meters.counter("skein_redeliveries_total", help)? })
    }

    /// So many of this kind were dropped.
    pub fn stale(&self, kind: Stale, count: usize) {
        self.stale.with_label_values(&[kind.name()]).inc_by(count as u64);
    }

    /// Something came again.
    pub fn again(&self) {
        self.again.inc();
    }
}

/// The names that a label may have, so that whoever writes workflows cannot make series without end.
#[derive(Debug, Clone, Default)]
pub struct AllowedNames(BTreeSet<String>);

impl AllowedNames {
    /// More names than this make no good dashboard, and each is a series of many metrics.
    pub const MAX: usize = 64;

    /// The first [`AllowedNames::MAX`] of these.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> AllowedNames {
        AllowedNames(names.into_iter().take(AllowedNames::MAX).collect())
    }

    /// The name when it is allowed, else [`OTHER`], or [`NONE`] when there is none.
    #[must_use]
    pub fn label(&self, name: Option<&str>) -> &str {
        match name.filter(|name| !name.is_empty()) {
            None => NONE,
            Some(name) => self.0.get(name).map_or(OTHER, String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_registered_once_and_known_from_then_on() {
        let meters = Meters::default();
        let deliveries = Deliveries::register(&meters).expect("registers");
        deliveries.stale(Stale::Claim, 2);
        assert!(Deliveries::register(&meters).is_err());
        assert_eq!(meters.names(), ["skein_redeliveries_total", "skein_stale_answers_total"]);
        let text = meters.text().expect("encodes");
        assert!(text.contains("skein_stale_answers_total{kind=\"claim\"} 2"), "{text}");
        assert!(text.contains("skein_stale_answers_total{kind=\"owner\"} 0"), "{text}");
    }

    #[test]
    fn names_that_nobody_configured_share_one_label() {
        let allowed = AllowedNames::new([String::from("opus"), String::from("haiku")]);
        let labels: BTreeSet<&str> =
            ["opus", "haiku", "", "a", "b", "opus2"].into_iter().map(|name| allowed.label(Some(name))).collect();
        assert_eq!(labels, BTreeSet::from(["haiku", "none", "opus", "other"]));
        assert_eq!(allowed.label(None), NONE);
        let many = AllowedNames::new((0..1000).map(|number| number.to_string()));
        assert_eq!(many.0.len(), AllowedNames::MAX);
    }
}
