//! Enums whose variants have one name in JSON, in storage and in text.

use thiserror::Error;

/// A text that names no variant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {kind} {text:?}, expected one of {expected}")]
pub struct UnknownName {
    /// The enum.
    pub kind: &'static str,
    /// What was read.
    pub text: String,
    /// The names there are.
    pub expected: String,
}

macro_rules! named_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one name, in JSON and in storage.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::named::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    $crate::named::UnknownName {
                        kind: stringify!($name),
                        text: text.to_owned(),
                        expected: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use named_enum;
