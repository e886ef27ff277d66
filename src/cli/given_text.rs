//! Checks texts that users give and later read: names of snapshots, reasons of pins.

use std::ffi::OsStr;

use chsnap::plan::is_reserved_name;

use super::failure::CommandFailure;
use super::render::garbles;

/// Refuses a name that could not be used to name the snapshot.
pub(super) fn check_name(name: Option<&OsStr>) -> Result<(), CommandFailure> {
    let Some(name) = name.map(OsStr::to_string_lossy) else { return Ok(()) };
    if is_blank(&name) {
        return Err(CommandFailure::usage("a blank name names no snapshot").with_hint("leave --name out, or give one"));
    }
    check_letters("name", &name)?;
    if is_reserved_name(&name) {
        let message = format!("{name:?} cannot be the name of a snapshot: it reads as an id or as latest");
        return Err(CommandFailure::usage(message)
            .with_hint("a snapshot can be named by its name: take one that begins with a letter"));
    }
    Ok(())
}

/// Refuses a reason that is blank, or that contains control characters. A reason is optional.
pub(super) fn check_reason(reason: &str) -> Result<(), CommandFailure> {
    if !reason.is_empty() && is_blank(reason) {
        return Err(CommandFailure::usage("a blank reason says nothing").with_hint("leave it out, or give one"));
    }
    check_letters("reason", reason)
}

fn check_letters(what: &str, text: &str) -> Result<(), CommandFailure> {
    match text.chars().find(|letter| garbles(*letter)) {
        None => Ok(()),
        Some(letter) => {
            let message = format!("a {what} cannot have the control character {}", letter.escape_unicode());
            Err(CommandFailure::usage(message).with_hint("write it in one line of plain text"))
        }
    }
}

/// Whether a text has no visible character.
fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|letter| letter.is_whitespace() || matches!(letter, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::{check_name, check_reason};

    #[test]
    fn names_can_be_seen_and_typed_and_read_as_nothing_else() {
        for name in ["nightly", "before the upgrade", "é", "26.9", "Sicherung von Müller & Söhne"] {
            assert!(check_name(Some(OsStr::new(name))).is_ok(), "{name}");
        }
        assert!(check_name(Some(OsStr::from_bytes(b"a\xff b"))).is_ok());
        assert!(check_name(None).is_ok());
        for name in
            ["", " ", "\t", "\u{a0}\u{2003}", "\u{200b}", "a\nb", "a\u{1b}[2J", "a\0", "\u{202e}gpj", "2026", "latest"]
        {
            assert!(check_name(Some(OsStr::new(name))).is_err(), "{name:?}");
        }
        assert!(check_name(Some(OsStr::from_bytes(b"a\xff\n"))).is_err());
    }

    #[test]
    fn a_reason_is_left_out_or_one_line_that_can_be_seen() {
        for reason in ["", "audit", "2026: latest"] {
            assert!(check_reason(reason).is_ok(), "{reason}");
        }
        for reason in [" ", "a\nb", "\u{9b}2J"] {
            assert!(check_reason(reason).is_err(), "{reason:?}");
        }
    }
}
