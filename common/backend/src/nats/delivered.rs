//! A message as a consumer delivers it.

use async_nats::{Message, Subject};
use bytes::Bytes;

/// Where the reply of a delivered message begins; nothing else has such a reply.
const ACK_PREFIX: &str = "$JS.ACK.";
/// Tokens of a reply up to 2.9 and, with a domain and the hash of an account in front, since 2.10 in some set-ups.
const TOKENS_SHORT: usize = 9;
const TOKENS_LONG: usize = 11;

/// A stored message on its way to somebody who acknowledges it.
#[derive(Debug)]
pub(super) struct Delivered {
    /// Its sequence in the stream: the same at each delivery.
    pub sequence: u64,
    pub subject: Subject,
    /// Where to acknowledge this delivery.
    pub ack: Subject,
    pub payload: Bytes,
}

impl Delivered {
    /// `None` for what is no stored message, such as the end of a request. What decides is the reply, which the
    /// server writes; a status line could be the publisher's.
    pub fn of(message: &Message) -> Option<Delivered> {
        let ack = message.reply.clone()?;
        let sequence = stream_sequence(&ack)?;
        Some(Delivered { sequence, subject: message.subject.clone(), ack, payload: message.payload.clone() })
    }
}

fn stream_sequence(reply: &str) -> Option<u64> {
    let tokens: Vec<&str> = reply.strip_prefix(ACK_PREFIX).map(|_| reply.split('.').collect())?;
    let position = match tokens.len() {
        TOKENS_SHORT => 5,
        TOKENS_LONG.. => 7,
        _ => return None,
    };
    tokens.get(position)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_read_from_both_forms_of_the_reply() {
        assert_eq!(stream_sequence("$JS.ACK.S.c.1.42.7.1700000000.0"), Some(42));
        assert_eq!(stream_sequence("$JS.ACK.hub.ACCHASH.S.c.1.42.7.1700000000.0"), Some(42));
        assert_eq!(stream_sequence("$JS.ACK.hub.ACCHASH.S.c.1.42.7.1700000000.0.random"), Some(42));
        for other in ["_INBOX.a.b", "$JS.ACK", "$JS.ACK.S.c.1", "$JS.ACK.S.c.1.x.7.1700000000.0"] {
            assert_eq!(stream_sequence(other), None, "{other}");
        }
    }
}
