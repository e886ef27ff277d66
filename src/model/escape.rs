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

/// The name whose escaped form is `escaped`; `None` if [`escape_for_file_name`] never writes this form.
#[must_use]
pub fn unescape_file_name(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => byte,
            _ => return None,
        });
    }
    String::from_utf8(bytes).ok().filter(|name| escape_for_file_name(name) == escaped)
}

#[cfg(test)]
mod tests {
    use super::{escape_for_file_name, unescape_file_name};

    #[test]
    fn names_are_escaped_as_the_server_escapes_them() {
        // Each right side was read from the shadow directory of a real server.
        assert_eq!(escape_for_file_name("my-table.x"), "my%2Dtable%2Ex");
        assert_eq!(escape_for_file_name("a/b`c é\"x"), "a%2Fb%60c%20%C3%A9%22x");
        assert_eq!(escape_for_file_name("w'q/.."), "w%27q%2F%2E%2E");
        assert_eq!(escape_for_file_name("events_2026"), "events_2026");
    }

    #[test]
    fn an_escaped_name_reads_back_and_anything_else_does_not() {
        for name in ["my-table.x", "a/b`c é\"x", "w'q/..", "events_2026", ""] {
            assert_eq!(unescape_file_name(&escape_for_file_name(name)).as_deref(), Some(name));
        }
        for text in ["a.b", "%", "%4", "%zz", "%61", "a b", "%2f", "%FF"] {
            assert_eq!(unescape_file_name(text), None, "{text}");
        }
    }
}
