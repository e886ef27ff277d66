//! Pieces of the page: sections, legends, and tables that indicate that they scroll.

use maud::{Markup, html};

/// A section under a heading.
pub(super) fn section(id: &str, heading: &str, lead: &str, inside: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-h" } {
            h2 id={ (id) "-h" } { (heading) }
            @if !lead.is_empty() { p class="lead" { (lead) } }
            (inside)
        }
    }
}

/// The meaning of each color: a class of the style sheet and words.
pub(super) fn legend(keys: &[(&str, &str)]) -> Markup {
    html! {
        ul class="keys" aria-label="Colors" {
            @for (class, name) in keys {
                li { span class={ "k " (class) } aria-hidden="true" {} (name) }
            }
        }
    }
}

/// A table; the first cell of a row names it.
pub(super) fn table(caption: &str, head: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label={ (caption) ", scrolls sideways" } {
            table {
                caption { (caption) span class="hint" aria-hidden="true" { " ⇄ scrolls sideways" } }
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (number, cell) in row.iter().enumerate() {
                                @if number == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Cells of plain text.
pub(super) fn cells(texts: &[&str]) -> Vec<Markup> {
    texts.iter().map(|text| html! { (text) }).collect()
}

/// A table folded away: the figures of a chart.
pub(super) fn folded(caption: &str, head: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! { details { summary { "The figures" } (table(caption, head, rows)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_markup() {
        let page = table("<b>", &["<i>"], &[cells(&["</table>", "<u>\"'&"])]).into_string();
        assert!(!page.contains("<b>") && !page.contains("<i>") && !page.contains("<u>"), "{page}");
        assert_eq!(page.matches("</table>").count(), 1);
        assert!(page.contains("&lt;u&gt;&quot;") && page.contains("&amp;"), "{page}");
    }
}
