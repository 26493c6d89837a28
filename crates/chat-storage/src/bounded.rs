//! The bounds that every call has.

use std::{future::Future, io, time::Duration};

use chat_domain::ports::StorageError;
use tokio::time::Instant;

use crate::{
    error::{FailureKind, is_conflict, storage_error},
    metrics::Metrics,
};

/// How often a transaction that lost against another one is tried. Each round that is lost is one that somebody else has
/// won, so more would only hide a defect.
const ATTEMPTS: u32 = 3;

/// How long a write that nobody asked for may hold up the call that it rides on.
const SIDE_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// What holds for every call of one store.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// The longest that one may take.
    pub(crate) limit: Duration,
    /// Counts it.
    pub(crate) metrics: Metrics,
}

impl Bounds {
    /// Runs one call to its end or to the deadline. What a call that ran out of time had begun is rolled back by its
    /// connection; a commit may have gone through.
    pub(crate) async fn run<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StorageError> {
        let began = Instant::now();
        let outcome = tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| Err(timed_out()));
        self.metrics.ended(operation, began.elapsed(), outcome.as_ref().err().map(FailureKind::of));
        outcome.map_err(|error| storage_error(operation, error))
    }
}

/// Runs a write that the call succeeds without, and that a later call makes up for.
pub(crate) async fn side_write(operation: &'static str, write: impl Future<Output = Result<(), sqlx::Error>>) {
    let outcome = tokio::time::timeout(SIDE_WRITE_TIMEOUT, write).await.unwrap_or_else(|_| Err(timed_out()));
    if let Err(error) = outcome {
        tracing::debug!(operation, error = %error, "a write that can wait was left out");
    }
}

/// Tries a transaction again while others get in its way.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T, sqlx::Error>>>(
    mut transaction: impl FnMut() -> F,
) -> Result<T, sqlx::Error> {
    let mut attempt = 1;
    loop {
        match transaction().await {
            Err(error) if attempt < ATTEMPTS && is_conflict(&error) => {
                tracing::debug!(attempt, error = %error, "a storage transaction lost against another one");
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The error of a call that had no answer in time.
pub(crate) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
}
