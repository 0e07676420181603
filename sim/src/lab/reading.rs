//! From a file to a scenario: layers, and what to say when a word is wrong.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::{Table, Value};

use super::metrics::{NAMES, about};
use super::scenario::Scenario;

/// A scenario as it stands in its file: what holds always, and what each
/// preset changes.
#[derive(Clone, Debug)]
pub struct Sheet {
    base: Table,
    /// In the order of the file.
    presets: Vec<(String, Table)>,
    scenario: Scenario,
}

/// A scenario cannot be read. The text says where and why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(pub(super) String);

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// The file's own shape: a scenario, and tables named `preset.NAME`.
#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    preset: BTreeMap<String, Table>,
    #[serde(flatten)]
    base: Table,
}

impl Sheet {
    /// Reads a scenario's text.
    ///
    /// # Errors
    /// [`ScenarioError`] with the line, and a hint where a word is unknown.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let whole: Whole = toml::from_str(text).map_err(|e| told(&e.to_string()))?;
        let scenario = parse(&whole.base, text)?;
        let mut presets: Vec<(String, Table)> = whole.preset.into_iter().collect();
        presets.sort_by_key(|(name, _)| first_line_of(text, name));
        let sheet = Self { base: whole.base, presets, scenario };
        for preset in sheet.presets() {
            sheet.layered(&preset, &[])?;
        }
        let plan = &sheet.scenario;
        // Files are named after it.
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if plan.id.is_empty() || !plan.id.chars().all(fits) {
            return Err(told(&format!(
                "id is {:?}, but may have letters, digits, - and _ only",
                plan.id
            )));
        }
        let named = plan.targets.iter().map(|t| &t.metric);
        for metric in named.chain(plan.published.iter().map(|p| &p.metric)) {
            if about(metric).is_none() {
                let known: Vec<String> =
                    NAMES.iter().map(|(name, ..)| format!("`{name}`")).collect();
                return Err(told(&format!(
                    "unknown figure `{metric}`, expected one of {}",
                    known.join(", ")
                )));
            }
        }
        let preset = plan.targets.iter().map(|t| &t.preset).find(|p| !sheet.presets().contains(p));
        match preset {
            Some(preset) => {
                let known = sheet.presets().join(", ");
                Err(told(&format!("a target is for the preset {preset:?}, but there are {known}")))
            }
            None => Ok(sheet),
        }
    }

    /// What holds for all presets.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The presets that the file names, in its order; `report` and `default` where
    /// it names none.
    pub fn presets(&self) -> Vec<String> {
        if self.presets.is_empty() {
            return ["report", "default"].map(str::to_owned).into();
        }
        self.presets.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The scenario under a preset, with what `--set` changes.
    ///
    /// # Errors
    /// [`ScenarioError`] naming the preset or the change.
    pub fn layered(&self, preset: &str, changes: &[String]) -> Result<Scenario, ScenarioError> {
        let mut table = self.base.clone();
        match self.presets.iter().find(|(name, _)| name == preset) {
            Some((_, layer)) => merge(&mut table, layer)
                .map_err(|e| told(&format!("under the preset {preset}: {e}")))?,
            None if is_built_in(preset) => {}
            None => {
                let known = self.presets().join(", ");
                return Err(told(&format!("there is no preset {preset:?} here, but {known}")));
            }
        }
        if is_built_in(preset) {
            let core = table.entry("core").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(core) = core {
                core.entry("preset").or_insert_with(|| preset.into());
            }
        }
        for change in changes {
            set(&mut table, change)?;
        }
        let scenario = parse(&table, "")
            .map_err(|e| ScenarioError(format!("under the preset {preset}: {e}")))?;
        let rate = scenario.channel.rate.of(1);
        scenario
            .core
            .config(rate)
            .map_err(|e| told(&format!("[core] under the preset {preset}: {e}")))?;
        Ok(scenario)
    }
}

/// The line that first names a preset, in any of the ways that TOML has.
fn first_line_of(text: &str, preset: &str) -> Option<usize> {
    text.lines().position(|line| {
        let rest = line.trim_start_matches(['[', ' ', '\t']).strip_prefix("preset.");
        let name = rest.map(|rest| rest.trim_start_matches(['"', '\'']));
        let after = name.and_then(|name| name.strip_prefix(preset));
        after.is_some_and(|after| after.starts_with([']', '.', '"', '\'', ' ', '=']))
    })
}

/// Whether the core has a preset of that name.
fn is_built_in(preset: &str) -> bool {
    ["default", "report", "tree", "donet"].contains(&preset)
}

/// With the text at hand the message can show the line.
fn parse(table: &Table, text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::deserialize(table.clone()).map_err(|e| {
        let error = e.to_string();
        let line = between(&error, "`").next().and_then(|word| {
            let at =
                text.lines().position(|l| l.split(['=', ']', '.']).any(|w| is_word(w, word)))?;
            Some(format!("line {}: ", at + 1))
        });
        told(&format!("{}{error}", line.unwrap_or_default()))
    })
}

fn is_word(found: &str, word: &str) -> bool {
    found.trim().trim_start_matches('[').trim() == word
}

/// The words between quotation marks, one after another.
fn between<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).step_by(2)
}

/// An error, with the nearest known word if it names an unknown one.
fn told(error: &str) -> ScenarioError {
    let mut words = between(error, "`");
    let hint = words.next().filter(|_| error.contains("unknown")).and_then(|unknown| {
        let near = words.min_by_key(|known| distance(unknown, known))?;
        (distance(unknown, near) <= 1 + unknown.len() / 3)
            .then(|| format!("; did you mean `{near}`?"))
    });
    ScenarioError(format!("{}{}", error.trim_end(), hint.unwrap_or_default()))
}

/// Letters to insert, delete or exchange (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Tables that say one of several things: another takes their place.
const ONE_OF: [&str; 2] = ["session", "reselection"];

/// Lays `layer` over `table`. Lists of tables are laid over each other by name.
fn merge(table: &mut Table, layer: &Table) -> Result<(), String> {
    for (key, value) in layer {
        match (table.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if !ONE_OF.contains(&key.as_str()) => {
                merge(below, above)?;
            }
            (Some(Value::Array(below)), Value::Table(above)) => {
                for (name, change) in above {
                    match (named(below, name), change) {
                        (Some(Value::Table(entry)), Value::Table(change)) => merge(entry, change)?,
                        _ => return Err(format!("there is no {name:?} among the {key}")),
                    }
                }
            }
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// The entry of a list of tables that has this name.
fn named<'a>(list: &'a mut [Value], name: &str) -> Option<&'a mut Value> {
    list.iter_mut().find(|v| v.get("name").and_then(Value::as_str) == Some(name))
}

/// Carries out `key.of.table=value`. In `viewers` the second word is a group.
fn set(table: &mut Table, change: &str) -> Result<(), ScenarioError> {
    let wrong = |what: &str| {
        ScenarioError(format!(
            "--set {change}: {what}; give it as channel.block=100ms or viewers.live.count=20"
        ))
    };
    let (path, value) = change.split_once('=').ok_or_else(|| wrong("there is no ="))?;
    // Bare words are text: nobody wants to quote twice on a command line.
    let value = toml::from_str::<Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|k| !k.is_empty()).ok_or_else(|| wrong("there is no key"))?;
    let mut keys = keys.into_iter();
    let mut here = table;
    while let Some(key) = keys.next() {
        let below = here.entry(key).or_insert_with(|| Value::Table(Table::new()));
        here = match below {
            Value::Table(below) => below,
            Value::Array(list) => {
                let name = keys.next().ok_or_else(|| wrong("a list needs the name of an entry"))?;
                match named(list, name) {
                    Some(Value::Table(entry)) => entry,
                    _ => return Err(wrong(&format!("there is no {name:?} among the {key}"))),
                }
            }
            _ => return Err(wrong(&format!("{key} is no table"))),
        };
    }
    here.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
id = "T1"
title = "a test"
span = "60s"

[channel]
block = "40ms"

[[viewers]]
name = "live"
count = 20

[preset.report]
channel.block = "1s"
viewers.live.count = 10

[preset.default]
"#;

    #[test]
    fn a_preset_changes_what_it_names() {
        let sheet = Sheet::read(SMALL).unwrap();
        let report = sheet.layered("report", &[]).unwrap();
        let default = sheet.layered("default", &[]).unwrap();
        assert_eq!((report.channel.block.0.as_millis(), report.viewers[0].count), (1_000, 10));
        assert_eq!((default.channel.block.0.as_millis(), default.viewers[0].count), (40, 20));
    }

    #[test]
    fn presets_stay_in_the_order_of_the_file() {
        let more =
            format!("{SMALL}\n[preset.\"a plan\"]\n\n[preset.tree.channel]\nblock = \"40ms\"\n");
        let sheet = Sheet::read(&more).unwrap();
        assert_eq!(sheet.presets(), ["report", "default", "a plan", "tree"]);
    }

    #[test]
    fn the_scenario_of_the_manual_can_be_run() {
        let manual = include_str!("../../../docs/EXPERIMENTS.md");
        let text = manual.split("```toml\n").nth(1).and_then(|t| t.split("```").next()).unwrap();
        let sheet = Sheet::read(text).unwrap();
        let plan = sheet.layered("report", &["span=5s".to_owned(), "measure_from=1s".to_owned()]);
        let plan = plan.unwrap();
        let how = crate::lab::Making { seed: 1, ..Default::default() };
        assert!(crate::lab::run(&plan, &how, &crate::lab::Watch::default()).unwrap().events > 0);
    }

    #[test]
    fn set_reaches_everything_by_name() {
        let sheet = Sheet::read(SMALL).unwrap();
        let set = |change: &str| sheet.layered("default", &[change.to_owned()]);
        assert_eq!(set("viewers.live.count=7").unwrap().viewers[0].count, 7);
        assert_eq!(set("span=5min").unwrap().span.0.as_secs(), 300);
        assert_eq!(set("core.partners=5").unwrap().core.partners, Some(5));
        assert!(set("viewers.dead.count=7").unwrap_err().0.contains("\"dead\""));
        assert!(set("core.partners=0").unwrap_err().0.contains("partners is 0, but must be 1"));
        assert!(set("span").unwrap_err().0.contains("there is no ="));
    }

    #[test]
    fn unknown_words_are_errors_with_a_line_and_a_hint() {
        let wrong = SMALL.replace("count = 20", "cuont = 20");
        let error = Sheet::read(&wrong).unwrap_err().0;
        assert!(error.contains("line 11") && error.contains("did you mean `count`?"), "{error}");
        let wrong = SMALL.replace("channel.block = \"1s\"", "channel.blok = \"1s\"");
        let error = Sheet::read(&wrong).unwrap_err().0;
        assert!(
            error.contains("preset report") && error.matches("did you mean `block`?").count() == 1,
            "{error}"
        );
        let wrong = format!("{SMALL}\n[[targets]]\nmetric = \"continutiy\"\nleast = 0.9\n");
        let error = Sheet::read(&wrong).unwrap_err().0;
        assert!(error.contains("did you mean `continuity`?"), "{error}");
        let error = Sheet::read(&SMALL.replace("viewers.live", "viewers.dead")).unwrap_err().0;
        assert!(error.contains("no \"dead\" among the viewers"), "{error}");
        let error = Sheet::read(&SMALL.replace("\"T1\"", "\"../T1\"")).unwrap_err().0;
        assert!(error.contains("letters, digits"), "{error}");
        let error = Sheet::read(SMALL).unwrap().layered("reprot", &[]).unwrap_err().0;
        assert!(error.contains("report, default"), "{error}");
    }
}
