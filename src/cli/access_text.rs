//! Shows users, roles, quotas, policies and settings profiles, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chsnap::ops::ShownAccess;
use chsnap::ops::restore::{AccessReport, AccessState};
use chsnap::plan::{AccessAction, AccessKept, AccessPlan, EntityPlan, ObjectKind};

use super::documents::{AccessStatements, RestoreAccessRow};
use super::render;

const WRITABLE: &str = "a String takes everything";

/// Names in one line; the others are counted.
const NAMES: usize = 10;

const LINE_LIMIT: usize = 1000;

/// `3 users and 1 role`.
fn counts(kinds: impl Iterator<Item = ObjectKind>) -> String {
    let mut numbers: BTreeMap<ObjectKind, u64> = BTreeMap::new();
    for kind in kinds {
        *numbers.entry(kind).or_default() += 1;
    }
    let mut texts: Vec<String> = numbers
        .iter()
        .map(|(kind, number)| match (kind.to_string().strip_suffix("policy"), number) {
            (Some(start), 2..) => format!("{} {start}policies", render::thousands(*number)),
            _ => render::count(*number, &kind.to_string()),
        })
        .collect();
    let last = texts.pop().unwrap_or_default();
    if texts.is_empty() { last } else { format!("{} and {last}", texts.join(", ")) }
}

fn names(entities: &[&EntityPlan]) -> String {
    let shown: Vec<&str> = entities.iter().take(NAMES).map(|entity| entity.name.as_str()).collect();
    let more = entities.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The text of a plan: one line for each object to create, one line for those that are only named.
pub(super) fn plan(plan: &AccessPlan) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{}", render::safe(line, LINE_LIMIT)).expect(WRITABLE);
    let lacking: Vec<&EntityPlan> =
        plan.entities.iter().filter(|entity| entity.action == AccessAction::Lacking).collect();
    if !lacking.is_empty() {
        let counts = counts(lacking.iter().map(|entity| entity.kind));
        let (are, them) = if lacking.len() == 1 { ("is", "it") } else { ("are", "them") };
        let names = names(&lacking);
        line(&format!("{counts} of the snapshot {are} not on the server: {names}; --access missing makes {them}"));
    }
    let mut unknown: BTreeMap<&str, Vec<ObjectKind>> = BTreeMap::new();
    for entity in &plan.entities {
        if let AccessAction::Unknown(reason) = &entity.action {
            unknown.entry(reason).or_default().push(entity.kind);
        }
    }
    for (reason, kinds) in unknown {
        let counts = counts(kinds.into_iter());
        line(&format!("whether the server has {counts} of the snapshot is not known: {reason}"));
    }
    for entity in &plan.entities {
        let name = format!("{} {}", entity.kind, entity.name);
        match &entity.action {
            AccessAction::Make => line(&format!("make {name}")),
            AccessAction::Complete => line(&format!("complete {name}, which an interrupted restore was making")),
            AccessAction::Replace => line(&format!("REPLACE {name}")),
            AccessAction::Keep(AccessKept::Differs) => {
                line(&format!("{name} exists, DIFFERS: stays; --access all replaces it"));
            }
            AccessAction::Refuse(reason) => line(&format!("{name} is NOT MADE: {reason}")),
            AccessAction::Keep(_) | AccessAction::Lacking | AccessAction::Unknown(_) => {}
        }
        if matches!(entity.action, AccessAction::Make | AccessAction::Replace | AccessAction::Complete) {
            entity.lacks.iter().for_each(|reason| line(&format!("{name} lacks a part of what it had: {reason}")));
        }
    }
    for file in &plan.unreadable {
        line(&file.to_string());
    }
    text
}

/// The plan as JSON rows.
pub(super) fn plan_rows(plan: &AccessPlan) -> Vec<RestoreAccessRow> {
    let row = |entity: &EntityPlan| {
        let (action, reason) = match &entity.action {
            AccessAction::Make => ("make", entity.lacks.first()),
            AccessAction::Complete => ("complete", entity.lacks.first()),
            AccessAction::Replace => ("replace", entity.lacks.first()),
            AccessAction::Keep(AccessKept::Differs) => ("differs", None),
            AccessAction::Keep(_) => ("keep", None),
            AccessAction::Lacking => ("lacking", None),
            AccessAction::Unknown(reason) => ("unknown", Some(reason)),
            AccessAction::Refuse(reason) => ("refuse", Some(reason)),
        };
        RestoreAccessRow {
            kind: entity.kind.to_string(),
            name: entity.name.clone(),
            action: Some(action.to_owned()),
            state: None,
            reason: reason.map(ToString::to_string),
        }
    };
    plan.entities.iter().map(row).collect()
}

/// The outcome for each object, as JSON rows.
pub(super) fn report_rows(access: &[AccessReport]) -> Vec<RestoreAccessRow> {
    let row = |entity: &AccessReport| RestoreAccessRow {
        kind: entity.kind.clone(),
        name: entity.name.clone(),
        action: None,
        state: Some(entity.state),
        reason: entity.reason.clone(),
    };
    access.iter().map(row).collect()
}

/// The objects that were created, one line each.
pub(super) fn report(access: &[AccessReport]) -> String {
    let mut text = String::new();
    for entity in access {
        let verb = match entity.state {
            AccessState::Made | AccessState::Incomplete => "made",
            AccessState::Replaced => "replaced",
            _ => continue,
        };
        let name = format!("{} {}", entity.kind, entity.name);
        writeln!(text, "{verb} {}", render::safe(&name, 200)).expect(WRITABLE);
    }
    text
}

/// All statements of a snapshot, with their secrets or without.
pub(super) fn statements(access: &ShownAccess, with_secrets: bool) -> String {
    if access.steps.is_empty() && access.unreadable.is_empty() {
        return "the snapshot has no users, roles, quotas, policies or settings profiles in SQL\n".to_owned();
    }
    let mut text = String::new();
    for step in &access.steps {
        let statement = if with_secrets { &step.statement } else { &step.masked };
        writeln!(text, "{};", render::safe(statement, usize::MAX)).expect(WRITABLE);
    }
    text
}

/// The statements as JSON rows, by object.
pub(super) fn rows(access: &ShownAccess, with_secrets: bool) -> Vec<AccessStatements> {
    let row = |(kind, name): &(ObjectKind, String)| {
        let own = access.steps.iter().filter(|step| step.kind == *kind && step.name == *name);
        let statements = own.map(|step| if with_secrets { step.statement.clone() } else { step.masked.clone() });
        AccessStatements { kind: kind.to_string(), name: name.clone(), statements: statements.collect() }
    };
    access.entities.iter().map(row).collect()
}

/// Warnings about objects that cannot be shown.
pub(super) fn warnings(access: &ShownAccess) -> Vec<String> {
    let files = access.unreadable.iter().map(|file| format!("{} is not shown: {}", file.path, file.reason));
    let references = access
        .unresolved
        .iter()
        .map(|(kind, name, id)| format!("{kind} {name} refers to {id}, of which the snapshot does not have the name"));
    files.chain(references).collect()
}

#[cfg(test)]
mod tests {
    use chsnap::plan::{AccessAction, AccessPlan, EntityPlan, ObjectKind};

    fn entity(kind: ObjectKind, name: &str, action: AccessAction) -> EntityPlan {
        EntityPlan { kind, name: name.to_owned(), action, lacks: Vec::new() }
    }

    #[test]
    fn missing_users_are_counted_on_one_line() {
        let users = (1..=12).map(|number| entity(ObjectKind::User, &format!("u{number}"), AccessAction::Lacking));
        let policies = ["a", "b"].map(|name| entity(ObjectKind::RowPolicy, name, AccessAction::Lacking));
        let role = entity(ObjectKind::Role, "r\u{1b}", AccessAction::Lacking);
        let plan = AccessPlan { entities: policies.into_iter().chain(users).collect(), ..AccessPlan::default() };
        assert_eq!(
            super::plan(&plan),
            "12 users and 2 row policies of the snapshot are not on the server: a, b, u1, u2, u3, u4, u5, u6, u7, u8 \
             and 4 more; --access missing makes them\n"
        );
        let plan = AccessPlan { entities: vec![role], ..AccessPlan::default() };
        let text = super::plan(&plan);
        assert!(text.starts_with("1 role of the snapshot is not on the server: r"), "{text}");
        assert!(text.ends_with("; --access missing makes it\n") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn kinds_that_cannot_be_listed_for_one_reason_are_one_line() {
        let unknown = |reason: &str| AccessAction::Unknown(reason.to_owned());
        let entities = vec![
            entity(ObjectKind::User, "a", unknown("x")),
            entity(ObjectKind::Role, "r", unknown("x")),
            entity(ObjectKind::Quota, "q", unknown("y")),
        ];
        let plan = AccessPlan { entities, ..AccessPlan::default() };
        assert_eq!(
            super::plan(&plan),
            "whether the server has 1 user and 1 role of the snapshot is not known: x\n\
             whether the server has 1 quota of the snapshot is not known: y\n"
        );
    }
}
