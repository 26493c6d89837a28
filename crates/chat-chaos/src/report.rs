//! The table: what each fault cost.

use std::{collections::HashMap, fmt, time::Duration};

use crate::{
    checker::{Kind, Violation},
    history::{Journal, Micros, Sent, micros},
    plan::Round,
};

/// So soon after the healing the delay is expected to be normal again.
const SETTLING: Micros = 2_000_000;

/// A line of the table: a round, or the whole act.
#[derive(Debug)]
pub(crate) struct Line {
    name: String,
    at: Micros,
    lasted: Micros,
    acknowledged: usize,
    deliveries: usize,
    broken: [usize; 3],
    /// Delay from the acknowledgement to the receipt, of what was acknowledged while the fault lasted, or right after.
    stall: Quantiles,
    /// The same of what was acknowledged later.
    after: Quantiles,
    /// The longest that a sender had to try, from the first attempt to the acknowledgement.
    longest_send: Micros,
}

/// Of a set of delays, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quantiles {
    median: Micros,
    p99: Micros,
    most: Micros,
}

impl Quantiles {
    fn of(mut delays: Vec<Micros>) -> Self {
        delays.sort_unstable();
        let Some(most) = delays.last().copied() else { return Self::default() };
        let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
        Self { median: at(50), p99: at(99), most }
    }
}

/// One line for each round, and one for everything.
pub(crate) fn lines(sent: &Sent, journals: &[Journal], rounds: &[Round], violations: &[Violation]) -> Vec<Line> {
    let delays = Delays::collect(sent, journals);
    let windows = windows(rounds);
    let line = |name: String, lasted: Micros, (from, end): (Micros, Micros), stall: Vec<Micros>, after: Vec<Micros>| {
        let within = |at: Micros| (from..end).contains(&at);
        // What has no time of its own belongs to everything.
        let broken = |kind| violations.iter().filter(|one| one.kind == kind && within(one.at.unwrap_or(0))).count();
        let acknowledged = || sent.acknowledged.iter().filter(|one| within(one.at));
        Line {
            name,
            at: from,
            lasted,
            acknowledged: acknowledged().count(),
            longest_send: acknowledged().map(|one| one.at.saturating_sub(one.started)).max().unwrap_or(0),
            deliveries: stall.len() + after.len(),
            broken: [broken(Kind::Lost), broken(Kind::Duplicated), broken(Kind::OutOfOrder)],
            stall: Quantiles::of(stall),
            after: Quantiles::of(after),
        }
    };
    let mut lines: Vec<_> = rounds
        .iter()
        .zip(&windows)
        .map(|(round, &(from, settled, end))| {
            let lasted = micros(round.to()).saturating_sub(from);
            line(round.name(), lasted, (from, end), delays.within(from, settled), delays.within(settled, end))
        })
        .collect();
    let under_fire = windows.iter().flat_map(|(from, settled, _)| delays.within(*from, *settled)).collect();
    let before = delays.within(0, windows.first().map_or(Micros::MAX, |(from, ..)| *from));
    let quiet = windows.iter().flat_map(|(_, settled, end)| delays.within(*settled, *end)).chain(before).collect();
    lines.push(line("everything".to_owned(), 0, (0, Micros::MAX), under_fire, quiet));
    lines
}

/// Of each round: when it began, when it should be over, and when the next one began.
fn windows(rounds: &[Round]) -> Vec<(Micros, Micros, Micros)> {
    let ends = rounds.iter().skip(1).map(|round| micros(round.from())).chain([Micros::MAX]);
    let window = |(round, end): (&Round, Micros)| {
        (micros(round.from()), micros(round.to()).saturating_add(SETTLING).min(end), end)
    };
    rounds.iter().zip(ends).map(window).collect()
}

/// Of each delivery to somebody who was there: when it was acknowledged, and how much later it came.
struct Delays(Vec<(Micros, Micros)>);

impl Delays {
    fn collect(sent: &Sent, journals: &[Journal]) -> Self {
        let acknowledged: HashMap<_, _> =
            sent.acknowledged.iter().map(|one| ((one.channel, one.seq), one.at)).collect();
        let receipts = journals.iter().filter(|journal| !journal.takes_breaks).flat_map(|journal| &journal.receipts);
        let mut delays: Vec<_> = receipts
            .filter_map(|receipt| {
                let at = *acknowledged.get(&(receipt.channel, receipt.seq))?;
                Some((at, receipt.at.saturating_sub(at)))
            })
            .collect();
        delays.sort_unstable();
        Self(delays)
    }

    fn within(&self, from: Micros, end: Micros) -> Vec<Micros> {
        let place = |moment| self.0.partition_point(|(at, _)| *at < moment);
        let (from, end) = (place(from), place(end));
        self.0.get(from..end).unwrap_or_default().iter().map(|(_, delay)| *delay).collect()
    }
}

/// The table as Markdown.
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a [Line]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|line| line.name.len()).max().unwrap_or_default();
        writeln!(
            f,
            "| {:width$} |    at |  for | acked | deliveries | lost | dup | disorder | stall p50 |    p99 |    max | after p50 |    p99 | longest send |",
            "fault"
        )?;
        writeln!(
            f,
            "|{:-<width$}--|------:|-----:|------:|-----------:|-----:|----:|---------:|----------:|-------:|-------:|----------:|-------:|-------------:|",
            ""
        )?;
        for line in self.0 {
            let [lost, duplicated, disorder] = line.broken;
            writeln!(
                f,
                "| {:width$} | {:>5} | {:>4} | {:>5} | {:>10} | {lost:>4} | {duplicated:>3} | {disorder:>8} | {:>9} | {:>6} | {:>6} | {:>9} | {:>6} | {:>12} |",
                line.name,
                seconds(line.at),
                seconds(line.lasted),
                line.acknowledged,
                line.deliveries,
                delay(line.stall.median),
                delay(line.stall.p99),
                delay(line.stall.most),
                delay(line.after.median),
                delay(line.after.p99),
                delay(line.longest_send),
            )?;
        }
        Ok(())
    }
}

fn seconds(moment: Micros) -> String {
    format!("{:.1}", Duration::from_micros(moment).as_secs_f64())
}

fn delay(delay: Micros) -> String {
    match delay {
        0..10_000 => format!("{}.{} ms", delay / 1_000, delay % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", delay / 1_000),
        _ => format!("{} s", seconds(delay)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        fault::Fault,
        history::{Acknowledged, MessageIds, Receipt},
        plan::Strike,
    };

    const ID: Uuid = Uuid::nil();

    fn acknowledged(seq: u64, at: Micros) -> Acknowledged {
        Acknowledged { channel: 0, seq, message_id: ID, client_message_id: ID, started: at, at, attempts: 1 }
    }

    fn receipt(seq: u64, at: Micros) -> Receipt {
        let message = Some(MessageIds { message_id: ID, client_message_id: ID });
        Receipt { channel: 0, seq, message, at, connection: 1 }
    }

    #[test]
    fn delays_belong_to_the_fault_that_was_there_when_the_message_was_acknowledged() {
        let sent = Sent {
            acknowledged: vec![acknowledged(1, 1_000), acknowledged(2, 2_500_000), acknowledged(3, 9_000_000)],
            ..Sent::default()
        };
        let receipts = vec![receipt(1, 2_000), receipt(2, 4_000_000), receipt(3, 9_004_000)];
        let journal = Journal { channels: vec![0], receipts, ..Journal::default() };
        let strike =
            Strike { fault: Fault::RedisKill, target: 0, from: Duration::from_secs(2), to: Duration::from_secs(3) };
        let lost = Violation {
            kind: Kind::Lost,
            witness: String::new(),
            channel: 0,
            seq: 2,
            at: Some(2_500_000),
            what: String::new(),
        };
        let lines = lines(&sent, &[journal], &[Round { strikes: vec![strike] }], &[lost]);
        let [of_redis, everything] = lines.as_slice() else { panic!("two lines") };
        assert_eq!((of_redis.acknowledged, of_redis.deliveries, of_redis.broken), (2, 2, [1, 0, 0]));
        assert_eq!((of_redis.stall.most, of_redis.after.most), (1_500_000, 4_000));
        assert_eq!((everything.acknowledged, everything.deliveries), (3, 3));
    }

    #[test]
    fn quantiles_are_of_what_there_is() {
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
        assert_eq!(Quantiles::of((0..=100).rev().collect()), Quantiles { median: 50, p99: 99, most: 100 });
    }
}
