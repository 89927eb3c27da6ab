//! The plots of a page, as inline SVG: colours come from the page's style, so that they follow light, dark and print.
//!
//! Every plot has a title and a description for readers without eyes on it, its lines are told apart by dash and label
//! as well as by colour, and what the pointer shows is in `<title>` elements, which need no script.

mod axis;
mod curve;
mod forest;
mod percentiles;
mod scale;
mod stages;
mod timeline;

pub use curve::curve;
pub use forest::forest;
pub use percentiles::{Line, percentiles};
pub use scale::{Point, Series, scale};
pub use stages::stages;
pub use timeline::timeline;

use std::fmt::Write as _;

use axis::Scale;

/// Width of every plot in its own units; the page scales it.
const WIDTH: f64 = 960.0;

/// `text` safe inside HTML and SVG, in text and in quoted attributes. Control characters, which XML has no word for,
/// become spaces.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A plot as a picture of its own: what it needs of the page's style is in it, light or dark as its viewer is.
#[must_use]
pub fn standalone(plot: &str, page_css: &str) -> String {
    // The colours stand before the first rule for all elements; the rules of plots begin with their element.
    let colours = page_css.split_once("* {").map_or("", |(before, _)| before);
    let rules: String = page_css.lines().filter(|line| line.starts_with("svg")).flat_map(|line| [line, "\n"]).collect();
    let Some((open, rest)) = plot.split_once('>') else { return String::new() };
    let open = open.replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1);
    format!(
        "{open}><style>\n{colours}{rules}</style><rect width=\"100%\" height=\"100%\" \
         style=\"fill:var(--card)\"/>{rest}"
    )
}

/// A plot that is being drawn.
struct Plot {
    body: String,
    height: f64,
}

impl Plot {
    fn new(height: f64) -> Plot {
        Plot { body: String::new(), height }
    }

    /// Numbers with one digit behind the point: a pixel is never smaller.
    fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() < 2 {
            return;
        }
        let mut data = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let _ = write!(data, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{data}"/>"#);
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        let size = format!(r#"width="{width:.1}" height="{height:.1}""#);
        let _ = write!(self.body, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" {size}/>"#);
    }

    fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let _ = write!(self.body, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#);
    }

    /// `class` holds the anchor: `start`, `middle` or `end`.
    fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let _ = write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text));
    }

    /// A strip that says `text` under the pointer.
    fn hit(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), text: &str) {
        let place = format!(r#"x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}""#);
        let _ = write!(self.body, r#"<rect class="hit" {place}><title>{}</title></rect>"#, escape(text));
    }

    /// The plot as an element of a page.
    fn finish(self, id: &str, title: &str, description: &str) -> String {
        let (height, body) = (self.height, self.body);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{body}</svg>\n",
            escape(title),
            escape(description)
        )
    }
}

/// The rectangle that data is drawn in, and what its edges mean.
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Area {
    fn x_of(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * (self.right - self.left)
    }

    fn y_of(&self, value: f64) -> f64 {
        self.bottom - self.y.place(value) * (self.bottom - self.top)
    }

    fn point(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x_of(x), self.y_of(y))
    }

    fn points(&self, values: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
        values.into_iter().map(|value| self.point(value)).collect()
    }

    /// Lines and labels of the vertical axis; `name` stands above it.
    fn draw_y(&self, plot: &mut Plot, name: &str) {
        for (value, label) in self.y.ticks() {
            let y = self.y_of(value);
            plot.line("grid", (self.left, y), (self.right, y));
            plot.text("tick end", (self.left - 8.0, y + 4.0), &label);
        }
        plot.text("axis start", (self.left, self.top - 9.0), name);
    }

    /// Lines and labels of the horizontal axis; `name` stands at its end.
    fn draw_x(&self, plot: &mut Plot, name: &str) {
        for (value, label) in self.x.ticks() {
            let x = self.x_of(value);
            plot.line("grid", (x, self.top), (x, self.bottom));
            plot.text("tick middle", (x, self.bottom + 18.0), &label);
        }
        plot.line("base", (self.left, self.bottom), (self.right, self.bottom));
        plot.text("axis end", (self.right, self.bottom + 36.0), name);
    }
}

/// A row of line samples with names, right-aligned above an area.
fn legend(plot: &mut Plot, area: &Area, entries: &[(&str, &str)]) {
    let mut x = area.right;
    for (class, name) in entries.iter().rev() {
        // About 6.6 units per letter in the page's font.
        x -= name.chars().count() as f64 * 6.6;
        plot.text("legend start", (x, area.top - 9.0), name);
        x -= 30.0;
        plot.line(class, (x, area.top - 13.0), (x + 24.0, area.top - 13.0));
        x -= 14.0;
    }
}

/// Puts labels that would touch apart: `wanted` heights in, heights at least `gap` apart out, in the same order.
fn spread(wanted: &[f64], gap: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    for pair in 1..order.len() {
        let floor = places[order[pair - 1]] + gap;
        places[order[pair]] = places[order[pair]].max(floor);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_result_can_leave_its_text() {
        assert_eq!(escape("<b a=\"1\">'&\u{7}"), "&lt;b a=&quot;1&quot;&gt;&#39;&amp; ");
    }

    #[test]
    fn a_picture_of_its_own_has_its_style_in_it() {
        let css = include_str!("html/page.css");
        let picture = standalone("<svg viewBox=\"0 0 9 9\"><title>a</title></svg>\n", css);
        assert!(
            picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 9 9\"><style>"),
            "{picture}"
        );
        assert!(picture.ends_with("<title>a</title></svg>\n") && picture.contains("prefers-color-scheme: dark"));
        assert!(picture.contains("svg .line.s1") && !picture.contains(".tiles"), "{picture}");
        assert_eq!(picture.matches('{').count(), picture.matches('}').count());
    }

    #[test]
    fn labels_are_put_apart_in_their_order() {
        assert_eq!(spread(&[10.0, 11.0, 40.0], 12.0), [10.0, 22.0, 40.0]);
        assert_eq!(spread(&[11.0, 10.0], 5.0), [15.0, 10.0]);
        assert!(spread(&[], 5.0).is_empty());
    }
}
