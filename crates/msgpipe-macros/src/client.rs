//! The clients' side.

use crate::method::{Argument, Kind, Method, Place, plain};
use crate::reading::Service;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Path;

pub fn expand(service: &Service, typed: &TokenStream) -> TokenStream {
    let (visibility, name) = (&service.item.vis, &service.item.ident);
    let client = format_ident!("{}Client", plain(name));
    let docs = format!(
        "Calls a server of [`{name}`]. It blocks; a clone is cheap and uses the same connection."
    );
    let form = Form { typed, is_async: false };
    let methods =
        service.methods.iter().enumerate().map(|(index, it)| method(service, index, it, &form));
    quote! {
        #[doc = #docs]
        #[allow(dead_code, reason = "a program is often one side only")]
        #[derive(Clone, Debug)]
        #visibility struct #client(#typed::Caller);

        #[allow(dead_code, reason = "a program is often one side only")]
        impl #client {
            /// Calls over this connection: of a `Client` or a `ReconnectingClient`.
            #visibility fn new(client: impl Into<#typed::Caller>) -> Self {
                Self(client.into())
            }

            /// The same client with another codec for its calls.
            #visibility fn with_codec(&self, codec: #typed::Codec) -> Self {
                Self(self.0.with_codec(codec))
            }

            /// The connection.
            #visibility fn caller(&self) -> &#typed::Caller {
                &self.0
            }

            #(#methods)*
        }
    }
}

/// Which client a method is for.
struct Form<'p> {
    typed: &'p TokenStream,
    is_async: bool,
}

fn method(service: &Service, index: usize, method: &Method, form: &Form<'_>) -> TokenStream {
    let typed = form.typed;
    let (visibility, table) = (&service.item.vis, service.table());
    let (docs, ident) = (&method.docs, &method.ident);
    let docs = match docs.is_empty() {
        true => {
            let text = format!("Calls `{}`.", method.name);
            quote!(#[doc = #text])
        }
        false => quote!(#(#docs)*),
    };
    let of_special = method.special_type();
    // In the order of the trait.
    let arguments = method.places.iter().filter_map(|place| match (place, &method.special) {
        (Place::Sent(index), _) => {
            let Argument { name, kind } = &method.arguments[*index];
            Some(quote!(#name: #kind))
        }
        (Place::Special, Some((name, _))) => match method.kind {
            Kind::Upload if form.is_async => {
                Some(quote!(#name: impl #typed::hidden::Stream<Item = #of_special>))
            }
            Kind::Upload => Some(quote!(#name: impl IntoIterator<Item = #of_special>)),
            Kind::Progress => Some(quote!(#name: impl FnMut(#of_special))),
            _ => None,
        },
        _ => None,
    });
    let arguments: Vec<_> = arguments.collect();
    let tuple = method.arguments_tuple();
    let (reply, error) = (method.reply_type(), method.error_type(typed));
    let result = |kind: TokenStream| quote!(Result<#kind, #typed::CallError<#error>>);
    let special = method.special.as_ref().map(|(name, _)| name);
    let about = quote!(&#table[#index]);
    let [replies, sender, subscription] = match form.is_async {
        true => ["AsyncReplies", "AsyncSender", "AsyncReplies"],
        false => ["Replies", "Sender", "Subscription"],
    }
    .map(|name| format_ident!("{name}"));
    let (returned, called) = match method.kind {
        Kind::Unary => (result(reply), quote!(unary(#about, &#tuple))),
        Kind::OneWay => (result(quote!(())), quote!(one_way(#about, &#tuple))),
        Kind::Replies => {
            (result(quote!(#typed::#replies<#reply, #error>)), quote!(replies(#about, &#tuple)))
        }
        Kind::Upload => (result(reply), quote!(upload(#about, &#tuple, #special))),
        Kind::Duplex => (
            result(
                quote!((#typed::#sender<#of_special, #error>, #typed::#replies<#reply, #error>)),
            ),
            quote!(duplex(#about, &#tuple)),
        ),
        Kind::Progress => (result(reply), quote!(progress(#about, &#tuple, #special))),
        Kind::Subscription => (
            result(quote!(#typed::#subscription<#of_special, #error>)),
            match form.is_async {
                true => quote!(replies(#about, &#tuple)),
                false => quote!(subscription(#about, &#tuple)),
            },
        ),
    };
    let (asyncness, awaited) = match form.is_async {
        true => (quote!(async), quote!(.await)),
        false => (quote!(), quote!()),
    };
    quote! {
        #docs
        #visibility #asyncness fn #ident(&self, #(#arguments),*) -> #returned {
            self.0.#called #awaited
        }
    }
}

/// The async client, which is there with msgpipe's feature `tokio`.
pub fn expand_async(service: &Service, msgpipe: &Path) -> TokenStream {
    let typed = quote!(#msgpipe::typed);
    let (visibility, name) = (&service.item.vis, &service.item.ident);
    let client = format_ident!("{}AsyncClient", plain(name));
    let docs = format!(
        "Calls a server of [`{name}`], in tasks. A clone is cheap and uses the same connection."
    );
    let form = Form { typed: &typed, is_async: true };
    let methods =
        service.methods.iter().enumerate().map(|(index, it)| method(service, index, it, &form));
    quote! {
        #msgpipe::__with_tokio! {
            #[doc = #docs]
            #[allow(dead_code, reason = "a program is often one side only")]
            #[derive(Clone, Debug)]
            #visibility struct #client(#typed::AsyncCaller);

            #[allow(dead_code, reason = "a program is often one side only")]
            impl #client {
                /// Calls over this connection: a `msgpipe::tokio::Client`.
                #visibility fn new(client: impl Into<#typed::AsyncCaller>) -> Self {
                    Self(client.into())
                }

                /// The same client with another codec for its calls.
                #visibility fn with_codec(&self, codec: #typed::Codec) -> Self {
                    Self(self.0.with_codec(codec))
                }

                /// The connection.
                #visibility fn caller(&self) -> &#typed::AsyncCaller {
                    &self.0
                }

                #(#methods)*
            }
        }
    }
}
