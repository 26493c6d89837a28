//! The modules that log.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tracing::{Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::Layer;

/// Names that are kept. A program has as many as it has modules; what would come on top is left out.
const MAX_TARGETS: usize = 2_000;

/// Collects the target of each log statement when the process first comes to it, unless its level is logged nowhere.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets(Arc<Mutex<BTreeSet<&'static str>>>);

impl Targets {
    pub(crate) fn list(&self) -> Vec<&'static str> {
        self.0.lock().iter().copied().collect()
    }

    fn add(&self, target: &'static str) {
        let mut targets = self.0.lock();
        let around = target.match_indices("::").map(|(end, _)| &target[..end]);
        for name in around.chain([target]) {
            if targets.len() < MAX_TARGETS {
                targets.insert(name);
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Targets {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.add(metadata.target());
        Interest::always()
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info, subscriber::with_default};

    use crate::LogConfig;

    #[test]
    fn what_the_filter_drops_is_known_with_the_modules_around_it() {
        let config = LogConfig { filter: "info,outer=off".to_owned(), ..LogConfig::default() };
        let (subscriber, handle) = crate::subscriber(&config, std::io::sink).unwrap();
        with_default(subscriber, || info!(target: "outer::inner", "not written"));
        let known = handle.targets();
        assert!(known.contains(&"outer") && known.contains(&"outer::inner"), "{known:?}");
    }
}
