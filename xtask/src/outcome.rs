//! Failures that a person reads: one sentence that says what was tried and why it did not work.

use std::fmt::Display;

/// What every step returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command stopped.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// A failure with this message.
pub(crate) fn failure<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure(message.into()))
}

/// Says what was tried when an error came up.
pub(crate) trait While<T> {
    /// Prefixes the error with `what`, as in "reading the secret: permission denied".
    fn while_doing(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> While<T> for Result<T, E> {
    fn while_doing(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
