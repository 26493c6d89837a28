//! The report, for people and for programs.

mod comparison;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, While};
use crate::figure::{Figure, Verdict};
use crate::machine::Machine;
use crate::scale::Scale;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    scale: Scale,
    versions: BTreeMap<String, String>,
    seconds: u64,
    scenarios: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct Section {
    scenario: &'static str,
    seconds: u64,
    figures: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    figure: Figure,
    verdict: Verdict,
}

impl Report {
    pub(crate) fn new(machine: Machine, scale: Scale) -> Self {
        Self { machine, scale, versions: BTreeMap::new(), seconds: 0, scenarios: Vec::new() }
    }

    /// Takes the figures of a scenario. One that is no number, as after a division by nothing, was not measured.
    pub(crate) fn add(&mut self, scenario: &'static str, took: Duration, figures: Vec<Figure>) -> Result<(), Failure> {
        if let Some(figure) = figures.iter().find(|figure| !figure.measured.value().is_finite()) {
            return Err(Failure(format!("{} could not be measured", figure.what)));
        }
        let line = |figure: Figure| Line { verdict: figure.verdict(), figure };
        let figures = figures.into_iter().map(line).collect();
        self.scenarios.push(Section { scenario, seconds: took.as_secs(), figures });
        Ok(())
    }

    pub(crate) fn end(&mut self, took: Duration, versions: BTreeMap<String, String>) {
        self.seconds = took.as_secs();
        self.versions = versions;
    }

    /// The names of the targets that are missed by a ratio.
    pub(crate) fn missed_ratios(&self) -> Vec<&'static str> {
        let missed = self.figures().filter(|(_, figure)| figure.is_missed_ratio());
        missed.filter_map(|(_, figure)| figure.target.map(|target| target.name)).collect()
    }

    /// Each with the name of its scenario.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        self.scenarios.iter().flat_map(|section| section.figures.iter().map(|line| (section.scenario, &line.figure)))
    }

    /// Writes `report.json` and `report.md`.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder).while_doing("the folder of the report")?;
        let json = serde_json::to_string_pretty(self).while_doing("the report")?;
        fs::write(folder.join("report.json"), json + "\n").while_doing("report.json")?;
        fs::write(folder.join("report.md"), self.markdown()).while_doing("report.md")
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = self.head();
        text += "| scenario | what | target | measured | verdict |\n|---|---|---|---:|---|\n";
        let mut notes = Vec::new();
        for section in &self.scenarios {
            for Line { figure, verdict } in &section.figures {
                let target = figure.target.map(|target| format!("{} {}", target.name, target.bound));
                let references: String = figure.notes.iter().map(|note| reference(&mut notes, note)).collect();
                let cells = [
                    section.scenario.to_owned(),
                    format!("{}{references}", figure.what),
                    target.unwrap_or_default(),
                    figure.measured.to_string(),
                    verdict.to_string(),
                ];
                text += &format!("| {} |\n", cells.join(" | "));
            }
        }
        text += &comparison::table(&self.figures().map(|(_, figure)| figure).collect::<Vec<_>>());
        text.push('\n');
        for (index, note) in notes.iter().enumerate() {
            let _infallible = writeln!(text, "{}. {note}", index + 1);
        }
        text
    }

    fn head(&self) -> String {
        let Machine { processor, cores, memory_gb, kernel, build, date } = &self.machine;
        let versions: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let took: Vec<_> =
            self.scenarios.iter().map(|section| format!("{} {} s", section.scenario, section.seconds)).collect();
        format!(
            "{date}, {processor}, {cores} cores, {memory_gb} GB, Linux {kernel}; {build} build, {}.\n\
             It took {} s: {}.\n\n",
            versions.join(", "),
            self.seconds,
            took.join(", ")
        )
    }
}

/// ` [n]`, the number of a note, which is shared by those that say the same.
fn reference(notes: &mut Vec<String>, note: &str) -> String {
    let known = notes.iter().position(|one| one == note);
    let index = known.unwrap_or_else(|| {
        notes.push(note.to_owned());
        notes.len() - 1
    });
    format!(" [{}]", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Bound;
    use crate::quantity::Quantity;

    fn report() -> Report {
        let machine = Machine {
            processor: "Z80".to_owned(),
            cores: 2,
            memory_gb: 8,
            kernel: "6.1".to_owned(),
            build: "release",
            date: "2026-11-25".to_owned(),
        };
        let mut report = Report::new(machine, Scale::new(true, None, None));
        let one = Figure::new("one", Quantity::Ratio(1.5)).target("P1", Bound::AtMost(Quantity::Ratio(1.25)));
        let two = Figure::new("two", Quantity::Kilobytes(9.0)).target("P3", Bound::AtMost(Quantity::Kilobytes(7.0)));
        report.add("fanout", Duration::from_secs(4), vec![one.note("same"), two.note("other").note("same")]).unwrap();
        report.end(Duration::from_secs(5), BTreeMap::from([("Redis".to_owned(), "8".to_owned())]));
        report
    }

    #[test]
    fn only_a_ratio_that_is_missed_fails_a_check() {
        assert_eq!(report().missed_ratios(), ["P1"]);
    }

    #[test]
    fn people_see_target_figure_verdict_and_each_note_once() {
        let text = report().markdown();
        assert!(text.starts_with(
            "2026-11-25, Z80, 2 cores, 8 GB, Linux 6.1; release build, Redis 8.\nIt took 5 s: fanout 4 s."
        ));
        assert!(text.contains("| fanout | one [1] | P1 ≤ 1.25 × | 1.50 × | MISSED |\n"), "{text}");
        assert!(text.contains("| fanout | two [2] [1] | P3 ≤ 7.0 KB | 9.0 KB | MISSED |\n"), "{text}");
        assert!(text.ends_with("\n1. same\n2. other\n"), "{text}");
    }

    #[test]
    fn a_figure_that_is_no_number_is_an_error() {
        let added = report().add("idle", Duration::ZERO, vec![Figure::new("this", Quantity::Ratio(f64::NAN))]);
        assert_eq!(added.unwrap_err().to_string(), "this could not be measured");
    }

    #[test]
    fn programs_see_the_same() {
        let json = serde_json::to_value(report()).unwrap();
        let figure = &json["scenarios"][0]["figures"][0];
        assert_eq!((&figure["verdict"], &figure["measured"]["value"]), (&"missed".into(), &1.5.into()));
        assert_eq!(json["machine"]["cores"], 2);
    }
}
