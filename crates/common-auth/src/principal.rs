//! Who is asking.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::UnixTime;

/// An authenticated user or service, as a verified token describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The claim `sub`.
    pub user_id: Uuid,
    /// The claim `preferred_username`, if the token has one.
    pub username: Option<String>,
    /// The known roles of the claim `roles`. Names that are not a [`Role`] grant nothing and are left out.
    pub roles: Vec<Role>,
    /// The claim `authorities`, as it is.
    pub authorities: Vec<String>,
    /// The claim `iat`, if the token has one. A token may have been revoked since: the verifier does not know.
    pub issued_at: Option<UnixTime>,
    /// The claim `exp`. A long connection ends or renews its token before this moment.
    pub expires_at: UnixTime,
}

impl Principal {
    /// Does the principal hold this role?
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// What a principal may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Administers users and content.
    Admin,
    /// Another backend, which may act for users.
    Service,
    /// An ordinary user.
    User,
}

impl Role {
    const ALL: [Self; 3] = [Self::Admin, Self::Service, Self::User];

    /// The name in a token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "ADMIN",
            Self::Service => "SERVICE",
            Self::User => "USER",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a [`Role`].
#[derive(Debug, thiserror::Error)]
#[error("unknown role, known are ADMIN, SERVICE and USER")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or(UnknownRole)
    }
}
