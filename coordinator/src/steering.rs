//! Steering: what people ask of a run that another coordinator executes goes to that one.

use crate::actors::{BeginRun, ControlError, ControlRun, Root};
use actix::Addr;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use skein_common::ports::{Control, ControlRequest, ControlServer};
use skein_common::wire::{decode, encode};
use skein_common::{AgentNumber, RunId};
use skein_engine::{Command, Refused};
use std::sync::Arc;
use std::time::Duration;

/// Requests of other coordinators that wait for their run at the same time; beyond it they wait in the port.
const ANSWERED_AT_ONCE: usize = 256;
/// Before asking a port again that cannot serve now.
const SERVE_AGAIN: Duration = Duration::from_secs(1);

/// What a person may do to a run or one of its agents. Sent between coordinators: grows by optional fields only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Steer {
    Pause,
    Resume,
    Stop,
    StopAgent { agent: AgentNumber },
    RestartAgent { agent: AgentNumber },
    SkipAgent { agent: AgentNumber },
}

impl Steer {
    /// `None` for what no person asks.
    pub fn of(command: &Command) -> Option<Steer> {
        match command {
            Command::Pause => Some(Steer::Pause),
            Command::Resume => Some(Steer::Resume),
            Command::Stop => Some(Steer::Stop),
            Command::StopAgent { agent } => Some(Steer::StopAgent { agent: *agent }),
            Command::RestartAgent { agent } => Some(Steer::RestartAgent { agent: *agent }),
            Command::SkipAgent { agent } => Some(Steer::SkipAgent { agent: *agent }),
            _ => None,
        }
    }
}

impl From<Steer> for Command {
    fn from(steer: Steer) -> Command {
        match steer {
            Steer::Pause => Command::Pause,
            Steer::Resume => Command::Resume,
            Steer::Stop => Command::Stop,
            Steer::StopAgent { agent } => Command::StopAgent { agent },
            Steer::RestartAgent { agent } => Command::RestartAgent { agent },
            Steer::SkipAgent { agent } => Command::SkipAgent { agent },
        }
    }
}

/// Sent by: a coordinator that was asked, to the owner of the run's shard. Answered by [`OwnerReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum OwnerQuestion {
    Steer {
        run: RunId,
        steer: Steer,
    },
    /// It was submitted elsewhere: take it up now, and not at the next look.
    Begin {
        run: RunId,
    },
}

/// The answer to an [`OwnerQuestion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum OwnerReply {
    /// The journal has it, or the run lives.
    Done,
    Refused {
        refused: Refused,
    },
    NotHere,
    Unanswered,
    NotBegun {
        reason: String,
    },
}

/// Asks the owner of the run; `None` when nobody answers, or not what this version reads.
pub(crate) async fn ask_owner(steering: &dyn Control, run: &RunId, question: &OwnerQuestion) -> Option<OwnerReply> {
    let bytes = encode(question).map_err(|error| tracing::error!(%error, "owner not asked")).ok()?;
    match steering.request(run, bytes).await {
        Ok(answer) => decode(&answer).map_err(|error| tracing::warn!(run_id = %run, %error, "answer dropped")).ok(),
        Err(error) => {
            tracing::info!(run_id = %run, %error, "the owner of the run does not answer");
            None
        }
    }
}

/// Answers other coordinators until Root is gone.
pub(crate) async fn serve(steering: Arc<dyn Control>, root: Addr<Root>) {
    while root.connected() {
        match steering.serve().await {
            Ok(server) => return serve_with(server, &root).await,
            Err(error) => tracing::warn!(%error, "other coordinators cannot be answered yet"),
        }
        tokio::time::sleep(SERVE_AGAIN).await;
    }
}

async fn serve_with(server: Box<dyn ControlServer>, root: &Addr<Root>) {
    let requests = futures::stream::unfold(server, async |mut server| Some((server.next().await?, server)));
    requests.for_each_concurrent(ANSWERED_AT_ONCE, async |request| answer(request, root).await).await;
}

async fn answer(ControlRequest { request, reply }: ControlRequest, root: &Addr<Root>) {
    let answer = match decode::<OwnerQuestion>(&request) {
        Ok(question) => answer_to(question, root).await,
        Err(error) => return tracing::warn!(%error, "question of a coordinator dropped"),
    };
    match encode(&answer) {
        Ok(bytes) => reply.send(bytes),
        Err(error) => tracing::error!(%error, "answer to a coordinator not sent"),
    }
}

async fn answer_to(question: OwnerQuestion, root: &Addr<Root>) -> OwnerReply {
    match question {
        OwnerQuestion::Steer { run, steer } => {
            match root.send(ControlRun { run, command: steer.into() }).await.unwrap_or(Err(ControlError::Unanswered)) {
                Ok(()) => OwnerReply::Done,
                Err(ControlError::NotHere(_)) => OwnerReply::NotHere,
                Err(ControlError::Refused(refused)) => OwnerReply::Refused { refused },
                Err(ControlError::Unanswered) => OwnerReply::Unanswered,
            }
        }
        OwnerQuestion::Begin { run } => match root.send(BeginRun { run, is_left: false }).await {
            Ok(Ok(())) => OwnerReply::Done,
            Ok(Err(reason)) => OwnerReply::NotBegun { reason },
            Err(_closing) => OwnerReply::Unanswered,
        },
    }
}
