//! `/api/v1/admin`: for the role ADMIN.

pub(super) mod change_user;
pub(super) mod revoke_tokens;
