//! A run as it happens. A connection that breaks is made again, and goes on behind the last event.

use super::frames::{Frame, Frames};
use crate::client::{Client, refusal};
use anyhow::Context as _;
use reqwest::Response;
use skein_common::RunId;
use skein_common::view::RunView;
use skein_coordinator::{Position, RunEvent};
use std::time::Duration;

/// Before a connection is made anew.
const CONNECT_AGAIN: Duration = Duration::from_millis(250);
/// Connections in a row that bring no event: then something is wrong that does not pass. A proxy may end one every
/// minute though the run is quiet, for hours.
const IN_VAIN_MAX: u32 = 1_000;

/// One thing that happened.
#[derive(Debug)]
pub enum Live {
    /// Each once, in the order of the journal.
    Event(Box<RunEvent>),
    /// How the run stands now.
    View(Box<RunView>),
    /// The last.
    End,
}

/// Follows one run.
#[derive(Debug)]
pub struct LiveRun<'a> {
    client: &'a Client,
    run: RunId,
    last: Option<Position>,
    connection: Option<Connection>,
    in_vain: u32,
}

#[derive(Debug)]
struct Connection {
    answer: Response,
    frames: Frames,
}

impl Connection {
    /// `None` when it broke.
    async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.take()? {
                return Ok(Some(frame));
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.frames.put(&bytes)?,
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

impl<'a> LiveRun<'a> {
    /// From the beginning of the run.
    #[must_use]
    pub fn new(client: &'a Client, run: &RunId) -> LiveRun<'a> {
        LiveRun { client, run: run.clone(), last: None, connection: None, in_vain: 0 }
    }

    /// Waits for the next thing that happens.
    ///
    /// # Errors
    /// There is no such run, or the process cannot be reached any more.
    pub async fn next(&mut self) -> anyhow::Result<Live> {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => self.connection.insert(connect(self.client, &self.run, self.last).await?),
            };
            match connection.next().await? {
                Some(frame) => {
                    if let Some(live) = self.read(&frame)? {
                        return Ok(live);
                    }
                }
                None => self.broke().await?,
            }
        }
    }

    async fn broke(&mut self) -> anyhow::Result<()> {
        self.connection = None;
        self.in_vain += 1;
        if self.in_vain > IN_VAIN_MAX {
            anyhow::bail!("the events of {} break off again and again", self.run);
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
        Ok(())
    }

    /// What this version does not know is passed over.
    fn read(&mut self, frame: &Frame) -> anyhow::Result<Option<Live>> {
        let unreadable = || format!("an event of {} cannot be read", self.run);
        match frame.name.as_str() {
            "journal" => {
                let event: RunEvent = serde_json::from_str(&frame.data).with_context(unreadable)?;
                if self.last.is_some_and(|last| event.position <= last) {
                    return Ok(None);
                }
                self.last = Some(event.position);
                self.in_vain = 0;
                Ok(Some(Live::Event(Box::new(event))))
            }
            "view" => Ok(Some(Live::View(Box::new(serde_json::from_str(&frame.data).with_context(unreadable)?)))),
            "end" => Ok(Some(Live::End)),
            _ => Ok(None),
        }
    }
}

async fn connect(client: &Client, run: &RunId, last: Option<Position>) -> anyhow::Result<Connection> {
    let last = last.map(|last| last.to_string());
    let answer = client.stream(&format!("/runs/{run}/events"), last.as_deref()).await.map_err(refusal)?;
    Ok(Connection { answer, frames: Frames::default() })
}
