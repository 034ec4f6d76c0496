//! How results are shown: one row a measurement, as it ends, for people or as JSON.

use super::latency::Latencies;
use super::plan::Plan;
use crate::serve::VERSION;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Width of the name of a row.
const NAME_WIDTH: usize = 18;
/// Width of one value with its label, so that rows of one phase stand under each other.
const CELL_WIDTH: usize = 26;

/// One measurement.
#[derive(Debug, Clone)]
pub(super) struct Row {
    name: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone)]
struct Cell {
    label: String,
    value: f64,
    unit: &'static str,
}

impl Row {
    /// A row without values.
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), cells: Vec::new() }
    }

    /// With one more value. The unit may be empty.
    pub(super) fn with(mut self, label: impl Into<String>, value: f64, unit: &'static str) -> Self {
        self.cells.push(Cell { label: label.into(), value, unit });
        self
    }

    /// With the median and the 99th percentile.
    pub(super) fn with_latency(self, label: &str, latencies: &Latencies) -> Self {
        self.with(format!("{label} p50"), latencies.p50(), "ms").with(format!("{label} p99"), latencies.p99(), "ms")
    }

    /// With `value / of`, when there is something to compare with.
    pub(super) fn with_ratio(self, label: &str, value: f64, of: Option<f64>) -> Self {
        match of {
            Some(of) => self.with(label, value / of, ""),
            None => self,
        }
    }
}

/// Where rows go.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
}

impl Report {
    /// A report for people, or as JSON.
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// What was measured on.
    pub(super) fn head(&self, plan: &Plan) {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        if self.json {
            let head = json!({"name": "machine", "cores": cores, "build": build, "version": VERSION,
                              "seconds": plan.measure.as_secs_f64()});
            println!("{head}");
            return;
        }
        println!("runmesh {VERSION}, {build} build, {cores} cores, {} s a measurement", plan.measure.as_secs());
        println!("engines, services and the load share these cores: compare the ratios, not the numbers");
        if cfg!(debug_assertions) {
            println!("warning: this is a debug build, many times slower than a release build");
        }
    }

    /// Prints a row.
    pub(super) fn row(&self, row: &Row) {
        if self.json { println!("{}", as_json(row)) } else { println!("{}", as_text(row)) }
    }
}

fn as_json(row: &Row) -> Value {
    let mut object = Map::from_iter([("name".to_owned(), json!(row.name))]);
    for Cell { label, value, unit } in &row.cells {
        let key = if unit.is_empty() { label.clone() } else { format!("{label} {unit}") };
        object.insert(key.replace([' ', '/'], "_"), json!(value));
    }
    Value::Object(object)
}

fn as_text(row: &Row) -> String {
    let mut line = format!("{:NAME_WIDTH$}", row.name);
    for Cell { label, value, unit } in &row.cells {
        let space = if unit.is_empty() { "" } else { " " };
        let cell = format!("{label} {}{space}{unit}", number(*value));
        // Writing to a string cannot fail.
        let _ = write!(line, " {cell:CELL_WIDTH$}");
    }
    line.trim_end().to_owned()
}

/// Three digits or so: what a measurement is good for.
fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, as_json, as_text, number};

    #[test]
    fn a_row_is_a_line_or_an_object() {
        let row = Row::new("run200 x16").with("runs/s", 612.34, "").with("total p50", 1.5, "ms").with_ratio("of L", 1.0, None);
        assert_eq!(as_text(&row), "run200 x16         runs/s 612                 total p50 1.50 ms");
        assert_eq!(as_json(&row).to_string(), r#"{"name":"run200 x16","runs_s":612.34,"total_p50_ms":1.5}"#);
    }

    #[test]
    fn what_is_no_number_says_so() {
        assert_eq!(number(f64::NAN), "-");
    }
}
