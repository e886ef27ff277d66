//! Old names that remain in a definition after a renaming.

use super::mapping::Mapping;
use super::names;
use super::parsed::ParsedDefinition;

impl ParsedDefinition {
    /// The renamed databases and tables whose old names remain in the definition after it is rewritten: among the
    /// arguments of functions that query other servers, or in strings that chsnap cannot interpret. The list may
    /// include a name that means something else; it omits none that occurs before a dot or alone in quotes.
    #[must_use]
    pub fn unresolved(&self, mapping: &Mapping) -> Vec<String> {
        mapping.left(&self.behind_name())
    }

    /// Whether the database of an object that the definition names is that of the session.
    #[must_use]
    pub fn names_session_database(&self) -> bool {
        names::names_session_database(&self.behind_name())
    }
}
