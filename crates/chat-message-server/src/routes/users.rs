//! `/api/v1/users`.

pub(super) mod change_me;
pub(super) mod get;
pub(super) mod me;
pub(super) mod revoke_my_tokens;
