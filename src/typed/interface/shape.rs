//! What values look like on the wire.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The form of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// `bool`, `u8` to `i128`, `f32`, `f64`, `char`, `string`, `bytes`, `null`; or `any`, if it is not known.
    Plain(String),
    /// It may be null.
    Option(Box<Shape>),
    /// Any number of values.
    List(Box<Shape>),
    /// Keys and values.
    Map(Box<(Shape, Shape)>),
    /// So many values.
    Tuple(Vec<Shape>),
    /// The type of this name, in [`Interface::types`](super::Interface::types).
    Type(String),
}

/// A type with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TypeDescription {
    /// Its fields.
    Struct(BTreeMap<String, Field>),
    /// Its variants.
    Enum(BTreeMap<String, Variant>),
}

/// A field, or an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// Its value.
    pub shape: Shape,
    /// It may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What a variant has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Variant {
    /// Nothing.
    Unit,
    /// A value.
    Value(Shape),
    /// Several.
    Tuple(Vec<Shape>),
    /// Fields.
    Struct(BTreeMap<String, Field>),
}

impl Shape {
    pub(super) fn plain(name: &str) -> Shape {
        Shape::Plain(name.to_owned())
    }

    /// What nothing is known of.
    pub(super) fn any() -> Shape {
        Shape::plain("any")
    }
}

impl Field {
    /// One that may be left out if it is an option.
    pub(super) fn new(shape: Shape) -> Field {
        let optional = matches!(shape, Shape::Option(_));
        Field { shape, optional }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Plain(name) | Shape::Type(name) => f.write_str(name),
            Shape::Option(of) => write!(f, "optional {of}"),
            Shape::List(of) => write!(f, "list of {of}"),
            Shape::Map(of) => write!(f, "map from {} to {}", of.0, of.1),
            Shape::Tuple(all) => {
                f.write_str("(")?;
                for (index, one) in all.iter().enumerate() {
                    write!(f, "{}{one}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
        }
    }
}
