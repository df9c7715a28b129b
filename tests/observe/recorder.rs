//! A recorder of the `metrics` facade that keeps every value and every description.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// The values of a metric since they were last taken. A counter and a gauge have at most one.
#[derive(Default)]
struct Metric(Mutex<Vec<f64>>);

impl Metric {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let values = &mut *self.0.lock().unwrap();
        let value = change(values.pop().unwrap_or_default());
        values.push(value);
    }
}

impl CounterFn for Metric {
    fn increment(&self, by: u64) {
        self.change(|count| count + by as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("the crate increments its counters, and sets none");
    }
}

impl GaugeFn for Metric {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, new: f64) {
        self.change(|_| new);
    }
}

impl HistogramFn for Metric {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

/// A recorder that keeps values and descriptions. The key of a metric is its name, followed by its
/// labels.
#[derive(Default)]
pub struct MetricsRecorder {
    metrics: Mutex<BTreeMap<String, Arc<Metric>>>,
    descriptions: Mutex<BTreeMap<String, (Option<Unit>, String)>>,
}

impl MetricsRecorder {
    /// Returns the values since the previous call, by name and labels (`name label=value`), in
    /// ascending order. A metric that did not change has none.
    pub fn taken(&self) -> BTreeMap<String, Vec<f64>> {
        let take = |(name, metric): (&String, &Arc<Metric>)| {
            let mut values = std::mem::take(&mut *metric.0.lock().unwrap());
            values.sort_by(f64::total_cmp);
            (name.clone(), values)
        };
        let taken = self.metrics.lock().unwrap().iter().map(take).collect::<BTreeMap<_, _>>();
        taken.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }

    /// Returns the unit and the description of each metric, by name.
    pub fn descriptions(&self) -> BTreeMap<String, (Option<Unit>, String)> {
        self.descriptions.lock().unwrap().clone()
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: &SharedString) {
        let replaced =
            self.descriptions.lock().unwrap().insert(name.as_str().to_owned(), (unit, description.to_string()));
        assert_eq!(replaced, None, "{name:?} is described twice");
    }

    fn metric(&self, key: &Key) -> Arc<Metric> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = [key.name().to_owned()].into_iter().chain(labels).collect();
        Arc::clone(self.metrics.lock().unwrap().entry(name).or_default())
    }
}

impl Recorder for MetricsRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}
