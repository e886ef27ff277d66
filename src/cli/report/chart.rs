//! Pictures as inline SVG. Each has a title and a description, and a table of the same figures stands below it.

use std::fmt::Write as _;

use super::html::text;

/// One bar, made of pieces from the bottom to the top.
pub(super) struct Bar {
    /// Below it; empty for none.
    pub(super) label: String,
    /// What a pointer that rests on it is told.
    pub(super) told: String,
    /// A class of the style sheet, and a figure, for each piece.
    pub(super) pieces: Vec<(&'static str, f64)>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 112.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 26.0;
const WRITABLE: &str = "a String takes everything";

/// The least round figure that is no less: 1, 2 or 5 with zeros, in the steps of binary units where `binary`.
fn rounded(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = 1024_f64.powf((most.log2() / 10.0).floor().max(0.0));
    let in_unit = most / unit;
    let ten = 10_f64.powf(in_unit.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| in_unit <= step * ten).unwrap_or(10.0);
    step * ten * unit
}

fn open(title: &str, told: &str, id: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" class=\"chart\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        text(title),
        text(told)
    )
}

fn axis(svg: &mut String, most: f64, show: &dyn Fn(f64) -> String) {
    let height = HEIGHT - BOTTOM - TOP;
    for share in [0.0, 0.5, 1.0] {
        let y = TOP + height * (1.0 - share);
        write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            text(&show(most * share))
        )
        .expect(WRITABLE);
    }
}

/// Bars beside each other, each of pieces on top of each other.
pub(super) fn bars(id: &str, title: &str, told: &str, bars: &[Bar], show: &dyn Fn(f64) -> String) -> String {
    let sum = |bar: &Bar| bar.pieces.iter().map(|(_, figure)| figure).sum::<f64>();
    let most = rounded(bars.iter().map(sum).fold(0.0, f64::max));
    let height = HEIGHT - BOTTOM - TOP;
    let mut svg = open(title, told, id);
    axis(&mut svg, most, show);
    let step = (WIDTH - LEFT) / count(bars.len().max(1));
    let every = bars.len().div_ceil(10).max(1);
    for (number, bar) in bars.iter().enumerate() {
        let (x, mut y) = (LEFT + step * count(number), TOP + height);
        let wide = (step * 0.8).clamp(1.0, 48.0);
        let from = x + (step - wide) / 2.0;
        write!(svg, "<g><title>{}</title>", text(&bar.told)).expect(WRITABLE);
        for (class, figure) in &bar.pieces {
            let tall = (figure / most * height).max(if *figure > 0.0 { 1.0 } else { 0.0 });
            y -= tall;
            write!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>"
            )
            .expect(WRITABLE);
        }
        svg.push_str("</g>");
        if number % every == 0 && !bar.label.is_empty() {
            write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x + step / 2.0,
                HEIGHT - 12.0,
                text(&bar.label)
            )
            .expect(WRITABLE);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// A line through points of which the first figure is a place from 0 to 1.
pub(super) fn line(
    id: &str,
    title: &str,
    told: &str,
    points: &[(f64, f64)],
    ends: (&str, &str),
    show: &dyn Fn(f64) -> String,
) -> String {
    let most = rounded(points.iter().map(|(_, figure)| *figure).fold(0.0, f64::max));
    let (height, width) = (HEIGHT - BOTTOM - TOP, WIDTH - LEFT - 8.0);
    let mut svg = open(title, told, id);
    axis(&mut svg, most, show);
    let at = |(place, figure): &(f64, f64)| (LEFT + place * width, TOP + height * (1.0 - figure / most));
    let path: Vec<String> = points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    write!(svg, "<polyline class=\"line\" points=\"{}\"/>", path.join(" ")).expect(WRITABLE);
    for (x, anchor, label) in [(LEFT, "start", ends.0), (WIDTH, "end", ends.1)] {
        let y = HEIGHT - 12.0;
        write!(svg, "<text class=\"tick\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", text(label))
            .expect(WRITABLE);
    }
    svg.push_str("</svg>");
    svg
}

/// A small line without words, for a row of a table: it only repeats what the row's figures say.
pub(super) fn spark(figures: &[f64]) -> String {
    let most = figures.iter().copied().fold(0.0, f64::max).max(1.0);
    let step = 96.0 / count(figures.len().saturating_sub(1).max(1));
    let points: Vec<String> = figures
        .iter()
        .enumerate()
        .map(|(number, figure)| format!("{:.1},{:.1}", 2.0 + step * count(number), 22.0 - figure / most * 20.0))
        .collect();
    format!(
        "<svg viewBox=\"0 0 100 24\" class=\"spark\" aria-hidden=\"true\"><polyline class=\"line\" points=\"{}\"/></svg>",
        points.join(" ")
    )
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_figure_that_holds_all() {
        for (most, expected) in
            [(0.0, 1.0), (3.0, 5.0), (900.0, 1000.0), (1500.0, 2048.0), (3.1 * 1_073_741_824.0, 5.0 * 1_073_741_824.0)]
        {
            assert!((rounded(most) - expected).abs() < 0.001, "{most}: {}", rounded(most));
            assert!(rounded(most) >= most);
        }
    }

    #[test]
    fn a_picture_says_what_it_shows_and_no_name_breaks_it() {
        let bar =
            Bar { label: "<a>".to_owned(), told: "\"x\" & y".to_owned(), pieces: vec![("own", 3.0), ("live", 0.0)] };
        let svg = bars("c", "T<", "D>", &[bar], &|figure| format!("{figure}"));
        assert!(svg.contains("role=\"img\"") && svg.contains("T&lt;") && svg.contains("&quot;x&quot; &amp; y"));
        assert!(!svg.contains("<a>") && !svg.contains("NaN") && !svg.contains("inf"));
        let empty = bars("c", "t", "d", &[], &|figure| format!("{figure}"));
        assert!(!empty.contains("NaN"));
        assert!(!line("l", "t", "d", &[(0.0, 0.0)], ("a", "b"), &|figure| format!("{figure}")).contains("NaN"));
        assert!(!spark(&[]).contains("NaN"));
    }
}
