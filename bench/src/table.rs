//! The result, one row a line, as Markdown.

/// What a ratio must be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// Prints the head of the table.
pub fn head() {
    println!("| id | what | Eddy | denominator | ratio | target | met |");
    println!("|---|---|---|---|---|---|---|");
}

/// Prints a row. Returns whether the target is met.
pub fn row(id: &str, what: &str, ours: &str, theirs: &str, ratio: f64, target: Target) -> bool {
    let (met, sign, limit) = match target {
        Target::AtLeast(limit) => (ratio >= limit, "≥", limit),
        Target::AtMost(limit) => (ratio <= limit, "≤", limit),
    };
    let met_word = if met { "yes" } else { "**no**" };
    println!("| {id} | {what} | {ours} | {theirs} | {ratio:.2} | {sign} {limit} | {met_word} |");
    met
}

/// Bytes a CPU second, in GB.
#[must_use]
pub fn gigabytes(bytes_per_second: f64) -> String {
    format!("{:.2} GB/CPU-s", bytes_per_second / 1e9)
}

/// Whether a section was asked for: its name is an argument, or none is.
/// Cargo's own `--bench` is no name.
#[must_use]
pub fn wanted(section: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name.eq_ignore_ascii_case(section))
}
