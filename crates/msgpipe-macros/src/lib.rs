//! The attribute `service` of msgpipe's typed layer; `msgpipe::typed` re-exports and describes it.
#![forbid(unsafe_code)]

mod client;
mod method;
mod number;
mod reading;
mod server;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;
use reading::Service;
use syn::{ItemTrait, LitStr, Path, parse_quote};

/// Makes a service of a trait: `NotesServer` and `NotesClient` of `trait Notes`. `msgpipe::typed` describes it.
///
/// - `#[service(name = "Notes")]`: the name on the wire, of a trait that was renamed.
/// - `#[service(crate = other::msgpipe)]`: where msgpipe is, if it is not `::msgpipe`.
///
/// Attributes of methods: `#[idempotent]`, `#[one_way]`, `#[name = "Notes.add"]` (the name on the wire, of a method that
/// was renamed).
#[proc_macro_attribute]
pub fn service(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let mut options = Options { name: None, path: parse_quote!(::msgpipe) };
    let parser = syn::meta::parser(|meta| options.read(&meta));
    syn::parse_macro_input!(arguments with parser);
    let item = syn::parse_macro_input!(item as ItemTrait);
    expand(&options, item).unwrap_or_else(|error| error.to_compile_error()).into()
}

struct Options {
    name: Option<String>,
    path: Path,
}

impl Options {
    fn read(&mut self, meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<()> {
        if meta.path.is_ident("name") {
            self.name = Some(meta.value()?.parse::<LitStr>()?.value());
            return Ok(());
        }
        if meta.path.is_ident("crate") {
            self.path = meta.value()?.call(Path::parse_mod_style)?;
            return Ok(());
        }
        Err(meta.error("expected `name = \"…\"` or `crate = …`"))
    }
}

fn expand(options: &Options, item: ItemTrait) -> syn::Result<TokenStream> {
    let mut service = Service::read(item, options.name.clone())?;
    // A program is often one side only, of a service that is its own.
    service
        .item
        .attrs
        .push(parse_quote!(#[allow(dead_code, reason = "a program is often one side only")]));
    let typed: TokenStream = {
        let path = &options.path;
        quote!(#path::typed)
    };
    let item = &service.item;
    let methods = service.methods_table(&typed);
    let server = server::expand(&service, &typed);
    let client = client::expand(&service, &typed);
    let asynchronous = client::expand_async(&service, &options.path);
    Ok(quote! {
        #item
        #methods
        #server
        #client
        #asynchronous
    })
}
