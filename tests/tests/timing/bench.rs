//! The benchmark writes what it says it writes. What the figures are is nobody's business here.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use greeter_tests::{alone, beside_others};

fn bench(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output();
    output.expect("the benchmark can be started")
}

#[test]
fn a_page_its_charts_and_the_samples_are_written() {
    let _alone = alone();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what an earlier run left can be removed");
    }
    let out = folder.to_str().expect("a folder of cargo's has a name");
    let size = ["--rounds", "1", "--seconds", "0.05", "--max-connections", "64"];
    let output = bench(&[&size[..], &["--server", "bare-loop", "--server", "pool", "--out", out]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("round 1/1, 1/") && !told.contains("LEFT OUT"), "{told}");

    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|_| panic!("{name} is written"));
    let page = read("benchmark.md");
    for part in ["| bare loop | **1.00** × · ", "| pool of 2 | **", "| waits for 1 ms | **1.00** × · ", "; ≤ 400 B |"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("Left out") && !page.contains(out), "{page}");
    let charts: Vec<&str> = page
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .filter(|name| name.ends_with(".svg"))
        .collect();
    assert_eq!(charts, ["lines", "connections", "depth"].map(|name| format!("benchmark/{name}.svg")), "{page}");
    for chart in charts.into_iter().map(read) {
        let drawing = roxmltree::Document::parse(&chart).expect("a chart is XML");
        // The circles of the legend say nothing.
        let marks = drawing.descendants().filter(|node| node.has_tag_name("circle") && node.has_children()).count();
        assert!(chart.contains(">pool of 2<") && marks >= 6, "{marks} marks in {chart}");
    }

    let samples = read("benchmark/samples.csv");
    for (quantity, case) in [
        ("per_second", "64 × 256"),
        ("processor_ns", "64 × 1024"),
        ("p50_ns", "1 × 1"),
        ("p99_ns", "polite beside greedy"),
        ("memory_bytes", "idle"),
        ("per_second", "visits"),
        ("per_second", "waiting 1 ms × 4"),
        ("per_second", "working 1 ms × 1"),
    ] {
        let sample = samples.lines().find(|line| line.starts_with(&format!("{quantity},{case},pool,1,")));
        let sample = sample.unwrap_or_else(|| panic!("{quantity} of {case} in {samples}"));
        let value: f64 = sample.rsplit(',').next().and_then(|value| value.parse().ok()).expect("a sample has a value");
        assert!(value.is_finite() && (value > 0.0 || matches!(quantity, "processor_ns" | "memory_bytes")), "{sample}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let _others = beside_others();
    for (arguments, words) in [
        (["--server", "apache"], "write one of bare-loop, in-place, in-place-2"),
        (["--figures", "all"], "write one of lines, growth"),
        (["--rounds", "0"], "write a number from 1 on"),
        (["--seconds", "0"], "write a number above 0"),
    ] {
        let output = bench(&arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(words), "{told}");
    }
}
