//! Bundles: what is asked of one subject at about the same time travels as one message, and so do the answers. A
//! message costs both ends and the server about the same whether it has one part or sixteen.

use super::answering::publish;
use super::background::Background;
use super::connection::Connection;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::time::MissedTickBehavior;

/// A message of several parts has no more bytes than this; a larger part travels alone.
const BYTES_MAX: usize = 256 * 1024;
/// Who waits for so long for an owner that was there asks whether it still is.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Parts whose answers are there wait so long for those of the others.
const ANSWERS_WAIT: Duration = Duration::from_millis(2);
/// In the tag of an answer: nobody will answer this part.
const DROPPED: u32 = 1 << 31;
/// A tag and a length.
const HEAD_BYTES: usize = 8;

/// A part and what tells it from the others of its message.
type Part = (u32, Bytes);

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Here(Bytes),
    /// Whoever got it dropped it.
    Dropped,
    /// Nobody listens to the subject.
    Nobody,
    /// No word: it took too long, or the connection was lost. Somebody may have got it.
    Lost,
}

/// Asks questions in bundles.
#[derive(Debug)]
pub(super) struct Bundler {
    connection: Connection,
    questions: Arc<Questions>,
    _post: Background,
}

#[derive(Debug, Default)]
struct Questions {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    queued: BTreeMap<String, Vec<Question>>,
    open: BTreeMap<u64, Open>,
    messages: u64,
}

/// A message that is not answered yet.
#[derive(Debug)]
struct Open {
    subject: String,
    /// By tag, those who wait. None for a probe, which asks nothing but whether somebody is there.
    askers: Vec<Option<oneshot::Sender<Answer>>>,
    asked_at: Instant,
}

#[derive(Debug)]
struct Question {
    body: Bytes,
    asker: oneshot::Sender<Answer>,
}

/// A message that is ready to be sent.
struct Ready {
    subject: String,
    number: u64,
    payload: Bytes,
}

impl Bundler {
    pub fn start(connection: &Connection) -> Bundler {
        let questions = Arc::new(Questions::default());
        let post = post(connection.clone(), questions.clone());
        Bundler { connection: connection.clone(), questions, _post: Background::start(post) }
    }

    /// Asks, and waits for the answer no longer than this.
    pub async fn ask(&self, subject: String, body: Bytes, within: Duration) -> Answer {
        let asking = async {
            self.connection.connected().await;
            let (asker, answer) = oneshot::channel();
            self.questions.state().queued.entry(subject).or_default().push(Question { body, asker });
            self.questions.asked.notify_one();
            answer.await.unwrap_or(Answer::Lost)
        };
        tokio::time::timeout(within, asking).await.unwrap_or(Answer::Lost)
    }
}

async fn post(connection: Connection, questions: Arc<Questions>) {
    let client = connection.client();
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(format!("{inbox}.*")).await else { return };
    let mut connects = connection.connects();
    connects.mark_unchanged();
    let mut probes = tokio::time::interval(PROBE_EVERY);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Ok(()) = connects.changed() => questions.lose_all(),
            message = answers.next() => match message {
                Some(message) => questions.hear(message),
                None => return questions.lose_all(),
            },
            () = questions.asked.notified() => send(client, &inbox, &questions, questions.take()).await,
            _ = probes.tick(), if questions.is_waiting() => {
                send(client, &inbox, &questions, questions.probes()).await;
            }
        }
    }
}

async fn send(client: &Client, inbox: &str, questions: &Questions, ready: Vec<Ready>) {
    for Ready { subject, number, payload } in ready {
        if client.publish_with_reply(subject, format!("{inbox}.{number}"), payload).await.is_err() {
            questions.close(number, &Answer::Lost);
        }
    }
}

impl Questions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Ready> {
        let mut state = self.state();
        let queued = std::mem::take(&mut state.queued);
        let mut ready = Vec::new();
        for (subject, questions) in queued {
            let mut questions = questions.into_iter().peekable();
            while let Some(first) = questions.next() {
                let mut bytes = first.body.len();
                let (mut parts, mut askers) = (vec![(0, first.body)], vec![Some(first.asker)]);
                while let Some(next) = questions.next_if(|next| bytes + next.body.len() <= BYTES_MAX) {
                    bytes += next.body.len();
                    parts.push((u32::try_from(parts.len()).unwrap_or(DROPPED), next.body));
                    askers.push(Some(next.asker));
                }
                let number = state.open(&subject, askers);
                ready.push(Ready { subject: subject.clone(), number, payload: join(&parts) });
            }
        }
        ready
    }

    fn hear(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { return };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return self.nobody_is_there(number);
        }
        let Some(parts) = split(message.payload) else { return };
        let mut state = self.state();
        let Some(Open { askers, .. }) = state.open.get_mut(&number) else { return };
        for (tag, body) in parts {
            let answer = if tag & DROPPED == 0 { Answer::Here(body) } else { Answer::Dropped };
            let place = usize::try_from(tag & !DROPPED).ok().and_then(|place| askers.get_mut(place));
            if let Some(asker) = place.and_then(Option::take) {
                let _gone = asker.send(answer);
            }
        }
        if askers.iter().all(Option::is_none) {
            state.open.remove(&number);
        }
    }

    /// All askers of this message get the same.
    fn close(&self, number: u64, answer: &Answer) {
        let open = self.state().open.remove(&number);
        for asker in open.into_iter().flat_map(|open| open.askers).flatten() {
            let _gone = asker.send(answer.clone());
        }
    }

    /// Whoever was there to answer what was asked of the same subject before this message has gone.
    fn nobody_is_there(&self, number: u64) {
        let before: Vec<u64> = {
            let state = self.state();
            let Some(Open { subject, .. }) = state.open.get(&number) else { return };
            let of_subject = state.open.range(..number).filter(|(_, open)| open.subject == *subject);
            of_subject.map(|(before, _)| *before).collect()
        };
        before.into_iter().for_each(|before| self.close(before, &Answer::Lost));
        self.close(number, &Answer::Nobody);
    }

    fn is_waiting(&self) -> bool {
        !self.state().open.is_empty()
    }

    /// One for each subject of which something was asked a while ago.
    fn probes(&self) -> Vec<Ready> {
        let mut state = self.state();
        // Those whose askers have gone, and probes: nobody says that somebody is there.
        let waits = |asker: &Option<oneshot::Sender<Answer>>| asker.as_ref().is_some_and(|one| !one.is_closed());
        state.open.retain(|_, open| open.askers.iter().any(waits));
        let is_old = |open: &&Open| open.asked_at.elapsed() >= PROBE_EVERY;
        let subjects: BTreeSet<String> = state.open.values().filter(is_old).map(|open| open.subject.clone()).collect();
        let probe = |subject: String| {
            let number = state.open(&subject, Vec::new());
            Ready { subject, number, payload: Bytes::new() }
        };
        subjects.into_iter().map(probe).collect()
    }

    fn lose_all(&self) {
        // Dropped askers are told that the answer is lost.
        self.state().open.clear();
    }
}

impl State {
    fn open(&mut self, subject: &str, askers: Vec<Option<oneshot::Sender<Answer>>>) -> u64 {
        self.messages += 1;
        let open = Open { subject: subject.to_owned(), askers, asked_at: Instant::now() };
        self.open.insert(self.messages, open);
        self.messages
    }
}

/// The answers to the parts of one message, on their way together.
#[derive(Debug)]
struct Answers {
    client: Client,
    to: Subject,
    state: Mutex<AnswersState>,
}

#[derive(Debug)]
struct AnswersState {
    missing: usize,
    ready: Vec<Part>,
    is_waiting: bool,
}

/// Where one part is answered. Dropped unused, its asker is told.
#[derive(Debug)]
pub(super) struct PartAnswer {
    answers: Arc<Answers>,
    tag: u32,
    is_sent: bool,
}

/// The parts of a message, each with the way to answer it; none of what is no bundle.
pub(super) fn parts_of(client: &Client, message: Message) -> Vec<(Bytes, PartAnswer)> {
    let (Some(to), Some(parts)) = (message.reply, split(message.payload)) else { return Vec::new() };
    let state = Mutex::new(AnswersState { missing: parts.len(), ready: Vec::new(), is_waiting: false });
    let answers = Arc::new(Answers { client: client.clone(), to, state });
    let answer = |tag| PartAnswer { answers: answers.clone(), tag: tag & !DROPPED, is_sent: false };
    parts.into_iter().map(|(tag, body)| (body, answer(tag))).collect()
}

impl PartAnswer {
    pub fn send(mut self, answer: Bytes) {
        self.is_sent = true;
        Answers::add(&self.answers, (self.tag, answer));
    }
}

impl Drop for PartAnswer {
    fn drop(&mut self) {
        if !self.is_sent {
            Answers::add(&self.answers, (self.tag | DROPPED, Bytes::new()));
        }
    }
}

impl Answers {
    fn state(&self) -> MutexGuard<'_, AnswersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(answers: &Arc<Answers>, part: Part) {
        let mut state = answers.state();
        state.ready.push(part);
        state.missing = state.missing.saturating_sub(1);
        if state.missing == 0 {
            drop(state);
            return answers.send();
        }
        if !std::mem::replace(&mut state.is_waiting, true)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let answers = answers.clone();
            runtime.spawn(async move {
                tokio::time::sleep(ANSWERS_WAIT).await;
                answers.send();
            });
        }
    }

    fn send(&self) {
        let mut state = self.state();
        state.is_waiting = false;
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        if !ready.is_empty() {
            publish(&self.client, self.to.clone(), HeaderMap::new(), join(&ready));
        }
    }
}

/// What was asked in one message, for those who watch what passes; nothing of what is no bundle.
#[must_use]
pub fn questions_of(message: Bytes) -> Vec<Bytes> {
    split(message).unwrap_or_default().into_iter().map(|(_, body)| body).collect()
}

/// One message of these parts: tag, length, bytes of each. Numbers are big-endian.
fn join(parts: &[Part]) -> Bytes {
    let bytes: usize = parts.iter().map(|(_, body)| HEAD_BYTES + body.len()).sum();
    let mut joined = BytesMut::with_capacity(bytes);
    for (tag, body) in parts {
        joined.put_u32(*tag);
        joined.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX)); // The bus takes no more than some MiB.
        joined.put_slice(body);
    }
    joined.freeze()
}

/// The parts of a message, if it is one of ours. Each has at least a head, so a message of the bus has few.
fn split(mut joined: Bytes) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while joined.has_remaining() {
        let tag = joined.try_get_u32().ok()?;
        let length = usize::try_from(joined.try_get_u32().ok()?).ok()?;
        if joined.remaining() < length {
            return None;
        }
        parts.push((tag, joined.split_to(length)));
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_and_split_again() {
        let parts = vec![(0, Bytes::from_static(b"one")), (7, Bytes::new()), (DROPPED | 2, Bytes::from_static(b"x"))];
        assert_eq!(split(join(&parts)), Some(parts));
        assert_eq!(split(Bytes::new()), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_bundle_has_no_parts() {
        let whole = join(&[(0, Bytes::from_static(b"one")), (1, Bytes::from_static(b"two"))]);
        for end in 1..whole.len() {
            let is_first_alone = end == HEAD_BYTES + 3;
            assert_eq!(split(whole.slice(..end)).is_some(), is_first_alone, "cut at {end}");
        }
        assert_eq!(split(Bytes::from_static(&[0, 0, 0, 0, 255, 255, 255, 255, 1])), None, "longer than it is");
    }

    #[test]
    fn a_message_is_not_larger_than_its_bound_unless_one_part_is() {
        let questions = Questions::default();
        let mut answers = Vec::new();
        for bytes in [10, BYTES_MAX + 1, 20, BYTES_MAX - 20, 1] {
            let (asker, answer) = oneshot::channel();
            answers.push(answer);
            let question = Question { body: Bytes::from(vec![0; bytes]), asker };
            questions.state().queued.entry("s".to_owned()).or_default().push(question);
        }
        let ready = questions.take();
        let parts: Vec<usize> = ready.iter().map(|one| split(one.payload.clone()).map_or(0, |p| p.len())).collect();
        assert_eq!(parts, [1, 1, 2, 1]);
        assert!(questions.take().is_empty());
        questions.close(ready[0].number, &Answer::Nobody);
        assert_eq!(answers[0].try_recv(), Ok(Answer::Nobody));
    }
}
