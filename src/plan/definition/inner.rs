//! The inner table of a materialized view, as the view's own definition describes it.

use super::clauses::Clause;
use super::head::DefinitionKind;
use super::parsed::ParsedDefinition;

impl ParsedDefinition {
    /// The definition of the inner table, with the columns and the storage of the view. `None` for a view that writes
    /// to a table of another name, or whose storage is not in the definition.
    ///
    /// Source: the constructor of `StorageMaterializedView`, which creates the inner table from the view's
    /// `columns_list` and `storage`.
    #[must_use]
    pub fn inner_table(&self) -> Option<String> {
        let clauses = self.clauses();
        if self.kind != DefinitionKind::MaterializedView || self.has_target() || !clauses.has(Clause::Engine) {
            return None;
        }
        let behind = [Clause::Populate, Clause::Empty, Clause::Security, Clause::Comment, Clause::Select];
        let end = behind.into_iter().filter_map(|clause| Some(clauses.range(clause)?.start)).min();
        let storage = self.tail.get(..end.unwrap_or(self.tail.len()))?.trim();
        let uuid = self.inner_uuid.as_ref().map(|uuid| format!(" UUID '{uuid}'")).unwrap_or_default();
        Some(format!("ATTACH TABLE _{uuid} {storage}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::ParsedDefinition;

    #[test]
    fn the_inner_table_has_the_columns_and_the_storage_of_its_view() {
        let inner = |text: &str| ParsedDefinition::parse(text).expect("a definition").inner_table();
        let uuid = "00000000-0000-4000-8000-000000000003";
        let storage = "(`k` UInt64, `s` UInt64) ENGINE = SummingMergeTree PARTITION BY k ORDER BY k SETTINGS index_granularity = 8192";
        let view =
            format!("CREATE MATERIALIZED VIEW lab.mv TO INNER UUID '{uuid}' {storage} AS SELECT k, ENGINE FROM lab.c");
        assert_eq!(inner(&view), Some(format!("ATTACH TABLE _ UUID '{uuid}' {storage}")));
        let old = "ATTACH MATERIALIZED VIEW mv (`k` UInt64) ENGINE = MergeTree ORDER BY k AS SELECT k FROM lab.c";
        assert_eq!(inner(old).as_deref(), Some("ATTACH TABLE _ (`k` UInt64) ENGINE = MergeTree ORDER BY k"));
        for text in [
            "CREATE MATERIALIZED VIEW lab.mv TO lab.e (`k` UInt64) AS SELECT k FROM lab.c",
            "CREATE TABLE lab.t (`k` UInt64) ENGINE = MergeTree ORDER BY k",
            "CREATE VIEW lab.v AS SELECT 1",
        ] {
            assert_eq!(inner(text), None, "{text}");
        }
    }
}
