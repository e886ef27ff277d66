//! Old names that a definition keeps after a renaming.

use super::mapping::Mapping;
use super::parsed::Definition;

impl Definition {
    /// The renamed databases and tables whose old names still stand in the definition once it is rewritten: among the
    /// arguments of functions that ask other servers, or in texts that nothing here can read. A name may be listed
    /// that means something else; none is left out that stands before a dot or alone in quotes.
    #[must_use]
    pub fn unresolved(&self, mapping: &Mapping) -> Vec<String> {
        mapping.left(&self.behind_name())
    }
}
