//! The configuration of a server, for finding the places of its state.

use std::collections::BTreeMap;

/// The texts of an XML configuration by key, for example `named_collections_storage.path`. If a key occurs several
/// times, the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerConfig(BTreeMap<String, String>);

impl ServerConfig {
    /// Parses the configuration that a server generated from its files (`preprocessed_configs/config.xml`): XML without
    /// a document type. Anything else is ignored, because only paths are taken from it.
    #[must_use]
    pub fn parse(xml: &str) -> Self {
        let (mut config, mut place, mut rest) = (Self::default(), Vec::<&str>::new(), xml);
        while let Some((text, tag)) = rest.split_once('<') {
            // The root element, `clickhouse` or `yandex`, is not part of a key.
            let key = place.get(1..).filter(|key| !key.is_empty() && !text.trim().is_empty());
            if let Some(key) = key {
                config.0.insert(key.join("."), unescape(text.trim()));
            }
            if let Some(after) = ["!--", "![CDATA[", "?"].iter().find_map(|begin| skip(tag, begin)) {
                rest = after;
                continue;
            }
            let Some((tag, after)) = tag.split_once('>') else { break };
            rest = after;
            if tag.starts_with('/') {
                place.pop();
            } else if !tag.ends_with('/') && place.len() < DEPTH {
                place.push(tag.split_whitespace().next().unwrap_or_default());
            }
        }
        config
    }

    /// The text of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// The largest nesting depth; configurations are flatter.
const DEPTH: usize = 64;

/// The text after a comment, a text section or an instruction with this beginning.
fn skip<'a>(tag: &'a str, begin: &str) -> Option<&'a str> {
    let end = match begin {
        "!--" => "-->",
        "?" => "?>",
        _ => "]]>",
    };
    tag.strip_prefix(begin).map(|inner| inner.split_once(end).map_or("", |(_, after)| after))
}

fn unescape(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ServerConfig;

    #[test]
    fn texts_are_found_by_their_places() {
        let config = ServerConfig::parse(
            "<?xml version=\"1.0\"?>\n<!-- <path>/no/</path> -->\n<clickhouse>\n <path>/data/</path>\n\
             <named_collections_storage attr=\"1\">\n  <type>local</type><path>/a &amp; b/</path>\n\
             </named_collections_storage><empty/><deep><er></er></deep><![CDATA[ <x> ]]><last>1</last></clickhouse>",
        );
        let found = ["path", "named_collections_storage.type", "named_collections_storage.path", "empty", "x", "last"]
            .map(|key| config.get(key));
        assert_eq!(found, [Some("/data/"), Some("local"), Some("/a & b/"), None, None, Some("1")]);
        assert_eq!(ServerConfig::parse("no XML"), ServerConfig::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[<>/!a&;?\\[\\] -]{0,60}") {
            let _config = ServerConfig::parse(&text);
        }
    }
}
