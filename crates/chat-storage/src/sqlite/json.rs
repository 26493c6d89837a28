//! Sets of rows as one parameter: a JSON array, which `json_each` takes apart. The statement's text stays the same for
//! every number of rows, so it is prepared once.

use serde::Serialize;
use uuid::Uuid;

/// The JSON of these rows.
pub(super) fn array<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, sqlx::Error> {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// An id as `unhex` reads it.
pub(super) fn hex(id: Uuid) -> uuid::fmt::Simple {
    id.simple()
}
