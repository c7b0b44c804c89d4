//! What was measured, as a table: times from criterion's own files, allocations counted apart.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// One row.
pub struct Row {
    pub what: String,
    pub tenants: u32,
    /// Allocations (and growths of one) of a decision, on average.
    pub allocations: f64,
}

/// What a decision shall cost at most, in nanoseconds.
const GOALS: [(&str, f64); 2] = [("api-key", 200.0), ("jwt", 300.0)];

/// Allocations of one call, over many of them.
pub fn allocations(rounds: u32, mut work: impl FnMut(usize)) -> f64 {
    let ((made, grown, _), ()) = alloc_counter::count_alloc(|| {
        for round in 0..rounds {
            work(round as usize);
        }
    });
    f64::from(u32::try_from(made + grown).unwrap_or(u32::MAX)) / f64::from(rounds)
}

/// The memory of this process in bytes.
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The median of a benchmark in nanoseconds, where it was measured.
fn median(group: &str, row: &Row) -> Option<f64> {
    let home = std::env::var_os("CRITERION_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        target.join("criterion")
    });
    let file = home.join(group).join(&row.what).join(row.tenants.to_string()).join("new/estimates.json");
    let estimates: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// Prints the rows, with what is wanted beside them. In a test run there are no times.
pub fn print(group: &str, rows: &[Row], timed: bool) {
    if rows.is_empty() {
        return;
    }
    println!("\n| {group} | tenants | median | goal | allocations |\n|---|--:|--:|--:|--:|");
    for row in rows {
        let nanos =
            |nanos: Option<f64>| nanos.map_or_else(|| "-".to_owned(), |nanos| format!("{nanos:.0} ns"));
        let time = nanos(median(group, row).filter(|_| timed));
        let goal = nanos(GOALS.iter().find(|(what, _)| *what == row.what).map(|(_, nanos)| *nanos));
        println!("| {} | {} | {time} | {goal} | {:.2} |", row.what, row.tenants, row.allocations);
    }
}
