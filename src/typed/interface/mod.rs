//! What a server says of itself.

mod compat;
mod golden;
mod probe;
mod shape;
mod walk;

pub use compat::{Break, Direction, compat};
pub use golden::check_interface;
pub use shape::{Field, Shape, TypeDescription, Variant};

use super::codec::CodecError;
use super::method::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Types that can describe the methods of a service: `NotesClient` and `NotesServer` of a `trait Notes`, and tuples.
pub trait Described {
    /// Adds the methods.
    fn describe(interface: &mut Interface);
}

/// The methods of a typed server. Each server has the method `msgpipe.describe`, which takes no arguments and returns this as
/// JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interface {
    /// The names of the services.
    pub services: Vec<String>,
    /// The methods by name.
    pub methods: BTreeMap<String, MethodDescription>,
    /// The types with a name. Two different ones of the same name in one service are told apart by a `'`.
    #[serde(default)]
    pub types: BTreeMap<String, TypeDescription>,
    /// A method that is described twice: of two services.
    #[serde(skip)]
    twice: Option<String>,
}

/// A method of an [`Interface`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodDescription {
    /// On the wire.
    pub number: u32,
    /// `call`, `replies`, `upload`, `duplex`, `progress`, `subscription` or `one way`.
    pub kind: String,
    /// Whether it may be sent again.
    #[serde(default)]
    pub idempotent: bool,
    /// Its arguments.
    pub arguments: Vec<ArgumentDescription>,
    /// The type of the items that the client sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends: Option<Shape>,
    /// The type of its reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Shape>,
    /// The type of the items of its reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Shape>,
    /// The type of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Shape>,
    /// The type of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Shape>,
}

/// An argument of a [`MethodDescription`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArgumentDescription {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(flatten)]
    pub field: Field,
}

impl Interface {
    /// The interface of a service.
    ///
    /// ```
    /// use msgpipe::typed::{self, Interface};
    ///
    /// #[typed::service]
    /// trait Sums {
    ///     fn add(&self, a: u64, b: u64) -> u64;
    /// }
    ///
    /// let sums = Interface::of::<SumsClient>();
    /// assert_eq!(sums.methods["Sums.add"].arguments[1].name, "b");
    /// ```
    pub fn of<D: Described + ?Sized>() -> Interface {
        let mut interface = Interface::default();
        D::describe(&mut interface);
        interface
    }

    /// As JSON, for people to read too.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("names and numbers can be written")
    }

    /// Adds the name of a service.
    #[doc(hidden)]
    pub fn service(&mut self, name: &str) {
        self.services.push(name.to_owned());
    }

    /// Begins the description of a method.
    #[doc(hidden)]
    pub fn method(&mut self, method: &Method) -> Describing<'_> {
        let described = MethodDescription {
            number: method.number,
            kind: method.kind.text().to_owned(),
            idempotent: method.is_idempotent,
            arguments: Vec::new(),
            sends: None,
            reply: None,
            items: None,
            progress: None,
            error: None,
        };
        if self.methods.insert(method.name.to_owned(), described).is_some() {
            self.twice.get_or_insert_with(|| method.name.to_owned());
        }
        let described = self.methods.get_mut(method.name).expect("it was inserted");
        Describing { names: method.arguments, described, types: &mut self.types }
    }

    /// Reads what [`to_json`](Interface::to_json) has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_json(json: &str) -> Result<Interface, CodecError> {
        serde_json::from_str(json).map_err(|error| CodecError::whole(error.to_string()))
    }

    /// Two methods that nobody can tell from each other.
    pub(super) fn same_number(&self) -> Option<(String, String)> {
        if let Some(name) = &self.twice {
            return Some((name.clone(), name.clone()));
        }
        let mut seen = BTreeMap::new();
        self.methods.iter().find_map(|(name, method)| {
            let other: &String = seen.insert(method.number, name)?;
            Some((name.clone(), other.clone()))
        })
    }
}

/// The description of a method, which the attribute's code fills in.
#[doc(hidden)]
#[derive(Debug)]
pub struct Describing<'i> {
    names: &'static [&'static str],
    described: &'i mut MethodDescription,
    types: &'i mut BTreeMap<String, TypeDescription>,
}

#[doc(hidden)]
impl Describing<'_> {
    /// The next argument.
    pub fn argument<T: DeserializeOwned>(mut self) -> Self {
        let name = self.names[self.described.arguments.len()].to_owned();
        let field = Field::new(self.shape_of::<T>());
        self.described.arguments.push(ArgumentDescription { name, field });
        self
    }

    /// The reply.
    pub fn reply<T: DeserializeOwned>(mut self) -> Self {
        self.described.reply = Some(self.shape_of::<T>());
        self
    }

    /// The items of the reply.
    pub fn items<T: DeserializeOwned>(mut self) -> Self {
        self.described.items = Some(self.shape_of::<T>());
        self
    }

    /// The items of the request.
    pub fn sent_items<T: DeserializeOwned>(mut self) -> Self {
        self.described.sends = Some(self.shape_of::<T>());
        self
    }

    /// The progress.
    pub fn progress<T: DeserializeOwned>(mut self) -> Self {
        self.described.progress = Some(self.shape_of::<T>());
        self
    }

    /// The error.
    pub fn error<T: DeserializeOwned>(mut self) -> Self {
        self.described.error = Some(self.shape_of::<T>());
        self
    }

    fn shape_of<T: DeserializeOwned>(&mut self) -> Shape {
        let (shape, types) = probe::probe::<T>();
        for (name, description) in types {
            self.types.entry(name).or_insert(description);
        }
        shape
    }
}
