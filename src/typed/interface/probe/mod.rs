//! Finds out the shape of a type: it is made of values that have just the asked-for form, several times, until each of its
//! variants was made and each of its fields was left out once.

mod parts;

use super::shape::{Shape, TypeDescription};
use super::walk::{Failed, Walk};
use parts::{Chosen, Entry, Fields, Items};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The shape of a type, and the types with names that are in it. A type that panics on what it is given is `any`.
pub fn probe<T: DeserializeOwned>() -> (Shape, BTreeMap<String, TypeDescription>) {
    let found = catch_unwind(|| {
        let (walk, shape) = (RefCell::new(Walk::default()), RefCell::new(Shape::any()));
        loop {
            let before = walk.borrow().found;
            let probe = Probe { walk: &walk, shape: &shape, path: String::new() };
            // The value itself is the application's, and so is its drop.
            drop(T::deserialize(probe));
            let mut walk = walk.borrow_mut();
            walk.types.values_mut().for_each(|it| it.is_open = false);
            if walk.found == before {
                break;
            }
        }
        let types = walk.into_inner().types.into_iter().map(|(name, it)| (name, it.description));
        (shape.into_inner(), types.collect())
    });
    found.unwrap_or_else(|panic| {
        // Its drop may panic, too.
        drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
        (Shape::any(), BTreeMap::new())
    })
}

/// Makes a value, and says its shape.
struct Probe<'w> {
    walk: &'w RefCell<Walk>,
    shape: &'w RefCell<Shape>,
    /// From the last type with a name.
    path: String,
}

impl Probe<'_> {
    fn is(&self, shape: Shape) {
        *self.shape.borrow_mut() = shape;
    }

    /// Makes what is inside, and returns its shape as well.
    fn inside<'de, S: DeserializeSeed<'de>>(
        &self,
        place: &str,
        seed: S,
    ) -> (Result<S::Value, Failed>, Shape) {
        inside(self.walk, format!("{}{place}", self.path), seed)
    }
}

fn inside<'de, S: DeserializeSeed<'de>>(
    walk: &RefCell<Walk>,
    path: String,
    seed: S,
) -> (Result<S::Value, Failed>, Shape) {
    let shape = RefCell::new(Shape::any());
    let step = walk.borrow_mut().step();
    let made = step.and_then(|()| seed.deserialize(Probe { walk, shape: &shape, path }));
    (made, shape.into_inner())
}

macro_rules! plain {
    ($($method:ident $visit:ident $value:expr, $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.is(Shape::plain($name));
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Failed;

    // Not 0, which some numbers cannot be.
    plain! {
        deserialize_bool visit_bool false, "bool";
        deserialize_i8 visit_i8 1, "i8";
        deserialize_i16 visit_i16 1, "i16";
        deserialize_i32 visit_i32 1, "i32";
        deserialize_i64 visit_i64 1, "i64";
        deserialize_i128 visit_i128 1, "i128";
        deserialize_u8 visit_u8 1, "u8";
        deserialize_u16 visit_u16 1, "u16";
        deserialize_u32 visit_u32 1, "u32";
        deserialize_u64 visit_u64 1, "u64";
        deserialize_u128 visit_u128 1, "u128";
        deserialize_f32 visit_f32 1.0, "f32";
        deserialize_f64 visit_f64 1.0, "f64";
        deserialize_char visit_char 'a', "char";
        deserialize_bytes visit_bytes b"", "bytes";
        deserialize_byte_buf visit_bytes b"", "bytes";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.is(Shape::plain("string"));
        let text = self.walk.borrow().text(&self.path);
        let made = visitor.visit_str(text);
        if made.is_err() {
            self.walk.borrow_mut().refuse_text(&self.path);
        }
        made
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.is(Shape::any());
        visitor.visit_unit()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.is(Shape::plain("null"));
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let path = format!("{}?", self.path);
        let none = self.walk.borrow().none.get(&path).cloned();
        if let Some(of) = none {
            self.is(Shape::Option(Box::new(of)));
            return visitor.visit_none();
        }
        let shape = RefCell::new(Shape::any());
        let inner = Probe { walk: self.walk, shape: &shape, path: path.clone() };
        let made = visitor.visit_some(inner);
        let of = shape.into_inner();
        self.is(Shape::Option(Box::new(of.clone())));
        let mut walk = self.walk.borrow_mut();
        let is_around = match &made {
            Err(Failed::Recursion(name)) => walk.known(name).is_open,
            Err(Failed::Refused) => true,
            _ => false,
        };
        if is_around {
            walk.none.insert(path, of);
            walk.found += 1;
        }
        made
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut items = Items { probe: &self, shapes: Vec::new(), left: 1, forgives: true };
        let made = visitor.visit_seq(&mut items);
        let of = items.shapes.pop().unwrap_or_else(Shape::any);
        self.is(Shape::List(Box::new(of)));
        made
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let mut items = Items { probe: &self, shapes: Vec::new(), left: len, forgives: false };
        let made = visitor.visit_seq(&mut items);
        let shapes = items.shapes;
        self.is(Shape::Tuple(shapes));
        made
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut entry =
            Entry { probe: &self, key: Shape::any(), value: Shape::any(), is_over: false };
        let made = visitor.visit_map(&mut entry);
        let (key, value) = (entry.key, entry.value);
        self.is(Shape::Map(Box::new((key, value))));
        made
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let name = self.walk.borrow_mut().name(name, fields, false);
        self.is(Shape::Type(name.clone()));
        if std::mem::replace(&mut self.walk.borrow_mut().known(&name).is_open, true) {
            return Err(Failed::Recursion(name));
        }
        let left_out = self.walk.borrow_mut().field_to_leave_out(&name);
        let fields = self.walk.borrow_mut().fields(&name);
        let mut all = Fields::new(self.walk, &name, fields, left_out);
        let made = visitor.visit_map(&mut all);
        let (found, now) = (all.found, all.now);
        let mut walk = self.walk.borrow_mut();
        for (field, shape) in found {
            walk.set_field(&name, field, shape);
        }
        walk.known(&name).is_open = false;
        match (left_out, &made) {
            (Some(field), Ok(_)) => walk.set_tested(&name, field, true),
            (Some(field), Err(Failed::LeftOut)) => walk.set_tested(&name, field, false),
            (_, Err(Failed::Refused | Failed::Recursion(_))) => walk.set_last(&name, now),
            _ => {}
        }
        made
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let name = self.walk.borrow_mut().name(name, variants, true);
        self.is(Shape::Type(name.clone()));
        let Some(variant) = self.walk.borrow_mut().variant_to_make(&name) else {
            return Err(Failed::Recursion(name));
        };
        let was_open = std::mem::replace(&mut self.walk.borrow_mut().known(&name).is_open, true);
        let chosen = Chosen { walk: self.walk, name: &name, variant };
        let made = visitor.visit_enum(chosen);
        let mut walk = self.walk.borrow_mut();
        walk.known(&name).is_open = was_open;
        walk.set_made(&name, variant, made.is_ok());
        made
    }
}
