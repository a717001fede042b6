//! The arguments of a method: a tuple in the program, and a map from names to values on the wire.

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// A tuple of arguments. It is implemented for those of up to 8.
pub trait Arguments: Sized {
    /// Writes each with its name.
    fn write<M: SerializeMap>(
        &self,
        names: &'static [&'static str],
        map: &mut M,
    ) -> Result<(), M::Error>;

    /// Reads them; names that are not known are passed over.
    fn read<'d, M: MapAccess<'d>>(names: &'static [&'static str], map: M)
    -> Result<Self, M::Error>;
}

/// Arguments with their names.
pub struct Named<'a, A>(pub &'static [&'static str], pub &'a A);

impl<A: Arguments> Serialize for Named<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.1.write(self.0, &mut map)?;
        map.end()
    }
}

/// What reads them.
pub struct Reader<A>(pub &'static [&'static str], pub PhantomData<A>);

impl<A> Clone for Reader<A> {
    fn clone(&self) -> Reader<A> {
        Reader(self.0, PhantomData)
    }
}

impl<'d, A: Arguments> DeserializeSeed<'d> for Reader<A> {
    type Value = A;

    fn deserialize<D: de::Deserializer<'d>>(self, deserializer: D) -> Result<A, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'d, A: Arguments> Visitor<'d> for Reader<A> {
    type Value = A;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of the arguments {:?}", self.0)
    }

    fn visit_map<M: MapAccess<'d>>(self, map: M) -> Result<A, M::Error> {
        A::read(self.0, map)
    }
}

/// The place of a name among those that are known; of any other one none.
struct Name(&'static [&'static str]);

impl<'d> DeserializeSeed<'d> for Name {
    type Value = Option<usize>;

    fn deserialize<D: de::Deserializer<'d>>(
        self,
        deserializer: D,
    ) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an argument")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|it| *it == name))
    }
}

/// A value that is not there: an `Option` is `None` then, and so is whatever is read from one.
struct Missing<E>(&'static str, PhantomData<E>);

impl<'de, E: de::Error> de::Deserializer<'de> for Missing<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, E> {
        Err(E::missing_field(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn missing<'d, T: Deserialize<'d>, E: de::Error>(name: &'static str) -> Result<T, E> {
    T::deserialize(Missing::<E>(name, PhantomData))
}

/// The decoded one or the error that there is none; twice the same is an error.
fn put<'d, T: Deserialize<'d>, M: MapAccess<'d>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut M,
) -> Result<(), M::Error> {
    if slot.is_some() {
        return Err(de::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

impl Arguments for () {
    fn write<M: SerializeMap>(
        &self,
        _: &'static [&'static str],
        _: &mut M,
    ) -> Result<(), M::Error> {
        Ok(())
    }

    fn read<'d, M: MapAccess<'d>>(_: &'static [&'static str], mut map: M) -> Result<(), M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($kind:ident $slot:ident $index:tt),*))*) => {$(
        impl<$($kind: Serialize + DeserializeOwned),*> Arguments for ($($kind,)*) {
            fn write<M: SerializeMap>(
                &self,
                names: &'static [&'static str],
                map: &mut M,
            ) -> Result<(), M::Error> {
                $(map.serialize_entry(names[$index], &self.$index)?;)*
                Ok(())
            }

            fn read<'d, M: MapAccess<'d>>(
                names: &'static [&'static str],
                mut map: M,
            ) -> Result<Self, M::Error> {
                $(let mut $slot: Option<$kind> = None;)*
                while let Some(known) = map.next_key_seed(Name(names))? {
                    match known {
                        $(Some($index) => put(&mut $slot, names[$index], &mut map)?,)*
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(($(match $slot {
                    Some(value) => value,
                    None => missing(names[$index])?,
                },)*))
            }
        }
    )*};
}

tuples! {
    (A a 0)
    (A a 0, B b 1)
    (A a 0, B b 1, C c 2)
    (A a 0, B b 1, C c 2, D d 3)
    (A a 0, B b 1, C c 2, D d 3, F f 4)
    (A a 0, B b 1, C c 2, D d 3, F f 4, G g 5)
    (A a 0, B b 1, C c 2, D d 3, F f 4, G g 5, H h 6)
    (A a 0, B b 1, C c 2, D d 3, F f 4, G g 5, H h 6, I i 7)
}
