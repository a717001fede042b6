//! `msgpipe inspect`.

use crate::args::{Common, Inspect};
use crate::exit::Exit;
use crate::{output, target};
use msgpipe::monitor::{DESCRIBE, INFO};
use msgpipe::{Client, Error, ErrorReply};
use serde_json::{Map, Value};

pub fn run(common: &Common, args: &Inspect) -> Result<(), Exit> {
    let client = target::client(common, &args.name)?;
    let info = client.with_method(INFO).call("")?;
    let info = output::shown(&info).into_owned();
    let methods = describe(&client)?;
    if args.json {
        let mut object: Map<String, Value> = info.lines().filter_map(pair).map(value).collect();
        object.insert("methods".to_owned(), methods.as_deref().map_or(Value::Null, json_or_text));
        return output::line(&Value::Object(object).to_string());
    }
    let width = info.lines().filter_map(pair).map(|(key, _)| key.len()).max().unwrap_or_default();
    for (key, value) in info.lines().filter_map(pair) {
        output::line(&format!("{key:width$}  {value}"))?;
    }
    match methods {
        Some(methods) => {
            output::line(&format!("methods:\n{}", output::shown(methods.as_bytes()).trim_end()))
        }
        None => Ok(()),
    }
}

/// What the server says of its methods, if it does.
fn describe(client: &Client) -> Result<Option<String>, Exit> {
    match client.with_method(DESCRIBE).call("") {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(Error::Answered { reply, .. }) if reply.code == ErrorReply::NO_METHOD => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn pair(line: &str) -> Option<(&str, &str)> {
    line.split_once('=')
}

fn value((key, value): (&str, &str)) -> (String, Value) {
    let number = value.parse::<u64>().map(Value::from);
    (key.to_owned(), number.unwrap_or_else(|_| Value::from(value)))
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
