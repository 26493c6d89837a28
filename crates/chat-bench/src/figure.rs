//! What was measured, what it should be, and the verdict.

use std::fmt;

use serde::Serialize;

use crate::quantity::Quantity;

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) measured: Quantity,
    pub(crate) target: Option<Target>,
    /// What has to be known to understand it.
    pub(crate) notes: Vec<String>,
    /// What it was measured over.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) counts: Option<Counts>,
    /// Its place in the comparison with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cell: Option<Cell>,
}

/// A place in the table that has all that were measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    /// As in the list of targets: P1.
    pub(crate) target: &'static str,
    pub(crate) what: &'static str,
    pub(crate) whose: &'static str,
}

/// Whose figures the others are compared with.
pub(crate) const CHAT: &str = "chat";
/// The reference.
pub(crate) const RAW: &str = "raw";

/// What was sent and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Target {
    /// As in the list of targets: P1.
    pub(crate) name: &'static str,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(Quantity),
    AtLeast(Quantity),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// There is no target: it explains others.
    None,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, measured: Quantity) -> Self {
        Self { what: what.into(), measured, target: None, notes: Vec::new(), counts: None, cell: None }
    }

    pub(crate) fn target(self, name: &'static str, bound: Bound) -> Self {
        Self { target: Some(Target { name, bound }), ..self }
    }

    pub(crate) fn over(self, counts: Counts) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// Has a place in the comparison. Less is better there.
    pub(crate) fn compared(self, target: &'static str, what: &'static str, whose: &'static str) -> Self {
        Self { cell: Some(Cell { target, what, whose }), ..self }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.target {
            None => Verdict::None,
            Some(target) if target.bound.holds(self.measured) => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }

    /// A ratio means the same on every machine, so it can be demanded.
    pub(crate) fn is_missed_ratio(&self) -> bool {
        matches!(self.measured, Quantity::Ratio(_)) && self.verdict() == Verdict::Missed
    }
}

impl Bound {
    fn holds(self, measured: Quantity) -> bool {
        match self {
            Self::AtMost(most) => measured.value() <= most.value(),
            Self::AtLeast(least) => measured.value() >= least.value(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.measured)?;
        match self.target {
            Some(target) => write!(f, " ({} {}: {})", target.name, target.bound, self.verdict()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::None => "–",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_by_the_bound() {
        let ratio = |value| Figure::new("", Quantity::Ratio(value)).target("P1", Bound::AtMost(Quantity::Ratio(1.25)));
        assert_eq!((ratio(1.25).verdict(), ratio(1.26).verdict()), (Verdict::Met, Verdict::Missed));
        let rate =
            |value| Figure::new("", Quantity::PerSecond(value)).target("P5", Bound::AtLeast(Quantity::PerSecond(20.0)));
        assert_eq!((rate(20.0).verdict(), rate(19.0).verdict()), (Verdict::Met, Verdict::Missed));
        assert_eq!(Figure::new("", Quantity::Count(1.0)).verdict(), Verdict::None);
        assert!(ratio(2.0).is_missed_ratio() && !ratio(1.0).is_missed_ratio() && !rate(1.0).is_missed_ratio());
    }

    #[test]
    fn a_number_that_is_none_meets_nothing() {
        let target = Bound::AtMost(Quantity::Ratio(1.25));
        assert!(!target.holds(Quantity::Ratio(f64::NAN)));
    }
}
