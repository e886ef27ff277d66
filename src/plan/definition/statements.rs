//! Splits a text into statements: no text that is executed may contain more than one.

use super::error::DefinitionError;
use super::tokens::{TokenKind, tokens};

/// The statements of a text, without the semicolons after them.
///
/// # Errors
/// If a quote, a comment or a bracket is not closed, or the text contains a NUL.
pub(super) fn statements(text: &str) -> Result<Vec<&str>, DefinitionError> {
    if text.contains('\0') {
        return Err(DefinitionError::Nul);
    }
    let mut open: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    let mut start = 0;
    let mut is_empty = true;
    for token in tokens(text) {
        if !token.is_closed {
            return Err(DefinitionError::Unclosed);
        }
        if token.kind == TokenKind::Mark {
            match token.text {
                "(" => open.push(")"),
                "[" => open.push("]"),
                "{" => open.push("}"),
                ")" | "]" | "}" if open.pop() != Some(token.text) => return Err(DefinitionError::Brackets),
                ";" if !open.is_empty() => return Err(DefinitionError::Brackets),
                ";" => {
                    if !is_empty {
                        found.push(text.get(start..token.start).unwrap_or_default().trim());
                    }
                    start = token.end();
                    is_empty = true;
                    continue;
                }
                _ => {}
            }
        }
        is_empty &= token.kind == TokenKind::Space;
    }
    if !open.is_empty() {
        return Err(DefinitionError::Brackets);
    }
    if !is_empty {
        found.push(text.get(start..).unwrap_or_default().trim());
    }
    Ok(found)
}

/// The only statement of a text.
///
/// # Errors
/// As [`statements`], and if there is none or more than one.
pub(super) fn single_statement<'a>(text: &'a str, expected: &'static str) -> Result<&'a str, DefinitionError> {
    match statements(text)?.as_slice() {
        [] => Err(DefinitionError::Expected(expected)),
        [statement] => Ok(statement),
        _ => Err(DefinitionError::SecondStatement),
    }
}

#[cfg(test)]
mod tests {
    use super::{single_statement, statements};
    use crate::plan::DefinitionError;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let text = "ATTACH USER u;\nATTACH GRANT SELECT ON *.* TO `u;`; -- x;\n /* ; */";
        assert_eq!(statements(text), Ok(vec!["ATTACH USER u", "ATTACH GRANT SELECT ON *.* TO `u;`"]));
        assert_eq!(single_statement("SELECT ';'; ;", ""), Ok("SELECT ';'"));
    }

    #[test]
    fn texts_that_could_be_read_in_two_ways_are_refused() {
        for (text, error) in [
            ("a; b", DefinitionError::SecondStatement),
            ("a 'b", DefinitionError::Unclosed),
            ("a `b", DefinitionError::Unclosed),
            ("a /* b", DefinitionError::Unclosed),
            ("a (b", DefinitionError::Brackets),
            ("a (b]", DefinitionError::Brackets),
            ("a b)", DefinitionError::Brackets),
            ("a (; )", DefinitionError::Brackets),
            ("a \0", DefinitionError::Nul),
            (" ; -- ", DefinitionError::Expected("x")),
        ] {
            assert_eq!(single_statement(text, "x"), Err(error), "{text}");
        }
    }
}
