//! Decides which files of a snapshot leave a host without its secrets, and in which form.

use super::definition::{ObjectKind, ObjectStatement, ParsedDefinition, has_secret_values};

/// The fate of a file outside the parts in a push without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretVerdict {
    /// It has no secret that is known as one.
    Keep,
    /// It is a definition: this text has `[HIDDEN]` in place of each of its secrets. A restore makes it only if that was
    /// asked for by name.
    Hide(String),
    /// It is left out: it is a secret as a whole, or its secrets cannot be found.
    LeaveOut,
}

/// Judges a file by its path in the snapshot and its content.
///
/// A secret is what ClickHouse hides in the statements that it prints: passwords and keys in the arguments of engines,
/// table functions, dictionary sources and encryption functions, and in URLs. Users, roles and everything else below
/// `access/`, named collections, and files of configuration are left out as a whole. Rows are data, not secrets.
#[must_use]
pub fn without_secrets(path: &str, content: &[u8]) -> SecretVerdict {
    let Ok(text) = std::str::from_utf8(content) else {
        // What cannot be read as a statement cannot be searched.
        return if path.starts_with("dumps/") { SecretVerdict::Keep } else { SecretVerdict::LeaveOut };
    };
    match path.split('/').next().unwrap_or_default() {
        "metadata" => match ParsedDefinition::parse(text) {
            Ok(definition) if definition.secrets().is_empty() => SecretVerdict::Keep,
            Ok(definition) => hidden(definition.masked(), |text| {
                ParsedDefinition::parse(text).is_ok_and(|read| read.has_hidden_secret() && read.secrets().is_empty())
            }),
            Err(_) => SecretVerdict::LeaveOut,
        },
        "user_defined" | "workload" => match ObjectStatement::parse(text) {
            Ok(object) if object.kind == ObjectKind::NamedCollection || object.kind.is_access() => {
                SecretVerdict::LeaveOut
            }
            Ok(object) if object.secrets().is_empty() => SecretVerdict::Keep,
            Ok(object) => hidden(object.masked(), |text| {
                ObjectStatement::parse(text).is_ok_and(|read| read.has_hidden_secret() && read.secrets().is_empty())
            }),
            Err(_) => SecretVerdict::LeaveOut,
        },
        // An unfinished mutation: with `[HIDDEN]` in it, it would write that.
        "data" if has_secret_values(text) => SecretVerdict::LeaveOut,
        "data" | "dumps" => SecretVerdict::Keep,
        _ => SecretVerdict::LeaveOut,
    }
}

/// The text, if it is still a definition of which a restore knows that a secret is hidden in it.
fn hidden(text: String, is_recognized: impl Fn(&str) -> bool) -> SecretVerdict {
    if is_recognized(&text) { SecretVerdict::Hide(text) } else { SecretVerdict::LeaveOut }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(path: &str, text: &str) -> SecretVerdict {
        without_secrets(path, text.as_bytes())
    }

    #[test]
    fn definitions_without_secrets_go_as_they_are_and_with_secrets_hidden() {
        let plain = "ATTACH TABLE _ UUID '14addea3-a8fe-4ef8-bb4f-098fa9c86751'\n(\n    `k` UInt8\n)\nENGINE = MergeTree\nORDER BY k\n";
        assert_eq!(judged("metadata/d/t.sql", plain), SecretVerdict::Keep);
        let url = "ATTACH TABLE _ (`k` UInt8) ENGINE = MySQL('db:3306', 'shop', 't', 'reader', 'hunter2')";
        let SecretVerdict::Hide(text) = judged("metadata/d/t.sql", url) else { panic!("it has a secret") };
        assert!(text.contains("[HIDDEN]") && !text.contains("hunter2"), "{text}");
        assert!(text.contains("reader"), "{text}");
        let database = "ATTACH DATABASE _ ENGINE = MySQL('db:3306', 'shop', 'reader', 'hunter2')";
        let SecretVerdict::Hide(text) = judged("metadata/d.sql", database) else { panic!("it has a secret") };
        assert!(!text.contains("hunter2"), "{text}");
        let function = "CREATE FUNCTION f AS x -> encrypt('aes-128-ecb', x, 'hunter2hunter2hu')";
        let SecretVerdict::Hide(text) = judged("user_defined/function_f.sql", function) else { panic!("a secret") };
        assert!(text.contains("[HIDDEN]") && !text.contains("hunter2"), "{text}");
        assert_eq!(judged("user_defined/function_g.sql", "CREATE FUNCTION g AS x -> x + 1"), SecretVerdict::Keep);
    }

    #[test]
    fn what_is_a_secret_as_a_whole_or_cannot_be_searched_is_left_out() {
        for (path, text) in [
            ("access/14addea3-a8fe-4ef8-bb4f-098fa9c86751.sql", "ATTACH USER u IDENTIFIED WITH no_password;"),
            ("named_collections/nc.sql", "CREATE NAMED COLLECTION nc AS url = 'x'"),
            ("configs/etc/clickhouse-server/users.xml", "<password>hunter2</password>"),
            ("executable_functions/f.xml", "<functions/>"),
            ("user_scripts/f.py", "print(1)"),
            ("metadata/d/t.sql", "no statement: hunter2"),
            ("user_defined/function_f.sql", "CREATE USER u IDENTIFIED BY 'hunter2'"),
            ("data/d/t/mutation_7.txt", "commands: UPDATE x = encrypt('aes-128-ecb', x, 'hunter2hunter2hu') WHERE 1"),
            ("something/new", "x"),
        ] {
            assert_eq!(judged(path, text), SecretVerdict::LeaveOut, "{path}");
        }
        assert_eq!(without_secrets("metadata/d/t.sql", b"\xff"), SecretVerdict::LeaveOut);
        assert_eq!(without_secrets("dumps/d/t.native.zst", b"\xff"), SecretVerdict::Keep);
        assert_eq!(judged("data/d/t/mutation_7.txt", "commands: UPDATE x = 1 WHERE k = 2"), SecretVerdict::Keep);
    }

    proptest! {
        /// Whatever the password, it is not in what is sent.
        #[test]
        fn a_password_never_leaves(password in "[a-zA-Z0-9!#%&*+,.:;<=>?@^_|~-]{6,20}") {
            let text = format!("ATTACH TABLE _ (`k` UInt8) ENGINE = PostgreSQL('h:5432', 'd', 't', 'u', '{password}')");
            match judged("metadata/d/t.sql", &text) {
                SecretVerdict::Hide(text) => prop_assert!(!text.contains(&password), "{}", text),
                verdict => prop_assert_eq!(verdict, SecretVerdict::LeaveOut),
            }
        }
    }
}
