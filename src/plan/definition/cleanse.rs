//! Removes repeated secrets from messages.

use super::alike::HIDDEN;
use super::literal::quote;

/// Replaces every secret in a message, plain or escaped, by `[HIDDEN]`.
#[must_use]
pub fn cleanse(message: &str, secrets: &[String]) -> String {
    let mut forms: Vec<String> =
        secrets.iter().filter(|secret| !secret.is_empty()).flat_map(|secret| forms(secret)).collect();
    forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    forms.dedup();
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(letter) = rest.chars().next() {
        let found = forms.iter().find_map(|form| rest.strip_prefix(form.as_str()));
        if let Some(behind) = found {
            clean.push_str(HIDDEN);
            rest = behind;
        } else {
            clean.push(letter);
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
    }
    clean
}

/// The forms in which a server or JSON writes a text.
fn forms(secret: &str) -> Vec<String> {
    let escaped = inner(&quote(secret, '\''));
    let double = inner(&quote(secret, '"'));
    let twice = inner(&quote(&escaped, '\''));
    let doubled = secret.replace('\'', "''");
    let slashes = secret.replace('\\', "\\\\");
    vec![secret.to_owned(), escaped, double, twice, doubled, slashes]
}

/// A quoted text without its quotes.
fn inner(quoted: &str) -> String {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cleanse;

    fn secrets(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn secrets_are_replaced_the_longest_first() {
        for (message, hidden, clean) in [
            ("near 'hunter22', hunter2", secrets(&["hunter2", "hunter22"]), "near '[HIDDEN]', [HIDDEN]"),
            (r"near 'it\'s\\n', it''s\n", secrets(&[r"it's\n"]), "near '[HIDDEN]', [HIDDEN]"),
            (r#"{"a": "q\"q"}"#, secrets(&["q\"q"]), r#"{"a": "[HIDDEN]"}"#),
            ("a D b", secrets(&["D", "H", ""]), "a [HIDDEN] b"),
            ("nothing", secrets(&[]), "nothing"),
        ] {
            assert_eq!(cleanse(message, &hidden), clean, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_stays(before in "[a-m ]{0,9}", secret in "[n-z'\\\\\"\n]{1,9}", behind in "[a-m ]{0,9}") {
            let clean = cleanse(&format!("{before}{secret}{behind}"), std::slice::from_ref(&secret));
            prop_assert_eq!(clean, format!("{before}[HIDDEN]{behind}"));
        }
    }
}
