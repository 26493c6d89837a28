//! Whether everything is heard, over all connections.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::bus::{Delivery, Interruption, Sink, interest::LinkId};

/// What must be there for every topic to be heard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// It is known which server has which topic.
    Topology,
    /// The topics of one link are heard.
    Link(LinkId),
}

/// Tells the owner when the first part is lost and when the last one is back.
pub(super) struct Status {
    sink: Arc<Sink>,
    state: Mutex<State>,
}

struct State {
    /// The parts that must be there, and whether they are.
    parts: BTreeMap<Part, bool>,
    /// What the owner was told last. At first it knows that nothing is heard.
    hearing: bool,
}

impl Status {
    pub(super) fn new(sink: Arc<Sink>) -> Self {
        let state = State { parts: BTreeMap::from([(Part::Topology, false)]), hearing: false };
        Self { sink, state: Mutex::new(state) }
    }

    pub(super) fn is_hearing(&self) -> bool {
        self.state.lock().hearing
    }

    /// One more part must be there, and is not yet.
    pub(super) fn need(&self, part: Part, reason: &str) {
        self.change(reason, |parts| {
            parts.insert(part, false);
        });
    }

    /// A part is gone. One that is not needed any more says so in vain.
    pub(super) fn lost(&self, part: Part, reason: &str) {
        self.change(reason, |parts| {
            parts.entry(part).and_modify(|there| *there = false);
        });
    }

    /// A part is there.
    pub(super) fn settled(&self, part: Part) {
        self.change("", |parts| {
            parts.entry(part).and_modify(|there| *there = true);
        });
    }

    /// A part is not needed any more.
    pub(super) fn forget(&self, part: Part) {
        self.change("", |parts| {
            parts.remove(&part);
        });
    }

    fn change(&self, reason: &str, change: impl FnOnce(&mut BTreeMap<Part, bool>)) {
        // The lock is held while the owner is told, so that it is told in order.
        let mut state = self.state.lock();
        change(&mut state.parts);
        let hearing = state.parts.values().all(|there| *there);
        if hearing == state.hearing {
            return;
        }
        state.hearing = hearing;
        if hearing {
            info!("every topic is heard");
            (self.sink)(Delivery::Interrupted(Interruption::Restored));
        } else {
            warn!(bus.reason = reason, "subscriptions lost");
            (self.sink)(Delivery::Interrupted(Interruption::Lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_and_the_last_return_are_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let status = Status::new(Arc::new(Box::new(move |delivery| tell.lock().push(delivery))));
        let tell = || std::mem::take(&mut *told.lock());

        let (one, two) = (Part::Link(1), Part::Link(2));
        for part in [one, two] {
            status.need(part, "just made");
        }
        status.settled(Part::Topology);
        status.settled(one);
        assert_eq!((tell(), status.is_hearing()), (vec![], false));
        status.settled(two);
        assert_eq!((tell(), status.is_hearing()), (vec![Delivery::Interrupted(Interruption::Restored)], true));

        status.lost(one, "gone");
        assert_eq!((tell(), status.is_hearing()), (vec![Delivery::Interrupted(Interruption::Lost)], false));
        status.lost(two, "gone too");
        status.settled(one);
        status.settled(one);
        assert_eq!((tell(), status.is_hearing()), (vec![], false));
        status.settled(two);
        assert_eq!((tell(), status.is_hearing()), (vec![Delivery::Interrupted(Interruption::Restored)], true));
    }

    #[test]
    fn what_is_not_needed_any_more_is_not_missed() {
        let status = Status::new(Arc::new(Box::new(|_| {})));
        let (one, two) = (Part::Link(1), Part::Link(2));
        status.settled(Part::Topology);
        status.need(one, "just made");
        status.need(two, "just made");
        status.settled(two);
        status.forget(one);
        assert!(status.is_hearing());
        // Its task noticed too late that it is over.
        status.lost(one, "gone");
        assert!(status.is_hearing());
    }
}
