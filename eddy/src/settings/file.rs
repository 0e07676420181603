//! The configuration file.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::cli::{
    BenchOptions, BootstrapOptions, ChannelsOptions, DemoOptions, GlobalOptions, ProviderOptions,
    ViewerOptions,
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
    let why = error
        .message()
        .replace("unknown field", "unknown key")
        .replace("expected one of", "the keys here are")
        .replace("expected", "the only key here is");
    UsageError {
        what: format!("{}, line {number}: {why}", path.display()),
        hint: format!("correct the line: {line}"),
    }
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
             `max-upload`, `state`, `preset`, `json`, `quiet`, `verbose`, `log`"
        );
        assert_eq!(top.hint, "correct the line: colour = 'red'");
        let table = refusal("[viewer]\noutput = '-'\n\n[channels]\n\nbotstrap = 'a:1'\n");
        assert_eq!(
            table.what,
            "eddy.toml, line 6: unknown key `botstrap`, the only key here is `bootstrap`"
        );
        let verb = refusal("[veiwer]\noutput = '-'\n");
        assert!(
            verb.what.starts_with("eddy.toml, line 1: unknown key `veiwer`, the keys"),
            "{verb}"
        );
        assert!(verb.what.contains("`viewer`"), "{verb}");
    }

    #[test]
    fn a_bad_value_shows_its_line() {
        let unit = refusal("max-upload = '2MB'\n");
        assert!(unit.what.starts_with("eddy.toml, line 1: a rate is a number of bits"), "{unit}");
        assert_eq!(unit.hint, "correct the line: max-upload = '2MB'");
        let time = refusal("[provider]\nblock = '1s'\n");
        assert!(time.what.contains("line 2: a block lasts 20, 25, 40"), "{time}");
        let word = refusal("\n[viewer]\nstart = 'pta'\n");
        assert!(word.what.contains("line 3") && word.what.contains("`pat`"), "{word}");
        let kind = refusal("json = 'yes'\n");
        assert!(kind.what.contains("line 1") && kind.what.contains("boolean"), "{kind}");
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
