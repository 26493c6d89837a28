//! Ratios of an earlier run, to see when one gets much worse. Only gross changes count: a shared machine is noisy, and an
//! absolute figure means nothing on another one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, While};
use crate::figure::{Bound, Figure};
use crate::quantity::Quantity;

/// Worse by more than this is a regression.
const TIMES: f64 = 2.0;

/// By scenario and name of the figure.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Baseline(BTreeMap<String, BTreeMap<String, f64>>);

impl Baseline {
    /// The ratios that have a target.
    pub(crate) fn of<'a>(figures: impl Iterator<Item = (&'static str, &'a Figure)>) -> Self {
        let mut ratios = Self::default();
        for (scenario, figure) in figures {
            if let (Quantity::Ratio(ratio), Some(_)) = (figure.measured, figure.target) {
                // Two decimals are more than a run can tell.
                let ratio = (ratio * 100.0).round() / 100.0;
                ratios.0.entry(scenario.to_owned()).or_default().insert(figure.what.clone(), ratio);
            }
        }
        ratios
    }

    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let what = file.display().to_string();
        serde_json::from_slice(&fs::read(file).while_doing(&what)?).while_doing(&what)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        let what = file.display().to_string();
        let text = serde_json::to_string_pretty(self).while_doing(&what)?;
        fs::write(file, text + "\n").while_doing(&what)
    }

    /// What is much worse than here, or is here and was not measured although its scenario was.
    pub(crate) fn regressions<'a>(&self, figures: impl Iterator<Item = (&'static str, &'a Figure)>) -> Vec<String> {
        let figures: Vec<_> = figures.collect();
        let mut regressions = Vec::new();
        for (scenario, ratios) in &self.0 {
            let measured: Vec<_> = figures.iter().filter(|(of, _)| of == scenario).map(|(_, figure)| figure).collect();
            if measured.is_empty() {
                continue;
            }
            for (what, recorded) in ratios {
                match measured.iter().find(|figure| figure.what == *what) {
                    Some(figure) if times_worse(figure, *recorded) > TIMES => {
                        regressions.push(format!("{what}: {}, recorded was {recorded:.2} ×", figure.measured));
                    }
                    Some(_) => {}
                    None => regressions.push(format!("{what} is recorded and was not measured")),
                }
            }
        }
        regressions
    }
}

fn times_worse(figure: &Figure, recorded: f64) -> f64 {
    match figure.target.map(|target| target.bound) {
        Some(Bound::AtLeast(_)) => recorded / figure.measured.value(),
        _ => figure.measured.value() / recorded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(ratio: f64) -> Figure {
        Figure::new("least", Quantity::Ratio(ratio)).target("P5", Bound::AtLeast(Quantity::Ratio(0.5)))
    }

    fn most(ratio: f64) -> Figure {
        Figure::new("most", Quantity::Ratio(ratio)).target("P1", Bound::AtMost(Quantity::Ratio(1.25)))
    }

    fn regressions(now: &[Figure]) -> Vec<String> {
        let before = [most(1.2), least(0.6)];
        let recorded = Baseline::of(before.iter().map(|figure| ("fanout", figure)));
        recorded.regressions(now.iter().map(|figure| ("fanout", figure)))
    }

    #[test]
    fn only_what_is_much_worse_is_a_regression() {
        assert_eq!(regressions(&[most(2.3), least(0.31)]), Vec::<String>::new());
        assert_eq!(regressions(&[most(0.1), least(5.0)]), Vec::<String>::new());
        let worse = ["least: 0.29 ×, recorded was 0.60 ×", "most: 2.50 ×, recorded was 1.20 ×"];
        assert_eq!(regressions(&[most(2.5), least(0.29)]), worse);
    }

    #[test]
    fn what_is_recorded_has_to_be_measured_if_its_scenario_is() {
        assert_eq!(regressions(&[most(1.0)]), ["least is recorded and was not measured"]);
        assert_eq!(regressions(&[]), Vec::<String>::new());
    }

    #[test]
    fn only_ratios_with_a_target_are_recorded() {
        let time = Figure::new("time", Quantity::Milliseconds(1.0)).target("P4", Bound::AtMost(Quantity::Ratio(1.0)));
        let other = Figure::new("other", Quantity::Ratio(1.0));
        assert_eq!(Baseline::of([("a", &time), ("a", &other)].into_iter()), Baseline::default());
    }
}
