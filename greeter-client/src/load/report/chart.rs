//! Charts as SVG, for a page that has the colours or as a file of their own. No I/O.

use std::fmt::Write;

use crate::net::escape::xml_text;

/// Lines, marks or bars over two axes.
pub struct Chart<'a> {
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series<'a>>,
}

/// The range of an axis and what is written at it.
pub struct Axis {
    pub title: &'static str,
    pub from: f64,
    pub to: f64,
    pub marks: Vec<(f64, String)>,
}

pub struct Series<'a> {
    pub name: &'a str,
    pub style: Style,
    pub points: Vec<Point>,
}

/// How points are drawn, in the page's colour of a number.
pub enum Style {
    /// A line, which is interrupted where there is no point.
    Line(usize),
    /// A mark at each point.
    Marks(usize),
    /// A thin line, interrupted like the other. It belongs to a series and is not in the legend.
    Spread(usize),
    /// A bar from the bottom, so wide.
    Bars { colour: usize, width: f64 },
}

pub struct Point {
    pub x: f64,
    /// None where nothing was measured.
    pub y: Option<f64>,
    /// What is said where somebody points at it.
    pub words: String,
}

/// The size of a drawing, and what is left free in it around the plot for words.
#[derive(Clone, Copy)]
pub struct Frame {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

/// That of a chart within a page.
const PAGE: Frame = Frame { width: 720.0, height: 260.0, left: 68.0, right: 12.0, top: 12.0, bottom: 42.0 };

/// About the width of a character of 12 px.
const CHARACTER: f64 = 6.8;

impl Chart<'_> {
    /// A part of a page. `label` says what the chart shows to those who do not see it.
    pub(crate) fn render(&self, label: &str) -> String {
        let Frame { width, height, .. } = PAGE;
        let label = xml_text(label);
        let mut svg = format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">"#);
        self.plot(PAGE, &mut svg);
        svg.push_str("</svg>\n");
        if self.series.len() > 1 {
            svg.push_str("<ul class=\"legend\">");
            for (colour, name) in self.legend() {
                add(&mut svg, format_args!("<li class=\"c{colour}\">{}</li>", xml_text(name)));
            }
            svg.push_str("</ul>\n");
        }
        svg
    }

    /// A file that needs nothing else. Title and legend stand above the plot, in the frame's free
    /// part.
    pub fn file(&self, title: &str, style: &str, frame: Frame) -> String {
        let Frame { width, height, left, .. } = frame;
        let size = format!(r#"viewBox="0 0 {width} {height}" width="{width}" height="{height}""#);
        let mut svg = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size} role=\"img\">\n");
        let title = xml_text(title);
        add(&mut svg, format_args!("<title>{title}</title><style>{style}</style>\n"));
        add(&mut svg, format_args!(r#"<rect class="back" width="{width}" height="{height}"/>"#));
        add(&mut svg, format_args!("<text class=\"title\" x=\"8\" y=\"20\">{title}</text>\n"));
        let mut x = left;
        for (colour, name) in self.legend() {
            add(&mut svg, format_args!(r#"<circle class="c{colour}" cx="{:.1}" cy="40" r="5"/>"#, x + 5.0));
            add(&mut svg, format_args!("<text x=\"{:.1}\" y=\"44\">{}</text>\n", x + 16.0, xml_text(name)));
            x += 34.0 + CHARACTER * name.chars().count() as f64;
        }
        self.plot(frame, &mut svg);
        svg.push_str("\n</svg>\n");
        svg
    }

    fn legend(&self) -> impl Iterator<Item = (usize, &str)> {
        self.series.iter().filter_map(|series| match series.style {
            Style::Line(colour) | Style::Marks(colour) | Style::Bars { colour, .. } => Some((colour, series.name)),
            Style::Spread(_) => None,
        })
    }

    fn plot(&self, frame: Frame, svg: &mut String) {
        let mut plot = Plot { chart: self, frame, svg };
        plot.axes();
        for series in &self.series {
            match series.style {
                Style::Line(colour) => {
                    plot.line(series, &format!("c{colour}"));
                    plot.marks(series, colour);
                }
                Style::Marks(colour) => plot.marks(series, colour),
                Style::Spread(colour) => plot.line(series, &format!("c{colour} spread")),
                Style::Bars { colour, width } => plot.bars(series, colour, width),
            }
        }
    }
}

/// A chart in its frame.
struct Plot<'a> {
    chart: &'a Chart<'a>,
    frame: Frame,
    svg: &'a mut String,
}

impl Plot<'_> {
    fn add(&mut self, more: std::fmt::Arguments<'_>) {
        add(self.svg, more);
    }

    fn axes(&mut self) {
        let Frame { left, top, width, height, .. } = self.frame;
        let (right, bottom) = (width - self.frame.right, height - self.frame.bottom);
        let Chart { x: x_axis, y: y_axis, .. } = self.chart;
        for (value, text) in &y_axis.marks {
            let (y, text) = (self.y(*value), xml_text(text));
            self.add(format_args!(r#"<line class="grid" x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#));
            self.add(format_args!(r#"<text class="y" x="{:.1}" y="{:.1}">{text}</text>"#, left - 6.0, y + 4.0));
        }
        for (value, text) in &x_axis.marks {
            let (x, text) = (self.x(*value), xml_text(text));
            self.add(format_args!(r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}"/>"#));
            self.add(format_args!(r#"<text class="x" x="{x:.1}" y="{:.1}">{text}</text>"#, bottom + 16.0));
        }
        let (middle, below) = ((left + right) / 2.0, height - 6.0);
        self.add(format_args!(r#"<text class="x" x="{middle}" y="{below}">{}</text>"#, xml_text(x_axis.title)));
        let middle = f64::midpoint(top, bottom);
        let turned = format!(r#"transform="rotate(-90 12 {middle})""#);
        self.add(format_args!(r#"<text class="x" x="12" y="{middle}" {turned}>{}</text>"#, xml_text(y_axis.title)));
    }

    fn line(&mut self, series: &Series<'_>, class: &str) {
        for run in series.points.split(|point| point.y.is_none()).filter(|run| !run.is_empty()) {
            let mut path = String::new();
            for Point { x, y, .. } in run {
                add(&mut path, format_args!("{:.1},{:.1} ", self.x(*x), self.y(y.unwrap_or_default())));
            }
            self.add(format_args!(r#"<polyline class="{class}" points="{}"/>"#, path.trim_end()));
        }
    }

    fn marks(&mut self, series: &Series<'_>, colour: usize) {
        for Point { x, y, words } in &series.points {
            if let Some(y) = y {
                let (x, y) = (self.x(*x), self.y(*y));
                self.add(format_args!(r#"<circle class="c{colour}" cx="{x:.1}" cy="{y:.1}" r="5">"#));
                let (name, words) = (xml_text(series.name), xml_text(words));
                self.add(format_args!("<title>{name}: {words}</title></circle>"));
            }
        }
    }

    fn bars(&mut self, series: &Series<'_>, colour: usize, width: f64) {
        for Point { x, y, words } in &series.points {
            let (left, right) = (self.x(*x), self.x(x + width));
            let top = self.y(y.unwrap_or_default());
            let (width, height) = ((right - left - 0.5).max(0.5), self.frame.height - self.frame.bottom - top);
            self.add(format_args!(r#"<rect class="c{colour}" x="{left:.1}" y="{top:.1}""#));
            self.add(format_args!(r#" width="{width:.1}" height="{height:.1}">"#));
            self.add(format_args!("<title>{}</title></rect>", xml_text(words)));
        }
    }

    fn x(&self, value: f64) -> f64 {
        let Frame { width, left, right, .. } = self.frame;
        left + self.chart.x.place(value) * (width - left - right)
    }

    fn y(&self, value: f64) -> f64 {
        let Frame { height, top, bottom, .. } = self.frame;
        height - bottom - self.chart.y.place(value) * (height - top - bottom)
    }
}

impl Axis {
    /// An axis from 0 to at least `to`, marked at round numbers.
    pub(crate) fn linear(title: &'static str, to: f64, text: impl Fn(f64) -> String) -> Self {
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
    pub(crate) fn up_to(self, to: f64) -> Self {
        let marks = self.marks.into_iter().filter(|(value, _)| *value <= to * 1.0001).collect();
        Self { to, marks, ..self }
    }

    /// Where a value lies between the ends.
    fn place(&self, value: f64) -> f64 {
        if self.to > self.from { ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

pub(crate) fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
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
