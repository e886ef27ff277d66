//! Pieces of a page: text that cannot become markup, tables, and pictures with a table behind them.

use std::fmt::Write as _;

/// A page as it grows.
#[derive(Debug, Default)]
pub(super) struct Html(String);

const WRITABLE: &str = "a String takes everything";

/// Text as it stands on the page, whatever is in it: a name is any bytes that a server takes.
pub(super) fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

impl Html {
    /// Adds markup.
    pub(super) fn raw(&mut self, markup: impl AsRef<str>) -> &mut Self {
        self.0.push_str(markup.as_ref());
        self.0.push('\n');
        self
    }

    /// Opens a section under a heading; [`Html::end`] closes it.
    pub(super) fn section(&mut self, id: &str, heading: &str, lead: &str) -> &mut Self {
        writeln!(self.0, "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{}</h2>", text(heading))
            .expect(WRITABLE);
        if !lead.is_empty() {
            writeln!(self.0, "<p class=\"lead\">{}</p>", text(lead)).expect(WRITABLE);
        }
        self
    }

    pub(super) fn end(&mut self) -> &mut Self {
        self.raw("</section>")
    }

    /// A table; the first column names the row, the others are figures where `numbers` says so.
    pub(super) fn table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) -> &mut Self {
        writeln!(
            self.0,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>",
            text(caption)
        )
        .expect(WRITABLE);
        writeln!(self.0, "<caption>{}</caption><thead><tr>", text(caption)).expect(WRITABLE);
        for name in head {
            write!(self.0, "<th scope=\"col\">{}</th>", text(name)).expect(WRITABLE);
        }
        self.raw("</tr></thead><tbody>");
        for row in rows {
            self.0.push_str("<tr>");
            for (number, cell) in row.iter().enumerate() {
                let (open, close) = if number == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
                write!(self.0, "{open}{}{close}", text(cell)).expect(WRITABLE);
            }
            self.raw("</tr>");
        }
        self.raw("</tbody></table></div>")
    }

    /// The same, folded away: the figures of a picture for whoever does not see it.
    pub(super) fn figures(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) -> &mut Self {
        self.raw("<details><summary>The figures</summary>");
        self.table(caption, head, rows).raw("</details>")
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Html, text};

    #[test]
    fn no_name_becomes_markup() {
        assert_eq!(
            text("<script>\"a\" & 'b'\n</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}&lt;/script&gt;"
        );
        let mut html = Html::default();
        html.table("<b>", &["<i>"], &[vec!["</table>".to_owned(), "<u>".to_owned()]]);
        let page = html.into_text();
        assert!(!page.contains("<b>") && !page.contains("<i>") && !page.contains("<u>"), "{page}");
        assert_eq!(page.matches("</table>").count(), 1);
    }
}
