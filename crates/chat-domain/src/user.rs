//! Users: who they are and what their status lets them do.

use crate::{Refusal, Timestamp, UserId, Violation, limits, named::named_enum};

/// A person or service known to the platform. Made at its first authenticated request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The `sub` of its token.
    pub id: UserId,
    /// Shown to others. Not unique.
    pub username: String,
    /// Shown to nobody but the user.
    pub email: Option<String>,
    /// What the user may do.
    pub status: UserStatus,
    /// Tokens that were issued before this moment are void; `None` if none were ever revoked. See [`is_void`].
    pub tokens_valid_from: Option<Timestamp>,
    /// First authenticated request.
    pub created_at: Timestamp,
    /// Last change of the profile or the status.
    pub updated_at: Timestamp,
}

impl User {
    /// Sets a new status, if the present one allows that.
    pub fn change_status(&mut self, to: UserStatus, at: Timestamp) -> Result<(), Refusal> {
        if self.status == to {
            return Ok(());
        }
        if !self.status.may_become(to) {
            return Err(Refusal::StatusTransition { from: self.status, to });
        }
        self.status = to;
        self.updated_at = at;
        Ok(())
    }
}

/// Is a token void that was issued at this moment, for a user whose tokens are valid from that moment on?
///
/// Issuers round the moment down, mostly to whole seconds, and so it is compared: a token of the second in which others
/// were revoked is void even if it was made after them, since it may have been made before. Of a token that does not say
/// when it was issued nobody knows, so any revocation makes it void.
pub fn is_void(issued_at: Option<Timestamp>, tokens_valid_from: Option<Timestamp>) -> bool {
    // `None` comes before every moment.
    issued_at < tokens_valid_from
}

/// Checks a user name from a profile change.
pub fn check_username(name: &str) -> Result<(), Violation> {
    if name.trim().is_empty() {
        return Err(Violation::new("username", "must not be blank"));
    }
    if name.chars().any(char::is_control) {
        return Err(Violation::new("username", "must not have control characters"));
    }
    if name.chars().count() > limits::USERNAME {
        return Err(Violation::new("username", format!("must have at most {} characters", limits::USERNAME)));
    }
    Ok(())
}

/// Checks an e-mail address for its rough form; only a mail to it can prove more.
pub fn check_email(email: &str) -> Result<(), Violation> {
    let well_formed = email
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if !well_formed || email.chars().any(char::is_whitespace) {
        return Err(Violation::new("email", "must be an e-mail address"));
    }
    if email.chars().count() > limits::EMAIL {
        return Err(Violation::new("email", format!("must have at most {} characters", limits::EMAIL)));
    }
    Ok(())
}

named_enum! {
    /// What a user may do.
    pub enum UserStatus {
        /// Everything.
        Active = "ACTIVE",
        /// Read, but not write, until made active again.
        Suspended = "SUSPENDED",
        /// Nothing.
        Banned = "BANNED",
        /// Nothing, for ever: the user has left the platform.
        Withdrawn = "WITHDRAWN",
    }
}

impl UserStatus {
    /// May the user send, join and change things?
    pub const fn may_write(self) -> bool {
        matches!(self, Self::Active)
    }

    /// May the user read and listen?
    pub const fn may_read(self) -> bool {
        matches!(self, Self::Active | Self::Suspended)
    }

    /// Is the change from this status to another one allowed?
    pub const fn may_become(self, to: Self) -> bool {
        match (self, to) {
            (Self::Withdrawn, _) => false,
            (Self::Banned, Self::Suspended) => false,
            (_, _) => true,
        }
    }
}

/// On whose behalf a command runs, and with what authority beyond the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// Holds the role ADMIN: may moderate every channel without being a member.
    pub admin: bool,
}

impl Actor {
    /// A user with no authority but its own.
    pub const fn user(user_id: UserId) -> Self {
        Self { user_id, admin: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(status: UserStatus) -> User {
        let at = Timestamp::from_millis(1);
        User {
            id: UserId::new(at),
            username: "alice".into(),
            email: None,
            status,
            tokens_valid_from: None,
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn withdrawn_is_final() {
        for to in UserStatus::ALL.iter().copied().filter(|to| *to != UserStatus::Withdrawn) {
            let refused = user(UserStatus::Withdrawn).change_status(to, Timestamp::from_millis(2));
            assert_eq!(refused, Err(Refusal::StatusTransition { from: UserStatus::Withdrawn, to }));
        }
    }

    #[test]
    fn a_status_can_be_set_again_without_effect() {
        for &status in UserStatus::ALL {
            let mut user = user(status);
            assert_eq!(user.change_status(status, Timestamp::from_millis(9)), Ok(()));
            assert_eq!(user.updated_at, Timestamp::from_millis(1));
        }
    }

    #[test]
    fn a_ban_is_lifted_to_active_only() {
        assert!(UserStatus::Banned.may_become(UserStatus::Active));
        assert!(!UserStatus::Banned.may_become(UserStatus::Suspended));
    }

    #[test]
    fn who_may_write_may_read() {
        for &status in UserStatus::ALL {
            assert!(!status.may_write() || status.may_read());
        }
        assert!(!UserStatus::Banned.may_read());
        assert!(UserStatus::Suspended.may_read() && !UserStatus::Suspended.may_write());
    }

    #[test]
    fn tokens_are_void_from_before_the_revocation_and_of_its_second() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        for (issued_at, valid_from, void) in [
            (at(41_000), at(42_500), true),
            (at(42_000), at(42_500), true),
            (at(42_499), at(42_500), true),
            (at(42_500), at(42_500), false),
            (at(43_000), at(42_500), false),
            (at(42_000), at(42_000), false),
            (None, at(42_500), true),
            (None, at(-1), true),
            (None, None, false),
            (at(0), None, false),
        ] {
            assert_eq!(is_void(issued_at, valid_from), void, "{issued_at:?} {valid_from:?}");
        }
    }

    #[test]
    fn names_are_the_json_names() {
        for &status in UserStatus::ALL {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
    }

    #[test]
    fn usernames_and_addresses_are_checked() {
        assert!(check_username("Ålice").is_ok());
        assert!(check_username("  ").is_err());
        for bad in ["a\0", "a\nb", "\u{1b}[31ma"] {
            assert!(check_username(bad).is_err(), "{bad:?}");
        }
        assert!(check_username(&"x".repeat(limits::USERNAME + 1)).is_err());
        assert!(check_email("a@b.example").is_ok());
        for bad in ["", "a", "@b", "a@", "a b@c", "a@b@c"] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }
}
