//! A bound on how long storage is waited for.

use std::time::Duration;

use chat_domain::ports::StorageError;
use tokio::time::timeout;

/// What storage answers within `limit`; later it counts as unavailable, and the caller's policy for that applies.
pub(crate) async fn in_time<T>(
    operation: &'static str,
    limit: Duration,
    read: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    timeout(limit, read)
        .await
        .unwrap_or_else(|late| Err(StorageError::Unavailable { operation, source: Box::new(late) }))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_ends_in_time() {
        let (began, limit) = (Instant::now(), Duration::from_secs(5));
        let hanging = in_time("replay", limit, std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(hanging, Err(StorageError::Unavailable { operation: "replay", .. })));
        assert!(began.elapsed() <= limit + Duration::from_millis(10));
    }
}
