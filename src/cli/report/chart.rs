//! Charts as inline SVG, each drawn twice, for a desktop and for a telephone; the style sheet shows one of them. Each
//! has a title and a description, and a table of the same figures below it.

use maud::{Markup, html};

/// One bar, made of pieces from the bottom to the top.
#[derive(Debug)]
pub(super) struct Bar {
    /// The text below it; may be empty.
    pub(super) label: String,
    /// Shown while a pointer rests on it.
    pub(super) told: String,
    /// A class of the style sheet and a figure for each piece.
    pub(super) pieces: Vec<(&'static str, f64)>,
}

/// The caption of a chart: its id, its title, and a description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caption<'a> {
    /// An id that is unique on the page.
    pub(super) id: &'a str,
    /// The title.
    pub(super) title: &'a str,
    /// A sentence for readers who cannot see it.
    pub(super) told: &'a str,
}

/// A drawing of a chart, in units of its own.
#[derive(Clone, Copy, Debug)]
struct Canvas {
    class: &'static str,
    width: f64,
    height: f64,
    /// Approximate width of a letter.
    letter: f64,
    /// The number of bars that fit; the newest are drawn.
    bars: usize,
}

const WIDE: Canvas = Canvas { class: "wide", width: 960.0, height: 240.0, letter: 7.2, bars: 90 };
const NARROW: Canvas = Canvas { class: "narrow", width: 340.0, height: 220.0, letter: 7.2, bars: 30 };

const BOTTOM: f64 = 30.0;
const TOP: f64 = 16.0;
/// Space at the right end, so that the last label is not cut.
const RIGHT: f64 = 20.0;

/// The scale of a chart: round figures from 0 to one that covers all values, and the space for their labels.
struct Scale {
    most: f64,
    left: f64,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn new(canvas: Canvas, most: f64, show: &dyn Fn(f64) -> String) -> Self {
        let most = rounded(most);
        let ticks: Vec<(f64, String)> = [0.0, 0.5, 1.0].map(|share| (share, show(most * share))).into();
        let letters = ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        Self { most, left: count(letters) * canvas.letter + 12.0, ticks }
    }

    fn y(&self, canvas: Canvas, figure: f64) -> f64 {
        TOP + (canvas.height - BOTTOM - TOP) * (1.0 - figure / self.most)
    }
}

/// The smallest round figure that is not less than `most`: 1, 2 or 5 followed by zeros, in steps of binary units.
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

fn fixed(figure: f64) -> String {
    format!("{figure:.1}")
}

fn svg(canvas: Canvas, caption: Caption<'_>, scale: &Scale, inside: &Markup) -> Markup {
    let (title, told) = (format!("{}-{}-t", caption.id, canvas.class), format!("{}-{}-d", caption.id, canvas.class));
    html! {
        svg class={ "chart " (canvas.class) } viewBox={ "0 0 " (canvas.width) " " (canvas.height) } role="img"
            aria-labelledby={ (title) " " (told) } {
            title id=(title) { (caption.title) }
            desc id=(told) { (caption.told) }
            @for (share, label) in &scale.ticks {
                @let y = scale.y(canvas, scale.most * share);
                line class="grid" x1=(fixed(scale.left)) x2=(canvas.width) y1=(fixed(y)) y2=(fixed(y)) {}
                text class="tick" x=(fixed(scale.left - 8.0)) y=(fixed(y + 4.0)) text-anchor="end" { (label) }
            }
            (inside)
        }
    }
}

fn draw_bars(canvas: Canvas, caption: Caption<'_>, bars: &[Bar], show: &dyn Fn(f64) -> String) -> Markup {
    let bars = bars.get(bars.len().saturating_sub(canvas.bars)..).unwrap_or_default();
    let sum = |bar: &Bar| bar.pieces.iter().map(|(_, figure)| figure).sum::<f64>();
    let scale = Scale::new(canvas, bars.iter().map(sum).fold(0.0, f64::max), show);
    let step = (canvas.width - scale.left - RIGHT) / count(bars.len().max(1));
    let letters = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    // Labels have enough distance that none touches the next; the newest bar always has one.
    let apart = count(letters) * canvas.letter + 14.0;
    let every = (0..=bars.len()).find(|every| count(*every) * step >= apart).unwrap_or(bars.len()).max(1);
    let wide = (step * 0.8).clamp(1.0, 48.0);
    let inside = html! {
        @for (number, bar) in bars.iter().enumerate() {
            @let middle = scale.left + step * (count(number) + 0.5);
            g {
                title { (bar.told) }
                @for (class, top, figure) in stacked(bar) {
                    @let (from, to) = (scale.y(canvas, top - figure), scale.y(canvas, top));
                    @let tall = (from - to).max(if figure > 0.0 { 1.0 } else { 0.0 });
                    rect class=(class) x=(fixed(middle - wide / 2.0)) y=(fixed(from - tall)) width=(fixed(wide))
                        height=(fixed(tall)) {}
                }
            }
            @if (bars.len() - 1 - number) % every == 0 && middle - apart / 2.0 >= scale.left - 20.0 && !bar.label.is_empty() {
                text class="tick" x=(fixed(middle)) y=(canvas.height - 10.0) text-anchor="middle" { (bar.label) }
            }
        }
    };
    svg(canvas, caption, &scale, &inside)
}

/// The pieces of a bar, each with its upper end on the scale.
fn stacked(bar: &Bar) -> Vec<(&'static str, f64, f64)> {
    let mut top = 0.0;
    let piece = |(class, figure): &(&'static str, f64)| {
        top += figure;
        (*class, top, *figure)
    };
    bar.pieces.iter().map(piece).collect()
}

fn draw_line(
    canvas: Canvas,
    caption: Caption<'_>,
    points: &[(f64, f64)],
    ends: (&str, &str),
    show: &dyn Fn(f64) -> String,
) -> Markup {
    let scale = Scale::new(canvas, points.iter().map(|(_, figure)| *figure).fold(0.0, f64::max), show);
    let width = canvas.width - scale.left - RIGHT;
    let at =
        |(place, figure): &(f64, f64)| format!("{:.1},{:.1}", scale.left + place * width, scale.y(canvas, *figure));
    let path: Vec<String> = points.iter().map(at).collect();
    let inside = html! {
        polyline class="line" points=(path.join(" ")) {}
        text class="tick" x=(fixed(scale.left)) y=(canvas.height - 10.0) text-anchor="start" { (ends.0) }
        text class="tick" x=(fixed(canvas.width)) y=(canvas.height - 10.0) text-anchor="end" { (ends.1) }
    };
    svg(canvas, caption, &scale, &inside)
}

/// Bars next to each other, each of stacked pieces, the oldest first.
pub(super) fn bars(caption: Caption<'_>, bars: &[Bar], show: &dyn Fn(f64) -> String) -> Markup {
    html! { (draw_bars(WIDE, caption, bars, show)) (draw_bars(NARROW, caption, bars, show)) }
}

/// A line through points, whose first figure is a position from 0 to 1.
pub(super) fn line(
    caption: Caption<'_>,
    points: &[(f64, f64)],
    ends: (&str, &str),
    show: &dyn Fn(f64) -> String,
) -> Markup {
    html! { (draw_line(WIDE, caption, points, ends, show)) (draw_line(NARROW, caption, points, ends, show)) }
}

/// A small line without words, for a row of a table: it repeats the row's figures.
pub(super) fn spark(figures: &[f64]) -> Markup {
    let most = figures.iter().copied().fold(0.0, f64::max).max(1.0);
    let step = 96.0 / count(figures.len().saturating_sub(1).max(1));
    let point = |(number, figure): (usize, &f64)| {
        format!("{:.1},{:.1}", 2.0 + step * count(number), 22.0 - figure / most * 20.0)
    };
    let points: Vec<String> = figures.iter().enumerate().map(point).collect();
    html! {
        svg class="spark" viewBox="0 0 100 24" aria-hidden="true" { polyline class="line" points=(points.join(" ")) {} }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTION: Caption<'_> = Caption { id: "c", title: "T<", told: "D>" };

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
        let show = |figure: f64| format!("{figure}");
        let bar =
            Bar { label: "<a>".to_owned(), told: "\"x\" & y".to_owned(), pieces: vec![("own", 3.0), ("live", 0.0)] };
        let svg = bars(CAPTION, &[bar], &show).into_string();
        assert!(svg.contains("role=\"img\"") && svg.contains("T&lt;") && svg.contains("&quot;x&quot; &amp; y"));
        assert!(!svg.contains("<a>") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(!bars(CAPTION, &[], &show).into_string().contains("NaN"));
        assert!(!line(CAPTION, &[(0.0, 0.0)], ("a", "b"), &show).into_string().contains("NaN"));
        assert!(!spark(&[]).into_string().contains("NaN"));
    }

    /// The positions of an axis's labels.
    fn labels(svg: &str, marker: &str) -> Vec<f64> {
        let texts = svg.split("<text").filter(|text| text.contains(marker));
        let place = |text: &str| text.split("x=\"").nth(1)?.split('"').next()?.parse().ok();
        texts.map(|text| place(text).expect("a place")).collect()
    }

    #[test]
    fn labels_fit_and_touch_no_other() {
        for (canvas, many) in [(WIDE, 1), (WIDE, 30), (WIDE, 200), (NARROW, 1), (NARROW, 7), (NARROW, 200)] {
            let bar = |number: usize| Bar {
                label: format!("12-{number:02}"),
                told: String::new(),
                pieces: vec![("new", count(number) * 1e9)],
            };
            let bars: Vec<Bar> = (0..many).map(bar).collect();
            let svg = draw_bars(canvas, CAPTION, &bars, &|_| "953.67 MiB".to_owned()).into_string();
            let below = labels(&svg, "text-anchor=\"middle\"");
            assert!(!below.is_empty(), "{many}");
            let apart = below.iter().zip(below.iter().skip(1)).map(|(first, second)| second - first);
            assert!(apart.into_iter().all(|apart| apart >= 5.0 * canvas.letter), "{below:?}");
            assert!(below.iter().all(|x| x + 2.5 * canvas.letter <= canvas.width), "{below:?}");
            // A figure of the scale begins inside the drawing: it is as long as the space reserved at its left.
            let left = labels(&svg, "text-anchor=\"end\"").first().copied().expect("a figure of the scale");
            assert!(left - 10.0 * canvas.letter >= 0.0, "{left}");
        }
    }
}
