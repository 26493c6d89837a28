//! What is kept and what is printed of an act.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    act::{Outcome, Script},
    history::write_lines,
    report,
};

/// A delivery may be so late although nothing is broken: the machine may be busy. More is a fault of the system.
const QUIET_DELAY: Duration = Duration::from_secs(5);
/// How many lines of a kind are printed.
const MANY: usize = 20;

/// Everything that the checker knew, and what the servers logged.
pub(crate) fn keep(folder: &Path, script: &Script, outcome: &Outcome) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write_lines(&folder.join("script.jsonl"), std::slice::from_ref(script))?;
    write_lines(&folder.join("faults.jsonl"), &outcome.rounds)?;
    write_lines(&folder.join("acknowledged.jsonl"), &outcome.sent.acknowledged)?;
    write_lines(&folder.join("violations.jsonl"), &outcome.violations)?;
    write_lines(&folder.join("complaints.jsonl"), &outcome.complaints)?;
    write_lines(&folder.join("memory.jsonl"), &outcome.memory)?;
    for journal in &outcome.journals {
        write_lines(&folder.join(format!("{}.jsonl", journal.listener)), &journal.receipts)?;
    }
    for (name, log) in &outcome.logs {
        fs::write(folder.join(format!("{}.log", name.replace(' ', "-"))), log)?;
    }
    Ok(())
}

/// Prints the result. False if the promise was broken, or nothing was proved.
pub(crate) fn tell(outcome: &Outcome, folder: &Path) -> bool {
    let Outcome { rounds, sent, journals, violations, memory, .. } = outcome;
    let lines = report::lines(sent, journals, rounds, violations);
    println!("{}", report::Table(&lines));
    let connections: u32 = journals.iter().map(|journal| journal.connections).sum();
    println!(
        "{} acknowledged, {} of them after retries, {} sent again on purpose; {} listeners, {connections} connections",
        sent.acknowledged.len(),
        sent.retried,
        sent.repeated,
        journals.len(),
    );
    for server in memory {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let (first, most, last) = (megabytes(server.first), megabytes(server.most), megabytes(server.last));
        println!("  memory of {}: {first} MB at first, {most} MB at most, {last} MB at last", server.server);
    }
    let complaints: Vec<_> = outcome.complaints.iter().cloned().chain(doubts(outcome, &lines)).collect();
    for complaint in complaints.iter().take(MANY) {
        println!("  unexpected: {complaint}");
    }
    for violation in violations.iter().take(MANY) {
        println!("  broken: {violation:?}");
    }
    let kept = violations.is_empty() && complaints.is_empty();
    println!(
        "{}: {} broken promises, {} unexpected events; histories in {}\n",
        if kept { "promise kept" } else { "PROMISE BROKEN" },
        violations.len(),
        complaints.len(),
        folder.display()
    );
    kept
}

/// Why the act proves less than it should.
fn doubts(outcome: &Outcome, lines: &[report::Line]) -> Vec<String> {
    let Outcome { rounds, sent, journals, .. } = outcome;
    let mut doubts = Vec::new();
    if rounds.is_empty() {
        doubts.push("there was no time for any fault".to_owned());
    }
    if sent.acknowledged.is_empty() {
        doubts.push("nothing was acknowledged".to_owned());
    }
    for journal in journals.iter().filter(|journal| journal.receipts.is_empty()) {
        doubts.push(format!("{} received nothing", journal.listener));
    }
    let longest = lines.iter().map(report::Line::longest_quiet_delay).max().unwrap_or_default();
    if longest > QUIET_DELAY {
        doubts.push(format!("a delivery took {longest:?} although nothing was broken"));
    }
    doubts
}
