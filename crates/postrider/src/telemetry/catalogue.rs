//! Registers metrics and remembers what each one is, so that the reference page is generated from
//! what the daemon really exposes.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

pub struct Catalogue {
    registry: Registry,
    rows: Mutex<Vec<Row>>,
}

/// One metric of the reference page.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

impl Catalogue {
    pub fn new() -> Result<Self> {
        Ok(Self {
            registry: Registry::new_custom(Some("postrider".to_owned()), None)?,
            rows: Mutex::new(Vec::new()),
        })
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All metrics, by name.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self
            .rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?, "counter", name, &[], help)
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(
            IntCounterVec::new(Opts::new(name, help), labels)?,
            "counter",
            name,
            labels,
            help,
        )
    }

    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?, "gauge", name, &[], help)
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(
            IntGaugeVec::new(Opts::new(name, help), labels)?,
            "gauge",
            name,
            labels,
            help,
        )
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let metric =
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
        self.add(metric, "histogram", name, &[], help)
    }

    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let metric = HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )?;
        self.add(metric, "histogram", name, labels, help)
    }

    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: M,
        kind: &'static str,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Row {
                name: format!("postrider_{name}"),
                kind,
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                help: help.to_owned(),
            });
        Ok(metric)
    }
}
