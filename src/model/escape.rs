//! ClickHouse's escaping of names in paths.

use std::fmt::Write as _;

/// Escapes a database or table name the way ClickHouse does for its own paths: every byte outside
/// `[A-Za-z0-9_]` becomes `%XX` in upper case.
///
/// Source: `escapeForFileName` in ClickHouse's `src/Common/escapeForFileName.cpp`.
#[must_use]
pub fn escape_for_file_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape_for_file_name;

    #[test]
    fn names_are_escaped_as_the_server_escapes_them() {
        // Each right side was read from the shadow directory of a real server.
        assert_eq!(escape_for_file_name("my-table.x"), "my%2Dtable%2Ex");
        assert_eq!(escape_for_file_name("a/b`c é\"x"), "a%2Fb%60c%20%C3%A9%22x");
        assert_eq!(escape_for_file_name("w'q/.."), "w%27q%2F%2E%2E");
        assert_eq!(escape_for_file_name("events_2026"), "events_2026");
    }
}
