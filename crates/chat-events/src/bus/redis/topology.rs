//! Which server has which topics.

use std::collections::BTreeSet;

use fred::{
    types::{Value, config::Server},
    util::redis_keyslot,
};

const LAST_SLOT: u16 = 16_383;

/// Which server has which topics. With one server, that one has them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    /// In the order of the slots.
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    owner: Server,
}

impl Topology {
    pub(super) fn single(owner: Server) -> Self {
        Self { ranges: vec![Range { first: 0, last: LAST_SLOT, owner }] }
    }

    /// Reads the reply to `CLUSTER SLOTS`, or `None` if it is none. `asked` is the host that was asked: a node that does
    /// not know its own address leaves it out.
    pub(super) fn from_slots(reply: Value, asked: &str) -> Option<Self> {
        let ranges = reply.into_array().into_iter().map(|range| Range::read(range, asked));
        let mut ranges = ranges.collect::<Option<Vec<_>>>()?;
        ranges.sort_by_key(|range| range.first);
        Some(Self { ranges })
    }

    /// The server with the topic or key of this name, or `None` while its slot has no owner. With one server the name does
    /// not matter, and is not asked for.
    pub(super) fn owner(&self, name: impl FnOnce() -> String) -> Option<&Server> {
        let slot = match self.ranges.as_slice() {
            [one] if one.first == 0 && one.last == LAST_SLOT => 0,
            _ => redis_keyslot(name().as_bytes()),
        };
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot))?;
        (range.first <= slot).then_some(&range.owner)
    }

    pub(super) fn servers(&self) -> BTreeSet<&Server> {
        self.ranges.iter().map(|range| &range.owner).collect()
    }

    /// Has each slot an owner?
    pub(super) fn is_whole(&self) -> bool {
        let covered = self.ranges.iter().map(|range| u32::from(range.last) + 1 - u32::from(range.first));
        covered.sum::<u32>() == u32::from(LAST_SLOT) + 1
    }
}

impl Range {
    fn read(reply: Value, asked: &str) -> Option<Self> {
        let mut fields = reply.into_array().into_iter();
        let mut slot = || fields.next()?.as_u64()?.try_into().ok();
        let (first, last) = (slot()?, slot()?);
        let mut owner = fields.next()?.into_array().into_iter();
        let host = owner.next()?.as_string().filter(|host| !host.is_empty() && host != "?");
        let port = owner.next()?.as_u64()?.try_into().ok()?;
        (first <= last).then(|| Self {
            first,
            last,
            owner: Server::new(host.unwrap_or_else(|| asked.to_owned()), port),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let owner = Value::Array(vec![host, port.into(), "id".into(), Value::Array(Vec::new())]);
        let replica = Value::Array(vec!["replica".into(), 1.into(), "id".into()]);
        Value::Array(vec![first.into(), last.into(), owner, replica])
    }

    fn topic(n: u32) -> Topic {
        Topic::Room(format!("018f4e7a-0000-7000-8000-{n:012}").parse().unwrap())
    }

    #[test]
    fn each_topic_has_the_owner_of_its_slot() {
        let reply = vec![range(8_192, 16_383, "b".into(), 2), range(0, 8_191, "a".into(), 1)];
        let topology = Topology::from_slots(Value::Array(reply), "asked").unwrap();
        assert!(topology.is_whole());
        let mut heard = BTreeSet::new();
        for n in 0..100 {
            let slot = redis_keyslot(topic(n).to_string().as_bytes());
            let expected = if slot < 8_192 { Server::new("a", 1) } else { Server::new("b", 2) };
            assert_eq!(topology.owner(|| topic(n).to_string()), Some(&expected));
            heard.insert(expected);
        }
        assert_eq!(topology.servers(), heard.iter().collect());
        assert_eq!(heard.len(), 2, "a hundred topics are on both");
    }

    #[test]
    fn a_slot_without_an_owner_is_a_hole() {
        let reply = vec![range(0, 5, "a".into(), 1), range(9, 16_383, "a".into(), 1)];
        let topology = Topology::from_slots(Value::Array(reply), "asked").unwrap();
        assert!(!topology.is_whole());
        let none = Topology::from_slots(Value::Array(Vec::new()), "asked").unwrap();
        assert!(!none.is_whole());
        assert_eq!(none.owner(|| topic(1).to_string()), None);
    }

    #[test]
    fn a_node_that_does_not_know_its_address_is_the_one_that_was_asked() {
        for host in ["".into(), "?".into(), Value::Null] {
            let topology = Topology::from_slots(Value::Array(vec![range(0, 16_383, host, 7)]), "asked").unwrap();
            assert_eq!(topology.owner(|| topic(1).to_string()), Some(&Server::new("asked", 7)));
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for reply in
            [Value::Null, "x".into(), Value::Array(vec![1.into()]), Value::Array(vec![range(-1, 5, "a".into(), 1)])]
        {
            assert_eq!(Topology::from_slots(reply, "asked"), None);
        }
    }
}
