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
    /// Delay from the acknowledgement to the receipt, of what was on its way while the fault lasted, or right after.
    stall: Quantiles,
    /// The same of what was acknowledged after that, and received before the next fault.
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
    let windows: Vec<_> = rounds.iter().map(Window::of).collect();
    let mut stalls = vec![Vec::new(); rounds.len()];
    let mut quiet = vec![Vec::new(); rounds.len() + 1];
    for delivery in deliveries(sent, journals) {
        match delivery.place(&windows) {
            Place::Stalled(round) => stalls[round].push(delivery.delay()),
            Place::Before(round) => quiet[round].push(delivery.delay()),
        }
    }
    let line = |name: String, at: Micros, lasted: Micros, end: Micros, stall: Vec<Micros>, after: Vec<Micros>| {
        let within = |moment: Micros| (at..end).contains(&moment);
        // What has no time of its own belongs to everything.
        let broken = |kind| violations.iter().filter(|one| one.kind == kind && within(one.at.unwrap_or(0))).count();
        let acknowledged = || sent.acknowledged.iter().filter(|one| within(one.at));
        Line {
            name,
            at,
            lasted,
            acknowledged: acknowledged().count(),
            longest_send: acknowledged().map(|one| one.at.saturating_sub(one.started)).max().unwrap_or(0),
            deliveries: stall.len() + after.len(),
            broken: [broken(Kind::Lost), broken(Kind::Duplicated), broken(Kind::OutOfOrder)],
            stall: Quantiles::of(stall),
            after: Quantiles::of(after),
        }
    };
    let mut lines = Vec::new();
    for (index, round) in rounds.iter().enumerate() {
        let from = windows[index].from;
        let end = windows.get(index + 1).map_or(Micros::MAX, |next| next.from);
        let lasted = micros(round.to()).saturating_sub(from);
        lines.push(line(round.name(), from, lasted, end, stalls[index].clone(), quiet[index + 1].clone()));
    }
    lines.push(line("everything".to_owned(), 0, 0, Micros::MAX, stalls.concat(), quiet.concat()));
    lines
}

impl Line {
    /// The longest delay of a delivery that no fault can be blamed for.
    pub(crate) fn longest_quiet_delay(&self) -> Duration {
        Duration::from_micros(self.after.most)
    }
}

/// When a round has an effect.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Micros,
    settled: Micros,
}

impl Window {
    fn of(round: &Round) -> Self {
        Self { from: micros(round.from()), settled: micros(round.to()).saturating_add(SETTLING) }
    }
}

/// A delivery to somebody who was there: when it was acknowledged, and when it came.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    acknowledged: Micros,
    received: Micros,
}

/// Where a delivery belongs.
enum Place {
    /// On its way while this round had its effect.
    Stalled(usize),
    /// In the quiet time before this round.
    Before(usize),
}

impl Delivery {
    fn delay(self) -> Micros {
        self.received.saturating_sub(self.acknowledged)
    }

    fn place(self, windows: &[Window]) -> Place {
        let next = windows.partition_point(|window| window.settled <= self.acknowledged);
        match windows.get(next) {
            Some(window) if window.from <= self.received.max(self.acknowledged) => Place::Stalled(next),
            _ => Place::Before(next),
        }
    }
}

fn deliveries(sent: &Sent, journals: &[Journal]) -> impl Iterator<Item = Delivery> {
    let acknowledged: HashMap<_, _> = sent.acknowledged.iter().map(|one| ((one.channel, one.seq), one.at)).collect();
    let receipts = journals.iter().filter(|journal| !journal.takes_breaks).flat_map(|journal| &journal.receipts);
    receipts.filter_map(move |receipt| {
        let acknowledged = *acknowledged.get(&(receipt.channel, receipt.seq))?;
        Some(Delivery { acknowledged, received: receipt.at })
    })
}

/// The table as Markdown.
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a [Line]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|line| line.name.len()).max().unwrap_or_default();
        writeln!(
            f,
            "| {:width$} |    at |  for | acked | deliveries | lost | dup | disorder | stall p50 |    p99 |    max | after p50 |    p99 |    max | longest send |",
            "fault"
        )?;
        writeln!(
            f,
            "|{:-<width$}--|------:|-----:|------:|-----------:|-----:|----:|---------:|----------:|-------:|-------:|----------:|-------:|-------:|-------------:|",
            ""
        )?;
        for line in self.0 {
            let [lost, duplicated, disorder] = line.broken;
            writeln!(
                f,
                "| {:width$} | {:>5} | {:>4} | {:>5} | {:>10} | {lost:>4} | {duplicated:>3} | {disorder:>8} | {:>9} | {:>6} | {:>6} | {:>9} | {:>6} | {:>6} | {:>12} |",
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
                delay(line.after.most),
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
