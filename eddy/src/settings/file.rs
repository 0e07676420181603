//! The configuration file.

use std::mem;
use std::path::Path;

use clap::{Args as _, Command, CommandFactory as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::cli::{
    BenchOptions, BootstrapOptions, ChannelsOptions, Cli, DemoOptions, DhtOptions, FilesOptions,
    GlobalOptions, ProviderOptions, ReplayOptions, ViewerOptions,
};
use crate::settings::UsageError;

/// What a file holds: top-level keys are the options of all verbs, and
/// each verb has a table.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) global: GlobalOptions,
    pub(super) tables: Tables,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tables {
    pub(super) bootstrap: BootstrapOptions,
    pub(super) provider: ProviderOptions,
    pub(super) viewer: ViewerOptions,
    pub(super) channels: ChannelsOptions,
    pub(super) files: FilesOptions,
    pub(super) dht: DhtOptions,
    pub(super) replay: ReplayOptions,
    pub(super) demo: DemoOptions,
    pub(super) bench: BenchOptions,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path).map_err(|e| UsageError {
            what: format!("cannot read the configuration file {}: {e}", path.display()),
            hint: "check the path given with --config".into(),
        })?;
        Self::parse(&text, path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, UsageError> {
        // serde cannot refuse unknown keys of a flattened struct, so the
        // top level is taken apart by hand.
        let parse = || {
            let (tables, global) = DeTable::parse(text)?
                .into_inner()
                .into_iter()
                .partition(|(_, v)| v.get_ref().is_table());
            Ok(Self { global: from_table(global, text)?, tables: from_table(tables, text)? })
        };
        parse().map_err(|e| file_error(&e, text, path))
    }
}

fn from_table<T: DeserializeOwned>(table: DeTable<'_>, text: &str) -> Result<T, toml::de::Error> {
    let whole = toml::Spanned::new(0..text.len(), DeValue::Table(table));
    T::deserialize(ValueDeserializer::from(whole))
}

fn file_error(error: &toml::de::Error, text: &str, path: &Path) -> UsageError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let number = text[..at].matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    let (why, hint) = explain(error.message());
    UsageError {
        what: format!("{}, line {number}: {why}", path.display()),
        hint: hint.unwrap_or_else(|| format!("correct the line: {line}")),
    }
}

/// What the parser says in the user's words, and what to do if that is known.
fn explain(message: &str) -> (String, Option<String>) {
    if message.starts_with("unknown field") {
        let mut names = message.split('`').skip(1).step_by(2);
        let key = names.next().unwrap_or_default();
        let hint = place(key).or_else(|| similar(key, names));
        let why = message
            .replace("unknown field", "unknown key")
            .replace("expected one of", "the keys here are")
            .replace("expected", "the only key here is");
        return (why, hint);
    }
    match message.split_once(" string, expected `") {
        Some((_, "\"`")) => ("a text is not closed".into(), Some("end it with \"".into())),
        Some((_, "'`")) => ("a text is not closed".into(), Some("end it with '".into())),
        _ => (message.replace("unknown variant", "unknown value"), None),
    }
}

/// Where a key belongs that stands in the wrong place. The command line has
/// the same names.
fn place(key: &str) -> Option<String> {
    let takes = |command: &Command| {
        let mut options = command.get_arguments();
        options.any(|o| o.get_long().unwrap_or(o.get_id().as_str()) == key)
    };
    if takes(&GlobalOptions::augment_args(Command::new("global"))) {
        return Some("put it at the top, before the first [section]".into());
    }
    let verbs = Cli::command();
    let sections = verbs.get_subcommands().flat_map(|verb| {
        let own = takes(verb).then(|| format!("[{}]", verb.get_name()));
        let parts = verb.get_subcommands().filter(|part| takes(part));
        own.into_iter().chain(parts.map(|p| format!("[{}.{}]", verb.get_name(), p.get_name())))
    });
    let sections: Vec<_> = sections.collect();
    (!sections.is_empty()).then(|| format!("put it below {}", sections.join(" or ")))
}

/// The name that was probably meant.
fn similar<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let (edits, name) = names.map(|name| (edits(key, name), name)).min()?;
    (edits <= (name.len() / 3).max(1)).then(|| format!("did you mean `{name}`?"))
}

/// How many letters to insert, remove or exchange (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, UsageError> {
        File::parse(text, Path::new("eddy.toml"))
    }

    fn refusal(text: &str) -> UsageError {
        parse(text).unwrap_err()
    }

    #[test]
    fn values_are_text_or_numbers() {
        let file = parse(
            "listen = '[::1]:1'\nmax-upload = 800000\njson = true\nverbose = 2\npreset = 'report'\n\
             [provider]\nblock = 40\nsub-streams = 4\nloop = true\nchannel = 'News'\n\
             [viewer]\nurl = 'eddy://a:1/b'\nplayout-delay = 'auto'\ngive-up = 1.5\nstart = 'any'\n\
             [bench.swarm]\nrate = 0.5\nviewers = 8\n",
        )
        .unwrap();
        assert_eq!(file.global.max_upload, "800k".parse().ok());
        assert_eq!(file.global.verbose, 2);
        assert_eq!(file.tables.provider.block, "40ms".parse().ok());
        assert_eq!(file.tables.provider.r#loop, Some(true));
        assert_eq!(file.tables.viewer.give_up, "1.5".parse().ok());
        assert_eq!(file.tables.bench.swarm.rate, "0.5".parse().ok());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_keys_there_are() {
        let top = refusal("# mine\njson = true\ncolour = 'red'\n[viewer]\n");
        assert_eq!(
            top.what,
            "eddy.toml, line 3: unknown key `colour`, the keys here are `listen`, `advertise`, \
             `max-upload`, `state`, `preset`, `runtime`, `json`, `quiet`, `verbose`, `log`"
        );
        assert_eq!(top.hint, "correct the line: colour = 'red'");
        let table = refusal("[viewer]\noutput = '-'\n\n[channels]\n\nbotstrap = 'a:1'\n");
        assert_eq!(
            table.what,
            "eddy.toml, line 6: unknown key `botstrap`, the only key here is `bootstrap`"
        );
        assert_eq!(table.hint, "did you mean `bootstrap`?");
        let verb = refusal("[veiwer]\noutput = '-'\n");
        assert!(
            verb.what.starts_with("eddy.toml, line 1: unknown key `veiwer`, the keys"),
            "{verb}"
        );
        assert_eq!(verb.hint, "did you mean `viewer`?");
    }

    #[test]
    fn a_key_in_the_wrong_place_is_shown_the_right_one() {
        let hint = |text: &str| refusal(text).hint;
        assert_eq!(
            hint("bootstrap = 'a:1'\n"),
            "put it below [provider] or [viewer] or [channels] or [files] or [dht]"
        );
        assert_eq!(hint("[viewer]\nsub-streams = 4\n"), "put it below [provider]");
        assert_eq!(hint("url = 'eddy://a:1/b'\n"), "put it below [viewer] or [files]");
        assert_eq!(hint("[demo]\nrate = 4\n"), "put it below [bench.swarm]");
        let top = "put it at the top, before the first [section]";
        assert_eq!(hint("[viewer]\nmax-upload = '2M'\n"), top);
        assert_eq!(hint("[provider]\nlisten = '[::]:1'\n"), top);
        assert_eq!(hint("config = 'other.toml'\n"), "correct the line: config = 'other.toml'");
    }

    #[test]
    fn only_near_names_are_meant() {
        let names = || ["key", "output", "give-up"].into_iter();
        assert_eq!(similar("keys", names()).as_deref(), Some("did you mean `key`?"));
        assert_eq!(similar("giveup", names()).as_deref(), Some("did you mean `give-up`?"));
        assert_eq!(similar("ouptut", names()).as_deref(), Some("did you mean `output`?"));
        for far in ["kind", "input", "give", ""] {
            assert_eq!(similar(far, names()), None, "{far}");
        }
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn a_text_that_is_not_closed_is_named() {
        let double = refusal("json = true\nlisten = \"[::1]:1\n[viewer]\n");
        assert_eq!(double.what, "eddy.toml, line 2: a text is not closed");
        assert_eq!(double.hint, "end it with \"");
        let single = refusal("json = true\nlisten = '[::1]:1\n[viewer]\n");
        assert_eq!(single.what, "eddy.toml, line 2: a text is not closed");
        assert_eq!(single.hint, "end it with '");
    }

    #[test]
    fn the_example_of_the_readme_has_a_section_for_each_verb() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let example = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let Tables { bootstrap, provider, viewer, channels, .. } = parse(example).unwrap().tables;
        assert!(bootstrap != BootstrapOptions::default() && provider != ProviderOptions::default());
        assert!(viewer != ViewerOptions::default() && channels != ChannelsOptions::default());
    }

    #[test]
    fn a_bad_value_shows_its_line() {
        let unit = refusal("max-upload = '2MB'\n");
        assert!(unit.what.starts_with("eddy.toml, line 1: a rate is a number of bits"), "{unit}");
        assert_eq!(unit.hint, "correct the line: max-upload = '2MB'");
        let time = refusal("[provider]\nblock = '1s'\n");
        assert!(time.what.contains("line 2: a block lasts 20, 25, 40"), "{time}");
        let word = refusal("\n[viewer]\nstart = 'pta'\n");
        assert_eq!(word.what, "eddy.toml, line 3: unknown value `pta`, expected `pat` or `any`");
        let kind = refusal("json = 'yes'\n");
        assert_eq!(
            kind.what,
            "eddy.toml, line 1: invalid type: string \"yes\", expected a boolean"
        );
        let many = refusal("[provider]\nsub-streams = 33\n");
        assert!(many.what.contains("line 2: give a whole number from 1 to 32"), "{many}");
        let less = refusal("[demo]\nviewers = -3\n");
        assert!(less.what.contains("line 2: give a whole number from 1 to 1000"), "{less}");
        let syntax = refusal("json = true\nlisten =\n");
        assert!(syntax.what.starts_with("eddy.toml, line 2: "), "{syntax}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = File::read(Path::new("/no/such/eddy.toml")).unwrap_err();
        assert!(error.what.contains("/no/such/eddy.toml"), "{error}");
        assert!(error.hint.contains("--config"));
    }
}
