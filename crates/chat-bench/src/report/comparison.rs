//! All that were measured, side by side.

use crate::figure::{CHAT, Cell, Figure};

/// A table with a line for each target and a column for each that was measured; empty if there was no peer.
pub(super) fn table(figures: &[&Figure]) -> String {
    let cells: Vec<_> = figures.iter().filter_map(|figure| Some((figure.cell?, *figure))).collect();
    let columns = distinct(cells.iter().map(|(cell, _)| cell.whose));
    if columns.len() < 3 {
        return String::new();
    }
    let mut text =
        format!("\n| target | what | {} |\n|---|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
    for (target, what) in distinct(cells.iter().map(|(cell, _)| (cell.target, cell.what))) {
        let of = |whose| {
            let wanted = Cell { target, what, whose };
            cells.iter().find(|(cell, _)| *cell == wanted).map(|(_, figure)| *figure)
        };
        let line: Vec<_> = columns.iter().map(|whose| shown(of(whose), of(CHAT))).collect();
        text += &format!("| {target} | {what} | {} |\n", line.join(" | "));
    }
    text
}

/// A figure, and what the chat's own is to it.
fn shown(figure: Option<&Figure>, chat: Option<&Figure>) -> String {
    let Some(figure) = figure else { return "–".to_owned() };
    let Some(chat) = chat.filter(|_| figure.cell.is_some_and(|cell| cell.whose != CHAT)) else {
        return figure.measured.to_string();
    };
    let (times, word) = match figure.measured.value() / chat.measured.value() {
        times if times >= 1.0 => (times, "better"),
        times => (1.0 / times, "worse"),
    };
    format!("{} (chat {times:.2} × {word})", figure.measured)
}

/// Each once, in the order of their first.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::RAW;
    use crate::quantity::Quantity;

    fn figure(target: &'static str, whose: &'static str, value: f64) -> Figure {
        Figure::new("", Quantity::Microseconds(value)).compared(target, "cost", whose)
    }

    #[test]
    fn all_stand_side_by_side_with_what_is_better() {
        let figures =
            [figure("P1", RAW, 4.0), figure("P1", CHAT, 5.0), figure("P1", "nchan", 10.0), figure("P4", CHAT, 3.0)];
        let figures: Vec<_> = figures.iter().collect();
        let lines: Vec<_> = table(&figures).lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "| target | what | raw | chat | nchan |");
        assert_eq!(lines[3], "| P1 | cost | 4.00 µs (chat 1.25 × worse) | 5.00 µs | 10.00 µs (chat 2.00 × better) |");
        assert_eq!(lines[4], "| P4 | cost | – | 3.00 µs | – |");
    }

    #[test]
    fn nothing_is_compared_without_a_peer() {
        let figures = [figure("P1", RAW, 4.0), figure("P1", CHAT, 5.0)];
        assert_eq!(table(&figures.iter().collect::<Vec<_>>()), "");
    }
}
