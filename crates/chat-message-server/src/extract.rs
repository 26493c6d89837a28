//! What handlers take a request apart with. Each refusal is an [`ApiError`](crate::error::ApiError).

mod caller;
mod json;
mod params;

pub(crate) use caller::Caller;
pub(crate) use json::{JsonBody, OptionalJsonBody, decode_at, nullable};
pub(crate) use params::{Limit, Path, Query, UserRef};
