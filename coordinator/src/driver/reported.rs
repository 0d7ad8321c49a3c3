//! The large texts that reports name: each is here before its report counts.
//!
//! A result in the journal whose text nobody has would stop its run for ever. So a report that names what is not there,
//! or is no text, is that of an attempt that failed. A store that does not answer says nothing about the text.

use super::{Driver, DriverError};
use crate::journal::LoadError;
use skein_common::Payload;
use skein_common::agent::Cause;
use skein_common::ports::BlobError;
use skein_common::wire::AttemptEnd;
use skein_engine::Command;

impl Driver {
    /// The command as it is to be decided on.
    pub(super) async fn with_its_text(&mut self, command: Command) -> Result<Command, DriverError> {
        let Command::Report { agent, attempt, end, usage, notes } = command else { return Ok(command) };
        let refused = match named_by(&end) {
            Some(payload) => self.cannot_be_had(payload).await?,
            None => None,
        };
        let end = refused.map_or(end, failed);
        Ok(Command::Report { agent, attempt, end, usage, notes })
    }

    /// Why the text is of no use, if it is not. It is kept for its settlement, unless that has to wait for a person.
    async fn cannot_be_had(&mut self, payload: &Payload) -> Result<Option<String>, DriverError> {
        let Some(digest) = payload.digest() else { return Ok(None) };
        if !digest.is_possible() {
            return Ok(Some(String::from("the result is named by a digest that is none")));
        }
        match self.text_of(payload).await {
            Ok(text) => {
                if !self.run.state().paused {
                    self.texts.insert(digest.clone(), text);
                }
                Ok(None)
            }
            Err(DriverError::Load(
                error @ (LoadError::NotText { .. }
                | LoadError::Blob(BlobError::Missing { .. } | BlobError::Damaged { .. })),
            )) => Ok(Some(format!("the result cannot be had: {error}"))),
            Err(error) => Err(error),
        }
    }
}

/// The text that the end of an attempt brings, wherever it is.
fn named_by(end: &AttemptEnd) -> Option<&Payload> {
    match end {
        AttemptEnd::Done { value } => Some(value),
        AttemptEnd::Failed { unfit, .. } => unfit.as_deref(),
        AttemptEnd::Cancelled => None,
    }
}

/// Another attempt may do better.
fn failed(message: String) -> AttemptEnd {
    let detail = Some(String::from("bad_result"));
    AttemptEnd::Failed { cause: Cause::Failed, detail, message, retryable: true, unfit: None }
}
