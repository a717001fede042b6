//! Numbers in variables of the environment: which programs of a test are made, and how many.

use std::str::FromStr;

/// The number in this variable. `None`: it is not set.
pub fn number<N: FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{variable}={text} is no number");
    number
}
