//! Should this process be sent traffic?

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::MetricType,
};
use tokio_util::sync::CancellationToken;

use crate::Lifecycle;

/// What holds readiness off while the process drains.
pub(crate) const LIFECYCLE: &str = "lifecycle";

/// Ready when every latch is, until the process drains. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness {
    latches: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
    draining: CancellationToken,
}

impl Readiness {
    /// Ready until the lifecycle drains, as long as nothing holds a latch.
    pub fn new(lifecycle: &Lifecycle) -> Self {
        Self { latches: Arc::default(), draining: lifecycle.soft_token().clone() }
    }

    /// A new latch, which holds readiness off until it is set.
    pub fn latch(&self, name: &'static str) -> Latch {
        let latch = Latch { name, latches: self.latches.clone() };
        latch.set_unready("starting");
        latch
    }

    /// Is the process ready?
    pub fn is_ready(&self) -> bool {
        !self.draining.is_cancelled() && self.latches.lock().values().all(Option::is_none)
    }

    /// What holds readiness off, with its reason. Empty when ready.
    pub fn unready(&self) -> BTreeMap<&'static str, String> {
        self.parts().into_iter().filter_map(|(name, reason)| Some((name, reason?))).collect()
    }

    /// Everything that has a say, with the reason if it holds readiness off.
    pub(crate) fn parts(&self) -> BTreeMap<&'static str, Option<String>> {
        let mut parts = self.latches.lock().clone();
        parts.insert(LIFECYCLE, self.draining.is_cancelled().then(|| "draining".to_owned()));
        parts
    }
}

/// A gauge for the registry: 1 while traffic is welcome.
impl EncodeMetric for Readiness {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_gauge(&i64::from(self.is_ready()))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// One part's say in the readiness of the process. What was last set stays when the latch is dropped.
#[derive(Clone, Debug)]
pub struct Latch {
    name: &'static str,
    latches: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Latch {
    /// The part works.
    pub fn set_ready(&self) {
        self.latches.lock().insert(self.name, None);
    }

    /// The part does not work, and why.
    pub fn set_unready(&self, reason: impl Into<String>) {
        self.latches.lock().insert(self.name, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_latch_must_be_set() {
        let readiness = Readiness::new(&Lifecycle::new(Duration::ZERO));
        assert!(readiness.is_ready());

        let (storage, bus) = (readiness.latch("storage"), readiness.latch("bus"));
        storage.set_ready();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.unready(), BTreeMap::from([("bus", "starting".to_owned())]));

        bus.set_ready();
        assert!(readiness.is_ready());
        storage.set_unready("connection lost");
        assert_eq!(readiness.unready(), BTreeMap::from([("storage", "connection lost".to_owned())]));
    }

    #[test]
    fn draining_turns_readiness_off() {
        let lifecycle = Lifecycle::new(Duration::ZERO);
        let readiness = Readiness::new(&lifecycle);
        readiness.latch("storage").set_ready();
        lifecycle.shut_down();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.unready(), BTreeMap::from([("lifecycle", "draining".to_owned())]));
    }
}
