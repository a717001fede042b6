//! What is known of the types that were met, while the shape of one is found out.

use super::shape::{Field, Shape, TypeDescription, Variant};
use serde::de;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The steps that are made for one type, at most: a type with more parts is `any` in what was not reached.
const STEPS_MAX: usize = 100_000;

/// What a type that is made of a string may take: a time, an identifier, an address, a date, a number.
const TEXTS: [&str; 7] = [
    "",
    "2000-01-01T00:00:00Z",
    "00000000-0000-0000-0000-000000000001",
    "127.0.0.1",
    "2000-01-01",
    "1",
    "127.0.0.1:80",
];

/// Why a try to make a value failed.
#[derive(Debug)]
pub enum Failed {
    /// A field was left out to see whether it may be.
    LeftOut,
    /// The type is inside itself.
    Recursion(String),
    /// A type that makes itself does not take what it was given.
    Refused,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(_: T) -> Failed {
        Failed::Refused
    }

    fn missing_field(_: &'static str) -> Failed {
        Failed::LeftOut
    }
}

/// A type with a name.
#[derive(Debug)]
pub struct Known {
    /// Its fields or variants, in order.
    names: &'static [&'static str],
    pub description: TypeDescription,
    /// It is being made.
    pub is_open: bool,
    /// The fields that were left out once.
    tested: BTreeSet<&'static str>,
    /// The fields that were refused once.
    last: BTreeSet<&'static str>,
    /// A variant that can be made.
    safe: Option<&'static str>,
    /// Those that failed before there was one.
    failed: BTreeSet<&'static str>,
}

#[derive(Debug, Default)]
pub struct Walk {
    pub types: BTreeMap<String, Known>,
    /// Options that have to be none, with what they would be: their type is inside itself.
    pub none: BTreeMap<String, Shape>,
    /// How much was found out, in all tries.
    pub found: usize,
    steps: usize,
    /// Which of the texts is next, by place.
    texts: BTreeMap<String, usize>,
}

impl Walk {
    /// # Errors
    /// There were enough.
    pub fn step(&mut self) -> Result<(), Failed> {
        self.steps += 1;
        if self.steps > STEPS_MAX { Err(Failed::Refused) } else { Ok(()) }
    }

    /// The name under which a type is known: two different ones may have the same.
    pub fn name(
        &mut self,
        name: &'static str,
        names: &'static [&'static str],
        is_enum: bool,
    ) -> String {
        let mut key = name.to_owned();
        while self.types.get(&key).is_some_and(|it| it.names != names) {
            key.push('\'');
        }
        let empty = || match is_enum {
            true => TypeDescription::Enum(BTreeMap::new()),
            false => TypeDescription::Struct(BTreeMap::new()),
        };
        self.types.entry(key.clone()).or_insert_with(|| Known {
            names,
            description: empty(),
            is_open: false,
            tested: BTreeSet::new(),
            last: BTreeSet::new(),
            safe: None,
            failed: BTreeSet::new(),
        });
        key
    }

    pub fn known(&mut self, name: &str) -> &mut Known {
        self.types.get_mut(name).expect("it was met")
    }

    /// A field whose shape is known, and that was not left out yet.
    pub fn field_to_leave_out(&mut self, name: &str) -> Option<&'static str> {
        let known = self.known(name);
        let TypeDescription::Struct(fields) = &known.description else { return None };
        let is_open = |field: &&str| fields.get(*field).is_some_and(|it| !it.optional);
        known.names.iter().find(|it| is_open(it) && !known.tested.contains(*it)).copied()
    }

    /// What came of leaving a field out. If the try failed for another reason, another one may tell.
    pub fn set_tested(&mut self, name: &str, field: &'static str, is_optional: bool) {
        let known = self.known(name);
        known.tested.insert(field);
        if let TypeDescription::Struct(fields) = &mut known.description {
            if let Some(field) = fields.get_mut(field) {
                field.optional |= is_optional;
            }
        }
        self.found += 1;
    }

    /// The fields in the order in which they are given: those that were refused once are the last, so that others are seen.
    pub fn fields(&mut self, name: &str) -> Vec<&'static str> {
        let known = self.known(name);
        let (last, first) =
            known.names.iter().partition::<Vec<_>, _>(|it| known.last.contains(*it));
        first.into_iter().chain(last).copied().collect()
    }

    pub fn set_last(&mut self, name: &str, field: &'static str) {
        if self.known(name).last.insert(field) {
            self.found += 1;
        }
    }

    /// The text for a string at this place.
    pub fn text(&self, path: &str) -> &'static str {
        TEXTS[self.texts.get(path).copied().unwrap_or_default()]
    }

    /// That text was refused: the next time it is another.
    pub fn refuse_text(&mut self, path: &str) {
        let index = self.texts.entry(path.to_owned()).or_default();
        if *index + 1 < TEXTS.len() {
            *index += 1;
            self.found += 1;
        }
    }

    pub fn set_field(&mut self, name: &str, field: &str, shape: Shape) {
        let TypeDescription::Struct(fields) = &mut self.known(name).description else { return };
        if !fields.contains_key(field) {
            fields.insert(field.to_owned(), Field::new(shape));
            self.found += 1;
        }
    }

    /// The variant to make next: one that is not known yet, or one that can be made.
    pub fn variant_to_make(&mut self, name: &str) -> Option<&'static str> {
        let known = self.known(name);
        let TypeDescription::Enum(variants) = &mut known.description else { return None };
        let new = known.names.iter().find(|it| !variants.contains_key(**it)).copied();
        // Perhaps more of one that failed is seen now that another one can be made inside it.
        let again = known.safe.and_then(|_| known.failed.first().copied());
        let Some(next) = new.or(again).filter(|_| !known.is_open) else { return known.safe };
        if new.is_some() {
            variants.insert(next.to_owned(), Variant::Unit);
        } else {
            known.failed.remove(next);
        }
        self.found += 1;
        Some(next)
    }

    /// What came of making a variant.
    pub fn set_made(&mut self, name: &str, variant: &'static str, is_made: bool) {
        let known = self.known(name);
        if is_made && known.safe.is_none() {
            known.safe = Some(variant);
            self.found += 1;
        } else if !is_made && known.safe.is_none() {
            known.failed.insert(variant);
        }
    }

    pub fn set_variant(&mut self, name: &str, variant: &str, found: Variant) {
        if let TypeDescription::Enum(variants) = &mut self.known(name).description {
            variants.insert(variant.to_owned(), found);
        }
    }
}
