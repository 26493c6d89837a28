//! A batch in one statement or two: if it must, one reads what the batch needs; one writes all that it changes, if nobody was
//! faster.

use chat_domain::{
    ChannelId, Command, Ledger, Message, MessageId, Refusal,
    ledger::{Action, Needs},
    ports::Appended,
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    lane::Lane,
    write::{Senders, write},
};
use crate::{
    batch::Batch,
    rows::{MessageRow, Places, read_all},
    sql::{message_columns, place_columns, place_joins},
};

type Answers = Vec<Result<Appended, Refusal>>;

/// Carries out a batch, or leaves no trace.
///
/// It takes no lock until it writes. Whatever changes a channel, its members included, takes a number of its log, so when
/// the log still ends where it ended at reading, what was read is still true, however long ago that was. Where another
/// process writes to the same channels, it may have been faster: then, and for some batches to come, channels are locked
/// first.
pub(super) async fn append(lane: &Lane, commands: &[Command]) -> Result<Answers, sqlx::Error> {
    let needs = Needs::of(commands);
    let mut connection = lane.connection().await?;
    if !lane.expects_rivals() {
        let mut done = from_memory(lane, connection.get(), &needs, commands).await?;
        if done.is_none() {
            done = from_storage(connection.get(), &needs, commands).await?;
        }
        if let Some(done) = done {
            connection.keep();
            return Ok(done.noted(lane));
        }
        lane.met_a_rival();
    }
    let mut transaction = connection.get().begin_with(super::BEGIN).await?;
    lock_channels(&mut transaction, &needs).await?;
    let done = from_storage(&mut transaction, &needs, commands).await?;
    transaction.commit().await?;
    connection.keep();
    // Nobody is faster than who holds the locks.
    let done = done.ok_or_else(|| sqlx::Error::Protocol("a locked channel was changed".to_owned()))?;
    Ok(done.noted(lane))
}

/// A batch that was carried out.
struct Done {
    batch: Batch,
    /// What it began with.
    read: Places,
}

impl Done {
    /// Remembers what it leaves behind, which must have been committed.
    fn noted(self, lane: &Lane) -> Answers {
        lane.memory().note(self.read, &self.batch.changes);
        self.batch.answers
    }
}

/// Carries out a batch of sends with what is remembered. `None` if that is not enough: then nothing was written.
async fn from_memory(
    lane: &Lane,
    connection: &mut PgConnection,
    needs: &Needs,
    commands: &[Command],
) -> Result<Option<Done>, sqlx::Error> {
    // Others may be fulfilled already, as far as is remembered, and then nothing is written that would tell if it is true.
    if !commands.iter().all(|command| matches!(command.action, Action::Send(_))) {
        return Ok(None);
    }
    let Some(read) = lane.memory().recall(needs) else { return Ok(None) };
    let batch = Batch::apply(ledger(connection, needs, read.clone()).await?, commands)?;
    // Nor does a refusal write anything.
    if batch.answers.iter().any(Result::is_err) {
        return Ok(None);
    }
    if !batch.changes.is_empty() && !write(connection, &batch.changes, &read, &read.users).await? {
        lane.memory().doubt(needs);
        return Ok(None);
    }
    Ok(Some(Done { batch, read }))
}

/// Carries out a batch with what is read for it. `None` if a channel has been changed since: then nothing was written.
async fn from_storage(
    connection: &mut PgConnection,
    needs: &Needs,
    commands: &[Command],
) -> Result<Option<Done>, sqlx::Error> {
    let read = read_places(connection, needs).await?;
    let batch = Batch::apply(ledger(connection, needs, read.clone()).await?, commands)?;
    if !batch.changes.is_empty() && !write(connection, &batch.changes, &read, &Senders::new()).await? {
        return Ok(None);
    }
    Ok(Some(Done { batch, read }))
}

/// What later statements read includes all that the former holders of the locks have committed.
async fn lock_channels(connection: &mut PgConnection, needs: &Needs) -> Result<(), sqlx::Error> {
    const SQL: &str = "SELECT 1 FROM channels WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let ids: Vec<Uuid> = needs.channels.iter().map(|id| id.as_uuid()).collect();
    sqlx::query(SQL).bind(ids).execute(connection).await?;
    Ok(())
}

async fn read_places(connection: &mut PgConnection, needs: &Needs) -> Result<Places, sqlx::Error> {
    const SQL: &str = concat!(
        "SELECT ",
        place_columns!(),
        " FROM UNNEST($1::uuid[], $2::uuid[]) AS k (channel_id, user_id)",
        place_joins!()
    );
    let (channels, users): (Vec<_>, Vec<_>) =
        needs.members.iter().map(|(channel, user)| (channel.as_uuid(), user.as_uuid())).unzip();
    Places::read(&sqlx::query(SQL).bind(channels).bind(users).fetch_all(connection).await?)
}

/// These places, with what else the batch needs.
async fn ledger(connection: &mut PgConnection, needs: &Needs, places: Places) -> Result<Ledger, sqlx::Error> {
    let Places { channels, members, users } = places;
    let sent = read_sent(connection, needs).await?;
    let reply_targets = read_reply_targets(connection, needs).await?;
    Ok(Ledger::new(channels.into_values(), members, users, sent, reply_targets))
}

async fn read_sent(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<Message>, sqlx::Error> {
    const SQL: &str = concat!(
        "SELECT ",
        message_columns!(),
        " FROM messages JOIN UNNEST($1::uuid[], $2::text[]) AS k (sender, client_id) \
         ON sender_id = k.sender AND client_message_id = k.client_id"
    );
    if needs.client_message_ids.is_empty() {
        return Ok(Vec::new());
    }
    let (senders, ids): (Vec<Uuid>, Vec<&str>) =
        needs.client_message_ids.iter().map(|(sender, id)| (sender.as_uuid(), id.as_str())).unzip();
    read_all(sqlx::query_as(SQL).bind(senders).bind(ids).fetch_all(connection).await?, MessageRow::read)
}

async fn read_reply_targets(
    connection: &mut PgConnection,
    needs: &Needs,
) -> Result<Vec<(MessageId, ChannelId)>, sqlx::Error> {
    const SQL: &str = "SELECT id, channel_id FROM messages WHERE id = ANY($1)";
    if needs.reply_targets.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = needs.reply_targets.iter().map(|id| id.as_uuid()).collect();
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(id, channel)| (id.into(), channel.into())).collect())
}

#[cfg(test)]
mod tests {
    use chat_domain::{
        Channel, ChannelDetails, ChannelType, EventId, MessageContent, Timestamp, UserId,
        ledger::NewMessage,
        message::Text,
        ports::{ChannelLog, ChannelRepository, NewChannel, UserRepository},
    };
    use chat_test_support::postgres::Database;
    use prometheus_client::registry::Registry;

    use super::{super::PostgresStorage, *};
    use crate::DatabaseConfig;

    #[tokio::test]
    async fn a_send_needs_what_the_last_one_left_behind_and_it_must_be_true() {
        let database = Database::create().await;
        let config = DatabaseConfig { url: database.url().into(), ..DatabaseConfig::default() };
        let storage = PostgresStorage::open(&config, &mut Registry::default()).await.unwrap();
        let at = Timestamp::from_millis(1_800_000_000_000);
        let (sender_id, channel_id) = (UserId::new(at), ChannelId::new(at));
        storage.ensure_user(sender_id, "alice", at).await.unwrap();
        let details = ChannelDetails { name: Some("room".into()), description: None };
        let channel = Channel::new(channel_id, ChannelType::Group, details, sender_id, at);
        storage.create(NewChannel { channel, creator: sender_id, others: Vec::new() }).await.unwrap();
        let send = || {
            let message = NewMessage {
                id: MessageId::new(at),
                channel_id,
                sender_id,
                content: MessageContent::Text(Text { text: "hello".into() }),
                client_message_id: None,
                reply_to: None,
            };
            let (event_id, action) = (EventId::new(at), Action::Send(message));
            vec![Command { event_id, at, trace_id: None, traceparent: None, action }]
        };
        let (needs, lane) = (Needs::of(&send()), &storage.appends);
        let mut connection = lane.connection().await.unwrap();
        let mut remembered = async || from_memory(lane, connection.get(), &needs, &send()).await.unwrap();

        assert!(remembered().await.is_none(), "nothing is known yet");
        for _ in 0..2 {
            storage.append(&send()).await.unwrap().remove(0).unwrap();
        }
        // What it leaves behind is not noted here, so it is as if another process had written.
        assert!(remembered().await.is_some());
        assert!(remembered().await.is_none());
        assert_eq!(storage.heads(&[channel_id]).await.unwrap()[0].head_seq, 3);
    }
}
