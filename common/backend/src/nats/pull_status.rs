//! What a server says about a pull request instead of a message.

use async_nats::Message;

const PENDING: &str = "Nats-Pending-Messages";
const HEARTBEAT: u16 = 100;
const CONFLICT: u16 = 409;
const NO_RESPONDERS: u16 = 503;

/// One pull request, as its reply subject names it: `<inbox>.<generation>.<messages>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Requests of an earlier one are given up.
    pub generation: u64,
    pub messages: usize,
}

/// What has become of a pull request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PullStatus {
    /// It stands.
    Alive,
    /// It ended in order, with so many messages not delivered.
    Ended(usize),
    /// The server does not take it now.
    Refused(usize),
    /// No request of ours stands any more.
    AllEnded,
    /// The consumer is not there.
    Gone,
}

impl Asked {
    pub fn subject(self, inbox: &str) -> String {
        format!("{inbox}.{}.{}", self.generation, self.messages)
    }

    pub fn of(subject: &str) -> Option<Asked> {
        let (rest, messages) = subject.rsplit_once('.')?;
        let (_, generation) = rest.rsplit_once('.')?;
        Some(Asked { generation: generation.parse().ok()?, messages: messages.parse().ok()? })
    }
}

impl PullStatus {
    pub fn of(message: &Message, asked: Asked) -> PullStatus {
        let pending = message.headers.as_ref().and_then(|headers| headers.get(PENDING));
        let pending = pending.and_then(|text| text.as_str().parse::<usize>().ok()).map(|n| n.min(asked.messages));
        let text = message.description.as_deref().unwrap_or_default().to_ascii_lowercase();
        match message.status.map(|status| status.as_u16()) {
            Some(HEARTBEAT) => PullStatus::Alive,
            Some(NO_RESPONDERS) => PullStatus::Gone,
            Some(CONFLICT) if text.contains("consumer deleted") => PullStatus::Gone,
            Some(CONFLICT) if text.contains("leadership") || text.contains("shutdown") => PullStatus::AllEnded,
            Some(CONFLICT) if text.contains("exceeded") => PullStatus::Refused(asked.messages),
            Some(404 | 408) | Some(CONFLICT) => pending.map_or(PullStatus::AllEnded, PullStatus::Ended),
            _ => PullStatus::Refused(asked.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::{HeaderMap, StatusCode};

    const ASKED: Asked = Asked { generation: 3, messages: 16 };

    fn status(code: u16, text: &str, pending: Option<&str>) -> PullStatus {
        let mut headers = HeaderMap::new();
        if let Some(pending) = pending {
            headers.insert(PENDING, pending);
        }
        let message = Message {
            subject: ASKED.subject("inbox").into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(headers),
            status: StatusCode::from_u16(code).ok(),
            description: Some(text.to_owned()),
            length: 0,
        };
        assert_eq!(Asked::of(&message.subject), Some(ASKED));
        PullStatus::of(&message, ASKED)
    }

    #[test]
    fn what_a_server_says_of_a_request_is_understood() {
        assert_eq!(status(100, "Idle Heartbeat", None), PullStatus::Alive);
        assert_eq!(status(408, "Request Timeout", Some("7")), PullStatus::Ended(7));
        assert_eq!(status(408, "Request Timeout", Some("9999")), PullStatus::Ended(16));
        assert_eq!(status(408, "Request Timeout", None), PullStatus::AllEnded);
        assert_eq!(status(409, "Consumer Deleted", None), PullStatus::Gone);
        assert_eq!(status(409, "Leadership Change", Some("3")), PullStatus::AllEnded);
        assert_eq!(status(409, "Server Shutdown", Some("3")), PullStatus::AllEnded);
        assert_eq!(status(409, "Exceeded MaxWaiting", None), PullStatus::Refused(16));
        assert_eq!(status(400, "Bad Request", None), PullStatus::Refused(16));
        assert_eq!(status(503, "", None), PullStatus::Gone);
    }
}
