//! Lists that a server gives about itself: the rows of one of its system tables.

/// The column of a list with the number of rows from which it is made. No system table has a column of this name.
const COUNT: &str = "chsnap_count";

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    table: String,
    columns: String,
    conditions: Vec<String>,
    tail: &'static str,
}

impl List {
    /// All rows of `system.<table>`, with these columns.
    #[must_use]
    pub fn of(table: &str, columns: impl Into<String>) -> Self {
        Self { table: table.to_owned(), columns: columns.into(), conditions: Vec::new(), tail: "" }
    }

    /// Restricts the list to rows that also meet this condition.
    #[must_use]
    pub fn only(mut self, condition: impl Into<String>) -> Self {
        self.conditions.push(condition.into());
        self
    }

    /// Adds text after the conditions: `GROUP BY …` or `ORDER BY …`.
    #[must_use]
    pub fn ending(self, tail: &'static str) -> Self {
        Self { tail, ..self }
    }

    /// The system table, without its database.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The statement that reads the list.
    #[must_use]
    pub fn rows(&self) -> String {
        self.rows_with("")
    }

    /// The statement that reads the list, with the result of [`List::count`] in each row, which a [`CountRow`](super::rows::CountRow) reads.
    #[must_use]
    pub fn counted_rows(&self) -> String {
        self.rows_with(&format!(", (SELECT count() FROM {}) AS {COUNT}", self.source()))
    }

    fn rows_with(&self, column: &str) -> String {
        let tail = if self.tail.is_empty() { String::new() } else { format!(" {}", self.tail) };
        format!("SELECT {}{column} FROM {}{tail}", self.columns, self.source())
    }

    /// The statement that reads the list from other servers: `source` replaces `system.<table>`, and each row begins
    /// with these columns.
    #[must_use]
    pub fn rows_from(&self, source: &str, columns: &str) -> String {
        format!("SELECT {columns}, {} FROM {source}{}", self.columns, self.filter())
    }

    /// The statement that counts the rows from which the list is made: before any `GROUP BY`.
    #[must_use]
    pub fn count(&self) -> String {
        format!("SELECT count() AS count FROM {}", self.source())
    }

    fn source(&self) -> String {
        format!("system.{}{}", self.table, self.filter())
    }

    fn filter(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" WHERE {}", self.conditions.join(" AND ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn a_list_and_its_count_have_the_same_conditions() {
        let list = List::of("parts", "database, table").only("active").only("(a OR b)").ending("GROUP BY table");
        assert_eq!(list.rows(), "SELECT database, table FROM system.parts WHERE active AND (a OR b) GROUP BY table");
        assert_eq!(
            list.counted_rows(),
            "SELECT database, table, (SELECT count() FROM system.parts WHERE active AND (a OR b)) AS chsnap_count FROM system.parts \
             WHERE active AND (a OR b) GROUP BY table"
        );
        assert_eq!(list.count(), "SELECT count() AS count FROM system.parts WHERE active AND (a OR b)");
        assert_eq!(List::of("disks", "name").rows(), "SELECT name FROM system.disks");
    }
}
