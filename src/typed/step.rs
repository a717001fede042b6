//! The parts of a reply with progress: a map with one entry each.

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// One of these parts.
#[derive(Debug)]
pub enum Step<P, T> {
    /// How far it is.
    Progress(P),
    /// The reply, which is the last.
    Reply(T),
}

const PROGRESS: &str = "progress";
const REPLY: &str = "reply";

impl<P: Serialize, T: Serialize> Serialize for Step<P, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Step::Progress(progress) => map.serialize_entry(PROGRESS, progress)?,
            Step::Reply(reply) => map.serialize_entry(REPLY, reply)?,
        }
        map.end()
    }
}

impl<'d, P: Deserialize<'d>, T: Deserialize<'d>> Deserialize<'d> for Step<P, T> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Step<P, T>, D::Error> {
        deserializer.deserialize_map(StepVisitor(PhantomData))
    }
}

struct StepVisitor<P, T>(PhantomData<(P, T)>);

impl<'d, P: Deserialize<'d>, T: Deserialize<'d>> Visitor<'d> for StepVisitor<P, T> {
    type Value = Step<P, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with `{PROGRESS}` or `{REPLY}`")
    }

    fn visit_map<M: MapAccess<'d>>(self, mut map: M) -> Result<Step<P, T>, M::Error> {
        let key = map.next_key::<String>()?;
        let step = match key.as_deref() {
            Some(PROGRESS) => Step::Progress(map.next_value()?),
            Some(REPLY) => Step::Reply(map.next_value()?),
            other => {
                let other = other.unwrap_or("nothing").to_owned();
                return Err(de::Error::unknown_field(&other, &[PROGRESS, REPLY]));
            }
        };
        match map.next_key::<String>()? {
            None => Ok(step),
            Some(_) => Err(de::Error::invalid_length(2, &self)),
        }
    }
}
