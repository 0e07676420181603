//! The scenarios that come with the program.

/// Name, and text, in the order in which they are told.
pub const SCENARIOS: &[(&str, &str)] = &[("N1", include_str!("../../scenarios/N1.toml"))];

/// The text of a scenario that comes with the program; upper and lower case are
/// the same.
pub fn scenario(id: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(_, text)| *text)
}
