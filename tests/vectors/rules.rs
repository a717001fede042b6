//! The table of rules in `docs/PROTOCOL.md`: each rule that the code names stands in it, with tests that exist.

use super::file::root;
use std::collections::BTreeSet;
use std::fs;

/// Where the tests of the rules E to L are, and those of the duties D.
const OF_MACHINE: &str = "src/exchange/machine/proof/rules.rs";
const OF_DUTIES: &str = "tests/vectors/streams.rs";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A letter and a number.
fn is_rule(text: &str) -> bool {
    text.split_at_checked(1).is_some_and(|(letter, number)| {
        "ESIMFLD".contains(letter) && !letter.is_empty() && number.parse::<u8>().is_ok()
    })
}

/// The rows of the table: the rule, and the column of its tests.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let table = page.split_once("## 10. Rules").expect("the page has rules").1;
    let row = |line| -> Option<(&str, &str)> {
        let mut cells = str::split(line, " | ");
        let rule = cells.next()?.strip_prefix("| ")?;
        let tests = cells.last()?.trim_end_matches(" |");
        is_rule(rule).then_some((rule, tests))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn every_rule_that_is_broken_by_name_stands_in_the_protocol_page() {
    let page = read("docs/PROTOCOL.md");
    let rows: Vec<&str> = rows(&page).into_iter().map(|(rule, _)| rule).collect();
    let table: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(table.len(), rows.len(), "a rule stands there twice");
    let violation = read("src/exchange/violation.rs");
    let named = violation.split("#[error(\"[").skip(1);
    let named: BTreeSet<&str> = named.filter_map(|rest| rest.split(']').next()).collect();
    assert!(named.len() > 25, "only {} rules were found in the source", named.len());
    let broken: BTreeSet<&str> = table.iter().copied().filter(|it| !it.starts_with('D')).collect();
    assert_eq!(broken, named, "in docs/PROTOCOL.md, and in src/exchange/violation.rs");
    // What the text refers to exists, and each rule is referred to.
    let text = page.split("## 10. Rules").next().unwrap_or_default();
    let mentioned = text.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let mentioned: BTreeSet<&str> = mentioned.filter(|it| is_rule(it)).collect();
    assert_eq!(mentioned, table, "in the text, and in the table");
}

#[test]
fn every_test_of_a_rule_exists() {
    let page = read("docs/PROTOCOL.md");
    for (rule, tests) in rows(&page) {
        let default = if rule.starts_with('D') { OF_DUTIES } else { OF_MACHINE };
        let quoted = || tests.split('`').skip(1).step_by(2);
        let mut files: Vec<&str> = quoted().filter(|it| it.ends_with(".rs")).collect();
        files.extend([OF_MACHINE, default]);
        let sources: String = files.into_iter().map(read).collect();
        let names: Vec<&str> = quoted().filter(|it| !it.ends_with(".rs")).collect();
        assert!(!names.is_empty(), "{rule} has no test");
        for name in names {
            assert!(sources.contains(&format!("fn {name}(")), "{rule}: no test {name}");
        }
        let words = tests.split([' ', ';', ',']);
        for vector in words.filter(|word| word.ends_with(".txt")) {
            let text = read(&format!("tests/vectors/{vector}"));
            assert!(text.contains("[side]"), "{rule}: nothing in {vector}");
        }
    }
}
