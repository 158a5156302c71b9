//! The charts of the page, with logarithmic axes and in colours for light and for dark. No I/O.
//!
//! `greeter_client::load` draws them, as those of its reports; these are files that stand alone.

use greeter_client::load::chart::{Axis, Chart, Frame, Point, Series, Style};

use crate::samples::Typical;
use crate::server::Contestant;
use crate::text::grouped;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--back:#fff;--text:#1c1e21;--faint:#5f6670;--grid:#e3e6ea;\
--c0:#6b7280;--c1:#7db4f0;--c2:#0b62c4;--c3:#0a2f73;--c4:#0f8a5f;--c5:#b3500b}\
@media(prefers-color-scheme:dark){svg{--back:#15181c;--text:#e6e8eb;--faint:#a0a7b1;--grid:#2c323a;\
--c0:#9aa3af;--c1:#2f6fb8;--c2:#6cb2ff;--c3:#c3e0ff;--c4:#4fd3a2;--c5:#ffad66}}\
.back{fill:var(--back)}.grid{stroke:var(--grid)}text{font:12px system-ui,sans-serif;fill:var(--text)}\
.title{font-size:14px;font-weight:600}.x,.y{fill:var(--faint)}.x{text-anchor:middle}.y{text-anchor:end}\
circle{fill:currentColor;stroke:var(--back)}polyline{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}\
.spread{stroke-width:1.5;opacity:.55}\
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}";

/// So far from the ends of its axis is a curve, in powers of ten, so that no mark covers words.
const MARGIN: f64 = 0.05;

const FRAME: Frame = Frame { width: 860.0, height: 446.0, left: 80.0, right: 36.0, top: 62.0, bottom: 44.0 };

/// How a number is written at an axis.
pub(crate) type Show = fn(f64) -> String;

/// A row for each server, with a mark for each of some series: what is typical, and a line from end
/// to end.
pub(crate) struct Rows {
    pub(crate) title: String,
    pub(crate) axis: &'static str,
    pub(crate) show: Show,
    /// What the marks are of; no more than three.
    pub(crate) series: Vec<String>,
    pub(crate) rows: Vec<(Contestant, Vec<Option<Typical>>)>,
}

/// How high a row is, and how far the marks of two series lie apart, in rows.
const ROW: f64 = 28.0;
const APART: f64 = 0.25;

impl Rows {
    /// None if there is no mark.
    pub(crate) fn render(&self) -> Option<String> {
        let values = self.rows.iter().flat_map(|(_, marks)| marks.iter().flatten());
        let x = logarithmic(self.axis, values.flat_map(|typical| [typical.least, typical.most]), self.show)?;
        let rows = || (1..).map(f64::from).map(|row| self.rows.len() as f64 - row).zip(&self.rows);
        let names = rows().map(|(y, (server, _))| (y, server.name().to_owned())).collect();
        let y = Axis { title: "", from: -0.5, to: self.rows.len() as f64 - 0.5, marks: names };
        let series = self.series.iter().enumerate().flat_map(|(at, name)| {
            let y = |row: f64| row + APART * ((self.series.len() - 1) as f64 / 2.0 - at as f64);
            let typical = rows().filter_map(|(row, (server, marks))| Some((y(row), *server, marks[at]?)));
            let spread = typical.clone().flat_map(|(y, _, Typical { least, most, .. })| {
                [point(least.log10(), y), point(most.log10(), y), gap()]
            });
            let marks = typical.map(|(y, server, Typical { median, .. })| Point {
                words: format!("{}, {}", server.name(), (self.show)(median)),
                ..point(median.log10(), y)
            });
            [
                Series { name, style: Style::Spread(at + 1), points: spread.collect() },
                Series { name, style: Style::Marks(at + 1), points: marks.collect() },
            ]
        });
        let chart = Chart { x, y, series: series.collect() };
        let height = FRAME.top + ROW * self.rows.len() as f64 + FRAME.bottom;
        Some(chart.file(&self.title, STYLE, Frame { height, left: 170.0, ..FRAME }))
    }
}

/// A line for each server over a growing number.
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) show: Show,
    pub(crate) curves: Vec<(Contestant, Vec<(usize, Typical)>)>,
}

impl Curves {
    /// None if there is no point.
    pub(crate) fn render(&self) -> Option<String> {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let y = logarithmic("", points().flat_map(|(_, typical)| [typical.least, typical.most]), self.show)?;
        let mut measured: Vec<usize> = points().map(|(x, _)| *x).collect();
        measured.sort_unstable();
        measured.dedup();
        let marks: Vec<_> = measured.into_iter().map(|value| ((value as f64).log10(), grouped(value))).collect();
        let x = Axis { title: self.x, from: marks.first()?.0 - MARGIN, to: marks.last()?.0 + MARGIN, marks };
        let series = self.curves.iter().flat_map(|(server, points)| {
            let spread = points.iter().flat_map(|(x, Typical { least, most, .. })| {
                let x = (*x as f64).log10();
                [point(x, least.log10()), point(x, most.log10()), gap()]
            });
            let medians = points.iter().map(|(x, Typical { median, .. })| Point {
                words: format!("{} at {}", (self.show)(*median), grouped(*x)),
                ..point((*x as f64).log10(), median.log10())
            });
            let (name, colour) = (server.name(), colour(*server));
            [
                Series { name, style: Style::Spread(colour), points: spread.collect() },
                Series { name, style: Style::Line(colour), points: medians.collect() },
            ]
        });
        Some(Chart { x, y, series: series.collect() }.file(&self.title, STYLE, FRAME))
    }
}

/// Of those that are watched growing, each has its own.
const fn colour(server: Contestant) -> usize {
    match server {
        Contestant::BareLoop | Contestant::ThreadPool | Contestant::Redis => 0,
        Contestant::InPlace => 1,
        Contestant::InPlaceOnTwo => 2,
        Contestant::Pool => 3,
        Contestant::Go | Contestant::GoJobs => 4,
        Contestant::TokioLines | Contestant::TokioBatched => 5,
    }
}

const fn point(x: f64, y: f64) -> Point {
    Point { x, y: Some(y), words: String::new() }
}

/// Between two lines.
const fn gap() -> Point {
    Point { x: 0.0, y: None, words: String::new() }
}

/// What is marked in each power of ten.
const FACTORS: [f64; 3] = [1.0, 2.0, 5.0];

/// An axis of logarithms from the mark below all values to the mark above; none if there are no
/// values. What is not above zero has no place on it.
fn logarithmic(title: &'static str, values: impl Iterator<Item = f64>, show: Show) -> Option<Axis> {
    let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.into_iter().reduce(f64::max)?;
    let decades = least.log10().floor() as i32 - 1..=most.log10().ceil() as i32 + 1;
    let all: Vec<f64> = decades.flat_map(|decade| FACTORS.map(|factor| factor * 10_f64.powi(decade))).collect();
    let from = all.iter().copied().rfind(|mark| *mark <= least)?;
    let to = all.iter().copied().find(|mark| *mark >= most && *mark > from)?;
    // As many as have room.
    let is_wide = (to / from).log10() > 3.0;
    let is_round = |mark: f64| (mark.log10() - mark.log10().round()).abs() < 1e-6;
    let marks = all.into_iter().filter(|mark| (from..=to).contains(mark) && (!is_wide || is_round(*mark)));
    let marks = marks.map(|mark| (mark.log10(), without_zeros(&show(mark)))).collect();
    Some(Axis { title, from: from.log10(), to: to.log10(), marks })
}

/// `0.5 ms` for `0.50 ms`.
fn without_zeros(words: &str) -> String {
    let (number, unit) = words.split_once(' ').map_or((words, None), |(number, unit)| (number, Some(unit)));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    unit.map_or_else(|| number.to_owned(), |unit| format!("{number} {unit}"))
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
        for (values, from, to, marks) in [
            (&[3.0, 40.0][..], 2.0, 50.0, "2 5 10 20 50"),
            (&[1.0, 1.0], 1.0, 2.0, "1 2"),
            (&[0.03, 0.0, 700.0], 0.02, 1000.0, "0.1 1 10 100 1000"),
        ] {
            let axis = logarithmic("", values.iter().copied(), digits).unwrap();
            let near = |log: f64, other: f64| (log - other.log10()).abs() < 1e-9;
            assert!(near(axis.from, from) && near(axis.to, to), "{values:?}: {} to {}", axis.from, axis.to);
            let words: Vec<String> = axis.marks.into_iter().map(|(_, words)| words).collect();
            assert_eq!(words.join(" "), marks, "{values:?}");
        }
    }

    #[test]
    fn what_has_no_values_is_not_drawn() {
        assert!(logarithmic("", [0.0].into_iter(), digits).is_none());
        let rows = vec![(Contestant::Pool, vec![None])];
        assert_eq!(Rows { title: String::new(), axis: "", show: digits, series: vec![], rows }.render(), None);
    }

    #[test]
    fn a_mark_is_as_short_as_it_can_be() {
        for (words, short) in [("0.50", "0.5"), ("10.0 ms", "10 ms"), ("200 ns", "200 ns"), ("1.00 M", "1 M")] {
            assert_eq!(without_zeros(words), short);
        }
    }

    #[test]
    fn rows_have_a_mark_for_each_that_was_measured() {
        let rows = Rows {
            title: "a < b".into(),
            axis: "times",
            show: digits,
            series: vec!["one".into(), "two".into()],
            rows: vec![(Contestant::Pool, vec![Some(typical(10.0)), None])],
        };
        let svg = rows.render().unwrap();
        for part in ["a &lt; b", ">pool of 2<", ">two<", "<title>one: pool of 2, 10.0</title>"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert_eq!(svg.matches("</title></circle>").count(), 1, "{svg}");
    }

    #[test]
    fn curves_go_through_their_medians() {
        let points = vec![(1, typical(1.0)), (100, typical(2.0)), (10_000, typical(4.0))];
        let curves =
            Curves { title: String::new(), x: "x", show: digits, curves: vec![(Contestant::BareLoop, points)] };
        let svg = curves.render().unwrap();
        // From 0.5 to 10, the y axis; the middle of the x axis is 100.
        for part in [r#"points="89.1,323.3 452.0,"#, ">10,000<", ">100<", "<title>bare loop: 2.00 at 100</title>"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
