//! The digest of `manifest.json` that the file itself contains.
//!
//! It is the last member of the object: BLAKE3 of the whole file with the digits of the digest replaced by zeros.
//! Readers of the manifest need not know it, so it is not a field of [`Manifest`](super::Manifest).

/// The digest's form in the text: these quotes cannot occur within a JSON string.
const KEY: &str = "  \"manifest_blake3\": \"";
const DIGITS: usize = 64;
/// The end of a manifest that was made before manifests had a digest.
const KEY_BEFORE: &str = "  \"parts_blake3\": \"";
const END: &str = "\"\n}";

/// The result of checking a manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestDigest {
    /// The manifest is as it was written.
    Right,
    /// It was written by a chsnap that had no digest.
    None,
    /// The manifest has changed.
    Wrong {
        /// The digest that it contains, if one can be found.
        expected: String,
        /// The digest of its actual content.
        found: String,
    },
}

/// Adds the digest to the text; it takes the same number of bytes whatever its value.
pub(super) fn seal(text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n}").unwrap_or(text);
    let with = |digits: &str| [body, b",\n", KEY.as_bytes(), digits.as_bytes(), END.as_bytes()].concat();
    let digest = blake3::hash(&with(&"0".repeat(DIGITS))).to_hex();
    with(&digest)
}

/// Compares the bytes of a `manifest.json` with the digest in them.
#[must_use]
pub fn check_manifest(bytes: &[u8]) -> ManifestDigest {
    let member = |key: &str| {
        let head = bytes.strip_suffix(END.as_bytes())?;
        let (body, digits) = head.split_at_checked(head.len().checked_sub(DIGITS)?)?;
        body.ends_with(key.as_bytes()).then_some((body, digits))
    };
    if member(KEY_BEFORE).is_some() {
        return ManifestDigest::None;
    }
    let Some((body, digits)) = member(KEY) else {
        let found = blake3::hash(bytes).to_hex().to_string();
        return ManifestDigest::Wrong { expected: "a digest of itself at its end".to_owned(), found };
    };
    let zeroed = [body, "0".repeat(DIGITS).as_bytes(), END.as_bytes()].concat();
    let found = blake3::hash(&zeroed).to_hex();
    if found.as_bytes() == digits {
        ManifestDigest::Right
    } else {
        let expected = String::from_utf8_lossy(digits).into_owned();
        ManifestDigest::Wrong { expected, found: found.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::{ManifestDigest, check_manifest, seal};

    const TEXT: &str =
        "{\n  \"format\": 1,\n  \"name\": \"a \\\"manifest_blake3\\\": \\\"b\",\n  \"parts_blake3\": \"DIGEST\"\n}";

    fn text() -> String {
        TEXT.replace("DIGEST", &"ab".repeat(32))
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_manifest_is_seen() {
        let sealed = seal(text().as_bytes());
        assert_eq!(check_manifest(&sealed), ManifestDigest::Right);
        let value: serde_json::Value = serde_json::from_slice(&sealed).expect("JSON");
        assert_eq!((value.as_object().map(serde_json::Map::len), value.get("format")), (Some(4), Some(&1.into())));
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                *flipped.get_mut(at).expect("a byte") ^= 1 << bit;
                assert!(matches!(check_manifest(&flipped), ManifestDigest::Wrong { .. }), "bit {bit} of byte {at}");
            }
            let cut = sealed.get(..at).expect("a beginning");
            assert!(matches!(check_manifest(cut), ManifestDigest::Wrong { .. }), "cut at {at}");
        }
    }

    #[test]
    fn a_manifest_of_an_earlier_version_has_none() {
        assert_eq!(check_manifest(text().as_bytes()), ManifestDigest::None);
    }
}
