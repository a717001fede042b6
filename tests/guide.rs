//! The guide in `docs/guide`: its chapters, links and pictures. `src/guide.rs` compiles and runs its code.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a path of the checkout can begin with.
const ROOMS: [&str; 9] = [
    "backends/",
    "benches/",
    "clients/",
    "crates/",
    "docs/",
    "examples/",
    "scripts/",
    "src/",
    "tests/",
];

/// A chapter shorter than this belongs to another one; a longer one is two.
const LINES: std::ops::RangeInclusive<usize> = 60..=200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn book() -> PathBuf {
    root().join("docs/guide/src")
}

/// The published package has the guide, and not all that it names.
fn is_package() -> bool {
    root().join("Cargo.toml.orig").exists()
}

struct Chapter {
    file: String,
    text: String,
}

impl Chapter {
    fn read(file: String) -> Chapter {
        let text = fs::read_to_string(book().join(&file)).expect("a chapter can be read");
        Chapter { file, text }
    }

    /// Its lines outside of code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// What the beginnings of its blocks of code say.
    fn languages(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("```")).step_by(2)
    }

    /// The targets of its links.
    fn links(&self) -> impl Iterator<Item = &str> {
        self.prose()
            .flat_map(|line| line.split("](").skip(1))
            .filter_map(|rest| rest.split(')').next())
    }

    /// The paths of the checkout that it names.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let quoted = self.prose().flat_map(|line| line.split('`').skip(1).step_by(2));
        quoted.filter(|it| ROOMS.iter().any(|room| it.starts_with(room)) || it.ends_with(".md"))
    }

    /// What a link to one of its titles ends with.
    fn anchors(&self) -> BTreeSet<String> {
        let titles = self.prose().filter(|line| line.starts_with('#'));
        titles.map(|title| anchor(title.trim_start_matches('#').trim())).collect()
    }
}

/// As mdBook makes it of a title.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn chapters() -> Vec<Chapter> {
    let files = fs::read_dir(book()).expect("the guide is there");
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let chapters: Vec<Chapter> = names
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .map(Chapter::read)
        .collect();
    assert!(chapters.len() >= 15, "{} chapters", chapters.len());
    chapters
}

/// Fails with each place that is wrong.
#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

#[test]
fn the_summary_names_every_chapter() {
    let summary = Chapter::read("SUMMARY.md".into());
    let named: Vec<&str> = summary.links().collect();
    let chapters = chapters();
    let there: BTreeSet<&str> = chapters.iter().map(|chapter| chapter.file.as_str()).collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), there);
    assert_eq!(named.len(), there.len(), "a chapter is named twice");
}

#[test]
fn each_chapter_begins_with_its_title_and_has_the_length_of_one() {
    let mut wrong = Vec::new();
    for Chapter { file, text } in chapters() {
        if !text.lines().next().is_some_and(|first| first.starts_with("# ") && first.len() > 2) {
            wrong.push(format!("{file}: does not begin with a title"));
        }
        let lines = text.lines().count();
        if !LINES.contains(&lines) {
            wrong.push(format!("{file}: {lines} lines"));
        }
    }
    none(&wrong);
}

#[test]
fn every_link_leads_to_something() {
    let (mut wrong, mut links) = (Vec::new(), 0);
    for chapter in chapters() {
        for link in chapter.links().filter(|link| !link.starts_with("http")) {
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { chapter.file.as_str() } else { file };
            let is_there = match place {
                "" => book().join(file).is_file(),
                place => Chapter::read(file.to_owned()).anchors().contains(place),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", chapter.file));
            }
        }
    }
    none(&wrong);
    assert!(links > 30, "{links} links");
}

#[test]
fn every_file_that_is_named_exists() {
    if is_package() {
        return;
    }
    let (mut wrong, mut paths) = (Vec::new(), 0);
    for chapter in chapters() {
        for path in chapter.paths() {
            paths += 1;
            if !root().join(path).exists() {
                wrong.push(format!("{}: {path}", chapter.file));
            }
        }
    }
    none(&wrong);
    assert!(paths > 20, "{paths} paths");
}

/// A block without a language is taken for Rust; one that is ignored is not checked.
#[test]
fn all_code_says_its_language_and_all_rust_is_tested() {
    const LANGUAGES: [&str; 6] = ["js", "rust", "rust,no_run", "sh", "text", "toml"];
    let tested = fs::read_to_string(root().join("src/guide.rs")).unwrap();
    let mut wrong = Vec::new();
    for chapter in chapters() {
        for language in chapter.languages().filter(|it| !LANGUAGES.contains(it)) {
            wrong.push(format!("{}: a block of \"{language}\"", chapter.file));
        }
        let is_tested = tested.contains(&format!("guide/src/{}\")]", chapter.file));
        let has_rust = chapter.languages().any(|language| language.starts_with("rust"));
        if has_rust && !is_tested {
            wrong.push(format!("{}: not in src/guide.rs", chapter.file));
        }
    }
    none(&wrong);
}

#[test]
fn the_pictures_are_those_of_the_data() {
    if is_package() {
        return;
    }
    let made = Command::new(root().join("scripts/make-pictures")).arg("--check").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let named: String = chapters().into_iter().map(|chapter| chapter.text).collect();
    for picture in fs::read_dir(book().join("pictures")).unwrap() {
        let name = picture.unwrap().file_name().into_string().unwrap();
        assert!(named.contains(&format!("(pictures/{name})")), "{name} is shown nowhere");
    }
}
