//! Charts as files of SVG that need nothing else, with logarithmic axes and in colours for light and for dark. No I/O.
//!
//! Those of the reports of `greeter_client::load` have the colours of the page around them and bars over linear axes; these stand
//! alone, compare many servers, and show how far the rounds lie apart.

use std::fmt::Write;

use crate::samples::Typical;
use crate::server::Server;
use crate::text::grouped;

const WIDTH: f64 = 860.0;
const FONT: f64 = 12.0;

/// Where the plot lies.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--back:#fff;--text:#1c1e21;--faint:#5f6670;--grid:#e3e6ea;\
--ours1:#7db4f0;--ours2:#0b62c4;--ours3:#0a2f73;--bare:#6b7280;--go:#0f8a5f;--tokio:#b3500b;--threads:#7c3aed;--redis:#b42318}\
@media(prefers-color-scheme:dark){svg{--back:#15181c;--text:#e6e8eb;--faint:#a0a7b1;--grid:#2c323a;\
--ours1:#2f6fb8;--ours2:#6cb2ff;--ours3:#c3e0ff;--bare:#9aa3af;--go:#4fd3a2;--tokio:#ffad66;--threads:#b79bff;--redis:#ff8f85}}\
.back{fill:var(--back)}text{font:12px system-ui,sans-serif;fill:var(--text)}.faint{fill:var(--faint);color:var(--faint)}\
.middle{text-anchor:middle}.end{text-anchor:end}.grid{stroke:var(--grid)}.title{font-size:14px;font-weight:600}\
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}.second{stroke-dasharray:6 4}\
.spread{stroke:currentColor;stroke-width:1.5;opacity:.55}.mark{fill:currentColor;stroke:var(--back)}\
.ours1{color:var(--ours1)}.ours2{color:var(--ours2)}.ours3{color:var(--ours3)}.bare{color:var(--bare)}\
.go{color:var(--go)}.tokio{color:var(--tokio)}.threads{color:var(--threads)}.redis{color:var(--redis)}";

const fn class(server: Server) -> &'static str {
    match server {
        Server::BareLoop => "bare",
        Server::InPlace => "ours1",
        Server::InPlaceOnTwo => "ours2",
        Server::Pool => "ours3",
        Server::Go | Server::GoJobs => "go",
        Server::TokioLines | Server::TokioBatched => "tokio",
        Server::ThreadPool => "threads",
        Server::Redis => "redis",
    }
}

/// How a number is written at an axis.
pub(crate) type Show = fn(f64) -> String;

/// A row for each server, with a mark for each of some series: what is typical, and a line from end to end.
pub(crate) struct Rows {
    pub(crate) title: String,
    pub(crate) axis: &'static str,
    pub(crate) show: Show,
    /// What the marks are of; no more than there are kinds of marks.
    pub(crate) series: Vec<String>,
    pub(crate) rows: Vec<(Server, Vec<Option<Typical>>)>,
}

const ROW: f64 = 28.0;

impl Rows {
    /// None if there is no mark.
    pub(crate) fn render(&self) -> Option<String> {
        let values = self.rows.iter().flat_map(|(_, marks)| marks.iter().flatten());
        let axis = Axis::around(values.flat_map(|typical| [typical.least, typical.most]))?;
        let top = 62.0;
        let frame = Frame { left: 170.0, right: WIDTH - 190.0, top, bottom: top + ROW * self.rows.len() as f64 };
        let mut drawing = Drawing::new(&self.title, frame.bottom + 44.0);
        drawing.legend(frame.left, self.series.iter().enumerate().map(|(mark, name)| ("faint", mark, name.as_str())));
        for (value, words) in axis.marks(self.show) {
            let x = frame.x(&axis, value);
            drawing.line("grid", (x, frame.top), (x, frame.bottom));
            drawing.text("faint middle", x, frame.bottom + 16.0, &words);
        }
        drawing.text("faint middle", frame.middle(), frame.bottom + 34.0, self.axis);
        for ((server, marks), row) in self.rows.iter().zip(0..) {
            let y = frame.top + ROW * (f64::from(row) + 0.5);
            drawing.text("end", frame.left - 12.0, y + 4.0, server.name());
            drawing.open(&format!("<g class=\"{}\">", class(*server)));
            for (mark, typical) in marks.iter().enumerate() {
                if let Some(Typical { median, least, most }) = typical {
                    drawing.line("spread", (frame.x(&axis, *least), y), (frame.x(&axis, *most), y));
                    drawing.mark(mark, frame.x(&axis, *median), y);
                }
            }
            drawing.open("</g>\n");
            let shown = marks.iter().map(|mark| mark.map_or("–".to_owned(), |typical| (self.show)(typical.median)));
            drawing.text("faint", frame.right + 12.0, y + 4.0, &shown.collect::<Vec<_>>().join(" · "));
        }
        Some(drawing.end())
    }
}

/// A line for each server over a growing number.
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) show: Show,
    pub(crate) curves: Vec<(Server, Vec<(usize, Typical)>)>,
}

impl Curves {
    /// None if there is no point.
    pub(crate) fn render(&self) -> Option<String> {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let y = Axis::around(points().flat_map(|(_, typical)| [typical.least, typical.most]))?;
        let x = Axis::from_to(points().map(|(x, _)| *x as f64))?;
        let frame = Frame { left: 80.0, right: WIDTH - 36.0, top: 62.0, bottom: 402.0 };
        let mut drawing = Drawing::new(&self.title, frame.bottom + 44.0);
        drawing
            .legend(frame.left, self.curves.iter().map(|(server, _)| (class(*server), shape(*server), server.name())));
        for (value, words) in y.marks(self.show) {
            let y = frame.y(&y, value);
            drawing.line("grid", (frame.left, y), (frame.right, y));
            drawing.text("faint end", frame.left - 8.0, y + 4.0, &words);
        }
        let mut measured: Vec<usize> = points().map(|(x, _)| *x).collect();
        measured.sort_unstable();
        measured.dedup();
        for value in measured {
            let x = frame.x(&x, value as f64);
            drawing.line("grid", (x, frame.top), (x, frame.bottom));
            drawing.text("faint middle", x, frame.bottom + 16.0, &grouped(value));
        }
        drawing.text("faint middle", frame.middle(), frame.bottom + 34.0, self.x);
        for (server, points) in &self.curves {
            drawing.open(&format!("<g class=\"{}\">", class(*server)));
            let path = points.iter().map(|(at, typical)| (frame.x(&x, *at as f64), frame.y(&y, typical.median)));
            drawing.path(if server.is_ours() { "line" } else { "line second" }, path);
            for (at, typical) in points {
                let at = frame.x(&x, *at as f64);
                drawing.line("spread", (at, frame.y(&y, typical.least)), (at, frame.y(&y, typical.most)));
                drawing.mark(shape(*server), at, frame.y(&y, typical.median));
            }
            drawing.open("</g>\n");
        }
        Some(drawing.end())
    }
}

/// The kind of mark that a server has where each has only one.
fn shape(server: Server) -> usize {
    usize::from(!server.is_ours()) * (1 + usize::from(server == Server::BareLoop))
}

impl Frame {
    fn x(self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.place(value) * (self.right - self.left)
    }

    fn y(self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.place(value) * (self.bottom - self.top)
    }

    fn middle(self) -> f64 {
        f64::midpoint(self.left, self.right)
    }
}

/// A logarithmic axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    from: f64,
    to: f64,
}

/// What is marked in each power of ten.
const FACTORS: [f64; 3] = [1.0, 2.0, 5.0];

impl Axis {
    /// From the mark below all values to the mark above; none if there are no values.
    fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let Self { from, to } = Self::from_to(values)?;
        let marks: Vec<f64> = Self::all_marks(from / 10.0, to * 10.0).collect();
        let from = marks.iter().copied().rfind(|mark| *mark <= from).unwrap_or(from);
        let to = marks.into_iter().find(|mark| *mark >= to && *mark > from).unwrap_or(to);
        Some(Self { from, to })
    }

    /// From the least value to the largest. What is not above zero has no place here.
    fn from_to(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.filter(|value| *value > 0.0).fold(None, |ends: Option<Self>, value| {
            let Self { from, to } = ends.unwrap_or(Self { from: value, to: value });
            Some(Self { from: from.min(value), to: to.max(value) })
        })
    }

    fn all_marks(from: f64, to: f64) -> impl Iterator<Item = f64> {
        let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
        decades.flat_map(|decade| FACTORS.map(|factor| factor * 10_f64.powi(decade)))
    }

    /// As many as have room.
    fn marks(self, show: Show) -> impl Iterator<Item = (f64, String)> {
        let is_wide = (self.to / self.from).log10() > 3.0;
        let is_within = move |mark: &f64| *mark >= self.from * 0.999 && *mark <= self.to * 1.001;
        let is_round = |mark: f64| (mark.log10() - mark.log10().round()).abs() < 1e-6;
        let marks = Self::all_marks(self.from, self.to).filter(is_within);
        marks.filter(move |mark| !is_wide || is_round(*mark)).map(move |mark| (mark, without_zeros(&show(mark))))
    }

    /// Where a value lies between the ends.
    fn place(self, value: f64) -> f64 {
        if self.to > self.from && value > 0.0 {
            ((value / self.from).ln() / (self.to / self.from).ln()).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// `0.5 ms` for `0.50 ms`.
fn without_zeros(words: &str) -> String {
    let (number, unit) = words.split_once(' ').map_or((words, None), |(number, unit)| (number, Some(unit)));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    unit.map_or_else(|| number.to_owned(), |unit| format!("{number} {unit}"))
}

/// A file in the making.
struct Drawing(String);

impl Drawing {
    fn new(title: &str, height: f64) -> Self {
        let mut drawing = Self(String::new());
        let size = format!(r#"viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}""#);
        drawing.open(&format!(r#"<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">"#));
        drawing.open(&format!("<title>{}</title><style>{STYLE}</style>\n", escaped(title)));
        drawing.open(&format!("<rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n"));
        drawing.text("title", 8.0, 20.0, title);
        drawing
    }

    fn open(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn add(&mut self, more: std::fmt::Arguments<'_>) {
        self.0.write_fmt(more).expect("a string takes everything");
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.add(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escaped(text)));
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let ends = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
        self.add(format_args!("<line class=\"{class}\" {ends}/>\n"));
    }

    fn path(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!("<polyline class=\"{class}\" points=\"{}\"/>\n", points.join(" ")));
    }

    /// A circle, a square or a diamond.
    fn mark(&mut self, kind: usize, x: f64, y: f64) {
        match kind {
            0 => self.add(format_args!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>\n")),
            1 => {
                let (left, top) = (x - 4.5, y - 4.5);
                self.add(format_args!(
                    "<rect class=\"mark\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"9\" height=\"9\"/>\n"
                ));
            }
            _ => self.add(format_args!("<path class=\"mark\" d=\"M{x:.1} {y:.1}m-6 0l6 -6l6 6l-6 6z\"/>\n")),
        }
    }

    fn legend<'a>(&mut self, left: f64, entries: impl Iterator<Item = (&'a str, usize, &'a str)>) {
        let mut x = left + 6.0;
        for (class, mark, name) in entries {
            self.add(format_args!("<g class=\"{class} entry\">"));
            self.mark(mark, x, 40.0);
            self.open("</g>");
            self.text("", x + 12.0, 44.0, name);
            x += 34.0 + FONT * 0.56 * name.chars().count() as f64;
        }
    }

    fn end(mut self) -> String {
        self.open("</svg>\n");
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::digits;

    fn typical(median: f64) -> Typical {
        Typical { median, least: median / 2.0, most: median * 2.0 }
    }

    #[test]
    fn an_axis_ends_at_marks() {
        for (values, from, to) in
            [(vec![3.0, 40.0], 2.0, 50.0), (vec![1.0, 1.0], 1.0, 2.0), (vec![0.03, 700.0], 0.02, 1000.0)]
        {
            let axis = Axis::around(values.iter().copied()).unwrap();
            let near = |one: f64, other: f64| (one / other - 1.0).abs() < 1e-9;
            assert!(near(axis.from, from) && near(axis.to, to), "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn what_has_no_values_is_not_drawn() {
        assert_eq!(Axis::around([0.0].into_iter()), None);
        let rows = vec![(Server::Pool, vec![None])];
        assert_eq!(Rows { title: String::new(), axis: "", show: digits, series: vec![], rows }.render(), None);
    }

    #[test]
    fn equal_factors_are_equal_steps() {
        let axis = Axis { from: 1.0, to: 100.0 };
        assert_eq!([0.5, 1.0, 10.0, 100.0, 1e9].map(|value| axis.place(value)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let marks: Vec<String> = axis.marks(|mark| format!("{mark:.0}")).map(|(_, words)| words).collect();
        assert_eq!(marks, ["1", "2", "5", "10", "20", "50", "100"]);
    }

    #[test]
    fn a_mark_is_as_short_as_it_can_be() {
        for (words, short) in [("0.50", "0.5"), ("10.0 ms", "10 ms"), ("200 ns", "200 ns"), ("1.00 M", "1 M")] {
            assert_eq!(without_zeros(words), short);
        }
    }

    #[test]
    fn rows_have_their_marks_and_say_what_was_not_measured() {
        let rows = Rows {
            title: "a < b".into(),
            axis: "times",
            show: digits,
            series: vec!["one".into(), "two".into()],
            rows: vec![(Server::Pool, vec![Some(typical(10.0)), None])],
        };
        let svg = rows.render().unwrap();
        for part in ["a &lt; b", ">pool of 2<", "<circle", ">10.0 · –<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }

    #[test]
    fn curves_go_through_their_medians() {
        let points = vec![(1, typical(1.0)), (100, typical(2.0)), (10_000, typical(4.0))];
        let curves = Curves { title: String::new(), x: "x", show: digits, curves: vec![(Server::BareLoop, points)] };
        let svg = curves.render().unwrap();
        // From 0.5 to 10, the y axis; the middle of the x axis is 100.
        for part in [r#"points="80.0,323.3 452.0,"#, ">10,000<", ">100<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
