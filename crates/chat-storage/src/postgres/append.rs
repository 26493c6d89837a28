//! A batch in two statements: one loads what it needs, one writes all that it changes, if nobody was faster.

use chat_domain::{ChannelId, Command, Ledger, Message, MessageId, Refusal, ledger::Needs, ports::Appended};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{lane::Lane, write::write};
use crate::{
    batch::Batch,
    rows::{MessageRow, Places, read_all},
    sql::{message_columns, place_columns, place_joins},
};

type Answers = Vec<Result<Appended, Refusal>>;

/// Carries out a batch, or leaves no trace.
///
/// It takes no lock until it writes. Whatever changes a channel, its members included, takes a number of its log, so when
/// the log still ends where it ended at loading, what was loaded is still true. Where another process writes to the same
/// channels, it may have been faster: then, and for some batches to come, channels are locked first.
pub(super) async fn append(lane: &Lane, commands: &[Command]) -> Result<Answers, sqlx::Error> {
    let needs = Needs::of(commands);
    let mut connection = lane.connection().await?;
    if !lane.expects_rivals() {
        match attempt(connection.get(), &needs, commands).await? {
            Some(answers) => {
                connection.keep();
                return Ok(answers);
            }
            None => lane.met_a_rival(),
        }
    }
    let mut transaction = connection.get().begin_with(super::BEGIN).await?;
    lock_channels(&mut transaction, &needs).await?;
    let answers = attempt(&mut transaction, &needs, commands).await?;
    transaction.commit().await?;
    connection.keep();
    // Nobody is faster than who holds the locks.
    answers.ok_or_else(|| sqlx::Error::Protocol("a locked channel was changed".to_owned()))
}

/// `None` if a channel has been changed since it was loaded: then nothing was written.
async fn attempt(
    connection: &mut PgConnection,
    needs: &Needs,
    commands: &[Command],
) -> Result<Option<Answers>, sqlx::Error> {
    let ledger = load(connection, needs).await?;
    let Batch { answers, changes } = Batch::apply(ledger, commands)?;
    if changes.is_empty() || write(connection, &changes).await? {
        return Ok(Some(answers));
    }
    Ok(None)
}

/// What later statements read includes all that the former holders of the locks have committed.
async fn lock_channels(connection: &mut PgConnection, needs: &Needs) -> Result<(), sqlx::Error> {
    const SQL: &str = "SELECT 1 FROM channels WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let ids: Vec<Uuid> = needs.channels.iter().map(|id| id.as_uuid()).collect();
    sqlx::query(SQL).bind(ids).execute(connection).await?;
    Ok(())
}

async fn load(connection: &mut PgConnection, needs: &Needs) -> Result<Ledger, sqlx::Error> {
    const SQL: &str = concat!(
        "SELECT ",
        place_columns!(),
        " FROM UNNEST($1::uuid[], $2::uuid[]) AS k (channel_id, user_id)",
        place_joins!()
    );
    let (channels, users): (Vec<_>, Vec<_>) =
        needs.members.iter().map(|(channel, user)| (channel.as_uuid(), user.as_uuid())).unzip();
    let rows = sqlx::query(SQL).bind(channels).bind(users).fetch_all(&mut *connection).await?;
    let Places { channels, members, users } = Places::read(&rows)?;
    let sent = load_sent(connection, needs).await?;
    let reply_targets = load_reply_targets(connection, needs).await?;
    Ok(Ledger::new(channels.into_values(), members, users, sent, reply_targets))
}

async fn load_sent(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<Message>, sqlx::Error> {
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

async fn load_reply_targets(
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
