//! Quoted names and string literals.

/// Removes the quotes and resolves the escapes. Source: `readAnyQuotedString` in ClickHouse's `src/IO/ReadHelpers.cpp`.
pub(super) fn unquote(text: &str) -> String {
    if text.starts_with('$') {
        return heredoc(text).to_owned();
    }
    let mut letters = text.chars();
    let Some(quote) = letters.next().map(closing) else { return String::new() };
    if matches!(quote, '’' | '”') {
        return letters.take_while(|letter| *letter != quote).collect();
    }
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some('a') => plain.push('\u{7}'),
                Some('b') => plain.push('\u{8}'),
                Some('e') => plain.push('\u{1b}'),
                Some('f') => plain.push('\u{c}'),
                Some('v') => plain.push('\u{b}'),
                Some('x') => plain.extend(hexadecimal(&mut letters)),
                // These two wildcards of LIKE and regular expressions keep their backslash.
                Some(kept @ ('%' | '_')) => plain.extend(['\\', kept]),
                Some(other) => plain.push(other),
                None => {}
            },
            letter if letter == quote => {
                // A doubled quote stands for itself; a single one is the end.
                if letters.next() == Some(quote) {
                    plain.push(quote);
                }
            }
            letter => plain.push(letter),
        }
    }
    plain
}

/// The closing quote for an opening one.
pub(super) fn closing(quote: char) -> char {
    match quote {
        '‘' => '’',
        '“' => '”',
        other => other,
    }
}

/// The text between two `$tag$`.
fn heredoc(text: &str) -> &str {
    let tag = text.get(1..).and_then(|rest| rest.find('$')).and_then(|end| text.get(..end + 2)).unwrap_or(text);
    text.strip_prefix(tag).map_or("", |rest| rest.strip_suffix(tag).unwrap_or(rest))
}

fn hexadecimal(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let high = letters.next()?.to_digit(16)?;
    let low = letters.next()?.to_digit(16)?;
    char::from_u32(high * 16 + low)
}

/// Quotes a text as ClickHouse writes it.
pub(in crate::plan) fn quote(text: &str, quote: char) -> String {
    let mut quoted = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            letter if letter == quote => quoted.extend(['\\', letter]),
            letter => quoted.push(letter),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{quote, unquote};

    #[test]
    fn quotes_are_taken_away_with_their_escapes() {
        for (quoted, plain) in [
            (r"'a\'b''c'", "a'b'c"),
            (r"`d\`e`", "d`e"),
            (r"'\x41\n\\'", "A\n\\"),
            (r"'50\%'", r"50\%"),
            ("$tag$it's$tag$", "it's"),
            ("$$x$$", "x"),
            ("‘u’", "u"),
            ("", ""),
            ("$", ""),
        ] {
            assert_eq!(unquote(quoted), plain, "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_the_text_again(text in any::<String>()) {
            prop_assert_eq!(unquote(&quote(&text, '\'')), text.clone());
            prop_assert_eq!(unquote(&quote(&text, '`')), text);
        }
    }
}
