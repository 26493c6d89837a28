//! Numbers with their units.

use std::fmt;

use serde::Serialize;

/// A number that means something.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "unit", content = "value", rename_all = "snake_case")]
pub(crate) enum Quantity {
    /// Times something else.
    Ratio(f64),
    Microseconds(f64),
    Milliseconds(f64),
    /// Of 1 024 bytes.
    Kilobytes(f64),
    PerSecond(f64),
    Count(f64),
}

impl Quantity {
    pub(crate) const fn value(self) -> f64 {
        match self {
            Self::Ratio(value)
            | Self::Microseconds(value)
            | Self::Milliseconds(value)
            | Self::Kilobytes(value)
            | Self::PerSecond(value)
            | Self::Count(value) => value,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ratio(value) => write!(f, "{value:.2} ×"),
            Self::Microseconds(value) => write!(f, "{value:.2} µs"),
            Self::Milliseconds(value) => write!(f, "{value:.2} ms"),
            Self::Kilobytes(value) => write!(f, "{value:.1} KB"),
            Self::PerSecond(value) if value >= 1e6 => write!(f, "{:.2} M/s", value / 1e6),
            Self::PerSecond(value) if value >= 1e4 => write!(f, "{:.1} k/s", value / 1e3),
            Self::PerSecond(value) => write!(f, "{value:.0}/s"),
            Self::Count(value) => write!(f, "{value:.1}"),
        }
    }
}

/// The one in the middle. The lower one of two.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_that_was_disturbed() {
        assert_eq!(median(vec![1.2, 9.0, 1.1]), Some(1.2));
        assert_eq!(median(vec![2.0, 1.0]), Some(1.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn rates_are_short() {
        let shown = [850.4, 21_340.0, 1_234_567.0].map(|value| Quantity::PerSecond(value).to_string());
        assert_eq!(shown, ["850/s", "21.3 k/s", "1.23 M/s"]);
    }
}
