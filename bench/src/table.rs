//! The result, one row a line, as Markdown.

/// What a ratio must be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Anything: the row is for information.
    None,
}

/// Prints the head of the table.
pub fn head() {
    println!("| id | what | Eddy | denominator | ratio | target | met |");
    println!("|---|---|---|---|---|---|---|");
}

/// Prints a row.
pub fn row(id: &str, what: &str, ours: &str, theirs: &str, ratio: f64, target: Target) {
    let verdict = |met| if met { "yes" } else { "**no**" };
    let judged = match target {
        Target::AtLeast(limit) => format!("≥ {limit} | {}", verdict(ratio >= limit)),
        Target::AtMost(limit) => format!("≤ {limit} | {}", verdict(ratio <= limit)),
        Target::None => "— | —".into(),
    };
    println!("| {id} | {what} | {ours} | {theirs} | {ratio:.2} | {judged} |");
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
