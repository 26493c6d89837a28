use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// Why a session ends. The numbers are the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said goodbye.
    Normal,
    /// A frame larger than allowed.
    FrameTooBig,
    /// The server failed.
    Internal,
    /// Frames of unknown type, repeatedly.
    UnknownFrame,
    /// Frames that are not JSON or have bad fields, repeatedly.
    BadFrame,
    /// No valid AUTH in time.
    AuthTimeout,
    /// The token is invalid, has expired or was revoked. Terminal.
    TokenInvalid,
    /// Too many frames, in spite of warnings.
    RateLimited,
    /// No sign of life for two heartbeats.
    NoHeartbeat,
    /// The client did not read fast enough. Come back and resume.
    SlowConsumer,
    /// The instance is going away. Come back and resume.
    Draining,
    /// The user may not be here. Terminal.
    Forbidden,
    /// The user has too many connections. Terminal.
    TooManyConnections,
    /// Storage cannot be asked who the user is. Come back.
    TryAgainLater,
}

impl CloseReason {
    /// The close code.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::FrameTooBig => 1009,
            Self::Internal => 1011,
            Self::TryAgainLater => 1013,
            Self::UnknownFrame => 4001,
            Self::BadFrame => 4002,
            Self::AuthTimeout => 4003,
            Self::TokenInvalid => 4004,
            Self::RateLimited => 4008,
            Self::NoHeartbeat => 4009,
            Self::SlowConsumer => 4020,
            Self::Draining => 4022,
            Self::Forbidden => 4501,
            Self::TooManyConnections => 4502,
        }
    }

    /// The text beside the code, also the label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::FrameTooBig => "frame too big",
            Self::Internal => "internal error",
            Self::TryAgainLater => "try again later",
            Self::UnknownFrame => "unknown frame",
            Self::BadFrame => "bad frame",
            Self::AuthTimeout => "not authenticated in time",
            Self::TokenInvalid => "token invalid or expired",
            Self::RateLimited => "rate limited",
            Self::NoHeartbeat => "no heartbeat",
            Self::SlowConsumer => "slow consumer",
            Self::Draining => "draining",
            Self::Forbidden => "forbidden",
            Self::TooManyConnections => "too many connections",
        }
    }

    /// The close frame.
    pub fn frame(self) -> CloseFrame {
        CloseFrame { code: CloseCode::from(self.code()), reason: self.as_str().into() }
    }
}
