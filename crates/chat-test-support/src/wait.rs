//! Waiting for a condition, bounded by a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at: short beside what is waited for, long beside one look.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls `condition` until it holds.
///
/// # Panics
/// When it does not hold within `deadline`; the message says `what` was waited for.
pub async fn wait_until(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    wait_for(what, deadline, async || condition().await.then_some(())).await;
}

/// Polls `attempt` until it yields a value.
///
/// # Panics
/// When it yields nothing within `deadline`, or one attempt alone takes that long; the message says `what` was waited for.
pub async fn wait_for<T>(what: &str, deadline: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, attempt()).await {
            Ok(Some(value)) => return value,
            Ok(None) if started.elapsed() < deadline => tokio::time::sleep(POLL_INTERVAL).await,
            Ok(None) | Err(_) => panic!("waited {deadline:?} in vain: {what}"),
        }
    }
}
