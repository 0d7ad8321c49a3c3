//! Values that cross the system: small ones in place, large ones by digest.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Text above this size stands in a journal event by its digest and is stored as a blob first.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

/// SHA-256 of a blob, as lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            let _ = write!(hex, "{byte:02x}");
        }
        Digest(hex)
    }

    /// Whether it can be the digest of anything. One that was read may be any text.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A prompt, argument or result: plain text or JSON text, in place or by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "snake_case")]
pub enum Payload {
    Text {
        text: String,
    },
    Json {
        json: String,
    },
    /// Text in the blobs of the run.
    TextBlob {
        digest: Digest,
        bytes: u64,
    },
    /// JSON text in the blobs of the run.
    JsonBlob {
        digest: Digest,
        bytes: u64,
    },
}

impl Payload {
    /// Plain text in place.
    pub fn text(text: impl Into<String>) -> Payload {
        Payload::Text { text: text.into() }
    }

    /// JSON text in place.
    pub fn json(json: impl Into<String>) -> Payload {
        Payload::Json { json: json.into() }
    }

    /// The text in place, `None` when it is elsewhere.
    #[must_use]
    pub fn inline(&self) -> Option<&str> {
        match self {
            Payload::Text { text } => Some(text),
            Payload::Json { json } => Some(json),
            Payload::TextBlob { .. } | Payload::JsonBlob { .. } => None,
        }
    }

    /// The digest, when the text is elsewhere.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Payload::TextBlob { digest, .. } | Payload::JsonBlob { digest, .. } => Some(digest),
            Payload::Text { .. } | Payload::Json { .. } => None,
        }
    }

    /// The digest that it has, or would have as a blob.
    #[must_use]
    pub fn digest_as_blob(&self) -> Digest {
        match (self.digest(), self.inline()) {
            (Some(digest), _) => digest.clone(),
            (None, text) => Digest::of(text.unwrap_or_default().as_bytes()),
        }
    }

    /// Whether the text is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self, Payload::Json { .. } | Payload::JsonBlob { .. })
    }

    /// Size of the text, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Payload::Text { text } => text.len() as u64,
            Payload::Json { json } => json.len() as u64,
            Payload::TextBlob { bytes, .. } | Payload::JsonBlob { bytes, .. } => *bytes,
        }
    }

    /// The same value by reference, when it is too large for an event; its text has to be stored first.
    #[must_use]
    pub fn reference_if_large(&self) -> Option<Payload> {
        let text = self.inline().filter(|text| text.len() > INLINE_BYTES_MAX)?;
        let (digest, bytes) = (Digest::of(text.as_bytes()), text.len() as u64);
        Some(if self.is_json() { Payload::JsonBlob { digest, bytes } } else { Payload::TextBlob { digest, bytes } })
    }
}
