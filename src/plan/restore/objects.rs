//! Objects that tables' definitions need: databases, functions, named collections, workloads.

use std::collections::BTreeMap;

use crate::model::{Warning, WarningKind, escape_for_file_name};
use crate::plan::{DefinitionKind, Mapping, ObjectKind, ObjectStatement, ParsedDefinition, Verb};

/// A function, named collection, workload or resource of the snapshot, as read from its file.
#[derive(Clone, Debug)]
pub struct SourceObject {
    /// Its kind, according to the place of its file.
    pub kind: ObjectKind,
    /// Its name, escaped as in the name of its file.
    pub escaped_name: String,
    /// The only statement in the file, or why none may be executed.
    pub statement: Result<ObjectStatement, String>,
}

/// The action for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectAction {
    /// It is created with this statement.
    Make(ObjectStatement),
    /// The server has an object of its name, which stays.
    Keep,
    /// The server has an object of its name with another statement, which stays.
    KeepOther,
    /// It is not created, for this reason, and nothing of its file is sent.
    Refuse(String),
}

/// One object of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPlan {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The action.
    pub action: ObjectAction,
}

impl ObjectPlan {
    /// The warning about it, if it is not created, or the server keeps its own.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let (kind, name) = (self.kind, &self.name);
        match &self.action {
            ObjectAction::Refuse(reason) => {
                Some(Warning::new(WarningKind::ObjectNotMade, format!("{kind} {name} was not made: {reason}")))
            }
            ObjectAction::KeepOther => {
                let message =
                    format!("{kind} {name} exists with a statement that differs from the snapshot's, and stays");
                Some(Warning::new(WarningKind::ExistingDiffers, message))
            }
            ObjectAction::Make(statement) if statement.has_hidden_secret() => {
                let message = format!("{kind} {name} has [HIDDEN] for a secret, as in the snapshot");
                Some(Warning::new(WarningKind::SecretsHidden, message))
            }
            ObjectAction::Make(_) | ObjectAction::Keep => None,
        }
    }
}

/// A database of the snapshot.
#[derive(Clone, Debug)]
pub struct SourceDatabase {
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// Its definition, or why it may not be executed.
    pub definition: Result<ParsedDefinition, String>,
}

/// One database to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePlan {
    /// Its new name.
    pub name: String,
    /// Its name in the snapshot.
    pub from: String,
    /// The text after `CREATE DATABASE <name>`, or why it cannot be created.
    pub engine: Result<String, String>,
}

/// Plans the objects that `wanted` selects. `existing` are those of the server, with escaped names, and with their
/// statements if readable.
///
/// A statement is executed only if it creates the object that its file's place and name indicate.
pub(super) fn plan_objects(
    objects: &[SourceObject],
    existing: &BTreeMap<(ObjectKind, String), Option<ObjectStatement>>,
    wanted: &dyn Fn(ObjectKind, &str) -> bool,
    with_hidden_secrets: bool,
) -> Vec<ObjectPlan> {
    let plan = |object: &SourceObject| {
        let name = match &object.statement {
            Ok(statement) => statement.name.clone(),
            Err(_) => object.escaped_name.clone(),
        };
        let there = existing.get(&(object.kind, object.escaped_name.clone()));
        let action = match &object.statement {
            Ok(stored) if there.is_some_and(|there| there.as_ref().is_some_and(|there| !stored.is_like(there))) => {
                ObjectAction::KeepOther
            }
            _ if there.is_some() => ObjectAction::Keep,
            Err(reason) => ObjectAction::Refuse(reason.clone()),
            Ok(statement) if statement.kind != object.kind => {
                ObjectAction::Refuse(format!("its file holds the statement of a {}", statement.kind))
            }
            Ok(statement) if escape_for_file_name(&statement.name) != object.escaped_name => {
                ObjectAction::Refuse(format!("its file holds the statement of another {}", statement.kind))
            }
            Ok(statement) if statement.has_hidden_secret() && !with_hidden_secrets => ObjectAction::Refuse(
                "its secrets are hidden in the snapshot (--with-hidden-secrets makes it)".to_owned(),
            ),
            Ok(statement) => ObjectAction::Make(statement.clone()),
        };
        ObjectPlan { kind: object.kind, name, action }
    };
    let name = |object: &&SourceObject| {
        object.statement.as_ref().map_or_else(|_| object.escaped_name.clone(), |statement| statement.name.clone())
    };
    objects.iter().filter(|object| wanted(object.kind, &name(object))).map(plan).collect()
}

/// Plans the databases that tables need and the server lacks. `needed` maps their new names to their names in the
/// snapshot.
///
/// Each gets a new identity: nothing in a snapshot refers to the UUID of a database, and the UUID of a dropped one is
/// not free until the server has removed it.
pub(super) fn plan_databases(needed: &BTreeMap<String, String>, stored: &[SourceDatabase]) -> Vec<DatabasePlan> {
    let plan = |(name, from): (&String, &String)| {
        let database = stored.iter().find(|database| database.name == *from);
        let engine = match database {
            // A database that shows the tables of others cannot be created; its tables get a plain one.
            None => Ok(String::new()),
            Some(database) if database.engine == "Overlay" => Ok(String::new()),
            Some(database) => match &database.definition {
                Err(reason) => Err(reason.clone()),
                Ok(definition) if definition.kind != DefinitionKind::Database => {
                    Err("its file holds no definition of a database".to_owned())
                }
                Ok(definition) if definition.has_hidden_secret() => {
                    Err("its secrets are hidden in the snapshot".to_owned())
                }
                Ok(definition) => Ok(behind_name(definition)),
            },
        };
        DatabasePlan { name: name.clone(), from: from.clone(), engine }
    };
    needed.iter().map(plan).collect()
}

fn behind_name(definition: &ParsedDefinition) -> String {
    let statement = definition.statement(Verb::Create, "", (None, None), &Mapping::default());
    statement.trim_start_matches("CREATE DATABASE").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ObjectAction, SourceDatabase, SourceObject, plan_databases, plan_objects};
    use crate::plan::{ObjectKind, ObjectStatement, ParsedDefinition};

    fn object(kind: ObjectKind, name: &str, text: &str) -> SourceObject {
        let statement = ObjectStatement::parse(text).map_err(|error| error.to_string());
        SourceObject { kind, escaped_name: name.to_owned(), statement }
    }

    #[test]
    fn only_statements_about_the_object_of_their_file_are_run() {
        let objects = [
            object(ObjectKind::Function, "good", "CREATE FUNCTION good AS (x) -> x + 1"),
            object(ObjectKind::Function, "there", "CREATE FUNCTION there AS (x) -> x + 1"),
            object(ObjectKind::Function, "evil", "DROP DATABASE prod"),
            object(ObjectKind::Function, "two", "CREATE FUNCTION two AS x -> 1; DROP DATABASE prod"),
            object(ObjectKind::Function, "other", "CREATE FUNCTION another AS (x) -> x + 1"),
            object(ObjectKind::Function, "nc", "CREATE NAMED COLLECTION nc AS a = 'b'"),
        ];
        let existing = BTreeMap::from([((ObjectKind::Function, "there".to_owned()), None)]);
        let plans = plan_objects(&objects, &existing, &|_, _| true, false);
        let made: Vec<&str> = plans
            .iter()
            .filter(|plan| matches!(plan.action, ObjectAction::Make(_)))
            .map(|plan| plan.name.as_str())
            .collect();
        assert_eq!(made, ["good"], "{plans:?}");
        assert_eq!(plans.iter().filter(|plan| matches!(plan.action, ObjectAction::Refuse(_))).count(), 4);
        assert!(!format!("{:?}", plans.iter().filter(|plan| plan.name != "good").collect::<Vec<_>>()).contains("prod"));
    }

    #[test]
    fn an_object_whose_secrets_are_hidden_is_made_only_if_it_is_asked_for() {
        let stored = [object(ObjectKind::NamedCollection, "nc", "CREATE NAMED COLLECTION nc AS password = '[HIDDEN]'")];
        let makes = |with_hidden_secrets: bool| {
            let plans = plan_objects(&stored, &BTreeMap::new(), &|_, _| true, with_hidden_secrets);
            plans.iter().any(|plan| matches!(plan.action, ObjectAction::Make(_)))
        };
        assert_eq!([makes(false), makes(true)], [false, true]);
    }

    #[test]
    fn an_object_that_differs_from_the_servers_stays_and_is_named() {
        use ObjectAction::{Keep, KeepOther};
        let stored = [
            object(ObjectKind::Function, "f", "CREATE FUNCTION f AS x -> (x + 1)"),
            object(ObjectKind::NamedCollection, "nc", "CREATE NAMED COLLECTION IF NOT EXISTS nc AS a = '1', b = 's3'"),
        ];
        let actions = |function: Option<&str>, collection: &str| -> Vec<ObjectAction> {
            let statement = |text: &str| ObjectStatement::parse(text).ok();
            let existing = BTreeMap::from([
                ((ObjectKind::Function, "f".to_owned()), function.and_then(statement)),
                ((ObjectKind::NamedCollection, "nc".to_owned()), statement(collection)),
            ]);
            plan_objects(&stored, &existing, &|_, _| true, false).into_iter().map(|plan| plan.action).collect()
        };
        let (same, hidden) =
            ("CREATE FUNCTION f\nAS x -> (x + 1)", "CREATE NAMED COLLECTION nc AS a = '1', b = '[HIDDEN]'");
        assert_eq!(actions(Some(same), hidden), [Keep, Keep]);
        // A statement that cannot be parsed does not count as different.
        assert_eq!(actions(None, ""), [Keep, Keep]);
        let other = "CREATE NAMED COLLECTION nc AS a = '2', b = '[HIDDEN]'";
        assert_eq!(actions(Some("CREATE FUNCTION f AS x -> (x + 2)"), other), [KeepOther, KeepOther]);
    }

    #[test]
    fn a_database_is_made_as_it_was_defined_and_one_that_shows_others_as_a_plain_one() {
        let stored = |name: &str, engine: &str, text: &str| SourceDatabase {
            name: name.to_owned(),
            engine: engine.to_owned(),
            definition: ParsedDefinition::parse(text).map_err(|error| error.to_string()),
        };
        let stored = [
            stored("a", "Atomic", "ATTACH DATABASE _ UUID '00000001-0000-4000-8000-000000000000'\nENGINE = Atomic"),
            stored("m", "Memory", "CREATE DATABASE m ENGINE = Memory()"),
            stored("o", "Overlay", "CREATE DATABASE o ENGINE = Overlay"),
            stored("h", "MySQL", "CREATE DATABASE h ENGINE = MySQL('h', 'd', 'u', '[HIDDEN]')"),
            stored("t", "Atomic", "ATTACH TABLE t (x UInt8) ENGINE = Log"),
        ];
        let needed: BTreeMap<String, String> =
            ["a", "m", "o", "h", "t", "unknown"].iter().map(|name| (format!("{name}2"), (*name).to_owned())).collect();
        let plans = plan_databases(&needed, &stored);
        let engine = |name: &str| {
            let plan = plans.iter().find(|plan| plan.name == name).expect("planned");
            plan.engine.as_deref().ok()
        };
        assert_eq!(engine("a2"), Some("ENGINE = Atomic"));
        assert!(engine("m2").is_some_and(|engine| engine.contains("Memory")));
        assert_eq!((engine("o2"), engine("unknown2")), (Some(""), Some("")));
        assert_eq!((engine("h2"), engine("t2")), (None, None));
    }
}
