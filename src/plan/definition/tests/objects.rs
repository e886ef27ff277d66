use proptest::prelude::*;

use crate::plan::{DefinitionError, ObjectKind, ObjectStatement};

#[test]
fn objects_of_all_kinds_are_read() {
    // The first six are files of a server, the others have the form of files in `access/`.
    for (text, kind, name, create) in [
        (
            "CREATE FUNCTION lin AS (x, k, b) -> ((k * x) + b)\n",
            "function",
            "lin",
            "CREATE FUNCTION lin AS (x, k, b) -> ((k * x) + b)",
        ),
        (
            "CREATE NAMED COLLECTION nc AS n = 3 OVERRIDABLE, password = 'ncpw' NOT OVERRIDABLE, url = 'http://x'",
            "named collection",
            "nc",
            "CREATE NAMED COLLECTION nc AS n = 3 OVERRIDABLE, password = 'ncpw' NOT OVERRIDABLE, url = 'http://x'",
        ),
        (
            "CREATE RESOURCE r (READ DISK d2, WRITE DISK d2)",
            "resource",
            "r",
            "CREATE RESOURCE r (READ DISK d2, WRITE DISK d2)",
        ),
        ("CREATE WORKLOAD all_w", "workload", "all_w", "CREATE WORKLOAD all_w"),
        (
            "CREATE WORKLOAD prod IN all_w SETTINGS max_io_requests = 100 FOR r, weight = 3",
            "workload",
            "prod",
            "CREATE WORKLOAD prod IN all_w SETTINGS max_io_requests = 100 FOR r, weight = 3",
        ),
        ("ATTACH FUNCTION IF NOT EXISTS `a b` AS x -> x;", "function", "a b", "CREATE FUNCTION `a b` AS x -> x"),
        (
            "ATTACH USER `u v`@'10.%' IDENTIFIED WITH no_password",
            "user",
            "u v@10.%",
            "CREATE USER `u v`@'10.%' IDENTIFIED WITH no_password",
        ),
        ("ATTACH ROLE r SETTINGS PROFILE 'p'", "role", "r", "CREATE ROLE r SETTINGS PROFILE 'p'"),
        (
            "ATTACH QUOTA q FOR INTERVAL 1 hour MAX queries = 9 TO u",
            "quota",
            "q",
            "CREATE QUOTA q FOR INTERVAL 1 hour MAX queries = 9 TO u",
        ),
        (
            "ATTACH ROW POLICY p ON a.`cluster` FOR SELECT USING 1 TO ALL",
            "row policy",
            "p ON a.cluster",
            "CREATE ROW POLICY p ON a.`cluster` FOR SELECT USING 1 TO ALL",
        ),
        (
            "ATTACH SETTINGS PROFILE p SETTINGS readonly = 1",
            "settings profile",
            "p",
            "CREATE SETTINGS PROFILE p SETTINGS readonly = 1",
        ),
        (
            "ATTACH MASKING POLICY m ON a.* UPDATE x = 1",
            "masking policy",
            "m ON a.*",
            "CREATE MASKING POLICY m ON a.* UPDATE x = 1",
        ),
        (
            "ATTACH GRANT SELECT ON *.* TO u WITH GRANT OPTION",
            "grant",
            "u",
            "GRANT SELECT ON *.* TO u WITH GRANT OPTION",
        ),
        ("ATTACH REVOKE SELECT ON a.b FROM `u`", "grant", "u", "REVOKE SELECT ON a.b FROM `u`"),
    ] {
        let object = ObjectStatement::parse(text).expect(text);
        assert_eq!((object.kind.to_string().as_str(), object.name.as_str()), (kind, name), "{text}");
        assert_eq!(object.create(), create);
    }
}

#[test]
fn anything_else_is_refused_without_a_word_of_it() {
    for text in [
        "",
        "DROP DATABASE secret",
        "INSERT INTO secret VALUES (1)",
        "SELECT 'secret'",
        "CREATE TABLE secret (x UInt8) ENGINE = Log",
        "CREATE FUNCTION secret ON CLUSTER c AS x -> x",
        "CREATE FUNCTION secret",
        "CREATE FUNCTION secret AS",
        "CREATE FUNCTION f AS x -> x; DROP DATABASE secret",
        "CREATE FUNCTION f AS 'secret",
        "CREATE FUNCTION f AS (secret",
        "CREATE NAMED COLLECTION secret ON CLUSTER c AS a = 1",
        "CREATE USER secret ON CLUSTER c",
        "CREATE GRANT SELECT ON *.* TO secret",
        "ATTACH ROW POLICY p ON CLUSTER secret ON a.b",
        "CREATE WORKLOAD secret DROP",
        "CREATE RESOURCE secret",
        "GRANT SELECT ON *.* TO secret",
        "ATTACH GRANT secret",
        "EXPLAIN CREATE FUNCTION secret AS x -> x",
        "CREATE FUNCTION f AS x /* secret",
    ] {
        let error = ObjectStatement::parse(text).expect_err(text);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let two = "CREATE FUNCTION f AS x -> x; CREATE FUNCTION g AS x -> x";
    assert_eq!(ObjectStatement::parse(two), Err(DefinitionError::SecondStatement));
}

#[test]
fn a_file_of_a_user_has_several_statements() {
    let text = "ATTACH USER u IDENTIFIED WITH sha256_hash BY 'AB;CD' SALT 'EF';\nATTACH GRANT SELECT ON a.* TO u;\n";
    let all = ObjectStatement::parse_all(text).expect("statements");
    assert_eq!(all.iter().map(|one| one.kind).collect::<Vec<_>>(), [ObjectKind::User, ObjectKind::Grant]);
    assert_eq!(all.first().map(ObjectStatement::secrets), Some(vec!["AB;CD".to_owned(), "EF".to_owned()]));
    assert_eq!(
        all.first().map(ObjectStatement::masked).as_deref(),
        Some("CREATE USER u IDENTIFIED WITH sha256_hash BY '[HIDDEN]' SALT '[HIDDEN]'")
    );
    assert!(ObjectStatement::parse_all("ATTACH USER u; DROP USER v").is_err());
    assert!(ObjectStatement::parse_all(" ; ").is_err());
}

#[test]
fn every_value_of_a_named_collection_is_a_secret() {
    let text = "CREATE NAMED COLLECTION nc AS n = -3 OVERRIDABLE, password = 'it\\'s' NOT OVERRIDABLE, url = 'http://x', b = true";
    let collection = ObjectStatement::parse(text).expect("a named collection");
    assert_eq!(collection.secrets(), ["3", "it's", "http://x", "true"]);
    assert_eq!(
        collection.masked(),
        "CREATE NAMED COLLECTION nc AS n = -'[HIDDEN]' OVERRIDABLE, password = '[HIDDEN]' NOT OVERRIDABLE, \
         url = '[HIDDEN]', b = '[HIDDEN]'"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(CREATE|ATTACH) (FUNCTION|USER|GRANT|ROW POLICY|NAMED COLLECTION|RESOURCE) [a-z'`(),;=@ ]{0,30}\\PC{0,5}") {
        if let Ok(all) = ObjectStatement::parse_all(&text) {
            for object in all {
                drop((object.masked(), object.secrets()));
                if object.kind != ObjectKind::Grant {
                    prop_assert_eq!(ObjectStatement::parse(&object.create()), Ok(object));
                }
            }
        }
    }
}
