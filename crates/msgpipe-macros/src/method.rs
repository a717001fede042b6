//! One method of a service, read from its trait.

use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, GenericArgument, Lit, Meta, Pat, PathArguments, ReturnType,
    Signature, TraitItemFn, Type, TypeParamBound,
};

/// How often a method is sent and answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request, one reply.
    Unary,
    /// A reply of many parts.
    Replies,
    /// A request of many parts.
    Upload,
    /// Both.
    Duplex,
    /// A reply, and progress until then.
    Progress,
    /// What is published from now on.
    Subscription,
    /// No reply.
    OneWay,
}

/// An argument of the trait's method, in its place.
pub enum Place {
    /// `&Context`, which the server makes.
    Context,
    /// The one of this number of those that are sent.
    Sent(usize),
    /// `Incoming<T>`, `Progress<T>` or `Subscriber<T>`.
    Special,
}

pub struct Argument {
    pub name: Ident,
    pub kind: Type,
}

pub struct Method {
    pub ident: Ident,
    pub docs: Vec<Attribute>,
    /// On the wire.
    pub name: String,
    pub kind: Kind,
    pub is_idempotent: bool,
    pub places: Vec<Place>,
    pub arguments: Vec<Argument>,
    /// Of `Incoming<T>`, `Progress<T>` or `Subscriber<T>`: its name and `T`.
    pub special: Option<(Ident, Type)>,
    /// What is returned, or each item of it.
    pub reply: Option<Type>,
    /// `None`: the method returns no `Result`.
    pub error: Option<Type>,
    /// The method returns a `Result`.
    pub is_fallible: bool,
    /// The items of the iterator are `Result`s.
    pub has_fallible_items: bool,
}

/// The most arguments that are sent; msgpipe implements its traits for so many.
const ARGUMENTS_MAX: usize = 8;

/// What the clients have themselves.
const TAKEN: [&str; 3] = ["new", "with_codec", "caller"];

impl Method {
    /// Reads a method, and takes this crate's attributes off.
    pub fn read(item: &mut TraitItemFn, service: &str) -> syn::Result<Method> {
        let mut name = format!("{service}.{}", plain(&item.sig.ident));
        let (mut is_one_way, mut is_idempotent, mut wrong) = (false, false, None);
        item.attrs.retain(|attribute| {
            let path = attribute.path();
            if path.is_ident("one_way") {
                is_one_way = true;
            } else if path.is_ident("idempotent") {
                is_idempotent = true;
            } else if path.is_ident("name") {
                match text_of(attribute) {
                    Some(text) => name = text,
                    None => wrong = Some(attribute.span()),
                }
            } else if path.is_ident("cfg") || path.is_ident("cfg_attr") {
                wrong = Some(attribute.span());
                return true;
            } else {
                return true;
            }
            false
        });
        if let Some(span) = wrong {
            let text = "expected `#[name = \"Service.method\"]`; a method of a service cannot depend on `cfg`";
            return Err(syn::Error::new(span, text));
        }
        check_signature(&item.sig)?;
        let docs = item.attrs.iter().filter(|it| it.path().is_ident("doc")).cloned().collect();
        let mut method = Method {
            ident: item.sig.ident.clone(),
            docs,
            name,
            kind: Kind::Unary,
            is_idempotent,
            places: Vec::new(),
            arguments: Vec::new(),
            special: None,
            reply: None,
            error: None,
            is_fallible: false,
            has_fallible_items: false,
        };
        method.read_arguments(&item.sig)?;
        let is_iterator = method.read_return(&item.sig.output)?;
        method.settle_kind(&item.sig, is_one_way, is_iterator)?;
        Ok(method)
    }

    fn read_arguments(&mut self, signature: &Signature) -> syn::Result<()> {
        for argument in signature.inputs.iter().skip(1) {
            let FnArg::Typed(argument) = argument else { continue };
            let Pat::Ident(pattern) = &*argument.pat else {
                return Err(error(&argument.pat, "an argument of a service has a plain name"));
            };
            let name = pattern.ident.clone();
            if let Type::Reference(reference) = &*argument.ty {
                if last_name(&reference.elem).is_some_and(|it| it == "Context") {
                    self.places.push(Place::Context);
                    continue;
                }
                let text = "an argument is owned, as it comes out of a message: `String` for `&str`, `Vec<T>` for `&[T]`; only `&Context` is borrowed";
                return Err(error(&argument.ty, text));
            }
            let special = last_name(&argument.ty).and_then(|it| match it.to_string().as_str() {
                "Incoming" => Some(Kind::Upload),
                "Progress" => Some(Kind::Progress),
                "Subscriber" => Some(Kind::Subscription),
                _ => None,
            });
            if let Some(kind) = special {
                let [of] = &generics_of(&argument.ty)[..] else {
                    return Err(error(&argument.ty, "its type is missing: as in `Incoming<Note>`"));
                };
                if self.special.is_some() {
                    let text = "a method has one argument of `Incoming`, `Progress` or `Subscriber` at most";
                    return Err(error(&argument.ty, text));
                }
                self.special = Some((name, of.clone()));
                self.kind = kind;
                self.places.push(Place::Special);
                continue;
            }
            self.places.push(Place::Sent(self.arguments.len()));
            self.arguments.push(Argument { name, kind: (*argument.ty).clone() });
        }
        if self.arguments.len() > ARGUMENTS_MAX {
            let text =
                format!("a method has {ARGUMENTS_MAX} arguments at most: put them into a struct");
            return Err(error(&signature.inputs, &text));
        }
        Ok(())
    }

    /// Whether it returns an iterator.
    fn read_return(&mut self, output: &ReturnType) -> syn::Result<bool> {
        let ReturnType::Type(_, returned) = output else { return Ok(false) };
        let value = match result_of(returned)? {
            Some((value, error)) => {
                self.error = Some(error);
                self.is_fallible = true;
                value
            }
            None => (**returned).clone(),
        };
        let Type::ImplTrait(iterator) = &value else {
            self.reply = Some(value);
            return Ok(false);
        };
        let item =
            iterator.bounds.iter().find_map(item_of).ok_or_else(|| {
                error(iterator, "a reply of many parts is `impl Iterator<Item = …>`")
            })?;
        match result_of(&item)? {
            Some((item, error)) => {
                self.has_fallible_items = true;
                self.reply = Some(item);
                self.error.get_or_insert(error);
            }
            None => self.reply = Some(item),
        }
        Ok(true)
    }

    fn settle_kind(
        &mut self,
        signature: &Signature,
        is_one_way: bool,
        is_iterator: bool,
    ) -> syn::Result<()> {
        let wrong = |text: &str| Err(error(&signature.ident, text));
        if is_one_way {
            if self.kind != Kind::Unary || !matches!(signature.output, ReturnType::Default) {
                return wrong(
                    "a method that is `#[one_way]` returns nothing, and sends its arguments only",
                );
            }
            self.kind = Kind::OneWay;
        }
        self.kind = match (self.kind, is_iterator) {
            (Kind::Unary, true) => Kind::Replies,
            (Kind::Upload, true) => Kind::Duplex,
            (Kind::Progress | Kind::Subscription, true) => {
                return wrong("a method with `Progress` or `Subscriber` returns no iterator");
            }
            (kind, _) => kind,
        };
        if self.kind == Kind::Subscription && !self.reply.as_ref().is_none_or(is_unit) {
            return wrong("a method with a `Subscriber` returns nothing, or `Result<(), E>`");
        }
        if self.is_idempotent && self.kind != Kind::Unary {
            return wrong(
                "only a call with one reply can be `#[idempotent]`: remove the attribute",
            );
        }
        let name = self.ident.to_string();
        if TAKEN.contains(&name.as_str()) {
            return wrong(&format!(
                "the client has a method `{name}` of its own: choose another name"
            ));
        }
        Ok(())
    }
}

fn error(at: &impl quote::ToTokens, text: &str) -> syn::Error {
    syn::Error::new_spanned(at, text)
}

fn check_signature(signature: &Signature) -> syn::Result<()> {
    if signature.asyncness.is_some() {
        return Err(error(
            &signature.asyncness,
            "a method of a service is no `async fn`: its clients are made in both forms",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(error(
            &signature.generics,
            "a method of a service has no generics: its types are those of its messages",
        ));
    }
    let is_shared =
        |it: &syn::Receiver| matches!(it.kind, syn::ReceiverKind::Reference(_, None, None));
    if !signature.receiver().is_some_and(is_shared) {
        let text = "a method of a service takes `&self`: several calls run at once";
        return Err(error(&signature.ident, text));
    }
    Ok(())
}

/// Without `r#`.
pub fn plain(name: &Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

/// The text of `#[name = "text"]`.
fn text_of(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if !text.value().starts_with("msgpipe.") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// `Name` of `a::Name<T>`.
fn last_name(kind: &Type) -> Option<&Ident> {
    match kind {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|it| &it.ident),
        _ => None,
    }
}

fn generics_of(kind: &Type) -> Vec<Type> {
    let Type::Path(path) = kind else { return Vec::new() };
    let Some(PathArguments::AngleBracketed(all)) =
        path.path.segments.last().map(|it| &it.arguments)
    else {
        return Vec::new();
    };
    let types = all.args.iter().filter_map(|it| match it {
        GenericArgument::Type(kind) => Some(kind.clone()),
        _ => None,
    });
    types.collect()
}

/// Both types of a `Result`.
fn result_of(kind: &Type) -> syn::Result<Option<(Type, Type)>> {
    if last_name(kind).is_none_or(|it| it != "Result") {
        return Ok(None);
    }
    match &generics_of(kind)[..] {
        [value, error] => Ok(Some((value.clone(), error.clone()))),
        _ => Err(error(kind, "both types of a `Result` are spelled out: `Result<T, E>`")),
    }
}

/// `T` of `Iterator<Item = T>`.
fn item_of(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last().filter(|it| it.ident == "Iterator")?;
    let PathArguments::AngleBracketed(all) = &last.arguments else { return None };
    all.args.iter().find_map(|it| match it {
        GenericArgument::AssocType(item) if item.ident == "Item" => Some(item.ty.clone()),
        _ => None,
    })
}

fn is_unit(kind: &Type) -> bool {
    matches!(kind, Type::Tuple(tuple) if tuple.elems.is_empty())
}
