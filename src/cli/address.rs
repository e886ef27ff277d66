//! Addresses to which requests are sent.

/// Why a text is not a valid address, without quoting the text.
pub(super) fn refusal(url: &str) -> Option<&'static str> {
    let has_scheme = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if !["http://", "https://"].into_iter().any(has_scheme) {
        return Some("it begins with neither http:// nor https://");
    }
    // Anywhere in the text: a password may contain any character.
    if url.contains('@') {
        return Some("it has a user or a password in it, or an @ that is to be written %40: write it without them");
    }
    if url.contains('#') {
        return Some("it has a fragment (#), which is never sent: write it without");
    }
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => None,
        Ok(_) => Some("it names no host"),
        Err(_) => Some("write it as https://host/path"),
    }
}

/// The address with a word appended to its path, before its query.
pub(super) fn append_to_path(url: &str, word: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    format!("{}/{word}{query}", path.trim_end_matches('/'))
}

/// The address without anything that may be secret: scheme and host, and `…` for the rest.
pub(super) fn without_secret(url: &str) -> String {
    let Some(uri) = url.parse::<http::Uri>().ok().filter(|_| refusal(url).is_none()) else { return "…".to_owned() };
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |host| host.as_str()));
    let has_more = uri.path_and_query().is_some_and(|more| more.as_str() != "/");
    format!("{scheme}://{host}{}", if has_more { "/…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::{append_to_path, refusal, without_secret};

    #[test]
    fn a_word_is_appended_to_the_path_and_a_secret_is_shown_nowhere() {
        for (url, started, shown) in [
            ("https://h/ping/id", "https://h/ping/id/start", "https://h/…"),
            ("https://h/ping/id/", "https://h/ping/id/start", "https://h/…"),
            ("http://h:81/p?key=a/b?c", "http://h:81/p/start?key=a/b?c", "http://h:81/…"),
            ("http://h?key=x", "http://h/start?key=x", "http://h/…"),
            ("http://h", "http://h/start", "http://h"),
        ] {
            assert_eq!(
                (append_to_path(url, "start").as_str(), without_secret(url).as_str()),
                (started, shown),
                "{url}"
            );
        }
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for good in ["https://hc.example.com/ping/x", "http://127.0.0.1:9/secret?x=y", "http://[::1]:80"] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for bad in [
            "",
            "hc.example.com/x",
            "ftp://a/b",
            "https://",
            "http:///x",
            "/x",
            "https://a b/",
            "http://u:p@h/x",
            "http://u:p/q@h",
            "http://h/x#y",
        ] {
            assert!(refusal(bad).is_some(), "{bad}");
        }
    }
}
