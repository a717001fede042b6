//! What a value that is made has inside: items, an entry, fields, a variant.

use super::{Probe, inside};
use crate::typed::interface::shape::{Field, Shape, Variant};
use crate::typed::interface::walk::{Failed, Walk};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::cell::RefCell;

/// The items of a list or a tuple.
pub(super) struct Items<'p, 'w> {
    pub probe: &'p Probe<'w>,
    pub shapes: Vec<Shape>,
    pub left: usize,
    /// A list may be empty.
    pub forgives: bool,
}

impl<'de> SeqAccess<'de> for &mut Items<'_, '_> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let place = format!("[{}]", self.left);
        let (made, shape) = self.probe.inside(&place, seed);
        self.shapes.push(shape);
        match made {
            Ok(made) => Ok(Some(made)),
            Err(_) if self.forgives => Ok(None),
            Err(failed) => Err(failed),
        }
    }
}

/// The only entry of a map.
pub(super) struct Entry<'p, 'w> {
    pub probe: &'p Probe<'w>,
    pub key: Shape,
    pub value: Shape,
    pub is_over: bool,
}

impl<'de> MapAccess<'de> for &mut Entry<'_, '_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failed> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(None);
        }
        let (made, shape) = self.probe.inside("<key>", seed);
        self.key = shape;
        Ok(made.ok())
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let (made, shape) = self.probe.inside("<value>", seed);
        self.value = shape;
        made
    }
}

/// The fields of a struct.
pub(super) struct Fields<'w> {
    pub walk: &'w RefCell<Walk>,
    pub owner: &'w str,
    pub names: std::vec::IntoIter<&'static str>,
    pub now: &'static str,
    pub left_out: Option<&'static str>,
    pub found: Vec<(&'static str, Shape)>,
}

impl<'w> Fields<'w> {
    pub fn new(
        walk: &'w RefCell<Walk>,
        owner: &'w str,
        names: Vec<&'static str>,
        left_out: Option<&'static str>,
    ) -> Fields<'w> {
        Fields { walk, owner, names: names.into_iter(), now: "", left_out, found: Vec::new() }
    }
}

impl<'de> MapAccess<'de> for &mut Fields<'_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failed> {
        let left_out = self.left_out;
        let Some(name) = self.names.find(|name| Some(*name) != left_out) else { return Ok(None) };
        self.now = name;
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let (made, shape) = inside(self.walk, format!("{}.{}", self.owner, self.now), seed);
        self.found.push((self.now, shape));
        made
    }
}

/// The variant of an enum that is made.
pub(super) struct Chosen<'w> {
    pub walk: &'w RefCell<Walk>,
    pub name: &'w str,
    pub variant: &'static str,
}

impl Chosen<'_> {
    fn is(&self, variant: Variant) {
        self.walk.borrow_mut().set_variant(self.name, self.variant, variant);
    }

    fn path(&self) -> String {
        format!("{}::{}", self.name, self.variant)
    }
}

impl<'de, 'w> EnumAccess<'de> for Chosen<'w> {
    type Error = Failed;
    type Variant = Chosen<'w>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Chosen<'w>), Failed> {
        let variant = seed.deserialize(self.variant.into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failed> {
        let (made, shape) = inside(self.walk, self.path(), seed);
        self.is(Variant::Value(shape));
        made
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        let shape = RefCell::new(Shape::any());
        let probe = Probe { walk: self.walk, shape: &shape, path: self.path() };
        let made = probe.deserialize_tuple(len, visitor);
        if let Shape::Tuple(shapes) = shape.into_inner() {
            self.is(Variant::Tuple(shapes));
        }
        made
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let path = self.path();
        let mut all = Fields::new(self.walk, &path, fields.to_vec(), None);
        let made = visitor.visit_map(&mut all);
        let found = std::mem::take(&mut all.found);
        let found = found.into_iter().map(|(name, shape)| (name.to_owned(), Field::new(shape)));
        self.is(Variant::Struct(found.collect()));
        made
    }
}
