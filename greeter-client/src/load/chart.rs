//! Charts as SVG, in the colours of the page around them. No I/O.

use std::fmt::Write;

use crate::report::xml_escaped;

/// The drawing, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// What is left free around the lines, for the words on the axes.
const LEFT: f64 = 68.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// Lines, or bars, over two axes.
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// The range of an axis and what is written at it.
pub(super) struct Axis {
    pub(super) title: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) marks: Vec<(f64, String)>,
}

pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) style: Style,
    pub(super) points: Vec<Point>,
}

pub(super) enum Style {
    /// A line in the page's colour of this number, which is interrupted where there is no point.
    Line(usize),
    /// A bar from the bottom, so wide.
    Bars { colour: usize, width: f64 },
}

pub(super) struct Point {
    pub(super) x: f64,
    /// None where nothing was measured.
    pub(super) y: Option<f64>,
    /// What is said where somebody points at it.
    pub(super) words: String,
}

impl Chart {
    /// `label` says what the chart shows to those who do not see it.
    pub(super) fn render(&self, label: &str) -> String {
        let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, xml_escaped(label));
        self.axes(&mut svg);
        for series in &self.series {
            match series.style {
                Style::Line(colour) => self.line(&mut svg, series, colour),
                Style::Bars { colour, width } => self.bars(&mut svg, series, colour, width),
            }
        }
        svg.push_str("</svg>\n");
        if self.series.len() > 1 {
            svg.push_str("<ul class=\"legend\">");
            for series in &self.series {
                let (Style::Line(colour) | Style::Bars { colour, .. }) = series.style;
                add(&mut svg, format_args!("<li class=\"c{colour}\">{}</li>", xml_escaped(series.name)));
            }
            svg.push_str("</ul>\n");
        }
        svg
    }

    fn axes(&self, svg: &mut String) {
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for (value, text) in &self.y.marks {
            let (y, text) = (self.y(*value), xml_escaped(text));
            add(svg, format_args!(r#"<line class="grid" x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#));
            add(svg, format_args!(r#"<text class="y" x="{:.1}" y="{:.1}">{text}</text>"#, left - 6.0, y + 4.0));
        }
        for (value, text) in &self.x.marks {
            let (x, text) = (self.x(*value), xml_escaped(text));
            add(svg, format_args!(r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}"/>"#));
            add(svg, format_args!(r#"<text class="x" x="{x:.1}" y="{:.1}">{text}</text>"#, bottom + 16.0));
        }
        let (middle, below) = ((left + right) / 2.0, HEIGHT - 6.0);
        add(svg, format_args!(r#"<text class="x" x="{middle}" y="{below}">{}</text>"#, xml_escaped(self.x.title)));
        let middle = f64::midpoint(top, bottom);
        let turned = format!(r#"transform="rotate(-90 12 {middle})""#);
        add(svg, format_args!(r#"<text class="x" x="12" y="{middle}" {turned}>{}</text>"#, xml_escaped(self.y.title)));
    }

    fn line(&self, svg: &mut String, series: &Series, colour: usize) {
        for run in series.points.split(|point| point.y.is_none()).filter(|run| !run.is_empty()) {
            let mut path = String::new();
            for Point { x, y, .. } in run {
                add(&mut path, format_args!("{:.1},{:.1} ", self.x(*x), self.y(y.unwrap_or_default())));
            }
            add(svg, format_args!(r#"<polyline class="c{colour}" points="{}"/>"#, path.trim_end()));
        }
        for Point { x, y, words } in &series.points {
            if let Some(y) = y {
                let (x, y) = (self.x(*x), self.y(*y));
                add(svg, format_args!(r#"<circle class="c{colour}" cx="{x:.1}" cy="{y:.1}" r="5">"#));
                add(svg, format_args!("<title>{}: {}</title></circle>", xml_escaped(series.name), xml_escaped(words)));
            }
        }
    }

    fn bars(&self, svg: &mut String, series: &Series, colour: usize, width: f64) {
        for Point { x, y, words } in &series.points {
            let (left, right) = (self.x(*x), self.x(x + width));
            let top = self.y(y.unwrap_or_default());
            let (width, height) = ((right - left - 0.5).max(0.5), HEIGHT - BOTTOM - top);
            add(svg, format_args!(r#"<rect class="c{colour}" x="{left:.1}" y="{top:.1}""#));
            add(svg, format_args!(r#" width="{width:.1}" height="{height:.1}">"#));
            add(svg, format_args!("<title>{}</title></rect>", xml_escaped(words)));
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Axis {
    /// An axis from 0 to at least `to`, marked at round numbers.
    pub(super) fn linear(title: &'static str, to: f64, text: impl Fn(f64) -> String) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let rough = to / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let steps = (to / step - 1e-9).ceil();
        let marks = (0..=steps as u32).map(|mark| f64::from(mark) * step).map(|value| (value, text(value))).collect();
        Self { title, from: 0.0, to: steps * step, marks }
    }

    /// The same, ending at `to`.
    pub(super) fn up_to(self, to: f64) -> Self {
        let marks = self.marks.into_iter().filter(|(value, _)| *value <= to * 1.0001).collect();
        Self { to, marks, ..self }
    }

    /// Where a value lies between the ends.
    fn place(&self, value: f64) -> f64 {
        if self.to > self.from { ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

pub(super) fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_marked_at_round_numbers() {
        for (to, marks) in [
            (10.0, vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
            (0.7, vec![0.0, 0.2, 0.4, 0.6, 0.8]),
            (1234.0, vec![0.0, 500.0, 1000.0, 1500.0]),
            (0.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ] {
            let axis = Axis::linear("", to, |value| format!("{value:.1}"));
            let written: Vec<String> = axis.marks.into_iter().map(|(_, text)| text).collect();
            assert_eq!(written, marks.iter().map(|mark| format!("{mark:.1}")).collect::<Vec<_>>(), "{to}");
        }
    }

    #[test]
    fn a_chart_is_drawn() {
        let point = |x, y: Option<f64>| Point { x, y, words: format!("at {x}") };
        let axis = |title, to| Axis { title, from: 0.0, to, marks: vec![(to, "<top>".to_owned())] };
        let points = vec![point(0.0, Some(0.0)), point(1.0, Some(5.0)), point(2.0, None), point(4.0, Some(10.0))];
        let series = vec![Series { name: "a & b", style: Style::Line(1), points }];
        let svg = Chart { x: axis("time", 4.0), y: axis("height", 10.0), series }.render("a \"chart\"");
        for part in [
            r#"aria-label="a &quot;chart&quot;""#,
            r#"<text class="y" x="62.0" y="16.0">&lt;top&gt;</text>"#,
            r#"<polyline class="c1" points="68.0,218.0 228.0,115.0"/>"#,
            r#"<polyline class="c1" points="708.0,12.0"/>"#,
            "<title>a &amp; b: at 4</title>",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
