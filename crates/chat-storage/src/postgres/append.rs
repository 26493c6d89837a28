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
        if let Some(answers) = from_memory(lane, connection.get(), &needs, commands).await? {
            connection.keep();
            return Ok(answers);
        }
        match attempt(lane, connection.get(), &needs, commands).await? {
            Some(answers) => {
                connection.keep();
                return Ok(answers);
            }
            None => lane.met_a_rival(),
        }
    }
    let mut transaction = connection.get().begin_with(super::BEGIN).await?;
    lock_channels(&mut transaction, &needs).await?;
    let answers = attempt(lane, &mut transaction, &needs, commands).await?;
    transaction.commit().await?;
    connection.keep();
    // Nobody is faster than who holds the locks.
    answers.ok_or_else(|| sqlx::Error::Protocol("a locked channel was changed".to_owned()))
}

/// Carries out a batch of sends with what is remembered. `None` if that is not enough: then nothing was written.
async fn from_memory(
    lane: &Lane,
    connection: &mut PgConnection,
    needs: &Needs,
    commands: &[Command],
) -> Result<Option<Answers>, sqlx::Error> {
    // Others may be fulfilled already, as far as is remembered, and then nothing is written that would tell if it is true.
    if !commands.iter().all(|command| matches!(command.action, Action::Send(_))) {
        return Ok(None);
    }
    let Some(places) = lane.memory().recall(needs) else { return Ok(None) };
    let senders = places.users.clone();
    let ledger = ledger(connection, needs, places).await?;
    let Batch { answers, changes } = Batch::apply(ledger, commands)?;
    // Nor does a refusal write anything.
    if answers.iter().any(Result::is_err) {
        return Ok(None);
    }
    if !changes.is_empty() && !write(connection, &changes, &senders).await? {
        lane.memory().doubt(needs);
        return Ok(None);
    }
    lane.memory().follow(&changes);
    Ok(Some(answers))
}

/// `None` if a channel has been changed since it was read: then nothing was written.
async fn attempt(
    lane: &Lane,
    connection: &mut PgConnection,
    needs: &Needs,
    commands: &[Command],
) -> Result<Option<Answers>, sqlx::Error> {
    let places = read_places(connection, needs).await?;
    let ledger = ledger(connection, needs, places.clone()).await?;
    let Batch { answers, changes } = Batch::apply(ledger, commands)?;
    if !changes.is_empty() && !write(connection, &changes, &Senders::new()).await? {
        return Ok(None);
    }
    let mut memory = lane.memory();
    memory.note(places);
    memory.follow(&changes);
    Ok(Some(answers))
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
