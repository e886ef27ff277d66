//! Definitions without their secrets.

use super::head::DefinitionKind;
use super::mapping::Mapping;
use super::parsed::{ParsedDefinition, Verb};
use super::secrets::{Masked, SecretContext, has_hidden, mask};

impl ParsedDefinition {
    /// Whether a secret is hidden in it: then it cannot create the original object.
    #[must_use]
    pub fn has_hidden_secret(&self) -> bool {
        has_hidden(&self.behind_name())
    }

    /// The definition on one line, named `_`, with `'[HIDDEN]'` for every secret.
    #[must_use]
    pub fn masked(&self) -> String {
        self.mask().text
    }

    /// The values that [`ParsedDefinition::masked`] hides, for removing them from messages.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.mask().secrets
    }

    fn mask(&self) -> Masked {
        let is_database = self.kind == DefinitionKind::Database;
        let context = if is_database { SecretContext::Database } else { SecretContext::Other };
        let uuids = (self.uuid.as_ref(), self.inner_uuid.as_ref());
        mask(&self.statement(Verb::Attach, "_", uuids, &Mapping::default()), context)
    }
}

/// Whether a text that has a statement in it, as it is or with backslashes before its quotes, has a value that
/// ClickHouse would hide.
#[must_use]
pub fn has_secret_values(text: &str) -> bool {
    let has_some = |text: &str| !mask(text, SecretContext::Other).secrets.is_empty();
    has_some(text) || text.contains('\\') && has_some(&without_escapes(text))
}

/// The text without a level of backslashes.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(next) => next,
                None => '\\',
            },
            letter => letter,
        });
    }
    plain
}
