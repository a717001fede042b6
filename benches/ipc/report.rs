//! The printed table, and its statistics.

/// The target of a figure.
#[derive(Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy)]
pub enum Unit {
    Nanoseconds,
    PerSecond,
    BytesPerSecond,
}

/// A table with a row for each figure, printed as soon as its measure ends.
pub struct Report {
    /// The targets apply to this run.
    shows_targets: bool,
}

impl Report {
    pub fn begin(shows_targets: bool) -> Report {
        let (bare, ours, ratio, spread) = ("bare", "msgpipe", "ratio", "(min-max)");
        let target = if shows_targets { "target" } else { "" };
        print_row(&format!("{:<40}{bare:>11}{ours:>11}{ratio:>9}  {spread:<15}{target}", ""));
        Report { shows_targets }
    }

    /// A row for both sides, from one pair of figures for each round: bare, msgpipe.
    pub fn ratio(&self, name: &str, unit: Unit, rounds: Vec<(f64, f64)>, target: Option<Target>) {
        let bare = median(rounds.iter().map(|round| round.0));
        let ours = median(rounds.iter().map(|round| round.1));
        let ratios = || rounds.iter().map(|(bare, ours)| ours / bare);
        let ratio = median(ratios());
        let (least, most) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
        let spread = format!("({least:.2}-{most:.2})");
        let (bare, ours) = (unit.show(bare), unit.show(ours));
        let target = self.target(target, |target| target.show(ratio, 2, ""));
        print_row(&format!("{name:<40}{bare:>11}{ours:>11}{ratio:>9.2}  {spread:<15}{target}"));
    }

    /// A row for msgpipe alone, in bytes.
    pub fn bytes(&self, name: &str, bytes: f64, target: Target) {
        let target = self.target(Some(target), |target| target.show(bytes, 0, " B"));
        let shown = format!("{bytes:.0} B");
        print_row(&format!("{name:<40}{:>11}{shown:>11}{:>9}  {:<15}{target}", "", "", ""));
    }

    fn target(&self, target: Option<Target>, show: impl Fn(Target) -> String) -> String {
        target.filter(|_| self.shows_targets).map_or(String::new(), show)
    }
}

fn print_row(row: &str) {
    println!("{}", row.trim_end());
}

impl Target {
    fn show(self, value: f64, digits: usize, unit: &str) -> String {
        let (sign, line, reached) = match self {
            Target::AtMost(line) => ("<=", line, value <= line),
            Target::AtLeast(line) => (">=", line, value >= line),
        };
        let missed = if reached { "" } else { "  missed" };
        format!("{sign} {line:.digits$}{unit}{missed}")
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => format!("{:.1} us", value / 1e3),
            Unit::PerSecond => format!("{:.0} k/s", value / 1e3),
            Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The quantile `at`, from 0 to 1. The values must be sorted, and there must be at least one.
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}
