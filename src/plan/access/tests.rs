use std::collections::BTreeMap;

use super::{
    AccessAction, AccessEntity, AccessKept, AccessNames, AccessOptions, AccessPlan, BegunAccess, LiveEntity, LiveList,
    SourceAccess, TargetAccess, plan_access, sequence,
};
use crate::plan::{Existing, ObjectKind};

const KINDS: [ObjectKind; 6] = [
    ObjectKind::User,
    ObjectKind::Role,
    ObjectKind::Quota,
    ObjectKind::RowPolicy,
    ObjectKind::SettingsProfile,
    ObjectKind::MaskingPolicy,
];

fn id(number: u8) -> String {
    format!("0000000{number}-0000-4000-8000-0000000000aa")
}

/// Files by number; `#n` stands for the `ID('…')` of the n-th.
fn source(files: &[(u8, &str)]) -> SourceAccess {
    SourceAccess::from_files(files.iter().map(|(number, text)| {
        let mut text = (*text).to_owned();
        for other in 0..10 {
            text = text.replace(&format!("#{other}"), &format!("ID('{}')", id(other)));
        }
        (format!("access/{}.sql", id(*number)), Ok(text.into_bytes()))
    }))
}

fn server(files: &[(u8, &str)]) -> TargetAccess {
    let mut lists: BTreeMap<ObjectKind, LiveList> = BTreeMap::new();
    for kind in KINDS {
        let of_kind = source(files).entities.into_iter().filter(|entity| entity.kind() == kind);
        let listed = of_kind
            .map(|entity| (entity.name().to_owned(), LiveEntity { id: entity.id.clone(), entity: Some(entity) }));
        lists.insert(kind, LiveList::Listed(listed.collect()));
    }
    TargetAccess { lists }
}

fn statements(plan: &AccessPlan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.statement.as_str()).collect()
}

fn action<'a>(plan: &'a AccessPlan, name: &str) -> &'a AccessAction {
    &plan.entities.iter().find(|entity| entity.name == name).expect("planned").action
}

fn reason<'a>(plan: &'a AccessPlan, name: &str) -> &'a str {
    match action(plan, name) {
        AccessAction::Refuse(reason) => reason,
        other => panic!("{name}: {other:?}"),
    }
}

/// Every kind of entity that can refer to another, in alphabetical order, which is not that of references.
const ALL: [(u8, &str); 7] = [
    (
        1,
        "ATTACH USER alice IDENTIFIED WITH sha256_hash BY 'AB12' SALT 'CD34' HOST LOCAL DEFAULT ROLE #2 \
         SETTINGS max_threads = 3, PROFILE #4 GRANTEES #5;\nATTACH GRANT SELECT(a, `to`) ON db.* TO alice WITH GRANT OPTION;\n\
         ATTACH REVOKE SELECT ON db.secret FROM alice;\nATTACH GRANT #2, #3 TO alice WITH ADMIN OPTION;\n",
    ),
    (
        2,
        "ATTACH ROLE z_reader SETTINGS PROFILE #4;\nATTACH GRANT SHOW ON *.* TO z_reader;\nATTACH GRANT #3 TO z_reader;\n",
    ),
    (3, "ATTACH ROLE base;\n"),
    (
        4,
        "ATTACH SETTINGS PROFILE `a profile` SETTINGS max_memory_usage = 9 READONLY, INHERIT #6 TO #1, ID('94309d50-4f52-5250-31bd-74fecac179db');\n",
    ),
    (5, "ATTACH USER bob@`10.%` NOT IDENTIFIED GRANTEES ANY EXCEPT #1;\n"),
    (6, "ATTACH SETTINGS PROFILE inherited SETTINGS readonly = 1 TO NONE;\n"),
    (7, "ATTACH ROW POLICY p ON db.t FOR SELECT USING a IN ('TO', id) AND b = 1 TO ALL EXCEPT #2, #1;\n"),
];

#[test]
fn statements_name_what_they_refer_to_and_follow_what_they_need() {
    let plan = plan_access(&source(&ALL), &server(&[]), AccessOptions::Missing, &[]);
    assert_eq!(
        statements(&plan),
        [
            "CREATE SETTINGS PROFILE IF NOT EXISTS inherited SETTINGS readonly = 1 TO NONE",
            "CREATE SETTINGS PROFILE IF NOT EXISTS `a profile` SETTINGS max_memory_usage = 9 READONLY, INHERIT `inherited`",
            "CREATE ROLE IF NOT EXISTS base",
            "CREATE ROLE IF NOT EXISTS z_reader SETTINGS PROFILE `a profile`",
            "CREATE USER IF NOT EXISTS alice IDENTIFIED WITH sha256_hash BY 'AB12' SALT 'CD34' HOST LOCAL DEFAULT ROLE \
             `z_reader` SETTINGS max_threads = 3, PROFILE `a profile`",
            "CREATE USER IF NOT EXISTS bob@`10.%` NOT IDENTIFIED",
            "CREATE ROW POLICY IF NOT EXISTS p ON db.t FOR SELECT USING a IN ('TO', id) AND b = 1 TO ALL EXCEPT \
             `z_reader`, `alice`",
            "ALTER SETTINGS PROFILE `a profile` TO `alice`, `default`",
            "ALTER USER alice GRANTEES `bob@10.%`",
            "ALTER USER bob@`10.%` GRANTEES ANY EXCEPT `alice`",
            "GRANT SHOW ON *.* TO z_reader",
            "GRANT `base` TO z_reader",
            "GRANT SELECT(a, `to`) ON db.* TO alice WITH GRANT OPTION",
            "REVOKE SELECT ON db.secret FROM alice",
            "GRANT `z_reader`, `base` TO alice WITH ADMIN OPTION",
        ]
    );
    assert_eq!(plan.refusals(), [""; 0]);
    let shown = format!("{plan:?}");
    assert!(!shown.contains("AB12") && !shown.contains("CD34"), "{shown}");
    let of_alice = plan.steps.iter().find(|step| step.is_creation && step.name == "alice").expect("a step");
    assert_eq!(of_alice.secrets, ["AB12", "CD34"]);
}

#[test]
fn missing_users_are_only_named_unless_requested() {
    let plan = plan_access(&source(&ALL), &server(&ALL[1..3]), AccessOptions::Names, &[]);
    assert_eq!(action(&plan, "alice"), &AccessAction::Lacking);
    assert_eq!(action(&plan, "base"), &AccessAction::Keep(AccessKept::NotCompared));
    assert_eq!(statements(&plan), [""; 0]);
    assert_eq!(plan_access(&source(&ALL), &server(&[]), AccessOptions::Nothing, &[]), AccessPlan::default());
}

#[test]
fn a_file_with_statements_about_other_objects_makes_nothing() {
    let files = [
        (1, "ATTACH USER a; DROP DATABASE prod;"),
        (2, "ATTACH USER b;\nATTACH GRANT ALL ON *.* TO mallory WITH GRANT OPTION;"),
        (3, "ATTACH USER c;\nATTACH USER mallory;"),
        (4, "ATTACH USER d, mallory;"),
        (5, "ATTACH GRANT ALL ON *.* TO mallory;"),
        (6, "ATTACH USER f;\nATTACH GRANT ALL ON *.* TO f, mallory;"),
        (7, "ATTACH QUOTA g;\nATTACH GRANT ALL ON *.* TO g;"),
        (8, "ATTACH USER h;\nATTACH GRANT ON CLUSTER prod ALL ON *.* TO h;"),
        (9, "CREATE FUNCTION prod AS x -> x"),
    ];
    let mut source = source(&files);
    source.unreadable.extend(
        SourceAccess::from_files([
            ("access/mallory.sql".to_owned(), Ok(b"ATTACH USER mallory".to_vec())),
            ("access/users.list".to_owned(), Ok(b"\x01mallory".to_vec())),
            (format!("access/{}.sql", id(0)), Ok(vec![0xff])),
        ])
        .unreadable,
    );
    let plan = plan_access(&source, &server(&[]), AccessOptions::All, &[]);
    assert_eq!((plan.entities.len(), plan.steps.len()), (0, 0), "{plan:?}");
    let refusals = plan.refusals();
    assert_eq!(refusals.len(), files.len() + 2, "{refusals:?}");
    for (refusal, file) in refusals.iter().zip(1..) {
        assert!(!refusal.replace("access/mallory.sql", "").contains("mallory"), "{refusal}");
        assert!(!refusal.contains("prod"), "{refusal}");
        assert!(file > files.len() || refusal.contains(&id(u8::try_from(file).expect("a digit"))), "{refusal}");
    }
    assert_eq!(plan_access(&source, &server(&[]), AccessOptions::Names, &[]).refusals(), [""; 0]);
}

#[test]
fn an_entity_with_an_unknown_reference_is_refused_and_a_grant_of_it_is_left_out() {
    let files = [
        (1, "ATTACH ROLE lost;\nATTACH GRANT #9 TO lost;"),
        (2, "ATTACH ROLE over;\nATTACH GRANT #1 TO over;"),
        (3, "ATTACH USER u DEFAULT ROLE #9;"),
        (4, "ATTACH USER v;"),
        (5, "ATTACH USER w;\nATTACH GRANT #4, #2 TO w WITH ADMIN OPTION;"),
        (6, "ATTACH QUOTA q TO #7;"),
        (0, "ATTACH USER x GRANTEES #3;"),
        (7, "ATTACH ROLE v;"),
        (8, "ATTACH USER v;"),
    ];
    let plan = plan_access(&source(&files), &server(&[]), AccessOptions::Missing, &[]);
    let lacks = |name: &str| {
        assert_eq!(action(&plan, name), &AccessAction::Make);
        plan.entities.iter().find(|entity| entity.name == name).expect("planned").lacks.join(", ")
    };
    assert!(lacks("lost").contains(&id(9)), "{plan:?}");
    assert!(lacks("w").contains(&id(4)), "a user is no role");
    assert_eq!(lacks("over"), "");
    assert!(reason(&plan, "u").contains(&id(9)), "without its role it might be allowed something else");
    assert_eq!(reason(&plan, "x"), "it refers to user u, which is not made");
    assert!(reason(&plan, "q").contains(&id(7)), "a server would take the name for that of the user");
    let users = plan.entities.iter().filter(|entity| entity.name == "v" && entity.kind == ObjectKind::User);
    assert!(
        users
            .into_iter()
            .all(|user| matches!(&user.action, AccessAction::Refuse(reason) if reason.contains("two files")))
    );
    assert_eq!(
        statements(&plan),
        [
            "CREATE ROLE IF NOT EXISTS lost",
            "CREATE ROLE IF NOT EXISTS over",
            "CREATE ROLE IF NOT EXISTS v",
            "CREATE USER IF NOT EXISTS w",
            "GRANT `lost` TO over",
            "GRANT `over` TO w WITH ADMIN OPTION",
        ]
    );
    // The server has a role of this UUID, under another name.
    let plan =
        plan_access(&source(&files[..3]), &server(&[(9, "ATTACH ROLE `its own`;")]), AccessOptions::Missing, &[]);
    assert!(statements(&plan).contains(&"GRANT `its own` TO lost"), "{plan:?}");
    assert_eq!(plan.refusals(), [""; 0]);
}

#[test]
fn users_that_differ_are_replaced_only_on_request() {
    let stored =
        [(1, "ATTACH USER a HOST LOCAL;"), (2, "ATTACH USER b;\nATTACH GRANT #3 TO b;"), (3, "ATTACH ROLE r;")];
    // The same by names, with other UUIDs; `a` has another host.
    let live =
        [(4, "ATTACH USER a HOST ANY;"), (5, "ATTACH USER b;\n\nATTACH   GRANT #6 TO b;"), (6, "ATTACH ROLE r;")];
    let missing = plan_access(&source(&stored), &server(&live), AccessOptions::Missing, &[]);
    assert_eq!(action(&missing, "a"), &AccessAction::Keep(AccessKept::Differs));
    assert_eq!(action(&missing, "b"), &AccessAction::Keep(AccessKept::Same));
    assert_eq!(statements(&missing), [""; 0]);
    let all = plan_access(&source(&stored), &server(&live), AccessOptions::All, &[]);
    assert_eq!(statements(&all), ["CREATE USER OR REPLACE a HOST LOCAL"]);
}

#[test]
fn only_users_of_an_interrupted_restore_get_their_missing_grants() {
    let stored = [
        (1, "ATTACH USER a HOST LOCAL GRANTEES #3;\nATTACH GRANT SELECT ON db.* TO a;\nATTACH GRANT #2 TO a;"),
        (2, "ATTACH ROLE r;"),
        (3, "ATTACH USER c;"),
    ];
    let begun = [BegunAccess { kind: ObjectKind::User, name: "a".to_owned() }];
    let of = |live: &str, begun: &[BegunAccess], options: AccessOptions| {
        let live = [(5, live), (6, "ATTACH ROLE r;"), (7, "ATTACH USER c;")];
        let plan = plan_access(&source(&stored), &server(&live), options, begun);
        (action(&plan, "a").clone(), statements(&plan).join("; "))
    };
    let rest =
        "CREATE USER IF NOT EXISTS a HOST LOCAL; ALTER USER a GRANTEES `c`; GRANT SELECT ON db.* TO a; GRANT `r` TO a";
    for options in [AccessOptions::Missing, AccessOptions::All] {
        for live in ["ATTACH USER a HOST LOCAL;", "ATTACH USER a HOST LOCAL;\nATTACH GRANT SELECT ON db.* TO a;"] {
            assert_eq!(of(live, &begun, options), (AccessAction::Complete, rest.to_owned()));
        }
    }
    // One that was replaced; one whose grants have been revoked; one that is complete.
    let differs = (AccessAction::Keep(AccessKept::Differs), String::new());
    for live in ["ATTACH USER a HOST ANY;", "ATTACH USER a HOST LOCAL;\nATTACH GRANT INSERT ON db.* TO a;"] {
        assert_eq!(of(live, &begun, AccessOptions::Missing), differs);
    }
    assert_eq!(of("ATTACH USER a HOST LOCAL;", &[], AccessOptions::Missing), differs);
    let whole = "ATTACH USER a HOST LOCAL GRANTEES #7;\nATTACH GRANT SELECT ON db.* TO a;\nATTACH GRANT #6 TO a;";
    assert_eq!(of(whole, &begun, AccessOptions::All).0, AccessAction::Keep(AccessKept::Same));
}

#[test]
fn nothing_loses_a_role_because_the_role_is_replaced() {
    let stored = [(1, "ATTACH ROLE r SETTINGS max_threads = 1;"), (2, "ATTACH USER a;\nATTACH GRANT #1 TO a;")];
    let live = [
        (1, "ATTACH ROLE r SETTINGS max_threads = 2;"),
        (2, "ATTACH USER a;\nATTACH GRANT #1 TO a;"),
        (3, "ATTACH USER later;\nATTACH GRANT #1 TO later;"),
    ];
    let plan = plan_access(&source(&stored), &server(&live[..2]), AccessOptions::All, &[]);
    assert_eq!(
        statements(&plan),
        ["CREATE ROLE OR REPLACE r SETTINGS max_threads = 1", "CREATE USER OR REPLACE a", "GRANT `r` TO a"]
    );
    let plan = plan_access(&source(&stored), &server(&live), AccessOptions::All, &[]);
    assert!(reason(&plan, "r").contains("user later of the server refers to it"), "{plan:?}");
    assert_eq!((action(&plan, "a"), plan.steps.len()), (&AccessAction::Keep(AccessKept::Same), 0));
}

#[test]
fn a_server_that_does_not_show_its_users_gets_none() {
    let unknown = TargetAccess {
        lists: BTreeMap::from([
            (ObjectKind::User, LiveList::Unknown("no right".to_owned())),
            (ObjectKind::Role, LiveList::Absent),
        ]),
    };
    let files = [(1, "ATTACH USER a;"), (2, "ATTACH ROLE r;"), (3, "ATTACH QUOTA q;")];
    let plan = plan_access(&source(&files), &unknown, AccessOptions::Names, &[]);
    assert!(plan.entities.iter().all(|entity| matches!(entity.action, AccessAction::Unknown(_))), "{plan:?}");
    for options in [AccessOptions::Missing, AccessOptions::All] {
        let plan = plan_access(&source(&files), &unknown, options, &[]);
        assert_eq!((plan.steps.len(), plan.refusals().len()), (0, 3), "{plan:?}");
    }
}

#[test]
fn tables_that_cannot_be_compared_are_not_replaced() {
    let live = |id: String| LiveEntity { id, entity: None };
    let target = TargetAccess {
        lists: BTreeMap::from([(ObjectKind::User, LiveList::Listed(BTreeMap::from([("a".to_owned(), live(id(1)))])))]),
    };
    let plan = plan_access(&source(&[(1, "ATTACH USER a;")]), &target, AccessOptions::All, &[]);
    assert!(reason(&plan, "a").contains("cannot be read here"), "{plan:?}");
    let plan = plan_access(&source(&[(1, "ATTACH USER a;")]), &target, AccessOptions::Missing, &[]);
    assert_eq!(action(&plan, "a"), &AccessAction::Keep(AccessKept::NotCompared));
}

#[test]
fn a_circle_of_references_ends() {
    let source = source(&[
        (1, "ATTACH SETTINGS PROFILE a SETTINGS INHERIT #2;"),
        (2, "ATTACH SETTINGS PROFILE b SETTINGS INHERIT #1;"),
    ]);
    let all: Vec<(&AccessEntity, Existing)> =
        source.entities.iter().map(|entity| (entity, Existing::Refused)).collect();
    assert_eq!(sequence(&all, &AccessNames::new(&source.entities)).len(), 2);
}
