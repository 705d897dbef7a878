//! What a benchmark found: tables, figures with what is wanted of them, and how it was measured; for people,
//! for programs, and as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use nix::sys::utsname::uname;
use serde_json::{Value, json};

use crate::host;

/// What a benchmark has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it answers, in a few words.
    pub title: &'static str,
    /// How it was measured: paragraphs.
    pub method: Vec<String>,
    /// What was measured.
    pub tables: Vec<Table>,
    /// What of it is compared with what is wanted.
    pub figures: Vec<Figure>,
    /// What was not measured, and why.
    pub not_measured: Vec<String>,
    /// What else happened.
    pub notes: Vec<String>,
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    /// What the rows have in common.
    pub title: String,
    /// Names of the columns; the first is text, the others are numbers.
    pub columns: Vec<&'static str>,
    /// The rows, as they are shown.
    pub rows: Vec<Vec<String>>,
}

/// A number, and what it should be.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what; empty for a ratio.
    pub unit: &'static str,
    /// What is wanted; none where nothing was asked for.
    pub wanted: Option<Bound>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// No less than this.
    Least(f64),
    /// No more than this.
    Most(f64),
}

impl Figure {
    /// A figure with a bound.
    #[must_use]
    pub fn wanted(name: impl Into<String>, value: f64, unit: &'static str, bound: Bound) -> Self {
        Self { name: name.into(), value, unit, wanted: Some(bound) }
    }

    /// A figure that is only told.
    #[must_use]
    pub fn told(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, wanted: None }
    }

    /// Whether it is as wanted.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.wanted {
            None => true,
            Some(Bound::Least(least)) => self.value >= least,
            Some(Bound::Most(most)) => self.value <= most,
        }
    }

    /// The cells of its row: name, value, what is wanted, and `missed` if it is not met.
    fn cells(&self) -> Vec<String> {
        let with_unit = |value| format!("{} {}", number(value), self.unit).trim_end().to_owned();
        let wanted = match self.wanted {
            None => String::new(),
            Some(Bound::Least(least)) => format!(">= {}", with_unit(least)),
            Some(Bound::Most(most)) => format!("<= {}", with_unit(most)),
        };
        let mark = if self.is_met() { "" } else { "missed" };
        vec![self.name.clone(), with_unit(self.value), wanted, mark.to_owned()]
    }
}

/// A number as people read it: three digits that say something.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A count, to reckon with.
#[must_use]
pub fn count(n: impl TryInto<u32>) -> f64 {
    let n: Option<u32> = n.try_into().ok();
    f64::from(n.expect("a benchmark counts less than 2^32 of anything"))
}

/// The value in the middle.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Report {
    /// Everything, for people at a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for paragraph in &self.method {
            writeln!(out, "{paragraph}").expect("a string takes everything");
        }
        for table in self.tables.iter().chain(self.figure_table().as_ref()) {
            writeln!(out, "\n{}", table.text()).expect("a string takes everything");
        }
        for line in self.remarks() {
            writeln!(out, "{line}").expect("a string takes everything");
        }
        out
    }

    /// Everything, as a section of a document.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("## {} (`cargo xtask bench {}`)\n\n", self.title, self.name);
        out += &self.method.join("\n\n");
        out += "\n";
        for table in self.tables.iter().chain(self.figure_table().as_ref()) {
            writeln!(out, "\n{}", table.markdown()).expect("a string takes everything");
        }
        let remarks: Vec<_> = self.remarks().map(|line| format!("- {line}\n")).collect();
        if !remarks.is_empty() {
            out += "\n";
            out += &remarks.concat();
        }
        out
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let table = |table: &Table| {
            let row = |row: &Vec<String>| -> Value {
                table
                    .columns
                    .iter()
                    .zip(row)
                    .map(|(name, cell)| ((*name).to_owned(), cell_json(cell)))
                    .collect()
            };
            json!({ "title": table.title, "rows": table.rows.iter().map(row).collect::<Vec<_>>() })
        };
        let figure = |figure: &Figure| {
            let (least, most) = match figure.wanted {
                Some(Bound::Least(least)) => (Some(least), None),
                Some(Bound::Most(most)) => (None, Some(most)),
                None => (None, None),
            };
            json!({
                "name": figure.name, "value": figure.value, "unit": figure.unit,
                "wanted_min": least, "wanted_max": most, "met": figure.is_met(),
            })
        };
        json!({
            "bench": self.name,
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "not_measured": self.not_measured,
            "notes": self.notes,
        })
    }

    fn figure_table(&self) -> Option<Table> {
        let columns = vec!["figure", "value", "wanted", ""];
        let rows: Vec<_> = self.figures.iter().map(Figure::cells).collect();
        (!rows.is_empty()).then(|| Table { title: "Figures".to_owned(), columns, rows })
    }

    fn remarks(&self) -> impl Iterator<Item = String> {
        self.notes
            .iter()
            .cloned()
            .chain(self.not_measured.iter().map(|what| format!("Not measured: {what}.")))
    }
}

/// Returns reports as one document, with the machine they were made on.
#[must_use]
pub fn document(reports: &[Report]) -> String {
    let mut out = format!(
        "# Performance\n\nWritten by `cargo xtask bench --report docs/performance.md`; do not edit.\n\n{}\n",
        machine()
    );
    let figures =
        || reports.iter().flat_map(|report| report.figures.iter().map(move |figure| (report, figure)));
    let wanted = figures().filter(|(_, figure)| figure.wanted.is_some()).count();
    let missed: Vec<_> = figures().filter(|(_, figure)| !figure.is_met()).collect();
    writeln!(out, "Of {wanted} figures with something wanted of them {} are met.", wanted - missed.len())
        .expect("a string takes everything");
    if !missed.is_empty() {
        out += "\nMissed; [profile.md](profile.md) says why:\n\n";
    }
    for (report, figure) in missed {
        let [name, value, wanted, ..] = &figure.cells()[..] else { unreachable!("a row has four cells") };
        writeln!(out, "- {}: {name} is {value}, wanted {wanted}", report.name)
            .expect("a string takes everything");
    }
    let missing: Vec<_> = reports.iter().flat_map(|report| &report.not_measured).collect();
    if !missing.is_empty() {
        out += "\nNot measured:\n\n";
    }
    for what in missing {
        writeln!(out, "- {what}").expect("a string takes everything");
    }
    for report in reports {
        out += "\n";
        out += report.markdown().trim_end();
        out += "\n";
    }
    out
}

/// The machine, its kernel, and the day.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':'])).trim().to_owned()
    };
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory_kib: u64 = field(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    let day = host::run(Command::new("date").args(["-u", "+%F"]));
    format!(
        "| machine | |\n| --- | --- |\n| CPU | {}, {count} cores |\n| memory | {} GiB |\n| kernel | Linux {kernel} |\n\
         | date | {} |\n",
        field(&cpus, "model name"),
        memory_kib >> 20,
        day.trim(),
    )
}

/// A cell that is a number is one for programs too.
fn cell_json(cell: &str) -> Value {
    cell.parse::<f64>().map_or_else(|_| cell.into(), Into::into)
}

impl Table {
    fn text(&self) -> String {
        let heads: Vec<String> = self.columns.iter().map(|&name| name.to_owned()).collect();
        let width = |n: usize| {
            let cells = self.rows.iter().chain([&heads]).filter_map(|row| row.get(n));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let line = |row: &Vec<String>| {
            let pad = |(n, cell): (usize, &String)| {
                if n == 0 { format!("{cell:w$}", w = width(n)) } else { format!("{cell:>w$}", w = width(n)) }
            };
            row.iter().enumerate().map(pad).collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let lines: Vec<_> = [&heads].into_iter().chain(&self.rows).map(line).collect();
        format!("{}\n{}", self.title, lines.join("\n"))
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
        let rule = (0..self.columns.len()).map(|n| if n == 0 { "---" } else { "---:" }).collect();
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        let lines: Vec<_> = [line(self.columns.clone()), line(rule)].into_iter().chain(rows).collect();
        format!("{}:\n\n{}", self.title, lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A figure beyond its bound is marked, one at it is not.
    #[test]
    fn what_is_missed_is_marked() {
        let figure = |value, bound| Figure::wanted("n", value, "", bound);
        assert!(figure(2.0, Bound::Least(2.0)).is_met() && figure(2.0, Bound::Most(2.0)).is_met());
        assert_eq!(figure(1.9, Bound::Least(2.0)).cells()[3], "missed");
        assert_eq!(figure(2.1, Bound::Most(2.0)).cells()[3], "missed");
    }

    /// Columns line up, numbers to the right.
    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["long name".to_owned(), "1".to_owned()], vec!["x".to_owned(), "10".to_owned()]];
        let table = Table { title: "t".to_owned(), columns: vec!["what", "n"], rows };
        assert_eq!(table.text(), "t\nwhat        n\nlong name   1\nx          10");
        assert_eq!(table.markdown(), "t:\n\n| what | n |\n| --- | ---: |\n| long name | 1 |\n| x | 10 |");
    }
}
