//! Was the promise kept? Pure: it compares what was acknowledged with what was received, and knows nothing of the servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::history::{Acknowledged, Journal, MessageIds, Micros, Receipt, Sent};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// Who saw it.
    pub(crate) witness: String,
    /// Index of the channel.
    pub(crate) channel: usize,
    pub(crate) seq: u64,
    /// When the message was acknowledged, or else when the event was received, if either is known.
    pub(crate) at: Option<Micros>,
    pub(crate) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Kind {
    /// Acknowledged, or followed by what was received, and never received.
    Lost,
    /// Received twice, stored twice, or two things with one number.
    Duplicated,
    /// Received after what follows it, or numbered against the order in which it was sent.
    OutOfOrder,
}

type Place = (usize, u64);

/// Checks everything that was seen. Every listener is taken to have listened from `seq` 1 to the end.
pub(crate) fn check(sent: &Sent, journals: &[Journal]) -> Vec<Violation> {
    let mut violations = against_sending_order(&sent.acknowledged);
    let acknowledged = by_place(&sent.acknowledged, &mut violations);
    let mut received = HashMap::new();
    for journal in journals {
        for channel in &journal.channels {
            let receipts = journal.receipts.iter().filter(|receipt| receipt.channel == *channel);
            Witness {
                name: &journal.listener,
                channel: *channel,
                acknowledged: &acknowledged,
                received: &mut received,
                violations: &mut violations,
            }
            .check(receipts);
        }
    }
    violations
}

/// Two acknowledged messages with one number are a broken promise by themselves.
fn by_place<'a>(all: &'a [Acknowledged], violations: &mut Vec<Violation>) -> BTreeMap<Place, &'a Acknowledged> {
    let mut places = BTreeMap::new();
    let mut messages = BTreeMap::new();
    for one in all {
        let other = places.insert((one.channel, one.seq), one);
        if other.is_some_and(|other| other.message_id != one.message_id) {
            violations.push(of_acknowledged(Kind::Duplicated, one, "two messages have this number"));
        }
        let other = messages.insert(one.client_message_id, one);
        if other.is_some_and(|other| other.message_id != one.message_id) {
            violations.push(of_acknowledged(Kind::Duplicated, one, "one send was stored twice"));
        }
    }
    places
}

/// A message that was acknowledged before another was sent has the smaller number.
fn against_sending_order(all: &[Acknowledged]) -> Vec<Violation> {
    let mut by_number: Vec<_> = all.iter().collect();
    by_number.sort_by_key(|one| (one.channel, one.seq));
    let mut violations = Vec::new();
    for channel in by_number.chunk_by(|one, other| one.channel == other.channel) {
        let mut last_started = 0;
        for one in channel {
            if one.at < last_started {
                violations.push(of_acknowledged(Kind::OutOfOrder, one, "a later send has a smaller number"));
            }
            last_started = last_started.max(one.started);
        }
    }
    violations
}

fn of_acknowledged(kind: Kind, one: &Acknowledged, what: &str) -> Violation {
    let (channel, seq, at) = (one.channel, one.seq, Some(one.at));
    Violation { kind, witness: "sender".to_owned(), channel, seq, at, what: what.to_owned() }
}

/// One listener in one channel.
struct Witness<'a> {
    name: &'a str,
    channel: usize,
    acknowledged: &'a BTreeMap<Place, &'a Acknowledged>,
    /// What the listeners before received under each number, acknowledged or not.
    received: &'a mut HashMap<Place, Option<MessageIds>>,
    violations: &'a mut Vec<Violation>,
}

impl Witness<'_> {
    fn check<'r>(mut self, receipts: impl Iterator<Item = &'r Receipt>) {
        let mut newest = 0;
        let mut missing = BTreeSet::new();
        let (mut messages, mut sends) = (HashMap::new(), HashMap::new());
        for receipt in receipts {
            let seq = receipt.seq;
            if seq > newest {
                missing.extend(newest + 1..seq);
                newest = seq;
            } else if missing.remove(&seq) {
                self.report(Kind::OutOfOrder, receipt, "received after what follows it");
            } else {
                self.report(Kind::Duplicated, receipt, "received again");
                continue;
            }
            self.compare(receipt);
            let Some(MessageIds { message_id, client_message_id }) = receipt.message else { continue };
            if messages.insert(message_id, seq).is_some() {
                self.report(Kind::Duplicated, receipt, "the message came under two numbers");
            } else if sends.insert(client_message_id, seq).is_some() {
                self.report(Kind::Duplicated, receipt, "one send was stored twice");
            }
        }
        let beyond = self.acknowledged.range((self.channel, newest + 1)..=(self.channel, u64::MAX));
        missing.extend(beyond.map(|((_, seq), _)| *seq));
        for seq in missing {
            self.add(Kind::Lost, seq, None, "never received");
        }
    }

    /// Is it what others have seen under this number?
    fn compare(&mut self, receipt: &Receipt) {
        let place = (self.channel, receipt.seq);
        let stored = self.acknowledged.get(&place).map(|one| one.message_id);
        if stored.is_some() && stored != receipt.message.map(|message| message.message_id) {
            return self.report(Kind::Duplicated, receipt, "another event was acknowledged under this number");
        }
        if *self.received.entry(place).or_insert(receipt.message) != receipt.message {
            self.report(Kind::Duplicated, receipt, "another listener received another event under this number");
        }
    }

    fn report(&mut self, kind: Kind, receipt: &Receipt, what: &str) {
        self.add(kind, receipt.seq, Some(receipt.at), what);
    }

    fn add(&mut self, kind: Kind, seq: u64, received: Option<Micros>, what: &str) {
        let at = self.acknowledged.get(&(self.channel, seq)).map(|one| one.at).or(received);
        let (witness, channel, what) = (self.name.to_owned(), self.channel, what.to_owned());
        self.violations.push(Violation { kind, witness, channel, seq, at, what });
    }
}

#[cfg(test)]
mod tests;
