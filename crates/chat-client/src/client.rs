//! The handle of the owner.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chat_domain::ChannelId;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{ClientConfig, Item, Position, driver};

/// The bound of an orderly end: what is not done by then is cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of the chat platform. Commands take effect in the background, at once or when the connection is back.
/// Dropping it ends the connection.
#[derive(Debug)]
pub struct Client {
    commands: Arc<Commands>,
    end: DropGuard,
    task: TaskTracker,
}

/// What happened, in order.
#[derive(Debug)]
pub struct Items(mpsc::Receiver<Item>);

impl Client {
    /// Starts to connect, on the current Tokio runtime.
    pub fn connect(config: ClientConfig) -> (Self, Items) {
        let (items, receiver) = mpsc::channel(config.queue.max(1));
        let (end, commands, task) = (CancellationToken::new(), Arc::default(), TaskTracker::new());
        task.spawn(driver::run(config, Arc::clone(&commands), items, end.clone()));
        task.close();
        (Self { commands, end: end.drop_guard(), task }, Items(receiver))
    }

    /// Wants the events of a channel after `from`, or from now on. [`Item::Subscribed`], [`Item::Reset`] or
    /// [`Item::Refused`] answers. A channel that is wanted already starts anew from the new position.
    pub fn subscribe(&self, channel: ChannelId, from: Option<Position>) {
        self.commands.put(channel, Command::Subscribe { from, presence: false });
    }

    /// The same, and wants to know who else is here: [`Item::Presence`] tells.
    pub fn subscribe_with_presence(&self, channel: ChannelId, from: Option<Position>) {
        self.commands.put(channel, Command::Subscribe { from, presence: true });
    }

    /// Wants a channel no longer. If it was wanted, [`Item::Unsubscribed`] answers, and nothing of it comes after that.
    pub fn unsubscribe(&self, channel: ChannelId) {
        self.commands.put(channel, Command::Unsubscribe);
    }

    /// Says goodbye to the server and waits until the connection is closed, at most 3 s.
    pub async fn close(self) {
        drop(self.end);
        // After the deadline the task still ends by itself, each of its steps is bounded.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.task.wait()).await;
    }
}

impl Items {
    /// The next one; `None` after [`State::Closed`](crate::State::Closed) and after the client was dropped.
    pub async fn recv(&mut self) -> Option<Item> {
        self.0.recv().await
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Subscribe { from: Option<Position>, presence: bool },
    Unsubscribe,
}

/// What the owner wants and the task has not taken yet: the newest command of each channel, so it is bounded by the
/// number of channels and giving a command never waits.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    waiting: Mutex<BTreeMap<ChannelId, Command>>,
    changed: Notify,
}

impl Commands {
    fn put(&self, channel: ChannelId, command: Command) {
        self.waiting.lock().insert(channel, command);
        self.changed.notify_one();
    }

    pub(crate) fn take(&self) -> BTreeMap<ChannelId, Command> {
        std::mem::take(&mut self.waiting.lock())
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
