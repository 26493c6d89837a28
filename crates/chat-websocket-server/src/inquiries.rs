//! What sessions and rooms that open ask storage, asked for many of them at once.
//!
//! When thousands come back together, a query for each is most of what they cost, here and in the database. So questions
//! wait until it is their turn, which is at once if nobody else asks, and then go out in one query.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use chat_domain::{
    ChannelId, UserId,
    ports::{Access, Head, Standing, Storage, StorageError},
};
use common_server::{Lifecycle, Scope};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::warn;

use crate::in_time::in_time;

/// How long a query may take.
pub(crate) const STORAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Users or pairs of a user and a channel in one query, but for the last question.
const TOGETHER: usize = 64;
/// Queries of a kind at once: one that is slow does not hold up all others.
const TURNS: usize = 2;
/// From then on a query is slow. Until then the next one waits for it, and has more to ask.
const SLOW: Duration = Duration::from_millis(10);
/// Most questions of a kind that wait. Who has one more waits until there is room.
const WAITING: usize = 16_384;

/// Where they ask.
pub struct Inquiries {
    /// What there is to know about users: `None` for one that may do everything, or whom storage does not know.
    pub status: Line<UserId, Option<Standing>>,
    /// What users may hear of channels, those that exist.
    pub access: Line<(UserId, Vec<ChannelId>), Vec<Access>>,
    /// Where logs end: `None` for a channel that does not exist.
    pub heads: Line<ChannelId, Option<Head>>,
}

impl Inquiries {
    /// Asks this storage, in the background of this lifecycle.
    pub fn new(storage: &Arc<dyn Storage>, lifecycle: &Lifecycle) -> Self {
        let storage = || Arc::clone(storage);
        Self {
            status: Line::new("the status of users", lifecycle, |_| 1, asking(storage(), statuses)),
            access: Line::new(
                "access to channels",
                lifecycle,
                |(_, channels): &(_, Vec<_>)| channels.len(),
                asking(storage(), accesses),
            ),
            heads: Line::new("the heads of logs", lifecycle, |_| 1, asking(storage(), heads)),
        }
    }
}

/// Asks this storage in this way.
fn asking<Q, A, F: Future<Output = Result<Vec<A>, StorageError>> + Send + 'static>(
    storage: Arc<dyn Storage>,
    ask: impl Fn(Arc<dyn Storage>, Vec<Q>) -> F,
) -> impl Fn(Vec<Q>) -> Asking<A> {
    move |questions| Box::pin(ask(Arc::clone(&storage), questions))
}

async fn statuses(storage: Arc<dyn Storage>, users: Vec<UserId>) -> Result<Vec<Option<Standing>>, StorageError> {
    let restricted = storage.restricted(&users).await?;
    let restricted: HashMap<_, _> = restricted.into_iter().map(|standing| (standing.user_id, standing)).collect();
    Ok(users.iter().map(|user_id| restricted.get(user_id).copied()).collect())
}

async fn accesses(
    storage: Arc<dyn Storage>,
    wishes: Vec<(UserId, Vec<ChannelId>)>,
) -> Result<Vec<Vec<Access>>, StorageError> {
    let pairs: Vec<_> = wishes
        .iter()
        .flat_map(|(user_id, channels)| channels.iter().map(|channel_id| (*user_id, *channel_id)))
        .collect();
    let found = storage.access(&pairs).await?;
    let found: HashMap<_, _> =
        found.into_iter().map(|(user_id, access)| ((user_id, access.head.channel_id), access)).collect();
    let answer = |(user_id, channels): (UserId, Vec<ChannelId>)| {
        channels.into_iter().filter_map(|channel_id| found.get(&(user_id, channel_id)).copied()).collect()
    };
    Ok(wishes.into_iter().map(answer).collect())
}

async fn heads(storage: Arc<dyn Storage>, channels: Vec<ChannelId>) -> Result<Vec<Option<Head>>, StorageError> {
    let found = storage.heads(&channels).await?;
    let found: HashMap<_, _> = found.into_iter().map(|head| (head.channel_id, head)).collect();
    Ok(channels.iter().map(|channel_id| found.get(channel_id).copied()).collect())
}

/// An answer, and when storage was asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<A> {
    /// What storage says.
    pub answer: A,
    /// A moment before the query.
    pub asked_at: Instant,
}

struct Question<Q, A> {
    question: Q,
    asker: oneshot::Sender<Answer<A>>,
}

type Asking<A> = Pin<Box<dyn Future<Output = Result<Vec<A>, StorageError>> + Send>>;

/// Questions of one kind.
pub struct Line<Q, A> {
    questions: mpsc::Sender<Question<Q, A>>,
    /// One for each query that is under way. Who holds all of them lets nobody ask.
    pub turns: Arc<Semaphore>,
}

impl<Q: Clone + Send + 'static, A: Send + 'static> Line<Q, A> {
    /// `ask` answers questions in their order, as many as `weigh` allows.
    fn new(
        what: &'static str,
        lifecycle: &Lifecycle,
        weigh: impl Fn(&Q) -> usize + Send + 'static,
        ask: impl Fn(Vec<Q>) -> Asking<A> + Send + Sync + 'static,
    ) -> Self {
        let ((questions, waiting), turns) = (mpsc::channel(WAITING), Arc::new(Semaphore::new(TURNS)));
        let (tasks, store) = (lifecycle.background().clone(), Store { what, ask: Arc::new(ask) });
        let (stop, serving) = (tasks.stopping().clone(), serve(waiting, Arc::clone(&turns), tasks, weigh, store));
        lifecycle.spawn_essential_background(what, async move {
            stop.run_until_cancelled(serving).await.unwrap_or_default();
        });
        Self { questions, turns }
    }

    /// The answer; `None` if storage does not say within this time, the wait for a turn included.
    pub async fn ask(&self, question: Q, patience: Duration) -> Option<Answer<A>> {
        let answered = async {
            let (asker, answer) = oneshot::channel();
            self.questions.send(Question { question, asker }).await.ok()?;
            answer.await.ok()
        };
        timeout(patience, answered).await.ok().flatten()
    }
}

/// Lets those who wait ask, as many together as there are, for as long as there may be more.
async fn serve<Q: Clone + Send + 'static, A: Send + 'static>(
    mut waiting: mpsc::Receiver<Question<Q, A>>,
    turns: Arc<Semaphore>,
    tasks: Scope,
    weigh: impl Fn(&Q) -> usize,
    store: Store<Q, A>,
) {
    let mut together = Vec::new();
    let mut last: Option<oneshot::Receiver<()>> = None;
    while let Some(first) = waiting.recv().await {
        if let Some(last) = last.take() {
            // It is done when its sender is gone. Whether it is, or slow, the next one goes out.
            let _ = timeout(SLOW, last).await;
        }
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let mut weight = weigh(&first.question);
        together.push(first);
        while weight < TOGETHER
            && let Ok(another) = waiting.try_recv()
        {
            weight += weigh(&another.question);
            together.push(another);
        }
        // Some have gone meanwhile.
        together.retain(|one: &Question<Q, A>| !one.asker.is_closed());
        if together.is_empty() {
            continue;
        }
        let (store, together) = (store.clone(), std::mem::take(&mut together));
        let (done, until_done) = oneshot::channel();
        last = Some(until_done);
        tasks.spawn(store.what, async move {
            store.answer(together).await;
            drop((turn, done));
        });
    }
}

/// Where questions of one kind are answered.
struct Store<Q, A> {
    what: &'static str,
    ask: Arc<dyn Fn(Vec<Q>) -> Asking<A> + Send + Sync>,
}

impl<Q, A> Clone for Store<Q, A> {
    fn clone(&self) -> Self {
        Self { what: self.what, ask: Arc::clone(&self.ask) }
    }
}

impl<Q: Clone, A> Store<Q, A> {
    /// Asks all together. If storage chokes on that, each alone: what cannot be read keeps nothing from the others.
    async fn answer(&self, questions: Vec<Question<Q, A>>) {
        let count = questions.len();
        let Err((questions, StorageError::Failed { .. })) = self.answer_together(questions).await else { return };
        if count == 1 {
            return;
        }
        for question in questions {
            // It may have waited for long.
            if question.asker.is_closed() {
                continue;
            }
            if let Err((_, StorageError::Unavailable { .. })) = self.answer_together(vec![question]).await {
                // The rest would wait as long, one after the other.
                return;
            }
        }
    }

    /// Gives the questions back that were not answered.
    async fn answer_together(&self, questions: Vec<Question<Q, A>>) -> Result<(), (Vec<Question<Q, A>>, StorageError)> {
        let asked_at = Instant::now();
        let asking = (self.ask)(questions.iter().map(|one| one.question.clone()).collect());
        match in_time(self.what, STORAGE_TIMEOUT, asking).await {
            Ok(answers) => {
                for (question, answer) in questions.into_iter().zip(answers) {
                    // Who has gone does not need it.
                    let _ = question.asker.send(Answer { answer, asked_at });
                }
                Ok(())
            }
            Err(error) => {
                let (what, count) = (self.what, questions.len());
                warn!(storage.read = what, questions = count, error = %error, "storage cannot answer");
                Err((questions, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use parking_lot::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Doubles numbers, and notes how many it is asked for at once; has no answer to a zero.
    fn doubling(lifecycle: &Lifecycle) -> (Line<usize, usize>, Arc<Mutex<Vec<usize>>>) {
        let asked = Arc::<Mutex<Vec<usize>>>::default();
        let noted = Arc::clone(&asked);
        let line = Line::new(
            "doubles",
            lifecycle,
            |_| 1,
            move |numbers: Vec<usize>| {
                noted.lock().push(numbers.len());
                Box::pin(async move {
                    if numbers.contains(&0) {
                        return Err(StorageError::Failed { operation: "doubles", source: "of zero".into() });
                    }
                    Ok(numbers.into_iter().map(|number| 2 * number).collect())
                })
            },
        );
        (line, asked)
    }

    #[tokio::test]
    async fn those_who_wait_are_asked_for_together() {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let (line, asked) = doubling(&lifecycle);
        assert_eq!(line.ask(1, PATIENCE).await.map(|answer| answer.answer), Some(2), "who is alone does not wait");

        let turns = line.turns.acquire_many(2).await.unwrap();
        let questions = 1..=TOGETHER + 44;
        let answers = async {
            let answers = join_all(questions.clone().map(|number| line.ask(number, PATIENCE))).await;
            answers.into_iter().map(|answer| answer.unwrap().answer).collect::<Vec<_>>()
        };
        let (answers, ()) = tokio::join!(answers, async { drop(turns) });

        assert_eq!(answers, questions.map(|number| 2 * number).collect::<Vec<_>>());
        let asked = asked.lock();
        assert_eq!(asked.iter().sum::<usize>(), 1 + TOGETHER + 44);
        assert!(asked.len() < 100 && asked.iter().all(|together| *together <= TOGETHER), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_query_waits_for_the_last_one_unless_that_is_slow() {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let asked = Arc::<Mutex<Vec<usize>>>::default();
        let noted = Arc::clone(&asked);
        let takes_its_time = move |times: Vec<u64>| -> Asking<()> {
            noted.lock().push(times.len());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(times.iter().copied().max().unwrap_or(0))).await;
                Ok(vec![(); times.len()])
            })
        };
        let line = Line::new("times", &lifecycle, |_| 1, takes_its_time);
        let some_later = async |times: [u64; 3]| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(join_all(times.map(|time| line.ask(time, PATIENCE))).await.iter().all(Option::is_some));
        };

        let (quick, ()) = tokio::join!(line.ask(5, PATIENCE), some_later([1, 1, 1]));
        assert!(quick.is_some());
        assert_eq!(*asked.lock(), [1, 3]);

        let others = async {
            some_later([1, 1, 1]).await;
            // Nor does anybody wait for the slow one again.
            let again = Instant::now();
            some_later([1, 1, 1]).await;
            again.elapsed()
        };
        let (slow, again) = tokio::join!(line.ask(1_000, PATIENCE), others);
        assert!(slow.is_some());
        assert_eq!(*asked.lock(), [1, 3, 1, 3, 3]);
        assert!(again < SLOW, "{again:?}");
    }

    #[tokio::test]
    async fn who_gets_no_answer_is_told_so() {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let (line, asked) = doubling(&lifecycle);
        assert_eq!(line.ask(0, PATIENCE).await, None, "storage fails");
        let turns = line.turns.acquire_many(2).await.unwrap();
        assert_eq!(line.ask(1, Duration::ZERO).await, None, "it is not its turn in time");
        drop(turns);
        assert_eq!(line.ask(2, PATIENCE).await.map(|answer| answer.answer), Some(4), "the line goes on");
        assert_eq!(asked.lock().iter().sum::<usize>(), 2, "who has gone is not asked for");
    }

    #[tokio::test]
    async fn one_that_cannot_be_answered_keeps_nothing_from_the_others() {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let (line, asked) = doubling(&lifecycle);
        let turns = line.turns.acquire_many(2).await.unwrap();
        let (answers, ()) =
            tokio::join!(join_all([1, 0, 2].map(|number| line.ask(number, PATIENCE))), async { drop(turns) });
        let answers = answers.into_iter().map(|answer| answer.map(|answer| answer.answer)).collect::<Vec<_>>();
        assert_eq!(answers, [Some(2), None, Some(4)]);
        assert!(asked.lock().contains(&3), "they were asked for together first");
    }
}
