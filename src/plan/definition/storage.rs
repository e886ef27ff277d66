//! The storage of a definition: its settings, and where the data is stored.

use std::path::PathBuf;

use super::calls::calls;
use super::clauses::{Clause, Clauses};
use super::head::DefinitionKind;
use super::parsed::ParsedDefinition;
use super::tokens::{TokenKind, solid_tokens};

/// The place that a definition chooses for a table's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChoice {
    /// The server's default.
    Default,
    /// `storage_policy = '…'`.
    Policy(String),
    /// `disk = '…'`: a disk of the server's configuration.
    Disk(String),
    /// `disk = disk(…)`: a disk that the definition itself describes. Holds the text from `disk(` on.
    InlineDisk(String),
}

impl ParsedDefinition {
    /// The value of a storage setting, as SQL.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<String> {
        let settings = self.settings();
        settings.into_iter().find(|(known, _)| known == name).map(|(_, value)| value.to_owned())
    }

    /// The same definition with these storage settings (names, and values as SQL), which replace existing ones.
    ///
    /// A definition without a storage clause is unchanged, and so is a table with the old syntax `MergeTree(date, key,
    /// 8192)`: both engines refuse settings, in definitions and in ALTER.
    #[must_use]
    pub fn with_settings(&self, settings: &[(&str, &str)]) -> Self {
        let clauses = self.clauses();
        let Some(end) = clauses.storage_end().filter(|_| self.has_storage() && !self.has_old_syntax()) else {
            return self.clone();
        };
        let own = self.settings();
        let value_of = |name: &str| settings.iter().find(|(replaced, _)| *replaced == name).map(|(_, value)| *value);
        let kept = own.iter().map(|(name, value)| setting_text(name, value_of(name).unwrap_or(value)));
        let is_new = |(name, _): &&(&str, &str)| !own.iter().any(|(known, _)| known == name);
        let added = settings.iter().filter(is_new).map(|(name, value)| setting_text(name, value));
        let all: Vec<String> = kept.chain(added).collect();
        self.with_settings_clause(&clauses, end, &all)
    }

    /// The same definition without these storage settings.
    #[must_use]
    pub fn without_settings(&self, names: &[&str]) -> Self {
        let clauses = self.clauses();
        let settings = self.settings();
        let end = clauses.storage_end().filter(|_| settings.iter().any(|(name, _)| names.contains(&name.as_str())));
        let Some(end) = end else { return self.clone() };
        let kept = settings.into_iter().filter(|(name, _)| !names.contains(&name.as_str()));
        let kept: Vec<String> = kept.map(|(name, value)| setting_text(&name, value)).collect();
        self.with_settings_clause(&clauses, end, &kept)
    }

    /// Whether its table has a `UNIQUE KEY`.
    #[must_use]
    pub fn has_unique_key(&self) -> bool {
        self.clauses().has_unique_key()
    }

    /// The place that it chooses for the data of its table.
    #[must_use]
    pub fn storage(&self) -> StorageChoice {
        let text = |value: &str| {
            let token = solid_tokens(value).into_iter().next();
            token.and_then(|token| token.value().or_else(|| token.name())).unwrap_or_default()
        };
        if let Some(disk) = self.setting("disk") {
            let tokens = solid_tokens(&disk);
            let is_inline = tokens.get(1).is_some_and(|token| token.is_mark("("));
            return if is_inline { StorageChoice::InlineDisk(disk) } else { StorageChoice::Disk(text(&disk)) };
        }
        self.setting("storage_policy").map_or(StorageChoice::Default, |policy| StorageChoice::Policy(text(&policy)))
    }

    /// The directory on the server of a disk that the definition itself describes: the `path` of the disk, below that
    /// of the underlying disk. `None` for other tables, and if the path is not absolute.
    #[must_use]
    pub fn described_path(&self) -> Option<PathBuf> {
        let StorageChoice::InlineDisk(text) = self.storage() else { return None };
        let tokens = solid_tokens(&text);
        let paths = tokens.windows(3).filter_map(|window| match window {
            [name, equals, value] if name.is("path") && equals.is_mark("=") => value.value(),
            _ => None,
        });
        let paths: Vec<String> = paths.collect();
        let path = paths.iter().rev().fold(PathBuf::new(), |path, below| path.join(below));
        path.is_absolute().then_some(path)
    }

    fn has_storage(&self) -> bool {
        !matches!(self.kind, DefinitionKind::Dictionary | DefinitionKind::View)
    }

    /// Whether it is of the MergeTree family in the syntax from before 2018, with keys among the engine's arguments.
    #[must_use]
    pub fn has_old_syntax(&self) -> bool {
        let clauses = self.clauses();
        let body = clauses.body(Clause::Engine).unwrap_or_default();
        let tokens = solid_tokens(body);
        let engine = calls(&tokens).into_iter().find(|call| call.name.ends_with("mergetree"));
        let is_number = |at: usize| {
            tokens.get(at).is_some_and(|token| token.text.starts_with(|first: char| first.is_ascii_digit()))
        };
        let has_granularity = engine
            .is_some_and(|call| (2..call.arguments.len()).any(|number| call.single(number).is_some_and(is_number)));
        has_granularity && !clauses.has(Clause::Key) && !clauses.has(Clause::Settings)
    }

    /// The storage settings, and their values as SQL.
    fn settings(&self) -> Vec<(String, &str)> {
        if !self.has_storage() {
            return Vec::new();
        }
        let body = self.clauses().body(Clause::Settings).unwrap_or_default();
        let tokens = solid_tokens(body);
        let mut depth = 0;
        let mut found: Vec<(String, &str)> = Vec::new();
        let mut begin = 0;
        for at in 0..=tokens.len() {
            let token = tokens.get(at);
            depth += token.map_or(0, super::tokens::Token::depth);
            if token.is_some_and(|token| depth > 0 || !token.is_mark(",")) {
                continue;
            }
            let name = tokens.get(begin).and_then(super::tokens::Token::name);
            let has_value = tokens.get(begin + 1).is_some_and(|token| token.is_mark("="));
            let start = tokens.get(begin + 2).filter(|token| has_value && token.kind != TokenKind::Space);
            let end = token.map_or(body.len(), |token| token.start);
            if let (Some(name), Some(start)) = (name, start)
                && let Some(value) = body.get(start.start..end)
            {
                found.push((name, value.trim_end()));
            }
            begin = at + 1;
        }
        found
    }

    /// Replaces the settings clause; no settings remove it.
    fn with_settings_clause(&self, clauses: &Clauses<'_>, storage_end: usize, settings: &[String]) -> Self {
        let range = clauses.range(Clause::Settings).unwrap_or(storage_end..storage_end);
        let before = self.tail.get(..range.start).unwrap_or_default().trim_end();
        let behind = self.tail.get(range.end..).unwrap_or_default().trim_start();
        let clause = if settings.is_empty() { String::new() } else { format!("SETTINGS {}", settings.join(", ")) };
        let texts = [before, &clause, behind];
        let tail = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        self.with_tail(tail)
    }
}

fn setting_text(name: &str, value: &str) -> String {
    let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if is_plain { format!("{name} = {value}") } else { format!("{} = {value}", super::literal::quote(name, '`')) }
}
