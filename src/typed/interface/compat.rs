//! Whether two versions of an interface understand each other.

use super::shape::{Field, Shape, TypeDescription, Variant};
use super::{Interface, MethodDescription};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How deep the parts of a value are compared, one step for each list, map, tuple, option or type with a name that is inside
/// another: as deep as a description is read from JSON, whose values `serde_json` reads no deeper. Types that are inside
/// themselves are compared once. What is deeper is a [`Break`] that says so: a description may come from anyone, and its
/// depth must not be that of this program's stack.
const DEPTH_MAX: usize = 128;

/// What no longer works between two versions of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Break {
    /// The method.
    pub method: String,
    /// Where in it, as in `argument note.tags`.
    pub place: String,
    /// What does not fit.
    pub problem: String,
    /// Between whom.
    pub direction: Direction,
}

/// Which client and server do not understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Direction {
    /// An old client at a new server.
    OldClient,
    /// A new client at an old server.
    NewClient,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = match self.direction {
            Direction::OldClient => "an old client, a new server",
            Direction::NewClient => "a new client, an old server",
        };
        write!(f, "{}: {}: {} ({between})", self.method, self.place, self.problem)
    }
}

/// What no longer works between these versions of an interface, in either direction. What is new and does not exist on the other
/// side is no break: a new method, or a variant that is added, which the other side understands as an error that names it.
/// Types that make themselves, without serde's derive, are compared as far as their form is known.
///
/// What may be left out on the sender's side has to be optional on the receiver's: a field with `#[serde(default)]` that loses it
/// is a break, as is one that gets it while the other side still needs it, since senders leave out what they may
/// (`skip_serializing_if`, callers that write JSON). A method whose number on the wire has changed is a break too. Values are
/// compared to a depth of 128; a [`Break`] says where there is more.
///
/// ```
/// use msgpipe::typed::{self, Interface, compat};
///
/// #[typed::service(name = "Sums")]
/// trait Old {
///     fn add(&self, a: u64, b: u64) -> u64;
/// }
/// #[typed::service(name = "Sums")]
/// trait New {
///     fn add(&self, a: u64, b: u64, c: Option<u64>) -> u64; // old clients do not send it, which is well
///     fn sub(&self, a: u64, b: u64) -> i64;
/// }
///
/// let (old, new) = (Interface::of::<OldClient>(), Interface::of::<NewClient>());
/// assert_eq!(compat(&old, &new), []);
/// assert_eq!(compat(&new, &old)[0].to_string(), "Sums.sub: method: it was removed (an old client, a new server)");
/// ```
pub fn compat(old: &Interface, new: &Interface) -> Vec<Break> {
    let mut breaks = Vec::new();
    for (name, before) in &old.methods {
        let mut comparing = Comparing {
            breaks: &mut breaks,
            method: name,
            old,
            new,
            seen: BTreeSet::new(),
            depth: 0,
        };
        match new.methods.get(name) {
            Some(now) => comparing.methods(before, now),
            None => comparing.breaks("method", "it was removed".to_owned(), Direction::OldClient),
        }
    }
    breaks
}

/// One method.
struct Comparing<'c> {
    breaks: &'c mut Vec<Break>,
    method: &'c str,
    old: &'c Interface,
    new: &'c Interface,
    /// Types that are compared already: a type may be inside itself.
    seen: BTreeSet<(Sent, String, String)>,
    /// How deep inside a value this is.
    depth: usize,
}

/// A value goes from one version to the other, in a request or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    direction: Direction,
    /// Its sender is the old version.
    by_old: bool,
}

const ASKED: [Sent; 2] = [
    Sent { direction: Direction::OldClient, by_old: true },
    Sent { direction: Direction::NewClient, by_old: false },
];

const ANSWERED: [Sent; 2] = [
    Sent { direction: Direction::OldClient, by_old: false },
    Sent { direction: Direction::NewClient, by_old: true },
];

impl<'c> Comparing<'c> {
    fn breaks(&mut self, place: &str, problem: String, direction: Direction) {
        let (method, place) = (self.method.to_owned(), place.to_owned());
        self.breaks.push(Break { method, place, problem, direction });
    }

    fn methods(&mut self, old: &MethodDescription, new: &MethodDescription) {
        if old.number != new.number {
            let problem = format!("its number was {}, and is {}", old.number, new.number);
            return self.breaks("method", problem, Direction::OldClient);
        }
        if old.kind != new.kind {
            let problem = format!("it was `{}`, and is `{}`", old.kind, new.kind);
            return self.breaks("method", problem, Direction::OldClient);
        }
        let fields = |it: &MethodDescription| -> BTreeMap<String, Field> {
            it.arguments.iter().map(|it| (it.name.clone(), it.field.clone())).collect()
        };
        let (old_fields, new_fields) = (fields(old), fields(new));
        for sent in ASKED {
            let (from, to) = sent.order(&old_fields, &new_fields);
            self.fields("argument ", from, to, sent);
            self.both("sent item", &old.sends, &new.sends, sent);
        }
        for sent in ANSWERED {
            self.both("reply", &old.reply, &new.reply, sent);
            self.both("item", &old.items, &new.items, sent);
            self.both("progress", &old.progress, &new.progress, sent);
            self.both("error", &old.error, &new.error, sent);
        }
    }

    fn both(&mut self, place: &str, old: &Option<Shape>, new: &Option<Shape>, sent: Sent) {
        match sent.order(old, new) {
            (Some(from), Some(to)) => self.shapes(place, from, to, sent),
            (None, None) => {}
            // An error that a method did not have: it arrives with its code and text.
            _ if place == "error" => {}
            _ => {
                self.breaks(place, "one side has it, the other has not".to_owned(), sent.direction)
            }
        }
    }

    /// Whether the receiver has what it needs.
    fn fields(
        &mut self,
        place: &str,
        from: &BTreeMap<String, Field>,
        to: &BTreeMap<String, Field>,
        sent: Sent,
    ) {
        for (name, needed) in to {
            let place = format!("{place}{name}");
            match from.get(name) {
                Some(given) => self.field(&place, given, needed, sent),
                None if needed.optional => {}
                None => {
                    let problem = "it has to be there, and the other side does not send it";
                    self.breaks(&place, problem.to_owned(), sent.direction);
                }
            }
        }
    }

    fn field(&mut self, place: &str, given: &Field, needed: &Field, sent: Sent) {
        let before = self.breaks.len();
        self.shapes(place, &given.shape, &needed.shape, sent);
        // An option that became a value is said already.
        let is_said = self.breaks[before..].iter().any(|it| it.place == place);
        if given.optional && !needed.optional && !is_said {
            let problem = "it may be left out, and has to be there";
            self.breaks(place, problem.to_owned(), sent.direction);
        }
    }

    fn shapes(&mut self, place: &str, from: &Shape, to: &Shape, sent: Sent) {
        if self.depth == DEPTH_MAX {
            let problem = format!("it is more than {DEPTH_MAX} deep, and was not compared");
            return self.breaks(place, problem, sent.direction);
        }
        self.depth += 1;
        self.parts(place, from, to, sent);
        self.depth -= 1;
    }

    fn parts(&mut self, place: &str, from: &Shape, to: &Shape, sent: Sent) {
        match (from, to) {
            (Shape::Plain(one), Shape::Plain(other)) if fits(one, other) => {}
            (Shape::Plain(any), _) | (_, Shape::Plain(any)) if any == "any" => {}
            (Shape::Option(from), Shape::Option(to)) => self.shapes(place, from, to, sent),
            (Shape::Option(_), _) => {
                self.breaks(place, format!("it may be null, and has to be {to}"), sent.direction);
            }
            (_, Shape::Option(to)) => self.shapes(place, from, to, sent),
            (Shape::List(from), Shape::List(to)) => {
                self.shapes(&format!("{place}[]"), from, to, sent);
            }
            (Shape::Map(from), Shape::Map(to)) => {
                self.shapes(&format!("{place} (key)"), &from.0, &to.0, sent);
                self.shapes(&format!("{place}[]"), &from.1, &to.1, sent);
            }
            (Shape::Tuple(from), Shape::Tuple(to)) if from.len() == to.len() => {
                self.all(place, from, to, sent);
            }
            (Shape::Type(from), Shape::Type(to)) => self.types(place, from, to, sent),
            _ => {
                self.breaks(place, format!("{from} is sent, and {to} is expected"), sent.direction)
            }
        }
    }

    fn all(&mut self, place: &str, from: &[Shape], to: &[Shape], sent: Sent) {
        for (index, (from, to)) in from.iter().zip(to).enumerate() {
            self.shapes(&format!("{place}.{index}"), from, to, sent);
        }
    }

    fn types(&mut self, place: &str, from: &str, to: &str, sent: Sent) {
        if !self.seen.insert((sent, from.to_owned(), to.to_owned())) {
            return;
        }
        let (old, new): (&'c Interface, &'c Interface) = (self.old, self.new);
        let (senders, receivers) = sent.order(old, new);
        match (senders.types.get(from), receivers.types.get(to)) {
            (Some(TypeDescription::Struct(from)), Some(TypeDescription::Struct(to))) => {
                self.fields(&format!("{place}."), from, to, sent);
            }
            (Some(TypeDescription::Enum(from)), Some(TypeDescription::Enum(to))) => {
                for (name, given) in from {
                    let place = format!("{place}::{name}");
                    match to.get(name) {
                        Some(known) => self.variants(&place, given, known, sent),
                        // One that is added is understood as an error when it is sent.
                        None if !sent.by_old => {}
                        None => self.breaks(&place, "it was removed".to_owned(), sent.direction),
                    }
                }
            }
            (None, _) | (_, None) => {}
            _ => self.breaks(place, format!("{from} and {to} are not alike"), sent.direction),
        }
    }

    fn variants(&mut self, place: &str, from: &Variant, to: &Variant, sent: Sent) {
        match (from, to) {
            (Variant::Unit, Variant::Unit) => {}
            (Variant::Value(from), Variant::Value(to)) => self.shapes(place, from, to, sent),
            (Variant::Struct(from), Variant::Struct(to)) => {
                self.fields(&format!("{place}."), from, to, sent);
            }
            (Variant::Tuple(from), Variant::Tuple(to)) if from.len() == to.len() => {
                self.all(place, from, to, sent);
            }
            _ => self.breaks(place, "its form was changed".to_owned(), sent.direction),
        }
    }
}

impl Sent {
    /// The sender's and the receiver's.
    fn order<T>(self, old: T, new: T) -> (T, T) {
        if self.by_old { (old, new) } else { (new, old) }
    }
}

/// Whether each value of the one is one of the other.
fn fits(from: &str, to: &str) -> bool {
    let int = |name: &str| {
        let bits: u32 = name.get(1..)?.parse().ok()?;
        Some((name.starts_with('i'), bits)).filter(|_| name.starts_with(['i', 'u']))
    };
    from == to
        || from == "any"
        || to == "any"
        || match (int(from), int(to)) {
            (Some((from_sign, from)), Some((to_sign, to))) => match (from_sign, to_sign) {
                (false, true) => from < to,
                (true, false) => false,
                _ => from <= to,
            },
            (Some(_), None) => to == "f64" || to == "f32",
            _ => matches!((from, to), ("f32", "f64") | ("f64", "f32") | ("char", "string")),
        }
}
