//! Row policies: they hide rows of lists and of tables, and of their counts too.

use serde::Deserialize;

use crate::model::TableName;

use super::features::Features;
use super::list::List;
use super::rows::flag;
use super::sql;

/// A row policy on a system table, and the user as whom this client connects.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RowPolicyRow {
    short_name: String,
    /// Empty for a policy on the whole database.
    table: String,
    select_filter: Option<String>,
    #[serde(deserialize_with = "flag")]
    apply_to_all: bool,
    apply_to_list: Vec<String>,
    apply_to_except: Vec<String>,
    user: String,
    roles: Vec<String>,
}

/// The row policies on system tables; `None` if the server does not list them. A user may not be allowed to see them.
pub(super) fn list(features: &Features) -> Option<List> {
    policies(features).map(|list| list.only("database = 'system'"))
}

fn policies(features: &Features) -> Option<List> {
    let known = ["short_name", "select_filter", "apply_to_all", "apply_to_list", "apply_to_except"];
    known.into_iter().all(|column| features.has_column("row_policies", column)).then(|| {
        let columns = format!("{}, table, currentUser() AS user, enabledRoles() AS roles", known.join(", "));
        List::of("row_policies", columns)
    })
}

/// The row policies on one table of the user's own, or on its database.
pub(super) fn list_of(features: &Features, name: &TableName) -> Option<List> {
    let (database, table) = (sql::quote_text(&name.database), sql::quote_text(&name.table));
    policies(features).map(|list| list.only(format!("database = {database}")).only(format!("table IN ({table}, '')")))
}

/// The policies that hide rows of `system.<table>` from this user, by name.
pub(super) fn hiding(policies: &[RowPolicyRow], table: &str) -> Vec<String> {
    let hides = |policy: &&RowPolicyRow| {
        let is_me = |names: &[String]| names.iter().any(|name| *name == policy.user || policy.roles.contains(name));
        let applies = is_me(&policy.apply_to_list) || (policy.apply_to_all && !is_me(&policy.apply_to_except));
        let is_here = policy.table.is_empty() || policy.table == table;
        let filters = !matches!(policy.select_filter.as_deref().map(str::trim), None | Some("" | "1" | "true"));
        applies && is_here && filters
    };
    policies.iter().filter(hides).map(|policy| policy.short_name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{RowPolicyRow, hiding, list};
    use crate::server::features::Features;

    #[test]
    fn a_policy_hides_rows_of_its_table_from_those_that_it_applies_to() {
        let policy = |name: &str, change: serde_json::Value| -> RowPolicyRow {
            let mut row = json!({
                "short_name": name, "table": "tables", "select_filter": "database = 'x'", "apply_to_all": 0,
                "apply_to_list": [], "apply_to_except": [], "user": "backup", "roles": ["reader"],
            });
            for (key, value) in change.as_object().expect("an object") {
                row.as_object_mut().expect("an object").insert(key.clone(), value.clone());
            }
            serde_json::from_value(row).expect("a row")
        };
        let policies = [
            policy("mine", json!({"apply_to_list": ["backup"]})),
            policy("role", json!({"apply_to_list": ["reader"]})),
            policy("all", json!({"apply_to_all": 1})),
            policy("database", json!({"apply_to_all": 1, "table": ""})),
            policy("others", json!({"apply_to_list": ["eve"]})),
            policy("except", json!({"apply_to_all": true, "apply_to_except": ["backup"]})),
            policy("everything", json!({"apply_to_all": 1, "select_filter": "1"})),
            policy("elsewhere", json!({"apply_to_all": 1, "table": "query_log"})),
        ];
        assert_eq!(hiding(&policies, "tables"), ["mine", "role", "all", "database"]);
        assert_eq!(hiding(&policies, "parts"), ["database"]);
    }

    #[test]
    fn policies_are_queried_only_if_the_server_lists_them() {
        assert!(list(&Features::default()).is_none());
    }
}
