//! The scenarios that come with the program.

/// Name, and text, in the order in which they are told.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("N1", include_str!("../../scenarios/N1.toml")),
    ("N1f", include_str!("../../scenarios/N1f.toml")),
    ("N1t", include_str!("../../scenarios/N1t.toml")),
    ("C1", include_str!("../../scenarios/C1.toml")),
    ("Z1", include_str!("../../scenarios/Z1.toml")),
    ("Z2", include_str!("../../scenarios/Z2.toml")),
    ("P1", include_str!("../../scenarios/P1.toml")),
    ("FC1", include_str!("../../scenarios/FC1.toml")),
    ("CH1", include_str!("../../scenarios/CH1.toml")),
    ("CH2", include_str!("../../scenarios/CH2.toml")),
    ("UP1", include_str!("../../scenarios/UP1.toml")),
    ("FR1", include_str!("../../scenarios/FR1.toml")),
    ("PF1", include_str!("../../scenarios/PF1.toml")),
    ("BF1", include_str!("../../scenarios/BF1.toml")),
    ("NA1", include_str!("../../scenarios/NA1.toml")),
    ("SP1", include_str!("../../scenarios/SP1.toml")),
    ("LO1", include_str!("../../scenarios/LO1.toml")),
    ("RE1", include_str!("../../scenarios/RE1.toml")),
    ("TS1", include_str!("../../scenarios/TS1.toml")),
    ("SC1", include_str!("../../scenarios/SC1.toml")),
];

/// The text of a scenario that comes with the program; upper and lower case are
/// the same.
pub fn scenario(id: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Sheet;

    #[test]
    fn every_scenario_can_be_read_under_each_of_its_presets() {
        for (id, text) in SCENARIOS {
            let sheet = Sheet::read(text).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(sheet.scenario().id, *id);
        }
    }
}
