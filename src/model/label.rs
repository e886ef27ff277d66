//! The label that a user gives a snapshot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Any bytes that a command line can carry; never part of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Label {
    /// The label as text; bytes that are not UTF-8 are replaced.
    #[serde(rename = "name", default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes of the label in base64, only if they are not UTF-8.
    #[serde(rename = "name_base64", default, skip_serializing_if = "Option::is_none")]
    pub bytes_base64: Option<String>,
}

impl Label {
    /// The label that was given on the command line.
    #[must_use]
    pub fn new(label: &OsStr) -> Self {
        let is_text = label.to_str().is_some();
        Self {
            text: Some(label.to_string_lossy().into_owned()),
            bytes_base64: (!is_text).then(|| STANDARD.encode(label.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::Label;

    #[test]
    fn a_label_that_is_not_text_keeps_its_bytes() {
        let label = Label::new(OsStr::from_bytes(b"pre\xffupgrade\n"));
        assert_eq!(label.bytes_base64.as_deref(), Some("cHJl/3VwZ3JhZGUK"));
        assert_eq!(Label::new(OsStr::new("a b")).bytes_base64, None);
    }
}
