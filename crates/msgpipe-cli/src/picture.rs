//! The times of calls as an SVG file.

use crate::bench::{Measured, ranges};
use std::fmt::Write;
use std::time::Duration;

const WIDTH: u32 = 720;
const ROW: u32 = 22;
const LEFT: u32 = 180;
const BARS: u32 = 440;

/// A chart for each size: how many calls took how long.
pub fn draw(all: &[Measured]) -> String {
    let (mut body, mut y) = (String::new(), 10);
    for measured in all {
        y += ROW;
        text(
            &mut body,
            10,
            y,
            &format!("{} bytes, {} calls", measured.size, measured.times.len()),
            "bold",
        );
        let counts = ranges(&measured.times);
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (up_to, count) in counts {
            y += ROW;
            let width = u64::from(BARS) * count / most;
            let up_to = format!("up to {:.1?}", Duration::from_nanos(up_to));
            text(&mut body, 30, y, &up_to, "normal");
            // Writing to a string does not fail.
            let _ = writeln!(
                body,
                r##"<rect x="{LEFT}" y="{}" width="{width}" height="14" fill="#3b6ea5"/>"##,
                y - 12
            );
            text(&mut body, LEFT + width as u32 + 6, y, &count.to_string(), "normal");
        }
        y += ROW;
    }
    let height = y + ROW;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

fn text(body: &mut String, x: u32, y: u32, text: &str, weight: &str) {
    let _ = writeln!(body, r#"<text x="{x}" y="{y}" font-weight="{weight}">{text}</text>"#);
}
