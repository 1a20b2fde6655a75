//! Why a conversation ended.

use tidegate_proto::CloseCode;

/// How a WebSocket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Who or what ended it.
    pub reason: EndReason,
    /// The close code that was received or sent, if one was.
    pub code: Option<CloseCode>,
}

/// Who or what ended a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The peer sent a close frame.
    ClosedByPeer,
    /// The application closed it, and the peer agreed.
    ClosedByApplication,
    /// The server is going away, and the peer agreed.
    Drained,
    /// The peer broke RFC 6455.
    ProtocolError,
    /// The peer sent text that is not UTF-8.
    InvalidUtf8,
    /// The peer sent compressed data that is corrupt.
    InvalidDeflate,
    /// The peer sent a message over the limit.
    TooBig,
    /// The peer broke TLS, or what came was not what it had sent; or the keys are used up.
    TlsFailure,
    /// The peer ended its stream without a close frame.
    Ended,
    /// The connection was reset, or broke.
    Reset,
    /// The peer did not read, and its outbox was full.
    SlowConsumer,
    /// The peer did not read within the send timeout.
    SendTimeout,
    /// The peer did not finish a message in time.
    MessageTimeout,
    /// The peer did not answer a close frame in time.
    CloseTimeout,
    /// The peer gave no sign of life after some pings.
    HeartbeatTimeout,
    /// Nothing was received for too long.
    ReadIdle,
    /// No message went either way for too long.
    Idle,
    /// An operator has closed it.
    Disconnected,
    /// It said more than its rates allow.
    RateLimited,
    /// It has not shown who it is, or may not be here any more: the application has closed it for that.
    Unauthorized,
    /// The server stopped without waiting.
    Stopped,
}

impl EndReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 21] = [
        Self::ClosedByPeer,
        Self::ClosedByApplication,
        Self::Drained,
        Self::ProtocolError,
        Self::InvalidUtf8,
        Self::InvalidDeflate,
        Self::TooBig,
        Self::TlsFailure,
        Self::Ended,
        Self::Reset,
        Self::SlowConsumer,
        Self::SendTimeout,
        Self::MessageTimeout,
        Self::CloseTimeout,
        Self::HeartbeatTimeout,
        Self::ReadIdle,
        Self::Idle,
        Self::Disconnected,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Stopped,
    ];

    /// Whether the peer broke the protocol.
    pub(crate) const fn is_violation(self) -> bool {
        matches!(
            self,
            Self::ProtocolError | Self::InvalidUtf8 | Self::InvalidDeflate | Self::TooBig
        )
    }

    /// Whether a deadline passed while the conversation was open: a close that is not answered then
    /// does not change why it ended.
    pub(crate) const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::MessageTimeout | Self::HeartbeatTimeout | Self::ReadIdle | Self::Idle
        )
    }

    /// The code of the close frame with which the server ends a conversation for this reason, where
    /// there is only one.
    pub(crate) fn code_sent(self) -> Option<CloseCode> {
        match self {
            Self::MessageTimeout | Self::HeartbeatTimeout | Self::ReadIdle => {
                Some(CloseCode::POLICY)
            }
            Self::Idle => Some(CloseCode::NORMAL),
            Self::Drained => Some(CloseCode::GOING_AWAY),
            _ => None,
        }
    }

    /// A short name for metrics and logs, such as `closed_by_peer`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::ClosedByApplication => "closed_by_application",
            Self::Drained => "drained",
            Self::ProtocolError => "protocol_error",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidDeflate => "invalid_deflate",
            Self::TooBig => "too_big",
            Self::TlsFailure => "tls_failure",
            Self::Ended => "ended",
            Self::Reset => "reset",
            Self::SlowConsumer => "slow_consumer",
            Self::SendTimeout => "send_timeout",
            Self::MessageTimeout => "message_timeout",
            Self::CloseTimeout => "close_timeout",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::ReadIdle => "read_idle",
            Self::Idle => "idle",
            Self::Disconnected => "disconnected",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_at_its_own_index() {
        for (index, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
