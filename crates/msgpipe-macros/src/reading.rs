//! A service, read from its trait.

use crate::method::{Kind, Method, plain};
use crate::number::number;
use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use std::collections::BTreeMap;
use syn::{ItemTrait, TraitItem};

pub struct Service {
    /// The trait, without this crate's attributes.
    pub item: ItemTrait,
    /// On the wire.
    pub name: String,
    pub methods: Vec<Method>,
}

impl Service {
    pub fn read(mut item: ItemTrait, name: Option<String>) -> syn::Result<Service> {
        let error = |at: &dyn ToTokens, text: &str| {
            Err(syn::Error::new_spanned(at.to_token_stream(), text))
        };
        if !item.generics.params.is_empty() {
            return error(
                &item.generics,
                "a service has no generics: its types are those of its messages",
            );
        }
        let name = name.unwrap_or_else(|| plain(&item.ident));
        if name == "msgpipe" || name.starts_with("msgpipe.") {
            return error(&item.ident, "names that begin with `msgpipe.` are kept for msgpipe");
        }
        let mut methods = Vec::new();
        for item in &mut item.items {
            match item {
                TraitItem::Fn(method) => methods.push(Method::read(method, &name)?),
                other => return error(other, "a service has methods only"),
            }
        }
        let service = Service { item, name, methods };
        service.check_numbers()?;
        Ok(service)
    }

    /// Two names may have the same number, as may two methods the same name.
    fn check_numbers(&self) -> syn::Result<()> {
        let mut seen = BTreeMap::new();
        for method in &self.methods {
            if let Some(other) = seen.insert(number(&method.name), &method.name) {
                let text = format!(
                    "`{}` and `{other}` have the same number on the wire: give one of them another name",
                    method.name
                );
                return Err(syn::Error::new_spanned(&method.ident, text));
            }
        }
        Ok(())
    }

    /// The static with what is known of the methods.
    pub fn table(&self) -> Ident {
        format_ident!("__MSGPIPE_METHODS_OF_{}", plain(&self.item.ident))
    }

    pub fn methods_table(&self, typed: &TokenStream) -> TokenStream {
        let (table, count) = (self.table(), self.methods.len());
        let methods = self.methods.iter().map(|method| {
            let name = &method.name;
            let arguments = method.arguments.iter().map(|it| plain(&it.name));
            let (kind, is_idempotent) = (method.kind.name(), method.is_idempotent);
            quote! {
                #typed::hidden::Method::new(
                    #name,
                    &[#(#arguments),*],
                    #typed::Kind::#kind,
                    #is_idempotent,
                )
            }
        });
        quote! {
            #[doc(hidden)]
            #[allow(non_upper_case_globals)]
            static #table: [#typed::hidden::Method; #count] = [#(#methods),*];
        }
    }
}

impl Kind {
    fn name(self) -> Ident {
        let name = match self {
            Kind::Unary => "Unary",
            Kind::Replies => "Replies",
            Kind::Upload => "Upload",
            Kind::Duplex => "Duplex",
            Kind::Progress => "Progress",
            Kind::Subscription => "Subscription",
            Kind::OneWay => "OneWay",
        };
        format_ident!("{name}")
    }
}

impl Method {
    /// The arguments that are sent, as the type of a tuple.
    pub fn arguments_type(&self) -> TokenStream {
        let types = self.arguments.iter().map(|it| &it.kind);
        quote!((#(#types,)*))
    }

    /// The names of the arguments, as a tuple.
    pub fn arguments_tuple(&self) -> TokenStream {
        let names = self.arguments.iter().map(|it| &it.name);
        quote!((#(#names,)*))
    }

    pub fn reply_type(&self) -> TokenStream {
        self.reply.as_ref().map_or(quote!(()), ToTokens::to_token_stream)
    }

    pub fn error_type(&self, typed: &TokenStream) -> TokenStream {
        self.error.as_ref().map_or(quote!(#typed::Never), ToTokens::to_token_stream)
    }

    /// The type of `Incoming`, `Progress` or `Subscriber`.
    pub fn special_type(&self) -> TokenStream {
        self.special.as_ref().map_or(quote!(()), |(_, kind)| kind.to_token_stream())
    }
}
