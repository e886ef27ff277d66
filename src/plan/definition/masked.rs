//! Definitions shown without their secrets.

use super::head::DefinitionKind;
use super::mapping::Mapping;
use super::parsed::{Definition, Verb};
use super::secrets::{Context, Masked, has_hidden, mask};

impl Definition {
    /// Whether a secret is hidden in it: it does not make what it was read from.
    #[must_use]
    pub fn has_hidden_secret(&self) -> bool {
        has_hidden(&self.behind_name())
    }

    /// The definition on one line, named `_`, with `'[HIDDEN]'` for every secret.
    #[must_use]
    pub fn masked(&self) -> String {
        self.mask().text
    }

    /// The values that [`Definition::masked`] hides, for messages to be cleansed of.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.mask().secrets
    }

    fn mask(&self) -> Masked {
        let is_database = self.kind == DefinitionKind::Database;
        let context = if is_database { Context::Database } else { Context::Other };
        let uuids = (self.uuid.as_ref(), self.inner_uuid.as_ref());
        mask(&self.statement(Verb::Attach, "_", uuids, &Mapping::default()), context)
    }
}
