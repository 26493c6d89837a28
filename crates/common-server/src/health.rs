//! How are the parts that this process depends on?

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common_logging::mask_url;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

/// A check that takes longer counts as [`HealthStatus::Down`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Whoever asks within this time after a run began shares its results, so that many who ask cost no more than one. As
/// checks have their timeout, three runs at most go on at once.
const SHARED_FOR: Duration = Duration::from_secs(1);

type Check = Arc<dyn Fn() -> BoxFuture<'static, ComponentHealth> + Send + Sync>;

/// The health checks of a process, by component.
#[derive(Clone, Default)]
pub struct Health {
    checks: BTreeMap<&'static str, Check>,
    latest: Arc<Mutex<Option<Run>>>,
}

struct Run {
    began: Instant,
    report: Shared<BoxFuture<'static, Arc<HealthReport>>>,
}

impl Health {
    /// Adds a component. The check runs when somebody asks, but not more than once a second, and for 2 seconds at most.
    #[must_use]
    pub fn component<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ComponentHealth> + Send + 'static,
    {
        self.checks.insert(name, Arc::new(move || Box::pin(check())));
        self
    }

    /// The results of the run that began a moment ago, or else of a new one.
    pub(crate) async fn check(&self) -> Arc<HealthReport> {
        let report = {
            let mut latest = self.latest.lock();
            let recent = latest.take().filter(|run| run.began.elapsed() < SHARED_FOR);
            let run = recent.unwrap_or_else(|| Run { began: Instant::now(), report: self.run().boxed().shared() });
            latest.insert(run).report.clone()
        };
        report.await
    }

    /// Runs all checks at once.
    fn run(&self) -> impl Future<Output = Arc<HealthReport>> + Send + use<> {
        let checks = self.checks.clone().into_iter().map(async |(name, check)| {
            let in_time = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            (name, in_time.unwrap_or_else(|_| ComponentHealth::down("no answer in time")))
        });
        join_all(checks).map(|components| Arc::new(HealthReport::of(components)))
    }
}

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthStatus {
    /// Works.
    Up,
    /// Works, but not as it should. The process can still serve.
    Degraded,
    /// Works, but is to be sent no traffic.
    OutOfService,
    /// Does not work.
    Down,
}

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentHealth {
    status: HealthStatus,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, Value>,
}

impl ComponentHealth {
    /// The component works.
    pub fn up() -> Self {
        Self { status: HealthStatus::Up, details: BTreeMap::new() }
    }

    /// The component works, but not as it should.
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self::not_up(HealthStatus::Degraded, reason)
    }

    /// The component does not work.
    pub fn down(reason: impl Into<String>) -> Self {
        Self::not_up(HealthStatus::Down, reason)
    }

    /// The component works, but traffic is not welcome.
    pub(crate) fn out_of_service(reason: impl Into<String>) -> Self {
        Self::not_up(HealthStatus::OutOfService, reason)
    }

    fn not_up(status: HealthStatus, reason: impl Into<String>) -> Self {
        // The error of a client library may name its URL.
        Self { status, ..Self::up() }.detail("reason", mask_url(&reason.into()).into_owned())
    }

    /// How the component is.
    pub(crate) fn status(&self) -> HealthStatus {
        self.status
    }

    /// Adds a detail. The management port shows it, so it must hold no secret.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }
}

/// The answers of all checks.
#[derive(Debug, Serialize)]
pub(crate) struct HealthReport {
    pub(crate) status: HealthStatus,
    pub(crate) components: BTreeMap<&'static str, ComponentHealth>,
}

impl HealthReport {
    /// The whole is as healthy as its worst component.
    pub(crate) fn of(components: impl IntoIterator<Item = (&'static str, ComponentHealth)>) -> Self {
        let components: BTreeMap<_, _> = components.into_iter().collect();
        let status = components.values().map(ComponentHealth::status).max().unwrap_or(HealthStatus::Up);
        Self { status, components }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_worst_component_decides() {
        let components = [
            ("a", ComponentHealth::up()),
            ("b", ComponentHealth::degraded("slow")),
            ("c", ComponentHealth::out_of_service("starting")),
            ("d", ComponentHealth::down("gone")),
        ];
        let worst = |count| HealthReport::of(components[..count].to_vec()).status;
        assert_eq!([worst(0), worst(1)], [HealthStatus::Up; 2]);
        assert_eq!([worst(2), worst(3)], [HealthStatus::Degraded, HealthStatus::OutOfService]);
        assert_eq!(worst(4), HealthStatus::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_down() {
        let health = Health::default().component("stuck", std::future::pending);
        assert_eq!(health.check().await.components["stuck"], ComponentHealth::down("no answer in time"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_shared_for_a_second() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let health = Health::default().component("counted", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { ComponentHealth::up() }
        });
        tokio::join!(health.check(), health.check());
        tokio::time::advance(SHARED_FOR / 2).await;
        health.check().await;
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        tokio::time::advance(SHARED_FOR).await;
        health.check().await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_reason_shows_no_password() {
        let health = ComponentHealth::down("cannot reach postgres://app:hush@db/app");
        assert_eq!(health, ComponentHealth::down("cannot reach postgres://app:***@db/app"));
        assert!(!serde_json::to_string(&health).unwrap().contains("hush"));
    }
}
