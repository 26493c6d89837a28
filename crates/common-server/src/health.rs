//! How are the parts that this process depends on?

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use serde_json::Value;

/// A check that takes longer counts as [`HealthStatus::Down`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> BoxFuture<'static, ComponentHealth> + Send + Sync>;

/// The health checks of a process, by component.
#[derive(Clone, Default)]
pub struct Health {
    checks: BTreeMap<&'static str, Check>,
}

impl Health {
    /// Adds a component. The check runs whenever somebody asks, and for 2 seconds at most.
    #[must_use]
    pub fn component<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ComponentHealth> + Send + 'static,
    {
        self.checks.insert(name, Arc::new(move || Box::pin(check())));
        self
    }

    /// Runs all checks at once. The whole is as healthy as its worst component.
    pub(crate) async fn check(&self) -> HealthReport {
        let checks = self.checks.iter().map(async |(name, check)| {
            let in_time = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            (*name, in_time.unwrap_or_else(|_| ComponentHealth::down("no answer in time")))
        });
        let components: BTreeMap<_, _> = join_all(checks).await.into_iter().collect();
        let status = components.values().map(|component| component.status).max().unwrap_or(HealthStatus::Up);
        HealthReport { status, components }
    }
}

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthStatus {
    /// Works.
    Up,
    /// Works, but not as it should. The process can still serve.
    Degraded,
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
        Self { status: HealthStatus::Degraded, ..Self::up() }.detail("reason", reason.into())
    }

    /// The component does not work.
    pub fn down(reason: impl Into<String>) -> Self {
        Self { status: HealthStatus::Down, ..Self::up() }.detail("reason", reason.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_worst_component_decides() {
        let health = Health::default().component("a", async || ComponentHealth::up());
        assert_eq!(health.check().await.status, HealthStatus::Up);
        let health = health.component("b", async || ComponentHealth::degraded("slow"));
        assert_eq!(health.check().await.status, HealthStatus::Degraded);
        let health = health.component("c", async || ComponentHealth::down("gone"));
        assert_eq!(health.check().await.status, HealthStatus::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_down() {
        let health = Health::default().component("stuck", std::future::pending);
        assert_eq!(health.check().await.components["stuck"], ComponentHealth::down("no answer in time"));
    }
}
