//! The part of the Prometheus text format (its `docs/instrumenting/exposition_formats.md`, version 0.0.4) that gauges
//! need.

use std::fmt::Write as _;

/// A page of figures.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    label: String,
}

const WRITABLE: &str = "a String takes everything";

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Page {
    /// A page on which every figure carries this label.
    pub(super) fn new(label: &str, value: &str) -> Self {
        Self { text: String::new(), label: format!("{label}=\"{}\"", escaped(value)) }
    }

    /// A gauge of one figure.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, "", [(String::new(), value)]);
    }

    /// A gauge with one figure for each value of the label `by`; it is left out if there are none.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        by: &str,
        figures: impl IntoIterator<Item = (String, f64)>,
    ) {
        let mut is_first = true;
        for (value, figure) in figures {
            if is_first {
                let help = help.replace('\\', "\\\\").replace('\n', "\\n");
                write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n").expect(WRITABLE);
                is_first = false;
            }
            let own = if by.is_empty() { String::new() } else { format!(",{by}=\"{}\"", escaped(&value)) };
            writeln!(self.text, "{name}{{{}{own}}} {figure}", self.label).expect(WRITABLE);
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The figures of one name on a page that was written earlier: the text between braces, and the value.
pub(super) fn figures<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?.strip_prefix('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        Some((labels, value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::{Page, figures};

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let mut page = Page::new("profile", "a\"b\\c\nd");
        page.gauge("chsnap_x", "What it is.", 1.5);
        page.gauges("chsnap_y", "More.", "step", [("create".to_owned(), 3.0), ("gc".to_owned(), 0.0)]);
        page.gauges("chsnap_z", "Nothing.", "step", []);
        let text = page.text();
        assert!(text.starts_with(
            "# HELP chsnap_x What it is.\n# TYPE chsnap_x gauge\nchsnap_x{profile=\"a\\\"b\\\\c\\nd\"} 1.5\n"
        ));
        assert!(!text.contains("chsnap_z"));
        let found: Vec<f64> = figures(text, "chsnap_y").map(|(_, value)| value).collect();
        assert_eq!(found, [3.0, 0.0]);
        assert!(figures(text, "chsnap_").next().is_none());
    }
}
